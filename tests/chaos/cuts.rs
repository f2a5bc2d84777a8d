//! Links between two roles that are cut, one after the other, while the store serves.

use std::time::Duration;

use crate::cluster::{Store, settings};
use crate::crowd::{Crowd, Size};
use crate::processes::eventually;
use crate::proxy::State;

/// Cuts every link in turn. With one front-end, which needs the catalog for its readers, only
/// purchases and orders are asked for.
async fn every_link_in_turn(state: State) {
    let store = Store::open(settings()).await;
    let crowd = Crowd::of(Size { buyers: 3, readers: 0, askers: 1 }, &store.frontends);
    for (from, to) in store.network.links() {
        crowd.await_orders(5).await;
        store.network.set(&from, &to, state);
        crowd.await_orders(5).await;
        store.network.heal();
    }
    crowd.await_orders(5).await;
    store.await_followers().await;
    crowd.finish().await.check(&store).await;
}

#[actix_web::test]
async fn no_link_is_missed_by_buyers_when_its_requests_do_not_arrive() {
    every_link_in_turn(State::REQUESTS_HELD).await;
}

#[actix_web::test]
async fn no_link_is_missed_by_buyers_when_its_answers_do_not_arrive() {
    every_link_in_turn(State::ANSWERS_HELD).await;
}

#[actix_web::test]
async fn no_link_is_missed_by_buyers_when_it_is_cut() {
    every_link_in_turn(State::Cut).await;
}

#[actix_web::test]
async fn a_follower_that_is_cut_off_is_not_waited_for_and_comes_back_in_step() {
    let store = Store::open(settings()).await;
    let crowd = Crowd::start(&store.frontends);
    for state in [State::HELD, State::Cut] {
        crowd.await_orders(20).await;
        store.network.isolate("order-1", state);
        crowd.await_orders(100).await;
        store.network.heal();
        store.await_followers().await;
        eventually("the follower has what it missed", async || {
            let (journal, log) = (store.journal().len(), store.orders("order-1").len());
            log + 20 > journal
        })
        .await;
        assert_eq!(store.leadership(0).await, (1, Some(3)), "nobody wants another leader");
    }
    let history = crowd.finish().await;
    assert!(history.longest_wait() < Duration::from_secs(2), "{:?}", history.longest_wait());
    history.check(&store).await;
}

#[actix_web::test]
async fn a_slow_follower_holds_purchases_up_for_a_moment_once() {
    let store = Store::open(settings()).await;
    let crowd = Crowd::start(&store.frontends);
    crowd.await_orders(20).await;
    store.network.set("order-3", "order-1", State::late(Duration::from_millis(900)));
    crowd.await_orders(200).await;
    let slow = store.count_in_log("order-3", "replica 1 is slow");
    assert!((1..=3).contains(&slow), "it was waited for {slow} times");
    store.network.heal();
    crowd.await_orders(20).await;
    let history = crowd.finish().await;
    assert!(history.longest_wait() < Duration::from_secs(2), "{:?}", history.longest_wait());
    history.check(&store).await;
}
