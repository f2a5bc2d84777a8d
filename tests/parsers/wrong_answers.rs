//! Neighbours that answer anything that can be parsed, however senseless: the role that asks them
//! goes on answering.

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
use crate::neighbours::{Neighbour, Reply, Server, Store};
use crate::properties::http;

/// What all neighbours answer to each topic.
type Answers = Arc<Mutex<HashMap<&'static str, Value>>>;

const TOPICS: [&str; 15] = [
    "report", "acquire", "commit", "journal", "order", "status", "append", "rows", "register",
    "renew", "toy", "toys", "nominate", "purchase", "leader",
];

fn answer(
    topic: &'static str,
    body: impl Strategy<Value = impl Serialize + std::fmt::Debug> + 'static,
) -> BoxedStrategy<(&'static str, Value)> {
    body.prop_map(move |body| (topic, json!(body))).boxed()
}

fn answers() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
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
        answer("report", catalog_status()),
        answer("acquire", acquisition),
        answer("commit", commit_reply()),
        answer("journal", rows()),
        answer("order", found),
        answer("status", status()),
        answer("append", append_reply()),
        answer("rows", rows()),
        answer("register", registered),
        answer("renew", renewal),
        answer("toy", fill_reply()),
        answer("toys", vec(toy(), 0..4)),
        answer("nominate", nomination),
        answer("purchase", purchase),
        answer("leader", Just(())),
    ]
}

fn set_answers(neighbour: &Neighbour<'_>, answers: &Answers) {
    for topic in TOPICS {
        let answers = Arc::clone(answers);
        neighbour.on(topic, move |_| {
            let answer = answers.lock().expect("no handler panics").get(topic).cloned();
            answer.map_or(Reply::Refusal(503), Reply::data)
        });
    }
}

/// Asks and does not wait for the answer.
fn ask(address: SocketAddr, path: &str, body: &Value) {
    use std::io::Write as _;
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.1\r\nHost: store\r\nContent-Length: {}", body.len());
    let request = format!("{head}\r\nContent-Type: application/json\r\n\r\n{body}");
    let mut stream = TcpStream::connect(address).expect("it listens");
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

async fn assert_answers(role: &Server, path: &str) {
    eventually("it answers", async || role.get(path).await.status == 200).await;
}

#[actix_web::test]
async fn a_replica_survives_neighbours_that_answer_anything() {
    let store = Store::new();
    let answers = Answers::default();
    let [own, two, three] = &store.orders;
    let neighbours = [&store.catalog, two, three].map(Neighbour::at);
    for neighbour in &neighbours {
        set_answers(neighbour, &answers);
    }
    assert_eq!(own.address(), store.orders[0].address());
    let replica = store.run_order(1);
    let address = replica.address;
    let holds = spawn_blocking(move || {
        let config = ProptestConfig { max_shrink_iters: 64, ..ProptestConfig::with_cases(64) };
        proptest!(config, |(drawn in self::answers(), seen in count(), leads in any::<bool>())| {
            let drawn: HashMap<_, _> = drawn.into_iter().collect();
            let mut kept = answers.lock().expect("no handler panics");
            *kept = drawn;
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
    assert_answers(&replica, "/internal/status").await;
}

#[actix_web::test]
async fn a_front_end_survives_neighbours_that_answer_anything() {
    let store = Store::new();
    let answers = Answers::default();
    let [one, two, three] = &store.orders;
    let neighbours = [&store.catalog, one, two, three].map(Neighbour::at);
    for neighbour in &neighbours {
        set_answers(neighbour, &answers);
    }
    let frontend = store.run_frontend();
    let address = frontend.address;
    let holds = spawn_blocking(move || {
        let config = ProptestConfig { max_shrink_iters: 64, ..ProptestConfig::with_cases(64) };
        proptest!(config, |(drawn in self::answers(), name in "[A-Za-z]{1,5}|Tux")| {
            *answers.lock().expect("no handler panics") = drawn.into_iter().collect();
            // A purchase is asked again until its deadline, which is longer than a test may take.
            ask(address, "/orders", &json!({ "name": name, "quantity": 1 }));
            get(address, &format!("/products/{name}")).is_of_the_contract();
            get(address, "/products").is_of_the_contract();
            prop_assert_eq!(get(address, "/cluster").status, 200);
        });
    });
    holds.await.expect("it holds");
    assert_answers(&frontend, "/cluster").await;
}
