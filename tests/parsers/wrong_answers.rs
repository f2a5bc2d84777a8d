//! Neighbours that answer anything that a body can say, however senseless: the role that asks them
//! lives, and goes on answering.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use actix_web::rt::task::spawn_blocking;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};
use toystore::wire::lease::{Registered, RenewalReply};
use toystore::wire::purchase::PurchaseReply;
use toystore::wire::replication::{AcquisitionReply, NominationReply, OrderReply};

use crate::eventually::eventually;
use crate::inputs::{
    append_reply, catalog_status, commit_reply, count, decision, fill_reply, leadership, name,
    order, position, rows, session, status, toy,
};
use crate::neighbours::{Neighbour, Reply, Running, Store};
use crate::properties::http;

/// What all neighbours say to each topic.
type Lines = Arc<Mutex<HashMap<&'static str, Value>>>;

const TOPICS: [&str; 15] = [
    "catalog-status",
    "acquire",
    "commit",
    "journal",
    "order",
    "status",
    "append",
    "rows",
    "register",
    "renew",
    "toy",
    "toys",
    "nominate",
    "purchase",
    "leader",
];

fn line(
    topic: &'static str,
    body: impl Strategy<Value = impl Serialize + std::fmt::Debug> + 'static,
) -> BoxedStrategy<(&'static str, Value)> {
    body.prop_map(move |body| (topic, json!(body))).boxed()
}

fn lines() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let acquisition = prop_oneof![
        (leadership(), position())
            .prop_map(|(leadership, journal)| AcquisitionReply::Won { leadership, journal }),
        catalog_status().prop_map(AcquisitionReply::Lost),
        position().prop_map(|journal| AcquisitionReply::Foreign { journal }),
    ];
    let nomination = prop_oneof![
        leadership().prop_map(NominationReply::Won),
        leadership().prop_map(NominationReply::Lost),
        any::<String>().prop_map(NominationReply::Unable),
    ];
    let purchase = prop_oneof![
        decision().prop_map(PurchaseReply::Decided),
        leadership().prop_map(PurchaseReply::NotLeader),
    ];
    let renewal = prop_oneof![
        any::<u64>().prop_map(|lease_ms| RenewalReply::Renewed { lease_ms }),
        Just(RenewalReply::Expired),
    ];
    let registered = (session(), any::<u64>(), vec(name(), 0..4))
        .prop_map(|(session, lease_ms, toys)| Registered { session, lease_ms, toys });
    let found = prop_oneof![order().prop_map(OrderReply::Found), Just(OrderReply::Unknown)];
    vec![
        line("catalog-status", catalog_status()),
        line("acquire", acquisition),
        line("commit", commit_reply()),
        line("journal", rows()),
        line("order", found),
        line("status", status()),
        line("append", append_reply()),
        line("rows", rows()),
        line("register", registered),
        line("renew", renewal),
        line("toy", fill_reply()),
        line("toys", vec(toy(), 0..4)),
        line("nominate", nomination),
        line("purchase", purchase),
        line("leader", Just(())),
    ]
}

fn give_lines(neighbour: &Neighbour<'_>, lines: &Lines) {
    for topic in TOPICS {
        let lines = Arc::clone(lines);
        neighbour.on(topic, move |_| {
            let line = lines.lock().expect("nobody panics here").get(topic).cloned();
            line.map_or(Reply::Refusal(503), Reply::data)
        });
    }
}

/// Asks and does not wait for the answer.
fn ask(address: SocketAddr, path: &str, body: &Value) {
    use std::io::Write as _;
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.1\r\nHost: store\r\nContent-Length: {}", body.len());
    let request = format!("{head}\r\nContent-Type: application/json\r\n\r\n{body}");
    let mut stream = TcpStream::connect(address).expect("it lives and listens");
    stream.write_all(request.as_bytes()).expect("it reads");
}

fn post(address: SocketAddr, path: &str, body: &Value) {
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.1\r\nHost: store\r\nContent-Length: {}", body.len());
    let request = format!("{head}\r\nContent-Type: application/json\r\n\r\n{body}");
    let answer = http::send(address, request.as_bytes()).expect("it answers");
    answer.is_of_the_contract();
}

fn get(address: SocketAddr, path: &str) -> http::Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: store\r\n\r\n");
    http::send(address, request.as_bytes()).expect("it answers")
}

async fn lives_on(role: &Running, path: &str) {
    eventually("it answers as ever", async || (role.get(path).await.status == 200).then_some(()))
        .await;
}

#[actix_web::test]
async fn a_replica_lives_with_neighbours_that_say_anything() {
    let store = Store::new();
    let lines = Lines::default();
    let [own, two, three] = &store.orders;
    let neighbours = [&store.catalog, two, three].map(Neighbour::at);
    for neighbour in &neighbours {
        give_lines(neighbour, &lines);
    }
    assert_eq!(own.address(), store.orders[0].address());
    let replica = store.run_order(1);
    let address = replica.address;
    let holds = spawn_blocking(move || {
        let config = ProptestConfig { max_shrink_iters: 64, ..ProptestConfig::with_cases(64) };
        proptest!(config, |(said in self::lines(), seen in count(), leads in any::<bool>())| {
            let said: HashMap<_, _> = said.into_iter().collect();
            let mut kept = lines.lock().expect("nobody panics here");
            *kept = said;
            if leads {
                // Otherwise it would hardly ever come to lead, and to the answers to a leader.
                let leader = json!({ "epoch": seen, "leader": 1 });
                kept.insert("acquire", json!({ "won": {
                    "leadership": leader,
                    "journal": { "length": 0, "chain": "0".repeat(32) },
                }}));
            }
            drop(kept);
            post(address, "/internal/nominate", &json!({ "seen": seen }));
            let purchase =
                json!({ "key": "client:k", "name": "Tux", "quantity": 1, "within_ms": 10 });
            post(address, "/internal/purchase", &purchase);
            get(address, "/internal/order/7").is_of_the_contract();
            prop_assert_eq!(get(address, "/internal/status").status, 200);
        });
    });
    holds.await.expect("it holds");
    lives_on(&replica, "/internal/status").await;
}

#[actix_web::test]
async fn a_front_end_lives_with_neighbours_that_say_anything() {
    let store = Store::new();
    let lines = Lines::default();
    let [one, two, three] = &store.orders;
    let neighbours = [&store.catalog, one, two, three].map(Neighbour::at);
    for neighbour in &neighbours {
        give_lines(neighbour, &lines);
    }
    let frontend = store.run_frontend();
    let address = frontend.address;
    let holds = spawn_blocking(move || {
        let config = ProptestConfig { max_shrink_iters: 64, ..ProptestConfig::with_cases(64) };
        proptest!(config, |(said in self::lines(), name in "[A-Za-z]{1,5}|Tux")| {
            *lines.lock().expect("nobody panics here") = said.into_iter().collect();
            // A purchase is asked again until its deadline, which is longer than a test may take.
            ask(address, "/orders", &json!({ "name": name, "quantity": 1 }));
            get(address, &format!("/products/{name}")).is_of_the_contract();
            get(address, "/products").is_of_the_contract();
            prop_assert_eq!(get(address, "/cluster").status, 200);
        });
    });
    holds.await.expect("it holds");
    lives_on(&frontend, "/cluster").await;
}
