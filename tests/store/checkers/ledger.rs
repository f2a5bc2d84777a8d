//! What a correct store never shows is found.

use super::at;
use crate::histories::ledger::{Ledger, Seen};
use crate::histories::sweep::{Observation, Span};
use crate::processes::{Row, TOYS};

fn seen(seen: Seen, began: u64, ended: u64) -> Observation<Seen> {
    Observation { began: at(began), ended: at(ended), seen }
}

/// Of two pieces of each toy: a Tux from 10 to 20, an Uno from 30 to 40, a Tux from 50 to 60,
/// which was the last and makes a restock due, and another from 70 to 80.
fn check(observations: &[Observation<Seen>]) -> Result<(), String> {
    let rows: Vec<Row> = ["Tux", "Uno", "Tux", "Tux"]
        .into_iter()
        .zip(0..)
        .map(|(toy, number)| (number, toy.to_owned(), 1))
        .collect();
    let span =
        |number: u64| Span { began: Some(at(10 + 20 * number)), ended: Some(at(20 + 20 * number)) };
    let spans: Vec<Span> = (0..4).map(span).collect();
    Ledger { initial_stock: 2, rows: &rows, spans: &spans }.check(observations)
}

const TUX: &str = TOYS[0];
const UNO: &str = TOYS[1];

#[test]
fn what_a_correct_store_shows_passes() {
    check(&[
        seen(Seen::Quantity(TUX, 2), 0, 5),
        seen(Seen::Absence(0), 6, 12),
        seen(Seen::Quantity(TUX, 1), 11, 15),
        seen(Seen::Order((0, TUX.to_owned(), 1)), 16, 17),
        seen(Seen::Shelves([1, 2, 2, 2, 2]), 18, 35),
        seen(Seen::Shelves([1, 1, 2, 2, 2]), 36, 39),
        seen(Seen::Absence(2), 45, 46),
        seen(Seen::Refusal(TUX, 2), 47, 48),
        seen(Seen::Quantity(TUX, 0), 61, 62),
        seen(Seen::Refusal(TUX, 1), 63, 64),
        seen(Seen::Quantity(TUX, 2), 65, 66),
        seen(Seen::Quantity(TUX, 1), 71, 72),
    ])
    .unwrap();
}

#[test]
fn a_quantity_that_is_over_is_found() {
    assert!(check(&[seen(Seen::Quantity(TUX, 2), 21, 22)]).is_err());
}

#[test]
fn a_refusal_of_what_was_there_is_found() {
    assert!(check(&[seen(Seen::Refusal(TUX, 2), 0, 5)]).is_err());
    assert!(check(&[seen(Seen::Refusal(UNO, 1), 0, 90)]).is_err());
}

#[test]
fn a_toy_that_is_empty_again_after_its_restock_was_seen_is_found() {
    let full = seen(Seen::Quantity(TUX, 2), 61, 62);
    let empty = seen(Seen::Quantity(TUX, 0), 63, 64);
    assert!(check(&[full, empty]).is_err());
}

#[test]
fn shelves_that_were_never_so_at_the_same_time_are_found() {
    assert!(check(&[seen(Seen::Shelves([0, 2, 2, 2, 2]), 0, 90)]).is_err());
    check(&[seen(Seen::Shelves([0, 1, 2, 2, 2]), 0, 90)]).unwrap();
}

#[test]
fn toys_that_are_seen_in_another_order_than_they_were_sold_are_found() {
    // Both orders are under way at once here; each toy by itself is fine.
    let rows = [(0, TUX.to_owned(), 1), (1, UNO.to_owned(), 1)];
    let spans = [Span { began: Some(at(0)), ended: Some(at(90)) }; 2];
    let ledger = Ledger { initial_stock: 2, rows: &rows, spans: &spans };
    let sold = |toy, time| seen(Seen::Quantity(toy, 1), time, time + 5);
    let not_yet = |toy, time| seen(Seen::Quantity(toy, 2), time, time + 5);
    ledger.check(&[sold(TUX, 10), not_yet(UNO, 20)]).unwrap();
    assert!(ledger.check(&[sold(UNO, 10), not_yet(TUX, 20)]).is_err());
}

#[test]
fn an_order_that_was_denied_is_found() {
    assert!(check(&[seen(Seen::Absence(0), 21, 22)]).is_err());
    // It was under way, but a client had seen it, or a later one.
    let found = |number, toy: &str| seen(Seen::Order((number, toy.to_owned(), 1)), 31, 32);
    assert!(check(&[found(1, UNO), seen(Seen::Absence(1), 33, 34)]).is_err());
    assert!(check(&[seen(Seen::Absence(1), 33, 34)]).is_ok());
}

#[test]
fn an_order_that_is_not_as_it_was_bought_is_found() {
    assert!(check(&[seen(Seen::Order((0, UNO.to_owned(), 1)), 21, 22)]).is_err());
    assert!(check(&[seen(Seen::Order((4, TUX.to_owned(), 1)), 21, 99)]).is_err());
}

#[test]
fn more_sold_than_there_was_is_found() {
    let rows = [(0, TUX.to_owned(), 1), (1, TUX.to_owned(), 2)];
    let spans = [Span::default(); 2];
    assert!(Ledger { initial_stock: 2, rows: &rows, spans: &spans }.check(&[]).is_err());
}
