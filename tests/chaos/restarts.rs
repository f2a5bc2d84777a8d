//! The catalog killed at any instant, and everything killed at once.

use std::time::Duration;

use crate::clients::{Clients, Size};
use crate::eventually::eventually;
use crate::histories::History;
use crate::processes::{Settings, buy, get};
use crate::proxied_store::{Store, settings};

#[actix_web::test]
async fn purchases_in_flight_when_the_catalog_is_killed_are_completed_once_when_it_is_back() {
    let mut store = Store::open(Settings { frontends: 2, ..settings() }).await;
    let size = Size { buyers: 12, readers: 0, order_readers: 1 };
    let clients = Clients::of(size, &store.frontends);
    for turn in 0..6 {
        // After so many orders it is in the middle of some batch, another one each time.
        clients.await_orders(10 + 7 * turn).await;
        store.kill("catalog");
        store.start_role("catalog");
    }
    clients.await_orders(20).await;
    clients.finish().await.check(&store).await;
}

#[actix_web::test]
async fn purchases_that_the_catalog_was_away_for_too_long_for_are_completed_once_when_asked_again()
{
    let mut store = Store::open(settings()).await;
    let clients = Clients::of(Size { buyers: 6, readers: 1, order_readers: 0 }, &store.frontends);
    clients.await_orders(20).await;
    store.kill("catalog");
    eventually("the deadline passes", async || {
        clients.history.borrow().errors.iter().any(|error| error.contains("a purchase"))
    })
    .await;
    store.start_role("catalog");
    clients.await_orders_despite_errors(20).await;
    let history = clients.finish_despite_errors().await;
    let errors = &history.errors;
    assert!(errors.iter().all(|error| error.contains("503")), "{errors:#?}");
    assert!(history.longest_wait() >= Duration::from_secs(9), "none waited for the deadline");
    history.check(&store).await;
}

#[actix_web::test]
async fn a_refusal_in_doubt_stays_refused_when_asked_again() {
    let mut store = Store::open(settings()).await;
    let frontend = store.frontends[0].clone();
    let ask = || buy(&frontend, "Tux", crate::proxied_store::PLENTY + 1, "too-many");
    assert_eq!(ask().await.unwrap().0, 409);
    store.kill("catalog");
    store.kill("order-3");
    let again = async { ask().await.unwrap() };
    let restart = async { store.start_role("catalog") };
    let (again, ()) = futures_util::future::join(again, restart).await;
    assert_eq!(again.0, 409, "{again:?}");
    assert!(store.journal().is_empty());
}

#[actix_web::test]
async fn a_store_that_went_down_bit_by_bit_comes_back_in_any_order_and_has_lost_nothing() {
    let mut store = Store::open(Settings { frontends: 2, ..settings() }).await;
    let mut history = History::default();
    for order in [
        // The stalest replica first, the highest id last.
        ["order-1", "frontend", "catalog", "order-2", "frontend-2", "order-3"],
        ["frontend", "frontend-2", "order-1", "order-2", "order-3", "catalog"],
        ["catalog", "order-1", "frontend-2", "order-2", "order-3", "frontend"],
    ] {
        let clients = Clients::resume(history, Size::default(), &store.frontends);
        clients.await_orders(20).await;
        store.kill("order-1");
        clients.await_orders(20).await;
        store.kill("order-2");
        clients.await_orders(20).await;
        store.kill_everything();
        clients.stop();
        for role in order {
            store.start_role(role);
            // The next one comes when this one is up, so that the order is an order.
            let address = store.addresses[role].clone();
            eventually("the role lives", async || {
                get(&address, "/healthz").await.is_ok_and(|(status, _)| status == 200)
            })
            .await;
        }
        store.await_ready(0).await;
        store.await_ready(1).await;
        store.await_followers().await;
        history = clients.finish_despite_errors().await;
        history.check(&store).await;
    }
}
