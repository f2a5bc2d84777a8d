//! The whole store while PostgreSQL's servers are killed, stopped and replaced: two catalogs, three
//! replicas and two front-ends, and clients that buy all the time.
//!
//! After each fault: every acknowledged order is there, the replicas hold what the journal holds,
//! no number is missing, and what could not be served was answered 503 with a reason.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failure here is a test's failure")]

use rustix::process::Signal;
use serde_json::Value;

use crate::clients::{Clients, Size};
use crate::eventually::eventually;
use crate::metrics::scraped;
use crate::postgres::{self, Servers};
use crate::processes::{Cluster, buy, get};
use crate::prometheus::value;
use crate::shared_store::{active, copy_database, database_of};
use crate::takeover;

/// A store with servers of its own.
struct Store {
    cluster: Cluster,
    database: String,
    servers: Servers,
}

impl Store {
    /// `None` if there is no PostgreSQL here.
    async fn start() -> Option<Self> {
        if postgres::missing().is_some() {
            return None;
        }
        let servers = Servers::start(3).await;
        let (cluster, database) = takeover::start(&servers).await;
        Some(Self { cluster, database, servers })
    }

    /// Starts clients, and waits until they have bought.
    async fn shop(&self) -> Clients {
        let clients = Clients::start(&self.cluster.frontends);
        clients.await_orders(50).await;
        clients
    }

    /// Waits until the catalog that rules names this server as the primary, with so many standbys.
    async fn await_database(&self, primary: usize, standbys: usize) {
        eventually("the catalog that rules names the database", async || {
            let (active, _) = active(&self.cluster).await;
            let Some(database) = database_of(&self.cluster, &active).await else { return false };
            database["engine"] == "postgresql"
                && database["duty"] == "active"
                && database["primary"] == self.servers.address(primary)
                && database["standbys"] == standbys
        })
        .await;
    }

    /// Waits until both catalogs say that they are not ready because of this.
    async fn await_refusal(&self, reason: &str) {
        for catalog in &self.cluster.catalogs {
            eventually(&format!("{catalog} says: {reason}"), async || {
                let said = get(&self.cluster.address(catalog), "/readyz").await;
                said.is_ok_and(|(status, body)| status == 503 && message(&body).contains(reason))
            })
            .await;
        }
    }

    /// Waits until both catalogs have seen more than so many orders in the database.
    async fn await_orders_seen(&self, count: u32) {
        for catalog in &self.cluster.catalogs {
            eventually(&format!("{catalog} has seen the orders"), async || {
                let text = scraped(&self.cluster, catalog).await;
                value(&text, "toystore_database_orders") > f64::from(count)
            })
            .await;
        }
    }

    /// Waits until a purchase is refused for lack of a catalog, and both front-ends say that they
    /// cannot sell. Clients have waited for as long as they have patience.
    async fn await_standstill(&self) {
        for (number, frontend) in self.cluster.frontends.iter().enumerate() {
            eventually("nothing is sold, and a reason given", async || {
                let (status, body) =
                    buy(frontend, "Tux", 1, &format!("late-{number}")).await.unwrap();
                status == 503 && !message(&body).is_empty()
            })
            .await;
            let (status, body) = get(frontend, "/readyz").await.unwrap();
            assert!(status == 503 && !message(&body).is_empty(), "{status} {body}");
        }
    }

    /// Has the database of a server follow the one that was promoted.
    async fn promote_most_advanced(&self) -> usize {
        let most_advanced = self.servers.most_advanced(&[1, 2]);
        self.servers.promote(most_advanced).await;
        self.servers.redirect(3 - most_advanced, most_advanced);
        most_advanced
    }

    /// Compares what clients saw with the databases. Errors were 503 with a reason.
    async fn check(&self, clients: Clients, primary: usize) {
        clients.await_orders_despite_errors(50).await;
        let history = clients.finish_despite_errors().await;
        for error in &history.errors {
            let (_, body) = error.split_once(": 503 ").unwrap_or_else(|| panic!("{error}"));
            let body: Value = serde_json::from_str(body).unwrap();
            assert!(!message(&body).is_empty(), "{error}");
        }
        copy_database(&self.cluster, &self.servers, primary, &self.database);
        assert!(history.check(&self.cluster).await > 0, "something was sold");
    }
}

/// The message of an error.
fn message(body: &Value) -> &str {
    body["error"]["message"].as_str().unwrap_or_default()
}

#[actix_web::test]
async fn a_primary_is_killed_and_a_standby_promoted() {
    let Some(store) = Store::start().await else { return };
    store.await_database(0, 2).await;
    let clients = store.shop().await;
    store.servers.kill(0).await;
    store.await_refusal("no server is the primary").await;
    let last = format!("the last primary was {}, with ", store.servers.address(0));
    store.await_refusal(&last).await;
    let promoted = store.promote_most_advanced().await;
    store.await_database(promoted, 1).await;
    clients.await_orders_despite_errors(50).await;
    store.servers.clone_anew(promoted, 0);
    store.await_database(promoted, 2).await;
    store.check(clients, promoted).await;
}

#[actix_web::test]
async fn a_primary_is_stopped_and_replaced_and_resumed() {
    let Some(store) = Store::start().await else { return };
    let clients = store.shop().await;
    store.servers.signal(0, Signal::STOP);
    store.await_refusal("no server is the primary").await;
    let promoted = store.promote_most_advanced().await;
    store.await_database(promoted, 1).await;
    clients.await_orders_despite_errors(50).await;
    // It takes itself for the primary still.
    store.servers.signal(0, Signal::CONT);
    eventually("the old primary answers", async || {
        store.servers.sql(0, "SELECT pg_is_in_recovery()") == "f"
    })
    .await;
    clients.await_orders_despite_errors(50).await;
    store.await_database(promoted, 1).await;
    store.check(clients, promoted).await;
}

#[actix_web::test]
async fn with_one_standby_stopped_no_client_notices_and_with_both_nothing_is_sold() {
    let Some(store) = Store::start().await else { return };
    let clients = store.shop().await;
    store.servers.signal(1, Signal::STOP);
    clients.await_orders(50).await;
    store.servers.signal(2, Signal::STOP);
    store.await_standstill().await;
    for standby in [1, 2] {
        store.servers.signal(standby, Signal::CONT);
    }
    clients.await_orders_despite_errors(50).await;
    // The same with standbys that are gone.
    for standby in [1, 2] {
        store.servers.kill(standby).await;
    }
    store.await_refusal("it has 0 synchronous standbys").await;
    let seen =
        format!("the last primary was {}, with 0 synchronous standbys", store.servers.address(0));
    store.await_refusal(&seen).await;
    store.await_standstill().await;
    store.servers.launch(1);
    store.await_database(0, 1).await;
    store.check(clients, 0).await;
}

#[actix_web::test]
async fn the_names_of_the_standbys_are_emptied_while_the_store_sells() {
    let Some(store) = Store::start().await else { return };
    let clients = store.shop().await;
    store.servers.sql(0, "ALTER SYSTEM SET synchronous_standby_names = ''");
    store.servers.sql(0, "SELECT pg_reload_conf()");
    store.await_refusal("it has 0 synchronous standbys").await;
    store.await_standstill().await;
    store.servers.sql(0, "ALTER SYSTEM RESET synchronous_standby_names");
    store.servers.sql(0, "SELECT pg_reload_conf()");
    store.await_database(0, 2).await;
    store.check(clients, 0).await;
}

#[actix_web::test]
async fn the_sessions_of_a_catalog_are_cancelled_and_terminated() {
    let Some(store) = Store::start().await else { return };
    let clients = store.shop().await;
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        // While a commit waits for its standbys; the row is then on one disk only.
        let watcher = store.servers.end_waiting_commits(0, end);
        for standby in [1, 2] {
            store.servers.signal(standby, Signal::STOP);
        }
        watcher.ended().await;
        for standby in [1, 2] {
            store.servers.signal(standby, Signal::CONT);
        }
        clients.await_orders_despite_errors(50).await;
        // And at any time.
        store.servers.sql(
            0,
            &format!("SELECT {end}(pid) FROM pg_stat_activity WHERE application_name = 'toystore'"),
        );
        clients.await_orders_despite_errors(50).await;
    }
    store.check(clients, 0).await;
}

#[actix_web::test]
async fn a_standby_that_lacks_orders_is_promoted_and_every_catalog_refuses_it() {
    let Some(mut store) = Store::start().await else { return };
    // Catalogs that are started anew may show the old stock until they hear of a longer log.
    let size = Size { readers: 0, ..Size::default() };
    let clients = Clients::of(size, &store.cluster.frontends);
    clients.await_orders(50).await;
    // One that is only stopped would find the orders in its kernel's buffer.
    store.servers.kill(2).await;
    clients.await_orders_despite_errors(50).await;
    // A catalog refuses what lacks orders that it has seen; the one that stands by looks in turns.
    let there = clients.history.borrow().newest().and_then(|newest| u32::try_from(newest).ok());
    store.await_orders_seen(there.unwrap()).await;
    for server in [0, 1] {
        store.servers.kill(server).await;
    }
    store.servers.launch(2);
    store.servers.promote(2).await;
    store.await_refusal("promoted without the last writes").await;

    // Catalogs that are started anew have seen nothing; but the replicas have. The server has a
    // standby, so that nothing else keeps the catalogs from selling.
    store.servers.clone_anew(2, 1);
    store.servers.await_standbys(2, 1).await;
    for catalog in store.cluster.catalogs.clone() {
        store.cluster.kill(&catalog);
        store.cluster.start_role(&catalog);
    }
    eventually("the catalog that rules has heard of a longer log", async || {
        let (active, _) = active(&store.cluster).await;
        let said = get(&store.cluster.address(&active), "/readyz").await;
        said.is_ok_and(|(_, body)| message(&body).contains("sales are stopped"))
    })
    .await;
    store.await_standstill().await;

    // What the refusal advises: the one that has the orders.
    for server in [1, 2] {
        store.servers.kill(server).await;
    }
    store.servers.launch(0);
    store.servers.await_standbys(0, 0).await;
    for standby in [1, 2] {
        store.servers.clone_anew(0, standby);
    }
    // They have seen the terms that were begun on the other server.
    for catalog in store.cluster.catalogs.clone() {
        store.cluster.kill(&catalog);
        store.cluster.start_role(&catalog);
    }
    store.await_database(0, 2).await;
    store.check(clients, 0).await;
}
