//! The roles' servers: they answer any request as the contract says, never with 500, and go on.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use actix_web::rt::task::spawn_blocking;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::json;
use toystore::wire::lease::{Registration, Renewal};
use toystore::wire::order::OrderNumber;
use toystore::wire::purchase::{Decision, Purchase, PurchaseReply};
use toystore::wire::replication::{Epoch, Nomination};

use crate::changes::{JsonChange, change, json_changes};
use crate::inputs::{
    acquisition, append_request, commit_request, count, fill_request, invalidation, leadership,
    name, purchase, purchase_body, session,
};
use crate::neighbours::of_frontend::Fixture;
use crate::neighbours::{Received, Reply, Store};
use crate::properties::http;

/// A request in HTTP.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    chunked: bool,
}

impl Request {
    fn new(method: &str, path: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        let (method, path, body) = (method.to_owned(), path.into(), body.into());
        Self { method, path, headers: Vec::new(), body, chunked: false }
    }

    fn json(path: impl Into<String>, json: &serde_json::Value) -> Self {
        let mut request = Self::new("POST", path, json.to_string());
        request.headers.push(("content-type".into(), b"application/json".to_vec()));
        request
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write!(bytes, "{} {} HTTP/1.1\r\nHost: store\r\n", self.method, self.path).expect("memory");
        let length = self.body.len();
        if self.chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        } else if length > 0 {
            write!(bytes, "Content-Length: {length}\r\n").expect("memory");
        }
        for (name, value) in &self.headers {
            bytes.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        if !self.chunked {
            bytes.extend_from_slice(&self.body);
            return bytes;
        }
        for chunk in self.body.chunks(97) {
            write!(bytes, "{:x}\r\n", chunk.len()).expect("memory");
            bytes.extend_from_slice(&[chunk, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }

    /// Sends it; the answer must be there, and be the contract's.
    fn is_answered(&self, address: SocketAddr) -> http::Answer {
        let answer = http::send(address, &self.bytes()).expect("what is HTTP is answered");
        if self.method == "HEAD" {
            assert!(answer.status < 500 || answer.status == 503, "{answer:?}");
        } else {
            answer.is_of_the_contract();
        }
        let mut ids = self.headers.iter().filter(|(name, _)| name == "x-request-id");
        let replied = answer.header("x-request-id").expect("every answer has an id");
        if let (Some((_, id)), None) = (ids.next(), ids.next())
            && id.iter().all(u8::is_ascii_graphic)
        {
            let sent = std::str::from_utf8(id).expect("ASCII");
            let is_usable = (1..=255).contains(&id.len());
            assert_eq!(replied == sent, is_usable, "{sent:?} was answered {replied:?}");
        }
        answer
    }
}

fn method() -> impl Strategy<Value = String> {
    let known =
        ["GET", "GET", "POST", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"];
    prop_oneof![
        4 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => "[A-Z]{3,9}".prop_filter("it has no path", |method| method != "CONNECT"),
    ]
}

/// Paths of all roles, whole, in part, and continued by anything.
fn path() -> impl Strategy<Value = String> {
    let known = [
        "/",
        "/products",
        "/products/",
        "/products/Tux",
        "/orders",
        "/orders/",
        "/orders/0",
        "/cluster",
        "/healthz",
        "/readyz",
        "/metrics",
        "/internal",
        "/internal/",
        "/internal/catalog-status",
        "/internal/toys",
        "/internal/toy",
        "/internal/register",
        "/internal/renew",
        "/internal/end",
        "/internal/commit",
        "/internal/acquire",
        "/internal/journal/0",
        "/internal/order/0",
        "/internal/status",
        "/internal/nominate",
        "/internal/leader",
        "/internal/purchase",
        "/internal/append",
        "/internal/rows/0",
        "/internal/invalidate",
        "/internal/purchase",
        "//orders",
        "/%6frders/0",
    ];
    let rest = prop_oneof![
        3 => Just(String::new()),
        1 => vec(any::<u8>(), 0..20)
            .prop_map(|bytes| percent_encode(&bytes, NON_ALPHANUMERIC).to_string()),
        1 => "[!$&-;=?-Z_a-z~%]{0,20}",
        1 => any::<u64>().prop_map(|number| number.to_string()),
    ];
    (proptest::sample::select(known.to_vec()), rest)
        .prop_map(|(path, rest)| path.to_owned() + &rest)
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let known = [
        "idempotency-key",
        "x-request-id",
        "content-type",
        "authorization",
        "accept",
        "cookie",
        "if-match",
        "te",
        "range",
        "x-frontend",
        "x-epoch",
        "connection",
        "origin",
    ];
    let name = prop_oneof![
        4 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => "x-[a-z-]{1,12}",
    ];
    let value = prop_oneof![
        "[!-~]{0,40}".prop_map(String::into_bytes),
        "[ -~\t]{0,40}".prop_map(String::into_bytes),
        vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..40),
        (200..300_usize).prop_map(|length| vec![b'k'; length]),
    ];
    vec((name, value), 0..4)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let json =
        (purchase_body(), json_changes(), any::<bool>()).prop_map(|(body, changes, valid)| {
            let mut json = json!(body);
            if !valid {
                change(&mut json, &changes);
            }
            json.to_string().into_bytes()
        });
    prop_oneof![
        2 => Just(Vec::new()),
        3 => json,
        1 => vec(any::<u8>(), 0..200),
        1 => (16_000..17_000_usize).prop_map(|length| vec![b' '; length]),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    (method(), path(), headers(), body(), any::<bool>()).prop_map(
        |(method, path, headers, body, chunked)| Request { method, path, headers, body, chunked },
    )
}

/// Bytes that begin like HTTP, or do not.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<proptest::sample::Index>(), any::<u8>(), 0..3_u8);
    let garbled = (request(), vec(change, 1..6)).prop_map(|(request, changes)| {
        let mut bytes = request.bytes();
        for (place, byte, kind) in changes {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => bytes.truncate(place.max(1)),
            }
        }
        bytes
    });
    prop_oneof![3 => garbled, 1 => vec(any::<u8>(), 0..300)]
}

/// What one role tells another, with a change or two or none.
fn message() -> impl Strategy<Value = Request> {
    fn to(
        path: &'static str,
        body: impl Strategy<Value = impl serde::Serialize + std::fmt::Debug>,
    ) -> impl Strategy<Value = (&'static str, serde_json::Value)> {
        body.prop_map(move |body| (path, json!(body)))
    }
    let registration = (0..3_u32, option::of(session()))
        .prop_map(|(frontend, previous)| Registration { frontend, previous });
    let message = prop_oneof![
        to("toy", fill_request()),
        to("register", registration),
        to("renew", session().prop_map(|session| Renewal { session })),
        to("end", session().prop_map(|session| Renewal { session })),
        to("commit", commit_request()),
        to("acquire", acquisition()),
        to("nominate", count().prop_map(|epoch| Nomination { seen: Epoch(epoch) })),
        to("leader", leadership()),
        to("purchase", purchase()),
        to("append", append_request()),
        to("invalidate", invalidation()),
    ];
    (message, option::of(json_changes())).prop_map(
        |((topic, mut json), changes): (_, Option<Vec<JsonChange>>)| {
            change(&mut json, &changes.unwrap_or_default());
            Request::json(format!("/internal/{topic}"), &json)
        },
    )
}

/// Sends a server all of that.
fn try_everything(address: SocketAddr) {
    proptest!(|(request in request())| {
        request.is_answered(address);
    });
    proptest!(|(message in message())| {
        message.is_answered(address);
    });
    proptest!(|(noise in noise())| {
        http::bytes(address, &noise);
    });
    http::lives(address);
}

#[actix_web::test]
async fn a_catalog_answers_any_request_and_goes_on() {
    let catalog = Store::new().run_catalog().ready().await;
    let address = catalog.address;
    spawn_blocking(move || try_everything(address)).await.expect("it holds");
    catalog.stop().await;
}

#[actix_web::test]
async fn a_replica_answers_any_request_and_goes_on() {
    let replica = Store::new().run_order(1);
    let address = replica.address;
    spawn_blocking(move || try_everything(address)).await.expect("it holds");
    replica.stop().await;
}

#[actix_web::test]
async fn a_front_end_answers_any_request_and_goes_on() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    spawn_blocking(move || try_everything(address)).await.expect("it holds");
    assert_eq!(fixture.frontend.get("/readyz").await.status, 200);
}

#[actix_web::test]
async fn a_purchase_reaches_the_leader_as_it_was_sent() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let received: Arc<Mutex<Vec<Received>>> = Arc::default();
    let record = Arc::clone(&received);
    fixture.replica(3).on("purchase", move |message| {
        record.lock().expect("no handler panics").push(message.clone());
        Reply::data(PurchaseReply::Decided(Decision::Granted(OrderNumber(7))))
    });
    let sent = (purchase_body(), option::of("[!-~]{1,255}"), option::of("[!-~]{1,255}"));
    let holds = spawn_blocking(move || {
        proptest!(|((body, key, id) in sent)| {
            received.lock().expect("no handler panics").clear();
            let mut request = Request::json("/orders", &json!(body));
            for (name, value) in [("idempotency-key", &key), ("x-request-id", &id)] {
                let header = value.as_ref().map(|value| (name.into(), value.clone().into_bytes()));
                request.headers.extend(header);
            }
            let answer = request.is_answered(address);
            let received = received.lock().expect("no handler panics");
            if body.name.as_str().len() > 1_000 {
                prop_assert_eq!((answer.status, received.len()), (404, 0));
            } else {
                prop_assert_eq!(answer.status, 200);
                let message = received.last().expect("it is passed on");
                let purchase: Purchase = message.read();
                let request_id = message.headers.get("x-request-id").cloned();
                prop_assert_eq!(&purchase.name, &body.name);
                prop_assert_eq!(purchase.quantity, body.quantity);
                prop_assert_eq!(request_id.as_deref(), answer.header("x-request-id"));
                prop_assert!(id.is_none() || request_id == id);
                match key {
                    Some(key) => prop_assert_eq!(purchase.key.to_string(), format!("client:{key}")),
                    None => prop_assert!(purchase.key.as_str().starts_with("random:")),
                }
            }
        });
    });
    holds.await.expect("it holds");
}

#[actix_web::test]
async fn a_toy_of_any_name_is_found_however_its_name_is_encoded() {
    let store = Store { cache_enabled: false, ..Store::new() };
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    // A catalog that has every toy there is.
    fixture.catalog.on("toy", |message| {
        let asked: toystore::wire::lease::FillRequest = message.read();
        let toy = json!({ "name": asked.name, "price": 1.0, "quantity": 1 });
        Reply::data(json!({ "found": { "toy": toy, "version": 0, "cacheable_under": null } }))
    });
    let holds = spawn_blocking(move || {
        proptest!(|(name in name(), plain in vec(any::<bool>(), 200))| {
            // What may stand in a path as it is (RFC 3986, 3.3) is encoded or not, but for a slash
            // at the end, which would change nothing.
            use std::fmt::Write as _;
            let mut path = String::from("/products/");
            prop_assume!(!name.as_str().is_empty(), "that is the path of all toys");
            let last = name.as_str().len() - 1;
            let letters = name.as_str().bytes().enumerate();
            for ((place, byte), plain) in letters.zip(plain.into_iter().cycle()) {
                let ends = place == last && byte == b'/';
                let allowed = b"-._~!$&'()*+,;=:@/".contains(&byte) && !ends;
                if plain && (allowed || byte.is_ascii_alphanumeric()) {
                    path.push(byte.into());
                } else {
                    write!(path, "%{byte:02X}").expect("memory");
                }
            }
            let answer = Request::new("GET", path.clone(), "").is_answered(address);
            let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            prop_assert_eq!(json["data"]["name"].as_str(), Some(name.as_str()), "{}", path);
        });
    });
    holds.await.expect("it holds");
}

#[actix_web::test]
async fn an_order_s_number_is_digits_and_nothing_else() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let holds = spawn_blocking(move || {
        let text = prop_oneof!["[0-9]{1,30}", "[0-9+.e_-]{1,8}", "[!$&-.0-9=@-Z]{1,8}"];
        proptest!(|(number in text)| {
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            let answer = Request::new("GET", format!("/orders/{number}"), "").is_answered(address);
            let status = if digits { 404 } else { 400 };
            prop_assert_eq!(answer.status, status, "{}", number);
        });
    });
    holds.await.expect("it holds");
}

#[actix_web::test]
async fn a_path_may_be_encoded_where_it_need_not_be() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    for (path, status) in [
        ("/%70roducts/Tux", 200),
        ("/products/%54ux", 200),
        ("/%6frders/0", 404),
        ("/orders%2F0", 404),
        ("/products%2FTux", 404),
    ] {
        let answer = spawn_blocking(move || Request::new("GET", path, "").is_answered(address));
        assert_eq!(answer.await.expect("it holds").status, status, "{path}");
    }
}

#[actix_web::test]
async fn what_the_framework_answers_by_itself_has_the_contract_s_shape() {
    let catalog = Store::new().run_catalog().ready().await;
    let replica = Store::new().run_order(1);
    let purchase = json!({ "key": "client:k", "name": "Tux", "quantity": 1, "within_ms": 10 });
    for (role, request, status) in [
        (&*catalog, Request::new("DELETE", "/internal/catalog-status", ""), 405),
        (&*catalog, Request::new("POST", "/internal/commit", "{}"), 400),
        (&*replica, Request::json("/internal/purchase", &json!({ "within_ms": "soon" })), 400),
        (&*replica, Request::json("/internal/purchase", &purchase), 200),
        (&*replica, Request::new("GET", "/internal/rows/x", ""), 404),
    ] {
        let (address, shown) = (role.address, format!("{request:?}"));
        let answer = spawn_blocking(move || request.is_answered(address));
        assert_eq!(answer.await.expect("it holds").status, status, "{shown}");
    }
}

#[actix_web::test]
async fn numbers_that_no_database_holds_are_refused_and_end_nothing() {
    let catalog = Store::new().run_catalog().ready().await;
    let replica = Store::new().run_order(1);
    let huge = u64::MAX;
    let position = json!({ "length": huge, "chain": "0".repeat(32) });
    let start = json!({ "length": 0, "chain": "0".repeat(32) });
    let session = json!({ "boot": huge, "serial": huge });
    let order = json!({ "number": huge, "name": "Tux", "quantity": 1 });
    for (role, topic, body) in [
        (&*catalog, "end", json!({ "session": session })),
        (&*catalog, "register", json!({ "frontend": 1, "previous": session })),
        (&*catalog, "acquire", json!({ "nominee": 1, "seen": huge, "log": start })),
        (&*replica, "leader", json!({ "epoch": huge, "leader": 1 })),
        (
            &*replica,
            "append",
            json!({
                "leadership": { "epoch": 1, "leader": 2 },
                "rows": { "after": position, "orders": [order] },
                "leader_length": 1,
            }),
        ),
    ] {
        let answer = role.post(&format!("/internal/{topic}"), body).await;
        assert_eq!(answer.error().0, 400, "{topic}");
        assert_eq!(role.get("/healthz").await.status, 200, "{topic}");
    }
    assert_eq!(catalog.get("/internal/catalog-status").await.status, 200);
}
