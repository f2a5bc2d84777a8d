//! What a term reads, and what it begins with.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::rows::{chain_of, damage, natural, order_of, quantity_of, signed};
use super::session::ServerSession;
use super::statements::{CHAIN_OF, LIST_TOYS, RECORDED, ROWS};
use super::{CALL_LIMIT, Shared, schema};
use crate::catalog::core::stock::{RecordedDecision, Shelf};
use crate::catalog::journal::Loaded;
use crate::catalog::journal::marker::Past;
use crate::roles::ToyRole;
use crate::storage::StorageError;
use crate::wire::lease::{SessionId, Version};
use crate::wire::order::{OrderNumber, Position, Rows};
use crate::wire::purchase::IdempotencyKey;
use crate::wire::replication::{Epoch, Leadership, ReplicaId};
use crate::wire::term::Term;
use crate::wire::toy::Toy;

/// For everything that a term begins with. 100,000 toys take some 200 ms. A catalog would wait
/// longer (`BEGIN_LIMIT` in `running_term.rs`).
pub(super) const LOAD_LIMIT: Duration = Duration::from_secs(2);

pub(super) async fn in_time<T>(
    session: &ServerSession,
    read: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    let late = || Err(session.lost("no answer to a read in time"));
    timeout(CALL_LIMIT, read).await.unwrap_or_else(|_late| late())
}

/// The decisions on any of `keys`. A granted one must be in the journal under its key.
pub(super) async fn recorded(
    session: &ServerSession,
    keys: Vec<IdempotencyKey>,
) -> Result<HashMap<IdempotencyKey, RecordedDecision>, StorageError> {
    let keys: Vec<&str> = keys.iter().map(IdempotencyKey::as_str).collect();
    let mut found = HashMap::new();
    for row in session.query(RECORDED, &[&keys]).await? {
        let (key, owner): (String, Option<String>) = (row.get(0), row.get(4));
        let number: Option<i64> = row.get(3);
        if number.is_some() && owner.as_ref() != Some(&key) {
            return Err(damage("a recorded decision is not that of its order"));
        }
        let number = number.is_some().then(|| natural(&row, 3)).transpose()?.map(OrderNumber);
        let (name, quantity) = (row.get::<_, String>(1).into(), quantity_of(&row, 2)?);
        found.insert(IdempotencyKey::from(key), RecordedDecision { name, quantity, number });
    }
    Ok(found)
}

/// At most `most` orders from number `from` on.
pub(super) async fn read_rows(
    session: &ServerSession,
    from: u64,
    most: u64,
) -> Result<Option<Rows>, StorageError> {
    let after = match from.checked_sub(1).map(i64::try_from) {
        None => Position::START,
        Some(Err(_beyond_all)) => return Ok(None),
        Some(Ok(last)) => match session.query(CHAIN_OF, &[&last]).await?.first() {
            Some(row) => Position { length: from, chain: chain_of(row, 0)? },
            None => return Ok(None),
        },
    };
    let (from, most) = (signed(from), i64::try_from(most).unwrap_or(i64::MAX));
    let orders = session.query(ROWS, &[&from, &most]).await?;
    let orders = orders.iter().map(order_of).collect::<Result<_, _>>()?;
    Ok(Some(Rows { after, orders }))
}

/// Enters the toys, and reads what a catalog begins with.
pub(super) async fn load(
    session: &ServerSession,
    shared: &Shared,
    term: Term,
) -> Result<Loaded, StorageError> {
    list_toys(session, shared, term).await?;
    let sql = "SELECT store, epoch, leader, length, chain, in_doubt FROM cluster WHERE term = $1";
    let row = session.query(sql, &[&signed(term.0)]).await?;
    let row = row.first().ok_or(StorageError::Deposed)?;
    let journal = Position { length: natural(row, 3)?, chain: chain_of(row, 4)? };
    check_end(session, journal).await?;
    let leader: Option<i64> = row.get(2);
    let leader = leader.map(u32::try_from).transpose();
    let leader = leader.map_err(|_large| damage("no replica has the leader's id"))?;
    let leadership = Leadership { epoch: Epoch(natural(row, 1)?), leader: leader.map(ReplicaId) };
    let sessions = session.query("SELECT boot, serial FROM sessions", &[]).await?;
    let session_of = |row: &Row| Ok(SessionId { boot: natural(row, 0)?, serial: natural(row, 1)? });
    Ok(Loaded {
        shelves: shelves(session, shared).await?,
        journal,
        leadership,
        sessions: sessions.iter().map(session_of).collect::<Result<_, StorageError>>()?,
        store: schema::store_of(row.get(0))?,
        past: if row.get(5) { Past::InDoubt } else { Past::Continued },
    })
}

async fn list_toys(
    session: &ServerSession,
    shared: &Shared,
    term: Term,
) -> Result<(), StorageError> {
    let names: Vec<&str> = shared.toys.iter().map(|toy| toy.name.as_str()).collect();
    let prices: Vec<f64> = shared.toys.iter().map(|toy| toy.price.as_decimal()).collect();
    let positions: Vec<i64> = (0..).take(names.len()).collect();
    let (term, initial) = (signed(term.0), signed(shared.initial));
    let parameters: [&(dyn ToSql + Sync); 5] = [&term, &names, &positions, &prices, &initial];
    let listed = session.query(LIST_TOYS, &parameters).await?;
    if listed.is_empty() { Err(StorageError::Deposed) } else { Ok(()) }
}

/// The log must end where the row says.
async fn check_end(session: &ServerSession, journal: Position) -> Result<(), StorageError> {
    let sql = "SELECT number, chain FROM log ORDER BY number DESC LIMIT 1";
    let end = match session.query(sql, &[]).await?.first() {
        None => Position::START,
        Some(row) => Position { length: natural(row, 0)? + 1, chain: chain_of(row, 1)? },
    };
    if end == journal {
        return Ok(());
    }
    Err(damage(&format!(
        "the log ends with {} orders, and the row of `cluster` says {}",
        end.length, journal.length
    )))
}

async fn shelves(session: &ServerSession, shared: &Shared) -> Result<Vec<Shelf>, StorageError> {
    let sql = "SELECT name, quantity, stocked, sold, version FROM stock
               WHERE position IS NOT NULL ORDER BY position";
    let found = session.query(sql, &[]).await?;
    if found.len() != shared.toys.len() {
        return Err(session.lost("the toys were changed by another catalog"));
    }
    let shelf = |(row, toy): (&Row, &ToyRole)| {
        let quantity = natural(row, 1)?;
        if row.get::<_, &str>(0) != toy.name.as_str() {
            return Err(damage("the toys are not in the order of roles.toml"));
        }
        Ok(Shelf {
            toy: Toy { name: toy.name.clone(), price: toy.price, quantity },
            stocked: natural(row, 2)?,
            sold: natural(row, 3)?,
            version: Version(natural(row, 4)?),
        })
    };
    found.iter().zip(&shared.toys).map(shelf).collect()
}
