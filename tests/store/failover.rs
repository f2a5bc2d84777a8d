//! A store sells, and goes on selling while roles are killed, stopped and brought back.

use std::time::Duration;

use rustix::process::Signal;

use crate::clients::Clients;
use crate::eventually::eventually;
use crate::processes::{Cluster, REPLICAS, Settings, TOYS, buy, get, now};

const STOCK: u64 = 100;

#[actix_web::test]
async fn a_purchase_is_an_order_in_every_database() {
    let cluster = Cluster::start(Settings::default()).await;
    let store = &cluster.frontends[0];
    let (status, body) = buy(store, "Tux", 2, "a").await.unwrap();
    assert_eq!((status, body["data"]["order_number"].as_u64()), (200, Some(0)));
    let (_, body) = get(store, "/products/Tux").await.unwrap();
    assert_eq!(body["data"]["quantity"], 98);
    let (_, body) = get(store, "/orders/0").await.unwrap();
    assert_eq!(body["data"], serde_json::json!({"number": 0, "name": "Tux", "quantity": 2}));
    assert_eq!(cluster.check_databases(STOCK).await, [(0, "Tux".to_owned(), 2)]);
}

#[actix_web::test]
async fn the_highest_id_leads_at_first() {
    let cluster = Cluster::start(Settings::default()).await;
    assert_eq!(cluster.leader().await, "order-3");
}

#[actix_web::test]
async fn what_is_sold_out_is_restocked() {
    let cluster = Cluster::start(Settings::default()).await;
    let store = &cluster.frontends[0];
    assert_eq!(buy(store, "Tux", 101, "too-many").await.unwrap().0, 409);
    assert_eq!(buy(store, "Tux", 100, "all").await.unwrap().0, 200);
    eventually("Tux is restocked", async || {
        get(store, "/products/Tux").await.unwrap().1["data"]["quantity"] == 100
    })
    .await;
    assert_eq!(buy(store, "Tux", 101, "too-many").await.unwrap().0, 409, "a refusal is kept");
    cluster.check_databases(STOCK).await;
}

#[actix_web::test]
async fn a_toy_with_an_awkward_name_can_be_asked_for_and_bought() {
    let cluster = Cluster::start(Settings::default()).await;
    let store = &cluster.frontends[0];
    let path = "/products/Yo-Yo%20%26%20%22Friends%22%2F1";
    assert_eq!(get(store, path).await.unwrap().1["data"]["name"], TOYS[4]);
    assert_eq!(buy(store, TOYS[4], 1, "a").await.unwrap().0, 200);
    assert_eq!(get(store, "/orders/0").await.unwrap().1["data"]["name"], TOYS[4]);
    assert_eq!(get(store, path).await.unwrap().1["data"]["quantity"], 99);
}

#[actix_web::test]
async fn no_client_sees_an_error_when_the_leader_is_killed() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let clients = Clients::buying(5, &cluster.frontends);
    clients.await_orders(50).await;
    cluster.kill("order-3");
    clients.await_orders(50).await;
    assert_eq!(cluster.leader().await, "order-2");
    cluster.start_role("order-3");
    clients.await_orders(50).await;
    cluster.await_followers().await;
    assert_eq!(cluster.leader().await, "order-2", "a higher id does not depose a working leader");
    clients.finish().await.check(&cluster).await;
}

#[actix_web::test]
async fn no_client_sees_an_error_when_the_leader_is_stopped_and_wakes_up() {
    let cluster = Cluster::start(Settings::default()).await;
    let clients = Clients::buying(5, &cluster.frontends);
    clients.await_orders(50).await;
    cluster.signal("order-3", Signal::STOP);
    clients.await_orders(50).await;
    assert_eq!(cluster.leader().await, "order-2");
    cluster.signal("order-3", Signal::CONT);
    clients.await_orders(50).await;
    cluster.await_followers().await;
    clients.finish().await.check(&cluster).await;
}

#[actix_web::test]
async fn a_follower_that_was_away_is_in_step_again_while_orders_flow() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let clients = Clients::buying(5, &cluster.frontends);
    clients.await_orders(20).await;
    cluster.kill("order-1");
    cluster.signal("order-2", Signal::STOP);
    clients.await_orders(200).await;
    cluster.start_role("order-1");
    cluster.signal("order-2", Signal::CONT);
    cluster.await_followers().await;
    clients.await_orders(20).await;
    clients.finish().await.check(&cluster).await;
}

#[actix_web::test]
async fn one_replica_of_three_serves() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let clients = Clients::buying(3, &cluster.frontends);
    clients.await_orders(20).await;
    cluster.kill("order-3");
    clients.await_orders(20).await;
    cluster.kill("order-2");
    clients.await_orders(20).await;
    assert_eq!(cluster.leader().await, "order-1");
    cluster.start_all(&["order-2", "order-3"]);
    cluster.await_followers().await;
    clients.finish().await.check(&cluster).await;
}

#[actix_web::test]
async fn a_replica_that_missed_everything_can_lead_and_hand_over() {
    let mut cluster = Cluster::start(Settings::default()).await;
    cluster.kill("order-1");
    let clients = Clients::buying(3, &cluster.frontends);
    clients.await_orders(100).await;
    // Only the one that has nothing is left; the journal has what it missed.
    cluster.kill("order-3");
    cluster.kill("order-2");
    std::fs::remove_file(cluster.data("order-1.db")).unwrap();
    cluster.start_role("order-1");
    clients.await_orders(20).await;
    cluster.start_all(&["order-2", "order-3"]);
    cluster.await_followers().await;
    clients.finish().await.check(&cluster).await;
}

#[actix_web::test]
async fn purchases_wait_for_a_catalog_that_is_killed_and_started_again() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let clients = Clients::buying(5, &cluster.frontends);
    for _ in 0..3 {
        clients.await_orders(30).await;
        cluster.kill("catalog");
        cluster.start_role("catalog");
    }
    clients.await_orders(30).await;
    cluster.await_followers().await;
    clients.finish().await.check(&cluster).await;
}

#[actix_web::test]
async fn without_a_catalog_the_front_end_and_purchases_say_so() {
    for cache in [true, false] {
        let mut cluster = Cluster::start(Settings { cache, ..Settings::default() }).await;
        let store = cluster.frontends[0].clone();
        cluster.kill("catalog");
        let refused = eventually("it is not ready", async || {
            let (status, body) = get(&store, "/readyz").await.unwrap();
            (status == 503).then_some(body)
        })
        .await;
        assert_eq!(refused["error"]["message"], "the catalog is unreachable", "cache: {cache}");
        let (status, body) = buy(&store, "Tux", 1, "a").await.unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert_eq!(status, 503);
        assert!(message.starts_with("the catalog is unreachable: "), "cache: {cache}: {message}");
        cluster.start_role("catalog");
        cluster.await_ready(0).await;
        assert_eq!(buy(&store, "Tux", 1, "a").await.unwrap().0, 200);
    }
}

#[actix_web::test]
async fn a_store_that_was_killed_all_at_once_has_lost_nothing() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let clients = Clients::buying(5, &cluster.frontends);
    clients.await_orders(60).await;
    cluster.kill_everything();
    clients.stop();
    // In any order, the stalest replica first and the catalog last.
    cluster.start_all(&["frontend", "order-1", "order-3", "order-2", "catalog"]);
    cluster.await_ready(0).await;
    cluster.await_followers().await;
    // The purchases in flight were cut off, and are completed when they are retried.
    clients.finish_despite_errors().await.check(&cluster).await;
}

#[actix_web::test]
async fn a_key_is_answered_alike_across_a_failover_and_a_restart_of_everything() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let store = cluster.frontends[0].clone();
    let first = buy(&store, "Tux", 1, "mine").await.unwrap();
    let refused = buy(&store, "Tux", 101, "refused").await.unwrap();
    assert_eq!((first.0, refused.0), (200, 409));
    cluster.kill("order-3");
    assert_eq!(buy(&store, "Tux", 1, "mine").await.unwrap(), first);
    assert_eq!(buy(&store, "Uno", 1, "mine").await.unwrap().0, 422);
    cluster.kill_everything();
    cluster.start_all(&["catalog", "order-1", "order-2", "order-3", "frontend"]);
    cluster.await_ready(0).await;
    assert_eq!(buy(&store, "Tux", 1, "mine").await.unwrap(), first);
    assert_eq!(buy(&store, "Tux", 101, "refused").await.unwrap(), refused);
    assert_eq!(cluster.check_databases(STOCK).await.len(), 1);
}

#[actix_web::test]
async fn a_key_that_is_sent_many_times_at_once_buys_once() {
    let cluster = Cluster::start(Settings { frontends: 2, ..Settings::default() }).await;
    let attempts = (0..20).map(|attempt| {
        let store = &cluster.frontends[attempt % 2];
        buy(store, "Tux", 1, "one")
    });
    for answer in futures_util::future::join_all(attempts).await {
        let (status, body) = answer.unwrap();
        assert_eq!((status, body["data"]["order_number"].as_u64()), (200, Some(0)));
    }
    assert_eq!(cluster.check_databases(STOCK).await.len(), 1);
}

#[actix_web::test]
async fn two_front_ends_agree_on_the_leader_and_the_loss_of_one_disturbs_no_client_of_the_other() {
    let mut cluster = Cluster::start(Settings { frontends: 2, ..Settings::default() }).await;
    let clients = Clients::buying(4, &cluster.frontends[1..]);
    clients.await_orders(30).await;
    cluster.kill("frontend");
    clients.await_orders(30).await;
    cluster.kill("order-3");
    clients.await_orders(30).await;
    cluster.start_all(&["frontend", "order-3"]);
    cluster.await_ready(0).await;
    cluster.await_followers().await;
    let views = [0, 1].map(|frontend| cluster.frontends[frontend].clone());
    let mut leaders = Vec::new();
    for frontend in &views {
        let (_, body) = get(frontend, "/cluster").await.unwrap();
        leaders.push((body["data"]["epoch"].clone(), body["data"]["leader"].clone()));
    }
    assert_eq!(leaders[0], leaders[1]);
    assert_eq!(leaders[0].1, 2, "a front-end that starts adopts the leader that works");
    clients.finish().await.check(&cluster).await;
}

#[actix_web::test]
async fn no_front_end_shows_an_old_quantity_after_a_purchase_through_another() {
    let cluster = Cluster::start(Settings { frontends: 2, ..Settings::default() }).await;
    for turn in 1..=50 {
        for frontend in &cluster.frontends {
            get(frontend, "/products/Tux").await.unwrap();
        }
        let buyer = &cluster.frontends[turn % 2];
        assert_eq!(
            buy(buyer, "Tux", 1, &format!("turn {turn}").replace(' ', "-")).await.unwrap().0,
            200
        );
        for frontend in &cluster.frontends {
            let (_, body) = get(frontend, "/products/Tux").await.unwrap();
            assert_eq!(body["data"]["quantity"], 100 - turn, "turn {turn} at {frontend}");
        }
    }
}

#[actix_web::test]
async fn a_front_end_that_is_stopped_holds_up_only_what_it_holds_and_once() {
    let cluster = Cluster::start(Settings { frontends: 2, ..Settings::default() }).await;
    let [stopped, other] = [&cluster.frontends[0], &cluster.frontends[1]];
    get(stopped, "/products/Tux").await.unwrap();
    cluster.signal("frontend", Signal::STOP);
    let (tux, uno) = (buy(other, "Tux", 1, "tux"), buy(other, "Uno", 1, "uno"));
    let start = now();
    let (tux, uno) =
        futures_util::future::join(async { (tux.await.unwrap().0, start.elapsed()) }, async {
            (uno.await.unwrap().0, start.elapsed())
        })
        .await;
    assert_eq!((tux.0, uno.0), (200, 200));
    assert!(tux.1 < Duration::from_secs(3), "a lease is about a second, not {:?}", tux.1);
    assert!(uno.1 < tux.1, "Uno waited for Tux: {:?}, {:?}", uno.1, tux.1);
    cluster.signal("frontend", Signal::CONT);
    let (_, body) = get(stopped, "/products/Tux").await.unwrap();
    assert_eq!(body["data"]["quantity"], 99, "what it holds is not shown after its lease");
}

#[actix_web::test]
async fn without_a_cache_every_query_sees_the_catalog() {
    let cluster = Cluster::start(Settings { cache: false, ..Settings::default() }).await;
    let store = &cluster.frontends[0];
    for turn in 0..5 {
        let (_, body) = get(store, "/products/Tux").await.unwrap();
        assert_eq!(body["data"]["quantity"], 100 - turn);
        buy(store, "Tux", 1, &turn.to_string()).await.unwrap();
    }
    let (_, body) = get(store, "/cluster").await.unwrap();
    assert_eq!(
        (&body["data"]["cache"]["hits"], &body["data"]["cache"]["enabled"]),
        (&0.into(), &false.into())
    );
}

#[actix_web::test]
async fn a_small_cache_keeps_the_most_recently_used() {
    let cluster = Cluster::start(Settings { capacity: 2, ..Settings::default() }).await;
    let store = &cluster.frontends[0];
    for toy in ["Tux", "Uno", "Tux", "LEGO"] {
        get(store, &format!("/products/{toy}")).await.unwrap();
    }
    let (_, body) = get(store, "/cluster").await.unwrap();
    assert_eq!(body["data"]["cache"]["items"], serde_json::json!(["LEGO", "Tux"]));
}

#[actix_web::test]
async fn a_role_that_receives_sigterm_finishes_what_it_accepted() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let clients = Clients::buying(5, &cluster.frontends);
    for role in REPLICAS.iter().rev() {
        clients.await_orders(30).await;
        assert!(cluster.terminate(role).await.success(), "{role}");
        cluster.start_role(role);
        cluster.await_followers().await;
    }
    clients.await_orders(30).await;
    assert!(cluster.terminate("catalog").await.success());
    cluster.start_role("catalog");
    clients.await_orders(30).await;
    clients.finish().await.check(&cluster).await;
}

#[actix_web::test]
async fn a_front_end_that_receives_sigterm_answers_what_it_accepted() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let mut clients = Clients::buying(5, &cluster.frontends);
    clients.await_orders(50).await;
    assert!(cluster.terminate("frontend").await.success());
    // After its end the front-end cannot be reached, and what reached it was answered: a client
    // without an answer had its connection closed before its purchase was read.
    for key in clients.end().await {
        assert!(!cluster.has_decided(&key), "{key} was accepted and not answered");
    }
    cluster.start_role("frontend");
    cluster.await_ready(0).await;
    clients.finish_despite_errors().await.check(&cluster).await;
}
