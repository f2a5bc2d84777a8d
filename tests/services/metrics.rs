//! `/metrics`, which Prometheus reads from every role.

use actix_web::http::header::HeaderName;
use serde_json::json;
use toystore::wire::order::Position;

use crate::eventually::eventually;
use crate::neighbours::of_frontend::Fixture;
use crate::neighbours::of_order::{Catalog, Peer};
use crate::neighbours::{Neighbour, Server, Store, finish, purchase};
use crate::prometheus::{is_accepted_by_promtool, value};

const ORDER: &str = r#"{"name":"Tux","quantity":1}"#;
const SECRET: &str = "a-secret-of-16-or-more-characters";

async fn scraped(role: &Server) -> String {
    let answer = role.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    String::from_utf8(answer.body.to_vec()).expect("metrics are text")
}

#[actix_web::test]
async fn a_front_end_tells_its_cache_its_purchases_and_who_leads() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    for _ in 0..3 {
        fixture.frontend.get("/products/Tux").await;
    }
    assert_eq!(fixture.frontend.get("/products/none").await.status, 404);
    let bought = finish(fixture.frontend.request("POST", "/orders").send_body(ORDER)).await;
    assert_eq!(bought.status, 200);
    let text = scraped(&fixture.frontend).await;
    for (metric, expected) in [
        ("toystore_cache_hits_total", 2.0),
        ("toystore_cache_misses_total", 1.0),
        ("toystore_cache_entries", 1.0),
        ("toystore_cache_capacity", 1_000.0),
        ("toystore_purchases_total{outcome=\"granted\"}", 1.0),
        ("toystore_purchases_total{outcome=\"out_of_stock\"}", 0.0),
        ("toystore_unavailable_total{reason=\"no_leader\"}", 0.0),
        ("toystore_nominations_total{outcome=\"won\"}", 1.0),
        ("toystore_epoch", 1.0),
        ("toystore_leader", 3.0),
        ("toystore_catalog_up", 1.0),
        ("toystore_ready", 1.0),
        ("toystore_replica_up{replica=\"1\"}", 1.0),
        ("toystore_http_requests_total{code=\"200\",route=\"/products/{name}\"}", 3.0),
        ("toystore_http_requests_total{code=\"404\",route=\"/products/{name}\"}", 1.0),
        ("toystore_http_request_duration_seconds_count{route=\"/orders\"}", 1.0),
    ] {
        assert!((value(&text, metric) - expected).abs() < f64::EPSILON, "{metric}: {text}");
    }
    assert!(value(&text, "toystore_http_connections") >= 1.0);
    assert!(value(&text, "process_cpu_seconds_total") > 0.0);
    is_accepted_by_promtool(&text);
}

#[actix_web::test]
async fn a_leader_tells_its_batches_and_how_far_its_followers_are() {
    let store = Store::new();
    let _catalog = Catalog::at(&store.catalog);
    let follower = Peer::at(&store.orders[0]);
    let replica = store.run_order(3).ready().await;
    assert_eq!(replica.post("/internal/nominate", json!({ "seen": 0 })).await.status, 200);
    follower.await_live().await;
    assert_eq!(replica.post("/internal/purchase", purchase("a", "Tux", 1)).await.status, 200);
    let text = scraped(&replica).await;
    for (metric, expected) in [
        ("toystore_orders", 1.0),
        ("toystore_missing_orders", 0.0),
        ("toystore_leads", 1.0),
        ("toystore_leaderships_total", 1.0),
        ("toystore_epoch", 1.0),
        ("toystore_batches_total{outcome=\"answered\"}", 1.0),
        ("toystore_batch_purchases_sum", 1.0),
        ("toystore_catalog_answer_seconds_count", 1.0),
        ("toystore_follower_acknowledgement_seconds_count", 1.0),
        ("toystore_purchases_total{outcome=\"granted\"}", 1.0),
        ("toystore_purchases_in_flight", 0.0),
        ("toystore_purchases_queued", 0.0),
        ("toystore_follower_live{follower=\"1\"}", 1.0),
        ("toystore_follower_live{follower=\"2\"}", 0.0),
        ("toystore_follower_lag_orders{follower=\"1\"}", 0.0),
        ("toystore_database_commit_seconds_count", 1.0),
    ] {
        assert!((value(&text, metric) - expected).abs() < f64::EPSILON, "{metric}: {text}");
    }
    assert!(value(&text, "toystore_database_bytes") > 0.0);
    is_accepted_by_promtool(&text);
}

#[actix_web::test]
async fn a_replica_that_was_away_tells_how_many_orders_it_fetched() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    catalog.state().journal = crate::neighbours::orders(&["Tux", "Uno", "Tux"]);
    let replica = store.run_order(3).ready().await;
    eventually("it has caught up", async || {
        let text = scraped(&replica).await;
        value(&text, "toystore_caught_up_orders_total") > 2.5
            && value(&text, "toystore_orders") > 2.5
            && value(&text, "toystore_missing_orders") < 0.5
    })
    .await;
}

#[actix_web::test]
async fn a_catalog_tells_its_verdicts_its_commits_and_how_long_it_waited_for_front_ends() {
    let store = Store::new();
    let frontend = Neighbour::at(&store.frontends[0]);
    frontend.answer("invalidate", ());
    let catalog = store.run_catalog().ready().await;
    let start = Position::START;
    let acquisition = json!({ "nominee": 3, "seen": 0, "log": start });
    assert_eq!(catalog.post("/internal/acquire", acquisition).await.status, 200);
    let registration = json!({ "frontend": 1, "previous": null });
    let session = catalog.post("/internal/register", registration).await.json();
    let session = session["data"]["session"].clone();
    let fill = json!({ "name": "Tux", "session": session });
    assert_eq!(catalog.post("/internal/toy", fill).await.status, 200);
    for (key, quantity) in [("a", 1), ("b", 1_000)] {
        let purchases = [purchase(key, "Tux", quantity)];
        let commit = json!({ "leader": 3, "epoch": 1, "log": start, "purchases": purchases });
        assert_eq!(catalog.post("/internal/commit", commit).await.status, 200);
    }
    let deposed = json!({ "leader": 1, "epoch": 0, "log": start, "purchases": [] });
    assert_eq!(catalog.post("/internal/commit", deposed).await.status, 200);
    let text = scraped(&catalog).await;
    for (metric, expected) in [
        ("toystore_orders", 1.0),
        ("toystore_epoch", 1.0),
        ("toystore_leader", 3.0),
        ("toystore_sessions", 1.0),
        ("toystore_sells", 1.0),
        ("toystore_acquisitions_total{outcome=\"won\"}", 1.0),
        ("toystore_verdicts_total{verdict=\"granted\"}", 1.0),
        ("toystore_verdicts_total{verdict=\"out_of_stock\"}", 1.0),
        ("toystore_batches_refused_total{reason=\"deposed\"}", 1.0),
        ("toystore_invalidations_sent_total{outcome=\"acknowledged\"}", 1.0),
        ("toystore_invalidation_wait_seconds_count", 1.0),
        ("toystore_write_seconds_count", 2.0),
        ("toystore_database_commit_seconds_count", 2.0),
        ("toystore_decisions_kept", 2.0),
        ("toystore_batches_waiting", 0.0),
    ] {
        assert!((value(&text, metric) - expected).abs() < f64::EPSILON, "{metric}: {text}");
    }
    let bytes = value(&text, "toystore_decisions_kept_bytes");
    assert!(bytes > 0.0);
    is_accepted_by_promtool(&text);

    // The decisions are kept, and counted again after the next start.
    catalog.stop().await;
    let catalog = store.run_catalog().ready().await;
    let text = eventually("the decisions are counted", async || {
        let text = scraped(&catalog).await;
        (value(&text, "toystore_decisions_kept_bytes") > 0.0).then_some(text)
    })
    .await;
    assert!((value(&text, "toystore_decisions_kept") - 2.0).abs() < f64::EPSILON, "{text}");
    assert!((value(&text, "toystore_decisions_kept_bytes") - bytes).abs() < f64::EPSILON, "{text}");
}

#[actix_web::test]
async fn metrics_are_a_path_like_any_other_and_need_no_secret() {
    let store = Store { secret: Some(SECRET), ..Store::new() };
    let fixture = Fixture::ready(&store).await;
    let catalog = Store { secret: Some(SECRET), ..Store::new() };
    let catalog = catalog.run_catalog().ready().await;
    let id = (HeaderName::from_static("x-request-id"), "mine");
    let server: &Server = &fixture.frontend;
    for role in [server, &catalog] {
        let ask = |method: &str, path: &str| {
            let request = role.request(method, path);
            let request = request.insert_header(id.clone());
            finish(request.insert_header(("authorization", "none")).send())
        };
        for path in ["/metrics", "/metrics/"] {
            let answer = ask("GET", path).await;
            assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("mine")));
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains(SECRET) && !text.contains("mine") && !text.contains("Tux"));
            let head = ask("HEAD", path).await;
            assert_eq!((head.status, head.body.len()), (200, 0));
            let options = ask("OPTIONS", path).await;
            let allow = Some("GET, HEAD, OPTIONS");
            assert_eq!((options.status, options.header("allow")), (204, allow));
            let post = ask("POST", path).await;
            assert_eq!((post.error().0, post.header("allow")), (405, allow));
        }
    }
}
