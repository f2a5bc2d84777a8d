//! What the catalog decides: who gets a toy, under which number, and who may ask for it.
//!
//! # The idea
//!
//! A purchase takes stock *and* makes an order. Where these are two steps in two places, every
//! crash between them leaves a half that somebody must find and repair. Here they are one: a
//! [`Change`] holds the stock, the order in the journal and the decision under the purchase's key,
//! and storage makes it in one transaction. Before it, nothing has happened; after it, asking again
//! with the same key tells what happened.
//!
//! ```text
//! leader 3        catalog                              leader 2
//!   | batch, epoch 7 |                                    |
//!   |--------------->| plan                               |
//!   | (pauses)       |<------------- acquire, ends epoch 7|
//!   |                | epoch 8, leader 2, durable         |
//!   | batch, epoch 7 |----------------------------------->|
//!   |--------------->|                                    |
//!   |<--- deposed ---| the transaction's own fence (8 > 7)|
//! ```
//!
//! # How it is used
//!
//! There is one writer. It plans a change ([`Stock::plan_batch`], [`Stock::plan_restock`]), has it
//! stored, and only then applies it here ([`Stock::apply`]): whoever reads sees nothing that a
//! crash could take back. A toy that some front-end may still show the old quantity of is not
//! *clear*; purchases of it are told to wait, and the others go on (see
//! [`sessions`](super::sessions)).
//!
//! # What must always hold
//!
//! Per toy, what was ever stocked less what was sold is what is left, and that is never below 0;
//! order numbers run from 0 without a gap; epochs only grow. These are asserted here, in
//! production, too: a catalog that finds itself wrong stops.

use std::collections::HashMap;

use crate::wire::lease::Version;
use crate::wire::order::{Order, OrderNumber, Position};
use crate::wire::purchase::{Decision, Purchase};
use crate::wire::quantity::Quantity;
use crate::wire::replication::{Acquisition, AcquisitionReply, CatalogStatus, Leadership};
use crate::wire::toy::{Toy, ToyName};

/// The stock, the journal's end and the leadership, as they are on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stock {
    shelves: Vec<Shelf>,
    initial: u64,
    journal: Position,
    leadership: Leadership,
}

/// A toy and its sums.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shelf {
    /// Name, price, and how many are left.
    pub toy: Toy,
    /// How many there ever were: the initial stock and all restocks.
    pub stocked: u64,
    /// How many were ever sold.
    pub sold: u64,
    /// Counts the changes.
    pub version: Version,
}

/// A decision that was taken earlier, and on what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recorded {
    /// The toy.
    pub name: ToyName,
    /// How many.
    pub quantity: Quantity,
    /// The order's number, or nothing for a refusal.
    pub number: Option<OrderNumber>,
}

/// What one transaction makes durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The toys whose stock changes, as they are then.
    pub shelves: Vec<Shelf>,
    /// The position that the new orders continue: the journal's end.
    pub after: Position,
    /// The new orders.
    pub orders: Vec<Order>,
    /// The new decisions, refusals included.
    pub decisions: Vec<(Purchase, Decision)>,
}

/// The toys' places on the shelves, by name; made once, as toys come and go with a restart only.
pub type Directory = HashMap<ToyName, usize>;

impl Stock {
    /// The stock as it was stored.
    #[must_use]
    pub fn new(
        shelves: Vec<Shelf>,
        initial: u64,
        journal: Position,
        leadership: Leadership,
    ) -> Self {
        shelves.iter().for_each(Shelf::assert_sum);
        Self { shelves, initial, journal, leadership }
    }

    /// The toys' places.
    #[must_use]
    pub fn directory(&self) -> Directory {
        self.shelves.iter().map(|shelf| shelf.toy.name.clone()).zip(0..).collect()
    }

    /// All shelves, in catalog order.
    #[must_use]
    pub fn shelves(&self) -> &[Shelf] {
        &self.shelves
    }

    /// Who leads, and where the journal ends.
    #[must_use]
    pub fn status(&self) -> CatalogStatus {
        CatalogStatus { leadership: self.leadership, journal: self.journal }
    }

    /// Restocks all toys that are sold out and clear.
    #[must_use]
    pub fn plan_restock(&self, is_clear: impl Fn(&ToyName) -> bool) -> Change {
        let restocked = self
            .shelves
            .iter()
            .filter(|shelf| shelf.toy.quantity == 0 && is_clear(&shelf.toy.name))
            .map(|sold_out| {
                let mut filled = sold_out.clone();
                filled.stocked += self.initial;
                filled.toy.quantity = self.initial;
                filled.version = filled.version.next();
                filled
            });
        Change {
            shelves: restocked.collect(),
            after: self.journal,
            orders: Vec::new(),
            decisions: Vec::new(),
        }
    }

    /// Publishes a change that is on disk.
    ///
    /// # Panics
    ///
    /// If the change was planned for another state than this one, or breaks an invariant.
    pub fn apply(&mut self, directory: &Directory, change: &Change) {
        assert_eq!(
            change.after, self.journal,
            "a change continues the journal that it was made on"
        );
        self.journal = change.orders.iter().fold(self.journal, Position::continued_by);
        for shelf in &change.shelves {
            let place = directory[&shelf.toy.name];
            let old = &self.shelves[place];
            assert!(
                shelf.version > old.version
                    && shelf.sold >= old.sold
                    && shelf.stocked >= old.stocked,
                "versions and sums of {} only grow",
                shelf.toy.name
            );
            shelf.assert_sum();
            self.shelves[place] = shelf.clone();
        }
    }

    /// Decides who leads next. The answer holds once it is durable and
    /// [adopted](Stock::adopt_leadership).
    ///
    /// Compare-and-set: an acquisition names the epoch that it wants to end. Of two that name the
    /// same epoch the second loses, and learns who won.
    ///
    /// `prefix` is the journal's position at the length of the nominee's log, if it reaches so far.
    #[must_use]
    pub fn plan_acquisition(
        &self,
        acquisition: &Acquisition,
        prefix: Option<Position>,
    ) -> AcquisitionReply {
        if acquisition.seen < self.leadership.epoch {
            return AcquisitionReply::Lost(self.status());
        }
        if prefix != Some(acquisition.log) {
            return AcquisitionReply::Foreign { journal: self.journal };
        }
        // Epochs come from here, so nobody has seen a newer one, unless this database was rebuilt
        // or brought back from a copy; then the next epoch must be newer than all that were seen.
        let leadership =
            Leadership { epoch: acquisition.seen.next(), leader: Some(acquisition.nominee) };
        AcquisitionReply::Won { leadership, journal: self.journal }
    }

    /// Publishes a leadership that is on disk.
    ///
    /// # Panics
    ///
    /// If the epoch does not grow.
    pub fn adopt_leadership(&mut self, leadership: Leadership) {
        assert!(leadership.epoch > self.leadership.epoch, "epochs only grow");
        self.leadership = leadership;
    }
}

impl Change {
    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shelves.is_empty() && self.orders.is_empty() && self.decisions.is_empty()
    }

    /// The toys whose stock changes, each with the version that it will have.
    #[must_use]
    pub fn touched(&self) -> Vec<(ToyName, Version)> {
        self.shelves.iter().map(|shelf| (shelf.toy.name.clone(), shelf.version)).collect()
    }
}

impl Shelf {
    fn assert_sum(&self) {
        assert_eq!(
            self.stocked.checked_sub(self.sold),
            Some(self.toy.quantity),
            "of {}, what was stocked less what was sold is what is left",
            self.toy.name
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::replication::{Epoch, ReplicaId};
    use crate::wire::toy::Price;

    pub(in crate::catalog) fn stock(quantity: u64) -> Stock {
        let shelf = |name: &str| Shelf {
            toy: Toy { name: name.into(), price: Price::from_cents(1599), quantity },
            stocked: quantity,
            sold: 0,
            version: Version(0),
        };
        let leadership = Leadership { epoch: Epoch(7), leader: Some(ReplicaId(3)) };
        Stock::new(vec![shelf("Tux"), shelf("Uno")], 100, Position::START, leadership)
    }

    #[test]
    fn of_two_acquisitions_that_end_one_epoch_the_second_loses() {
        let mut stock = stock(3);
        let ask = |nominee, seen| Acquisition {
            nominee: ReplicaId(nominee),
            seen: Epoch(seen),
            log: Position::START,
        };
        let won = stock.plan_acquisition(&ask(2, 7), Some(Position::START));
        let leadership = Leadership { epoch: Epoch(8), leader: Some(ReplicaId(2)) };
        assert_eq!(won, AcquisitionReply::Won { leadership, journal: Position::START });
        stock.adopt_leadership(leadership);
        let lost = stock.plan_acquisition(&ask(1, 7), Some(Position::START));
        let status = CatalogStatus { leadership, journal: Position::START };
        assert_eq!(lost, AcquisitionReply::Lost(status));
    }

    #[test]
    fn a_nominee_whose_log_is_no_prefix_of_the_journal_cannot_lead() {
        let stock = stock(3);
        let foreign = Position { length: 4, ..Position::START };
        let ask = Acquisition { nominee: ReplicaId(2), seen: Epoch(7), log: foreign };
        for prefix in [None, Some(Position::START)] {
            let answer = stock.plan_acquisition(&ask, prefix);
            assert_eq!(answer, AcquisitionReply::Foreign { journal: Position::START });
        }
    }

    #[test]
    fn a_restock_fills_only_what_is_sold_out_and_clear() {
        let mut stock = stock(2);
        stock.shelves[0] = Shelf { stocked: 2, sold: 2, ..stock.shelves[0].clone() };
        stock.shelves[0].toy.quantity = 0;
        assert!(stock.plan_restock(|_toy| false).is_empty());
        let change = stock.plan_restock(|_toy| true);
        assert_eq!(change.touched(), [("Tux".into(), Version(1))]);
        stock.apply(&stock.directory(), &change);
        let quantities: Vec<u64> = stock.shelves().iter().map(|s| s.toy.quantity).collect();
        assert_eq!(quantities, [100, 2]);
        assert_eq!((stock.shelves()[0].stocked, stock.shelves()[0].sold), (102, 2));
    }
}
