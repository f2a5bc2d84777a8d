//! Clients' requests to a front-end, valid and invalid.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use toystore::wire::lease::Version;
use toystore::wire::purchase::Purchase;

use crate::neighbours::of_frontend::Fixture;
use crate::neighbours::{Answer, FrontendRole, Received, Running, Store, finish};

const ORDER: &str = r#"{"name":"Tux","quantity":1}"#;

/// Sends a body as it is, with headers.
async fn order(
    frontend: &Running<FrontendRole>,
    body: impl Into<String>,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = frontend.request("POST", "/orders");
    for header in headers {
        request = request.append_header(*header);
    }
    finish(request.send_body(body.into())).await
}

/// Sends bytes and reads to the end of the last of `answers` answers, without a client's library.
async fn raw(address: SocketAddr, sent: impl Into<Vec<u8>>, answers: usize) -> String {
    let sent = sent.into();
    let exchange = actix_web::rt::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        stream.write_all(&sent).expect("it reads");
        let (mut read, mut chunk) = (Vec::new(), [0; 4_096]);
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if whole_answers(&text) == answers {
                return text;
            }
            match stream.read(&mut chunk).expect("it answers") {
                0 => return text,
                length => read.extend_from_slice(&chunk[..length]),
            }
        }
    });
    exchange.await.expect("no panic")
}

/// How many answers a text holds, each as long as its head says.
fn whole_answers(mut text: &str) -> usize {
    let mut count = 0;
    while let Some((head, rest)) = text.split_once("\r\n\r\n") {
        let mut lengths = head.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
        });
        let length: usize = lengths.next().unwrap_or(0);
        let Some(behind) = rest.get(length..) else { break };
        (count, text) = (count + 1, behind);
    }
    count
}

#[actix_web::test]
async fn toys_orders_and_purchases_have_the_bodies_of_the_contract() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let body = async |path: &str| String::from_utf8(fixture.frontend.get(path).await.body.to_vec());
    let toy = r#"{"data":{"name":"Tux","price":15.99,"quantity":100}}"#;
    assert_eq!(body("/products/Tux").await.as_deref(), Ok(toy));
    assert_eq!(body("/products/Tux").await.as_deref(), Ok(toy), "from the cache");
    let bought = order(&fixture.frontend, r#"{"name":"Tux","quantity":3}"#, &[]).await;
    assert_eq!(&bought.body[..], br#"{"data":{"order_number":0}}"#);
    let found = r#"{"data":{"number":0,"name":"Tux","quantity":3}}"#;
    assert_eq!(body("/orders/0").await.as_deref(), Ok(found));
    let toys: Value = fixture.frontend.get("/products").await.data();
    let names: Vec<&Value> = toys.as_array().expect("a list").iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["Tux", "Uno", "Yo-Yo"]);
}

#[actix_web::test]
async fn a_toy_s_name_is_percent_decoded_once() {
    let mut store = Store::new();
    let names = [
        ("Yo-Yo & \"Friends\"/1", "Yo-Yo%20%26%20%22Friends%22%2F1"),
        ("Rubik's Cube", "Rubik's%20Cube"),
        ("Rubik's Cube", "Rubik%27s%20Cube"),
        ("Größe Ü 🧸", "Gr%C3%B6%C3%9Fe%20%c3%9c%20%F0%9F%A7%B8"),
        ("100%25 wool", "100%2525%20wool"),
        ("a+b", "a+b"),
        ("a/b", "a/b"),
        ("a/../b", "a%2F..%2Fb"),
        ("what?#", "what%3F%23"),
        (" ", "%20"),
    ];
    for (name, _) in names {
        if !store.toys.iter().any(|(known, _)| *known == name) {
            store.toys.push((name, "1.0"));
        }
    }
    let fixture = Fixture::ready(&store).await;
    for (name, encoded) in names {
        for _cached in [false, true] {
            let answer = fixture.frontend.get(&format!("/products/{encoded}")).await;
            assert_eq!(answer.data::<Value>()["name"], name, "{encoded}");
        }
    }
    let queried = fixture.frontend.get("/products/Tux?colour=blue").await;
    assert_eq!(queried.data::<Value>()["name"], "Tux");
    for unknown in ["tux", "Tux%20", "Tux%2F", "Tux//", "/", "Tux%00", "%2525", &"x".repeat(5_000)]
    {
        let answer = fixture.frontend.get(&format!("/products/{unknown}")).await;
        assert_eq!(answer.error(), (404, "product not found".into()), "{unknown}");
    }
    assert_eq!(fixture.frontend.get("/products/%FF").await.error().0, 400);
}

#[actix_web::test]
async fn a_body_that_is_no_purchase_is_refused_with_400() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let quantity = |text: &str| format!(r#"{{"name":"Tux","quantity":{text}}}"#);
    let mut bodies = vec![
        String::new(),
        "   ".into(),
        "null".into(),
        "7".into(),
        r#""Tux""#.into(),
        "not json".into(),
        ORDER[..ORDER.len() - 1].into(),
        r#"{"name":"Tux","quan"#.into(),
        format!("{ORDER}{ORDER}"),
        format!("{ORDER},"),
        r#"["Tux",1]"#.into(),
        format!("[{ORDER}]"),
        "{}".into(),
        r#"{"name":"Tux"}"#.into(),
        r#"{"quantity":1}"#.into(),
        r#"{"name":"Tux","quantity":1,"price":0}"#.into(),
        r#"{"name":"Tux","quantity":1,"quantity":2}"#.into(),
        r#"{"name":"Tux","name":"Uno","quantity":1}"#.into(),
        r#"{"Name":"Tux","quantity":1}"#.into(),
        r#"{"name":1,"quantity":1}"#.into(),
        r#"{"name":null,"quantity":1}"#.into(),
        r#"{"name":["Tux"],"quantity":1}"#.into(),
        r"{'name':'Tux','quantity':1}".into(),
        r#"{"name":"\ud800","quantity":1}"#.into(),
        format!(r#"{{"name":{}1{},"quantity":1}}"#, "[".repeat(5_000), "]".repeat(5_000)),
        r#"{"a":"#.repeat(3_000),
        "[".repeat(16_000),
        "name=Tux&quantity=1".into(),
        "\u{feff}{\"name\":\"Tux\",\"quantity\":1}".into(),
    ];
    for text in
        ["0", "-1", "-0", "1.5", "1.0", "1e0", "1e99", "\"1\"", "null", "true", "[1]", "{}", "NaN"]
    {
        bodies.push(quantity(text));
    }
    for body in bodies {
        let answer = order(&fixture.frontend, body.clone(), &[]).await;
        let shown: String = body.chars().take(80).collect();
        assert_eq!(answer.error().0, 400, "{shown}");
    }
    let not_utf8 = fixture.frontend.request("POST", "/orders");
    let not_utf8 = not_utf8.send_body(&b"{\"name\":\"\xff\",\"quantity\":1}"[..]);
    assert_eq!(finish(not_utf8).await.error().0, 400);
    assert!(fixture.replica(3).received("purchase").is_empty());
    assert!(fixture.state().journal.is_empty());
}

#[actix_web::test]
async fn a_purchase_that_cannot_be_granted_is_refused_with_the_reason() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let asked = async |name: &str, quantity: &str| {
        let body = format!(r#"{{"name":"{name}","quantity":{quantity}}}"#);
        order(&fixture.frontend, body, &[]).await.error().0
    };
    assert_eq!(asked("LEGO", "1").await, 404);
    assert_eq!(asked("", "1").await, 404);
    assert_eq!(asked("Tux", "101").await, 409);
    assert_eq!(asked("Tux", "9223372036854775808").await, 409);
    assert_eq!(asked("Tux", "18446744073709551615").await, 409);
    fixture.state().stock.insert("Tux".into(), (0, Version(1)));
    assert_eq!(asked("Tux", "1").await, 409);
}

#[actix_web::test]
async fn a_body_of_16_kib_is_read_and_a_longer_one_refused_with_413() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let padded = |length: usize| format!("{ORDER}{}", " ".repeat(length - ORDER.len()));
    assert_eq!(order(&fixture.frontend, padded(16 << 10), &[]).await.status, 200);
    let refused = order(&fixture.frontend, padded((16 << 10) + 1), &[]).await;
    assert_eq!(refused.error().0, 413);
    let address = fixture.frontend.address;
    // Much longer ones, with a length and without.
    let head = "POST /orders HTTP/1.1\r\nHost: store\r\n";
    let with_length = format!("{head}Content-Length: 20000000\r\n\r\n{}", "x".repeat(40_000));
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(3));
    for request in [with_length, chunked] {
        let answer = raw(address, request, 1).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains(r#"{"error":{"code":413,"#), "{answer}");
    }
}

#[actix_web::test]
async fn a_body_is_read_as_json_whatever_its_content_type() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    for (number, kind) in [
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "image/png",
        "?",
        "",
    ]
    .iter()
    .enumerate()
    {
        let answer = order(&fixture.frontend, ORDER, &[("content-type", kind)]).await;
        assert_eq!(answer.data::<Value>(), json!({ "order_number": number }), "{kind}");
    }
    let without = format!(
        "POST /orders HTTP/1.1\r\nHost: store\r\nContent-Length: {}\r\n\r\n{ORDER}",
        ORDER.len()
    );
    let answer = raw(fixture.frontend.address, without, 1).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with(r#"{"data":{"order_number":6}}"#), "{answer}");
    assert!(answer.to_lowercase().contains("content-type: application/json"), "{answer}");
}

#[actix_web::test]
async fn an_idempotency_key_is_one_header_of_1_to_255_visible_characters() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let longest = "k".repeat(255);
    for key in ["k", "!~", longest.as_str()] {
        let answer = order(&fixture.frontend, ORDER, &[("idempotency-key", key)]).await;
        assert_eq!(answer.status, 200, "{key}");
    }
    let sent: Vec<Purchase> =
        fixture.replica(3).received("purchase").iter().map(Received::read).collect();
    assert_eq!(sent.last().expect("one").key.as_str(), format!("client:{longest}"));

    for key in ["", &"k".repeat(256), "a b", "a\tb", "schlüssel"] {
        let answer = order(&fixture.frontend, ORDER, &[("idempotency-key", key)]).await;
        assert_eq!(answer.error().0, 400, "{key:?}");
    }
    let two = [("idempotency-key", "a"), ("idempotency-key", "b")];
    assert_eq!(order(&fixture.frontend, ORDER, &two).await.error().0, 400);
    let same = [("idempotency-key", "a"), ("idempotency-key", "a")];
    assert_eq!(order(&fixture.frontend, ORDER, &same).await.error().0, 400);
    assert_eq!(fixture.replica(3).received("purchase").len(), 3);
    for control in ["a\u{1}b", "a\u{7f}b", "a\0b"] {
        let length = ORDER.len();
        let request = format!(
            "POST /orders HTTP/1.1\r\nHost: store\r\nIdempotency-Key: {control}\r\n\
             Content-Length: {length}\r\n\r\n{ORDER}"
        );
        let answer = raw(fixture.frontend.address, request, 1).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{control:?}: {answer}");
    }
    assert_eq!(fixture.replica(3).received("purchase").len(), 3);
}

#[actix_web::test]
async fn the_same_key_has_the_same_answer_and_none_for_another_purchase() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let key = [("idempotency-key", "mine")];
    for _ in 0..2 {
        let answer = order(&fixture.frontend, ORDER, &key).await;
        assert_eq!(answer.data::<Value>(), json!({ "order_number": 0 }));
    }
    for other in [r#"{"name":"Tux","quantity":2}"#, r#"{"name":"Uno","quantity":1}"#] {
        assert_eq!(order(&fixture.frontend, other, &key).await.error().0, 422);
    }
    assert_eq!(fixture.state().journal.len(), 1);
    // Without a key, each purchase is one of its own.
    for number in 1..3 {
        let answer = order(&fixture.frontend, ORDER, &[]).await;
        assert_eq!(answer.data::<Value>(), json!({ "order_number": number }));
    }
}

#[actix_web::test]
async fn an_order_s_number_is_whole_and_an_unknown_one_is_not_found() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.buy("Tux").await;
    for bad in ["abc", "-1", "1.0", "1e3", "0x0", "%30x", "/", " 0", "0//", "0/1", "+0", "٣"] {
        let path = format!("/orders/{}", bad.replace(' ', "%20").replace('٣', "%D9%A3"));
        assert_eq!(fixture.frontend.get(&path).await.error().0, 400, "{bad}");
    }
    for unknown in ["1", "999", "18446744073709551615", "18446744073709551616", &"9".repeat(400)] {
        let answer = fixture.frontend.get(&format!("/orders/{unknown}")).await;
        assert_eq!(answer.error(), (404, "order not found".into()), "{unknown}");
    }
    for known in ["0", "00", "0?x=y"] {
        let answer = fixture.frontend.get(&format!("/orders/{known}")).await;
        assert_eq!(answer.data::<Value>()["number"], 0, "{known}");
    }
}

#[actix_web::test]
async fn a_wrong_method_is_405_with_the_methods_that_are_allowed() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    for (path, own, allow) in [
        ("/products", "GET", "GET, HEAD, OPTIONS"),
        ("/products/Tux", "GET", "GET, HEAD, OPTIONS"),
        ("/orders", "POST", "POST, OPTIONS"),
        ("/orders/0", "GET", "GET, HEAD, OPTIONS"),
        ("/cluster", "GET", "GET, HEAD, OPTIONS"),
        ("/healthz", "GET", "GET, HEAD, OPTIONS"),
        ("/readyz", "GET", "GET, HEAD, OPTIONS"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "BREW"] {
            if method == own {
                continue;
            }
            let answer = finish(fixture.frontend.request(method, path).send()).await;
            assert_eq!(answer.error().0, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
    }
}

#[actix_web::test]
async fn an_unknown_path_is_404_whatever_the_method() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    for path in ["/nothing", "/product/Tux", "/orders2", "/internal", "/internal/x", "//orders"] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = finish(fixture.frontend.request(method, path).send()).await;
            assert_eq!(answer.error().0, 404, "{method} {path}");
        }
    }
}

#[actix_web::test]
async fn a_request_id_comes_back_with_every_answer_and_goes_with_the_purchase() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let id = ("x-request-id", "trace-7");
    for (method, path) in [
        ("GET", "/products/Tux"),
        ("GET", "/products/none"),
        ("GET", "/orders/0"),
        ("GET", "/orders/x"),
        ("GET", "/nothing"),
        ("PUT", "/orders"),
        ("POST", "/orders"),
        ("GET", "/healthz"),
    ] {
        let request = fixture.frontend.request(method, path).insert_header(id);
        let answer = finish(request.send()).await;
        assert_eq!(answer.header("x-request-id"), Some("trace-7"), "{method} {path}");
    }
    let bought = order(&fixture.frontend, ORDER, &[id]).await;
    assert_eq!((bought.status, bought.header("x-request-id")), (200, Some("trace-7")));
    let sent = &fixture.replica(3).received("purchase")[0];
    assert_eq!(sent.headers.get("x-request-id").map(String::as_str), Some("trace-7"));
}

#[actix_web::test]
async fn head_is_answered_as_get_without_the_body() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    fixture.buy("Tux").await;
    for path in [
        "/",
        "/page/style.css",
        "/products",
        "/products/Tux",
        "/products/none",
        "/orders/0",
        "/orders/x",
        "/healthz",
    ] {
        let get = fixture.frontend.get(path).await;
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: store\r\nConnection: close\r\n\r\n");
        // To the end of the connection: no byte of a body may follow.
        let head = raw(fixture.frontend.address, request, usize::MAX).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", get.status)), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        let length = format!("content-length: {}\r\n", get.body.len());
        assert!(head.to_lowercase().contains(&length), "{length}{head}");
    }
}

#[actix_web::test]
async fn a_client_of_http_1_0_is_served_and_its_connection_closed_unless_it_asks() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let closed = raw(address, "GET /products/Tux HTTP/1.0\r\n\r\n", usize::MAX).await;
    assert!(closed.contains(" 200 OK\r\n"), "{closed}");
    assert!(closed.ends_with(r#"{"data":{"name":"Tux","price":15.99,"quantity":100}}"#));
    let length = ORDER.len();
    let post = format!("POST /orders HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{ORDER}");
    let bought = raw(address, post, usize::MAX).await;
    assert!(bought.ends_with(r#"{"data":{"order_number":0}}"#), "{bought}");
    let kept = "GET /products/Tux HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".repeat(2);
    let kept = raw(address, kept, 2).await;
    assert_eq!(kept.matches(" 200 OK\r\n").count(), 2, "{kept}");
}

#[actix_web::test]
async fn one_connection_serves_many_requests_also_after_an_error() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let order = format!(
        "POST /orders HTTP/1.1\r\nHost: store\r\nContent-Length: {}\r\n\r\n{ORDER}",
        ORDER.len()
    );
    let bad = "POST /orders HTTP/1.1\r\nHost: store\r\nContent-Length: 3\r\n\r\n{]}";
    let get = "GET /orders/0 HTTP/1.1\r\nHost: store\r\n\r\n";
    let answers = raw(fixture.frontend.address, [order.as_str(), bad, get, get].concat(), 4).await;
    let codes: Vec<&str> =
        answers.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect();
    assert_eq!(codes, ["200", "400", "200", "200"], "{answers}");
}

#[actix_web::test]
async fn bytes_that_are_not_http_are_refused() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    for nonsense in ["hello\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let answer = raw(fixture.frontend.address, nonsense, 1).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{nonsense:?}: {answer}");
    }
    assert_eq!(fixture.frontend.get("/healthz").await.status, 200);
}
