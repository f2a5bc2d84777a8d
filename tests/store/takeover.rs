//! Two catalogs on PostgreSQL: one is killed or stopped, the other rules, and clients notice no
//! more than a delay.

use std::process::Command;

use rusqlite::Connection;
use rustix::process::Signal;

use crate::clients::Clients;
use crate::eventually::eventually;
use crate::postgres::{self, Servers};
use crate::processes::{Cluster, REPLICAS, Settings, get};

/// So much that nothing is sold out.
const SETTINGS: Settings = Settings {
    frontends: 2,
    cache: true,
    capacity: 1000,
    initial_stock: 100_000,
    restock_interval_ms: 3_600_000,
    secret: None,
};

/// Starts a store with two catalogs on a database of its own. Returns it with the database's name.
async fn start(servers: &Servers) -> (Cluster, String) {
    let database = servers.new_database(0);
    let mut cluster = Cluster::prepare(SETTINGS);
    cluster.share_database(SETTINGS, &servers.url(&database));
    let roles = cluster.roles();
    let migrated = Command::new(env!("CARGO_BIN_EXE_toystore"))
        .args(["catalog", "--migrate", "--config"])
        .arg(roles)
        .output()
        .expect("the executable runs");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    cluster.start_all(&["catalog-1", "catalog-2"]);
    cluster.start_all(&REPLICAS);
    cluster.start_all(&["frontend", "frontend-2"]);
    for frontend in 0..2 {
        cluster.await_ready(frontend).await;
    }
    cluster.await_followers().await;
    (cluster, database)
}

/// The catalog that rules, and the other one.
async fn active(cluster: &Cluster) -> (String, String) {
    let active = eventually("a catalog rules", async || {
        let (_, body) = get(&cluster.frontends[0], "/cluster").await.ok()?;
        body["data"]["catalog"]["active"].as_u64()
    })
    .await;
    (format!("catalog-{active}"), format!("catalog-{}", 3 - active))
}

/// Compares what clients saw with the replicas and with the database, of which it makes a copy.
async fn check(clients: Clients, cluster: &Cluster, servers: &Servers, database: &str) {
    let history = clients.finish().await;
    let copy = Connection::open(cluster.data("catalog.db")).expect("a file can be made");
    copy.execute_batch(
        "CREATE TABLE journal (number INTEGER, name TEXT, quantity INTEGER);
         CREATE TABLE products (name TEXT, price REAL, quantity INTEGER);
         CREATE TABLE decisions (key TEXT, name TEXT, quantity INTEGER, number INTEGER);",
    )
    .expect("it is empty");
    for (table, columns) in [
        ("journal", "number, name, quantity"),
        ("products", "name, price, quantity"),
        ("decisions", "key, name, quantity, number"),
    ] {
        let rows = servers.sql_in(0, database, &format!("SELECT {columns} FROM {table}"));
        for row in rows.lines() {
            let values: Vec<_> = row.split('\t').map(|it| (!it.is_empty()).then_some(it)).collect();
            let places = vec!["?"; values.len()].join(", ");
            let sql = format!("INSERT INTO {table} ({columns}) VALUES ({places})");
            copy.execute(&sql, rusqlite::params_from_iter(values)).expect("a row fits");
        }
    }
    drop(copy);
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
    eventually("the catalog that was started anew stands by", async || {
        let ready = get(&cluster.address(&first), "/readyz").await;
        ready.is_ok_and(|(status, body)| {
            status == 200 && body["data"]["database"]["duty"] == "standby"
        })
    })
    .await;
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
        let (first, other) = active(&cluster).await;
        cluster.signal(&first, Signal::STOP);
        eventually("the other catalog rules", async || active(&cluster).await.0 == other).await;
        clients.await_orders(50).await;
        cluster.signal(&first, Signal::CONT);
        clients.await_orders(50).await;
    }
    check(clients, &cluster, servers, &database).await;
}
