//! More clients than the store serves at once: the surplus is refused quickly, and it recovers. And
//! clients that never pause: the store sells all the same.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::eventually::eventually;
use crate::processes::{Cluster, Settings, buy, now};

/// How many requests one front-end serves at once, as `docs/protocol.md` says.
const MOST_IN_FLIGHT: usize = 1_024;
const CLIENTS: usize = MOST_IN_FLIGHT + 200;
/// Clients that never pause.
const NEVER_PAUSE: usize = 400;

#[actix_web::test]
async fn clients_beyond_the_limit_are_refused_with_retry_after_and_the_others_are_served() {
    toystore::process::raise_file_limit();
    let cluster = Cluster::start(Settings { initial_stock: 10_000, ..Settings::default() }).await;
    let store = cluster.frontends[0].clone();
    cluster.signal("catalog", Signal::STOP);
    let start = now();
    let mut purchases: FuturesUnordered<_> = (0..CLIENTS)
        .map(|client| {
            let store = store.clone();
            async move { attempt(&store, client).await }
        })
        .collect();

    // The surplus is refused while the others wait for the catalog.
    for _ in 0..CLIENTS - MOST_IN_FLIGHT {
        let (status, retry_after) = purchases.next().await.unwrap();
        assert_eq!((status, retry_after.as_deref()), (503, Some("1")));
    }
    assert!(start.elapsed() < Duration::from_secs(8), "they waited for {:?}", start.elapsed());
    cluster.signal("catalog", Signal::CONT);
    while let Some((status, _)) = purchases.next().await {
        assert_eq!(status, 200);
    }
    assert_eq!(buy(&store, "Tux", 1, "afterwards").await.unwrap().0, 200);
    assert_eq!(cluster.check_databases(10_000).await.len(), MOST_IN_FLIGHT + 1);
}

#[actix_web::test]
async fn a_purchase_does_not_wait_for_the_answers_to_clients_that_never_pause() {
    const PURCHASES: usize = 20;
    toystore::process::raise_file_limit();
    let cluster = Cluster::start(Settings { initial_stock: 10_000, ..Settings::default() }).await;
    let store = &cluster.frontends[0];
    for (role, path) in [
        ("catalog", "/metrics"),
        ("order-3", "/metrics"),
        ("order-1", "/metrics"),
        ("frontend", "/metrics"),
        ("frontend", "/trace"),
        ("frontend", "/trace/none"),
        ("frontend", "/trace?last=50"),
        ("frontend", "/cluster"),
        ("frontend", "/events?once"),
    ] {
        let address = &cluster.address(role);
        let answers = Cell::new(0);
        let ask = async |_| ask_on(address, path, &answers).await;
        let never_pause = join_all((0..NEVER_PAUSE).map(ask));
        let purchases = async {
            eventually("they are answered", async || answers.get() >= NEVER_PAUSE).await;
            let before = answers.get();
            for number in 0..PURCHASES {
                let bought = buy(store, "Tux", 1, &format!("{role}{path}-{number}")).await;
                assert_eq!(bought.expect("the store answers").0, 200, "{role}{path}, {number}");
            }
            // Without lines and rations, each purchase waits for several answers to each of them.
            let meanwhile = answers.get() - before;
            assert!(meanwhile < PURCHASES * NEVER_PAUSE, "{role}{path}: {meanwhile} answers");
        };
        tokio::select! {
            _ = never_pause => unreachable!("it has no end"),
            () = purchases => {}
        }
    }
}

/// Asks for the same again and again.
async fn ask_on(address: &str, path: &str, answers: &Cell<usize>) -> Infallible {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut client = TcpStream::connect(address).await.expect("it listens");
    let mut answer = vec![0; 64 << 10];
    loop {
        client.write_all(request.as_bytes()).await.expect("it reads");
        // Nearly always a whole answer; after a part, the next request is sent early.
        let length = client.read(&mut answer).await.expect("it answers");
        assert!(length > 0, "the connection stays open");
        answers.set(answers.get() + 1);
    }
}

/// A purchase's status and its `Retry-After`.
async fn attempt(store: &str, client: usize) -> (u16, Option<String>) {
    let connection = awc::Client::builder().timeout(Duration::from_secs(30)).finish();
    let request = connection.post(format!("http://{store}/orders"));
    let body = serde_json::json!({ "name": "Tux", "quantity": 1 });
    let answer = request.insert_header(("Idempotency-Key", client.to_string())).send_json(&body);
    let answer = answer.await.expect("the store answers every request");
    let retry_after = answer.headers().get("Retry-After").and_then(|value| value.to_str().ok());
    (answer.status().as_u16(), retry_after.map(str::to_owned))
}
