//! What the roles log: a condition that lasts is said once, and nothing is said that is not so.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::process::{Command, Stdio};

use crate::clients::Clients;
use crate::eventually::{TIME_LIMIT, eventually};
use crate::processes::{Cluster, REPLICAS, Settings, buy, get};

#[actix_web::test]
async fn while_the_catalog_is_down_a_purchase_is_one_warning() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let store = cluster.frontends[0].clone();
    assert_eq!(buy(&store, "Tux", 1, "before").await.unwrap().0, 200);
    cluster.kill("catalog");
    // It is retried until the front-end's deadline of ten seconds.
    assert_eq!(buy(&store, "Tux", 1, "meanwhile").await.unwrap().0, 503);
    cluster.start_role("catalog");
    assert_eq!(buy(&store, "Tux", 1, "meanwhile").await.unwrap().0, 200);
    let log = cluster.log("order-3");
    assert!(log.contains("the catalog did not answer a batch"), "{log}");
    // It may fail for two reasons: the connection breaks, and then none is accepted.
    assert!(log.matches("the catalog did not answer a batch").count() <= 2, "{log}");
    eventually("its end is said", async || {
        cluster.log("order-3").contains("the catalog answers batches again, after ")
    })
    .await;
    for role in ["order-1", "order-2", "order-3", "frontend"] {
        let log = cluster.log(role);
        assert!(!log.contains("onnector"), "a library's words: {log}");
    }
}

#[actix_web::test]
async fn a_wrong_secret_is_one_line_for_each_replica() {
    let secret = Some("0123456789abcdef");
    let mut cluster = Cluster::prepare(Settings { secret, ..Settings::default() });
    let text = std::fs::read_to_string(cluster.roles()).unwrap();
    cluster.give_own_roles("frontend", &text.replacen("0123456789", "9876543210", 1));
    cluster.start_all(&["catalog", "order-1", "order-2", "order-3", "frontend"]);
    let frontend = cluster.address("frontend");
    eventually("it lives", async || get(&frontend, "/healthz").await.is_ok()).await;
    // A purchase ends with the deadline of ten seconds, in which each replica is checked 100 times.
    assert_eq!(buy(&frontend, "Tux", 1, "a").await.unwrap().0, 503);
    let log = cluster.log("frontend");
    for id in 1..=REPLICAS.len() {
        let line = format!("replica {id} refuses health checks");
        assert_eq!(log.matches(&line).count(), 1, "{log}");
    }
    assert_eq!(log.matches("the catalog refuses a session").count(), 1, "{log}");
    assert!(log.lines().count() < 20, "{log}");

    // With the right one, the end is said, too.
    assert!(cluster.terminate("frontend").await.success());
    cluster.give_own_roles("frontend", &text);
    cluster.start_role("frontend");
    cluster.await_ready(0).await;
}

#[actix_web::test]
async fn a_cold_start_reports_no_leader_gone() {
    let mut cluster = Cluster::start(Settings::default()).await;
    cluster.kill_everything();
    let before = cluster.log("frontend").len();
    cluster.start_everything_at_once().await;
    let log = cluster.log("frontend").split_off(before);
    assert!(log.contains("leads, epoch"), "{log}");
    assert!(!log.contains("is gone"), "{log}");
}

#[actix_web::test]
async fn purchases_that_are_retried_at_the_next_leader_are_counted() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let clients = Clients::buying(5, &cluster.frontends);
    clients.await_orders(50).await;
    cluster.kill("order-3");
    clients.await_orders(150).await;
    clients.finish().await;
    eventually("they are counted", async || {
        let log = cluster.log("frontend");
        log.lines().any(|line| {
            // Replica 1, if the machine is so busy that 2 missed health checks.
            let is_at_another = [2, 1].iter().any(|id| line.ends_with(&format!(" at leader {id}")));
            line.contains("INFO") && line.contains("retried ") && is_at_another
        })
    })
    .await;
    assert!(cluster.log("frontend").contains("leader 3 is gone"), "it was seen to lead");
}

#[actix_web::test]
async fn times_have_milliseconds() {
    let cluster = Cluster::start(Settings::default()).await;
    let log = cluster.log("frontend");
    let first = log.lines().next().unwrap();
    let time = first.strip_prefix('[').unwrap().split(' ').next().unwrap();
    let (_, fraction) = time.split_once('.').unwrap();
    assert_eq!(fraction.len(), "123Z".len(), "{time}");
}

#[actix_web::test]
async fn a_name_in_a_debug_line_is_escaped_and_cut() {
    let mut cluster = Cluster::prepare(Settings::default());
    cluster.log_at("frontend", "debug");
    cluster.start_everything().await;
    let name = format!("Tux\n[forged] {}", "x".repeat(900));
    assert_eq!(buy(&cluster.frontends[0], &name, 1, "a").await.unwrap().0, 404);
    let log = cluster.log("frontend");
    let line = log.lines().find(|line| line.contains(" buys 1 ")).unwrap();
    assert!(line.contains(r#""Tux\n[forged] xxx"#) && line.len() < 300, "{line}");
}

#[actix_web::test]
async fn a_role_goes_on_without_a_log_and_an_error_is_printed_where_it_can_be() {
    let cluster = Cluster::start(Settings::default()).await;
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let mut frontend = Command::new(env!("CARGO_BIN_EXE_toystore"));
    frontend.args(["frontend", "--config"]).arg(cluster.roles()).stderr(full());
    // Its address is taken.
    let output = frontend.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("toystore: frontend cannot listen on"), "{said}");
}

/// Sends a request with an id, or without one; returns the status.
async fn send(store: &str, method: &str, path: &str, id: Option<&str>) -> u16 {
    let url = format!("http://{store}{path}");
    let client = awc::Client::builder().timeout(TIME_LIMIT).finish();
    let mut request = client.request(method.parse().unwrap(), url);
    if let Some(id) = id {
        request = request.insert_header(("x-request-id", id));
    }
    let body = if method == "POST" { r#"{"name":"Tux","quantity":1}"# } else { "" };
    request.send_body(body).await.unwrap().status().as_u16()
}

#[actix_web::test]
async fn each_role_that_works_on_a_request_logs_the_id_that_its_client_sent() {
    let cluster = Cluster::start(Settings::default()).await;
    let store = &cluster.frontends[0];
    let has = |role: &str, line: &str| {
        let log = cluster.log(role);
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    };
    assert_eq!(send(store, "GET", "/products/Tux", Some("a miss")).await, 200);
    has("frontend", r#"request "a miss": GET /products/Tux is answered 200"#);
    has("catalog", r#"request "a miss" asks for "Tux""#);

    assert_eq!(send(store, "POST", "/orders", Some("sale-1")).await, 200);
    has("frontend", r#"request sale-1: POST /orders (1 "Tux") is answered 200"#);
    has("order-3", r#"request sale-1 buys 1 "Tux""#);
    has("catalog", r#"request sale-1 buys 1 "Tux""#);
    has("order-1", "request sale-1: its order comes from the leader");
    has("order-2", "request sale-1: its order comes from the leader");

    assert_eq!(send(store, "GET", "/orders/0", Some("look-1")).await, 200);
    has("frontend", "request look-1: GET /orders/0 is answered 200");
    has("order-3", "request look-1 asks for order 0");
}

#[actix_web::test]
async fn requests_without_an_id_of_their_client_are_not_logged() {
    let cluster = Cluster::start(Settings::default()).await;
    let store = &cluster.frontends[0];
    for (method, path) in [("GET", "/products/Tux"), ("POST", "/orders"), ("GET", "/orders/0")] {
        assert_eq!(send(store, method, path, None).await, 200);
    }
    assert_eq!(send(store, "GET", "/products/Tux", Some("ü")).await, 200, "it is not usable");
    for role in ["frontend", "catalog", "order-1", "order-2", "order-3"] {
        let log = cluster.log(role);
        assert!(!log.contains("request "), "{log}");
    }
}
