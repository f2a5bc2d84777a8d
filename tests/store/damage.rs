//! Databases that are lost, damaged or of another cluster: recognized at start, never merged, and
//! filled again from a role that has the orders.

use std::fs;
use std::process::Command;

use crate::clients::Clients;
use crate::eventually::eventually;
use crate::processes::{Cluster, Settings, buy, get};

const STOCK: u64 = 100;

/// A store that has sold some toys and is shut down in order.
async fn closed_store() -> Cluster {
    let mut cluster = Cluster::start(Settings::default()).await;
    let clients = Clients::buying(5, &cluster.frontends);
    clients.await_orders(300).await;
    clients.finish().await.check(&cluster).await;
    for role in ["frontend", "order-3", "order-2", "order-1", "catalog"] {
        assert!(cluster.terminate(role).await.success());
    }
    cluster
}

async fn open(cluster: &mut Cluster) {
    cluster.start_all(&["catalog", "order-1", "order-2", "order-3", "frontend"]);
    cluster.await_ready(0).await;
}

/// Opens the store and sells one more toy; no order may be missing.
#[expect(clippy::unwrap_used, reason = "a failure here is a test's failure")]
async fn assert_complete(cluster: &mut Cluster) {
    let before = cluster.journal().len();
    open(cluster).await;
    let (status, body) = buy(&cluster.frontends[0], "Tux", 1, "one-more").await.unwrap();
    assert_eq!((status, body["data"]["order_number"].as_u64()), (200, Some(before as u64)));
    assert_eq!(cluster.check_databases(STOCK).await.len(), before + 1);
}

#[actix_web::test]
async fn a_replica_whose_database_is_deleted_is_filled_anew() {
    let mut cluster = closed_store().await;
    fs::remove_file(cluster.data("order-2.db")).unwrap();
    assert_complete(&mut cluster).await;
}

#[actix_web::test]
async fn a_replica_whose_database_is_truncated_is_set_aside_and_filled_anew() {
    let mut cluster = closed_store().await;
    let path = cluster.data("order-3.db");
    let half = fs::metadata(&path).unwrap().len() / 2;
    fs::File::options().write(true).open(&path).unwrap().set_len(half).unwrap();
    assert_complete(&mut cluster).await;
    assert!(cluster.data("order-3.db.aside-1").exists());
    assert!(cluster.logs().contains("is set aside as"), "the log says so");
}

#[actix_web::test]
async fn a_replica_whose_database_has_a_flipped_byte_is_set_aside_and_filled_anew() {
    let mut cluster = closed_store().await;
    let path = cluster.data("order-1.db");
    let mut bytes = fs::read(&path).unwrap();
    // In the names of toys, where SQLite itself would not notice. (All of them: a page may have
    // copies in its unused parts.)
    let places = 0..bytes.len() - 6;
    for place in places.filter(|place| bytes[*place..].starts_with(b"Slinky")).collect::<Vec<_>>() {
        bytes[place] ^= 1;
    }
    fs::write(&path, bytes).unwrap();
    assert_complete(&mut cluster).await;
    assert!(cluster.data("order-1.db.aside-1").exists());
}

#[actix_web::test]
async fn a_file_that_is_no_database_is_set_aside() {
    let mut cluster = closed_store().await;
    fs::write(cluster.data("order-2.db"), "this is no database".repeat(1_000)).unwrap();
    assert_complete(&mut cluster).await;
    assert!(cluster.data("order-2.db.aside-1").exists());
}

#[actix_web::test]
async fn a_replica_with_another_stores_orders_stays_out_and_keeps_them() {
    let mut cluster = closed_store().await;
    let stranger = Cluster::start(Settings::default()).await;
    for turn in 0..5 {
        buy(&stranger.frontends[0], "Uno", 2, &turn.to_string()).await.unwrap();
    }
    stranger.check_databases(STOCK).await;
    fs::copy(stranger.data("order-3.db"), cluster.data("order-3.db")).unwrap();
    fs::copy(stranger.data("order-3.db-wal"), cluster.data("order-3.db-wal")).unwrap();
    let foreign = stranger.orders("order-3");
    cluster.start_all(&["catalog", "order-1", "order-2", "order-3", "frontend"]);
    let store = cluster.frontends[0].clone();
    eventually("the others sell", async || {
        buy(&store, "Tux", 1, "meanwhile").await.is_ok_and(|(status, _)| status == 200)
    })
    .await;
    let replica = cluster.address("order-3");
    eventually("the stranger says why it is not ready", async || {
        let answer = get(&replica, "/readyz").await;
        answer.is_ok_and(|(status, body)| {
            status == 503 && body.to_string().contains("another process answers as the catalog")
        })
    })
    .await;
    assert_eq!(cluster.orders("order-3"), foreign, "its orders are left alone");

    // An operator moves the file away, and the replica begins anew.
    assert!(cluster.terminate("order-3").await.success());
    for suffix in ["", "-wal", "-shm"] {
        let file = cluster.data(&format!("order-3.db{suffix}"));
        assert!(fs::remove_file(&file).is_ok() || !file.exists());
    }
    cluster.start_role("order-3");
    eventually("the replica has made a database", async || {
        get(&replica, "/readyz").await.is_ok_and(|(status, _)| status == 200)
    })
    .await;
    cluster.check_databases(STOCK).await;
}

#[actix_web::test]
async fn a_catalog_without_its_journal_does_not_start_over_and_is_rebuilt_from_a_replica() {
    let mut cluster = closed_store().await;
    let orders = cluster.orders("order-2");
    fs::remove_file(cluster.data("catalog.db")).unwrap();

    let catalog = toystore(&cluster, &["catalog"]).output().unwrap();
    let error = String::from_utf8(catalog.stderr).unwrap();
    assert_eq!(catalog.status.code(), Some(1), "{error}");
    assert!(error.contains("toystore rebuild --from"), "it says what to do: {error}");

    let replica = cluster.data("order-2.db");
    let rebuild = ["rebuild", "--from", replica.to_str().unwrap()];
    assert!(toystore(&cluster, &rebuild).status().unwrap().success());
    assert_eq!(cluster.journal(), orders);
    assert_complete(&mut cluster).await;

    let again = toystore(&cluster, &rebuild).output().unwrap();
    assert!(!again.status.success(), "a running catalog's database is not overwritten");
}

#[actix_web::test]
async fn replicas_that_went_on_running_sell_again_under_a_rebuilt_catalog() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let store = cluster.frontends[0].clone();
    assert_eq!(buy(&store, "Tux", 2, "before").await.unwrap().0, 200);
    cluster.check_databases(STOCK).await;
    assert!(cluster.terminate("catalog").await.success());
    fs::remove_file(cluster.data("catalog.db")).unwrap();
    let replica = cluster.data("order-1.db");
    let rebuild = ["rebuild", "--from", replica.to_str().unwrap()];
    assert!(toystore(&cluster, &rebuild).status().unwrap().success());
    cluster.start_role("catalog");
    // Its epochs begin anew, and the leader's is higher than any that it knows.
    let number = eventually("the replicas are heard, and an order is granted", async || {
        let (status, body) = buy(&store, "Uno", 1, "after").await.ok()?;
        body["data"]["order_number"].as_u64().filter(|_| status == 200)
    });
    assert_eq!(number.await, 1);
    assert_eq!(cluster.check_databases(STOCK).await.len(), 2);
}

#[actix_web::test]
async fn under_a_new_catalog_no_replica_leads_while_any_holds_orders_of_an_old_one() {
    let mut cluster = closed_store().await;
    // On another machine, where the replicas' files cannot be seen; one replica is new, too.
    fs::remove_file(cluster.data("catalog.db")).unwrap();
    fs::remove_file(cluster.data("order-3.db")).unwrap();
    let elsewhere = cluster.roles_with_data_dir("elsewhere");
    cluster.start_role_with("catalog", &elsewhere);
    // It is ready before any replica could report its orders.
    let catalog = cluster.address("catalog");
    eventually("the catalog is ready", async || get(&catalog, "/readyz").await.is_ok()).await;
    cluster.start_all(&["order-1", "order-3", "frontend"]);
    eventually("the catalog says what is wrong", async || {
        cluster.logs().contains("another process answers at the address of catalog")
    })
    .await;
    let store = &cluster.frontends[0];
    let bought = async || buy(store, "Tux", 1, "a").await.ok();
    let (status, _) = eventually("the front-end, which is starting, answers", bought).await;
    assert_eq!(status, 503, "no order number is given twice");
}

fn toystore(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
    command.args(arguments).arg("--config").arg(cluster.roles());
    command
}
