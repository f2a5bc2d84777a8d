//! Reading a log from one order to a later one: the number and the chain hash of every row, and
//! what the orders of each toy add up to.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::log_table::{chain_of, order_of};
use super::{StorageError, damage_or};
use crate::wire::order::Position;
use crate::wire::toy::ToyName;

/// How many of each toy were sold. A toy that was never sold is not in it.
pub(crate) type Sold = HashMap<ToyName, u64>;

/// The first orders of a log, which are undamaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Walk {
    /// Where they end.
    pub(crate) end: Position,
    /// What they add up to.
    pub(crate) sold: Sold,
}

impl Walk {
    /// Before the first order.
    pub(crate) fn start() -> Self {
        Self { end: Position::START, sold: Sold::new() }
    }

    /// Goes on to the end of the log.
    ///
    /// # Errors
    ///
    /// If a row is damaged or missing, or cannot be read.
    pub(crate) fn completed(
        mut self,
        connection: &Connection,
        path: &Path,
    ) -> Result<Self, StorageError> {
        self.advance(connection, path, i64::MAX.unsigned_abs())?;
        Ok(self)
    }

    /// Reads at most `most` rows. Returns how many there were.
    ///
    /// # Errors
    ///
    /// If a row is damaged or missing, or cannot be read.
    pub(crate) fn advance(
        &mut self,
        connection: &Connection,
        path: &Path,
        most: u64,
    ) -> Result<u64, StorageError> {
        let begin = self.end.length;
        match self.read(connection, most) {
            Ok(None) => Ok(self.end.length - begin),
            Ok(Some(problem)) => Err(StorageError::Corrupt(path.to_owned(), problem)),
            Err(error) => Err(damage_or(path, &error)),
        }
    }

    /// Returns what is wrong with a row.
    fn read(&mut self, connection: &Connection, most: u64) -> rusqlite::Result<Option<String>> {
        let mut statement = connection.prepare_cached(
            "SELECT number, name, quantity, key, chain FROM log WHERE number >= ?1 ORDER BY number
             LIMIT ?2",
        )?;
        let mut found = statement.query([self.end.length, most])?;
        while let Some(row) = found.next()? {
            let order = order_of(row)?;
            if order.number.0 != self.end.length {
                return Ok(Some(format!("order {} is missing", self.end.length)));
            }
            self.end = self.end.continued_by(&order);
            if chain_of(row, 4)? != self.end.chain {
                return Ok(Some(format!("order {} does not match its hash", order.number)));
            }
            let quantity = order.quantity.get();
            match self.sold.get_mut(&order.name) {
                Some(sold) => *sold = sold.saturating_add(quantity),
                None => drop(self.sold.insert(order.name, quantity)),
            }
        }
        Ok(None)
    }
}
