//! A role that dies, or is held up, between two steps of the protocol.
//!
//! `N*off->return` passes a place N times and aborts the process there, as kill -9 would. Each test
//! asserts that the role died by that abort, so that the place was reached.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rustix::process::Signal;

use crate::clients::{Clients, Size};
use crate::processes::Settings;
use crate::proxied_store::{Store, settings};

/// Waits until a role has died at a failpoint, and starts it again without one.
async fn await_death_and_restart(store: &mut Store, role: &str) {
    let status = store.await_end(role).await;
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{role} did not die where it should");
    store.start_role(role);
}

/// The store sells while a role dies at a place and comes back; clients see no error.
async fn dies_at(role: &str, failpoint: &str) {
    let failpoint = format!("{failpoint}=40*off->return");
    let frontends = Settings { frontends: 2, ..settings() };
    let mut store = Store::open_failing(frontends, &[(role, &failpoint)]).await;
    // A reader would see a catalog that is away for longer than a read may take.
    let clients = Clients::of(Size { buyers: 6, readers: 2, order_readers: 1 }, &store.frontends);
    await_death_and_restart(&mut store, role).await;
    clients.await_orders(30).await;
    store.await_followers().await;
    clients.finish().await.check(&store).await;
}

#[actix_web::test]
async fn a_catalog_that_dies_before_it_commits_has_sold_nothing_and_sells_later() {
    dies_at("catalog", "catalog-before-commit").await;
}

#[actix_web::test]
async fn a_catalog_that_dies_after_it_committed_and_before_it_published_has_sold_once() {
    dies_at("catalog", "catalog-committed").await;
}

#[actix_web::test]
async fn a_catalog_that_dies_after_it_published_and_before_it_answered_has_sold_once() {
    dies_at("catalog", "catalog-published").await;
}

#[actix_web::test]
async fn a_leader_that_dies_after_the_catalog_answered_has_sold_once() {
    dies_at("order-3", "leader-sold").await;
}

#[actix_web::test]
async fn a_leader_that_dies_after_it_appended_and_before_it_answered_has_sold_once() {
    dies_at("order-3", "leader-appended").await;
}

#[actix_web::test]
async fn a_follower_that_dies_after_it_synced_and_before_it_acknowledged_delays_no_purchase() {
    dies_at("order-2", "follower-synced").await;
}

#[actix_web::test]
async fn a_catalog_that_dies_after_an_acquisition_has_a_leader_when_it_is_back() {
    // The first acquisition passes; the second, when the leader is killed, does not.
    let failpoint = ("catalog", "catalog-acquired=1*off->return");
    let mut store =
        Store::open_failing(Settings { frontends: 2, ..settings() }, &[failpoint]).await;
    let clients = Clients::of(Size { buyers: 4, readers: 0, order_readers: 1 }, &store.frontends);
    clients.await_orders(20).await;
    store.kill("order-3");
    await_death_and_restart(&mut store, "catalog").await;
    clients.await_orders(20).await;
    store.start_role("order-3");
    store.await_followers().await;
    clients.finish().await.check(&store).await;
}

#[actix_web::test]
async fn a_replica_that_dies_in_the_middle_of_catching_up_goes_on_from_there() {
    let mut store = Store::open(settings()).await;
    let clients = Clients::of(Size { buyers: 24, readers: 0, order_readers: 1 }, &store.frontends);
    store.kill("order-1");
    // More than one message carries, so that there is a middle.
    clients.await_orders(1_200).await;
    // It comes back out of the leader's reach, which would send it all that it misses.
    store.network.set("order-3", "order-1", crate::proxies::State::Cut);
    store.fail_at("order-1", "catching-up=return");
    store.start_role("order-1");
    let status = store.await_end("order-1").await;
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "it did not die where it should");
    let (some, all) = (store.orders("order-1").len(), store.journal().len());
    assert!(0 < some && some < all, "it has {some} of {all}, which is no middle");
    store.network.heal();
    store.start_role("order-1");
    store.await_followers().await;
    clients.finish().await.check(&store).await;
}

/// Holds a role up once at each of these places, long enough to be suspected.
async fn is_held_up_at(role: &str, failpoints: &[&str]) {
    let spec = failpoints.iter().zip(1..).map(|(name, turn)| {
        let passes = 25 * turn;
        format!("{name}={passes}*off->1*sleep(1500)->off")
    });
    let spec = spec.collect::<Vec<_>>().join(";");
    let frontends = Settings { frontends: 2, ..settings() };
    let store = Store::open_failing(frontends, &[(role, &spec)]).await;
    let clients = Clients::start(&store.frontends);
    clients.await_orders(250).await;
    store.await_followers().await;
    let history = clients.finish().await;
    let longest = history.longest_wait();
    assert!(longest >= Duration::from_millis(250), "it was not held up: {longest:?}");
    history.check(&store).await;
}

#[actix_web::test]
async fn a_catalog_that_stops_between_its_steps_shows_nothing_too_early_and_sells_once() {
    let places = ["catalog-before-commit", "catalog-committed", "catalog-published"];
    is_held_up_at("catalog", &places).await;
}

#[actix_web::test]
async fn a_leader_that_stops_between_its_steps_sells_once() {
    is_held_up_at("order-3", &["leader-sold", "leader-appended"]).await;
}

#[actix_web::test]
async fn a_follower_that_stops_between_its_steps_delays_no_purchase_for_long() {
    is_held_up_at("order-2", &["follower-synced"]).await;
}
