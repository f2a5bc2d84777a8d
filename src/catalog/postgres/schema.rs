//! The tables, and `toystore catalog --migrate`, which creates and upgrades them.

use super::session::ServerSession;
use crate::storage::StorageError;
use crate::wire::identity::StoreId;
use crate::wire::order::Chain;

/// The version of the tables that this executable reads and writes. An executable refuses a
/// database with another one.
pub(super) const VERSION: i32 = 1;

/// Of two migrations at once, the second waits. (The number means nothing.)
const LOCK: &str = "SELECT pg_advisory_xact_lock(7088713)";

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
pub(super) async fn migrate(primary: &ServerSession) -> Result<Migration, StorageError> {
    primary.run(&format!("BEGIN; {LOCK}")).await?;
    let migration = migrate_locked(primary).await;
    primary.run(if migration.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    migration
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
