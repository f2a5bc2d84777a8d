//! The states that the store went through according to the journal, and whether clients saw those.
//!
//! The journal orders all purchases, and a toy is restocked when none is left and at no other time;
//! so each toy's quantities follow from the journal, restocks included. Only where among the orders
//! of *other* toys a restock happened is not known. What clients saw is therefore swept twice: for
//! each toy by itself with its restocks in their places, and for all together with a toy that is
//! sold out being either empty or full until it is bought again.

use std::collections::HashMap;

use super::sweep::{Observation, Span, sweep};
use crate::processes::{Row, TOYS};

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
    /// If a correct store could not have shown it; why.
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
