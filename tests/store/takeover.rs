//! Two catalogs on PostgreSQL: one is killed or stopped, the other rules, and clients notice no
//! more than a delay.

use rustix::process::Signal;

use crate::clients::Clients;
use crate::postgres::{self, Servers};
use crate::processes::{Cluster, Settings};
use crate::shared_store::{active, await_another_than, await_standby, copy_database, migrate};

/// So much that nothing is sold out.
pub(crate) const SETTINGS: Settings = Settings {
    frontends: 2,
    cache: true,
    capacity: 1000,
    initial_stock: 100_000,
    restock_interval_ms: 3_600_000,
    secret: None,
};

/// Starts a store with two catalogs on a database of its own. Returns it with the database's name.
pub(crate) async fn start(servers: &Servers) -> (Cluster, String) {
    let database = servers.new_database(0);
    let mut cluster = Cluster::prepare(SETTINGS);
    cluster.share_database(SETTINGS, &servers.url(&database));
    migrate(&cluster);
    cluster.start_everything().await;
    (cluster, database)
}

/// Compares what clients saw with the replicas and with the database.
async fn check(clients: Clients, cluster: &Cluster, servers: &Servers, database: &str) {
    let history = clients.finish().await;
    copy_database(cluster, servers, 0, database);
    assert!(history.check(cluster).await > 0, "something was sold");
}

#[actix_web::test]
async fn no_client_sees_an_error_when_the_catalog_that_rules_is_killed() {
    if postgres::missing().is_some() {
        return;
    }
    let servers = postgres::shared().await;
    let (mut cluster, database) = start(servers).await;
    let clients = Clients::start(&cluster.frontends);
    clients.await_orders(50).await;
    let (first, other) = active(&cluster).await;
    cluster.kill(&first);
    clients.await_orders(50).await;
    assert_eq!(active(&cluster).await.0, other);
    cluster.start_role(&first);
    await_standby(&cluster, &first).await;
    clients.await_orders(50).await;
    assert_eq!(active(&cluster).await.0, other);
    check(clients, &cluster, servers, &database).await;
}

#[actix_web::test]
async fn no_client_sees_an_error_or_an_old_toy_when_a_catalog_is_stopped_and_wakes_up() {
    if postgres::missing().is_some() {
        return;
    }
    let servers = postgres::shared().await;
    let (cluster, database) = start(servers).await;
    let clients = Clients::start(&cluster.frontends);
    clients.await_orders(50).await;
    for _ in 0..2 {
        let (first, _other) = active(&cluster).await;
        cluster.signal(&first, Signal::STOP);
        await_another_than(&cluster, &first).await;
        clients.await_orders(50).await;
        cluster.signal(&first, Signal::CONT);
        clients.await_orders(50).await;
    }
    check(clients, &cluster, servers, &database).await;
}
