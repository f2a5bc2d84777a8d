//! Moving a store into the database, and out of it, in pieces.
//!
//! A store moves into the database in one transaction, in which it is also read back: so there is
//! all of it or nothing, also if this process or the server is killed. It moves out of the database
//! as it was at one time.

use tokio_postgres::Row;

use super::rows::{
    DecisionColumns, LogColumns, chain_of, damage, natural, order_of, quantity_of, signed,
};
use super::schema;
use super::session::ServerSession;
use crate::catalog::core::stock::RecordedDecision;
use crate::catalog::journal::portable::{
    ContentsSummary, DecisionsSummary, Head, KeyedDecision, Sink, SourceFile, StockRow,
};
use crate::storage::StorageError;
use crate::wire::order::{Order, OrderNumber, Position};
use crate::wire::replication::{Epoch, Leadership, ReplicaId};

/// A piece takes some milliseconds; a disk may be slow. No catalog waits for this transaction.
const LONG_TIMEOUTS: &str = "SET LOCAL statement_timeout = '60s';
                       SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// The row is changed only if no store has sold here, and no catalog rules.
const FILL: &str = "
    UPDATE cluster SET beat = beat + 1, store = $1, epoch = $2, leader = $3, length = $4,
        chain = $5, in_doubt = true
    WHERE length = 0 AND holder IS NULL AND NOT EXISTS (SELECT FROM log)
        AND NOT EXISTS (SELECT FROM decisions) RETURNING 1";

const END: &str = "UPDATE cluster SET length = $1, chain = $2 RETURNING 1";

const INSERT_ORDERS: &str = "
    INSERT INTO log (number, name, quantity, chain, key)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bytea[], $5::text[])";

const INSERT_DECISIONS: &str = "
    INSERT INTO decisions (key, name, quantity, number)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])";

const INSERT_STOCK: &str = "
    INSERT INTO stock (name, position, price, quantity, stocked, sold, version)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// A piece of the orders. The limit is in the text, so that the plan is made for so few rows.
const ORDERS: &str = "
    SELECT number, name, quantity, key, chain FROM log WHERE number >= $1
    ORDER BY number LIMIT 2000";

/// A piece of the decisions, each with whether its order is there, and under which key.
const DECISIONS: &str = "
    SELECT piece.*, log.number IS NOT NULL, log.key
    FROM (SELECT key, name, quantity, number FROM decisions WHERE key > $1
          ORDER BY key LIMIT 2000) AS piece
    LEFT JOIN log ON log.number = piece.number
    ORDER BY piece.key";

/// Fills the database, which must be empty, in one transaction. Returns what is there then.
pub(super) async fn write(
    primary: &ServerSession,
    source: &mut SourceFile,
) -> Result<ContentsSummary, StorageError> {
    primary.run(&format!("BEGIN; {LONG_TIMEOUTS}")).await?;
    let filled = fill(primary, source).await;
    let ended = primary.run(if filled.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
    let filled = filled?;
    ended?;
    // A warning that the commit is not on the standbys is told with the next answer.
    primary.query_one("SELECT 1", &[]).await?;
    Ok(filled)
}

async fn fill(
    primary: &ServerSession,
    source: &mut SourceFile,
) -> Result<ContentsSummary, StorageError> {
    let head = source.head()?;
    let store = signed(head.store.get());
    let epoch = signed(head.leadership.epoch.0);
    let leader = head.leadership.leader.map(|ReplicaId(id)| i64::from(id));
    let (length, chain) = position(Position::START);
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
        &head.stock
    {
        let row: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [name, position, price, quantity, stocked, sold, version];
        primary.query(INSERT_STOCK, &row).await?;
    }
    let journal = fill_log(primary, source).await?;
    let decisions = fill_decisions(primary, source).await?;
    let (length, chain) = position(journal);
    primary.query_one(END, &[&length, &chain]).await?;
    let written = ContentsSummary { head, journal, decisions };
    if walk(primary, &mut ()).await? == written {
        return Ok(written);
    }
    Err(StorageError::Unusable(
        "the database does not hold what was written to it, and was left as it was".into(),
    ))
}

async fn fill_log(
    primary: &ServerSession,
    source: &mut SourceFile,
) -> Result<Position, StorageError> {
    let mut end = Position::START;
    loop {
        let orders = source.orders(end.length)?;
        if orders.is_empty() {
            return Ok(end);
        }
        let mut log = LogColumns::default();
        end = log.extend(end, &orders);
        let LogColumns { numbers, names, quantities, chains, keys } = &log;
        primary.query(INSERT_ORDERS, &[numbers, names, quantities, chains, keys]).await?;
    }
}

async fn fill_decisions(
    primary: &ServerSession,
    source: &mut SourceFile,
) -> Result<DecisionsSummary, StorageError> {
    let (mut summary, mut last) = (DecisionsSummary::default(), String::new());
    loop {
        let entries = source.decisions(&last)?;
        let Some((key, _)) = entries.last() else { return Ok(summary) };
        key.as_str().clone_into(&mut last);
        summary.add(&entries);
        let mut columns = DecisionColumns::default();
        for (key, decision) in &entries {
            columns.push(key, decision);
        }
        let DecisionColumns { keys, names, quantities, numbers } = &columns;
        primary.query(INSERT_DECISIONS, &[keys, names, quantities, numbers]).await?;
    }
}

/// Reads the whole database, as it is at one time, into `sink`, and checks it. Returns what is
/// there.
pub(super) async fn read(
    primary: &ServerSession,
    sink: &mut impl Sink,
) -> Result<ContentsSummary, StorageError> {
    primary
        .run(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {LONG_TIMEOUTS}"))
        .await?;
    let found = walk(primary, sink).await;
    let ended = primary.run("ROLLBACK").await;
    let found = found?;
    ended.map(|()| found)
}

/// Walks through all contents: the orders and their chain, and the decisions, which must be those
/// of the orders.
async fn walk(
    primary: &ServerSession,
    sink: &mut impl Sink,
) -> Result<ContentsSummary, StorageError> {
    let (head, told) = head(primary).await?;
    let (mut journal, mut keys) = (Position::START, 0_u64);
    loop {
        let orders = orders(primary, journal).await?;
        if orders.is_empty() {
            break;
        }
        journal = orders.iter().fold(journal, Position::continued_by);
        keys += orders.iter().filter(|order| order.key.is_some()).count() as u64;
        sink.take_orders(&orders)?;
    }
    if journal != told {
        return Err(damage("the log does not end where the row of `cluster` says"));
    }
    let (mut summary, mut owned, mut last) = (DecisionsSummary::default(), 0_u64, String::new());
    loop {
        let (entries, owners) = decisions(primary, &last).await?;
        let Some((key, _)) = entries.last() else { break };
        key.as_str().clone_into(&mut last);
        summary.add(&entries);
        owned += owners;
        sink.take_decisions(&entries)?;
    }
    if owned != keys {
        return Err(damage("an order has no recorded decision"));
    }
    Ok(ContentsSummary { head, journal, decisions: summary })
}

async fn head(primary: &ServerSession) -> Result<(Head, Position), StorageError> {
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
    let head = Head {
        store: schema::store_of(row.get(1))?,
        leadership: Leadership { epoch: Epoch(natural(&row, 2)?), leader },
        stock: primary.query(sql, &[]).await?.iter().map(stock_row).collect(),
    };
    Ok((head, told))
}

/// The orders that follow `after`, checked.
async fn orders(primary: &ServerSession, after: Position) -> Result<Vec<Order>, StorageError> {
    let rows = primary.query(ORDERS, &[&signed(after.length)]).await?;
    let mut end = after;
    let checked = |row: &Row| {
        let order = order_of(row)?;
        if order.number.0 != end.length {
            return Err(damage(&format!("order {} is missing", end.length)));
        }
        end = end.continued_by(&order);
        if chain_of(row, 4)? != end.chain {
            return Err(damage(&format!("order {} does not match its hash", order.number)));
        }
        Ok(order)
    };
    rows.iter().map(checked).collect()
}

/// The decisions that follow the key `after`, checked, and how many of their orders have a key.
async fn decisions(
    primary: &ServerSession,
    after: &str,
) -> Result<(Vec<KeyedDecision>, u64), StorageError> {
    let rows = primary.query(DECISIONS, &[&after]).await?;
    let mut owners = 0;
    let checked = |row: &Row| {
        let (key, owner): (String, Option<String>) = (row.get(0), row.get(5));
        let number: Option<i64> = row.get(3);
        let number = number.is_some().then(|| natural(row, 3)).transpose()?.map(OrderNumber);
        let is_there: bool = row.get(4);
        // Orders from before the journal kept keys have none.
        if number.is_some() && (!is_there || owner.as_ref().is_some_and(|owner| *owner != key)) {
            return Err(damage("a recorded decision is not that of its order"));
        }
        owners += u64::from(owner.is_some());
        let (name, quantity) = (row.get::<_, String>(1).into(), quantity_of(row, 2)?);
        Ok((key.into(), RecordedDecision { name, quantity, number }))
    };
    let entries = rows.iter().map(checked).collect::<Result<_, _>>()?;
    Ok((entries, owners))
}

fn position(it: Position) -> (i64, Vec<u8>) {
    (signed(it.length), it.chain.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::journal::portable::PIECE;

    #[test]
    fn the_limit_in_the_statements_is_a_piece() {
        let limit = format!("LIMIT {PIECE}");
        assert!(ORDERS.contains(&limit) && DECISIONS.contains(&limit));
    }
}
