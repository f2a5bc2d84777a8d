//! Whatever other processes say, honest clients are served: after any messages on the internal
//! paths, a purchase succeeds, now and after a restart of all roles.

use std::time::Duration;

use actix_web::rt::task::spawn_blocking;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use toystore::wire::count::LARGEST;
use toystore::wire::order::{Order, OrderNumber, Position};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::{CatalogReport, ReplicaStatus};
use toystore::wire::reply::Data;

use crate::eventually::eventually;
use crate::neighbours::{CatalogRole, FrontendRole, OrderRole, Running, Store};
use crate::properties::http;

/// A number as a stranger would choose it: what is true, something near it, or an extreme.
#[derive(Clone, Copy, Debug)]
enum Number {
    True,
    Next,
    Beyond(u16),
    Largest,
    Zero,
}

/// A message of a stranger, who knows the store's state.
#[derive(Clone, Debug)]
struct Hostile {
    kind: u8,
    replica: u32,
    epoch: Number,
    length: Number,
    rows: u8,
    /// The role that it is sent to: the catalog, the front-end, or a replica.
    door: u8,
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        3 => Just(Number::True),
        2 => Just(Number::Next),
        2 => (2..u16::MAX).prop_map(Number::Beyond),
        2 => Just(Number::Largest),
        1 => Just(Number::Zero),
    ]
}

fn hostile() -> impl Strategy<Value = Hostile> {
    (0..12_u8, 0..5_u32, number(), number(), 0..3_u8, 0..5_u8).prop_map(
        |(kind, replica, epoch, length, rows, door)| Hostile {
            kind,
            replica,
            epoch,
            length,
            rows,
            door,
        },
    )
}

impl Number {
    fn near(self, truth: u64) -> u64 {
        match self {
            Self::True => truth,
            Self::Next => truth + 1,
            Self::Beyond(more) => truth + u64::from(more),
            Self::Largest => LARGEST,
            Self::Zero => 0,
        }
    }
}

impl Hostile {
    /// The path and the body, in a store whose journal and epoch are these.
    fn in_state(&self, report: &CatalogReport) -> (&'static str, Value) {
        let status = report.status;
        let epoch = self.epoch.near(status.leadership.epoch.0);
        let length = self.length.near(status.journal.length);
        let chain = if length == 0 { Position::START.chain } else { status.journal.chain };
        let position = json!({ "length": length, "chain": chain });
        let leadership = json!({ "epoch": epoch, "leader": self.replica });
        let forged = |number| Order {
            number: OrderNumber(number),
            name: "Tux".into(),
            quantity: Quantity::ONE,
            key: Some(format!("client:forged-{number}").into()),
        };
        let numbers = length..length.saturating_add(self.rows.into());
        let orders: Vec<Order> = numbers.map(forged).collect();
        let rows = json!({ "after": position, "orders": orders });
        let session = json!({ "boot": report.boot.unwrap_or(0), "serial": self.epoch.near(0) });
        let forgotten = json!({ "boot": 0, "serial": 0 });
        match self.kind {
            0 => ("leader", leadership),
            1 => ("nominate", json!({ "seen": epoch })),
            2 | 3 => (
                "append",
                json!({ "leadership": leadership, "rows": rows, "leader_length": length }),
            ),
            4 => ("acquire", json!({ "nominee": self.replica, "seen": epoch, "log": position })),
            5 => ("report", json!({ "own": [self.replica, position] })),
            6 => ("report", json!({ "relayed": [[self.replica, position]] })),
            7 => (
                "commit",
                json!({
                    "leader": self.replica, "epoch": epoch, "log": position,
                    "purchases": [{ "key": "client:hostile", "name": "Uno", "quantity": 1 }],
                }),
            ),
            8 => ("end", json!({ "session": forgotten })),
            9 => ("register", json!({ "frontend": 1, "previous": session })),
            10 => (
                "purchase",
                json!({ "key": "client:x", "name": "Uno", "quantity": LARGEST, "within_ms": 1,
                        "boot": epoch }),
            ),
            _ => ("invalidate", json!({ "session": session, "toys": [["Tux", epoch]] })),
        }
    }
}

/// All roles of a store.
struct Roles {
    frontend: Running<FrontendRole>,
    catalog: Running<CatalogRole>,
    replicas: Vec<Running<OrderRole>>,
}

impl Roles {
    async fn start(store: &Store) -> Self {
        let catalog = store.run_catalog().ready().await;
        let replicas: Vec<_> = (1..=3).map(|id| store.run_order(id)).collect();
        let frontend = store.run_frontend();
        eventually("the store is open", async || frontend.get("/readyz").await.status == 200).await;
        Self { frontend, catalog, replicas }
    }

    async fn stop(self) {
        self.frontend.stop().await;
        for replica in self.replicas {
            replica.stop().await;
        }
        self.catalog.stop().await;
    }
}

fn post(address: std::net::SocketAddr, topic: &str, body: &Value) {
    let body = body.to_string();
    let head = format!("POST /internal/{topic} HTTP/1.1\r\nHost: store\r\n");
    let head = format!("{head}Content-Type: application/json\r\nContent-Length: {}", body.len());
    // Any answer will do, also none in time.
    let _answer = http::send(address, format!("{head}\r\n\r\n{body}").as_bytes());
}

fn read<T: serde::de::DeserializeOwned>(address: std::net::SocketAddr, path: &str) -> T {
    let request = format!("GET {path} HTTP/1.1\r\nHost: store\r\n\r\n");
    let answer = http::send(address, request.as_bytes()).expect("it answers");
    serde_json::from_slice::<Data<T>>(&answer.body).expect("what was asked for").data
}

/// Buys; a client retries a 503 under its key for some seconds.
fn buy(frontend: std::net::SocketAddr, key: &str) -> u64 {
    let body = r#"{"name":"Tux","quantity":1}"#;
    let request = format!(
        "POST /orders HTTP/1.1\r\nHost: store\r\nIdempotency-Key: {key}\r\nContent-Length: {}\r\n\
         \r\n{body}",
        body.len()
    );
    let deadline = toystore::clock::now() + Duration::from_secs(40);
    loop {
        let answer = http::send(frontend, request.as_bytes()).expect("it answers");
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        if answer.status == 200 {
            return json["data"]["order_number"].as_u64().expect("a number");
        }
        assert_eq!(answer.status, 503, "{json}");
        assert!(toystore::clock::now() < deadline, "an honest purchase is refused: {json}");
    }
}

#[actix_web::test]
async fn after_any_messages_of_strangers_an_honest_purchase_succeeds() {
    let store = Store { initial_stock: 100_000, ..Store::new() };
    let roles = Roles::start(&store).await;
    let (frontend, catalog) = (roles.frontend.address, roles.catalog.address);
    let replicas: Vec<_> = roles.replicas.iter().map(|replica| replica.address).collect();
    let tried = spawn_blocking(move || {
        let bought = std::cell::Cell::new(0_u64);
        buy(frontend, "first");
        let cases = ProptestConfig { cases: 24, max_shrink_iters: 20, ..ProptestConfig::default() };
        proptest!(cases, |(messages in vec(hostile(), 1..10))| {
            for message in &messages {
                let report: CatalogReport = read(catalog, "/internal/catalog-status");
                let (topic, body) = message.in_state(&report);
                let doors = [catalog, frontend, replicas[0], replicas[1], replicas[2]];
                post(doors[usize::from(message.door)], topic, &body);
                // Where it does harm, if it does.
                match topic {
                    "leader" | "nominate" | "append" | "purchase" => {
                        post(replicas[message.replica as usize % 3], topic, &body);
                    }
                    "invalidate" => post(frontend, topic, &body),
                    _ => post(catalog, topic, &body),
                }
            }
            bought.set(bought.get() + 1);
            buy(frontend, &format!("honest-{}", bought.get()));
        });
        // No replica keeps what was never sold: it is set aside after its next report.
        let deadline = toystore::clock::now() + Duration::from_secs(20);
        for replica in replicas {
            loop {
                let status: ReplicaStatus = read(replica, "/internal/status");
                let report: CatalogReport = read(catalog, "/internal/catalog-status");
                if status.log.length <= report.status.journal.length {
                    break;
                }
                assert!(toystore::clock::now() < deadline, "{status:?} of {report:?}");
            }
        }
    });
    tried.await.expect("it holds");
    roles.stop().await;

    let roles = Roles::start(&store).await;
    let frontend = roles.frontend.address;
    spawn_blocking(move || buy(frontend, "after-a-restart")).await.expect("nothing of it was kept");
    roles.stop().await;
}
