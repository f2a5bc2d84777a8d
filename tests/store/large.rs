//! Databases of so many orders that a start does not read all of them: damage is found while the
//! role works.
#![expect(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::fs;
use std::process::{Command, Output};

use rusqlite::Connection;
use toystore::order::order_log::OrderLog;
use toystore::wire::order::{Order, OrderNumber};
use toystore::wire::purchase::IdempotencyKey;
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::MOST_ROWS;

use crate::eventually::eventually;
use crate::processes::{Cluster, Settings, TOYS, buy, get};

/// From so many orders on, a database has a mark.
const ORDERS: u64 = 100_000;
const SETTINGS: Settings = Settings {
    frontends: 1,
    cache: true,
    capacity: 1000,
    initial_stock: 1_000_000,
    restock_interval_ms: 3_600_000,
    secret: None,
};

/// A store that was shut down.
async fn large_store() -> Cluster {
    let cluster = Cluster::prepare(SETTINGS);
    let path = cluster.data("order-1.db");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (log, mut end) = OrderLog::open(&path).unwrap();
    while end.length < ORDERS {
        let orders = (end.length..end.length + MOST_ROWS).map(|number| Order {
            number: OrderNumber(number),
            name: TOYS[usize::try_from(number).unwrap() % TOYS.len()].into(),
            quantity: Quantity::ONE,
            key: Some(IdempotencyKey::from_random(number.into())),
        });
        end = log.append(end, orders.collect()).await.unwrap();
    }
    log.checkpoint().await.unwrap();
    for replica in ["order-2", "order-3"] {
        for kind in ["db", "checked"] {
            let [from, to] =
                ["order-1", replica].map(|role| cluster.data(&format!("{role}.{kind}")));
            fs::copy(from, to).unwrap();
        }
    }
    let rebuilt = toystore(&cluster, &["rebuild", "--from", path.to_str().unwrap()]);
    assert!(rebuilt.status.success());
    cluster
}

fn toystore(cluster: &Cluster, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
    command.args(arguments).arg("--config").arg(cluster.roles()).output().unwrap()
}

/// Changes an early order, which no one asks for.
fn damage(cluster: &Cluster, file: &str) {
    let database = Connection::open(cluster.data(file)).unwrap();
    assert_eq!(database.execute("UPDATE log SET quantity = 5 WHERE number = 7", []), Ok(1));
}

/// Waits until a role has ended because of it, and has said so.
async fn await_end_by_damage(cluster: &mut Cluster, role: &str) {
    assert!(!cluster.await_end(role).await.success());
    let said = cluster.log(role);
    assert!(said.contains("is damaged: order 7 does not match its hash; "), "{said}");
}

async fn sell(cluster: &Cluster, number: u64) {
    let frontend = cluster.frontends[0].clone();
    let sold = eventually("a toy is sold", async || {
        let (status, body) = buy(&frontend, "Tux", 1, &number.to_string()).await.ok()?;
        body["data"]["order_number"].as_u64().filter(|_| status == 200)
    });
    assert_eq!(sold.await, number);
}

#[actix_web::test]
async fn damage_in_a_database_that_a_start_does_not_read_ends_its_role() {
    let mut cluster = large_store().await;
    cluster.start_everything().await;
    // The catalog's first start has read all of its database.
    let mark = cluster.data("catalog.checked");
    eventually("the catalog's database is marked", async || mark.exists()).await;
    sell(&cluster, ORDERS).await;
    for role in ["frontend", "order-3", "order-2", "order-1", "catalog"] {
        assert!(cluster.terminate(role).await.success());
    }

    damage(&cluster, "order-1.db");
    cluster.start_all(&["catalog", "order-1", "order-2", "order-3", "frontend"]);
    await_end_by_damage(&mut cluster, "order-1").await;
    sell(&cluster, ORDERS + 1).await;
    // Its next start reads everything, and begins anew.
    cluster.start_role("order-1");
    let replica = cluster.address("order-1");
    eventually("the replica is ready", async || {
        get(&replica, "/readyz").await.is_ok_and(|(status, _)| status == 200)
    })
    .await;
    cluster.check_databases(SETTINGS.initial_stock).await;
    assert!(cluster.data("order-1.db.aside-1").exists());

    assert!(cluster.terminate("catalog").await.success());
    damage(&cluster, "catalog.db");
    cluster.start_role("catalog");
    await_end_by_damage(&mut cluster, "catalog").await;
    let again = toystore(&cluster, &["catalog"]);
    let error = String::from_utf8(again.stderr).unwrap();
    assert_eq!(again.status.code(), Some(1), "{error}");
    assert!(error.contains("order 7 does not match its hash; restore a backup"), "{error}");
}
