//! Up to which order a database was found undamaged, so that a start need not read it all.
//!
//! # The idea
//!
//! Damage is to be found before anything rests on it, so a start reads the whole database. The time
//! that takes grows with every order. So beside a database of at least [`MANY`] orders lies a file,
//! the mark, that says up to which order it was undamaged. A start waits for what comes after; a
//! [thread](super::checker) reads everything while the role works, and damage ends the role:
//!
//! ```text
//! start          the mark:   10,000,000 orders, with this hash and these sums
//!                row 9,999,999 has that hash; the rows after it are read, and the sums compared
//! the role works the thread: all rows, the sums
//!                undamaged:  the mark is moved on, and again each 100,000 orders
//!                damaged:    the mark is removed, the role ends; its next start reads everything
//! ```
//!
//! A mark counts only if the database has an order with its number and its hash, and the sums
//! agree. So a damaged mark does no harm, nor does one beside an older database or another store's.
//! One beside a copy with the same orders counts; the thread reads that copy.
//!
//! Until the thread is done, damage to orders before the mark goes unnoticed. No answer to a retry
//! rests on them: decisions have hashes of their own, and the last one's is checked at each start.
//! Nor does the stock: it is compared with the sums. What only a start without a mark reads is how
//! pages hang together, such as the list of free ones: `PRAGMA quick_check` cannot be interrupted
//! and continued, and while it reads, a store that sells cannot empty SQLite's write-ahead log.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::log_table::position_before;
use super::walk::{Sold, Walk};
use super::{PRIVATE, StorageError, damage_or};

/// A database with fewer orders has no mark: to read it takes some tenths of a second. After as
/// many new orders the mark is moved on.
pub(crate) const MANY: u64 = 100_000;

/// What is to be checked in a database besides its log.
#[derive(Clone, Copy)]
pub(crate) struct TableChecks {
    /// Tables of so few rows that each start checks them.
    pub(crate) small_tables: &'static [&'static str],
    /// Reads how many of each toy were sold, if a table says so.
    pub(crate) sold: fn(&Connection) -> rusqlite::Result<Option<Sold>>,
    /// Checks at most so many rows from a key on, which is empty at first. Returns the key to go on
    /// from, if there are more.
    pub(crate) check_keys: fn(&Connection, &str, u64) -> rusqlite::Result<Option<String>>,
}

/// A database that was checked as far as a start waits for it.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Its orders.
    pub(crate) walk: Walk,
    /// Whether a mark spared the start a part.
    pub(super) is_by_mark: bool,
}

/// What the mark's file holds. One of another version counts as none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    undamaged: Walk,
}

/// Checks the database at `path`: what comes after its mark or, without one, everything.
///
/// # Errors
///
/// If it is damaged, or cannot be read.
pub(crate) fn check(
    connection: &Connection,
    path: &Path,
    checks: &TableChecks,
) -> Result<Checked, StorageError> {
    if let Some(walk) = fitting_mark(connection, path)? {
        match check_rest(connection, path, checks, walk) {
            Ok(walk) => return Ok(Checked { walk, is_by_mark: true }),
            // It may be the mark that is damaged.
            Err(StorageError::Corrupt(..)) => {}
            Err(error) => return Err(error),
        }
    }
    check_pages(connection, path)?;
    Ok(Checked { walk: check_rows(connection, path, checks)?, is_by_mark: false })
}

fn check_rest(
    connection: &Connection,
    path: &Path,
    checks: &TableChecks,
    mark: Walk,
) -> Result<Walk, StorageError> {
    for table in checks.small_tables {
        quick_check(connection, path, &format!("PRAGMA quick_check('{table}')"))?;
    }
    agreeing(connection, path, mark.completed(connection, path)?, checks)
}

/// Checks the structure of all pages.
///
/// # Errors
///
/// If it is damaged, or cannot be read.
pub(crate) fn check_pages(connection: &Connection, path: &Path) -> Result<(), StorageError> {
    quick_check(connection, path, "PRAGMA quick_check(1)")
}

fn quick_check(connection: &Connection, path: &Path, pragma: &str) -> Result<(), StorageError> {
    let verdict = connection.query_row(pragma, [], |row| row.get::<_, String>(0));
    match verdict.map_err(|error| damage_or(path, &error))? {
        verdict if verdict == "ok" => Ok(()),
        problem => Err(StorageError::Corrupt(path.to_owned(), problem)),
    }
}

/// Checks all rows of the log, and their sums.
///
/// # Errors
///
/// If they are damaged, or cannot be read.
pub(crate) fn check_rows(
    connection: &Connection,
    path: &Path,
    checks: &TableChecks,
) -> Result<Walk, StorageError> {
    agreeing(connection, path, Walk::start().completed(connection, path)?, checks)
}

/// Returns the walk if the database agrees with its sums.
pub(super) fn agreeing(
    connection: &Connection,
    path: &Path,
    walk: Walk,
    checks: &TableChecks,
) -> Result<Walk, StorageError> {
    let said = (checks.sold)(connection).map_err(|error| damage_or(path, &error))?;
    let Some(said) = said else { return Ok(walk) };
    for name in walk.sold.keys().chain(said.keys()) {
        let [ordered, sold] =
            [&walk.sold, &said].map(|sold| sold.get(name).copied().unwrap_or_default());
        if ordered != sold {
            let problem = format!(
                "the journal's orders of {name} add up to {ordered}, but the table stock says \
                 that {sold} were sold"
            );
            return Err(StorageError::Corrupt(path.to_owned(), problem));
        }
    }
    Ok(walk)
}

/// Reads the mark, if there is one and the database has its last order.
fn fitting_mark(connection: &Connection, path: &Path) -> Result<Option<Walk>, StorageError> {
    let text = fs::read(mark_path(path)).unwrap_or_default();
    let Ok(Mark { undamaged }) = serde_json::from_slice(&text) else { return Ok(None) };
    match position_before(connection, undamaged.end.length) {
        Ok(found) => Ok(found.filter(|found| *found == undamaged.end).map(|_| undamaged)),
        // The check of everything says what is wrong with it.
        Err(error) if error.sqlite_error_code().is_none() => Ok(None),
        Err(error) => Err(damage_or(path, &error)),
    }
}

pub(super) fn mark_path(path: &Path) -> PathBuf {
    path.with_extension("checked")
}

/// Replaces the mark of the database at `path`.
pub(super) fn write_mark(path: &Path, undamaged: Walk) -> io::Result<()> {
    let new = path.with_extension("checked-new");
    let written = || {
        // A crash may have left one.
        let _none = fs::remove_file(&new);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(PRIVATE).open(&new)?;
        file.write_all(&serde_json::to_vec(&Mark { undamaged })?)?;
        file.sync_all()?;
        fs::rename(&new, mark_path(path))
    };
    written().inspect_err(|_| drop(fs::remove_file(&new)))
}

/// Removes the mark of the database at `path`.
pub(crate) fn remove_mark(path: &Path) {
    // If it cannot be removed, the next start skips the same orders, and its thread reads them.
    let _none = fs::remove_file(mark_path(path));
}
