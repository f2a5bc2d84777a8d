//! HTTP as clients and proxies speak it: what the contract says of methods, paths, headers and
//! connections, tried with bytes on a socket, since libraries tidy up what they send.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use actix_web::rt::task::spawn_blocking;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use toystore::wire::purchase::Purchase;

use crate::eventually::eventually;
use crate::neighbours::of_frontend::{Fixture, Neighbours};
use crate::neighbours::{Received, Store};

const ORDER: &str = r#"{"name":"Tux","quantity":1}"#;
/// Longer than any reply takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A reply as it came.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The error, which has the shape that every error has.
    fn is_error(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        let json: Value = serde_json::from_str(&self.body).expect("an error is JSON");
        assert_eq!(json["error"]["code"], status, "{self:?}");
        assert!(json["error"]["message"].is_string() && json["error"][0].is_null(), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "{self:?}");
    }
}

/// Sends bytes and reads this many replies; `None` reads to the end of the connection, which the
/// server has to close.
async fn exchange(
    address: SocketAddr,
    sent: impl Into<Vec<u8>>,
    count: impl Into<Option<usize>>,
) -> Vec<Reply> {
    let (sent, count) = (sent.into(), count.into());
    let exchange = spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout");
        stream.write_all(&sent).expect("it reads");
        let (mut read, mut chunk) = (Vec::new(), [0; 4_096]);
        loop {
            let replies = replies(&String::from_utf8_lossy(&read));
            if count.is_some_and(|count| replies.len() >= count) {
                return replies;
            }
            match stream.read(&mut chunk).expect("it answers") {
                0 => {
                    assert!(count.is_none(), "it closed after {replies:?}");
                    return replies;
                }
                length => read.extend_from_slice(&chunk[..length]),
            }
        }
    });
    exchange.await.expect("no panic")
}

/// Sends one request and reads its reply.
async fn ask(address: SocketAddr, sent: impl Into<Vec<u8>>) -> Reply {
    exchange(address, sent, 1).await.remove(0)
}

fn replies(mut text: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some((head, rest)) = text.split_once("\r\n\r\n") {
        let status = head.get(9..12).and_then(|code| code.parse().ok()).expect("a status line");
        let mut reply = Reply { status, head: head.to_owned(), body: String::new() };
        let length = reply.header("content-length").map_or(0, |n| n.parse().expect("a length"));
        let Some(body) = rest.get(..length) else { break };
        body.clone_into(&mut reply.body);
        text = &rest[length..];
        replies.push(reply);
    }
    replies
}

fn request(method: &str, path: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().flat_map(|header| [*header, "\r\n"]).collect();
    format!("{method} {path} HTTP/1.1\r\nHost: store\r\n{headers}\r\n")
}

fn post(body: &str, headers: &[&str]) -> String {
    let length = format!("Content-Length: {}", body.len());
    request("POST", "/orders", &[headers, &[&length]].concat()) + body
}

fn post_in_chunks(body: &str, headers: &[&str]) -> String {
    let (first, second) = body.split_at(body.len() / 2);
    let chunks = [first, second].map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    let head = request("POST", "/orders", &[headers, &["Transfer-Encoding: chunked"][..]].concat());
    head + &chunks.concat() + "0\r\n\r\n"
}

#[actix_web::test]
async fn an_upgrade_is_ignored_and_the_connection_stays_open() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    // Java's HttpClient sends these with every request.
    let java = ["Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAEAAE", "Upgrade: h2c"];
    let websocket = ["Connection: Upgrade", "Upgrade: websocket"];
    let mut sent = String::new();
    for headers in [&java[..], &websocket[..]] {
        sent += &request("GET", "/products/Tux", headers);
        sent += &post(ORDER, headers);
        sent += &post_in_chunks(ORDER, headers);
    }
    for reply in exchange(fixture.frontend.address, sent, 6).await {
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!((reply.header("connection"), reply.header("upgrade")), (None, None));
    }
    assert_eq!(fixture.state().journal.len(), 4);
}

#[actix_web::test]
async fn a_body_that_reads_like_an_upgrade_is_left_as_it_is() {
    let name = "\nUpgrade: websocket";
    let escaped = "Upgrade: websocket";
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let body = format!(r#"{{"name":"{escaped}","quantity":1}}"#);
    // The chunk begins with what would be a header.
    let (first, second) = body.split_at(body.find(escaped).expect("it is there"));
    let chunks = [first, second].map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    let chunked = request("POST", "/orders", &["Transfer-Encoding: chunked"]);
    let chunked = chunked + &chunks.concat() + "0\r\n\r\n";
    ask(fixture.frontend.address, chunked).await.is_error(404);
    let received: Purchase = fixture.replica(3).received("purchase")[0].read();
    assert_eq!(received.name.as_str(), name.trim());
}

#[actix_web::test]
async fn what_the_parser_refuses_is_an_error_like_every_other_at_every_role() {
    let store = Store::new();
    let catalog = store.run_catalog().ready().await;
    let replica = store.run_order(1);
    let frontend = store.run_frontend();
    let many: Vec<String> = (0..120).map(|number| format!("X-{number}: 1")).collect();
    for (what, sent, status) in [
        ("no Host", "GET /readyz HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("two Hosts", request("GET", "/readyz", &["Host: other"]), 400),
        ("raw UTF-8", request("GET", "/products/Größe", &[]), 400),
        ("a space", request("GET", "/products/Yo Yo", &[]), 400),
        ("a long target", request("GET", &format!("/{}", "x".repeat(70_000)), &[]), 400),
        ("many headers", request("GET", "/", &[&many.join("\r\n")]), 431),
        ("large headers", request("GET", "/", &[&format!("X: {}", "x".repeat(200_000))]), 431),
        ("no number", request("POST", "/orders", &["Content-Length: x"]), 400),
        ("two lengths", request("POST", "/", &["Content-Length: 1", "Content-Length: 2"]), 400),
        ("no length", "POST /orders HTTP/1.0\r\n\r\n".to_owned(), 400),
        ("no HTTP", "hello\r\n\r\n".to_owned(), 400),
    ] {
        for role in [&*frontend, &*catalog, &*replica] {
            let replies = exchange(role.address, sent.clone(), None).await;
            assert_eq!(replies.len(), 1, "{what}: {replies:?}");
            replies[0].is_error(status);
            assert_eq!(replies[0].header("connection"), Some("close"), "{what}");
        }
    }
    // Answers to earlier requests come first.
    let both = request("GET", "/healthz", &[]) + "GET / HTTP/1.1\r\n\r\n";
    let replies = exchange(frontend.address, both, None).await;
    assert_eq!(replies[0].status, 200);
    replies[1].is_error(400);
    // A head that does not end is waited for, and then refused.
    exchange(frontend.address, "GET /readyz HT", None).await[0].is_error(408);
}

#[actix_web::test]
async fn what_is_refused_before_its_head_is_whole_repeats_what_was_read_of_it() {
    let store = Store::new();
    let frontend = store.run_frontend();
    let sent = "POST /orders HTTP/1.1\r\nX-Request-Id: trace-8\r\nidempotency-key: mine\r\nHost";
    let large = format!("{sent}: {}", "h".repeat(40 << 10));
    for (sent, status) in [(sent.to_owned(), 408), (large, 431)] {
        let reply = exchange(frontend.address, sent, None).await.remove(0);
        reply.is_error(status);
        assert_eq!(reply.header("x-request-id"), Some("trace-8"), "{reply:?}");
        assert_eq!(reply.header("idempotency-key"), Some("mine"), "{reply:?}");
    }
    let sent = "POST /orders HTTP/1.1\r\nX-Request-Id: tra";
    let reply = exchange(frontend.address, sent, None).await.remove(0);
    reply.is_error(408);
    assert_ne!(reply.header("x-request-id"), Some("tra"), "it may go on");
    assert!(reply.header("idempotency-key").is_some(), "{reply:?}");
}

#[actix_web::test]
async fn every_role_answers_errors_in_the_same_shape() {
    let store = Store::new();
    let catalog = store.run_catalog().ready().await;
    let replica = store.run_order(1);
    let frontend = store.run_frontend();
    for role in [&*frontend, &*catalog, &*replica] {
        for path in ["/nothing", "/internal", "/internal/nothing", "///", "/readyz/x"] {
            for method in ["GET", "POST", "OPTIONS"] {
                ask(role.address, request(method, path, &[])).await.is_error(404);
            }
        }
        let reply = ask(role.address, request("DELETE", "/readyz", &[])).await;
        reply.is_error(405);
        assert_eq!(reply.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    for (role, path, allow) in [
        (&*catalog, "/internal/toys", "GET, HEAD, OPTIONS"),
        (&*catalog, "/internal/commit", "POST, OPTIONS"),
        (&*replica, "/internal/rows/0", "GET, HEAD, OPTIONS"),
        (&*frontend, "/internal/invalidate", "POST, OPTIONS"),
    ] {
        let reply = ask(role.address, request("DELETE", path, &[])).await;
        reply.is_error(405);
        assert_eq!(reply.header("allow"), Some(allow), "{path}");
        assert_eq!(ask(role.address, request("OPTIONS", path, &[])).await.status, 204, "{path}");
    }
}

#[actix_web::test]
async fn allow_names_every_method_that_works_and_options_tells_it() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    fixture.buy("Tux").await;
    for path in [
        "/",
        "/page/app.js",
        "/products",
        "/products/Tux",
        "/orders",
        "/orders/0",
        "/cluster",
        "/healthz",
        "/readyz",
    ] {
        let options = ask(address, request("OPTIONS", path, &[])).await;
        assert_eq!((options.status, options.body.as_str()), (204, ""), "{path}");
        assert_eq!(options.header("content-length"), None, "{path}");
        let allow: Vec<&str> = options.header("allow").expect("it is told").split(", ").collect();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let reply = ask(address, request(method, path, &[])).await;
            assert_eq!(reply.status != 405, allow.contains(&method), "{method} {path}");
            if reply.status == 405 {
                assert_eq!(reply.header("allow"), options.header("allow"), "{method} {path}");
            }
        }
        // What HEAD answers is in `requests.rs`: `replies` would wait for its body.
        assert_eq!(allow.contains(&"HEAD"), allow.contains(&"GET"), "{path}");
    }
}

#[actix_web::test]
async fn one_trailing_slash_changes_nothing() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    fixture.buy("Tux").await;
    for path in [
        "/products",
        "/products/Tux",
        "/products/none",
        "/orders",
        "/orders/0",
        "/orders/x",
        "/cluster",
        "/healthz",
        "/readyz",
        "/page/app.js",
        "/nothing",
    ] {
        for query in ["", "?a=b/"] {
            let plain = ask(address, request("GET", &format!("{path}{query}"), &[])).await;
            let slash = ask(address, request("GET", &format!("{path}/{query}"), &[])).await;
            assert_eq!(plain.status, slash.status, "{path}{query}");
            if path != "/cluster" {
                assert_eq!(plain.body, slash.body, "{path}{query}");
            }
        }
    }
    let bought = post(ORDER, &[]).replace("/orders ", "/orders/ ");
    assert_eq!(ask(address, bought).await.body, r#"{"data":{"order_number":1}}"#);
    for path in ["/products//", "/products/Tux//", "/products/Tux%2F"] {
        ask(address, request("GET", path, &[])).await.is_error(404);
    }
}

#[actix_web::test]
async fn an_order_s_number_is_percent_decoded() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.buy("Tux").await;
    for (number, status) in
        [("%30", 200), ("%300", 200), ("%31", 404), ("%2530", 400), ("%2B0", 400), ("%FF", 400)]
    {
        let path = format!("/orders/{number}");
        let reply = ask(fixture.frontend.address, request("GET", &path, &[])).await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
    }
}

#[actix_web::test]
async fn no_cache_in_between_may_keep_products_orders_and_errors() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let mut sent = vec![post(ORDER, &[]), post("{}", &[]), request("PUT", "/orders", &[])];
    for path in ["/products", "/products/Tux", "/products/Tux", "/products/none", "/orders/0"] {
        sent.push(request("GET", path, &[]));
    }
    for sent in sent {
        let reply = ask(address, sent).await;
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
    }
}

#[actix_web::test]
async fn where_no_cache_is_configured_the_header_and_the_cluster_say_so() {
    let store = Store { cache_enabled: false, ..Store::new() };
    let fixture = Fixture::ready(&store).await;
    for path in ["/products/Tux", "/products/Tux", "/products"] {
        let reply = ask(fixture.frontend.address, request("GET", path, &[])).await;
        assert_eq!(reply.header("x-cache"), Some("off"), "{path}");
    }
    assert_eq!(fixture.cluster().await["cache"]["enabled"], false);
}

#[actix_web::test]
async fn every_reply_carries_a_request_id_and_a_fresh_one_where_none_is_usable() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let ask = async |sent: String| {
        let reply = ask(address, sent).await;
        reply.header("x-request-id").expect("every reply has one").to_owned()
    };
    let mut seen = Vec::new();
    for header in
        ["X: y", "X-Request-Id:", &format!("X-Request-Id: {}", "k".repeat(256)), "X-Request-Id: ä"]
    {
        for path in ["/products/Tux", "/orders/7", "/nothing", "/healthz", "/cluster"] {
            seen.push(ask(request("GET", path, &[header])).await);
        }
        seen.push(ask(post(ORDER, &[header])).await);
        let bought = fixture.replica(3).received("purchase");
        let passed = bought.last().expect("it was passed on").headers.get("x-request-id");
        assert_eq!(passed, seen.last(), "the drawn id goes along");
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "each is fresh");
    assert!(seen.iter().all(|id| id.len() == 16), "{seen:?}");
    let longest = "k".repeat(255);
    for usable in ["trace-7", "a b", longest.as_str()] {
        let header = format!("X-Request-Id: {usable}");
        assert_eq!(ask(request("GET", "/products/Tux", &[&header])).await, usable);
        assert_eq!(ask(post(ORDER, &[&header])).await, usable);
    }
}

#[actix_web::test]
async fn every_reply_to_a_purchase_carries_its_key() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let large = format!("{ORDER}{}", " ".repeat(20_000));
    for (body, status, header) in [
        (ORDER, 200, "A: b"),
        ("{}", 400, "A: b"),
        (r#"{"name":"none","quantity":1}"#, 404, "A: b"),
        (r#"{"name":"Tux","quantity":1000}"#, 409, "A: b"),
        (&large, 413, "A: b"),
        (ORDER, 403, "Origin: http://other.example"),
    ] {
        let key = format!("mine-{status}");
        let reply = ask(address, post(body, &[header, &format!("Idempotency-Key: {key}")])).await;
        assert_eq!((reply.status, reply.header("idempotency-key")), (status, Some(key.as_str())));
        let reply = ask(address, post(body, &[header])).await;
        assert_eq!(reply.status, status);
        assert!(reply.header("idempotency-key").is_some_and(|key| key.len() > 32), "{reply:?}");
    }
    let other =
        ask(address, post(r#"{"name":"Uno","quantity":1}"#, &["Idempotency-Key: mine-200"]));
    let other = other.await;
    assert_eq!((other.status, other.header("idempotency-key")), (422, Some("mine-200")));
}

#[actix_web::test]
async fn a_key_that_was_drawn_is_the_same_purchase_when_the_client_sends_it() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let first = ask(address, post(ORDER, &[])).await;
    let key = format!("Idempotency-Key: {}", first.header("idempotency-key").expect("a key"));
    let again = ask(address, post(ORDER, &[&key])).await;
    assert_eq!((again.status, again.body), (200, first.body));
    assert_eq!(fixture.state().journal.len(), 1);
    let keys = fixture.keys_at(3);
    assert_eq!(keys[0], keys[1]);
}

#[actix_web::test]
async fn a_purchase_that_is_undecided_says_the_key_to_retry_with() {
    let store = Store::new();
    let neighbours = Neighbours::of(&store);
    for id in 1..=3 {
        neighbours.replica(id).kill().await;
    }
    let fixture = Fixture { frontend: store.run_frontend(), neighbours };
    let reply = ask(fixture.frontend.address, post(ORDER, &[])).await;
    reply.is_error(503);
    let key = format!("Idempotency-Key: {}", reply.header("idempotency-key").expect("a key"));
    fixture.replica(1).start();
    let reply = ask(fixture.frontend.address, post(ORDER, &[&key])).await;
    assert_eq!(reply.body, r#"{"data":{"order_number":0}}"#);
    let received: Vec<Received> = fixture.replica(1).received("purchase");
    let received: Purchase = received[0].read();
    assert_eq!(format!("Idempotency-Key: {}", received.key), key);
}

#[actix_web::test]
async fn a_body_that_is_announced_as_too_large_is_refused_before_it_is_sent() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let expect = ["Expect: 100-continue", "Idempotency-Key: mine", "X-Request-Id: trace-7"];
    let large = request("POST", "/orders", &[&expect[..], &["Content-Length: 16385"]].concat());
    let reply = ask(address, large).await;
    reply.is_error(413);
    assert_eq!(reply.header("idempotency-key"), Some("mine"));
    assert_eq!(reply.header("x-request-id"), Some("trace-7"));
    let without_key = request("POST", "/orders", &[expect[0], "Content-Length: 16385"]);
    let drawn = ask(address, without_key).await;
    drawn.is_error(413);
    assert!(drawn.header("idempotency-key").is_some_and(|key| !key.is_empty()), "{drawn:?}");
    let replies = exchange(address, post(ORDER, &expect), 2).await;
    assert_eq!((replies[0].status, replies[1].status), (100, 200));
}

#[actix_web::test]
async fn a_web_page_of_another_site_changes_nothing() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    for header in [
        "Origin: http://evil.example",
        "Origin: http://store:8080",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        ask(address, post(ORDER, &[header])).await.is_error(403);
        let drop = post(r#"{"session":{"boot":1,"serial":1},"toys":[]}"#, &[header]);
        let drop = drop.replace("/orders ", "/internal/invalidate ");
        ask(address, drop).await.is_error(403);
        // What only reads is the browser's to guard.
        assert_eq!(ask(address, request("GET", "/products/Tux", &[header])).await.status, 200);
    }
    assert!(fixture.replica(3).received("purchase").is_empty());
    for header in [
        "Origin: http://store",
        "Origin: https://Store:443",
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Site: same-origin",
    ] {
        assert_eq!(ask(address, post(ORDER, &[header])).await.status, 200, "{header}");
    }
}

#[actix_web::test]
async fn on_loopback_only_requests_to_a_known_host_are_answered() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let other_store = Store::new();
    let catalog = other_store.run_catalog();
    let frontend = fixture.frontend.address;
    let to = |host: &str, request: String| request.replacen("Host: store", host, 1);
    for host in ["Host: evil.example", "Host: evil.example:8080", "Host: 10.0.0.1", "Host: "] {
        for (address, path) in [
            (frontend, "/products/Tux"),
            (frontend, "/readyz"),
            (frontend, "/nothing"),
            (catalog.address, "/internal/toys"),
            (catalog.address, "/internal/no-such-path"),
        ] {
            ask(address, to(host, request("GET", path, &[]))).await.is_error(421);
        }
        let headers = ["Origin: http://evil.example", "Idempotency-Key: mine"];
        let reply = ask(frontend, to(host, post(ORDER, &headers))).await;
        reply.is_error(421);
        assert_eq!(reply.header("idempotency-key"), Some("mine"));
        let reply = ask(frontend, to(host, post(ORDER, &[]))).await;
        reply.is_error(421);
        assert!(reply.header("idempotency-key").is_some_and(|key| !key.is_empty()), "{reply:?}");
    }
    assert!(fixture.replica(3).received("purchase").is_empty());
    let whole = request("GET", "http://evil.example/products/Tux", &[]);
    ask(frontend, whole).await.is_error(421);
    let own = format!("Host: {frontend}");
    for host in [&own, "Host: localhost:1", "Host: [::1]:8080", "Host: 127.0.0.2", "Host: STORE"] {
        let answer = ask(frontend, to(host, request("GET", "/products/Tux", &[]))).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    let old = "GET /products/Tux HTTP/1.0\r\n\r\n".to_owned();
    assert_eq!(ask(frontend, old).await.status, 200, "HTTP/1.0 has no Host");
}

#[actix_web::test]
async fn quantities_that_differ_only_beyond_2_to_the_64_are_different_purchases() {
    let store = Store::new();
    let catalog = store.run_catalog().ready().await;
    let replicas = [1, 2, 3].map(|id| store.run_order(id));
    let frontend = store.run_frontend().ready().await;
    let buy = async |quantity: &str| {
        let body = format!(r#"{{"name":"Tux","quantity":{quantity}}}"#);
        ask(frontend.address, post(&body, &["Idempotency-Key: large"])).await.status
    };
    // The refusal is remembered under its key, and told again.
    assert_eq!(buy("18446744073709551616").await, 409);
    assert_eq!(buy("18446744073709551616").await, 409);
    for other in ["18446744073709551617", "9223372036854775807", "9223372036854775808", "1"] {
        assert_eq!(buy(other).await, 422, "{other}");
    }
    frontend.stop().await;
    for replica in replicas {
        replica.stop().await;
    }
    catalog.stop().await;
}

#[actix_web::test]
async fn each_of_several_requests_at_once_is_answered_by_its_own_method_and_version() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let known = |method| request(method, "/products/Tux", &[]);
    let sent = [
        known("HEAD"),
        request("GET", "/products/none", &[]),
        known("GET"),
        known("HEAD"),
        "GET /products/Tux HTTP/1.0\r\n\r\n".into(),
    ];
    let mut client = tokio::net::TcpStream::connect(fixture.frontend.address).await.expect("it");
    client.write_all(sent.concat().as_bytes()).await.expect("it reads");
    let mut read = String::new();
    client.read_to_string(&mut read).await.expect("it closes after HTTP/1.0");
    let answers: Vec<&str> = read.split("HTTP/1.").skip(1).collect();
    let told = answers.iter().map(|answer| {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (&head[..5], body.get(..7).unwrap_or_default())
    });
    let expected = [
        ("1 200", ""),
        ("1 404", "{\"error"),
        ("1 200", "{\"data\""),
        ("1 200", ""),
        ("0 200", "{\"data\""),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected, "{read}");
}

/// A store with so many more toys, each of which takes 110 bytes of a list.
fn store_with(toys: usize) -> Store {
    let mut store = Store::new();
    for number in 0..toys {
        let name =
            format!("Toy {number:05} of a catalog that is larger than a message between roles");
        store.toys.push((Box::leak(name.into_boxed_str()), "1.5"));
    }
    store
}

#[actix_web::test]
async fn all_of_100_000_toys_are_listed_and_cached() {
    let store = store_with(100_000);
    let catalog = store.run_catalog().ready().await;
    let frontend = store.run_frontend();
    let mut response = frontend.request("GET", "/products").send().await.expect("it answers");
    let body = response.body().limit(64 << 20).await.expect("the list is whole");
    let mut body: Value = serde_json::from_slice(&body).expect("JSON");
    let listed: Vec<Value> = serde_json::from_value(body["data"].take()).expect("a list");
    assert_eq!(listed.len(), 100_003);
    let (name, _) = store.toys[100_002];
    assert_eq!(listed[100_002], json!({ "name": name, "price": 1.5, "quantity": 100 }));
    // Only a front-end that has registered caches, and it then knows which toys there are.
    let path = format!("/products/{}", name.replace(' ', "%20"));
    eventually("the front-end has registered", async || {
        (frontend.get(&path).await.header("x-cache") == Some("hit")).then_some(())
    })
    .await;
    frontend.get("/products/none").await.error();
    frontend.stop().await;
    catalog.stop().await;
}

#[actix_web::test]
async fn clients_whose_large_answers_wait_in_the_front_end_at_once_get_all_of_them() {
    const CLIENTS: usize = 12;
    // More than the kernel takes, and soon read.
    const TOYS: usize = 50_000;
    let store = store_with(TOYS);
    let catalog = store.run_catalog().ready().await;
    let frontend = store.run_frontend();
    let address = frontend.address;
    let mut clients: Vec<_> = join_all((0..CLIENTS).map(async |_| {
        let socket = TcpSocket::new_v4().expect("a socket");
        // So that answers back up at the front-end, and not in the client's kernel.
        socket.set_recv_buffer_size(4_096).expect("a small buffer");
        let mut client = socket.connect(address).await.expect("it listens");
        let request = request("GET", "/products", &["Connection: close"]);
        client.write_all(request.as_bytes()).await.expect("it reads");
        client
    }))
    .await;
    for client in &clients {
        client.peek(&mut [0]).await.expect("its answer has begun");
    }
    let answers = join_all(clients.iter_mut().map(async |client| {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("it comes to an end");
        answer
    }));
    for answer in answers.await {
        let (_head, body) = answer.split_once("\r\n\r\n").expect("there is a head");
        let list: Value = serde_json::from_str(body).expect("all of it is there");
        assert_eq!(list["data"].as_array().map(Vec::len), Some(TOYS + 3));
    }
    frontend.stop().await;
    catalog.stop().await;
}

#[actix_web::test]
async fn a_reply_leaves_in_one_write() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let reads = spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout");
        let mut chunk = [0; 4_096];
        for path in ["/products/Tux", "/products/none", "/orders/7"].repeat(100) {
            stream.write_all(request("GET", path, &[]).as_bytes()).expect("it reads");
            // What was written at once is read at once.
            let length = stream.read(&mut chunk).expect("it answers");
            let text = String::from_utf8_lossy(&chunk[..length]).into_owned();
            assert_eq!(replies(&text).len(), 1, "{text}");
        }
    });
    reads.await.expect("no panic");
}
