//! An order replica's database: a copy of the journal's first orders, on disk.
//!
//! The table `log` has the orders and their chain hashes; the view `orders` is for people and their
//! scripts. The file contains no time, no replica's id and no epoch, only the id of the store,
//! which all replicas share. So replicas with the same orders have the same file: after a
//! checkpoint, byte for byte, except for SQLite's change counters.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::OptionalExtension as _;

use crate::storage::checked::{TableChecks, check};
use crate::storage::checker::Checker;
use crate::storage::log_table::{self, insert, length, order_of, rows, store_of};
use crate::storage::{
    DatabaseMetrics, Room, StorageError, Worker, checkpoint, classify, commit, free_name,
    open_reader, open_writer, rename_aside,
};
use crate::wire::identity::StoreId;
use crate::wire::order::{Order, OrderNumber, Position, Rows};

/// What to do about damage that is found while the replica works.
const ADVICE: &str = "start the replica again: it sets the file aside and fetches its orders";

/// A replica keeps no sums, and its keys are in its log.
const TABLE_CHECKS: TableChecks = TableChecks {
    small_tables: &["identity"],
    sold: |_connection| Ok(None),
    check_keys: |_connection, _from, _most| Ok(None),
};

/// What this database has besides the table `log`.
const VIEWS: &str = "
    CREATE VIEW IF NOT EXISTS orders AS SELECT number, name, quantity FROM log;
    -- Which store these orders belong to, once the replica knows.
    CREATE TABLE IF NOT EXISTS identity (
        id    INTEGER PRIMARY KEY CHECK (id = 1),
        store INTEGER NOT NULL
    ) STRICT;
";

/// An open database.
pub struct OrderLog {
    path: PathBuf,
    store: Option<StoreId>,
    writer: Worker,
    reader: Worker,
    metrics: DatabaseMetrics,
    /// Is checked on the writing thread.
    room: Arc<Mutex<Room>>,
    checker: Checker,
}

impl OrderLog {
    /// Opens the database like [`OrderLog::open`], but replaces a damaged file by an empty log: the
    /// other replicas and the catalog have the orders. The damaged file is kept under another name.
    ///
    /// # Errors
    ///
    /// If the file cannot be used, or cannot be renamed.
    pub fn open_or_set_aside(path: &Path) -> Result<(Self, Position), StorageError> {
        match Self::open(path) {
            Err(error @ StorageError::Corrupt(..)) => {
                let aside = rename_aside(path)?;
                log::error!(
                    "{error}; it is set aside as {}, and its orders are fetched from other roles",
                    aside.display()
                );
                Self::open(path)
            }
            opened => opened,
        }
    }

    /// Opens the database, or creates it. Checks every row's chain hash, as far as no earlier run
    /// [did](crate::storage), and returns where the log ends.
    ///
    /// # Errors
    ///
    /// If the file cannot be used, or its rows are not the first orders of a journal.
    pub fn open(path: &Path) -> Result<(Self, Position), StorageError> {
        let connection = open_writer(path, &[log_table::SCHEMA, VIEWS])?;
        let checked = check(&connection, path, &TABLE_CHECKS)?;
        let store = store_of(&connection).map_err(|error| classify(path, &error))?;
        let reader = open_reader(path)?;
        let writer = Worker::start("log-writer", path, connection)?;
        let log = Self {
            path: path.to_owned(),
            store,
            metrics: writer.metrics(),
            writer,
            reader: Worker::start("log-reader", path, reader)?,
            room: Arc::new(Mutex::new(Room::beside(path))),
            checker: Checker::start("log-checker", path, &checked, TABLE_CHECKS, |_| Ok(()))?,
        };
        Ok((log, checked.walk.end))
    }

    /// Appends `orders` after the position `after`, in one transaction. When the call returns, they
    /// are queued; when the future returns, they and all that was queued before are on disk.
    ///
    /// # Errors
    ///
    /// If the disk is full, or the orders before these were not written (nothing changed), or the
    /// database failed (unknown).
    pub fn append(
        &self,
        after: Position,
        orders: Vec<Order>,
    ) -> impl Future<Output = Result<Position, StorageError>> + use<> {
        let (path, metrics) = (self.path.clone(), self.metrics.clone());
        let written = self.writer.run(move |connection| {
            let transaction = connection.transaction()?;
            // The append before this one has failed, so this one would leave a gap.
            if length(&transaction)? != after.length {
                return Ok(None);
            }
            let end = insert(&transaction, after, &orders)?;
            if orders.is_empty() {
                commit(transaction)?; // Nothing is written, and no disk is synced.
            } else {
                metrics.time(|| commit(transaction))?;
            }
            Ok(Some(end))
        });
        async move { written.await?.ok_or(StorageError::Discontinued(path)) }
    }

    /// Returns what is damaged in the database, once that is found. For one caller.
    pub fn damage(&self) -> impl Future<Output = StorageError> + use<> {
        let damage = self.checker.damage();
        async { damage.await.with_advice(ADVICE) }
    }

    /// Moves all of SQLite's write-ahead log into the database file. It is a replica's last call,
    /// and ends the search for damage first.
    ///
    /// # Errors
    ///
    /// If the database failed. Nothing is lost.
    pub async fn checkpoint(&self) -> Result<(), StorageError> {
        self.checker.end();
        self.writer.run(checkpoint).await
    }

    /// Returns the store that the database belonged to when it was opened. `None` for a database
    /// that is new, or was made before stores had ids.
    #[must_use]
    pub fn store(&self) -> Option<StoreId> {
        self.store
    }

    /// Writes which store the database belongs to.
    ///
    /// # Errors
    ///
    /// If the disk is full (nothing changed) or the database failed (unknown).
    pub async fn set_store(&self, store: StoreId) -> Result<(), StorageError> {
        self.writer
            .run(move |connection| {
                let sql = "INSERT INTO identity (id, store) VALUES (1, ?1)
                           ON CONFLICT (id) DO UPDATE SET store = ?1";
                connection.execute(sql, [store.get()]).map(drop)
            })
            .await
    }

    /// Returns what the database tells Prometheus.
    #[must_use]
    pub fn metrics(&self) -> DatabaseMetrics {
        self.metrics.clone()
    }

    /// Returns the file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Copies the database to another name, and then empties the log. Returns the copy's name.
    ///
    /// # Errors
    ///
    /// If the copy cannot be written (nothing changed) or the database failed.
    pub async fn set_aside(&self) -> Result<PathBuf, StorageError> {
        let copy = free_name(&self.path);
        let (name, log) = (copy.clone(), self.checker.log());
        self.writer
            .run(move |connection| {
                connection.execute("VACUUM INTO ?1", [name.to_string_lossy()])?;
                log.begin_anew(|| connection.execute("DELETE FROM log", []))?;
                // If this fails, the file is only larger than it need be.
                connection.execute_batch("VACUUM").or(Ok(()))
            })
            .await?;
        Ok(copy)
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

    /// Writes, and changes nothing: shows whether the disk takes writes again.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub async fn try_write(&self) -> Result<(), StorageError> {
        self.writer
            .run(|connection| {
                let transaction = connection.transaction()?;
                transaction.execute("UPDATE identity SET store = store", [])?;
                commit(transaction)
            })
            .await
    }

    /// Returns one order. `None` if the log does not have it.
    ///
    /// # Errors
    ///
    /// If the database failed.
    pub async fn order(&self, number: OrderNumber) -> Result<Option<Order>, StorageError> {
        // A number that SQLite cannot hold was never given to an order.
        let Ok(number) = i64::try_from(number.0) else { return Ok(None) };
        self.reader
            .run(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT number, name, quantity, key FROM log WHERE number = ?1",
                    )?
                    .query_row([number], order_of)
                    .optional()
            })
            .await
    }

    /// Returns at most `most` orders from number `from` on, with the position before them. `None`
    /// if the log ends before `from`.
    ///
    /// # Errors
    ///
    /// If the database failed.
    pub async fn rows(&self, from: u64, most: u64) -> Result<Option<Rows>, StorageError> {
        self.reader.run(move |connection| rows(connection, from, most)).await
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::wire::purchase::IdempotencyKey;
    use crate::wire::quantity::Quantity;

    fn order(number: u64) -> Order {
        let key = Some(IdempotencyKey::from_random(number.into()));
        Order { number: OrderNumber(number), name: "Tux".into(), quantity: Quantity::ONE, key }
    }

    fn tamper(path: &Path, sql: &str) {
        Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }

    #[actix_web::test]
    async fn a_log_that_is_opened_again_has_its_orders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("order-1.db");
        let (log, start) = OrderLog::open(&path).unwrap();
        assert_eq!(start, Position::START);
        let end = log.append(start, (0..5).map(order).collect()).await.unwrap();
        drop(log);

        let (log, found) = OrderLog::open(&path).unwrap();
        assert_eq!(found, end);
        assert_eq!(log.order(OrderNumber(4)).await.unwrap(), Some(order(4)));
        assert_eq!(log.order(OrderNumber(5)).await.unwrap(), None);
        assert_eq!(log.order(OrderNumber(u64::MAX)).await.unwrap(), None);
        let rows = log.rows(3, 10).await.unwrap().unwrap();
        assert_eq!(rows.orders, [order(3), order(4)]);
        assert_eq!(rows.orders.iter().fold(rows.after, Position::continued_by), end);
        assert_eq!(log.rows(6, 10).await.unwrap(), None);
    }

    #[actix_web::test]
    async fn an_append_after_one_that_failed_leaves_no_gap() {
        let folder = tempfile::tempdir().unwrap();
        let (log, start) = OrderLog::open(&folder.path().join("order-1.db")).unwrap();
        let end = log.append(start, vec![order(0)]).await.unwrap();
        let never_written = end.continued_by(&order(1));
        let refused = log.append(never_written, vec![order(2)]).await.unwrap_err();
        assert!(matches!(refused, StorageError::Discontinued(_)), "{refused}");
        assert_eq!((refused.is_refusal(), refused.unwritable()), (true, None));
        assert_eq!(log.rows(0, 10).await.unwrap().unwrap().orders, [order(0)]);
    }

    #[actix_web::test]
    async fn a_log_with_a_missing_changed_or_foreign_row_is_damaged() {
        for sql in [
            "DELETE FROM log WHERE number = 2",
            "UPDATE log SET quantity = 7 WHERE number = 4",
            "UPDATE log SET name = 'Uno' WHERE number = 0",
            "UPDATE log SET key = 'mine' WHERE number = 3",
            "UPDATE log SET key = NULL WHERE number = 3",
            "UPDATE log SET chain = x'00' WHERE number = 1",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("order-1.db");
            let (log, start) = OrderLog::open(&path).unwrap();
            log.append(start, (0..5).map(order).collect()).await.unwrap();
            drop(log);
            tamper(&path, sql);
            let opened = OrderLog::open(&path).map(|(_log, end)| end);
            assert!(matches!(opened, Err(StorageError::Corrupt(..))), "{sql}: {opened:?}");
        }
    }

    #[actix_web::test]
    async fn a_log_from_before_orders_had_keys_is_read_and_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("order-1.db");
        let old = Order { key: None, ..order(0) };
        let after = Position::START.continued_by(&old);
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(log_table::SCHEMA).unwrap();
        connection
            .execute("INSERT INTO log VALUES (0, 'Tux', 1, ?1)", [after.chain.as_bytes()])
            .unwrap();
        drop(connection);
        assert_eq!(log_table::verify(&log_table::open_any(&path).unwrap(), &path).unwrap(), after);

        let (log, end) = OrderLog::open(&path).unwrap();
        assert_eq!(end, after);
        let end = log.append(end, vec![order(1)]).await.unwrap();
        drop(log);
        let (log, found) = OrderLog::open(&path).unwrap();
        assert_eq!(found, end);
        assert_eq!(log.rows(0, 10).await.unwrap().unwrap().orders, [old, order(1)]);
    }

    #[actix_web::test]
    async fn logs_with_the_same_orders_are_the_same_file_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        // The same orders, in transactions of different sizes.
        for (name, sizes) in [("one.db", vec![400]), ("many.db", vec![1; 400])] {
            let (log, mut end) = OrderLog::open(&folder.path().join(name)).unwrap();
            for size in sizes {
                let orders = (end.length..end.length + size).map(order).collect();
                end = log.append(end, orders).await.unwrap();
            }
            drop(log);
            tamper(&folder.path().join(name), "PRAGMA wal_checkpoint(TRUNCATE)");
        }
        let [one, many] = ["one.db", "many.db"].map(|name| {
            let mut bytes = std::fs::read(folder.path().join(name)).unwrap();
            // SQLite's change counters (its file format, 1.3.6 and 1.3.19).
            bytes[24..28].fill(0);
            bytes[92..96].fill(0);
            bytes
        });
        assert!(one == many, "the files differ");
    }
}
