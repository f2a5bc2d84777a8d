//! The whole contents of a store's catalog, to be moved between SQLite and PostgreSQL.
//!
//! They are held in memory while they move: about 300 bytes for each order.

use std::path::Path;

use rusqlite::{Connection, Transaction, named_params, params};

use super::shelves::check_sums;
use super::{decisions, open};
use crate::catalog::core::stock::RecordedDecision;
use crate::storage::log_table::{insert, open_any, rows, store_of, verify};
use crate::storage::{StorageError, classify, commit};
use crate::wire::identity::StoreId;
use crate::wire::order::{Order, OrderNumber, Position};
use crate::wire::purchase::IdempotencyKey;
use crate::wire::quantity::Quantity;
use crate::wire::replication::{Epoch, Leadership, MOST_ROWS, ReplicaId};

/// A catalog's contents, without its sessions: those of front-ends end before another catalog
/// sells.
#[derive(Clone, Debug, PartialEq)]
pub struct Portable {
    /// The store.
    pub store: StoreId,
    /// Who leads.
    pub leadership: Leadership,
    /// A row for each toy, also for those that are not sold any more, by name.
    pub stock: Vec<StockRow>,
    /// All orders.
    pub orders: Vec<Order>,
    /// All decisions, by key.
    pub decisions: Vec<(IdempotencyKey, RecordedDecision)>,
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

impl Portable {
    /// Returns where the journal ends.
    #[must_use]
    pub fn end(&self) -> Position {
        self.orders.iter().fold(Position::START, Position::continued_by)
    }
}

/// Reads the database at `path`, after it was checked: the chain of the orders, each toy's sum, and
/// each decision.
///
/// # Errors
///
/// If it cannot be read, or is damaged.
pub fn read(path: &Path) -> Result<Portable, StorageError> {
    let connection = open_any(path)?;
    verify(&connection, path)?;
    check_sums(&connection, path)?;
    decisions::verify(path)?;
    let contents = contents(&connection).map_err(|error| classify(path, &error))?;
    contents.ok_or_else(|| {
        StorageError::Corrupt(path.to_owned(), "it does not say which store it is of".into())
    })
}

fn contents(connection: &Connection) -> rusqlite::Result<Option<Portable>> {
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
    let mut orders: Vec<Order> = Vec::new();
    while let Some(more) = rows(connection, orders.len() as u64, MOST_ROWS)?
        && !more.orders.is_empty()
    {
        orders.extend(more.orders);
    }
    let decisions = connection
        .prepare("SELECT key, name, quantity, number FROM decisions ORDER BY key")?
        .query_map([], |row| {
            let quantity = Quantity::new(row.get(2)?);
            let quantity = quantity.ok_or(rusqlite::Error::IntegralValueOutOfRange(2, 0))?;
            let (key, name): (String, String) = (row.get(0)?, row.get(1)?);
            let number = row.get::<_, Option<u64>>(3)?.map(OrderNumber);
            Ok((key.into(), RecordedDecision { name: name.into(), quantity, number }))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Portable { store, leadership, stock, orders, decisions }))
}

/// Makes a database at `path`, where there is none, with these contents, and checks it. A catalog
/// that starts with it hears every replica before it sells.
///
/// # Errors
///
/// If it cannot be written, or does not hold what was written.
pub fn write(path: &Path, contents: &Portable) -> Result<Position, StorageError> {
    let mut connection = open(path)?;
    let written = || -> rusqlite::Result<()> {
        let transaction = connection.transaction()?;
        fill(&transaction, contents)?;
        commit(transaction)
    };
    let mut written = written;
    written().map_err(|error| classify(path, &error))?;
    drop(connection);
    let copy = read(path)?;
    if copy == *contents {
        return Ok(copy.end());
    }
    Err(StorageError::Corrupt(path.to_owned(), "it does not hold what was written to it".into()))
}

fn fill(transaction: &Transaction<'_>, contents: &Portable) -> rusqlite::Result<()> {
    let mut shelve = transaction.prepare(
        "INSERT INTO stock (name, position, price, quantity, stocked, sold, version)
         VALUES (:name, :position, :price, :quantity, :stocked, :sold, :version)",
    )?;
    for StockRow { name, position, price, counts: [quantity, stocked, sold, version] } in
        &contents.stock
    {
        shelve.execute(named_params! {
            ":name": name, ":position": position, ":price": price, ":quantity": quantity,
            ":stocked": stocked, ":sold": sold, ":version": version,
        })?;
    }
    insert(transaction, Position::START, &contents.orders)?;
    for (key, decision) in &contents.decisions {
        decisions::insert(transaction, key, decision)?;
    }
    let leader = contents.leadership.leader.map(|ReplicaId(id)| id);
    transaction.execute(
        "UPDATE cluster SET epoch = ?1, leader = ?2",
        params![contents.leadership.epoch.0, leader],
    )?;
    transaction.execute(
        "INSERT INTO identity (id, store, token, in_doubt) VALUES (1, ?1, 0, 1)",
        [contents.store.get()],
    )?;
    Ok(())
}
