//! Several front-ends: they agree, they do not depose each other's choice, and the loss of one
//! disturbs no client of another.

use std::time::Duration;

use rustix::process::Signal;

use crate::clients::{Clients, Size};
use crate::eventually::eventually;
use crate::histories::History;
use crate::processes::{Settings, now};
use crate::proxied_store::{Store, settings};
use crate::proxies::State;

/// How long a store is watched in which nothing may happen any more.
const OBSERVATION: Duration = Duration::from_millis(1_500);

/// Watches that no front-end sees another leadership than this one for a while.
async fn assert_settled(store: &Store, leadership: (u64, Option<u64>)) {
    let end = now() + OBSERVATION;
    while now() < end {
        for frontend in 0..store.frontends.len() {
            assert_eq!(store.leadership(frontend).await, leadership, "front-ends duel");
        }
    }
}

#[actix_web::test]
async fn front_ends_that_all_miss_the_leader_choose_one_new_leader_in_one_new_epoch() {
    let mut store = Store::open(Settings { frontends: 3, ..settings() }).await;
    let clients = Clients::start(&store.frontends);
    let mut dead = Vec::new();
    for _ in 0..2 {
        clients.await_orders(10).await;
        let (epoch, leader) = store.leadership(0).await;
        let leader = format!("order-{}", leader.expect("one leads"));
        store.kill(&leader);
        clients.await_orders(10).await;
        store.await_another_leader_than(&leader).await;
        assert_eq!(store.leadership(0).await.0, epoch + 1, "one change is enough");
        dead.push(leader);
    }
    let last = store.leadership(0).await;
    assert_settled(&store, last).await;
    for replica in &dead {
        store.start_role(replica);
    }
    store.await_followers().await;
    assert_settled(&store, last).await;
    clients.finish().await.check(&store).await;
}

#[actix_web::test]
async fn a_front_end_cut_off_from_the_leader_changes_it_for_all_once() {
    let store = Store::open(Settings { frontends: 2, ..settings() }).await;
    let mut history = History::default();
    for state in [State::HELD, State::Cut] {
        let (epoch, leader) = store.leadership(0).await;
        let leader = format!("order-{}", leader.unwrap());
        let clients = Clients::resume(history, Size::default(), &store.frontends);
        clients.await_orders(10).await;
        store.network.set("frontend-2", &leader, state);
        store.await_another_leader_than(&leader).await;
        clients.await_orders(10).await;
        let now_leading = store.leadership(0).await;
        assert_eq!(now_leading.0, epoch + 1, "one change is enough");
        assert_settled(&store, now_leading).await;
        store.network.heal();
        assert_settled(&store, now_leading).await;
        history = clients.finish().await;
        history.check(&store).await;
    }
}

#[actix_web::test]
async fn front_ends_that_are_cut_off_from_different_replicas_settle_on_one_that_both_reach() {
    let store = Store::open(Settings { frontends: 2, ..settings() }).await;
    let clients = Clients::start(&store.frontends);
    clients.await_orders(10).await;
    store.network.set("frontend", "order-3", State::Cut);
    store.network.set("frontend-2", "order-2", State::Cut);
    eventually("both take replica 1", async || {
        let leaders = [store.leadership(0).await.1, store.leadership(1).await.1];
        leaders == [Some(1), Some(1)]
    })
    .await;
    let settled = store.leadership(0).await;
    clients.await_orders(50).await;
    assert_settled(&store, settled).await;
    clients.finish().await.check(&store).await;
}

#[actix_web::test]
async fn a_front_end_that_is_killed_stopped_or_started_disturbs_no_client_of_another() {
    let mut store = Store::open(Settings { frontends: 2, ..settings() }).await;
    let clients = Clients::start(&store.frontends[1..]);
    let leadership = store.leadership(1).await;
    for _ in 0..2 {
        // It holds toys, which the others must wait for, a lease at most.
        let own = Clients::start(&store.frontends[..1]);
        own.await_orders(10).await;
        let _cut_short = own.finish().await;
        store.signal("frontend", Signal::STOP);
        clients.await_orders(20).await;
        store.signal("frontend", Signal::CONT);
        clients.await_orders(20).await;
        store.kill("frontend");
        clients.await_orders(20).await;
        store.start_role("frontend");
        store.await_ready(0).await;
        clients.await_orders(20).await;
    }
    assert_eq!(store.leadership(1).await, leadership, "the leader works all the time");
    let history = clients.finish().await;
    let longest = history.longest_wait();
    assert!(longest < Duration::from_secs(3), "a purchase took {longest:?}");
}
