//! What a store did for a request can be asked for: `GET /trace` and `toystore trace`.

use std::collections::HashMap;
use std::process::Command;

use serde_json::Value;
#[cfg(feature = "failpoints")]
use toystore::wire::event::EventKind::Timer;
use toystore::wire::event::EventKind::{self, Local, Recv, Send};
use toystore::wire::event::{EventLog, EventSource, TraceEvent};

use crate::eventually::{TIME_LIMIT, eventually};
use crate::processes::{Cluster, REPLICAS, Settings, get, now};

const KEY: &str = "a-key-of-its-buyer";

/// Sends a request with this id; returns the status.
async fn send(method: &str, address: &str, path: &str, id: &str) -> u16 {
    let method = method.parse().expect("a method");
    let url = format!("http://{address}{path}");
    let request = awc::Client::default().request(method, url).insert_header(("x-request-id", id));
    let body = r#"{"name":"Tux","quantity":1}"#;
    let sent = request.insert_header(("idempotency-key", KEY)).timeout(TIME_LIMIT);
    sent.send_body(body).await.expect("an answer").status().as_u16()
}

/// Runs `toystore trace`; returns what it writes.
fn trace(cluster: &Cluster, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
    command.arg("--config").arg(cluster.roles()).arg("trace").args(arguments);
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn traced(cluster: &Cluster, id: &str) -> EventLog {
    let log = EventLog::parse(&trace(cluster, &["--request", id]).expect("it is kept"));
    let log = log.expect("it is valid");
    check_clocks(&log);
    log
}

/// Checks that the clocks are those of a run: a node counts its own events without a gap, and what
/// is received was sent before.
fn check_clocks(log: &EventLog) {
    let mut own: HashMap<&str, u64> = HashMap::new();
    let mut sent: HashMap<&str, &TraceEvent> = HashMap::new();
    for (seq, event) in (0..).zip(&log.events) {
        assert_eq!(event.seq, seq);
        let count = own.entry(&event.node).or_default();
        *count += 1;
        assert_eq!(event.clock.get(&event.node), Some(&*count), "{event:?}");
        let message = event.message.as_deref().unwrap_or_default();
        match event.kind {
            EventKind::Send => {
                sent.insert(message, event);
            }
            EventKind::Recv => {
                if let Some(sent) = sent.get(message) {
                    assert!(sent.is_before(event), "{sent:?} is no cause of {event:?}");
                    assert!(sent.time_us <= event.time_us, "{sent:?} is later than {event:?}");
                }
            }
            EventKind::Drop
            | EventKind::Local
            | EventKind::Timer
            | EventKind::Crash
            | EventKind::Start => {}
        }
    }
}

/// The first event of this node, kind and name.
fn event<'a>(log: &'a EventLog, node: &str, kind: EventKind, name: &str) -> &'a TraceEvent {
    let is_it =
        |it: &&TraceEvent| (it.node.as_str(), it.kind, it.name.as_str()) == (node, kind, name);
    let found = log.events.iter().find(is_it);
    found
        .unwrap_or_else(|| unreachable!("{node} has no {kind:?} of {name} in:\n{}", log.to_lines()))
}

/// Checks that there is an event for each of these that is a cause of one for the next.
fn check_chain(log: &EventLog, chain: &[(&str, EventKind, &str)]) {
    let mut reached: Vec<&TraceEvent> = Vec::new();
    for (place, (node, kind, name)) in chain.iter().enumerate() {
        let is_it = |it: &&TraceEvent| (&*it.node, it.kind, &*it.name) == (*node, *kind, *name);
        let follows = |it: &&TraceEvent| place == 0 || reached.iter().any(|one| one.is_before(it));
        reached = log.events.iter().filter(is_it).filter(follows).collect();
        let before = &chain[..place];
        let lines = || log.to_lines();
        assert!(
            !reached.is_empty(),
            "{node}: no {kind:?} of {name} after {before:?} in:\n{}",
            lines()
        );
    }
}

#[actix_web::test]
async fn a_purchase_is_traced_from_the_client_to_every_disk_and_back() {
    let cluster = Cluster::start(Settings {
        secret: Some("a-secret-of-16-characters"),
        ..Settings::default()
    });
    let cluster = cluster.await;
    let store = &cluster.frontends[0];
    assert_eq!(get(store, "/products/Tux").await.expect("an answer").0, 200, "Tux is cached");
    assert_eq!(send("POST", store, "/orders", "the-purchase").await, 200);
    let log = traced(&cluster, "the-purchase");
    let leader = &*cluster.leader().await;
    let followers = REPLICAS.into_iter().filter(|replica| *replica != leader);
    let whole = [
        ("client", Send, "POST /orders"),
        ("frontend", Recv, "POST /orders"),
        ("frontend", Send, "purchase"),
        (leader, Recv, "purchase"),
        (leader, Send, "commit"),
        ("catalog", Recv, "commit"),
        ("catalog", Send, "invalidate"),
        ("frontend", Recv, "invalidate"),
        ("frontend", Local, "cache.invalidate"),
        ("frontend", Send, "invalidate.answer"),
        ("catalog", Recv, "invalidate.answer"),
        ("catalog", Local, "commit"),
        ("catalog", Send, "commit.answer"),
        (leader, Recv, "commit.answer"),
        (leader, Send, "purchase.answer"),
        ("frontend", Recv, "purchase.answer"),
        ("frontend", Send, "POST /orders.answer"),
        ("client", Recv, "POST /orders.answer"),
    ];
    check_chain(&log, &whole);
    check_chain(&log, &[(leader, Local, "sync"), (leader, Send, "purchase.answer")]);
    for follower in followers {
        let chain = [
            (leader, Recv, "commit.answer"),
            (follower, Recv, "append"),
            (follower, Local, "sync"),
            (follower, Send, "append.answer"),
            (leader, Send, "purchase.answer"),
        ];
        check_chain(&log, &chain);
    }
    let text = log.to_lines();
    assert!(!text.contains(KEY) && !text.contains("a-secret-of-16-characters"), "{text}");
    assert!(!text.contains("the-purchase"), "a request's id is its client's");
    let commit = event(&log, "catalog", Local, "commit");
    assert_eq!(commit.detail("text").and_then(Value::as_str), Some("order 0: 1 Tux"));
}

#[actix_web::test]
async fn a_cached_read_is_traced_and_so_is_the_miss_before_it() {
    let cluster = Cluster::start(Settings::default()).await;
    let store = &cluster.frontends[0];
    send("GET", store, "/products/Tux", "miss").await;
    send("GET", store, "/products/Tux", "hit").await;
    let missed = traced(&cluster, "miss");
    let chain = [
        ("client", Send, "GET /products"),
        ("frontend", Local, "cache.miss"),
        ("catalog", Recv, "toy"),
        ("frontend", Recv, "toy.answer"),
        ("frontend", Local, "cache.fill"),
        ("client", Recv, "GET /products.answer"),
    ];
    check_chain(&missed, &chain);
    let hit = traced(&cluster, "hit");
    let chain = [
        ("client", Send, "GET /products"),
        ("frontend", Local, "cache.hit"),
        ("client", Recv, "GET /products.answer"),
    ];
    check_chain(&hit, &chain);
    assert!(hit.events.iter().all(|event| event.name != "toy"), "the catalog was not asked");
    let (status, body) = get(store, "/trace").await.expect("an answer");
    let texts: Vec<&str> = body["data"]["requests"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|request| request["text"].as_str())
        .collect();
    assert_eq!((status, texts), (200, vec!["Tux, from the cache", "Tux"]));
}

#[actix_web::test]
async fn what_was_drawn_for_a_request_without_an_id_finds_its_trace() {
    let cluster = Cluster::start(Settings::default()).await;
    let url = format!("http://{}/products/Tux", cluster.frontends[0]);
    for name in ["cache.miss", "cache.hit"] {
        let sent = awc::Client::default().get(&url).timeout(TIME_LIMIT);
        let answer = sent.send().await.expect("an answer");
        let id = answer.headers().get("x-request-id").expect("an id").to_str().expect("text");
        event(&traced(&cluster, id), "frontend", Local, name);
    }
}

#[cfg(feature = "failpoints")]
#[actix_web::test]
async fn a_purchase_whose_leader_dies_is_traced_to_the_next_leader() {
    let mut cluster = Cluster::prepare(Settings::default());
    cluster.fail_at("order-3", "leader-sold=return");
    cluster.start_everything().await;
    // On a busy machine another one may have been ready first.
    while cluster.leader().await != "order-3" {
        let other = cluster.leader().await;
        cluster.kill(&other);
        eventually("another one leads", async || cluster.leader().await != other).await;
        cluster.start_role(&other);
        cluster.await_followers().await;
    }
    let store = cluster.frontends[0].clone();
    assert_eq!(send("POST", &store, "/orders", "survivor").await, 200);
    let log = traced(&cluster, "survivor");
    assert_eq!(log.header.missing, ["order-3"], "what it recorded ended with it");
    let chain = [
        ("frontend", Send, "purchase"),
        ("frontend", Timer, "purchase.timeout"),
        ("frontend", Local, "retry"),
        ("frontend", Recv, "purchase.answer"),
        ("client", Recv, "POST /orders.answer"),
    ];
    check_chain(&log, &chain);
    // The next leader was chosen meanwhile, which belongs to no request.
    let chain = [
        ("frontend", Send, "nominate"),
        ("order-2", Recv, "nominate"),
        ("catalog", Local, "leadership.commit"),
        ("order-2", Recv, "purchase"),
    ];
    check_chain(&log, &chain);
    let commits = |it: &&TraceEvent| it.node == "catalog" && it.kind == Recv && it.name == "commit";
    let commits: Vec<&TraceEvent> = log.events.iter().filter(commits).collect();
    assert_eq!(commits.len(), 2, "the dead leader's batch, and the next one's");
    assert_eq!(commits[0].from.as_deref(), Some("order-3"));
    let commits =
        |it: &&TraceEvent| (&*it.node, &*it.name, it.kind) == ("catalog", "commit", Local);
    assert_eq!(log.events.iter().filter(commits).count(), 1, "one of them sold");
}

#[actix_web::test]
async fn a_request_is_found_through_every_front_end() {
    let cluster = Cluster::start(Settings { frontends: 2, ..Settings::default() }).await;
    send("POST", &cluster.frontends[1], "/orders", "at-the-second").await;
    let log = traced(&cluster, "at-the-second");
    event(&log, "frontend-2", Recv, "POST /orders");
    let (status, body) = get(&cluster.frontends[0], "/trace/none").await.expect("an answer");
    assert_eq!(status, 404, "{body}");
    assert_eq!(body["error"]["message"], "no events of this request are kept");
    for query in ["last=0", "last=51", "last=x", "first=1"] {
        let asked = get(&cluster.frontends[0], &format!("/trace?{query}")).await;
        assert_eq!(asked.expect("an answer").0, 400, "{query}");
    }
}

#[actix_web::test]
async fn the_last_requests_are_written_for_every_viewer() {
    let cluster = Cluster::start(Settings::default()).await;
    for id in ["one", "two"] {
        send("POST", &cluster.frontends[0], "/orders", id).await;
    }
    for (format, begins) in [
        ("events", "{\"toystore\":\"events\""),
        ("otlp", "{\"resourceSpans\":["),
        ("chrome", "{\"displayTimeUnit\":\"ms\""),
        ("mermaid", "sequenceDiagram\n    participant "),
    ] {
        let text = trace(&cluster, &["--last", "2", "--format", format]).expect("it is kept");
        assert!(text.starts_with(begins), "{format}: {}", &text[..text.len().min(200)]);
    }
    let problem = trace(&cluster, &["--request", "three"]).expect_err("it is not there");
    assert_eq!(problem, "toystore: no events of this request are kept\n");
}

#[test]
fn a_seed_of_the_simulator_is_written_without_a_store_and_the_same_each_time() {
    let simulated = |seed: &str, format: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
        let output = command.args(["trace", "--simulate", seed, "--format", format]).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let text = simulated("7", "events");
    let log = EventLog::parse(&text).expect("it is valid");
    assert_eq!((log.header.source, log.header.seed), (EventSource::Simulator, Some(7)));
    for kind in [Send, Recv, Local, EventKind::Crash, EventKind::Start] {
        assert!(log.events.iter().any(|event| event.kind == kind), "no {kind:?}");
    }
    assert!(text == simulated("7", "events"), "a seed is the same each time");
    assert!(text != simulated("8", "events"), "seeds differ");
    for format in ["shiviz", "otlp", "chrome"] {
        let text = simulated("7", format);
        assert!(text.len() > 100_000, "{format}: {}", text.len());
        assert!(text == simulated("7", format), "{format} is the same each time");
    }
}

#[actix_web::test]
async fn a_store_without_room_for_events_says_so() {
    let cluster = Cluster::prepare(Settings::default());
    let text = std::fs::read_to_string(cluster.roles()).expect("it was written");
    let none = format!("{text}\n[trace]\nevents = 0\n");
    std::fs::write(cluster.roles(), none).expect("it can be written");
    let mut cluster = cluster;
    cluster.start_everything().await;
    let problem = trace(&cluster, &["--last", "1"]).expect_err("nothing is recorded");
    assert!(problem.contains("`events = 0` in [trace]"), "{problem}");
}

#[actix_web::test]
async fn asking_for_traces_without_end_leaves_the_store_its_time() {
    let cluster = Cluster::start(Settings::default()).await;
    let store = &cluster.frontends[0];
    send("POST", store, "/orders", "one").await;
    let began = now();
    let asked = futures_util::future::join_all((0..10).map(|_| get(store, "/trace?last=1"))).await;
    let statuses: Vec<u16> = asked.into_iter().map(|it| it.expect("an answer").0).collect();
    let answered = statuses.iter().filter(|status| **status == 200).count();
    assert!(answered > 0 && statuses.iter().all(|it| [200, 503].contains(it)), "{statuses:?}");
    let pauses = std::time::Duration::from_millis(50) * u32::try_from(answered - 1).expect("few");
    assert!(now() - began >= pauses, "they took turns");
    eventually("the store sells", async || send("POST", store, "/orders", "one").await == 200)
        .await;
}
