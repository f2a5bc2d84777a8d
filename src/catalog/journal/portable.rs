//! The contents of a store's catalog, to be moved between SQLite and PostgreSQL in pieces.
//!
//! Neither side is ever in memory as a whole: of its orders and decisions there are [`PIECE`] rows
//! at a time. So two stores are compared by a [`Summary`], which a walk through each of them
//! computes:
//!
//! ```text
//! source   head ─► orders, orders, … ─► decisions, decisions, …   a summary
//! target   head ─► orders, orders, … ─► decisions, decisions, …   the same, of what was written
//! ```
//!
//! A target is no store before its walk has ended and was compared. A file is written under another
//! name until then. What a process that was killed leaves there can be removed.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, named_params, params};
use sha2::{Digest as _, Sha256};

use super::shelves::check_sums;
use super::{decisions, open};
use crate::catalog::core::stock::RecordedDecision;
use crate::storage::log_table::{insert, open_any, rows, store_of, verify};
use crate::storage::{StorageError, checkpoint, classify, commit};
use crate::wire::identity::StoreId;
use crate::wire::order::{Order, OrderNumber, Position};
use crate::wire::purchase::IdempotencyKey;
use crate::wire::quantity::Quantity;
use crate::wire::replication::{Epoch, Leadership, ReplicaId};

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
pub struct Summary {
    /// The head.
    pub head: Head,
    /// Where the journal ends, with the hash of all orders.
    pub journal: Position,
    /// All decisions.
    pub decisions: Tally,
}

/// How many decisions there are, and a hash of all of them in the order of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
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

/// An SQLite file that a store is moved from.
pub struct SourceFile {
    connection: Connection,
    path: PathBuf,
}

/// An SQLite file that a store is moved to.
pub struct TargetFile {
    connection: Connection,
    path: PathBuf,
    /// What the file is called until it is whole.
    partial: PathBuf,
    end: Position,
    is_whole: bool,
}

impl Tally {
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

impl SourceFile {
    /// Opens the database at `path`, after it was checked: the chain of the orders, each toy's sum,
    /// and each decision. What is read then is as it was at one time.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is damaged.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        decisions::verify(path)?;
        let connection = open_any(path)?;
        let begun = connection.execute_batch("BEGIN");
        begun.map_err(|error| classify(path, &error))?;
        verify(&connection, path)?;
        check_sums(&connection, path)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Reads the head.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or does not say which store it is of.
    pub fn head(&mut self) -> Result<Head, StorageError> {
        let head = head(&self.connection).map_err(|error| classify(&self.path, &error))?;
        head.ok_or_else(|| {
            let problem = "it does not say which store it is of";
            StorageError::Corrupt(self.path.clone(), problem.into())
        })
    }

    /// Reads the orders from a number on, at most [`PIECE`].
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn orders(&mut self, from: u64) -> Result<Vec<Order>, StorageError> {
        let found = rows(&self.connection, from, PIECE);
        let found = found.map_err(|error| classify(&self.path, &error))?;
        Ok(found.map(|rows| rows.orders).unwrap_or_default())
    }

    /// Reads the decisions after a key, at most [`PIECE`].
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn decisions(&mut self, after: &str) -> Result<Vec<KeyedDecision>, StorageError> {
        let read = || -> rusqlite::Result<Vec<KeyedDecision>> {
            self.connection
                .prepare_cached(
                    "SELECT key, name, quantity, number FROM decisions WHERE key > ?1
                     ORDER BY key LIMIT ?2",
                )?
                .query_map(params![after, PIECE], |row| {
                    let quantity = Quantity::new(row.get(2)?);
                    let quantity =
                        quantity.ok_or(rusqlite::Error::IntegralValueOutOfRange(2, 0))?;
                    let (key, name): (String, String) = (row.get(0)?, row.get(1)?);
                    let number = row.get::<_, Option<u64>>(3)?.map(OrderNumber);
                    Ok((key.into(), RecordedDecision { name: name.into(), quantity, number }))
                })?
                .collect()
        };
        read().map_err(|error| classify(&self.path, &error))
    }

    /// Walks through all contents. Returns their summary.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn summary(&mut self) -> Result<Summary, StorageError> {
        let (head, mut journal) = (self.head()?, Position::START);
        loop {
            let orders = self.orders(journal.length)?;
            if orders.is_empty() {
                break;
            }
            journal = orders.iter().fold(journal, Position::continued_by);
        }
        let (mut tally, mut last) = (Tally::default(), String::new());
        loop {
            let found = self.decisions(&last)?;
            let Some((key, _)) = found.last() else { break };
            key.as_str().clone_into(&mut last);
            tally.add(&found);
        }
        Ok(Summary { head, journal, decisions: tally })
    }
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
    pub fn finish(mut self, source: &Summary) -> Result<(), StorageError> {
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
        self.write(|transaction| {
            entries
                .iter()
                .try_for_each(|(key, decision)| decisions::insert(transaction, key, decision))
        })
    }
}

impl Drop for TargetFile {
    fn drop(&mut self) {
        if !self.is_whole {
            remove(&self.partial);
        }
    }
}

fn head(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    let Some(store) = store_of(connection)? else { return Ok(None) };
    let leadership = connection.query_row("SELECT epoch, leader FROM cluster", [], |row| {
        let leader = row.get::<_, Option<u32>>(1)?.map(ReplicaId);
        Ok(Leadership { epoch: Epoch(row.get(0)?), leader })
    })?;
    let stock = connection
        .prepare(
            "SELECT name, position, price, quantity, stocked, sold, version FROM stock
             ORDER BY name",
        )?
        .query_map([], |row| {
            let counts = [row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?];
            Ok(StockRow { name: row.get(0)?, position: row.get(1)?, price: row.get(2)?, counts })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Head { store, leadership, stock }))
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
