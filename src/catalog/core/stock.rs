//! The stock, the journal's end and the leadership: what the catalog has decided, and how one
//! decision changes it.
//!
//! # The idea
//!
//! A purchase takes stock *and* makes an order. If these were two steps in two places, each crash
//! between them would leave one half, to be found and repaired. Here they are one: a [`Change`]
//! holds the stock, the order in the journal and the decision under the purchase's key, and the
//! database writes it in one transaction. Before the transaction nothing has happened; after it, a
//! retry with the same key returns what happened.
//!
//! The epoch is a fencing token: only a batch of the current epoch and leader is decided. So a
//! leader that was paused, and does not know yet that it was replaced, can sell nothing:
//!
//! ```text
//! leader 3        catalog                              leader 2
//!   | batch, epoch 7 |                                    |
//!   |--------------->| decides                            |
//!   | (pauses)       |<------------- acquire, ends epoch 7|
//!   |                | epoch 8, leader 2; on disk         |
//!   |                |-------------------------- won ---->|
//!   | batch, epoch 7 |                                    |
//!   |--------------->| 7 < 8: decides nothing             |
//!   |<--- deposed ---|                                    |
//! ```
//!
//! # How it is used
//!
//! One task makes all changes. It plans a change ([`Stock::plan_batch`], [`Stock::plan_restock`]),
//! has it written, and only then applies it here ([`Stock::apply`]): readers see nothing that a
//! crash could take back. A toy that a front-end may still have cached is not *clear* (see
//! [`sessions`](super::sessions)): purchases of it are told to wait, and the others go on.
//!
//! # Invariants
//!
//! For each toy, the quantity is what was ever stocked less what was ever sold, and not below 0.
//! Order numbers run from 0 without a gap. Epochs only grow. These are asserted in production, too:
//! a catalog that finds itself wrong must stop.

use std::collections::HashMap;

use crate::wire::lease::Version;
use crate::wire::order::{Order, OrderNumber, Position};
use crate::wire::purchase::{IdempotencyKey, Purchase};
use crate::wire::quantity::Quantity;
use crate::wire::replication::{Acquisition, AcquisitionReply, CatalogStatus, Leadership};
use crate::wire::toy::{Toy, ToyName};

/// The stock, the journal's end and the leadership, as they are on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stock {
    shelves: Vec<Shelf>,
    /// The quantity of a toy at first and after a restock.
    initial: u64,
    journal: Position,
    leadership: Leadership,
    /// This catalog's start. Purchases that were made under another one are not decided.
    boot: Option<u64>,
}

/// The stock of one toy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shelf {
    /// Name, price, and the quantity that is left.
    pub toy: Toy,
    /// How many were ever put in stock: at first, and by all restocks.
    pub stocked: u64,
    /// How many were ever sold.
    pub sold: u64,
    /// Counts the changes, also those that were given up. (These are in memory only: the next
    /// change writes the version, and after a restart all sessions are new.)
    pub version: Version,
}

/// A decision that was taken earlier under a key, and on which purchase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordedDecision {
    /// The toy.
    pub name: ToyName,
    /// The quantity.
    pub quantity: Quantity,
    /// The order's number; `None` if the purchase was refused.
    pub number: Option<OrderNumber>,
}

/// What one transaction writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The new stock of the toys that change.
    pub shelves: Vec<Shelf>,
    /// The position that the new orders continue: the journal's end.
    pub after: Position,
    /// The new orders.
    pub orders: Vec<Order>,
    /// The new decisions with their keys, refusals included.
    pub decisions: Vec<(IdempotencyKey, RecordedDecision)>,
}

/// Each toy's place among the shelves, by name. It is built once: `roles.toml` is read at start.
pub type ToyIndex = HashMap<ToyName, usize>;

impl Change {
    /// Returns whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shelves.is_empty() && self.orders.is_empty() && self.decisions.is_empty()
    }

    /// Returns the toys whose stock changes, each with the version that it will have.
    #[must_use]
    pub fn touched(&self) -> Vec<(ToyName, Version)> {
        self.shelves.iter().map(|shelf| (shelf.toy.name.clone(), shelf.version)).collect()
    }

    /// Returns what changes, in a few words.
    #[must_use]
    pub fn in_words(&self) -> String {
        let refused = self.decisions.len().saturating_sub(self.orders.len());
        match (self.orders.as_slice(), refused) {
            ([], refused) => format!("{refused} refused"),
            ([one], 0) => format!("order {}: {} {}", one.number.0, one.quantity, one.name),
            ([first, .., last], 0) => format!("orders {}-{}", first.number.0, last.number.0),
            (orders, refused) => format!("{} orders, {refused} refused", orders.len()),
        }
    }
}

impl Stock {
    /// Creates the stock from what is on disk.
    #[must_use]
    pub fn new(
        shelves: Vec<Shelf>,
        initial: u64,
        journal: Position,
        leadership: Leadership,
    ) -> Self {
        shelves.iter().for_each(Shelf::assert_sum);
        Self { shelves, initial, journal, leadership, boot: None }
    }

    /// The same stock, at the start `boot` of its catalog.
    #[must_use]
    pub fn at_boot(self, boot: u64) -> Self {
        Self { boot: Some(boot), ..self }
    }

    /// Whether a purchase was made under this start of the catalog, as far as it says.
    pub(super) fn is_ours(&self, purchase: &Purchase) -> bool {
        self.boot.zip(purchase.boot).is_none_or(|(own, theirs)| own == theirs)
    }

    /// Builds the index of the toys.
    #[must_use]
    pub fn toy_index(&self) -> ToyIndex {
        self.shelves.iter().map(|shelf| shelf.toy.name.clone()).zip(0..).collect()
    }

    /// Returns the stock of all toys, in catalog order.
    #[must_use]
    pub fn shelves(&self) -> &[Shelf] {
        &self.shelves
    }

    /// Returns who leads, and where the journal ends.
    #[must_use]
    pub fn status(&self) -> CatalogStatus {
        CatalogStatus { leadership: self.leadership, journal: self.journal }
    }

    /// Plans a restock of all toys that are sold out and clear.
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

    /// Returns whether `change` was planned for the stock as it is.
    pub(super) fn is_as_planned(&self, toy_index: &ToyIndex, change: &Change) -> bool {
        let follows = |shelf: &Shelf| {
            shelf.version == self.shelves[toy_index[&shelf.toy.name]].version.next()
        };
        change.after == self.journal && change.shelves.iter().all(follows)
    }

    /// Applies a change that is on disk.
    ///
    /// # Panics
    ///
    /// If the change was planned for another state than this one, or breaks an invariant.
    pub fn apply(&mut self, toy_index: &ToyIndex, change: &Change) {
        assert_eq!(
            change.after, self.journal,
            "a change continues the journal that it was planned for"
        );
        self.journal = change.orders.iter().fold(self.journal, Position::continued_by);
        for shelf in &change.shelves {
            let place = toy_index[&shelf.toy.name];
            let old = &self.shelves[place];
            assert!(
                shelf.version > old.version
                    && shelf.sold >= old.sold
                    && shelf.stocked >= old.stocked,
                "the version and the totals of {} only grow",
                shelf.toy.name
            );
            shelf.assert_sum();
            self.shelves[place] = shelf.clone();
        }
    }

    /// Uses up the versions that toys would have had by a change that was given up. Front-ends that
    /// dropped a toy for it store nothing older from then on, so that the toy, which is as it was,
    /// must have that version to be cached again.
    pub(super) fn use_up(&mut self, toy_index: &ToyIndex, toys: &[(ToyName, Version)]) {
        for (toy, version) in toys {
            let present = &mut self.shelves[toy_index[toy]].version;
            *present = (*present).max(*version);
        }
    }

    /// Decides whether the nominee becomes leader. The answer is valid once the leadership is on
    /// disk and [adopted](Stock::adopt_leadership).
    ///
    /// This is a compare-and-set: an acquisition names the epoch that it is to end. Of two that
    /// name the same epoch the second loses, and is told who won. So does one that names an epoch
    /// which this catalog has not given: epochs come from here, and grow by one.
    ///
    /// `prefix` is the journal's position at the length of the nominee's log, if the journal is
    /// that long.
    #[must_use]
    pub fn plan_acquisition(
        &self,
        acquisition: &Acquisition,
        prefix: Option<Position>,
    ) -> AcquisitionReply {
        if acquisition.seen != self.leadership.epoch {
            return AcquisitionReply::Lost(self.status());
        }
        if prefix != Some(acquisition.log) {
            return AcquisitionReply::Foreign { journal: self.journal };
        }
        let leadership =
            Leadership { epoch: self.leadership.epoch.next(), leader: Some(acquisition.nominee) };
        AcquisitionReply::Won { leadership, journal: self.journal }
    }

    /// Adopts a leadership that is on disk.
    ///
    /// # Panics
    ///
    /// If the epoch does not grow.
    pub fn adopt_leadership(&mut self, leadership: Leadership) {
        assert!(leadership.epoch > self.leadership.epoch, "epochs only grow");
        self.leadership = leadership;
    }
}

impl Shelf {
    fn assert_sum(&self) {
        assert_eq!(
            self.stocked.checked_sub(self.sold),
            Some(self.toy.quantity),
            "the quantity of {} is what was stocked less what was sold",
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
        let status = CatalogStatus { leadership, journal: Position::START };
        for seen in [7, 9, crate::wire::count::LARGEST] {
            let lost = stock.plan_acquisition(&ask(1, seen), Some(Position::START));
            assert_eq!(lost, AcquisitionReply::Lost(status), "{seen} is not the epoch to end");
        }
    }

    #[test]
    fn a_nominee_whose_log_is_not_a_prefix_of_the_journal_cannot_lead() {
        let stock = stock(3);
        let foreign = Position { length: 4, ..Position::START };
        let ask = Acquisition { nominee: ReplicaId(2), seen: Epoch(7), log: foreign };
        for prefix in [None, Some(Position::START)] {
            let answer = stock.plan_acquisition(&ask, prefix);
            assert_eq!(answer, AcquisitionReply::Foreign { journal: Position::START });
        }
    }

    #[test]
    fn a_restock_fills_only_toys_that_are_sold_out_and_clear() {
        let mut stock = stock(2);
        stock.shelves[0] = Shelf { stocked: 2, sold: 2, ..stock.shelves[0].clone() };
        stock.shelves[0].toy.quantity = 0;
        assert!(stock.plan_restock(|_toy| false).is_empty());
        let change = stock.plan_restock(|_toy| true);
        assert_eq!(change.touched(), [("Tux".into(), Version(1))]);
        stock.apply(&stock.toy_index(), &change);
        let quantities: Vec<u64> = stock.shelves().iter().map(|s| s.toy.quantity).collect();
        assert_eq!(quantities, [100, 2]);
        assert_eq!((stock.shelves()[0].stocked, stock.shelves()[0].sold), (102, 2));
    }
}
