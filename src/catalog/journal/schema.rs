//! The tables of the catalog's database, and how it is opened for writing.

use std::path::Path;

use rusqlite::Connection;

use super::decisions;
use super::shelves::sold_of;
use crate::storage::checked::{TableChecks, check_pages};
use crate::storage::{StorageError, classify, log_table, open_writer};

const TABLES: &str = "
    -- A toy that was removed from roles.toml keeps its row, without a position, since the journal
    -- has its orders.
    CREATE TABLE IF NOT EXISTS stock (
        name     TEXT    PRIMARY KEY,
        position INTEGER,
        price    REAL    NOT NULL,
        quantity INTEGER NOT NULL CHECK (quantity >= 0),
        stocked  INTEGER NOT NULL,
        sold     INTEGER NOT NULL,
        version  INTEGER NOT NULL,
        CHECK (stocked - sold = quantity)
    ) STRICT, WITHOUT ROWID;
    CREATE VIEW IF NOT EXISTS products AS
        SELECT name, price, quantity FROM stock WHERE position IS NOT NULL ORDER BY position;
    CREATE VIEW IF NOT EXISTS journal AS SELECT number, name, quantity FROM log;
    CREATE TABLE IF NOT EXISTS cluster (
        id     INTEGER PRIMARY KEY CHECK (id = 1),
        epoch  INTEGER NOT NULL,
        leader INTEGER
    ) STRICT;
    INSERT OR IGNORE INTO cluster (id, epoch, leader) VALUES (1, 0, NULL);
    -- Which store this is; the token that the marker beside the file holds, too; and whether
    -- replicas must be heard before anything is sold.
    CREATE TABLE IF NOT EXISTS identity (
        id       INTEGER PRIMARY KEY CHECK (id = 1),
        store    INTEGER NOT NULL,
        token    INTEGER NOT NULL,
        in_doubt INTEGER NOT NULL CHECK (in_doubt IN (0, 1))
    ) STRICT;
    -- The sessions under which a front-end may still answer from its cache.
    CREATE TABLE IF NOT EXISTS sessions (
        boot   INTEGER NOT NULL,
        serial INTEGER NOT NULL,
        PRIMARY KEY (boot, serial)
    ) STRICT, WITHOUT ROWID;
";

/// What is to be checked in the database besides the log.
pub(super) const TABLE_CHECKS: TableChecks = TableChecks {
    small_tables: &["stock", "cluster", "identity", "sessions"],
    sold: sold_of,
    check_keys: decisions::check_piece,
};

/// What to do about a damaged database.
pub(super) const ADVICE: &str = "restore a backup, or move the file away and run \
                                 `toystore rebuild` (see docs/operations.md)";

/// Opens the database at `path` for writing, creates the tables that are missing, and checks its
/// pages.
pub(super) fn open(path: &Path) -> Result<Connection, StorageError> {
    let connection = open_unchecked(path)?;
    check_pages(&connection, path)?;
    Ok(connection)
}

/// The same, without the check of its pages.
pub(super) fn open_unchecked(path: &Path) -> Result<Connection, StorageError> {
    let mut connection = open_writer(path, &[log_table::SCHEMA, TABLES, decisions::SCHEMA])?;
    decisions::complete(&mut connection).map_err(|error| classify(path, &error))?;
    Ok(connection)
}
