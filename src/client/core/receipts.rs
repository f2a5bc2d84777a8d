//! The record of each successful order, and its comparison with the store's.
//!
//! A client records the number that each order was given and what it ordered. At the end the store
//! must return every order under its number with the same content, and no number may have been
//! given twice, to one client or to two.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::wire::order::{Order, OrderNumber};

/// The orders of one client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receipts {
    /// The orders, oldest first.
    pub(crate) rows: Vec<OrderRecord>,
}

/// An order that the store has granted, and the result of its check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderRecord {
    /// The number that the store gave, and what was asked for.
    pub(crate) order: Order,
    /// What the final check found.
    pub(crate) finding: Finding,
}

/// What the final check found of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It was not checked: the run was broken off.
    Unchecked,
    /// The store returned the same order.
    Match,
    /// The store returned another order under this number.
    Different,
    /// The store does not know it.
    Missing,
    /// The store gave no usable answer.
    Unfetched,
    /// The number was given twice.
    Repeated,
}

/// The store's answer to the query of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FetchedOrder {
    /// The order.
    Order(Order),
    /// There is no such order.
    Unknown,
    /// No usable answer, and the reason.
    Failed(String),
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedCheck {
    /// The client that made the order.
    pub client: u32,
    /// The order's number.
    pub number: OrderNumber,
    /// What is wrong.
    pub finding: Finding,
    /// The same in a sentence.
    pub problem: String,
}

impl Receipts {
    /// Keeps an order that the store has granted.
    pub(crate) fn keep(&mut self, order: Order) {
        self.rows.push(OrderRecord { order, finding: Finding::Unchecked });
    }

    /// How many toys were bought.
    pub(crate) fn units(&self) -> u64 {
        self.rows.iter().map(|row| row.order.quantity.get()).fold(0, u64::saturating_add)
    }

    /// How many orders the store gave a usable answer for.
    pub(crate) fn answered(&self) -> u64 {
        let open = [Finding::Unchecked, Finding::Unfetched];
        self.rows.iter().filter(|row| !open.contains(&row.finding)).count() as u64
    }

    /// How many orders the store returned unchanged.
    pub(crate) fn matching(&self) -> u64 {
        self.rows.iter().filter(|row| row.finding == Finding::Match).count() as u64
    }

    /// Compares the order in `row` with the store's answer. Returns the problem, if there is one.
    pub(crate) fn compare(&mut self, row: usize, fetched: FetchedOrder) -> Option<String> {
        let OrderRecord { order: ours, finding } = &mut self.rows[row];
        let ordered = format!("{} was ordered", goods(ours));
        let (found, problem) = match fetched {
            FetchedOrder::Order(order) if order == *ours => (Finding::Match, None),
            FetchedOrder::Order(order) => {
                let theirs = format!("the store says order {}: {}", order.number, goods(&order));
                (Finding::Different, Some(format!("{ordered}, {theirs}")))
            }
            FetchedOrder::Unknown => {
                (Finding::Missing, Some(format!("{ordered}, the store has no such order")))
            }
            FetchedOrder::Failed(reason) => {
                (Finding::Unfetched, Some(format!("could not be fetched: {reason}")))
            }
        };
        *finding = found;
        problem
    }
}

/// Finds the numbers that were given more than once. `all` are the receipts of client 1, 2, ….
pub(crate) fn find_repeats(all: &mut [Receipts]) -> Vec<FailedCheck> {
    let mut holders: HashMap<OrderNumber, u32> = HashMap::new();
    let mut repeats = Vec::new();
    for (client, receipts) in (1..).zip(all) {
        for receipt in &mut receipts.rows {
            let number = receipt.order.number;
            if let Some(first) = holders.insert(number, client) {
                receipt.finding = Finding::Repeated;
                let problem = format!("the number was given before, to client {first}");
                repeats.push(FailedCheck { client, number, finding: Finding::Repeated, problem });
            }
        }
    }
    repeats
}

fn goods(order: &Order) -> String {
    format!("{} × {}", order.quantity, order.name)
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unchecked => "unchecked",
            Self::Match => "match",
            Self::Different => "different",
            Self::Missing => "missing",
            Self::Unfetched => "unfetched",
            Self::Repeated => "repeated",
        })
    }
}

impl fmt::Display for FailedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {} of client {}: {}", self.number, self.client, self.problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::quantity::Quantity;

    fn order(number: u64, name: &str, quantity: u64) -> Order {
        let quantity = Quantity::new(quantity).unwrap();
        Order { number: OrderNumber(number), name: name.into(), quantity, key: None }
    }

    fn receipts(numbers: &[u64]) -> Receipts {
        let mut receipts = Receipts::default();
        for number in numbers {
            receipts.keep(order(*number, "Tux", 2));
        }
        receipts
    }

    fn checked(fetched: FetchedOrder) -> (Finding, Option<String>) {
        let mut receipts = receipts(&[7]);
        let problem = receipts.compare(0, fetched);
        (receipts.rows[0].finding, problem)
    }

    #[test]
    fn an_order_that_the_store_returns_unchanged_matches() {
        assert_eq!(checked(FetchedOrder::Order(order(7, "Tux", 2))), (Finding::Match, None));
    }

    #[test]
    fn another_number_name_or_quantity_is_a_failed_check() {
        for other in [order(8, "Tux", 2), order(7, "Uno", 2), order(7, "Tux", 1)] {
            let (finding, problem) = checked(FetchedOrder::Order(other));
            assert_eq!(finding, Finding::Different);
            assert!(problem.unwrap().starts_with("2 × Tux was ordered, the store says "));
        }
    }

    #[test]
    fn an_order_that_is_missing_or_cannot_be_fetched_is_a_failed_check() {
        assert_eq!(checked(FetchedOrder::Unknown).0, Finding::Missing);
        assert_eq!(checked(FetchedOrder::Failed("timeout".into())).0, Finding::Unfetched);
    }

    #[test]
    fn a_number_given_to_two_clients_is_found_even_if_both_bought_the_same() {
        let mut all = [receipts(&[0, 1]), receipts(&[2, 1])];
        let repeats = find_repeats(&mut all);
        assert_eq!(repeats.len(), 1);
        assert_eq!((repeats[0].client, repeats[0].number), (2, OrderNumber(1)));
        assert!(repeats[0].problem.contains("client 1"));
        assert_eq!(all[1].rows[1].finding, Finding::Repeated);
    }

    #[test]
    fn a_number_given_twice_to_one_client_is_found() {
        assert_eq!(find_repeats(&mut [receipts(&[3, 4, 3])]).len(), 1);
        assert_eq!(find_repeats(&mut [receipts(&[3, 4]), receipts(&[5])]), []);
    }

    #[test]
    fn units_are_the_sum_of_the_quantities() {
        assert_eq!(receipts(&[1, 2, 3]).units(), 6);
    }
}
