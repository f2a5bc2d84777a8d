//! The leader: deposed without knowing it, or cut off from the catalog or from front-ends.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::clients::Clients;
use crate::eventually::eventually;
use crate::processes::{Settings, buy, get, now};
use crate::proxied_store::{Store, settings};
use crate::proxies::State;

/// How long a deposed leader is watched: longer than it takes to send a batch a second time.
const OBSERVATION: Duration = Duration::from_millis(1_500);

/// A purchase, asked of a replica itself as a front-end would; what it answered.
async fn ask_replica(address: &str, key: &str) -> (u16, Value) {
    let client = awc::Client::builder().timeout(Duration::from_secs(15)).finish();
    let body = json!({ "key": key, "name": "Tux", "quantity": 1 });
    let url = format!("http://{address}/internal/purchase");
    let mut response = client.post(url).send_json(&body).await.unwrap();
    let body = response.body().await.unwrap();
    (response.status().as_u16(), serde_json::from_slice(&body).unwrap())
}

async fn buy_five(store: &Store, name: &str) {
    for turn in 0..5 {
        let said = buy(&store.frontends[0], "Tux", 1, &format!("{name}-{turn}")).await.unwrap();
        assert_eq!(said.0, 200, "{said:?}");
    }
}

/// Asks a replica for every order up to a few beyond the last, all at once. It may be unable to
/// say, but it may not deny one that exists; nor one that does not, unless it can confirm that.
async fn ask_for_orders(replica: &str, length: usize, can_confirm: bool) {
    let questions = (0..length + 3).map(async |number| {
        let path = format!("/internal/order/{number}");
        let (status, body) = get(replica, &path).await.unwrap();
        let is_found = body["data"]["found"]["number"] == number;
        let is_confirmed = can_confirm && number >= length && body["data"] == "unknown";
        let is_right = status == 503 || is_found || is_confirmed;
        assert!(is_right, "of {length} orders, {number} was answered {body}");
    });
    futures_util::future::join_all(questions).await;
}

/// Has replica 3 lead again, by taking replica 2 away from the front-end.
async fn replica_3_leads_again(store: &Store) {
    store.network.set("frontend", "order-2", State::Cut);
    eventually("replica 3 leads again", async || store.leadership(0).await.1 == Some(3)).await;
    store.network.heal();
    store.await_followers().await;
}

#[actix_web::test]
async fn a_deposed_leader_that_wakes_up_sells_nothing_and_denies_no_order() {
    let store = Store::open(settings()).await;
    let deposed = store.addresses["order-3"].clone();
    // How the catalog is within its reach: not at all; so that what it asks takes effect, and it
    // does not hear that it is deposed; well.
    for (turn, reach) in [State::Cut, State::ANSWERS_HELD, State::OPEN].into_iter().enumerate() {
        buy_five(&store, &format!("before-{turn}")).await;
        if reach != State::OPEN {
            // No role can tell it who leads now, not even by a message that waits in its sockets
            // until it wakes up.
            store.network.isolate("order-3", State::Cut);
            store.network.set("order-3", "catalog", reach);
        }
        store.signal("order-3", Signal::STOP);
        store.await_another_leader_than("order-3").await;
        buy_five(&store, &format!("after-{turn}")).await;
        let length = store.journal().len();
        store.signal("order-3", Signal::CONT);
        let keys: Vec<String> = (0..4).map(|key| format!("random:{turn}{key}")).collect();
        let purchases = keys.iter().map(|key| ask_replica(&deposed, key));
        let purchases = futures_util::future::join_all(purchases);
        let orders = async {
            ask_for_orders(&deposed, length, reach == State::OPEN).await;
            let end = now() + OBSERVATION;
            while now() < end {
                assert_eq!(store.journal().len(), length, "a deposed leader sold something");
                actix_web::rt::time::sleep(Duration::from_millis(20)).await;
            }
            store.network.heal();
        };
        let (answers, ()) = futures_util::future::join(purchases, orders).await;
        for (status, body) in answers {
            let is_sent_away = body["data"].get("not_leader").is_some();
            assert!(status == 503 || is_sent_away, "a deposed leader answered {body}");
        }
        assert_eq!(store.journal().len(), length, "a deposed leader sold something");
        store.await_followers().await;
        replica_3_leads_again(&store).await;
    }
    for number in 0..store.journal().len() {
        let (status, body) = get(&store.frontends[0], &format!("/orders/{number}")).await.unwrap();
        assert_eq!((status, &body["data"]["number"]), (200, &number.into()));
    }
    let missing = store.journal().len();
    assert_eq!(get(&store.frontends[0], &format!("/orders/{missing}")).await.unwrap().0, 404);
}

#[actix_web::test]
async fn an_order_is_not_said_to_be_missing_while_the_catalog_cannot_confirm_it() {
    let store = Store::open(settings()).await;
    buy_five(&store, "some").await;
    store.network.set("order-3", "catalog", State::Cut);
    store.network.set("order-2", "catalog", State::Cut);
    store.network.set("order-1", "catalog", State::Cut);
    let path = |number| format!("/orders/{number}");
    assert_eq!(get(&store.frontends[0], &path(4)).await.unwrap().0, 200, "a row is a row");
    assert_eq!(get(&store.frontends[0], &path(5)).await.unwrap().0, 503);
    store.network.heal();
    eventually("the absence is confirmed", async || {
        get(&store.frontends[0], &path(5)).await.unwrap().0 == 404
    })
    .await;
}

/// The leader is out of the catalog's reach, in one way or both, and another one takes over.
async fn leader_out_of_reach_of_the_catalog(state: State) {
    let store = Store::open(Settings { frontends: 2, ..settings() }).await;
    let clients = Clients::start(&store.frontends);
    clients.await_orders(20).await;
    store.network.set("order-3", "catalog", state);
    clients.await_orders(20).await;
    store.await_another_leader_than("order-3").await;
    store.network.heal();
    store.await_followers().await;
    clients.await_orders(20).await;
    clients.finish().await.check(&store).await;
}

#[actix_web::test]
async fn a_leader_that_is_cut_from_the_catalog_is_replaced_though_it_lives_and_answers() {
    leader_out_of_reach_of_the_catalog(State::Cut).await;
}

#[actix_web::test]
async fn a_leader_whose_requests_do_not_reach_the_catalog_is_replaced() {
    leader_out_of_reach_of_the_catalog(State::REQUESTS_HELD).await;
}

#[actix_web::test]
async fn a_leader_that_the_catalog_s_answers_do_not_reach_is_replaced_and_sells_nothing_twice() {
    leader_out_of_reach_of_the_catalog(State::ANSWERS_HELD).await;
}

#[actix_web::test]
async fn a_leader_that_cannot_sell_is_replaced_though_it_answers_for_the_orders_it_has() {
    let store = Store::open(settings()).await;
    buy_five(&store, "some").await;
    let is_sold = std::cell::Cell::new(false);
    // Answers count as health checks; they must not hide that the leader cannot sell.
    let questions = (0..4).map(async |number| {
        while !is_sold.get() {
            let said = get(&store.frontends[0], &format!("/orders/{number}")).await.unwrap();
            assert_eq!(said.0, 200, "{said:?}");
        }
    });
    store.network.set("order-3", "catalog", State::Cut);
    let purchase = async {
        let said = buy(&store.frontends[0], "Tux", 1, "while-asked").await.unwrap();
        is_sold.set(true);
        said
    };
    let questions = futures_util::future::join_all(questions);
    let (said, _) = futures_util::future::join(purchase, questions).await;
    assert_eq!(said.0, 200, "{said:?}");
}

#[actix_web::test]
async fn a_leader_that_is_stopped_in_the_middle_of_sales_again_and_again_loses_and_doubles_none() {
    let store = Store::open(Settings { frontends: 2, ..settings() }).await;
    let clients = Clients::start(&store.frontends);
    for _ in 0..4 {
        let leader = store.leader().await;
        clients.await_orders(15).await;
        store.signal(&leader, Signal::STOP);
        store.await_another_leader_than(&leader).await;
        clients.await_orders(15).await;
        store.signal(&leader, Signal::CONT);
    }
    store.await_followers().await;
    let history = clients.finish().await;
    let longest = history.longest_wait();
    assert!(longest < Duration::from_secs(5), "half the deadline is gone: {longest:?}");
    history.check(&store).await;
}

#[actix_web::test]
async fn a_leader_that_is_cut_off_from_all_roles_is_replaced_within_the_deadline() {
    let store = Store::open(settings()).await;
    let clients = Clients::start(&store.frontends);
    clients.await_orders(20).await;
    let cut = now();
    store.network.isolate("order-3", State::HELD);
    clients.await_orders(20).await;
    assert!(cut.elapsed() < Duration::from_secs(6), "it took {:?}", cut.elapsed());
    store.network.heal();
    store.await_followers().await;
    clients.finish().await.check(&store).await;
}
