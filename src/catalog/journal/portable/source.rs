//! An SQLite file that a store is moved from, read in pieces.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::{ContentsSummary, DecisionsSummary, Head, KeyedDecision, PIECE, StockRow};
use crate::catalog::core::stock::RecordedDecision;
use crate::catalog::journal::decisions;
use crate::catalog::journal::schema::TABLE_CHECKS;
use crate::storage::checked::check_rows;
use crate::storage::log_table::{open_any, rows, store_of};
use crate::storage::{StorageError, classify};
use crate::wire::order::{Order, OrderNumber, Position};
use crate::wire::quantity::Quantity;
use crate::wire::replication::{Epoch, Leadership, ReplicaId};

/// An SQLite file that a store is moved from.
pub struct SourceFile {
    connection: Connection,
    path: PathBuf,
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
        check_rows(&connection, path, &TABLE_CHECKS)?;
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
    pub fn summary(&mut self) -> Result<ContentsSummary, StorageError> {
        let (head, mut journal) = (self.head()?, Position::START);
        loop {
            let orders = self.orders(journal.length)?;
            if orders.is_empty() {
                break;
            }
            journal = orders.iter().fold(journal, Position::continued_by);
        }
        let (mut summary, mut last) = (DecisionsSummary::default(), String::new());
        loop {
            let found = self.decisions(&last)?;
            let Some((key, _)) = found.last() else { break };
            key.as_str().clone_into(&mut last);
            summary.add(&found);
        }
        Ok(ContentsSummary { head, journal, decisions: summary })
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
