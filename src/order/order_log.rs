//! An order replica's database: a durable prefix of the journal.
//!
//! The table `log` has the orders and their chain hashes; the view `orders` is for people and their
//! scripts. Nothing in the file differs between replicas that hold the same orders: no time, no id,
//! no epoch. (After a checkpoint the files are equal to the byte, but for SQLite's change
//! counters.)

use std::path::{Path, PathBuf};

use rusqlite::OptionalExtension as _;

use crate::storage::log_table::{self, insert, length, order_of, rows, verify};
use crate::storage::{
    StorageError, Worker, checkpoint, commit, free_name, open_reader, open_writer, rename_aside,
};
use crate::wire::order::{Order, OrderNumber, Position, Rows};

/// What the table `log` has beside it.
const VIEWS: &str = "
    CREATE VIEW IF NOT EXISTS orders AS SELECT number, name, quantity FROM log;
";

/// The database, open.
pub struct OrderLog {
    path: PathBuf,
    writer: Worker,
    reader: Worker,
}

impl OrderLog {
    /// Opens or makes the database, checks every row's chain hash and tells where the log ends. A
    /// file that is damaged is set aside, under a name that the log tells, and a new one begun: the
    /// others have the orders.
    ///
    /// # Errors
    ///
    /// If the file cannot be used, or not be set aside.
    pub fn open_or_set_aside(path: &Path) -> Result<(Self, Position), StorageError> {
        match Self::open(path) {
            Err(error @ StorageError::Corrupt(..)) => {
                let aside = rename_aside(path)?;
                log::error!(
                    "{error}; it is set aside as {} and its orders are fetched from the others",
                    aside.display()
                );
                Self::open(path)
            }
            opened => opened,
        }
    }

    /// Opens or makes the database, checks every row's chain hash and tells where the log ends.
    ///
    /// # Errors
    ///
    /// If the file cannot be used, or holds anything but a prefix of a journal.
    pub fn open(path: &Path) -> Result<(Self, Position), StorageError> {
        let connection = open_writer(path, &[log_table::SCHEMA, VIEWS])?;
        let end = verify(&connection, path)?;
        let reader = open_reader(path)?;
        let log = Self {
            path: path.to_owned(),
            writer: Worker::start("log-writer", path, connection)?,
            reader: Worker::start("log-reader", path, reader)?,
        };
        Ok((log, end))
    }

    /// Appends `orders` behind `after`, in one transaction that is on disk when the future ends,
    /// with all that was queued before. They are queued when the call returns.
    ///
    /// # Errors
    ///
    /// If the disk is full or was so for the orders before these (nothing changed), or the database
    /// failed (unknown).
    pub fn append(
        &self,
        after: Position,
        orders: Vec<Order>,
    ) -> impl Future<Output = Result<Position, StorageError>> + use<> {
        let path = self.path.clone();
        let written = self.writer.run(move |connection| {
            let transaction = connection.transaction()?;
            // If the append before this one failed, this one would leave a gap.
            if length(&transaction)? != after.length {
                return Ok(None);
            }
            let end = insert(&transaction, after, &orders)?;
            commit(transaction)?;
            Ok(Some(end))
        });
        async move { written.await?.ok_or(StorageError::Full(path)) }
    }

    /// Moves everything from SQLite's write-ahead log into the database file.
    ///
    /// # Errors
    ///
    /// If the database failed; nothing is lost by that.
    pub async fn checkpoint(&self) -> Result<(), StorageError> {
        self.writer.run(checkpoint).await
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a copy of the database under another name and begins an empty log. Returns the copy's
    /// name.
    ///
    /// # Errors
    ///
    /// If the copy cannot be written (nothing changed) or the database failed.
    pub async fn set_aside(&self) -> Result<PathBuf, StorageError> {
        let copy = free_name(&self.path);
        let name = copy.clone();
        self.writer
            .run(move |connection| {
                connection.execute("VACUUM INTO ?1", [name.to_string_lossy()])?;
                connection.execute("DELETE FROM log", [])?;
                // Without this the file is larger than it need be, and that is all.
                connection.execute_batch("VACUUM").or(Ok(()))
            })
            .await?;
        Ok(copy)
    }

    /// Ends when the writing thread has done all that it was asked before: it moves.
    ///
    /// # Errors
    ///
    /// If the thread has ended.
    pub fn pulse(&self) -> impl Future<Output = Result<(), StorageError>> + use<> {
        self.writer.run(|_connection| Ok(()))
    }

    /// One order.
    ///
    /// # Errors
    ///
    /// If the database failed.
    pub async fn order(&self, number: OrderNumber) -> Result<Option<Order>, StorageError> {
        // A number that SQLite cannot hold is none that was ever given.
        let Ok(number) = i64::try_from(number.0) else { return Ok(None) };
        self.reader
            .run(move |connection| {
                connection
                    .prepare_cached("SELECT number, name, quantity FROM log WHERE number = ?1")?
                    .query_row([number], order_of)
                    .optional()
            })
            .await
    }

    /// At most `most` orders from number `from` on, with the position before them. `None` if the
    /// log ends before `from`.
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
    use crate::wire::quantity::Quantity;

    fn order(number: u64) -> Order {
        Order { number: OrderNumber(number), name: "Tux".into(), quantity: Quantity::ONE }
    }

    fn tamper(path: &Path, sql: &str) {
        Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }

    #[actix_web::test]
    async fn a_log_is_where_it_was_after_it_is_opened_again() {
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
        assert!(log.append(never_written, vec![order(2)]).await.is_err());
        assert_eq!(log.rows(0, 10).await.unwrap().unwrap().orders, [order(0)]);
    }

    #[actix_web::test]
    async fn a_log_with_a_missing_changed_or_foreign_row_is_damaged() {
        for sql in [
            "DELETE FROM log WHERE number = 2",
            "UPDATE log SET quantity = 7 WHERE number = 4",
            "UPDATE log SET name = 'Uno' WHERE number = 0",
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
    async fn logs_with_the_same_orders_are_the_same_file() {
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
