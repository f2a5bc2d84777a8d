//! `Server-Timing`: where the time of a request went, as each role measured it.

use std::time::Duration;

use serde_json::json;
use toystore::wire::order::Position;
use toystore::wire::timing::{ServerTiming, TimedPart};

use crate::neighbours::of_frontend::Fixture;
use crate::neighbours::of_order::{Catalog, Peer};
use crate::neighbours::{Answer, Fault, Store, finish, purchase};

/// How long a test holds up an answer: more than anything else takes.
const DELAY: Duration = Duration::from_millis(80);

fn timing_of(answer: &Answer) -> ServerTiming {
    assert_eq!(answer.status, 200, "{answer:?}");
    ServerTiming::parse(answer.header("server-timing").expect("it tells where its time went"))
}

/// How long a part took; it must have been measured.
fn took(timing: ServerTiming, part: TimedPart) -> Duration {
    timing.get(part).unwrap_or_else(|| unreachable!("{part:?} is missing in {timing}"))
}

#[actix_web::test]
async fn a_front_end_tells_how_long_the_catalog_and_the_leader_took_and_nothing_of_a_hit() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.catalog.fail_next("toy", Fault::Delayed(DELAY));
    let miss = timing_of(&fixture.frontend.get("/products/Tux").await);
    assert!(took(miss, TimedPart::Catalog) >= DELAY, "{miss}");
    assert_eq!(miss.parts().count(), 1, "{miss}");
    let hit = fixture.frontend.get("/products/Tux").await;
    assert_eq!(hit.header("server-timing"), Some("cache;desc=\"hit\""));
    fixture.replica(3).fail_next("purchase", Fault::Delayed(DELAY));
    let order = fixture.frontend.request("POST", "/orders");
    let order = finish(order.send_json(&json!({ "name": "Tux", "quantity": 1 }))).await;
    assert!(took(timing_of(&order), TimedPart::Leader) >= DELAY, "{order:?}");
    fixture.replica(3).fail_next("order", Fault::Delayed(DELAY));
    let query = fixture.frontend.get("/orders/0").await;
    assert!(took(timing_of(&query), TimedPart::Leader) >= DELAY, "{query:?}");
    assert_eq!(fixture.frontend.get("/cluster").await.header("server-timing"), None);
}

#[actix_web::test]
async fn a_leader_tells_how_long_the_catalog_its_disk_and_its_followers_took() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let follower = Peer::at(&store.orders[0]);
    let replica = store.run_order(3).ready().await;
    assert_eq!(replica.post("/internal/nominate", json!({ "seen": 0 })).await.status, 200);
    follower.await_live().await;
    catalog.fail_next("commit", Fault::Delayed(DELAY));
    let first = replica.post("/internal/purchase", purchase("a", "Tux", 1)).await;
    let timing = timing_of(&first);
    assert!(took(timing, TimedPart::Catalog) >= DELAY, "{timing}");
    assert!(took(timing, TimedPart::Fsync) < DELAY && took(timing, TimedPart::Followers) < DELAY);
    // A heartbeat that is under way takes the fault; the orders' message comes after it.
    follower.fail_next("append", Fault::Delayed(DELAY));
    follower.fail_next("append", Fault::Delayed(DELAY));
    let second = replica.post("/internal/purchase", purchase("b", "Tux", 1)).await;
    let timing = timing_of(&second);
    let margin = Duration::from_millis(20);
    assert!(took(timing, TimedPart::Followers) + took(timing, TimedPart::Fsync) + margin >= DELAY);
    assert!(took(timing, TimedPart::Catalog) < DELAY, "{timing}");
}

#[actix_web::test]
async fn a_catalog_tells_how_long_its_commit_took() {
    let store = Store::new();
    let catalog = store.run_catalog().ready().await;
    let start = Position::START;
    let acquisition = json!({ "nominee": 3, "seen": 0, "log": start });
    assert_eq!(catalog.post("/internal/acquire", acquisition).await.status, 200);
    let purchases = [purchase("a", "Tux", 1)];
    let commit = json!({ "leader": 3, "epoch": 1, "log": start, "purchases": purchases });
    let timing = timing_of(&catalog.post("/internal/commit", commit).await);
    assert!(took(timing, TimedPart::Fsync) > Duration::ZERO, "{timing}");
}
