//! Moving a store into the database, and out of it.

use tokio_postgres::Row;

use super::rows::{
    DecisionColumns, LogColumns, chain_of, damage, natural, order_of, quantity_of, signed,
};
use super::schema;
use super::session::ServerSession;
use crate::catalog::core::stock::RecordedDecision;
use crate::catalog::journal::portable::{Portable, StockRow};
use crate::storage::StorageError;
use crate::wire::order::{OrderNumber, Position};
use crate::wire::purchase::IdempotencyKey;
use crate::wire::replication::{Epoch, Leadership, ReplicaId};

/// Rows that one statement moves: well within its time limit.
const CHUNK: usize = 5_000;

/// The row is changed only if no store has sold here, and no catalog rules.
const FILL: &str = "
    UPDATE cluster SET beat = beat + 1, store = $1, epoch = $2, leader = $3, length = $4,
        chain = $5, in_doubt = true
    WHERE length = 0 AND holder IS NULL AND NOT EXISTS (SELECT FROM log)
        AND NOT EXISTS (SELECT FROM decisions) RETURNING 1";

const INSERT_ORDERS: &str = "
    INSERT INTO log (number, name, quantity, chain, key)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bytea[], $5::text[])";

const INSERT_DECISIONS: &str = "
    INSERT INTO decisions (key, name, quantity, number)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])";

const INSERT_STOCK: &str = "
    INSERT INTO stock (name, position, price, quantity, stocked, sold, version)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Fills the database, which must be empty, in one transaction.
pub(super) async fn write(
    primary: &ServerSession,
    contents: &Portable,
) -> Result<(), StorageError> {
    primary.run("BEGIN").await?;
    let filled = fill(primary, contents).await;
    primary.run(if filled.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    filled
}

async fn fill(primary: &ServerSession, contents: &Portable) -> Result<(), StorageError> {
    let (store, epoch) = (signed(contents.store.get()), signed(contents.leadership.epoch.0));
    let leader = contents.leadership.leader.map(|ReplicaId(id)| i64::from(id));
    let end = contents.end();
    let (length, chain) = (signed(end.length), &end.chain.as_bytes()[..]);
    let row = primary.query(FILL, &[&store, &epoch, &leader, &length, &chain]).await?;
    if row.is_empty() {
        return Err(StorageError::Unusable(
            "the database holds orders, or a catalog rules there; move a store into a new \
             database, with all catalogs stopped"
                .into(),
        ));
    }
    primary.run("DELETE FROM stock").await?;
    for StockRow { name, position, price, counts: [quantity, stocked, sold, version] } in
        &contents.stock
    {
        let row: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [name, position, price, quantity, stocked, sold, version];
        primary.query(INSERT_STOCK, &row).await?;
    }
    let mut after = Position::START;
    for chunk in contents.orders.chunks(CHUNK) {
        let mut log = LogColumns::default();
        after = log.extend(after, chunk);
        let LogColumns { numbers, names, quantities, chains, keys } = &log;
        primary.query(INSERT_ORDERS, &[numbers, names, quantities, chains, keys]).await?;
    }
    for chunk in contents.decisions.chunks(CHUNK) {
        let mut columns = DecisionColumns::default();
        for (key, decision) in chunk {
            columns.push(key, decision);
        }
        let DecisionColumns { keys, names, quantities, numbers } = &columns;
        primary.query(INSERT_DECISIONS, &[keys, names, quantities, numbers]).await?;
    }
    Ok(())
}

/// Reads the whole database, as it is at one time, and checks the chain of the orders.
pub(super) async fn read(primary: &ServerSession) -> Result<Portable, StorageError> {
    primary.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let contents = contents(primary).await;
    primary.run("ROLLBACK").await?;
    contents
}

async fn contents(primary: &ServerSession) -> Result<Portable, StorageError> {
    let sql = "SELECT schema, store, epoch, leader, length, chain FROM cluster";
    let row = primary.query_one(sql, &[]).await?;
    schema::check(row.get(0))?;
    let leader: Option<i64> = row.get(3);
    let leader = leader.and_then(|id| u32::try_from(id).ok()).map(ReplicaId);
    let told = Position { length: natural(&row, 4)?, chain: chain_of(&row, 5)? };
    let sql = "SELECT name, position, price, quantity, stocked, sold, version FROM stock
               ORDER BY name";
    let stock_row = |row: &Row| StockRow {
        name: row.get(0),
        position: row.get(1),
        price: row.get(2),
        counts: [row.get(3), row.get(4), row.get(5), row.get(6)],
    };
    let mut contents = Portable {
        store: schema::store_of(row.get(1))?,
        leadership: Leadership { epoch: Epoch(natural(&row, 2)?), leader },
        stock: primary.query(sql, &[]).await?.iter().map(stock_row).collect(),
        orders: Vec::new(),
        decisions: decisions(primary).await?,
    };
    let mut end = Position::START;
    while end.length < told.length {
        let sql = "SELECT number, name, quantity, key, chain FROM log WHERE number >= $1
                   ORDER BY number LIMIT $2";
        let (from, most) = (signed(end.length), signed(CHUNK as u64));
        let rows = primary.query(sql, &[&from, &most]).await?;
        for row in &rows {
            let order = order_of(row)?;
            if order.number.0 != end.length {
                return Err(damage(&format!("order {} is missing", end.length)));
            }
            end = end.continued_by(&order);
            if chain_of(row, 4)? != end.chain {
                return Err(damage(&format!("order {} does not match its hash", order.number)));
            }
            contents.orders.push(order);
        }
        if rows.is_empty() {
            break;
        }
    }
    if end == told {
        return Ok(contents);
    }
    Err(damage("the log does not end where the row of `cluster` says"))
}

async fn decisions(
    primary: &ServerSession,
) -> Result<Vec<(IdempotencyKey, RecordedDecision)>, StorageError> {
    let mut found = Vec::new();
    let mut last = String::new();
    loop {
        let sql = "SELECT key, name, quantity, number FROM decisions WHERE key > $1
                   ORDER BY key LIMIT $2";
        let rows = primary.query(sql, &[&last, &signed(CHUNK as u64)]).await?;
        let Some(end) = rows.last() else { return Ok(found) };
        last = end.get(0);
        for row in &rows {
            let number: Option<i64> = row.get(3);
            let number = number.is_some().then(|| natural(row, 3)).transpose()?;
            let (name, quantity) = (row.get::<_, String>(1).into(), quantity_of(row, 2)?);
            let decision = RecordedDecision { name, quantity, number: number.map(OrderNumber) };
            found.push((row.get::<_, String>(0).into(), decision));
        }
    }
}
