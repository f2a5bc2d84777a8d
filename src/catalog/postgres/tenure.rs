//! One term at one server: three connections, each with a queue, so that calls take effect in the
//! order in which they are made.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{BoxFuture, join};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::rows::{self, Columns, chain_of, damage, natural, order_of, quantity_of, signed};
use super::session::Session;
use super::{CALL_LIMIT, Shared, ended, schema};
use crate::catalog::core::stock::{Change, RecordedDecision, Shelf};
use crate::catalog::journal::Loaded;
use crate::catalog::journal::marker::Past;
use crate::catalog::shared::{Beat, Beaten, Tenure};
use crate::catalog::storage::Storage;
use crate::storage::{Outcome, StorageError};
use crate::wire::lease::{SessionId, Version};
use crate::wire::order::{OrderNumber, Position, Rows};
use crate::wire::purchase::IdempotencyKey;
use crate::wire::replication::{Epoch, Leadership, ReplicaId};
use crate::wire::term::{CatalogId, Term};
use crate::wire::toy::Toy;

/// Calls that may wait for one connection; more would wait longer than their limit.
const MOST_CALLS: usize = 1_024;
/// For everything that a catalog begins with. 100,000 toys take some 200 ms.
const LOAD_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

/// How many synchronous standbys there are.
const STANDBYS: &str =
    "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')";

const CLAIM: &str = "
    UPDATE cluster SET term = term + 1, holder = $3, beat = beat + 1
    WHERE id = 1 AND term = $1 AND beat = $2 RETURNING term";

const BEAT: &str = "UPDATE cluster SET beat = beat + 1 WHERE id = 1 AND term = $1 RETURNING 1";

const LEAVE: &str = "
    UPDATE cluster SET beat = beat + 1, holder = NULL WHERE id = 1 AND term = $1 RETURNING 1";

const SET_LEADERSHIP: &str = "
    UPDATE cluster SET beat = beat + 1, epoch = $2, leader = $3
    WHERE id = 1 AND term = $1 RETURNING 1";

const SET_PAST: &str = "
    UPDATE cluster SET beat = beat + 1, in_doubt = $2 WHERE id = 1 AND term = $1 RETURNING 1";

/// A batch is one statement: a client that is paused in the middle of a transaction of several
/// would hold the row, and a takeover would wait for it.
const COMMIT: &str = "
    WITH fence AS (
        UPDATE cluster SET beat = beat + 1, length = $4, chain = $5
        WHERE id = 1 AND term = $1 AND length = $2 AND chain = $3 RETURNING 1
    ), shelves AS (
        UPDATE stock SET quantity = new.quantity, stocked = new.stocked, sold = new.sold,
            version = new.version
        FROM unnest($6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
            AS new (name, quantity, stocked, sold, version)
        WHERE stock.name = new.name AND EXISTS (SELECT FROM fence) RETURNING 1
    ), orders AS (
        INSERT INTO log (number, name, quantity, chain, key)
        SELECT * FROM unnest($11::bigint[], $12::text[], $13::bigint[], $14::bytea[], $15::text[])
        WHERE EXISTS (SELECT FROM fence)
    ), decided AS (
        INSERT INTO decisions (key, name, quantity, number)
        SELECT * FROM unnest($16::text[], $17::text[], $18::bigint[], $19::bigint[])
        WHERE EXISTS (SELECT FROM fence)
    )
    SELECT 1 / (CASE WHEN (SELECT count(*) FROM shelves) = cardinality($6::text[]) THEN 1 ELSE 0 END)
    FROM fence";

const NOTE_SESSIONS: &str = "
    WITH fence AS (
        UPDATE cluster SET beat = beat + 1 WHERE id = 1 AND term = $1 RETURNING 1
    ), ended AS (
        DELETE FROM sessions
        USING unnest($2::bigint[], $3::bigint[]) AS gone (boot, serial)
        WHERE sessions.boot = gone.boot AND sessions.serial = gone.serial
            AND EXISTS (SELECT FROM fence)
    ), begun AS (
        INSERT INTO sessions (boot, serial)
        SELECT * FROM unnest($4::bigint[], $5::bigint[]) WHERE EXISTS (SELECT FROM fence)
        ON CONFLICT DO NOTHING
    )
    SELECT 1 FROM fence";

/// The toys of `roles.toml`, with their places and prices. A toy that is not there any more keeps
/// its row, without a place.
const LIST_TOYS: &str = "
    WITH fence AS (
        UPDATE cluster SET beat = beat + 1 WHERE id = 1 AND term = $1 RETURNING 1
    ), unlisted AS (
        UPDATE stock SET position = NULL
        WHERE position IS NOT NULL AND name <> ALL ($2::text[]) AND EXISTS (SELECT FROM fence)
    ), listed AS (
        INSERT INTO stock (name, position, price, quantity, stocked, sold, version)
        SELECT name, position, price, $5, $5, 0, 0
        FROM unnest($2::text[], $3::bigint[], $4::double precision[]) AS new (name, position, price)
        WHERE EXISTS (SELECT FROM fence)
        ON CONFLICT (name) DO UPDATE SET position = excluded.position, price = excluded.price
        WHERE (stock.position, stock.price) IS DISTINCT FROM (excluded.position, excluded.price)
    )
    SELECT 1 FROM fence";

const RECORDED: &str = "
    SELECT decisions.key, decisions.name, decisions.quantity, decisions.number, log.key
    FROM decisions LEFT JOIN log ON log.number = decisions.number
    WHERE decisions.key = ANY ($1)";

const CHAIN_OF: &str = "SELECT chain FROM log WHERE number = $1";

const ROWS: &str =
    "SELECT number, name, quantity, key FROM log WHERE number >= $1 ORDER BY number LIMIT $2";

/// Begins a term. `None` if something was written since `seen`.
pub(super) async fn claim(
    session: &Session,
    seen: Beat,
    own: CatalogId,
    standbys: u32,
) -> Result<Option<Term>, StorageError> {
    let (term, beat) = (signed(seen.term.0), signed(seen.count));
    let holder = i64::from(own.0);
    let claimed = write(session, standbys, CLAIM, &[&term, &beat, &holder]).await?;
    claimed.0.map(|row| Ok(Term(natural(&row, 0)?))).transpose()
}

/// Makes a write, and looks afterwards how many synchronous standbys there are. The row is what the
/// statement returned, none if its fence did not hold.
async fn write(
    session: &Session,
    standbys: u32,
    sql: &'static str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<(Option<Row>, u32), StorageError> {
    let wrote = async {
        // What is prepared is sent at once: both in the order in which they are polled first.
        session.prepare(sql).await?;
        session.prepare(STANDBYS).await?;
        let (wrote, seen) =
            join(session.query(sql, parameters), session.query_one(STANDBYS, &[])).await;
        let row = wrote?.into_iter().next();
        let seen = u32::try_from(seen?.get::<_, i64>(0)).unwrap_or(u32::MAX);
        if row.is_some() && seen < standbys {
            return Err(session.lost(&format!(
                "it has {seen} synchronous standbys, and `standbys` is {standbys}: its last write \
                 may be on one disk only"
            )));
        }
        Ok((row, seen))
    };
    let late = || Err(session.lost("no answer to a write in time"));
    timeout(CALL_LIMIT, wrote).await.unwrap_or_else(|_late| late())
}

/// A term. When it is dropped, its connections end.
pub(super) struct PostgresTenure {
    shared: Arc<Shared>,
    term: Term,
    writes: Lane,
    reads: Lane,
    beats: Lane,
    /// Ends the connections, also while a call is under way.
    _connections: DropGuard,
}

/// A connection and the calls that wait for it.
struct Lane {
    calls: mpsc::Sender<QueuedCall>,
    /// A call failed: no more are made in this term.
    is_over: Arc<AtomicBool>,
}

type QueuedCall = Box<dyn for<'a> FnOnce(&'a Session) -> BoxFuture<'a, ()> + Send>;

impl PostgresTenure {
    pub(super) fn new(
        shared: Arc<Shared>,
        term: Term,
        runtime: &Handle,
        sessions: [Session; 3],
    ) -> Self {
        let (end, is_over) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let [writes, reads, beats] =
            sessions.map(|session| Lane::start(session, runtime, &end, &is_over));
        Self { shared, term, writes, reads, beats, _connections: end.drop_guard() }
    }

    /// Makes a write that is fenced by the term.
    fn fenced(
        &self,
        lane: &Lane,
        sql: &'static str,
        parameters: Vec<Box<dyn ToSql + Send + Sync>>,
    ) -> Outcome<'static, Beaten> {
        let (term, standbys) = (signed(self.term.0), self.shared.standbys);
        lane.run(move |session| {
            Box::pin(async move {
                let rest = parameters.iter().map(|it| &**it as &(dyn ToSql + Sync));
                let all: Vec<_> = std::iter::once(&term as _).chain(rest).collect();
                match write(session, standbys, sql, &all).await? {
                    (Some(_), standbys) => Ok(Beaten { standbys }),
                    (None, _) => Err(StorageError::Deposed),
                }
            })
        })
    }
}

/// Ends with what a fenced write's outcome says, without the standbys.
fn done(written: Outcome<'_, Beaten>) -> Outcome<'_, ()> {
    Box::pin(async move { written.await.map(drop) })
}

/// A parameter of a statement.
fn parameter(value: impl ToSql + Send + Sync + 'static) -> Box<dyn ToSql + Send + Sync> {
    Box::new(value)
}

impl Lane {
    fn start(
        session: Session,
        runtime: &Handle,
        end: &CancellationToken,
        is_over: &Arc<AtomicBool>,
    ) -> Self {
        let (calls, mut queue) = mpsc::channel::<QueuedCall>(MOST_CALLS);
        let end = end.clone();
        runtime.spawn(async move {
            let serve = async {
                while let Some(call) = queue.recv().await {
                    call(&session).await;
                }
            };
            tokio::select! {
                () = end.cancelled() => {}
                () = serve => {}
            }
        });
        Self { calls, is_over: Arc::clone(is_over) }
    }

    /// Makes a call after all earlier ones. It is queued when this function returns.
    fn run<T, F>(&self, call: F) -> Outcome<'static, T>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a Session) -> BoxFuture<'a, Result<T, StorageError>> + Send + 'static,
    {
        let (done, outcome) = oneshot::channel();
        let is_over = Arc::clone(&self.is_over);
        let queued: QueuedCall = Box::new(move |session| {
            Box::pin(async move {
                let outcome = if is_over.load(Ordering::Relaxed) {
                    Err(session.lost("the term is over"))
                } else {
                    call(session).await
                };
                if outcome.is_err() {
                    is_over.store(true, Ordering::Relaxed);
                }
                // The caller may have stopped waiting; the call was made all the same.
                let _gone = done.send(outcome);
            })
        });
        let queued = self.calls.try_send(queued);
        Box::pin(async move {
            if queued.is_err() {
                return Err(StorageError::Lost("too many calls wait for the database".into()));
            }
            outcome.await.unwrap_or_else(|_ended| Err(ended()))
        })
    }
}

impl Tenure for PostgresTenure {
    fn term(&self) -> Term {
        self.term
    }

    fn load(&self) -> Outcome<'_, Loaded> {
        let (shared, term) = (Arc::clone(&self.shared), self.term);
        self.writes.run(move |session| {
            Box::pin(async move {
                let loaded = timeout(LOAD_LIMIT, load(session, &shared, term)).await;
                loaded.unwrap_or_else(|_late| Err(session.lost("reading the store took too long")))
            })
        })
    }

    fn beat(&self) -> Outcome<'_, Beaten> {
        self.fenced(&self.beats, BEAT, Vec::new())
    }

    fn leave(&self) -> Outcome<'_, ()> {
        done(self.fenced(&self.writes, LEAVE, Vec::new()))
    }
}

impl Storage for PostgresTenure {
    fn recorded(
        &self,
        keys: Vec<IdempotencyKey>,
    ) -> Outcome<'_, HashMap<IdempotencyKey, RecordedDecision>> {
        self.reads.run(move |session| Box::pin(in_time(session, recorded(session, keys))))
    }

    fn commit(&self, change: Change) -> Outcome<'_, ()> {
        let (Columns { stock, log, decisions }, end) = Columns::of(&change);
        let position = |it: Position| (signed(it.length), it.chain.as_bytes().to_vec());
        let ((length, chain), (new_length, new_chain)) = (position(change.after), position(end));
        let parameters = vec![
            parameter(length),
            parameter(chain),
            parameter(new_length),
            parameter(new_chain),
            parameter(stock.names),
            parameter(stock.quantities),
            parameter(stock.stocked),
            parameter(stock.sold),
            parameter(stock.versions),
            parameter(log.numbers),
            parameter(log.names),
            parameter(log.quantities),
            parameter(log.chains),
            parameter(log.keys),
            parameter(decisions.keys),
            parameter(decisions.names),
            parameter(decisions.quantities),
            parameter(decisions.numbers),
        ];
        done(self.fenced(&self.writes, COMMIT, parameters))
    }

    fn set_leadership(&self, leadership: Leadership) -> Outcome<'_, ()> {
        let leader = leadership.leader.map(|ReplicaId(id)| i64::from(id));
        let parameters = vec![parameter(signed(leadership.epoch.0)), parameter(leader)];
        done(self.fenced(&self.writes, SET_LEADERSHIP, parameters))
    }

    fn set_past(&self, past: Past) -> Outcome<'_, ()> {
        let parameters = vec![parameter(past == Past::InDoubt)];
        done(self.fenced(&self.writes, SET_PAST, parameters))
    }

    fn note_sessions(&self, begun: Option<SessionId>, ended: Vec<SessionId>) -> Outcome<'_, ()> {
        let columns = |sessions: Vec<SessionId>| -> (Vec<i64>, Vec<i64>) {
            sessions.iter().map(|it| (signed(it.boot), signed(it.serial))).unzip()
        };
        let ((gone_boots, gone), (boots, serials)) =
            (columns(ended), columns(begun.into_iter().collect()));
        let parameters =
            vec![parameter(gone_boots), parameter(gone), parameter(boots), parameter(serials)];
        done(self.fenced(&self.writes, NOTE_SESSIONS, parameters))
    }

    fn rows(&self, from: u64, most: u64) -> Outcome<'_, Option<Rows>> {
        self.reads.run(move |session| Box::pin(in_time(session, read_rows(session, from, most))))
    }

    /// A beat tells whether the database responds.
    fn pulse(&self) -> Outcome<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn try_write(&self) -> Outcome<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// There is no file of the catalog's own.
    fn checkpoint(&self) -> Outcome<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

async fn in_time<T>(
    session: &Session,
    read: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    let late = || Err(session.lost("no answer to a read in time"));
    timeout(CALL_LIMIT, read).await.unwrap_or_else(|_late| late())
}

/// The decisions on any of `keys`. A granted one must be in the journal under its key.
async fn recorded(
    session: &Session,
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
async fn read_rows(session: &Session, from: u64, most: u64) -> Result<Option<Rows>, StorageError> {
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
async fn load(session: &Session, shared: &Shared, term: Term) -> Result<Loaded, StorageError> {
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

async fn list_toys(session: &Session, shared: &Shared, term: Term) -> Result<(), StorageError> {
    let names: Vec<&str> = shared.toys.iter().map(|toy| toy.name.as_str()).collect();
    let prices: Vec<f64> = shared.toys.iter().map(|toy| toy.price.as_decimal()).collect();
    let positions: Vec<i64> = (0..).take(names.len()).collect();
    let (term, initial) = (signed(term.0), signed(shared.initial));
    let parameters: [&(dyn ToSql + Sync); 5] = [&term, &names, &positions, &prices, &initial];
    let listed = session.query(LIST_TOYS, &parameters).await?;
    if listed.is_empty() { Err(StorageError::Deposed) } else { Ok(()) }
}

/// The log must end where the row says.
async fn check_end(session: &Session, journal: Position) -> Result<(), StorageError> {
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

async fn shelves(session: &Session, shared: &Shared) -> Result<Vec<Shelf>, StorageError> {
    let sql = "SELECT name, quantity, stocked, sold, version FROM stock
               WHERE position IS NOT NULL ORDER BY position";
    let found = session.query(sql, &[]).await?;
    if found.len() != shared.toys.len() {
        return Err(session.lost("the toys were changed by another catalog"));
    }
    let shelf = |(row, toy): (&Row, &crate::roles::ToyRole)| {
        let quantity = rows::natural(row, 1)?;
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
