//! A role whose disk hangs or is full: the store serves on without it, and it recovers by itself.
//!
//! A disk fails at a failpoint just before SQLite would sync: `sleep` for one that hangs, an
//! error of SQLite's own for one that is full. (The tests of the store fill real ones, where
//! mounting is permitted.)

use std::time::Duration;

use crate::clients::{Clients, Size};
use crate::eventually::eventually;
use crate::processes::Settings;
use crate::proxied_store::{Store, settings};

/// Passes some syncs, then hangs for long once.
const HANGS: &str = "disk-hangs=40*off->1*sleep(4000)->off";
/// Passes some syncs, then fails a hundred.
const FULL: &str = "disk-full=40*off->100*return->off";

async fn replica_s_disk(replica: &str, failpoint: &str) -> Store {
    let store =
        Store::open_failing(Settings { frontends: 2, ..settings() }, &[(replica, failpoint)]).await;
    let clients = Clients::start(&store.frontends);
    clients.await_orders(400).await;
    store.await_followers().await;
    let history = clients.finish().await;
    let longest = history.longest_wait();
    assert!(longest < Duration::from_secs(5), "half the deadline is gone: {longest:?}");
    history.check(&store).await;
    store
}

#[actix_web::test]
async fn a_leader_whose_disk_hangs_is_replaced_and_follows_when_it_moves_again() {
    let store = replica_s_disk("order-3", HANGS).await;
    assert_eq!(store.leadership(0).await, (2, Some(2)));
}

#[actix_web::test]
async fn a_leader_whose_disk_is_full_is_replaced_and_follows_when_there_is_space_again() {
    let store = replica_s_disk("order-3", FULL).await;
    assert!(store.count_in_log("order-3", "the disk is full") > 0, "the disk was never full");
    assert_eq!(store.leadership(0).await, (2, Some(2)));
}

#[actix_web::test]
async fn a_follower_whose_disk_hangs_is_not_waited_for() {
    let store = replica_s_disk("order-1", HANGS).await;
    assert!(store.count_in_log("order-3", "replica 1 ") > 0, "its disk never hung");
    assert_eq!(store.leadership(0).await, (1, Some(3)));
}

#[actix_web::test]
async fn a_follower_whose_disk_is_full_is_not_waited_for() {
    let store = replica_s_disk("order-2", FULL).await;
    assert!(store.count_in_log("order-2", "the disk is full") > 0, "the disk was never full");
    assert_eq!(store.leadership(0).await, (1, Some(3)));
}

#[actix_web::test]
async fn a_catalog_whose_disk_hangs_sells_again_when_it_moves() {
    let hangs = "disk-hangs=60*off->1*sleep(3000)->off";
    let store = Store::open_failing(settings(), &[("catalog", hangs)]).await;
    let clients = Clients::of(Size { buyers: 4, readers: 1, order_readers: 1 }, &store.frontends);
    clients.await_orders(150).await;
    let history = clients.finish().await;
    assert!(history.longest_wait() >= Duration::from_secs(2), "the disk never hung");
    store.await_followers().await;
    history.check(&store).await;
}

#[actix_web::test]
async fn a_catalog_whose_disk_is_full_still_answers_queries_and_sells_when_there_is_space() {
    // While it is full, only the catalog's own check writes, four times a second.
    let full = "disk-full=60*off->8*return->off";
    let store = Store::open_failing(settings(), &[("catalog", full)]).await;
    let clients = Clients::start(&store.frontends);
    eventually("the disk is full", async || store.count_in_log("catalog", "the disk is full") > 0)
        .await;
    clients.await_orders_despite_errors(50).await;
    let history = clients.finish_despite_errors().await;
    for error in &history.errors {
        assert!(error.contains("503") && error.contains("its disk is full"), "{error}");
    }
    store.await_followers().await;
    history.check(&store).await;
}
