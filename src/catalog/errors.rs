//! Why the catalog could not do what it was asked, and what that says of a change.

use std::fmt;

use super::core::WriteOutcome;
use super::core::history::Stopped;
use crate::storage::StorageError;
use crate::wire::calls::Refusal;
use crate::wire::replication::ReplicaId;
use crate::wire::term::{Term, WhoRules};

/// Why the catalog could not do what it was asked.
#[derive(Debug)]
pub enum CatalogError {
    /// The database did not do it, and nothing has changed.
    Storage(StorageError),
    /// Too many batches wait.
    Busy,
    /// The catalog is shutting down, or its term has ended.
    Ending,
    /// The catalog's term, this one, has ended.
    NotRuling(Term),
    /// A leader's log is longer than the journal.
    LogBeyondJournal,
    /// The journal may not sell.
    Stopped(Stopped),
    /// The catalog's roles.toml has no such front-end.
    UnknownFrontend(u32),
    /// The catalog's roles.toml has no such order replica.
    UnknownReplica(ReplicaId),
}

impl CatalogError {
    /// Returns what this error says about a change that was to be stored.
    pub(super) fn stored(&self) -> WriteOutcome {
        match self {
            Self::Ending => WriteOutcome::Unknown,
            Self::Storage(_)
            | Self::Busy
            | Self::LogBeyondJournal
            | Self::Stopped(_)
            | Self::NotRuling(_)
            | Self::UnknownFrontend(_)
            | Self::UnknownReplica(_) => WriteOutcome::Unchanged,
        }
    }
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Stopped(stopped) => stopped.fmt(f),
            Self::Busy => f.write_str("too many batches wait; retry in a moment"),
            Self::Ending => f.write_str("the catalog is shutting down; retry when it is back"),
            Self::NotRuling(term) => {
                write!(f, "this catalog does not rule: its term {term} has ended")
            }
            Self::UnknownFrontend(number) => write!(
                f,
                "the catalog's roles.toml has no front-end {number}; give all roles the same file"
            ),
            Self::UnknownReplica(id) => write!(
                f,
                "the catalog's roles.toml has no order replica {id}; give all roles the same file"
            ),
            Self::LogBeyondJournal => f.write_str(
                "the log is longer than the journal: one of the two databases belongs to another \
                 store",
            ),
        }
    }
}

impl From<CatalogError> for Refusal {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NotRuling(term) => Self::NotRuling(WhoRules { term, holder: None }),
            CatalogError::Storage(_)
            | CatalogError::Busy
            | CatalogError::Ending
            | CatalogError::LogBeyondJournal
            | CatalogError::Stopped(_)
            | CatalogError::UnknownFrontend(_)
            | CatalogError::UnknownReplica(_) => Self::Unavailable(error.to_string()),
        }
    }
}
