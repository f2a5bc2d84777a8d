//! What catalogs ask of a database that they share, of which one at a time rules.
//!
//! ```text
//! stands by   observe, observe, … ─► claim      (when, is decided by the core)
//! rules       load ─► commit, beat, commit, …   (every write is fenced by the term)
//! ends        leave, or the Tenure is dropped with its connections
//! ```
//!
//! A [`Tenure`] belongs to one term and to one server, and never connects again: after any doubt
//! the catalog drops it and stands by. So a write whose outcome is unknown needs no inquiry. The
//! next claim either follows it or fences it.

use std::sync::Arc;

pub use super::core::term::Beat;
use super::journal::Loaded;
use super::storage::Storage;
use crate::storage::Outcome;
use crate::wire::identity::StoreId;
use crate::wire::order::Position;
use crate::wire::term::{CatalogId, Term};

/// A database that several catalogs share.
///
/// No call takes longer than its time limit, which the database keeps itself; one that fails for
/// any reason is [`Lost`](crate::storage::StorageError::Lost), or
/// [`Unusable`](crate::storage::StorageError::Unusable) if a person must act.
pub trait SharedDatabase: Send + Sync {
    /// Finds the primary, and reads there who rules.
    fn observe(&self) -> Outcome<'_, Observed>;

    /// Begins the term after `seen`, at the primary where that was observed, if nothing has been
    /// written since. It is on the standbys, too, when this ends. `None` if another catalog was
    /// faster, or the one that rules lives.
    fn claim(&self, seen: Beat) -> Outcome<'_, Option<Arc<dyn Tenure>>>;
}

/// A term that this process has claimed. All calls go to the server where it was claimed.
///
/// After [`Deposed`](crate::storage::StorageError::Deposed) (nothing has changed) or
/// [`Lost`](crate::storage::StorageError::Lost) (it may have) the term has to end.
pub trait Tenure: Storage {
    /// The term.
    fn term(&self) -> Term;

    /// Reads what the catalog begins with, after checks: the last row of the log is at the length
    /// and chain of the fenced row, and each toy's sum is right.
    fn load(&self) -> Outcome<'_, Loaded>;

    /// Writes that the catalog lives; it is on the standbys, too, when this ends.
    fn beat(&self) -> Outcome<'_, Beaten>;

    /// How many synchronous standbys the database had at the last write, a beat or another.
    fn standbys(&self) -> u32;

    /// Gives the term up in order, so that another catalog may claim at once.
    fn leave(&self) -> Outcome<'_, ()>;
}

/// What a catalog that stands by sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The newest write of the catalog that rules.
    pub beat: Beat,
    /// The catalog that rules; `None` if it has left in order, or none has ruled yet.
    pub holder: Option<CatalogId>,
    /// The store.
    pub store: StoreId,
    /// The journal's end.
    pub journal: Position,
    /// The server, as a person would name it: host and port.
    pub primary: String,
    /// How many synchronous standbys it has.
    pub standbys: u32,
}

/// The answer to a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beaten {
    /// How many synchronous standbys the primary has.
    pub standbys: u32,
}
