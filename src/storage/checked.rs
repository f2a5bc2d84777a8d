//! What of a database was read and found in order, so that a start need not read everything.
//!
//! # The idea
//!
//! Damage is to be found before anything rests on it, so a start reads the whole database. The time
//! that takes grows with every order. So beside a database of at least [`MANY`] orders lies a file,
//! the mark, that says up to which order it was in order. A start waits for what comes after; a
//! thread reads everything while the role works, and damage ends the role:
//!
//! ```text
//! start          the mark:   10,000,000 orders, with this hash and these sums
//!                row 9,999,999 has that hash; the rows after it are read, and the sums compared
//! the role works the thread: all pages, all rows, the sums
//!                in order:   the mark is moved on, and again each 100,000 orders
//!                damaged:    the mark is removed, the role ends; its next start reads everything
//! ```
//!
//! A mark that does not fit its database counts as none: one that was damaged, lies beside a
//! database that was restored or replaced, or was written before its orders were on disk.
//!
//! What a start does not notice is damage before the mark, for as long as the thread reads. No
//! answer to a retry rests on it ([`decisions`](crate::catalog::journal::decisions) have hashes of
//! their own), and the stock that is sold from is compared with the journal's sums.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::log_table::position_before;
use super::walk::{Sold, Walk};
use super::{PRIVATE, StorageError, classify};

/// A database with fewer orders is read as a whole at each start, which takes some tenths of a
/// second. A mark is moved on when there are as many more.
pub(crate) const MANY: u64 = 100_000;
/// Reads how many of each toy the database says were sold, where it says so besides its log.
pub(crate) type SoldOf = fn(&Connection) -> rusqlite::Result<Option<Sold>>;

/// A database that was checked as far as a start waits for it.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Its orders.
    pub(crate) walk: Walk,
    /// Whether a mark spared the start a part.
    pub(super) is_by_mark: bool,
}

/// Checks the database at `path`: what comes after its mark or, without one, everything.
///
/// # Errors
///
/// If it is damaged, or cannot be read.
pub(crate) fn check(
    connection: &Connection,
    path: &Path,
    sold: SoldOf,
) -> Result<Checked, StorageError> {
    if let Some(mark) = fitting_mark(connection, path)? {
        let walk = mark.completed(connection, path);
        match walk.and_then(|walk| agreeing(connection, path, walk, sold)) {
            Ok(walk) => return Ok(Checked { walk, is_by_mark: true }),
            // It may be the mark that is damaged.
            Err(StorageError::Corrupt(..)) => {}
            Err(error) => return Err(error),
        }
    }
    check_pages(connection, path)?;
    Ok(Checked { walk: check_rows(connection, path, sold)?, is_by_mark: false })
}

/// Checks all rows of the log, and their sums.
///
/// # Errors
///
/// If they are damaged, or cannot be read.
pub(crate) fn check_rows(
    connection: &Connection,
    path: &Path,
    sold: SoldOf,
) -> Result<Walk, StorageError> {
    agreeing(connection, path, Walk::start().completed(connection, path)?, sold)
}

/// Checks the structure of all pages.
///
/// # Errors
///
/// If it is damaged, or cannot be read.
pub(crate) fn check_pages(connection: &Connection, path: &Path) -> Result<(), StorageError> {
    let verdict = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match verdict.map_err(|error| classify(path, &error))? {
        verdict if verdict == "ok" => Ok(()),
        problem => Err(StorageError::Corrupt(path.to_owned(), problem)),
    }
}

/// Returns the walk if the database agrees with its sums.
pub(super) fn agreeing(
    connection: &Connection,
    path: &Path,
    walk: Walk,
    sold: SoldOf,
) -> Result<Walk, StorageError> {
    let Some(said) = sold(connection).map_err(|error| classify(path, &error))? else {
        return Ok(walk);
    };
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
    let Ok(mark) = serde_json::from_slice::<Walk>(&text) else { return Ok(None) };
    match position_before(connection, mark.end.length) {
        Ok(found) => Ok(found.filter(|found| *found == mark.end).map(|_| mark)),
        // The check of everything says what is wrong with it.
        Err(error) if error.sqlite_error_code().is_none() => Ok(None),
        Err(error) => Err(classify(path, &error)),
    }
}

pub(super) fn mark_path(path: &Path) -> PathBuf {
    path.with_extension("checked")
}

pub(super) fn write_mark(path: &Path, walk: &Walk) -> io::Result<()> {
    let (mark, new) = (mark_path(path), path.with_extension("checked-new"));
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(PRIVATE).open(&new)?;
    file.write_all(&serde_json::to_vec(walk)?)?;
    file.sync_all()?;
    fs::rename(new, mark)
}

pub(super) fn remove_mark(path: &Path) {
    // There may be none; one that cannot be removed does not fit when the log was set aside.
    let _none = fs::remove_file(mark_path(path));
}
