//! What PostgreSQL's servers may do to the catalogs, with servers that are really killed, stopped
//! and promoted.
//!
//! After each fault: nothing that was acknowledged is missing where the next term begins, and
//! nothing was acknowledged that is on one disk only.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::sync::Arc;

use rustix::process::Signal;
use toystore::catalog::core::stock::{Change, Shelf};
use toystore::catalog::journal::Loaded;
use toystore::catalog::journal::marker::Past;
use toystore::catalog::postgres::{Database, Migration};
use toystore::catalog::shared::{SharedDatabase as _, Tenure};
use toystore::storage::StorageError;
use toystore::wire::lease::SessionId;
use toystore::wire::order::Position;
use toystore::wire::replication::{Epoch, Leadership, ReplicaId};
use toystore::wire::term::CatalogId;

use super::opened::{database, decided, sale, settings, toys};
use crate::eventually::eventually;
use crate::postgres::{Servers, missing};

/// Servers of a test's own, and a store on them.
struct Store {
    servers: Servers,
    name: String,
}

/// A term, and what it has sold.
struct Ruling {
    tenure: Arc<dyn Tenure>,
    shelf: Shelf,
    end: Position,
}

impl Store {
    /// `None` if there is no PostgreSQL here.
    async fn start() -> Option<Self> {
        if missing().is_some() {
            return None;
        }
        let servers = Servers::start(3).await;
        let name = servers.new_database(0);
        database(&servers, &name, 1).migrate().await.unwrap();
        Some(Self { servers, name })
    }

    /// The database as the catalog with this id uses it.
    fn catalog(&self, id: u32) -> Database {
        database(&self.servers, &self.name, id)
    }
}

impl Ruling {
    /// Waits until a primary answers, and begins a term there.
    async fn begin(database: &Database) -> Self {
        eventually("a term begins", async || {
            let seen = database.observe().await.ok().filter(|seen| seen.standbys > 0)?;
            let tenure = database.claim(seen.beat).await.ok()??;
            let loaded = tenure.load().await.ok()?;
            Some(Self::of(tenure, &loaded))
        })
        .await
    }

    fn of(tenure: Arc<dyn Tenure>, loaded: &Loaded) -> Self {
        Self { tenure, shelf: loaded.shelves[0].clone(), end: loaded.journal }
    }

    fn sale(&self, key: &str) -> Change {
        sale(self.end, &self.shelf, &[key]).0
    }

    async fn sell(&mut self, key: &str) -> Result<(), StorageError> {
        let (change, end) = sale(self.end, &self.shelf, &[key]);
        self.tenure.commit(change.clone()).await?;
        (self.shelf, self.end) = (change.shelves[0].clone(), end);
        Ok(())
    }

    /// The order's number under `key`, if it has one.
    async fn number_of(&self, key: &str) -> Option<u64> {
        let found = self.tenure.recorded(vec![key.to_owned().into()]).await.unwrap();
        let number = found.values().next()?.number?;
        assert_eq!(found.values().next(), Some(&decided("Tux", Some(number.0))));
        Some(number.0)
    }
}

fn is_lost<T>(outcome: &Result<T, StorageError>) -> bool {
    matches!(outcome, Err(StorageError::Lost(_)))
}

#[actix_web::test]
async fn a_migration_without_a_standby_says_so_and_may_be_repeated() {
    if missing().is_some() {
        return;
    }
    let servers = Servers::start(2).await;
    let name = servers.new_database(0);
    servers.kill(1).await;
    servers.await_standbys(0, 0).await;
    let migrate = || async { database(&servers, &name, 1).migrate().await };
    let first = migrate().await.unwrap_err().to_string();
    assert!(first.contains("the commit of the tables has not ended"), "{first}");
    let second = migrate().await.unwrap_err().to_string();
    assert!(second.contains("another migration, which has the lock,"), "{second}");
    for said in [first, second] {
        assert!(said.contains("synchronous standbys, of which this server has 0"), "{said}");
        assert!(said.contains("toystore catalog --migrate"), "{said}");
    }
    servers.launch(1);
    servers.await_standbys(0, 1).await;
    eventually("the first migration has ended", async || migrate().await.is_ok()).await;
    let store = database(&servers, &name, 1).observe().await.unwrap().store;
    assert_eq!(migrate().await.unwrap(), Migration::Current(store));
}

#[actix_web::test]
async fn a_catalog_whose_term_is_over_changes_nothing() {
    let Some(store) = Store::start().await else { return };
    let (first, second) = (store.catalog(1), store.catalog(2));
    let mut old = Ruling::begin(&first).await;
    old.sell("a").await.unwrap();
    let seen = second.observe().await.unwrap();
    old.tenure.beat().await.unwrap();
    assert!(second.claim(seen.beat).await.unwrap().is_none(), "it has written since");

    let new = Ruling::begin(&second).await;
    assert_eq!(new.end, old.end);
    let dump = || {
        let tables = ["cluster", "stock", "log", "decisions", "sessions"];
        let rows = |table: &&str| {
            store.servers.sql_in(0, &store.name, &format!("SELECT * FROM {table} ORDER BY 1"))
        };
        tables.iter().map(rows).collect::<Vec<_>>()
    };
    let before = dump();
    // After the first error a term makes no calls, so each is tried in a term that has made none.
    let deposed = async |call: &str| {
        let old = Ruling::begin(&first).await;
        drop(Ruling::begin(&second).await);
        let leadership = Leadership { epoch: Epoch(9), leader: Some(ReplicaId(1)) };
        let session = SessionId { boot: 7, serial: 1 };
        match call {
            "commit" => old.tenure.commit(old.sale("b")).await,
            "leadership" => old.tenure.set_leadership(leadership).await,
            "sessions" => old.tenure.note_sessions(Some(session), vec![session]).await,
            "past" => old.tenure.set_past(Past::InDoubt).await,
            "beat" => old.tenure.beat().await.map(drop),
            "leave" => old.tenure.leave().await,
            _ => old.tenure.load().await.map(drop),
        }
    };
    for call in ["commit", "leadership", "sessions", "past", "beat", "leave", "load"] {
        let outcome = deposed(call).await;
        assert!(matches!(outcome, Err(StorageError::Deposed)), "{call}: {outcome:?}");
    }
    let after = dump();
    assert_eq!(before[1..], after[1..]);
    assert!(matches!(old.sell("c").await, Err(StorageError::Deposed)));
    assert!(is_lost(&old.tenure.beat().await), "a term that is over makes no calls");
}

#[actix_web::test]
async fn one_standby_may_stop_and_with_both_stopped_nothing_is_acknowledged() {
    let Some(store) = Store::start().await else { return };
    let database = store.catalog(1);
    let mut ruling = Ruling::begin(&database).await;
    store.servers.signal(1, Signal::STOP);
    ruling.sell("a").await.unwrap();
    store.servers.signal(2, Signal::STOP);
    assert!(is_lost(&ruling.sell("b").await));
    assert!(is_lost(&ruling.sell("c").await), "a term that is over makes no calls");
    for number in [1, 2] {
        store.servers.signal(number, Signal::CONT);
    }
    // The outcome of the second was unknown; its key answers.
    let second = store.catalog(2);
    let ruling = Ruling::begin(&second).await;
    assert_eq!(ruling.number_of("a").await, Some(0));
    let unknown = ruling.number_of("b").await;
    assert_eq!(unknown.is_some(), ruling.end.length == 2);
    assert!(unknown.is_none_or(|number| number == 1));
    assert_eq!(ruling.number_of("c").await, None);
}

#[actix_web::test]
async fn a_commit_whose_wait_is_cancelled_is_not_acknowledged() {
    let Some(store) = Store::start().await else { return };
    let database = store.catalog(1);
    for end_it in ["pg_cancel_backend", "pg_terminate_backend"] {
        store.servers.await_standbys(0, 2).await;
        let mut ruling = Ruling::begin(&database).await;
        // It does so as soon as the commit waits, and then ends.
        let watcher = store.servers.end_waiting_commits(0, end_it);
        for number in [1, 2] {
            store.servers.signal(number, Signal::STOP);
        }
        let key = end_it.to_owned();
        let outcome = ruling.sell(&key).await;
        assert!(is_lost(&outcome), "{outcome:?}");
        watcher.ended().await;
        // The row is there, and on one disk only.
        let sql = format!("SELECT count(*) FROM decisions WHERE key = '{key}'");
        assert_eq!(store.servers.sql_in(0, &store.name, &sql), "1");
        for number in [1, 2] {
            store.servers.signal(number, Signal::CONT);
        }
    }
}

#[actix_web::test]
async fn without_names_of_standbys_nothing_is_acknowledged() {
    let Some(store) = Store::start().await else { return };
    let database = store.catalog(1);
    let mut ruling = Ruling::begin(&database).await;
    ruling.sell("a").await.unwrap();
    store.servers.sql(0, "ALTER SYSTEM SET synchronous_standby_names = ''");
    store.servers.sql(0, "SELECT pg_reload_conf()");
    store.servers.await_standbys(0, 0).await;
    let outcome = ruling.sell("b").await;
    assert!(is_lost(&outcome), "{outcome:?}");
    assert_eq!(database.observe().await.unwrap().standbys, 0);

    // The same while a commit waits.
    store.servers.sql(0, "ALTER SYSTEM RESET synchronous_standby_names");
    store.servers.sql(0, "SELECT pg_reload_conf()");
    store.servers.await_standbys(0, 2).await;
    let mut ruling = Ruling::begin(&database).await;
    for number in [1, 2] {
        store.servers.signal(number, Signal::STOP);
    }
    store.servers.sql(0, "ALTER SYSTEM SET synchronous_standby_names = ''");
    let emptied = store.servers.sql_beside(
        0,
        "DO $$ BEGIN LOOP PERFORM pg_stat_clear_snapshot(); \
         PERFORM pg_reload_conf() FROM pg_stat_activity WHERE wait_event = 'SyncRep'; \
         EXIT WHEN FOUND; PERFORM pg_sleep(0.005); END LOOP; END $$",
    );
    let outcome = ruling.sell("c").await;
    assert!(is_lost(&outcome), "{outcome:?}");
    emptied.ended().await;
    for number in [1, 2] {
        store.servers.signal(number, Signal::CONT);
    }
}

#[actix_web::test]
async fn a_standby_that_is_promoted_has_all_that_was_acknowledged() {
    let Some(store) = Store::start().await else { return };
    let (first, second) = (store.catalog(1), store.catalog(2));
    let mut ruling = Ruling::begin(&first).await;
    for number in 0..20 {
        ruling.sell(&format!("key-{number}")).await.unwrap();
    }
    store.servers.kill(0).await;
    assert!(is_lost(&ruling.sell("late").await));
    let most_advanced = store.servers.most_advanced(&[1, 2]);
    store.servers.promote(most_advanced).await;
    let observed = first.observe().await.unwrap();
    assert_eq!(observed.standbys, 0, "no catalog rules before a standby follows");
    store.servers.redirect(3 - most_advanced, most_advanced);
    let next = Ruling::begin(&second).await;
    assert!(next.end.length >= 20);
    for number in 0..20 {
        assert_eq!(next.number_of(&format!("key-{number}")).await, Some(number));
    }
}

#[actix_web::test]
async fn a_primary_that_wakes_up_after_it_was_replaced_does_no_harm() {
    let Some(store) = Store::start().await else { return };
    let (first, second) = (store.catalog(1), store.catalog(2));
    let mut old = Ruling::begin(&first).await;
    old.sell("a").await.unwrap();
    store.servers.signal(0, Signal::STOP);
    assert!(is_lost(&old.tenure.beat().await), "a stopped server does not answer in time");
    let most_advanced = store.servers.most_advanced(&[1, 2]);
    store.servers.promote(most_advanced).await;
    store.servers.redirect(3 - most_advanced, most_advanced);
    let mut new = Ruling::begin(&second).await;
    new.sell("b").await.unwrap();
    store.servers.signal(0, Signal::CONT);
    // Two servers are not in recovery now. The one that was promoted last counts.
    eventually("both answer, and the newer one is the primary", async || {
        let seen = first.observe().await.ok()?;
        assert_eq!(seen.primary, store.servers.address(most_advanced));
        (store.servers.sql(0, "SELECT pg_is_in_recovery()") == "f").then_some(())
    })
    .await;
    new.sell("c").await.unwrap();
    assert!(is_lost(&old.sell("zombie").await));
    assert_eq!(new.number_of("zombie").await, None);
}

#[actix_web::test]
async fn a_standby_that_lacks_acknowledged_orders_is_refused_when_it_is_promoted() {
    let Some(store) = Store::start().await else { return };
    let (first, second) = (store.catalog(1), store.catalog(2));
    let mut ruling = Ruling::begin(&first).await;
    // One that is only stopped would find the order in its kernel's buffer.
    store.servers.kill(2).await;
    ruling.sell("a").await.unwrap();
    eventually("the other catalog has seen the order on a standby", async || {
        second.observe().await.is_ok_and(|seen| seen.journal.length == 1)
    })
    .await;
    for number in [0, 1] {
        store.servers.kill(number).await;
    }
    store.servers.launch(2);
    store.servers.promote(2).await;
    for catalog in [&first, &second] {
        eventually("the catalog refuses the server, and says why", async || {
            match catalog.observe().await {
                Err(StorageError::Unusable(why)) => {
                    why.contains("promoted without the last writes")
                }
                Err(_) => false,
                Ok(seen) => unreachable!("it was taken for the primary: {seen:?}"),
            }
        })
        .await;
    }
}

#[actix_web::test]
async fn the_schema_is_created_once_and_a_newer_one_is_refused() {
    let Some(store) = Store::start().await else { return };
    let database = store.catalog(1);
    let store_id = database.observe().await.unwrap().store;
    assert_eq!(database.migrate().await.unwrap(), Migration::Current(store_id));
    store.servers.sql_in(0, &store.name, "UPDATE cluster SET schema = schema + 1");
    for refused in [database.migrate().await.map(drop), database.observe().await.map(drop)] {
        let Err(StorageError::Unusable(why)) = refused else { unreachable!("{refused:?}") };
        assert!(why.contains("an executable as new as"), "{why}");
    }
    // Another database has no tables yet.
    let empty = store.servers.new_database(0);
    let settings = settings(&store.servers, &empty, 1);
    let database = Database::new(&settings, CatalogId(1), &toys(&["Tux"]), 1).unwrap();
    let Err(StorageError::Unusable(why)) = database.observe().await else { unreachable!() };
    assert!(why.contains("toystore catalog --migrate"), "{why}");
}
