//! Links between two roles that are cut, one after the other, while the store serves.

use std::time::Duration;

use crate::clients::{Clients, Size};
use crate::eventually::eventually;
use crate::processes::get;
use crate::proxied_store::{Store, settings};
use crate::proxies::State;

/// Cuts every link in turn. With one front-end, which needs the catalog for its readers, only
/// purchases and orders are asked for.
async fn every_link_in_turn(state: State) {
    let store = Store::open(settings()).await;
    let clients = Clients::of(Size { buyers: 3, readers: 0, order_readers: 1 }, &store.frontends);
    for (from, to) in store.network.links() {
        clients.await_orders(5).await;
        store.network.set(&from, &to, state);
        clients.await_orders(5).await;
        store.network.heal();
    }
    clients.await_orders(5).await;
    store.await_followers().await;
    clients.finish().await.check(&store).await;
}

#[actix_web::test]
async fn buyers_see_no_error_when_a_link_s_requests_do_not_arrive() {
    every_link_in_turn(State::REQUESTS_HELD).await;
}

#[actix_web::test]
async fn buyers_see_no_error_when_a_link_s_answers_do_not_arrive() {
    every_link_in_turn(State::ANSWERS_HELD).await;
}

#[actix_web::test]
async fn buyers_see_no_error_when_a_link_is_cut() {
    every_link_in_turn(State::Cut).await;
}

#[actix_web::test]
async fn a_follower_that_is_cut_off_is_not_waited_for_and_comes_back_in_step() {
    let store = Store::open(settings()).await;
    let clients = Clients::start(&store.frontends);
    for state in [State::HELD, State::Cut] {
        clients.await_orders(20).await;
        store.network.isolate("order-1", state);
        clients.await_orders(100).await;
        store.network.heal();
        store.await_followers().await;
        eventually("the follower has what it missed", async || {
            let (journal, log) = (store.journal().len(), store.orders("order-1").len());
            log + 20 > journal
        })
        .await;
        assert_eq!(store.leadership(0).await, (1, Some(3)), "the leader was replaced");
    }
    let history = clients.finish().await;
    assert!(history.longest_wait() < Duration::from_secs(2), "{:?}", history.longest_wait());
    history.check(&store).await;
}

#[actix_web::test]
async fn a_slow_follower_delays_purchases_only_once() {
    let store = Store::open(settings()).await;
    let clients = Clients::start(&store.frontends);
    clients.await_orders(20).await;
    // One that has yet to catch up is not waited for at all.
    store.await_followers().await;
    store.network.set("order-3", "order-1", State::late(Duration::from_millis(900)));
    clients.await_orders(200).await;
    let slow = store.count_in_log("order-3", "replica 1 is slow");
    assert!((1..=3).contains(&slow), "it was waited for {slow} times");
    store.network.heal();
    clients.await_orders(20).await;
    let history = clients.finish().await;
    assert!(history.longest_wait() < Duration::from_secs(2), "{:?}", history.longest_wait());
    history.check(&store).await;
}

#[actix_web::test]
async fn replicas_that_become_far_away_are_taken_for_living_ones_again() {
    let store = Store::open(settings()).await;
    let clients = Clients::buying(2, &store.frontends);
    clients.await_orders(20).await;
    // Longer than health checks wait while answers take a millisecond, and shorter than they ever
    // wait.
    for replica in ["order-1", "order-2", "order-3"] {
        store.network.set("frontend", replica, State::distant(Duration::from_millis(60)));
    }
    clients.await_orders(20).await;
    eventually("every replica answers health checks", async || {
        let answer = get(&store.frontends[0], "/cluster").await;
        answer.is_ok_and(|(_, body)| {
            let replicas = body["data"]["replicas"].as_array();
            replicas.is_some_and(|replicas| replicas.iter().all(|it| it["state"] != "down"))
        })
    })
    .await;
    clients.finish().await.check(&store).await;
}
