//! A front-end alone, with a fake catalog and fake replicas: its cache, its choice of the leader,
//! and its retries. Clients' requests, valid and invalid, are in [`requests`](crate::requests).

use std::time::Duration;

use actix_web::rt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use toystore::clock;
use toystore::wire::lease::{FillRequest, Invalidation, Registration, SessionId, Version};
use toystore::wire::order::Order;
use toystore::wire::purchase::PurchaseReply;
use toystore::wire::replication::{Epoch, Leadership, Nomination, NominationReply};

use crate::eventually::eventually;
use crate::neighbours::of_frontend::{Fixture, Neighbours};
use crate::neighbours::{Fault, Received, Store, finish, leading, orders};
use crate::prometheus::value;

fn hit(quantity: u64) -> (u64, String) {
    (quantity, "hit".into())
}

fn miss(quantity: u64) -> (u64, String) {
    (quantity, "miss".into())
}

#[actix_web::test]
async fn a_toy_is_fetched_from_the_catalog_once_and_then_cached() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    assert_eq!(fixture.toy("Tux").await, miss(100));
    assert_eq!(fixture.toy("Tux").await, hit(100));
    assert_eq!(fixture.toy("Uno").await, miss(100));
    assert_eq!(fixture.toy("Tux").await, hit(100));
    let asked: Vec<FillRequest> =
        fixture.catalog.received("toy").iter().map(Received::read).collect();
    let names: Vec<&str> = asked.iter().map(|request| request.name.as_str()).collect();
    assert_eq!(names, ["Tux", "Uno"]);
    assert!(asked.iter().all(|request| request.session == Some(fixture.session())));
    let cache = &fixture.cluster().await["cache"];
    assert_eq!((&cache["hits"], &cache["misses"]), (&json!(2), &json!(2)));
}

#[actix_web::test]
async fn a_toy_that_was_invalidated_is_fetched_again() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    for name in ["Tux", "Uno"] {
        fixture.toy(name).await;
    }
    fixture.change(&fixture.frontend, "Tux", 99).await;
    assert_eq!(fixture.toy("Tux").await, miss(99));
    assert_eq!(fixture.toy("Tux").await, hit(99));
    assert_eq!(fixture.toy("Uno").await, hit(100), "its quantity has not changed");
    assert_eq!(fixture.cluster().await["cache"]["invalidations"], 1);
}

#[actix_web::test]
async fn an_invalidation_of_another_session_is_refused_and_drops_nothing() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.toy("Tux").await;
    let session = SessionId { boot: 0, serial: 9 };
    let invalidation =
        Invalidation { session, toys: vec![("Tux".into(), Version(1))], origins: Vec::new() };
    let refused = fixture.frontend.post("/internal/invalidate", invalidation).await;
    assert_eq!(refused.status, 421, "it would count as the holder's acknowledgement");
    assert_eq!(fixture.toy("Tux").await, hit(100));
}

#[actix_web::test]
async fn an_answer_overtaken_by_an_invalidation_is_not_stored() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let release = CancellationToken::new();
    fixture.catalog.fail_next("toy", Fault::Held(release.clone()));
    let slow = rt::spawn(fixture.frontend.get("/products/Tux"));
    fixture.catalog.receives("toy", 1).await;
    fixture.change(&fixture.frontend, "Tux", 99).await;
    release.cancel();
    let slow: Value = slow.await.expect("no panic").data();
    assert_eq!(slow["quantity"], 100, "it was asked before the change");
    assert_eq!(fixture.toy("Tux").await, miss(99));
    assert_eq!(fixture.toy("Tux").await, hit(99));
}

#[actix_web::test]
async fn an_answer_that_may_not_be_cached_is_not_stored() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let locked = json!({ "found": {
        "toy": { "name": "Tux", "price": 15.99, "quantity": 7 },
        "version": 3,
        "cacheable_under": null,
    }});
    fixture.catalog.answer("toy", locked);
    for _ in 0..3 {
        assert_eq!(fixture.toy("Tux").await, miss(7));
    }
    assert_eq!(fixture.cluster().await["cache"]["entries"], 0);
}

#[actix_web::test]
async fn with_the_cache_turned_off_every_query_goes_to_the_catalog_and_no_session_is_needed() {
    let store = Store { cache_enabled: false, ..Store::new() };
    let fixture = Fixture::ready(&store).await;
    for _ in 0..3 {
        assert_eq!(fixture.toy("Tux").await, (100, "off".into()));
    }
    fixture.state().stock.insert("Tux".into(), (99, Version(1)));
    assert_eq!(fixture.toy("Tux").await, (99, "off".into()));
    assert!(fixture.catalog.received("register").is_empty());
    assert_eq!(fixture.cluster().await["cache"]["enabled"], false);
}

#[actix_web::test]
async fn a_cache_for_two_keeps_the_two_that_were_used_last() {
    let store = Store { capacity: 2, ..Store::new() };
    let fixture = Fixture::ready(&store).await;
    for name in ["Tux", "Uno", "Tux", "Yo-Yo"] {
        fixture.toy(name).await;
    }
    let cache = fixture.cluster().await["cache"].take();
    assert_eq!(cache["items"], json!(["Yo-Yo", "Tux"]));
    assert_eq!((&cache["entries"], &cache["capacity"]), (&json!(2), &json!(2)));
    assert_eq!(fixture.toy("Tux").await, hit(100));
    assert_eq!(fixture.toy("Uno").await, miss(100));
    assert_eq!(fixture.cluster().await["cache"]["items"], json!(["Uno", "Tux"]));
}

#[actix_web::test]
async fn without_a_lease_nothing_is_answered_from_the_cache() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.toy("Tux").await;
    fixture.catalog.ignore("renew");
    eventually("the lease ends", async || {
        // Were this cached beyond its lease, it would be wrong: the catalog need not wait any more.
        fixture.toy("Tux").await.1 == "miss"
    })
    .await;
    fixture.state().stock.insert("Tux".into(), (98, Version(2)));
    for _ in 0..3 {
        assert_eq!(fixture.toy("Tux").await, miss(98));
    }
    let (code, message) = fixture.frontend.get("/readyz").await.error();
    assert_eq!(code, 503);
    assert!(message.contains("session"), "{message}");
}

#[actix_web::test]
async fn without_a_catalog_toys_are_shown_for_a_lease_and_then_refused_with_503() {
    let store = Store::new();
    let neighbours = Neighbours::of(&store);
    neighbours.state().lease_ms = 500;
    let frontend = store.run_frontend().ready().await;
    let fixture = Fixture { frontend, neighbours };
    fixture.toy("Tux").await;
    fixture.catalog.kill().await;
    let gone = clock::now();
    let refused = eventually("the lease ends", async || {
        let asked = gone.elapsed();
        let answer = fixture.frontend.get("/products/Tux").await;
        assert!(answer.status == 503 || asked < Duration::from_millis(500), "{asked:?}");
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(refused.error().1.contains("catalog"));
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[actix_web::test]
async fn without_a_catalog_the_readiness_names_it_before_the_session_that_ends_with_it() {
    for cache_enabled in [true, false] {
        let store = Store { cache_enabled, ..Store::new() };
        let fixture = Fixture::ready(&store).await;
        fixture.catalog.kill().await;
        let refused = eventually("it is not ready", async || {
            Some(fixture.frontend.get("/readyz").await).filter(|answer| answer.status == 503)
        })
        .await;
        assert_eq!(refused.error(), (503, "the catalog is unreachable".into()), "{cache_enabled}");
    }
}

#[actix_web::test]
async fn a_purchase_that_the_leader_never_answers_is_told_that_the_catalog_is_gone() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    for replica in 1..=3 {
        fixture.replica(replica).ignore("purchase");
    }
    fixture.catalog.kill().await;
    let answer = fixture.buy("Tux").await;
    let (code, message) = answer.error();
    assert_eq!(code, 503);
    assert!(message.starts_with("the catalog is unreachable: no answer in time"), "{message}");
    assert!(message.ends_with("retry with this reply's Idempotency-Key"), "{message}");
    assert!(answer.header("idempotency-key").is_some());
}

#[actix_web::test]
async fn an_expired_session_is_followed_by_one_with_an_empty_cache() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.toy("Tux").await;
    let first = fixture.session();
    // The catalog forgets the session and is free to sell.
    fixture.state().sessions += 1;
    fixture.state().stock.insert("Tux".into(), (97, Version(3)));
    let received = fixture.catalog.receives("register", 2).await;
    let registration: Registration = received[1].read();
    assert_eq!(registration, Registration { frontend: 1, previous: Some(first) });
    eventually("a hit under the new session", async || {
        let (quantity, cache) = fixture.toy("Tux").await;
        assert_eq!(quantity, 97);
        cache == "hit"
    })
    .await;
}

#[actix_web::test]
async fn unknown_toys_do_not_reach_the_catalog() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    for number in 0..5 {
        let answer = fixture.frontend.get(&format!("/products/unknown-{number}")).await;
        assert_eq!(answer.error(), (404, "product not found".into()));
    }
    assert!(fixture.catalog.received("toy").is_empty());
    assert_eq!(fixture.cluster().await["cache"]["entries"], 0);
}

async fn connections(fixture: &Fixture<'_>) -> f64 {
    let metrics = fixture.frontend.get("/metrics").await.body;
    let metrics = String::from_utf8(metrics.to_vec()).expect("metrics are text");
    value(&metrics, "toystore_http_connections")
}

#[actix_web::test]
async fn clients_that_wait_for_the_list_of_all_toys_share_it() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let clients = 32 * threads;
    let release = CancellationToken::new();
    for _ in 0..clients {
        fixture.catalog.fail_next("toys", Fault::Held(release.clone()));
    }
    let url = format!("http://{}/products", fixture.frontend.address);
    let list = || finish(awc::Client::default().get(&url).send());
    let lists: Vec<_> = (0..clients).map(|_| rt::spawn(list())).collect();
    // The one that asks is counted, too. (What was connected before may close at any time.)
    let all = 1.0 + f64::from(u32::try_from(clients).expect("they are few"));
    eventually("all are connected", async || connections(&fixture).await >= all).await;
    release.cancel();
    for list in lists {
        let answer = list.await.expect("no panic");
        assert_eq!(answer.header("x-cache"), Some("miss"));
        assert!(answer.header("server-timing").is_some_and(|timing| timing.contains("catalog")));
        assert_eq!(answer.data::<Vec<Value>>()[0]["name"], "Tux");
    }
    let calls = fixture.catalog.received("toys").len();
    assert!(calls <= clients / 4, "{calls} calls for {clients} clients");
}

#[actix_web::test]
async fn the_highest_replica_that_responds_is_nominated_and_all_are_notified() {
    let store = Store::new();
    let neighbours = Neighbours::of(&store);
    // They do not learn of it from one another.
    for id in 1..=3 {
        neighbours.replica(id).answer("status", status(id, Leadership::default()));
    }
    let frontend = store.run_frontend();
    let fixture = Fixture { frontend, neighbours };
    fixture.await_leader(3).await;
    let nominations = fixture.replica(3).received("nominate");
    assert_eq!(nominations[0].read::<Nomination>(), Nomination { seen: Epoch(0) });
    for id in 1..=3 {
        let notice: Leadership = fixture.replica(id).receives("leader", 1).await[0].read();
        assert_eq!(notice, leading(1, 3), "replica {id}");
    }
    assert!(fixture.replica(1).received("nominate").is_empty());
    assert!(fixture.replica(2).received("nominate").is_empty());
}

fn status(id: usize, leadership: Leadership) -> Value {
    let leads = leadership.leader.is_some_and(|leader| leader.0 as usize == id);
    json!({
        "id": id,
        "state": if leads { "leader" } else { "follower" },
        "fitness": "ready",
        "leadership": leadership,
        "awaits_nomination": false,
        "log": { "length": 0, "chain": "0".repeat(32) },
    })
}

#[actix_web::test]
async fn the_next_highest_is_nominated_if_the_highest_refuses_connections() {
    let store = Store::new();
    let neighbours = Neighbours::of(&store);
    neighbours.replica(3).kill().await;
    let fixture = Fixture { frontend: store.run_frontend(), neighbours };
    fixture.await_leader(2).await;
    assert_eq!(fixture.buy("Tux").await.data::<Value>(), json!({ "order_number": 0 }));
    assert_eq!(fixture.cluster().await["replicas"][0]["state"], "down");
}

#[actix_web::test]
async fn the_next_highest_is_nominated_if_the_highest_hangs() {
    let store = Store::new();
    let neighbours = Neighbours::of(&store);
    neighbours.replica(3).hang();
    let fixture = Fixture { frontend: store.run_frontend(), neighbours };
    fixture.await_leader(2).await;
}

#[actix_web::test]
async fn the_next_highest_is_nominated_if_the_highest_is_unable_or_unfit() {
    let store = Store::new();
    let neighbours = Neighbours::of(&store);
    let mut unfit = status(3, Leadership::default());
    unfit["fitness"] = json!("unfit");
    neighbours.replica(3).answer("status", unfit);
    neighbours.replica(2).answer("nominate", NominationReply::Unable("its disk is full".into()));
    let fixture = Fixture { frontend: store.run_frontend(), neighbours };
    fixture.await_leader(1).await;
    assert!(fixture.replica(3).received("nominate").is_empty());
}

#[actix_web::test]
async fn a_leader_that_others_chose_is_adopted_and_not_contested() {
    let store = Store::new();
    let neighbours = Neighbours::of(&store);
    neighbours.state().leadership = leading(7, 1);
    // The front-end does not know of it when it nominates.
    for id in 1..=3 {
        neighbours.replica(id).answer("status", status(id, Leadership::default()));
    }
    neighbours.replica(1).answer("status", status(1, leading(7, 1)));
    neighbours.replica(1).fail_next("status", Fault::Delayed(Duration::from_millis(150)));
    let fixture = Fixture { frontend: store.run_frontend(), neighbours };
    fixture.await_leader(1).await;
    assert_eq!(fixture.buy("Tux").await.status, 200);
    assert_eq!(fixture.keys_at(1).len(), 1);
    let nominations = fixture.replica(3).received("nominate").len();
    let checks = fixture.replica(3).received("status").len();
    fixture.replica(3).receives("status", checks + 4).await;
    assert!(nominations <= 1 && fixture.replica(3).received("nominate").len() == nominations);
}

#[actix_web::test]
async fn a_higher_replica_that_comes_back_does_not_depose_a_leader_that_works() {
    let store = Store::new();
    let neighbours = Neighbours::of(&store);
    neighbours.replica(3).kill().await;
    let fixture = Fixture { frontend: store.run_frontend(), neighbours };
    fixture.await_leader(2).await;
    fixture.replica(3).start();
    fixture.replica(3).receives("status", 5).await;
    assert_eq!(fixture.cluster().await["leader"], 2);
    assert!(fixture.replica(3).received("nominate").is_empty());
}

#[actix_web::test]
async fn a_leader_whose_process_is_a_new_one_is_nominated_again() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    // It answers health checks and does not lead.
    let mut idle = status(3, leading(1, 3));
    idle["state"] = json!("follower");
    fixture.replica(3).answer("status", idle);
    let nominations = fixture.replica(3).receives("nominate", 2).await;
    assert_eq!(nominations[1].read::<Nomination>(), Nomination { seen: Epoch(1) });
}

#[actix_web::test]
async fn a_purchase_in_flight_when_the_leader_hangs_is_completed_by_the_next_with_the_same_key() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.replica(3).hang();
    let bought = fixture.buy("Tux").await;
    assert_eq!(bought.data::<Value>(), json!({ "order_number": 0 }));
    let (lost, kept) = (fixture.keys_at(3), fixture.keys_at(2));
    assert_eq!(kept.len(), 1);
    assert!(lost.iter().all(|key| *key == kept[0]), "{lost:?} {kept:?}");
    assert!(!lost.is_empty());
    assert_eq!(fixture.state().leadership, leading(2, 2));
}

#[actix_web::test]
async fn a_purchase_in_flight_when_the_leader_is_killed_is_completed_by_the_next() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.replica(3).ignore("purchase");
    let buying = rt::spawn(fixture.buy("Tux"));
    let lost = fixture.replica(3).receives("purchase", 1).await;
    fixture.replica(3).kill().await;
    assert_eq!(buying.await.expect("no panic").data::<Value>(), json!({ "order_number": 0 }));
    let key = &lost[0].read::<Value>()["key"];
    assert_eq!(fixture.keys_at(2), [key.as_str().expect("a key is a text")]);
}

#[actix_web::test]
async fn a_purchase_whose_answer_is_lost_is_asked_again_with_the_same_key() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.replica(3).fail_next("purchase", Fault::Lost);
    assert_eq!(fixture.buy("Tux").await.data::<Value>(), json!({ "order_number": 0 }));
    let keys = fixture.keys_at(3);
    assert_eq!(keys, [keys[0].clone(), keys[0].clone()]);
    let journal = fixture.state().journal.clone().into_iter().map(Order::without_key);
    assert_eq!(journal.collect::<Vec<_>>(), orders(&["Tux"]));
}

#[actix_web::test]
async fn a_used_key_with_a_name_that_no_toy_can_have_is_refused_as_used() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let buy = async |key: &'static str, name: &str| {
        let request = fixture.frontend.request("POST", "/orders");
        let request = request.insert_header(("Idempotency-Key", key));
        let body = json!({ "name": name, "quantity": 1 });
        finish(request.send_json(&body)).await.status
    };
    let long = "n".repeat(1_001);
    assert_eq!(buy("a", "Tux").await, 200);
    assert_eq!(buy("a", &long).await, 422);
    assert_eq!(buy("b", &long).await, 404);
    assert_eq!(buy("b", "Tux").await, 200, "what is not sold here is not recorded");
}

#[actix_web::test]
async fn a_purchase_goes_where_a_deposed_leader_points() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.state().leadership = leading(2, 1);
    fixture.replica(3).answer("purchase", PurchaseReply::NotLeader(leading(2, 1)));
    assert_eq!(fixture.buy("Tux").await.data::<Value>(), json!({ "order_number": 0 }));
    assert_eq!(fixture.keys_at(1).len(), 1);
}

#[actix_web::test]
async fn purchases_and_orders_go_to_the_leader_only() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    for number in 0..3 {
        fixture.buy("Tux").await;
        assert_eq!(fixture.frontend.get(&format!("/orders/{number}")).await.status, 200);
    }
    for id in [1, 2] {
        for topic in ["purchase", "order"] {
            assert!(fixture.replica(id).received(topic).is_empty(), "replica {id}, {topic}");
        }
    }
    assert_eq!(fixture.replica(3).received("purchase").len(), 3);
}

#[actix_web::test]
async fn a_purchase_that_comes_before_there_is_a_leader_waits_for_one() {
    let store = Store::new();
    let neighbours = Neighbours::of(&store);
    for id in 1..=3 {
        neighbours.replica(id).kill().await;
    }
    let fixture = Fixture { frontend: store.run_frontend(), neighbours };
    let buying = rt::spawn(fixture.buy("Tux"));
    fixture.catalog.receives("report", 2).await;
    fixture.replica(1).start();
    assert_eq!(buying.await.expect("no panic").data::<Value>(), json!({ "order_number": 0 }));
}

#[actix_web::test]
async fn the_state_of_the_cluster_is_shown() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.replica(1).kill().await;
    fixture.buy("Tux").await;
    let address = |id: usize| store.orders[id - 1].address().to_string();
    let expected = json!([
        { "id": 3, "address": address(3), "state": "leader", "last_order": 0 },
        { "id": 2, "address": address(2), "state": "follower", "last_order": 0 },
        { "id": 1, "address": address(1), "state": "down", "last_order": null },
    ]);
    let cluster = eventually("all of it is known", async || {
        Some(fixture.cluster().await).filter(|cluster| cluster["replicas"] == expected)
    })
    .await;
    assert_eq!((&cluster["epoch"], &cluster["leader"]), (&json!(1), &json!(3)));
    assert_eq!(cluster["catalog"]["state"], "up");
    assert_eq!(cluster["catalog"]["address"], store.catalog.address().to_string());
}

#[actix_web::test]
async fn it_is_ready_once_there_are_a_catalog_a_session_and_a_leader() {
    let store = Store::new();
    let neighbours = Neighbours::of(&store);
    for id in 1..=3 {
        neighbours.replica(id).kill().await;
    }
    let frontend = store.run_frontend();
    let missing = async |what: &str| {
        eventually(what, async || {
            let (code, message) = frontend.get("/readyz").await.error();
            assert_eq!(code, 503);
            message.contains(what)
        })
        .await;
    };
    missing("no order replica leads").await;
    let health: Value = frontend.get("/healthz").await.data();
    assert_eq!(health, json!({ "role": "frontend", "pid": std::process::id() }));
    neighbours.replica(1).start();
    frontend.ready().await;
}

#[actix_web::test]
async fn the_secret_is_required_of_callers_and_sent_to_neighbours() {
    let store = Store { secret: Some("correct-horse-battery"), ..Store::new() };
    let fixture = Fixture::ready(&store).await;
    fixture.toy("Tux").await;
    fixture.buy("Tux").await;
    for request in fixture.catalog.all_received().iter().chain(&fixture.replica(3).all_received()) {
        assert_eq!(request.headers["authorization"], "Bearer correct-horse-battery", "{request:?}");
    }
    let invalidation = Invalidation {
        session: fixture.session(),
        toys: vec![("Tux".into(), Version(1))],
        origins: Vec::new(),
    };
    let url = format!("http://{}/internal/invalidate", fixture.frontend.address);
    let stranger = awc::Client::default().post(url).send_json(&invalidation);
    assert_eq!(finish(stranger).await.error().0, 403);
    assert_eq!(fixture.toy("Tux").await, hit(100));
}
