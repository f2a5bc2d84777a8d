//! Leases: what a front-end holds, and may not show once a client has seen a newer quantity.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::clients::Clients;
use crate::eventually::eventually;
use crate::processes::{Settings, buy, get, now};
use crate::proxied_store::{PLENTY, Store, settings};
use crate::proxies::State;

/// A lease of a second, the catalog's margin of a quarter, and what two busy cores take for the
/// rest.
const ABOUT_A_LEASE: Duration = Duration::from_secs(2);

/// Buys one, which must work; how long it took.
async fn purchase_takes(frontend: &str, toy: &str, key: &str) -> Duration {
    let asked = now();
    assert_eq!(buy(frontend, toy, 1, key).await.unwrap().0, 200, "{key}");
    asked.elapsed()
}

/// What a front-end says of Tux: its quantity, or nothing with a 503.
async fn tux_at(frontend: &str) -> Option<u64> {
    match get(frontend, "/products/Tux").await.unwrap() {
        (200, body) => body["data"]["quantity"].as_u64(),
        (503, _) => None,
        other => panic!("a query for a toy was answered {other:?}"),
    }
}

async fn await_hit(frontend: &str) {
    eventually("Tux is in the cache", async || {
        get(frontend, "/products/Tux").await.unwrap();
        let (_, body) = get(frontend, "/cluster").await.unwrap();
        body["data"]["cache"]["items"].as_array().unwrap().contains(&"Tux".into())
    })
    .await;
}

#[actix_web::test]
async fn a_stopped_front_end_holds_up_what_it_holds_about_a_lease_once_and_nothing_else() {
    let store = Store::open(Settings { frontends: 2, ..settings() }).await;
    let [stopped, other] = [&store.frontends[0], &store.frontends[1]];
    await_hit(stopped).await;
    store.signal("frontend", Signal::STOP);
    let others = async {
        let mut longest = Duration::ZERO;
        for turn in 0..5 {
            let key = format!("uno-{turn}");
            longest = longest.max(purchase_takes(other, "Uno", &key).await);
        }
        longest
    };
    let (held, others) =
        futures_util::future::join(purchase_takes(other, "Tux", "first"), others).await;
    let again = purchase_takes(other, "Tux", "second").await;
    assert!(held < ABOUT_A_LEASE, "the purchase of what it holds took {held:?}");
    assert!(others < Duration::from_millis(500), "another toy's purchase took {others:?}");
    assert!(again < Duration::from_millis(500), "it waited once more: {again:?}");
    store.signal("frontend", Signal::CONT);
    assert_eq!(tux_at(stopped).await, Some(PLENTY - 2), "what it held is not shown any more");
}

#[actix_web::test]
async fn a_front_end_cut_off_from_the_catalog_answers_503_and_never_an_old_quantity() {
    let store = Store::open(Settings { frontends: 2, ..settings() }).await;
    let [lonely, other] = [&store.frontends[0], &store.frontends[1]];
    let mut left = PLENTY;
    for (turn, state) in
        [State::Cut, State::HELD, State::REQUESTS_HELD, State::ANSWERS_HELD].into_iter().enumerate()
    {
        await_hit(lonely).await;
        store.network.set("frontend", "catalog", state);
        store.network.set("catalog", "frontend", state);
        let key = format!("tux-{turn}");
        let bought = purchase_takes(other, "Tux", &key);
        let looks = async {
            let mut looks: Vec<(Instant, Option<u64>)> = Vec::new();
            eventually("the lease ends", async || {
                looks.push((now(), tux_at(lonely).await));
                looks.last().is_some_and(|(_, seen)| seen.is_none())
            })
            .await;
            looks
        };
        let asked = now();
        let (took, looks) = futures_util::future::join(bought, looks).await;
        left -= 1;
        let stale = looks.iter().find(|(began, seen)| *began > asked + took && seen.is_some());
        assert!(stale.is_none(), "{state:?}: {stale:?} was shown after {took:?}");
        assert!(took < ABOUT_A_LEASE, "{state:?}: the purchase took {took:?}");
        assert_eq!(tux_at(lonely).await, None, "{state:?}");
        store.network.heal();
        eventually("the front-end sees the catalog again", async || tux_at(lonely).await.is_some())
            .await;
        assert_eq!(tux_at(lonely).await, Some(left), "{state:?}");
    }
}

#[actix_web::test]
async fn with_the_cache_off_no_session_is_needed() {
    let store = Store::open(Settings { cache: false, frontends: 2, ..settings() }).await;
    let [unreachable, other] = [&store.frontends[0], &store.frontends[1]];
    // The catalog cannot tell it anything, which it has no need to.
    store.network.set("catalog", "frontend", State::HELD);
    for turn in 0..5 {
        assert_eq!(tux_at(unreachable).await, Some(PLENTY - turn));
        let took = purchase_takes(other, "Tux", &turn.to_string()).await;
        assert!(took < Duration::from_millis(500), "a purchase took {took:?}");
    }
    let sessions: u64 = store
        .open("catalog")
        .query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sessions, 0);
    assert_eq!(get(unreachable, "/readyz").await.unwrap().0, 200);
}

#[actix_web::test]
async fn reads_are_never_old_while_fills_invalidations_and_renewals_are_late() {
    let store = Store::open(Settings { frontends: 3, ..settings() }).await;
    let clients = Clients::start(&store.frontends);
    let late = |ms| State::late(Duration::from_millis(ms));
    clients.await_orders(20).await;
    // Answers to fills are overtaken by invalidations.
    store.network.set("frontend", "catalog", late(60));
    clients.await_orders(20).await;
    // Invalidations take effect long before their acknowledgements arrive.
    store.network.set("catalog", "frontend-2", late(200));
    clients.await_orders(20).await;
    // A session that loses its lease again and again.
    store.network.set("frontend-3", "catalog", late(450));
    clients.await_orders(20).await;
    store.network.heal();
    clients.await_orders(20).await;
    let history = clients.finish().await;
    history.check(&store).await;
}

#[actix_web::test]
async fn reads_are_never_old_while_invalidations_are_lost() {
    let store = Store::open(Settings { frontends: 2, ..settings() }).await;
    let clients = Clients::start(&store.frontends);
    for state in [State::Cut, State::REQUESTS_HELD, State::ANSWERS_HELD] {
        store.network.set("catalog", "frontend", state);
        clients.await_orders(10).await;
        store.network.heal();
        clients.await_orders(10).await;
    }
    let history = clients.finish().await;
    history.check(&store).await;
}

#[actix_web::test]
async fn a_catalog_that_restarts_waits_for_leases_that_it_does_not_remember() {
    let mut store = Store::open(Settings { frontends: 2, ..settings() }).await;
    let [lonely, other] = [store.frontends[0].clone(), store.frontends[1].clone()];
    await_hit(&lonely).await;
    store.network.set("frontend", "catalog", State::HELD);
    store.network.set("catalog", "frontend", State::HELD);
    store.kill("catalog");
    store.start_role("catalog");
    let looks = async {
        let mut last_look = None;
        eventually("the lease ends", async || {
            let began = now();
            let is_shown = tux_at(&lonely).await.is_some();
            last_look = is_shown.then_some(began).or(last_look);
            !is_shown
        })
        .await;
        last_look
    };
    let bought = async {
        purchase_takes(&other, "Tux", "after-the-restart").await;
        now()
    };
    let (last_look, bought) = futures_util::future::join(looks, bought).await;
    assert!(last_look.is_none_or(|look| look < bought), "an old quantity was shown");
}
