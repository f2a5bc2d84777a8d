//! An SQLite file that a store is moved to, written in pieces.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, named_params, params};

use super::{ContentsSummary, Head, KeyedDecision, Sink, SourceFile, StockRow};
use crate::catalog::journal::{decisions, open};
use crate::storage::checked::remove_mark;
use crate::storage::log_table::insert;
use crate::storage::{StorageError, checkpoint, classify, commit};
use crate::wire::order::{Order, Position};
use crate::wire::replication::ReplicaId;

/// An SQLite file that a store is moved to.
pub struct TargetFile {
    connection: Connection,
    path: PathBuf,
    /// What the file is called until it is whole.
    partial: PathBuf,
    end: Position,
    is_whole: bool,
}

impl TargetFile {
    /// Begins a file at `path`, where there is none.
    ///
    /// # Errors
    ///
    /// If there is one, or it cannot be written.
    pub fn create(path: &Path) -> Result<Self, StorageError> {
        refuse_existing(path)?;
        let partial = with_suffix(path, &format!(".partial-{}", std::process::id()));
        // The process of the same id that made one is dead.
        remove(&partial);
        let connection = open(&partial)?;
        let (path, end) = (path.to_owned(), Position::START);
        Ok(Self { connection, path, partial, end, is_whole: false })
    }

    /// Writes the head, checks what was written, and gives the file its name if it holds what
    /// `source` tells of. A catalog that starts with it hears every replica before it sells.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or does not hold that.
    pub fn finish(mut self, source: &ContentsSummary) -> Result<(), StorageError> {
        self.write(|transaction| fill(transaction, &source.head))?;
        if SourceFile::open(&self.partial)?.summary()? != *source {
            return Err(StorageError::Corrupt(
                self.partial.clone(),
                "it does not hold what was written to it".into(),
            ));
        }
        checkpoint(&mut self.connection).map_err(|error| classify(&self.partial, &error))?;
        // One file, without a write-ahead log beside it.
        let alone = self.connection.pragma_update(None, "journal_mode", "DELETE");
        alone.map_err(|error| classify(&self.partial, &error))?;
        refuse_existing(&self.path)?;
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new("."));
        // It was of another file of this name.
        remove_mark(&self.path);
        let named = File::open(&self.partial)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&self.partial, &self.path))
            .and_then(|()| File::open(folder)?.sync_all());
        named.map_err(|error| StorageError::Broken(self.path.clone(), error.to_string()))?;
        self.is_whole = true;
        Ok(())
    }

    fn write(
        &mut self,
        fill: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StorageError> {
        let written = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            fill(&transaction)?;
            commit(transaction)
        };
        written().map_err(|error| classify(&self.partial, &error))
    }
}

impl Sink for TargetFile {
    fn take_orders(&mut self, orders: &[Order]) -> Result<(), StorageError> {
        let (after, mut end) = (self.end, self.end);
        self.write(|transaction| {
            end = insert(transaction, after, orders)?;
            Ok(())
        })?;
        self.end = end;
        Ok(())
    }

    fn take_decisions(&mut self, entries: &[KeyedDecision]) -> Result<(), StorageError> {
        self.write(|transaction| decisions::insert(transaction, entries))
    }
}

impl Drop for TargetFile {
    fn drop(&mut self) {
        if !self.is_whole {
            remove(&self.partial);
        }
    }
}

fn fill(transaction: &Transaction<'_>, head: &Head) -> rusqlite::Result<()> {
    let mut shelve = transaction.prepare(
        "INSERT INTO stock (name, position, price, quantity, stocked, sold, version)
         VALUES (:name, :position, :price, :quantity, :stocked, :sold, :version)",
    )?;
    for StockRow { name, position, price, counts: [quantity, stocked, sold, version] } in
        &head.stock
    {
        shelve.execute(named_params! {
            ":name": name, ":position": position, ":price": price, ":quantity": quantity,
            ":stocked": stocked, ":sold": sold, ":version": version,
        })?;
    }
    let leader = head.leadership.leader.map(|ReplicaId(id)| id);
    transaction.execute(
        "UPDATE cluster SET epoch = ?1, leader = ?2",
        params![head.leadership.epoch.0, leader],
    )?;
    transaction.execute(
        "INSERT INTO identity (id, store, token, in_doubt) VALUES (1, ?1, 0, 1)",
        [head.store.get()],
    )?;
    Ok(())
}

fn refuse_existing(path: &Path) -> Result<(), StorageError> {
    if !path.exists() {
        return Ok(());
    }
    let problem = format!("{} exists already; name a new file", path.display());
    Err(StorageError::Unusable(problem))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Removes a file of this process's own, and SQLite's files beside it. What stays is no store: its
/// name says what it is.
fn remove(partial: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _stays = std::fs::remove_file(with_suffix(partial, suffix));
    }
}
