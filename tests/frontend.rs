//! A front-end, played alone: neighbours are the catalog and the replicas. Here are its cache and
//! its choice of the leader; what it makes of clients' requests is in `frontend/requests.rs`,
//! and how it speaks HTTP in `frontend/http.rs`.

#[path = "frontend/http.rs"]
mod http;
mod neighbours;
#[path = "frontend/requests.rs"]
mod requests;

use std::time::Duration;

use actix_web::rt;
use neighbours::backstage::{Backstage, Stage};
use neighbours::{Fate, Heard, Store, eventually, orders};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use toystore::clock;
use toystore::wire::lease::{FillRequest, Invalidation, Registration, SessionId, Version};
use toystore::wire::purchase::PurchaseReply;
use toystore::wire::replication::{Epoch, Leadership, Nomination, NominationReply, ReplicaId};

fn hit(quantity: u64) -> (u64, String) {
    (quantity, "hit".into())
}

fn miss(quantity: u64) -> (u64, String) {
    (quantity, "miss".into())
}

const fn leading(epoch: u64, replica: u32) -> Leadership {
    Leadership { epoch: Epoch(epoch), leader: Some(ReplicaId(replica)) }
}

#[actix_web::test]
async fn a_toy_is_asked_for_at_the_catalog_once_and_then_known() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    assert_eq!(stage.toy("Tux").await, miss(100));
    assert_eq!(stage.toy("Tux").await, hit(100));
    assert_eq!(stage.toy("Uno").await, miss(100));
    assert_eq!(stage.toy("Tux").await, hit(100));
    let asked: Vec<FillRequest> = stage.catalog.heard("toy").iter().map(Heard::read).collect();
    let names: Vec<&str> = asked.iter().map(|request| request.name.as_str()).collect();
    assert_eq!(names, ["Tux", "Uno"]);
    assert!(asked.iter().all(|request| request.session == Some(stage.session())));
    let cache = &stage.cluster().await["cache"];
    assert_eq!((&cache["hits"], &cache["misses"]), (&json!(2), &json!(2)));
}

#[actix_web::test]
async fn a_toy_that_was_invalidated_is_asked_for_anew() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    for name in ["Tux", "Uno"] {
        stage.toy(name).await;
    }
    stage.changes(&stage.frontend, "Tux", 99).await;
    assert_eq!(stage.toy("Tux").await, miss(99));
    assert_eq!(stage.toy("Tux").await, hit(99));
    assert_eq!(stage.toy("Uno").await, hit(100), "nobody touched it");
    assert_eq!(stage.cluster().await["cache"]["invalidations"], 1);
}

#[actix_web::test]
async fn an_invalidation_of_another_session_drops_nothing() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    stage.toy("Tux").await;
    let session = SessionId { boot: 0, serial: 9 };
    let invalidation = Invalidation { session, toys: vec![("Tux".into(), Version(1))] };
    let acknowledged = stage.frontend.post("/internal/invalidate", invalidation).await;
    assert_eq!(acknowledged.status, 200);
    assert_eq!(stage.toy("Tux").await, hit(100));
}

#[actix_web::test]
async fn an_answer_overtaken_by_an_invalidation_is_not_stored() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    let gate = CancellationToken::new();
    stage.catalog.next("toy", Fate::Held(gate.clone()));
    let slow = rt::spawn(stage.frontend.get("/products/Tux"));
    stage.catalog.hears("toy", 1).await;
    stage.changes(&stage.frontend, "Tux", 99).await;
    gate.cancel();
    let slow: Value = slow.await.expect("no panic").data();
    assert_eq!(slow["quantity"], 100, "it was asked before the change");
    assert_eq!(stage.toy("Tux").await, miss(99));
    assert_eq!(stage.toy("Tux").await, hit(99));
}

#[actix_web::test]
async fn an_answer_that_may_not_be_cached_is_not_stored() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    let locked = json!({ "found": {
        "toy": { "name": "Tux", "price": 15.99, "quantity": 7 },
        "version": 3,
        "cacheable_under": null,
    }});
    stage.catalog.says("toy", locked);
    for _ in 0..3 {
        assert_eq!(stage.toy("Tux").await, miss(7));
    }
    assert_eq!(stage.cluster().await["cache"]["entries"], 0);
}

#[actix_web::test]
async fn with_the_cache_turned_off_every_query_goes_to_the_catalog_and_no_session_is_needed() {
    let store = Store { cache_enabled: false, ..Store::new() };
    let stage = Stage::ready(&store).await;
    for _ in 0..3 {
        assert_eq!(stage.toy("Tux").await, (100, "off".into()));
    }
    stage.state().stock.insert("Tux".into(), (99, Version(1)));
    assert_eq!(stage.toy("Tux").await, (99, "off".into()));
    assert!(stage.catalog.heard("register").is_empty());
    assert_eq!(stage.cluster().await["cache"]["enabled"], false);
}

#[actix_web::test]
async fn a_cache_for_two_keeps_the_two_that_were_used_last() {
    let store = Store { capacity: 2, ..Store::new() };
    let stage = Stage::ready(&store).await;
    for name in ["Tux", "Uno", "Tux", "Yo-Yo"] {
        stage.toy(name).await;
    }
    let cache = stage.cluster().await["cache"].take();
    assert_eq!(cache["items"], json!(["Yo-Yo", "Tux"]));
    assert_eq!((&cache["entries"], &cache["capacity"]), (&json!(2), &json!(2)));
    assert_eq!(stage.toy("Tux").await, hit(100));
    assert_eq!(stage.toy("Uno").await, miss(100));
    assert_eq!(stage.cluster().await["cache"]["items"], json!(["Uno", "Tux"]));
}

#[actix_web::test]
async fn without_a_lease_nothing_is_answered_from_the_cache() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    stage.toy("Tux").await;
    stage.catalog.ignores("renew");
    eventually("the lease ends", async || {
        // Were this cached beyond its lease, it would be wrong: the catalog need not wait any more.
        (stage.toy("Tux").await.1 == "miss").then_some(())
    })
    .await;
    stage.state().stock.insert("Tux".into(), (98, Version(2)));
    for _ in 0..3 {
        assert_eq!(stage.toy("Tux").await, miss(98));
    }
    let (code, message) = stage.frontend.get("/readyz").await.error();
    assert_eq!(code, 503);
    assert!(message.contains("session"), "{message}");
}

#[actix_web::test]
async fn when_the_catalog_is_gone_toys_are_told_for_a_lease_and_then_no_more() {
    let store = Store::new();
    let backstage = Backstage::of(&store);
    backstage.state().lease_ms = 500;
    let frontend = store.run_frontend().ready().await;
    let stage = Stage { frontend, backstage };
    stage.toy("Tux").await;
    stage.catalog.dies().await;
    let gone = clock::now();
    let refused = eventually("the lease ends", async || {
        let asked = gone.elapsed();
        let answer = stage.frontend.get("/products/Tux").await;
        assert!(answer.status == 503 || asked < Duration::from_millis(500), "{asked:?}");
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(refused.error().1.contains("catalog"));
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[actix_web::test]
async fn a_session_that_ran_out_is_followed_by_one_with_an_empty_cache() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    stage.toy("Tux").await;
    let first = stage.session();
    // The catalog forgets the session and is free to sell.
    stage.state().sessions += 1;
    stage.state().stock.insert("Tux".into(), (97, Version(3)));
    let heard = stage.catalog.hears("register", 2).await;
    let registration: Registration = heard[1].read();
    assert_eq!(registration, Registration { frontend: 1, previous: Some(first) });
    eventually("a hit under the new session", async || {
        let (quantity, cache) = stage.toy("Tux").await;
        assert_eq!(quantity, 97);
        (cache == "hit").then_some(())
    })
    .await;
}

#[actix_web::test]
async fn unknown_toys_do_not_reach_the_catalog() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    for number in 0..5 {
        let answer = stage.frontend.get(&format!("/products/unknown-{number}")).await;
        assert_eq!(answer.error(), (404, "product not found".into()));
    }
    assert!(stage.catalog.heard("toy").is_empty());
    assert_eq!(stage.cluster().await["cache"]["entries"], 0);
}

#[actix_web::test]
async fn the_highest_replica_that_responds_is_nominated_and_all_are_told() {
    let store = Store::new();
    let backstage = Backstage::of(&store);
    // They do not hear of it from one another.
    for id in 1..=3 {
        backstage.replica(id).says("status", status(id, Leadership::default()));
    }
    let frontend = store.run_frontend();
    let stage = Stage { frontend, backstage };
    stage.is_led_by(3).await;
    let nominations = stage.replica(3).heard("nominate");
    assert_eq!(nominations[0].read::<Nomination>(), Nomination { seen: Epoch(0) });
    for id in 1..=3 {
        let told: Leadership = stage.replica(id).hears("leader", 1).await[0].read();
        assert_eq!(told, leading(1, 3), "replica {id}");
    }
    assert!(stage.replica(1).heard("nominate").is_empty());
    assert!(stage.replica(2).heard("nominate").is_empty());
}

fn status(id: usize, leadership: Leadership) -> Value {
    let leads = leadership.leader.is_some_and(|leader| leader.0 as usize == id);
    json!({
        "id": id,
        "state": if leads { "leader" } else { "follower" },
        "fitness": "ready",
        "leadership": leadership,
        "log": { "length": 0, "chain": "0".repeat(32) },
    })
}

#[actix_web::test]
async fn the_next_highest_is_nominated_if_the_highest_refuses_connections() {
    let store = Store::new();
    let backstage = Backstage::of(&store);
    backstage.replica(3).dies().await;
    let stage = Stage { frontend: store.run_frontend(), backstage };
    stage.is_led_by(2).await;
    assert_eq!(stage.buy("Tux").await.data::<Value>(), json!({ "order_number": 0 }));
    assert_eq!(stage.cluster().await["replicas"][0]["state"], "down");
}

#[actix_web::test]
async fn the_next_highest_is_nominated_if_the_highest_hangs() {
    let store = Store::new();
    let backstage = Backstage::of(&store);
    backstage.replica(3).hangs();
    let stage = Stage { frontend: store.run_frontend(), backstage };
    stage.is_led_by(2).await;
}

#[actix_web::test]
async fn the_next_highest_is_nominated_if_the_highest_is_unable_or_unfit() {
    let store = Store::new();
    let backstage = Backstage::of(&store);
    let mut unfit = status(3, Leadership::default());
    unfit["fitness"] = json!("unfit");
    backstage.replica(3).says("status", unfit);
    backstage.replica(2).says("nominate", NominationReply::Unable("it is ill".into()));
    let stage = Stage { frontend: store.run_frontend(), backstage };
    stage.is_led_by(1).await;
    assert!(stage.replica(3).heard("nominate").is_empty());
}

#[actix_web::test]
async fn a_leader_that_others_chose_is_adopted_and_not_contested() {
    let store = Store::new();
    let backstage = Backstage::of(&store);
    backstage.state().leadership = leading(7, 1);
    // The front-end has heard nothing of it when it nominates.
    for id in 1..=3 {
        backstage.replica(id).says("status", status(id, Leadership::default()));
    }
    backstage.replica(1).says("status", status(1, leading(7, 1)));
    backstage.replica(1).next("status", Fate::Delayed(Duration::from_millis(150)));
    let stage = Stage { frontend: store.run_frontend(), backstage };
    stage.is_led_by(1).await;
    assert_eq!(stage.buy("Tux").await.status, 200);
    assert_eq!(stage.keys_at(1).len(), 1);
    let nominations = stage.replica(3).heard("nominate").len();
    let checks = stage.replica(3).heard("status").len();
    stage.replica(3).hears("status", checks + 4).await;
    assert!(nominations <= 1 && stage.replica(3).heard("nominate").len() == nominations);
}

#[actix_web::test]
async fn a_higher_replica_that_comes_back_does_not_depose_a_leader_that_works() {
    let store = Store::new();
    let backstage = Backstage::of(&store);
    backstage.replica(3).dies().await;
    let stage = Stage { frontend: store.run_frontend(), backstage };
    stage.is_led_by(2).await;
    stage.replica(3).lives();
    stage.replica(3).hears("status", 5).await;
    assert_eq!(stage.cluster().await["leader"], 2);
    assert!(stage.replica(3).heard("nominate").is_empty());
}

#[actix_web::test]
async fn a_leader_whose_process_is_a_new_one_is_nominated_again() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    // It answers health checks and has no office.
    let mut idle = status(3, leading(1, 3));
    idle["state"] = json!("follower");
    stage.replica(3).says("status", idle);
    let nominations = stage.replica(3).hears("nominate", 2).await;
    assert_eq!(nominations[1].read::<Nomination>(), Nomination { seen: Epoch(1) });
}

#[actix_web::test]
async fn a_purchase_in_flight_when_the_leader_hangs_is_completed_by_the_next_with_the_same_key() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    stage.replica(3).hangs();
    let bought = stage.buy("Tux").await;
    assert_eq!(bought.data::<Value>(), json!({ "order_number": 0 }));
    let (lost, kept) = (stage.keys_at(3), stage.keys_at(2));
    assert_eq!(kept.len(), 1);
    assert!(lost.iter().all(|key| *key == kept[0]), "{lost:?} {kept:?}");
    assert!(!lost.is_empty());
    assert_eq!(stage.state().leadership, leading(2, 2));
}

#[actix_web::test]
async fn a_purchase_in_flight_when_the_leader_is_killed_is_completed_by_the_next() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    stage.replica(3).ignores("purchase");
    let buying = rt::spawn(stage.buy("Tux"));
    let lost = stage.replica(3).hears("purchase", 1).await;
    stage.replica(3).dies().await;
    assert_eq!(buying.await.expect("no panic").data::<Value>(), json!({ "order_number": 0 }));
    let key = &lost[0].read::<Value>()["key"];
    assert_eq!(stage.keys_at(2), [key.as_str().expect("a key is a text")]);
}

#[actix_web::test]
async fn a_purchase_whose_answer_is_lost_is_asked_again_with_the_same_key() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    stage.replica(3).next("purchase", Fate::Lost);
    assert_eq!(stage.buy("Tux").await.data::<Value>(), json!({ "order_number": 0 }));
    let keys = stage.keys_at(3);
    assert_eq!(keys, [keys[0].clone(), keys[0].clone()]);
    assert_eq!(stage.state().journal, orders(&["Tux"]));
}

#[actix_web::test]
async fn a_purchase_goes_where_a_deposed_leader_points() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    stage.state().leadership = leading(2, 1);
    stage.replica(3).says("purchase", PurchaseReply::NotLeader(leading(2, 1)));
    assert_eq!(stage.buy("Tux").await.data::<Value>(), json!({ "order_number": 0 }));
    assert_eq!(stage.keys_at(1).len(), 1);
}

#[actix_web::test]
async fn purchases_and_orders_go_to_the_leader_only() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    for number in 0..3 {
        stage.buy("Tux").await;
        assert_eq!(stage.frontend.get(&format!("/orders/{number}")).await.status, 200);
    }
    for id in [1, 2] {
        for topic in ["purchase", "order"] {
            assert!(stage.replica(id).heard(topic).is_empty(), "replica {id}, {topic}");
        }
    }
    assert_eq!(stage.replica(3).heard("purchase").len(), 3);
}

#[actix_web::test]
async fn a_purchase_that_comes_before_there_is_a_leader_waits_for_one() {
    let store = Store::new();
    let backstage = Backstage::of(&store);
    for id in 1..=3 {
        backstage.replica(id).dies().await;
    }
    let stage = Stage { frontend: store.run_frontend(), backstage };
    let buying = rt::spawn(stage.buy("Tux"));
    stage.catalog.hears("catalog-status", 2).await;
    stage.replica(1).lives();
    assert_eq!(buying.await.expect("no panic").data::<Value>(), json!({ "order_number": 0 }));
}

#[actix_web::test]
async fn the_state_of_the_cluster_is_told() {
    let store = Store::new();
    let stage = Stage::ready(&store).await;
    stage.replica(1).dies().await;
    stage.buy("Tux").await;
    let address = |id: usize| store.orders[id - 1].address().to_string();
    let expected = json!([
        { "id": 3, "address": address(3), "state": "leader", "last_order": 0 },
        { "id": 2, "address": address(2), "state": "follower", "last_order": 0 },
        { "id": 1, "address": address(1), "state": "down", "last_order": null },
    ]);
    let cluster = eventually("all of it is known", async || {
        Some(stage.cluster().await).filter(|cluster| cluster["replicas"] == expected)
    })
    .await;
    assert_eq!((&cluster["epoch"], &cluster["leader"]), (&json!(1), &json!(3)));
    assert_eq!(cluster["catalog"]["state"], "up");
    assert_eq!(cluster["catalog"]["address"], store.catalog.address().to_string());
}

#[actix_web::test]
async fn it_is_ready_once_there_are_a_catalog_a_session_and_a_leader() {
    let store = Store::new();
    let backstage = Backstage::of(&store);
    for id in 1..=3 {
        backstage.replica(id).dies().await;
    }
    let frontend = store.run_frontend();
    let missing = async |what: &str| {
        eventually(what, async || {
            let (code, message) = frontend.get("/readyz").await.error();
            assert_eq!(code, 503);
            message.contains(what).then_some(())
        })
        .await;
    };
    missing("no order replica leads").await;
    let health: Value = frontend.get("/healthz").await.data();
    assert_eq!(health, json!({ "role": "frontend", "pid": std::process::id() }));
    backstage.replica(1).lives();
    frontend.ready().await;
}

#[actix_web::test]
async fn the_secret_is_asked_of_callers_and_shown_to_neighbours() {
    let store = Store { secret: Some("correct-horse-battery"), ..Store::new() };
    let stage = Stage::ready(&store).await;
    stage.toy("Tux").await;
    stage.buy("Tux").await;
    for heard in stage.catalog.heard_at_all().iter().chain(&stage.replica(3).heard_at_all()) {
        assert_eq!(heard.headers["authorization"], "Bearer correct-horse-battery", "{heard:?}");
    }
    let invalidation =
        Invalidation { session: stage.session(), toys: vec![("Tux".into(), Version(1))] };
    let url = format!("http://{}/internal/invalidate", stage.frontend.address);
    let stranger = awc::Client::default().post(url).send_json(&invalidation);
    assert_eq!(neighbours::finish(stranger).await.error().0, 403);
    assert_eq!(stage.toy("Tux").await, hit(100));
}
