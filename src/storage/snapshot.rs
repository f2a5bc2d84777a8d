//! Copies of databases, and what a database contains, for backups.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::checked::check_pages;
use super::log_table::{open_any, rows, store_of, verify};
use super::{StorageError, classify, make_private, open_reader};
use crate::wire::identity::StoreId;
use crate::wire::order::Position;

/// Which orders a database contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inspected {
    /// The store that it belongs to. `None` if it does not say.
    pub(crate) store: Option<StoreId>,
    /// Where its orders end.
    pub(crate) end: Position,
}

/// All pages at once: the copy is the database as it was at one time, however long that takes.
const ALL_PAGES: i32 = -1;

/// Copies the database at `from`, which may be in use, to the new file at `to`.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), StorageError> {
    let source = open_reader(from)?;
    let copied = || {
        make_private(to);
        let mut copy = Connection::open(to)?;
        let step = Backup::new(&source, &mut copy)?.step(ALL_PAGES)?;
        // One file, without a write-ahead log beside it.
        copy.pragma_update(None, "journal_mode", "DELETE")?;
        Ok(step)
    };
    match copied().map_err(|error| classify(to, &error))? {
        StepResult::Done => Ok(()),
        // Other processes may hold locks, such as a shell.
        StepResult::More | StepResult::Busy | StepResult::Locked | _ => {
            Err(StorageError::Busy(from.to_owned()))
        }
    }
}

/// Checks the whole database at `path`, and returns what it contains.
pub(crate) fn inspect(path: &Path) -> Result<Inspected, StorageError> {
    let connection = open_any(path)?;
    check_pages(&connection, path)?;
    let store = store_of(&connection).map_err(|error| classify(path, &error))?;
    Ok(Inspected { store, end: verify(&connection, path)? })
}

/// Whether the database at `path` has all orders up to `end`.
pub(crate) fn has(path: &Path, end: Position) -> Result<bool, StorageError> {
    let found = rows(&open_any(path)?, end.length, 0).map_err(|error| classify(path, &error))?;
    Ok(found.is_some_and(|rows| rows.after == end))
}
