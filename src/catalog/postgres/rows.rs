//! Values between the store and PostgreSQL, whose integers are signed.

use tokio_postgres::Row;

use crate::catalog::core::stock::{Change, RecordedDecision};
use crate::storage::StorageError;
use crate::wire::order::{Chain, Order, OrderNumber, Position};
use crate::wire::purchase::IdempotencyKey;
use crate::wire::quantity::Quantity;

/// The columns of a change, as arrays: one statement writes them all.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) stock: StockColumns,
    pub(super) log: LogColumns,
    pub(super) decisions: DecisionColumns,
}

#[derive(Default)]
pub(super) struct StockColumns {
    pub(super) names: Vec<String>,
    pub(super) quantities: Vec<i64>,
    pub(super) stocked: Vec<i64>,
    pub(super) sold: Vec<i64>,
    pub(super) versions: Vec<i64>,
}

#[derive(Default)]
pub(super) struct LogColumns {
    pub(super) numbers: Vec<i64>,
    pub(super) names: Vec<String>,
    pub(super) quantities: Vec<i64>,
    pub(super) chains: Vec<Vec<u8>>,
    pub(super) keys: Vec<Option<String>>,
}

#[derive(Default)]
pub(super) struct DecisionColumns {
    pub(super) keys: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) quantities: Vec<i64>,
    pub(super) numbers: Vec<Option<i64>>,
}

impl Columns {
    /// The columns of `change`, and the journal's end after it.
    pub(super) fn of(change: &Change) -> (Self, Position) {
        let mut columns = Self::default();
        for shelf in &change.shelves {
            let stock = &mut columns.stock;
            stock.names.push(shelf.toy.name.as_str().to_owned());
            stock.quantities.push(signed(shelf.toy.quantity));
            stock.stocked.push(signed(shelf.stocked));
            stock.sold.push(signed(shelf.sold));
            stock.versions.push(signed(shelf.version.0));
        }
        let end = columns.log.extend(change.after, &change.orders);
        for (key, decision) in &change.decisions {
            columns.decisions.push(key, decision);
        }
        (columns, end)
    }
}

impl LogColumns {
    /// Adds orders that follow `after`. Returns the position after them.
    pub(super) fn extend(&mut self, after: Position, orders: &[Order]) -> Position {
        orders.iter().fold(after, |end, order| {
            let end = end.continued_by(order);
            self.numbers.push(signed(order.number.0));
            self.names.push(order.name.as_str().to_owned());
            self.quantities.push(signed(order.quantity.get()));
            self.chains.push(end.chain.as_bytes().to_vec());
            self.keys.push(order.key.as_ref().map(|key| key.as_str().to_owned()));
            end
        })
    }
}

impl DecisionColumns {
    pub(super) fn push(&mut self, key: &IdempotencyKey, decision: &RecordedDecision) {
        self.keys.push(key.as_str().to_owned());
        self.names.push(decision.name.as_str().to_owned());
        self.quantities.push(signed(decision.quantity.get()));
        self.numbers.push(decision.number.map(|number| signed(number.0)));
    }
}

/// Everything that is counted stays far below 2^63, and what is drawn at random has 63 bits.
///
/// # Panics
///
/// If it does not.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("the store counts to less than 2^63")
}

/// Reads a number that is not negative.
pub(super) fn natural(row: &Row, column: usize) -> Result<u64, StorageError> {
    let number: i64 = row.get(column);
    u64::try_from(number).map_err(|_negative| {
        let name = row.columns()[column].name();
        damage(&format!("the column {name} has the value {number}"))
    })
}

/// Reads an order from a row's columns `number`, `name`, `quantity`, `key`.
pub(super) fn order_of(row: &Row) -> Result<Order, StorageError> {
    let key: Option<String> = row.get(3);
    Ok(Order {
        number: OrderNumber(natural(row, 0)?),
        name: row.get::<_, String>(1).into(),
        quantity: quantity_of(row, 2)?,
        key: key.map(IdempotencyKey::from),
    })
}

pub(super) fn quantity_of(row: &Row, column: usize) -> Result<Quantity, StorageError> {
    let quantity = natural(row, column)?;
    Quantity::new(quantity).ok_or_else(|| damage(&format!("an order has the quantity {quantity}")))
}

pub(super) fn chain_of(row: &Row, column: usize) -> Result<Chain, StorageError> {
    let bytes: &[u8] = row.get(column);
    Chain::from_bytes(bytes).ok_or_else(|| damage("a chain hash has not 16 bytes"))
}

/// The error of contents that no store has written.
pub(super) fn damage(what: &str) -> StorageError {
    StorageError::Unusable(format!(
        "the database is damaged: {what}; restore it (see docs/operations.md)"
    ))
}
