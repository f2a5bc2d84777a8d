//! Why a replica could not do what it was asked.

use std::fmt;

use crate::wire::replication::ReplicaId;

/// Why a replica could not do what it was asked.
#[derive(Debug)]
pub enum OrderError {
    /// The disk is full, or the replica is ending.
    Storage(String),
    /// Too many purchases are in flight.
    Busy,
    /// The catalog, which alone could tell, is unreachable.
    NoCatalog(String),
    /// The purchase was not decided in time.
    Undecided,
    /// This replica does not know yet which store it belongs to.
    NoStore,
    /// Another replica sends rows as if it led, and this one leads as far as it knows.
    Leads(ReplicaId),
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(problem) => f.write_str(problem),
            Self::Busy => f.write_str("too many purchases are in flight; retry in a moment"),
            Self::NoCatalog(problem) => write!(f, "the catalog is unreachable: {problem}"),
            Self::NoStore => f.write_str(
                "this replica is new, and the catalog does not say yet which store it belongs to",
            ),
            Self::Undecided => f.write_str("not decided yet; retry with the same key"),
            Self::Leads(id) => {
                write!(f, "replica {id} leads as far as it knows; it asks the catalog first")
            }
        }
    }
}
