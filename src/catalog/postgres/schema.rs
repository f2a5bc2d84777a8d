//! The tables, and `toystore catalog --migrate`, which creates and upgrades them.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::primary::Primary;
use super::session::ServerSession;
use super::statements::STANDBYS;
use crate::storage::StorageError;
use crate::wire::identity::StoreId;
use crate::wire::order::Chain;

/// The version of the tables that this executable reads and writes. An executable refuses a
/// database with another one.
pub(super) const VERSION: i32 = 1;

/// Of two migrations at once, the second waits. (The number means nothing.)
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(7088713)";
/// How often a second one looks: well within the time after which an idle transaction ends.
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// How long each half of a migration may take: to make the tables, which takes a second at most,
/// and to commit them. A commit waits for synchronous standbys without an end.
const LIMIT: Duration = Duration::from_secs(10);

/// The same tables as on SQLite. Every write changes the one row of `cluster`, if its term and, for
/// a batch, its position are still what the writer thinks: so the row is fenced, and the last
/// write's outcome can be read from it. It is updated often, so its page has room for versions.
const TABLES: &str = r#"
    CREATE TABLE cluster (
        id       integer PRIMARY KEY CHECK (id = 1),
        store    bigint  NOT NULL CHECK (store > 0),
        schema   integer NOT NULL,
        term     bigint  NOT NULL,
        holder   bigint,
        beat     bigint  NOT NULL,
        epoch    bigint  NOT NULL,
        leader   bigint,
        length   bigint  NOT NULL,
        chain    bytea   NOT NULL,
        in_doubt boolean NOT NULL
    ) WITH (fillfactor = 10);
    CREATE TABLE stock (
        name     text COLLATE "C" PRIMARY KEY,
        position bigint,
        price    double precision NOT NULL,
        quantity bigint NOT NULL CHECK (quantity >= 0),
        stocked  bigint NOT NULL,
        sold     bigint NOT NULL,
        version  bigint NOT NULL,
        CHECK (stocked - sold = quantity)
    ) WITH (fillfactor = 50);
    CREATE VIEW products AS
        SELECT name, price, quantity FROM stock WHERE position IS NOT NULL ORDER BY position;
    CREATE TABLE log (
        number   bigint PRIMARY KEY,
        name     text COLLATE "C" NOT NULL,
        quantity bigint NOT NULL,
        chain    bytea  NOT NULL,
        key      text COLLATE "C"
    );
    CREATE VIEW journal AS SELECT number, name, quantity FROM log;
    CREATE TABLE decisions (
        key      text COLLATE "C" PRIMARY KEY,
        name     text COLLATE "C" NOT NULL,
        quantity bigint NOT NULL,
        number   bigint
    );
    CREATE TABLE sessions (
        boot   bigint NOT NULL,
        serial bigint NOT NULL,
        PRIMARY KEY (boot, serial)
    );
"#;

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// It made a store.
    Created(StoreId),
    /// The schema was this executable's already.
    Current(StoreId),
}

/// Creates the tables, or upgrades them, in one transaction.
///
/// It may be repeated after any error. If the commit waited too long, it takes effect when there
/// are standbys; until then the transaction keeps its lock, and another migration changes nothing.
pub(super) async fn migrate(
    primary: &Primary,
    session: &ServerSession,
) -> Result<Migration, StorageError> {
    let made = timeout(LIMIT, begin(session)).await;
    let migration = match made.unwrap_or_else(|_late| Err(session.lost("it does not answer"))) {
        Ok(migration) => migration,
        Err(error) => {
            // Without it, the transaction would end with the connection.
            let _ended = timeout(LIMIT, session.run("ROLLBACK")).await;
            return Err(error);
        }
    };
    let commit = async {
        session.run("COMMIT").await?;
        // A warning that the commit is not on the standbys is told with the next answer.
        session.query_one("SELECT 1", &[]).await
    };
    match timeout(LIMIT, commit).await {
        Ok(committed) => committed.map(|_| migration),
        Err(_late) => Err(waits(session, "the commit of the tables", primary.standbys.into())),
    }
}

async fn begin(session: &ServerSession) -> Result<Migration, StorageError> {
    session.run("BEGIN").await?;
    let begun = Instant::now();
    while !session.query_one(LOCK, &[]).await?.get::<_, bool>(0) {
        if begun.elapsed() > LIMIT / 2 {
            let standbys = session.query_one(STANDBYS, &[]).await?.get(0);
            return Err(waits(session, "another migration, which has the lock,", standbys));
        }
        sleep(LOCK_PAUSE).await;
    }
    migrate_locked(session).await
}

/// The error when the standbys, as far as can be seen, are what is missing.
fn waits(session: &ServerSession, what: &str, standbys: i64) -> StorageError {
    session.lost(&format!(
        "{what} has not ended and waits for synchronous standbys, of which this server has \
         {standbys}; start them, or set `synchronous_standby_names` (docs/operations.md), and run \
         `toystore catalog --migrate` again"
    ))
}

async fn migrate_locked(primary: &ServerSession) -> Result<Migration, StorageError> {
    let row = primary.query_one("SELECT to_regclass('cluster') IS NOT NULL", &[]).await?;
    if row.get::<_, bool>(0) {
        let row = primary.query_one("SELECT schema, store FROM cluster", &[]).await?;
        check(row.get(0))?;
        return Ok(Migration::Current(store_of(row.get(1))?));
    }
    primary.run(TABLES).await?;
    let store = StoreId::from_random(rand::random());
    let number = i64::try_from(store.get()).expect("a store's number has 63 bits");
    let chain = &Chain::EMPTY.as_bytes()[..];
    let sql = "INSERT INTO cluster (id, store, schema, term, holder, beat, epoch, leader, length,
                                    chain, in_doubt)
               VALUES (1, $1, $2, 0, NULL, 0, 0, NULL, 0, $3, true)";
    primary.query(sql, &[&number, &VERSION, &chain]).await?;
    Ok(Migration::Created(store))
}

/// Refuses another version of the tables.
pub(super) fn check(version: i32) -> Result<(), StorageError> {
    if version == VERSION {
        return Ok(());
    }
    let advice = if version > VERSION {
        "run an executable as new as the one that upgraded it"
    } else {
        "stop all catalogs, and run `toystore catalog --migrate`"
    };
    Err(StorageError::Unusable(format!(
        "the database's schema has version {version}, and this executable needs {VERSION}; {advice}"
    )))
}

pub(super) fn store_of(number: i64) -> Result<StoreId, StorageError> {
    u64::try_from(number).ok().and_then(StoreId::new).ok_or_else(|| {
        StorageError::Unusable(format!("the store has the number {number}, which no store has"))
    })
}
