//! Spans are sent to a collector by OTLP over HTTP, if `roles.toml` names one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;

use crate::eventually::{TIME_LIMIT, eventually};
use crate::processes::{Cluster, Settings};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

/// A collector that takes what comes at `/v1/traces`.
struct Collector {
    address: String,
    bodies: Receiver<Value>,
}

/// A span that came, with the name of its role.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    role: String,
    name: String,
    id: String,
    parent: Option<String>,
}

impl Collector {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (sender, bodies) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || take_all(stream, &sender));
            }
        });
        Self { address, bodies }
    }

    /// The spans of a trace, among all that came so far.
    fn spans(&self, trace: &str, kept: &mut Vec<Value>) -> Vec<Sent> {
        kept.extend(self.bodies.try_iter());
        let mut spans = Vec::new();
        for resource in kept.iter().filter_map(|body| body["resourceSpans"].as_array()).flatten() {
            let role = &resource["resource"]["attributes"][0]["value"]["stringValue"];
            let own = resource["scopeSpans"][0]["spans"].as_array().expect("spans");
            let own = own.iter().filter(|span| span["traceId"] == trace);
            spans.extend(own.map(|span| Sent {
                role: text(role),
                name: text(&span["name"]),
                id: text(&span["spanId"]),
                parent: span["parentSpanId"].as_str().map(str::to_owned),
            }));
        }
        spans
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// Takes the requests of a connection, and answers each as a collector does.
fn take_all(stream: TcpStream, sender: &Sender<Value>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or_default() == 0 {
                return;
            }
        }
        let head = head.to_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
        let length = head.split("content-length: ").nth(1).expect("it has a length");
        let length = length.split("\r\n").next().and_then(|it| it.parse().ok()).expect("a number");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the whole body comes");
        let body = serde_json::from_slice(&body).expect("the body is JSON");
        if sender.send(body).is_err() {
            return;
        }
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        reader.get_mut().write_all(answer.as_bytes()).expect("the front-end waits for the answer");
    }
}

/// A store whose `roles.toml` has this in `[trace]`.
async fn store_with(trace: &str) -> Cluster {
    let mut cluster = Cluster::prepare(Settings::default());
    let text = std::fs::read_to_string(cluster.roles()).expect("it was written");
    std::fs::write(cluster.roles(), format!("{text}\n[trace]\n{trace}\n")).expect("it can be");
    cluster.start_everything().await;
    cluster
}

async fn buy_in_trace(address: &str) -> u16 {
    let request = awc::Client::default().post(format!("http://{address}/orders"));
    let parent = format!("00-{TRACE}-{CLIENT_SPAN}-01");
    let request = request.insert_header(("traceparent", parent)).timeout(TIME_LIMIT);
    let body = r#"{"name":"Tux","quantity":1}"#;
    request.send_body(body).await.expect("an answer").status().as_u16()
}

#[actix_web::test]
async fn a_purchase_is_sent_as_spans_of_all_roles_below_the_clients_own() {
    let collector = Collector::open();
    let cluster = store_with(&format!("otlp = \"http://{}\"", collector.address)).await;
    assert_eq!(buy_in_trace(&cluster.frontends[0]).await, 200);
    let mut kept = Vec::new();
    let spans = eventually("the spans come", async || {
        let spans = collector.spans(TRACE, &mut kept);
        (!spans.is_empty()).then_some(spans)
    })
    .await;
    let leader = &*cluster.leader().await;
    let find = |role: &str, name: &str| {
        let found = spans.iter().find(|span| (&*span.role, &*span.name) == (role, name));
        found.unwrap_or_else(|| unreachable!("{role} has no {name} in {spans:?}")).clone()
    };
    let asked = find("frontend", "POST /orders");
    assert_eq!(asked.parent.as_deref(), Some(CLIENT_SPAN), "the client's own span is around it");
    let called = find("frontend", "purchase");
    assert_eq!(called.parent.as_ref(), Some(&asked.id));
    let served = find(leader, "purchase");
    assert_eq!(served.parent.as_ref(), Some(&called.id));
    let committed = find("catalog", "commit");
    assert_eq!(committed.parent, Some(find(leader, "commit").id));
    assert!(spans.iter().all(|span| span.role != "client"), "a client sends its own: {spans:?}");
    let ids = spans.iter().map(|span| &span.id).collect::<std::collections::HashSet<_>>();
    assert_eq!(ids.len(), spans.len(), "each comes once");
}

#[actix_web::test]
async fn a_collector_that_is_away_costs_one_line_in_the_log_and_nothing_else() {
    let away = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = away.local_addr().expect("it is bound").to_string();
    drop(away);
    let cluster = store_with(&format!("otlp = \"http://{address}\"")).await;
    let told = || cluster.log("frontend").matches("spans cannot be sent").count();
    for _ in 0..3 {
        assert_eq!(buy_in_trace(&cluster.frontends[0]).await, 200);
    }
    eventually("it is told", async || (told() > 0).then_some(())).await;
    assert_eq!(buy_in_trace(&cluster.frontends[0]).await, 200);
    assert_eq!(told(), 1);
}
