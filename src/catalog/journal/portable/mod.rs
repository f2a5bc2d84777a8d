//! The contents of a store's catalog, to be moved between SQLite and PostgreSQL in pieces.
//!
//! Neither side is ever in memory as a whole: of its orders and decisions there are [`PIECE`] rows
//! at a time. So two stores are compared by a [`ContentsSummary`], which a walk through each of
//! them computes:
//!
//! ```text
//! source   head ─► orders, orders, … ─► decisions, decisions, …   a summary
//! target   head ─► orders, orders, … ─► decisions, decisions, …   the same, of what was written
//! ```
//!
//! A target is no store before its walk has ended and was compared. A file is written under another
//! name until then. What a process that was killed leaves there can be removed.

mod source;
mod target;

use sha2::{Digest as _, Sha256};

pub use self::source::SourceFile;
pub use self::target::TargetFile;
use crate::catalog::core::stock::RecordedDecision;
use crate::storage::StorageError;
use crate::wire::identity::StoreId;
use crate::wire::order::{Order, Position};
use crate::wire::purchase::IdempotencyKey;
use crate::wire::replication::Leadership;

/// Rows that are read or written at once: at most some 3 MB, since names and keys are bounded.
pub const PIECE: u64 = 2_000;

/// All that belongs to a catalog but its orders and decisions, which grow for ever, and its
/// sessions: those of front-ends end before another catalog sells.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The store.
    pub store: StoreId,
    /// Who leads.
    pub leadership: Leadership,
    /// A row for each toy, also for those that are not sold any more, by name.
    pub stock: Vec<StockRow>,
}

/// A toy's row in the table `stock`.
#[derive(Clone, Debug, PartialEq)]
pub struct StockRow {
    /// The toy.
    pub name: String,
    /// Its place in `roles.toml`.
    pub position: Option<i64>,
    /// Its price.
    pub price: f64,
    /// How many are left, were ever stocked and were ever sold, and the version.
    pub counts: [i64; 4],
}

/// A recorded decision with its key.
pub type KeyedDecision = (IdempotencyKey, RecordedDecision);

/// What a walk through a catalog's contents has found. It is equal for equal contents only.
#[derive(Clone, Debug, PartialEq)]
pub struct ContentsSummary {
    /// The head.
    pub head: Head,
    /// Where the journal ends, with the hash of all orders.
    pub journal: Position,
    /// All decisions.
    pub decisions: DecisionsSummary,
}

/// How many decisions there are, and a hash of all of them in the order of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecisionsSummary {
    /// How many there are.
    pub count: u64,
    hash: [u8; 32],
}

/// What takes the pieces of a walk.
pub trait Sink {
    /// Takes orders that follow those before.
    ///
    /// # Errors
    ///
    /// If they cannot be stored.
    fn take_orders(&mut self, orders: &[Order]) -> Result<(), StorageError>;

    /// Takes decisions, whose keys follow those before.
    ///
    /// # Errors
    ///
    /// If they cannot be stored.
    fn take_decisions(&mut self, decisions: &[KeyedDecision]) -> Result<(), StorageError>;
}

impl DecisionsSummary {
    /// Counts decisions that follow those before.
    pub fn add(&mut self, decisions: &[KeyedDecision]) {
        for (key, decision) in decisions {
            let mut hasher = Sha256::new();
            hasher.update(self.hash);
            for text in [key.as_str(), decision.name.as_str()] {
                hasher.update((text.len() as u64).to_be_bytes());
                hasher.update(text);
            }
            hasher.update(decision.quantity.get().to_be_bytes());
            // No order has the largest number.
            let number = decision.number.map_or(u64::MAX, |number| number.0);
            hasher.update(number.to_be_bytes());
            self.hash = hasher.finalize().into();
            self.count += 1;
        }
    }
}

/// Only the summary is of interest.
impl Sink for () {
    fn take_orders(&mut self, _orders: &[Order]) -> Result<(), StorageError> {
        Ok(())
    }

    fn take_decisions(&mut self, _decisions: &[KeyedDecision]) -> Result<(), StorageError> {
        Ok(())
    }
}
