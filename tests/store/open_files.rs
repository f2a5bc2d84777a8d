//! A front-end that has as many clients as it may have: those that are connected are served, and
//! further ones wait.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::time::Duration;

use actix_web::rt::time::timeout;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::eventually::{TIME_LIMIT, eventually};
use crate::processes::{Cluster, Settings};

/// A low limit, and more clients than it allows.
const FILES: u32 = 160;
const CLIENTS: usize = 200;
/// Far more than a cached toy takes.
const ANSWERED_BY_NOW: Duration = Duration::from_secs(2);

/// Sends a request on a connection that stays open.
async fn send(client: &mut TcpStream, request: &str, body: &str) {
    let length = body.len();
    let text =
        format!("{request} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}");
    client.write_all(text.as_bytes()).await.unwrap();
}

/// The first line of the answer, if it comes in time.
async fn status(client: &mut TcpStream, within: Duration) -> Option<String> {
    let mut buffer = [0; 4_096];
    let length = timeout(within, client.read(&mut buffer)).await.ok()?.unwrap();
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    text.lines().next().map(str::to_owned)
}

#[actix_web::test]
async fn at_the_limit_of_open_files_connected_clients_buy_and_new_ones_wait() {
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
    let answers = clients.iter_mut().map(|client| status(client, ANSWERED_BY_NOW));
    let answers = futures_util::future::join_all(answers).await;
    let (mut connected, mut waiting) = (Vec::new(), Vec::new());
    for (client, answer) in clients.into_iter().zip(answers) {
        if answer.is_some() { connected.push(client) } else { waiting.push(client) }
    }
    assert!(connected.len() >= 10, "{} are connected", connected.len());
    assert!(!waiting.is_empty(), "all are connected");

    // All of them buy at once, for which the front-end makes calls.
    for client in &mut connected {
        send(client, "POST /orders", r#"{"name":"Tux","quantity":1}"#).await;
    }
    let answers = connected.iter_mut().map(|client| status(client, TIME_LIMIT));
    for answer in futures_util::future::join_all(answers).await {
        assert_eq!(answer.as_deref(), Some("HTTP/1.1 200 OK"));
    }
    let frontend = cluster.log("frontend");
    assert!(!frontend.contains("Too many open files"), "{frontend}");

    // Those that waited come next.
    drop(connected);
    let next = &mut waiting[0];
    eventually("one that waited is served", async || status(next, ANSWERED_BY_NOW).await).await;
}
