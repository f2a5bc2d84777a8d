//! A front-end that has as many clients as it may have: those that are connected are served, and
//! further ones are told to come again.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use actix_web::rt::time::timeout;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::eventually::{TIME_LIMIT, eventually};
use crate::processes::{Cluster, Settings, buy};

/// A low limit, and more clients than it allows.
const FILES: u32 = 160;
const CLIENTS: usize = 200;

/// Sends a request on a connection that stays open.
async fn send(client: &mut TcpStream, request: &str, body: &str) {
    let length = body.len();
    let text =
        format!("{request} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}");
    let _unless_it_was_closed = client.write_all(text.as_bytes()).await;
}

/// The first line of the answer, unless the connection was closed.
async fn status(client: &mut TcpStream) -> Option<String> {
    let mut buffer = [0; 4_096];
    let length = timeout(TIME_LIMIT, client.read(&mut buffer)).await.unwrap().ok()?;
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    text.lines().next().map(str::to_owned)
}

#[actix_web::test]
async fn at_the_limit_of_open_files_connected_clients_buy_and_others_are_told_to_come_again() {
    toystore::process::raise_file_limit();
    let mut cluster = Cluster::prepare(Settings { initial_stock: 10_000, ..Settings::default() });
    cluster.limit_files("frontend", FILES);
    cluster.start_everything().await;

    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(&cluster.frontends[0]).await.unwrap();
        send(&mut client, "GET /products/Tux", "").await;
        clients.push(client);
    }
    let answers = futures_util::future::join_all(clients.iter_mut().map(status)).await;
    let (mut connected, mut refused) = (Vec::new(), 0);
    for (client, answer) in clients.into_iter().zip(answers) {
        match answer.as_deref() {
            Some("HTTP/1.1 200 OK") => connected.push(client),
            Some("HTTP/1.1 503 Service Unavailable") => refused += 1,
            other => assert_eq!(other, None),
        }
    }
    assert!(connected.len() >= 10, "{} are connected", connected.len());
    assert!(refused >= 10, "{refused} are told to come again");

    // All of them buy at once, for which the front-end makes calls. (Those that a slow machine
    // let rest for a second may have lost their places to others.)
    for client in &mut connected {
        send(client, "POST /orders", r#"{"name":"Tux","quantity":1}"#).await;
    }
    let answers = futures_util::future::join_all(connected.iter_mut().map(status)).await;
    let bought: Vec<_> = answers.into_iter().flatten().collect();
    assert!(bought.len() >= 10, "{bought:?}");
    assert!(bought.iter().all(|status| status == "HTTP/1.1 200 OK"), "{bought:?}");
    let frontend = cluster.log("frontend");
    assert!(!frontend.contains("Too many open files"), "{frontend}");

    // One that comes again finds a place that has not been used for a second.
    eventually("a newcomer buys", async || {
        buy(&cluster.frontends[0], "Tux", 1, "later").await.is_ok_and(|(status, _)| status == 200)
    })
    .await;
    drop(connected);
}
