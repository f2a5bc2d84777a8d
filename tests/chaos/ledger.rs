//! The states that the store went through, as the journal has them, and whether clients saw those.
//!
//! The journal orders all purchases, and a toy is restocked when none is left and at no other time;
//! so each toy's quantities follow from the journal, restocks included. Only where among the orders
//! of *other* toys a restock happened is not known. What clients saw is therefore swept twice: for
//! each toy by itself with its restocks in their places, and for all together with a toy that is
//! sold out being either empty or full until it is bought again.

use std::collections::HashMap;

use crate::processes::{Row, TOYS};
use crate::sweep::{Observation, Span, sweep};

/// What a client was shown of the store's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// So many are left of a toy.
    Quantity(&'static str, u64),
    /// So many are left of each toy, in the order of [`TOYS`], all at the same time.
    Shelves([u64; TOYS.len()]),
    /// An order.
    Order(Row),
    /// There is no order of this number.
    Absence(u64),
    /// There are not so many left of a toy.
    Refusal(&'static str, u64),
}

/// The journal, with when each order was asked for and answered.
pub(crate) struct Ledger<'a> {
    pub(crate) initial_stock: u64,
    pub(crate) rows: &'a [Row],
    pub(crate) spans: &'a [Span],
}

/// A toy's quantities over positions.
struct Shelf {
    /// Sorted by both ends.
    stays: Vec<Stay>,
    by_quantity: HashMap<u64, Vec<usize>>,
}

/// A quantity that may be seen at all positions of a range.
struct Stay {
    first: usize,
    last: usize,
    quantity: u64,
}

impl Ledger<'_> {
    /// Checks all that clients saw.
    ///
    /// # Errors
    ///
    /// If no good store could have shown it; why.
    pub(crate) fn check(&self, observations: &[Observation<Seen>]) -> Result<(), String> {
        for Observation { seen, .. } in observations {
            if let Seen::Order(row) = seen {
                let kept = usize::try_from(row.0).ok().and_then(|number| self.rows.get(number));
                if kept != Some(row) {
                    return Err(format!("order {row:?} was shown and is {kept:?} in the journal"));
                }
            }
        }
        for toy in TOYS {
            self.check_toy(toy, observations).map_err(|why| format!("of {toy} alone, {why}"))?;
        }
        self.check_all(observations)
    }

    /// How many may be left of a toy in the end.
    ///
    /// # Errors
    ///
    /// If more was sold than there was.
    pub(crate) fn left(&self, toy: &str) -> Result<Vec<u64>, String> {
        let stays = self.shelf(toy)?.stays;
        let at_the_end = stays.iter().filter(|stay| stay.last == self.rows.len());
        Ok(at_the_end.map(|stay| stay.quantity).collect())
    }

    /// One toy, with its restocks among the changes.
    fn check_toy(&self, toy: &str, observations: &[Observation<Seen>]) -> Result<(), String> {
        let mut changes = Vec::new();
        let mut quantity = self.initial_stock;
        let mut stays = vec![Stay { first: 0, last: 0, quantity }];
        let mut change = |span: Span, quantity: u64| {
            changes.push(span);
            stays.push(Stay { first: changes.len(), last: changes.len(), quantity });
        };
        for (row, span) in self.rows.iter().zip(self.spans).filter(|(row, _)| row.1 == toy) {
            quantity = sell(quantity, row)?;
            change(*span, quantity);
            if quantity == 0 {
                quantity = self.initial_stock;
                change(Span::default(), quantity);
            }
        }
        let stock = Shelf::new(stays);
        let of_toy: Vec<_> = observations.iter().filter(|one| one.seen.is_of(toy)).collect();
        let place = TOYS.iter().position(|one| *one == toy);
        sweep(&changes, &of_toy, |seen, from| match seen {
            Seen::Quantity(_, quantity) => stock.first_with(*quantity, from),
            Seen::Shelves(quantities) => stock.first_with(quantities[place?], from),
            Seen::Refusal(_, wanted) => stock.first_below(*wanted, from),
            Seen::Order(_) | Seen::Absence(_) => None,
        })
    }

    /// All toys and the orders' numbers in one.
    fn check_all(&self, observations: &[Observation<Seen>]) -> Result<(), String> {
        let shelves = TOYS.map(|toy| self.shelf(toy).map(|shelf| (toy, shelf)));
        let shelves: Vec<(&str, Shelf)> = shelves.into_iter().collect::<Result<_, _>>()?;
        let by_name: HashMap<&str, &Shelf> =
            shelves.iter().map(|(toy, shelf)| (*toy, shelf)).collect();
        let all: Vec<_> = observations.iter().collect();
        sweep(self.spans, &all, |seen, from| match seen {
            Seen::Quantity(toy, quantity) => by_name[toy].first_with(*quantity, from),
            Seen::Shelves(quantities) => {
                let mut position = from;
                loop {
                    let mut next = position;
                    for ((_, shelf), quantity) in shelves.iter().zip(quantities) {
                        next = shelf.first_with(*quantity, next)?;
                    }
                    if next == position {
                        return Some(position);
                    }
                    position = next;
                }
            }
            Seen::Order((number, ..)) => Some(from.max(usize::try_from(*number).ok()? + 1)),
            Seen::Absence(number) => (from as u64 <= *number).then_some(from),
            Seen::Refusal(toy, wanted) => by_name[toy].first_below(*wanted, from),
        })
    }

    /// A toy's quantities over the positions of the journal.
    fn shelf(&self, toy: &str) -> Result<Shelf, String> {
        let mut quantity = self.initial_stock;
        let mut first = 0;
        let mut stays = Vec::new();
        let mut stay = |first: usize, last: usize, quantity: u64| {
            stays.push(Stay { first, last, quantity });
            if quantity == 0 {
                stays.push(Stay { first, last, quantity: self.initial_stock });
            }
        };
        for (place, row) in self.rows.iter().enumerate().filter(|(_, row)| row.1 == toy) {
            stay(first, place, quantity);
            quantity = if quantity == 0 { self.initial_stock } else { quantity };
            quantity = sell(quantity, row)?;
            first = place + 1;
        }
        stay(first, self.rows.len(), quantity);
        Ok(Shelf::new(stays))
    }
}

fn sell(quantity: u64, row: &Row) -> Result<u64, String> {
    quantity
        .checked_sub(row.2)
        .ok_or_else(|| format!("{row:?} was granted when {quantity} were left"))
}

impl Seen {
    fn is_of(&self, name: &str) -> bool {
        match self {
            Self::Quantity(toy, _) | Self::Refusal(toy, _) => *toy == name,
            Self::Shelves(_) => true,
            Self::Order(_) | Self::Absence(_) => false,
        }
    }
}

impl Shelf {
    fn new(stays: Vec<Stay>) -> Self {
        let mut by_quantity: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, stay) in stays.iter().enumerate() {
            by_quantity.entry(stay.quantity).or_default().push(index);
        }
        Self { stays, by_quantity }
    }

    /// The first position, from one on, where exactly so many are left.
    fn first_with(&self, quantity: u64, from: usize) -> Option<usize> {
        let stays = self.by_quantity.get(&quantity)?;
        let index = stays.get(stays.partition_point(|index| self.stays[*index].last < from))?;
        Some(self.stays[*index].first.max(from))
    }

    /// The first position, from one on, where fewer are left.
    fn first_below(&self, quantity: u64, from: usize) -> Option<usize> {
        let index = self.stays.partition_point(|stay| stay.last < from);
        let stay = self.stays[index..].iter().find(|stay| stay.quantity < quantity)?;
        Some(stay.first.max(from))
    }
}

mod tests {
    //! What no good store shows is found, each in a history that is wrong in one way.

    use std::time::{Duration, Instant};

    use super::*;

    fn at(ms: u64) -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(crate::processes::now) + Duration::from_millis(ms)
    }

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
        let span = |number: u64| Span {
            began: Some(at(10 + 20 * number)),
            ended: Some(at(20 + 20 * number)),
        };
        let spans: Vec<Span> = (0..4).map(span).collect();
        Ledger { initial_stock: 2, rows: &rows, spans: &spans }.check(observations)
    }

    const TUX: &str = TOYS[0];
    const UNO: &str = TOYS[1];

    #[test]
    fn what_a_good_store_shows_passes() {
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
        // It was under way, but somebody had seen it, or a later one.
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
}
