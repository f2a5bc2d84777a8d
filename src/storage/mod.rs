//! What the catalog's database and the replicas' databases share: how an SQLite file is opened,
//! written, checked and set aside.
//!
//! Each database has one connection that writes, on a thread of its own, and one that reads, on
//! another. Jobs are sent to the threads as closures, so that no server thread waits for a disk. A
//! third thread reads everything in search of damage, so that a start need not: see `checked`.
//!
//! # When a write fails
//!
//! A transaction is on disk when its job completes (`journal_mode=WAL` and `synchronous=FULL`:
//! SQLite syncs the write-ahead log at each commit). If SQLite reports an I/O error, it is unknown
//! whether the transaction will be there after a restart. A second fsync would not help: the kernel
//! may have dropped the dirty pages, and report success (Rebello et al., "Can Applications Recover
//! from fsync Failures?", USENIX ATC 2020). So the process shuts down, its next run reads what is
//! on disk, and clients retry under the same keys. A full disk is different: SQLite has rolled the
//! transaction back, nothing has changed, and reads go on. So is a file system that has become
//! read-only, as ext4 does after an error: it takes no write at all.

pub(crate) mod checked;
pub(crate) mod checker;
pub(crate) mod log_table;
mod metrics;
mod room;
pub(crate) mod snapshot;
pub(crate) mod walk;
mod worker;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{OpenOptions, Permissions, set_permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use futures_util::future::LocalBoxFuture;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, ffi};

use self::checked::remove_mark;
pub use self::metrics::DatabaseMetrics;
pub(crate) use self::metrics::{commit_seconds, waiting};
pub(crate) use self::room::Room;
pub(crate) use self::worker::Worker;

use crate::failpoint;
use crate::wire::replication::Unwritable;

/// How long SQLite waits for another process's lock, such as one of the `sqlite3` shell.
const BUSY_TIMEOUT_MS: u32 = 2_000;
/// What remains of the write-ahead log, in bytes, once it was empty after a time in which a reader
/// kept it from being emptied.
const LARGEST_EMPTY_WAL: i64 = 16 << 20;
/// The mode of files that hold keys: only their owner may read them.
const PRIVATE: u32 = 0o600;
/// Prepared statements that a connection keeps: more than there are in the code.
const CACHED_STATEMENTS: usize = 32;

/// Why a job of a database failed.
#[derive(Debug)]
pub enum StorageError {
    /// The disk is full. Nothing has changed.
    Full(PathBuf),
    /// The file system is read-only. Nothing has changed.
    ReadOnly(PathBuf),
    /// Too many jobs wait, or another process holds a lock. Nothing has changed.
    Busy(PathBuf),
    /// The write before it, which it continues, was not done. Nothing has changed.
    Discontinued(PathBuf),
    /// The database failed. Whether the last transaction is on disk is unknown.
    Broken(PathBuf, String),
    /// The database contains what no run of the store can have written.
    Corrupt(PathBuf, String),
    /// On a database that several catalogs share: another catalog rules. Nothing has changed.
    Deposed,
    /// On such a database: it did not answer as it should, and why. Whether the last write was
    /// made is unknown.
    Lost(String),
    /// On such a database: no catalog can use it before a person has acted, and why. Nothing has
    /// changed.
    Unusable(String),
}

/// The outcome of a request to a database.
pub type Outcome<'a, T> = LocalBoxFuture<'a, Result<T, StorageError>>;

/// Opens the database at `path` for writing, with the settings that durability needs. Its contents
/// are still to be [checked].
pub(crate) fn open_writer(path: &Path, schema: &[&str]) -> Result<Connection, StorageError> {
    make_private(path);
    let open = || {
        let connection = Connection::open(path)?;
        configure(&connection)?;
        for part in schema {
            connection.execute_batch(part)?;
        }
        log_table::complete(&connection)?;
        Ok(connection)
    };
    let connection = open().map_err(|error| classify(path, &error))?;
    check_tables(&connection, path, schema)?;
    check_settings(&connection, path)?;
    Ok(connection)
}

/// Opens the database at `path` for reading.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StorageError> {
    let open = || {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS.into()))?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        connection.pragma_update(None, "cell_size_check", true)?;
        Ok(connection)
    };
    open().map_err(|error| classify(path, &error))
}

/// Renames a damaged database, and SQLite's files beside it. Returns the new name.
pub(crate) fn rename_aside(path: &Path) -> Result<PathBuf, StorageError> {
    remove_mark(path);
    let aside = free_name(path);
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::Broken(path.to_owned(), error.to_string()));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(aside)
}

/// Returns the first of `order-1.db.aside-1`, `order-1.db.aside-2` … that does not exist.
pub(crate) fn free_name(path: &Path) -> PathBuf {
    let mut names = (1_u64..).map(|count| with_suffix(path, &format!(".aside-{count}")));
    let is_free = |name: &PathBuf| ["", "-wal"].iter().all(|it| !with_suffix(name, it).exists());
    names.find(is_free).expect("there are more numbers than files")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS.into()))?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", LARGEST_EMPTY_WAL)
}

/// Gives the file at `path` to its owner alone, and creates it if there is none. SQLite gives the
/// files that it makes beside it the same mode.
pub(crate) fn make_private(path: &Path) {
    let mut options = OpenOptions::new();
    // What keeps it from being opened keeps SQLite, too, which says so.
    let Ok(_created) = options.create(true).append(true).mode(PRIVATE).open(path) else { return };
    for suffix in ["", "-wal", "-shm"] {
        // Another user's file keeps its mode.
        let _kept = set_permissions(with_suffix(path, suffix), Permissions::from_mode(PRIVATE));
    }
}

/// Checks that the database has no other tables than `schema` makes: the name of one that is
/// damaged, so that an empty table was just made in its place, would be another one.
fn check_tables(connection: &Connection, path: &Path, schema: &[&str]) -> Result<(), StorageError> {
    let names = |connection: &Connection| -> rusqlite::Result<BTreeSet<String>> {
        let sql =
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    let expected = || -> rusqlite::Result<BTreeSet<String>> {
        let model = Connection::open_in_memory()?;
        schema.iter().try_for_each(|part| model.execute_batch(part))?;
        names(&model)
    };
    let read = || Ok((names(connection)?, expected()?));
    let (found, expected) = read().map_err(|error| classify(path, &error))?;
    let Some(unknown) = found.difference(&expected).next() else { return Ok(()) };
    let problem = format!("a store has no table `{}`", unknown.escape_debug());
    Err(StorageError::Corrupt(path.to_owned(), problem))
}

/// Commits a transaction. A test can make the disk hang or be full here.
pub(crate) fn commit(transaction: Transaction<'_>) -> rusqlite::Result<()> {
    failpoint::pass(failpoint::DISK_HANGS);
    if failpoint::fails(failpoint::DISK_FULL) {
        transaction.rollback()?;
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None));
    }
    transaction.commit()
}

/// Moves all of SQLite's write-ahead log into the database file.
pub(crate) fn checkpoint(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(()))
}

/// Reads the settings back: SQLite ignores a pragma that it cannot follow, and reports no error.
fn check_settings(connection: &Connection, path: &Path) -> Result<(), StorageError> {
    let read = || {
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        let level: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        Ok((mode, level))
    };
    let (mode, level) = read().map_err(|error| classify(path, &error))?;
    if mode == "wal" && level == 2 {
        return Ok(());
    }
    Err(StorageError::Broken(
        path.to_owned(),
        format!(
            "SQLite set journal_mode to {mode} and synchronous to {level}, but wal and 2 (FULL) \
             are needed; put data_dir on a local disk"
        ),
    ))
}

/// Says what an error of SQLite means that came when a row was read: without a code, a value has
/// the wrong type, which is damage.
pub(crate) fn damage_or(path: &Path, error: &rusqlite::Error) -> StorageError {
    match error.sqlite_error_code() {
        None => StorageError::Corrupt(path.to_owned(), error.to_string()),
        Some(_) => classify(path, error),
    }
}

/// Says what an error of SQLite means for the transaction.
pub(crate) fn classify(path: &Path, error: &rusqlite::Error) -> StorageError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StorageError::Full(path.to_owned()),
        Some(ErrorCode::ReadOnly) => StorageError::ReadOnly(path.to_owned()),
        // SQLite has no code of its own for a write that a read-only file system refuses.
        Some(ErrorCode::SystemIoFailure)
            if Room::beside(path).check().is_err_and(|error| is_read_only(&error)) =>
        {
            StorageError::ReadOnly(path.to_owned())
        }
        // Another process has a transaction open, such as a shell; ours has not begun.
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StorageError::Busy(path.to_owned())
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StorageError::Corrupt(path.to_owned(), error.to_string())
        }
        _ => StorageError::Broken(path.to_owned(), error.to_string()),
    }
}

impl StorageError {
    /// Returns whether the database refused the job and can do others: nothing has changed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Full(_) | Self::ReadOnly(_) | Self::Busy(_) | Self::Discontinued(_) => true,
            Self::Broken(..)
            | Self::Corrupt(..)
            | Self::Deposed
            | Self::Lost(_)
            | Self::Unusable(_) => false,
        }
    }

    /// Says what to do about damage, if that is the error.
    pub(crate) fn with_advice(self, advice: &str) -> Self {
        if let Self::Corrupt(path, problem) = &self
            && !problem.ends_with(advice)
        {
            return Self::Corrupt(path.clone(), format!("{problem}; {advice}"));
        }
        self
    }

    /// Returns why the disk takes no writes, if that is the error.
    #[must_use]
    pub fn unwritable(&self) -> Option<Unwritable> {
        match self {
            Self::Full(_) => Some(Unwritable::Full),
            Self::ReadOnly(_) => Some(Unwritable::ReadOnly),
            Self::Busy(_)
            | Self::Discontinued(_)
            | Self::Broken(..)
            | Self::Corrupt(..)
            | Self::Deposed
            | Self::Lost(_)
            | Self::Unusable(_) => None,
        }
    }
}

fn is_read_only(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ReadOnly)
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(path) => {
                write!(f, "the disk is full: {} is unchanged; free some space", path.display())
            }
            Self::ReadOnly(path) => write!(
                f,
                "the file system is read-only: {} is unchanged; see the kernel's log, and mount it \
                 for writing again",
                path.display()
            ),
            Self::Busy(path) => {
                write!(f, "the database {} is busy; try again in a moment", path.display())
            }
            Self::Discontinued(path) => write!(
                f,
                "the write before this one was not done: {} is unchanged; both are tried again",
                path.display()
            ),
            Self::Broken(path, problem) => {
                write!(f, "the database {} cannot be used: {problem}", path.display())
            }
            Self::Corrupt(path, problem) => {
                write!(f, "the database {} is damaged: {problem}", path.display())
            }
            Self::Deposed => f.write_str("another catalog rules"),
            Self::Lost(problem) => write!(f, "the database is lost: {problem}"),
            Self::Unusable(problem) => write!(f, "the database cannot be used: {problem}"),
        }
    }
}

impl std::error::Error for StorageError {}
