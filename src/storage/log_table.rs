//! The table `log`: orders in the sequence of their numbers, each with its chain hash.
//!
//! The catalog's journal and each replica's log are such a table. So the same code writes, reads,
//! checks and compares all of them.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::walk::Walk;
use super::{StorageError, classify, open_reader};
use crate::wire::identity::StoreId;
use crate::wire::order::{Chain, Order, OrderNumber, Position, Rows};
use crate::wire::purchase::IdempotencyKey;
use crate::wire::quantity::Quantity;

/// The table's definition, without the column that [`complete`] adds.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS log (
        number   INTEGER PRIMARY KEY,
        name     TEXT    NOT NULL,
        quantity INTEGER NOT NULL,
        chain    BLOB    NOT NULL
    ) STRICT;
";

/// Adds the column `key`, which databases lack that were made before replicas kept keys.
///
/// A new table gets it in the same way, so that its definition is the same text in all files.
pub(crate) fn complete(connection: &Connection) -> rusqlite::Result<()> {
    if connection.column_exists(None, "log", "key")? {
        return Ok(());
    }
    connection.execute_batch("ALTER TABLE log ADD COLUMN key TEXT")
}

/// Opens the database at `path` for reading, also one whose table lacks the column `key`.
pub(crate) fn open_any(path: &Path) -> Result<Connection, StorageError> {
    let connection = open_reader(path)?;
    let shown = || {
        if connection.column_exists(None, "log", "key")? {
            return Ok(());
        }
        // A view of the connection's own hides the table.
        connection.execute_batch(
            "CREATE TEMP VIEW log AS
             SELECT number, name, quantity, chain, NULL AS key FROM main.log",
        )
    };
    shown().map_err(|error| classify(path, &error))?;
    Ok(connection)
}

/// Appends `orders` after the position `after`. Returns the position after them.
pub(crate) fn insert(
    connection: &Connection,
    after: Position,
    orders: &[Order],
) -> rusqlite::Result<Position> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO log (number, name, quantity, chain, key) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    orders.iter().try_fold(after, |end, order| {
        let end = end.continued_by(order);
        statement.execute(params![
            order.number.0,
            order.name.as_str(),
            order.quantity.get(),
            end.chain.as_bytes(),
            order.key.as_ref().map(IdempotencyKey::as_str),
        ])?;
        Ok(end)
    })
}

/// Returns how many orders the table holds.
pub(crate) fn length(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT coalesce(max(number) + 1, 0) FROM log")?
        .query_row([], |row| row.get(0))
}

/// Returns how many orders the database at `path` holds, without opening it for writing.
///
/// # Errors
///
/// If there is no database, or it cannot be read.
pub(crate) fn length_at(path: &Path) -> Result<u64, StorageError> {
    let connection = open_reader(path)?;
    length(&connection).map_err(|error| classify(path, &error))
}

/// Reads at most `most` orders from number `from` on, with the position before them. `None` if the
/// table ends before `from`.
pub(crate) fn rows(
    connection: &Connection,
    from: u64,
    most: u64,
) -> rusqlite::Result<Option<Rows>> {
    let Some(after) = position_before(connection, from)? else { return Ok(None) };
    let orders = connection
        .prepare_cached(
            "SELECT number, name, quantity, key FROM log WHERE number >= ?1 ORDER BY number
             LIMIT ?2",
        )?
        .query_map([from, most], order_of)?
        .collect::<rusqlite::Result<Vec<Order>>>()?;
    Ok(Some(Rows { after, orders }))
}

/// Reads the position before the order `from`, which ends at the chain hash of the order before it.
/// `None` if there is no such order.
pub(super) fn position_before(
    connection: &Connection,
    from: u64,
) -> rusqlite::Result<Option<Position>> {
    let Some(last) = from.checked_sub(1) else { return Ok(Some(Position::START)) };
    let Ok(last) = i64::try_from(last) else { return Ok(None) };
    connection
        .prepare_cached("SELECT chain FROM log WHERE number = ?1")?
        .query_row([last], |row| Ok(Position { length: from, chain: chain_of(row, 0)? }))
        .optional()
}

/// Checks the number and the chain hash of every row. Returns the position at the end.
///
/// # Errors
///
/// If a row is damaged or missing, or cannot be read.
pub(crate) fn verify(connection: &Connection, path: &Path) -> Result<Position, StorageError> {
    Walk::start().completed(connection, path).map(|walk| walk.end)
}

/// Reads an order from a row's columns `number`, `name`, `quantity`, `key`.
pub(crate) fn order_of(row: &Row<'_>) -> rusqlite::Result<Order> {
    let name: String = row.get(1)?;
    let quantity = row.get(2)?;
    let key: Option<String> = row.get(3)?;
    Ok(Order {
        number: OrderNumber(row.get(0)?),
        name: name.into(),
        quantity: Quantity::new(quantity).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, 0))?,
        key: key.map(IdempotencyKey::from),
    })
}

pub(super) fn chain_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Chain> {
    let bytes = row.get_ref(column)?.as_blob()?;
    Chain::from_bytes(bytes).ok_or(rusqlite::Error::InvalidColumnType(
        column,
        "chain".into(),
        rusqlite::types::Type::Blob,
    ))
}

/// Reads which store a database belongs to. `None` if it is from before stores had ids.
pub(crate) fn store_of(connection: &Connection) -> rusqlite::Result<Option<StoreId>> {
    if !connection.table_exists(None, "identity")? {
        return Ok(None);
    }
    let store = connection.query_row("SELECT store FROM identity", [], |row| row.get(0));
    Ok(store.optional()?.and_then(StoreId::new))
}
