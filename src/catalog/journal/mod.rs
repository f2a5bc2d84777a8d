//! The catalog's database: the stock, the journal of all orders, the decisions under their keys,
//! the leadership and the sessions.
//!
//! One transaction writes a [`Change`] to the first three of them. It is the store's only commit
//! point: an order exists if and only if it is in the journal, and the replicas' logs are copies.

mod decision_ring;
pub(crate) mod decisions;
pub mod marker;
mod metrics;
pub(crate) mod past;
pub mod portable;
pub mod rebuild;
pub mod repair;
mod schema;
mod shelves;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, named_params, params};

use self::marker::{Marker, Past};
pub(crate) use self::metrics::DecisionMetrics;
pub use self::metrics::JournalMetrics;
use self::past::identify;
use self::schema::{ADVICE, TABLE_CHECKS, open, open_unchecked};
use self::shelves::{list, stock_of};
use super::core::stock::{Change, RecordedDecision, Shelf};
use crate::roles::ToyRole;
use crate::storage::checked::check;
use crate::storage::checker::Checker;
use crate::storage::log_table::{insert, rows};
use crate::storage::{Room, StorageError, Worker, checkpoint, classify, commit, open_reader};
use crate::wire::identity::StoreId;
use crate::wire::lease::SessionId;
use crate::wire::order::{Position, Rows};
use crate::wire::purchase::IdempotencyKey;
use crate::wire::replication::{Epoch, Leadership, ReplicaId};

/// An open database.
pub struct Journal {
    writer: Worker,
    reader: Worker,
    metrics: JournalMetrics,
    /// The last of the keys that are recorded or queued to be, in their order.
    last_key: Mutex<Option<IdempotencyKey>>,
    /// Follows the journal's end, on the writing thread.
    marker: Arc<Marker>,
    /// Is checked on the writing thread.
    room: Arc<Mutex<Room>>,
    checker: Checker,
}

/// The decisions that were recorded under some keys.
type KnownKeys = HashMap<IdempotencyKey, RecordedDecision>;

/// The contents of the database when it was opened.
#[derive(Debug)]
pub struct Loaded {
    /// The stock of the toys in `roles.toml`, in its order.
    pub shelves: Vec<Shelf>,
    /// The journal's end.
    pub journal: Position,
    /// Who leads.
    pub leadership: Leadership,
    /// The sessions of earlier runs, whose front-ends may still serve from their caches.
    pub sessions: Vec<SessionId>,
    /// The store.
    pub store: StoreId,
    /// Whether the journal is as the catalog left it.
    pub past: Past,
}

/// Each call that needs the database is queued when its function returns, also before it is
/// awaited.
impl Journal {
    /// Opens the database, or creates it. Checks the journal's chain and each toy's sum, as far as
    /// no earlier run [did](crate::storage), and enters the toys of `roles.toml`, new ones with a
    /// quantity of `initial`.
    ///
    /// # Errors
    ///
    /// If the file cannot be used, or its contents contradict each other.
    pub fn open(
        path: &Path,
        toys: &[ToyRole],
        initial: u64,
    ) -> Result<(Self, Loaded), StorageError> {
        let mut connection = open_unchecked(path).map_err(|error| error.with_advice(ADVICE))?;
        repair::check(&connection, path)?;
        let checked = check(&connection, path, &TABLE_CHECKS);
        let checked = checked.map_err(|error| error.with_advice(ADVICE))?;
        let journal = checked.walk.end;
        let (marker, store, past) = identify(&mut connection, path, journal)?;
        let loaded = load(&mut connection, toys, initial, (journal, store, past))
            .map_err(|error| classify(path, &error))?;
        let last_key = decisions::last_key(&connection).map_err(|error| classify(path, &error))?;
        let writer = Worker::start("journal-writer", path, connection)?;
        let metrics = JournalMetrics::of(&writer);
        let (count, name) = (metrics.counting(), "journal-checker");
        let database = Self {
            metrics,
            last_key: Mutex::new(last_key),
            writer,
            reader: Worker::start("journal-reader", path, open_reader(path)?)?,
            marker: Arc::new(marker),
            room: Arc::new(Mutex::new(Room::beside(path))),
            checker: Checker::start(name, path, &checked, TABLE_CHECKS, count)?,
        };
        Ok((database, loaded))
    }

    /// Returns the decisions that were recorded under any of `keys`.
    ///
    /// No key behind the last one has a decision, which the transaction that records one checks
    /// again. Keys that front-ends draw begin with the time, so that a new one mostly is behind the
    /// last, and a batch need not visit the database's thread twice. Other keys, and those of a
    /// front-end whose clock is behind, are looked up.
    ///
    /// # Errors
    ///
    /// If the database failed.
    pub fn recorded(
        &self,
        keys: Vec<IdempotencyKey>,
    ) -> impl Future<Output = Result<KnownKeys, StorageError>> + use<> {
        let may_be_known = {
            let last = self.last_key();
            keys.iter().any(|key| Some(key) <= last.as_ref())
        };
        let looked_up = may_be_known.then(|| {
            self.writer.run(move |connection| {
                // One transaction, so that SQLite takes its locks once and not for each key.
                let reading = connection.transaction()?;
                let known = decisions::look_up_all(&reading, keys)?;
                reading.finish()?;
                Ok(known)
            })
        });
        async { if let Some(known) = looked_up { known.await } else { Ok(KnownKeys::new()) } }
    }

    /// Writes all of `change` or nothing, in one transaction that is on disk when this returns.
    ///
    /// # Errors
    ///
    /// If the disk is full (nothing changed) or the database failed (unknown).
    pub fn commit(&self, change: Change) -> impl Future<Output = Result<(), StorageError>> + use<> {
        let (marker, metrics) = (Arc::clone(&self.marker), self.metrics.clone());
        if let Some(last) = change.decisions.iter().map(|(key, _)| key).max() {
            let mut known = self.last_key();
            *known = known.take().max(Some(last.clone()));
        }
        self.writer.run(move |connection| {
            let transaction = connection.transaction()?;
            let end = apply(&transaction, &change)?;
            metrics.commit(transaction, &change)?;
            if !change.orders.is_empty() {
                // A marker that falls behind raises no alarm, it only sees less.
                let _falls_behind = marker.advance(end);
            }
            Ok(())
        })
    }

    fn last_key(&self) -> MutexGuard<'_, Option<IdempotencyKey>> {
        self.last_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes whether replicas must be heard before anything is sold, also after a restart.
    ///
    /// # Errors
    ///
    /// If the disk is full (nothing changed) or the database failed (unknown).
    pub fn set_past(&self, past: Past) -> impl Future<Output = Result<(), StorageError>> + use<> {
        let (sql, in_doubt) = ("UPDATE identity SET in_doubt = ?1", past == Past::InDoubt);
        self.writer.run(move |connection| connection.execute(sql, [in_doubt]).map(drop))
    }

    /// Writes who leads.
    ///
    /// # Errors
    ///
    /// If the disk is full (nothing changed) or the database failed (unknown).
    pub fn set_leadership(
        &self,
        leadership: Leadership,
    ) -> impl Future<Output = Result<(), StorageError>> + use<> {
        self.writer.run(move |connection| {
            let leader = leadership.leader.map(|ReplicaId(id)| id);
            connection
                .execute(
                    "UPDATE cluster SET epoch = ?1, leader = ?2",
                    params![leadership.epoch.0, leader],
                )
                .map(drop)
        })
    }

    /// Writes that a session begins and that others have ended.
    ///
    /// # Errors
    ///
    /// If the disk is full (nothing changed) or the database failed (unknown).
    pub fn note_sessions(
        &self,
        begun: Option<SessionId>,
        ended: Vec<SessionId>,
    ) -> impl Future<Output = Result<(), StorageError>> + use<> {
        self.writer.run(move |connection| {
            let transaction = connection.transaction()?;
            for session in ended {
                transaction.execute(
                    "DELETE FROM sessions WHERE boot = ?1 AND serial = ?2",
                    [session.boot, session.serial],
                )?;
            }
            if let Some(session) = begun {
                transaction.execute(
                    "INSERT OR IGNORE INTO sessions (boot, serial) VALUES (?1, ?2)",
                    [session.boot, session.serial],
                )?;
            }
            commit(transaction)
        })
    }

    /// Returns what is damaged in the database, once that is found. For one caller.
    pub fn damage(&self) -> impl Future<Output = StorageError> + use<> {
        let damage = self.checker.damage();
        async { damage.await.with_advice(ADVICE) }
    }

    /// Moves all of SQLite's write-ahead log into the database file. It is a catalog's last call,
    /// and ends the search for damage first.
    ///
    /// # Errors
    ///
    /// If the database failed. Nothing is lost.
    pub fn checkpoint(&self) -> impl Future<Output = Result<(), StorageError>> + use<> {
        self.checker.end();
        self.writer.run(checkpoint)
    }

    /// Returns when the writing thread has completed all earlier jobs, so that a caller can tell
    /// whether the disk hangs, and has found room for more.
    ///
    /// # Errors
    ///
    /// If there is no room, or the thread has ended.
    pub fn pulse(&self) -> impl Future<Output = Result<(), StorageError>> + use<> {
        let room = Arc::clone(&self.room);
        self.writer
            .run(move |_connection| room.lock().unwrap_or_else(PoisonError::into_inner).check())
    }

    /// Writes something small and removes it again, in one transaction that is on disk when this
    /// returns.
    ///
    /// # Errors
    ///
    /// If the disk is full (nothing changed) or the database failed (unknown).
    pub fn try_write(&self) -> impl Future<Output = Result<(), StorageError>> + use<> {
        self.writer.run(|connection| {
            let transaction = connection.transaction()?;
            // No session has a negative number.
            transaction
                .execute("INSERT OR IGNORE INTO sessions (boot, serial) VALUES (-1, 0)", [])?;
            transaction.execute("DELETE FROM sessions WHERE boot = -1", [])?;
            commit(transaction)
        })
    }

    /// Returns at most `most` orders from number `from` on, with the position before them. `None`
    /// if the journal ends before `from`.
    ///
    /// # Errors
    ///
    /// If the database failed.
    pub fn rows(
        &self,
        from: u64,
        most: u64,
    ) -> impl Future<Output = Result<Option<Rows>, StorageError>> + use<> {
        self.reader.run(move |connection| rows(connection, from, most))
    }
}

/// Returns where the journal ends then.
fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<Position> {
    let mut update = transaction.prepare_cached(
        "UPDATE stock SET quantity = :quantity, stocked = :stocked, sold = :sold,
             version = :version WHERE name = :name",
    )?;
    for shelf in &change.shelves {
        let changed = update.execute(named_params! {
            ":name": shelf.toy.name.as_str(),
            ":quantity": shelf.toy.quantity,
            ":stocked": shelf.stocked,
            ":sold": shelf.sold,
            ":version": shelf.version.0,
        })?;
        assert_eq!(changed, 1, "each toy has a row");
    }
    let end = insert(transaction, change.after, &change.orders)?;
    decisions::insert(transaction, &change.decisions)?;
    Ok(end)
}

fn load(
    connection: &mut Connection,
    toys: &[ToyRole],
    initial: u64,
    (journal, store, past): (Position, StoreId, Past),
) -> rusqlite::Result<Loaded> {
    let transaction = connection.transaction()?;
    list(&transaction, toys, initial)?;
    let shelves = toys.iter().map(|toy| stock_of(&transaction, toy)).collect::<Result<_, _>>()?;
    let leadership = transaction.query_row("SELECT epoch, leader FROM cluster", [], |row| {
        let leader = row.get::<_, Option<u32>>(1)?.map(ReplicaId);
        Ok(Leadership { epoch: Epoch(row.get(0)?), leader })
    })?;
    let sessions = transaction
        .prepare("SELECT boot, serial FROM sessions")?
        .query_map([], |row| Ok(SessionId { boot: row.get(0)?, serial: row.get(1)? }))?
        .collect::<rusqlite::Result<_>>()?;
    transaction.commit()?;
    Ok(Loaded { shelves, journal, leadership, sessions, store, past })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::quantity::Quantity;
    use crate::wire::toy::Price;

    fn refused(key: &IdempotencyKey) -> (IdempotencyKey, RecordedDecision) {
        let refusal =
            RecordedDecision { name: "Tux".into(), quantity: Quantity::ONE, number: None };
        (key.clone(), refusal)
    }

    #[actix_web::test]
    async fn a_recorded_key_is_found_wherever_it_lies_and_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        let toys = [ToyRole { name: "Tux".into(), price: Price::from_cents(1599) }];
        let keys = ["a", "b", "c", "d"].map(|key| IdempotencyKey::from(key.to_owned()));
        let [a, b, c, d] = &keys;
        let open = || Journal::open(&path, &toys, 100).unwrap();
        let (mut journal, Loaded { journal: after, .. }) = open();
        for batch in [&[b, c][..], &[a]] {
            let decisions = batch.iter().map(|key| refused(key)).collect();
            let (shelves, orders) = (Vec::new(), Vec::new());
            // What is queued counts already.
            let committed = journal.commit(Change { shelves, after, orders, decisions });
            let keys = batch.iter().map(|key| (*key).clone()).collect();
            let found = journal.recorded(keys).await.unwrap();
            assert_eq!(found.len(), batch.len());
            committed.await.unwrap();
        }
        for _run in 0..2 {
            for key in [a, b, c] {
                let found = journal.recorded(vec![d.clone(), key.clone()]).await.unwrap();
                assert_eq!(found.keys().collect::<Vec<_>>(), [key]);
            }
            assert_eq!(journal.recorded(vec![d.clone()]).await.unwrap(), KnownKeys::new());
            drop(journal);
            journal = open().0;
        }
    }
}
