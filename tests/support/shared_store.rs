//! A store with two catalogs that share a database on PostgreSQL.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses a part of this; a failure here is a test's failure"
)]

use std::process::Command;

use rusqlite::Connection;
use serde_json::Value;

use crate::eventually::eventually;
use crate::postgres::Servers;
use crate::processes::{Cluster, get};

/// Makes the tables of a cluster's database.
pub(crate) fn migrate(cluster: &Cluster) {
    let migrated = Command::new(env!("CARGO_BIN_EXE_toystore"))
        .args(["catalog", "--migrate", "--config"])
        .arg(cluster.roles())
        .output()
        .expect("the executable runs");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
}

/// The catalog that rules according to a front-end, and the other one.
pub(crate) async fn ruler(cluster: &Cluster, frontend: usize) -> Option<(String, String)> {
    let (_, body) = get(&cluster.frontends[frontend], "/cluster").await.ok()?;
    let active = body["data"]["catalog"]["active"].as_u64()?;
    Some((format!("catalog-{active}"), format!("catalog-{}", 3 - active)))
}

/// The same, once one rules.
pub(crate) async fn active(cluster: &Cluster) -> (String, String) {
    eventually("a catalog rules", async || ruler(cluster, 0).await).await
}

/// Waits until a catalog other than `former` rules according to all front-ends.
pub(crate) async fn await_another_than(cluster: &Cluster, former: &str) {
    eventually("another catalog rules", async || {
        for frontend in 0..cluster.frontends.len() {
            match ruler(cluster, frontend).await {
                Some((active, _)) if active != former => {}
                Some(_) | None => return false,
            }
        }
        true
    })
    .await;
}

/// Waits until a catalog says that it is ready, and stands by.
pub(crate) async fn await_standby(cluster: &Cluster, catalog: &str) {
    eventually("the catalog stands by", async || {
        database_of(cluster, catalog).await.is_some_and(|database| database["duty"] == "standby")
    })
    .await;
}

/// What a catalog that is ready says of its database.
pub(crate) async fn database_of(cluster: &Cluster, catalog: &str) -> Option<Value> {
    let (status, body) = get(&cluster.address(catalog), "/readyz").await.ok()?;
    (status == 200).then(|| body["data"]["database"].clone())
}

/// Copies the database from the server that is the primary to where the checks of a store on SQLite
/// read it.
pub(crate) fn copy_database(cluster: &Cluster, servers: &Servers, primary: usize, database: &str) {
    let path = cluster.data("catalog.db");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // A copy of an earlier round may be there.
    let _none = std::fs::remove_file(&path);
    let mut copy = Connection::open(path).unwrap();
    let copy = copy.transaction().unwrap();
    copy.execute_batch(
        "CREATE TABLE journal (number INTEGER, name TEXT, quantity INTEGER);
         CREATE TABLE products (name TEXT, price REAL, quantity INTEGER);
         CREATE TABLE decisions (key TEXT, name TEXT, quantity INTEGER, number INTEGER);",
    )
    .unwrap();
    for (table, columns) in [
        ("journal", "number, name, quantity"),
        ("products", "name, price, quantity"),
        // The last column is never null: the end of a row that is blank would be lost.
        ("decisions", "key, number, name, quantity"),
    ] {
        let rows = servers.sql_in(primary, database, &format!("SELECT {columns} FROM {table}"));
        for row in rows.lines() {
            let values: Vec<_> = row.split('\t').map(|it| (!it.is_empty()).then_some(it)).collect();
            let places = vec!["?"; values.len()].join(", ");
            let sql = format!("INSERT INTO {table} ({columns}) VALUES ({places})");
            copy.prepare_cached(&sql)
                .and_then(|mut statement| statement.execute(rusqlite::params_from_iter(values)))
                .unwrap();
        }
    }
    copy.commit().unwrap();
}
