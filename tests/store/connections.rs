//! Clients that are slow, greedy or silent: none holds a role, its memory or its connections.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use actix_web::rt::time::timeout;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::eventually::{TIME_LIMIT, eventually};
use crate::processes::{Cluster, Settings, buy, now};

/// So few files that a thread has a dozen places.
const FEW_FILES: u32 = 160;
/// More clients than places, on all threads together.
const MANY: usize = 60;
/// Longer than a socket that is waited for keeps its place while others want it.
const SOON: Duration = Duration::from_secs(4);
/// Hosts, as the store sees them.
const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const MODEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const SECRET: &str = "a-secret-of-the-whole-store";

const GET: &str = "GET /products/Tux HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LIST: &str = "GET /products HTTP/1.1\r\nHost: localhost\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n";

async fn connect_from(host: Ipv4Addr, address: &str) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(host), 0))?;
    socket.connect(address.parse().unwrap()).await
}

/// Connects and sends something.
async fn send_from(host: Ipv4Addr, address: &str, text: &str) -> io::Result<TcpStream> {
    let mut client = connect_from(host, address).await?;
    client.write_all(text.as_bytes()).await?;
    Ok(client)
}

/// The status of the next answer, if one comes in time.
async fn status(client: &mut TcpStream, within: Duration) -> Option<u16> {
    let mut buffer = [0; 4_096];
    let length = timeout(within, client.read(&mut buffer)).await.ok()?.ok()?;
    String::from_utf8_lossy(&buffer[..length]).get(9..12)?.parse().ok()
}

/// Asks on a connection of its own; the status, if the answer comes soon.
async fn ask_from(host: Ipv4Addr, address: &str, text: &str) -> Option<u16> {
    status(&mut send_from(host, address, text).await.ok()?, SOON).await
}

/// Reads to the end of the connection; what came.
async fn read_to_end(client: &mut TcpStream) -> String {
    let mut read = Vec::new();
    // A connection that is reset has ended, too.
    let _ended = timeout(TIME_LIMIT, client.read_to_end(&mut read)).await.expect("it ends");
    String::from_utf8_lossy(&read).into_owned()
}

/// Sends requests, whose answers are not read, until the server takes no more.
async fn stuff(address: &str, requests: &str) -> (TcpStream, usize) {
    const MOST: usize = 2_000_000;
    const TAKEN_BY_NOW: Duration = Duration::from_millis(500);
    let socket = TcpSocket::new_v4().unwrap();
    // So that answers back up at the store, and not in the client's kernel.
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut client = socket.connect(address.parse().unwrap()).await.unwrap();
    let mut sent = 0;
    while sent < MOST
        && let Ok(Ok(written)) = timeout(TAKEN_BY_NOW, client.write(requests.as_bytes())).await
    {
        sent += written;
    }
    (client, sent)
}

fn one_frontend() -> Settings {
    Settings { initial_stock: 10_000, ..Settings::default() }
}

#[actix_web::test]
async fn a_client_that_does_not_read_its_answers_makes_a_front_end_hold_little() {
    let cluster = Cluster::start(one_frontend()).await;
    let address = &cluster.frontends[0];
    let before = cluster.memory_kib("frontend");
    let requests = LIST.repeat(100);
    let stuffed = join_all((0..50).map(|_| stuff(address, &requests))).await;
    let sent: usize = stuffed.iter().map(|(_, sent)| sent).sum();
    assert!(sent > 1_000_000, "{sent} bytes were sent");
    let held = cluster.memory_kib("frontend").saturating_sub(before);
    assert!(held < 20_000, "it holds {held} KiB for {sent} bytes");
    // They are not kept for ever, either.
    for (mut client, _) in stuffed {
        eventually("the connection ends", async || {
            client.write_all(LIST.as_bytes()).await.is_err()
        })
        .await;
    }
    assert_eq!(ask_from(MODEST, address, GET).await, Some(200));
}

#[actix_web::test]
async fn requests_that_are_pipelined_are_all_answered_in_their_order() {
    let cluster = Cluster::start(one_frontend()).await;
    let mut client = TcpStream::connect(&cluster.frontends[0]).await.unwrap();
    let order = r#"{"name":"Tux","quantity":1}"#;
    let order = format!(
        "POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{order}",
        order.len()
    );
    let sent = format!("{GET}{order}").repeat(200) + "GET /x HTTP/1.0\r\n\r\n";
    let (mut reads, mut writes) = client.split();
    let mut read = Vec::new();
    let (written, ended) =
        tokio::join!(writes.write_all(sent.as_bytes()), reads.read_to_end(&mut read));
    written.and(ended).unwrap();
    let read = String::from_utf8(read).unwrap();
    let answers: Vec<&str> = read.split("HTTP/1.").skip(1).collect();
    assert_eq!(answers.len(), 401);
    for (number, pair) in answers[..400].chunks(2).enumerate() {
        assert!(pair[0].contains(r#"{"name":"Tux","price""#), "{pair:?}");
        assert!(pair[1].contains(&format!(r#"{{"order_number":{number}}}"#)), "{pair:?}");
    }
    assert!(answers[400].starts_with("0 404"), "{}", answers[400]);
}

#[actix_web::test]
async fn a_request_that_does_not_end_ends_its_connection() {
    let cluster = Cluster::start(Settings { secret: Some(SECRET), ..one_frontend() }).await;
    let address = &cluster.frontends[0];
    let long = "HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{";
    let requests = [
        format!("POST /orders {CHUNKED}"),
        format!("POST /nothing {CHUNKED}"),
        format!("POST /products {CHUNKED}"),
        format!("POST /internal/invalidate {CHUNKED}"),
        format!("GET /products/Tux {CHUNKED}"),
        format!("POST /orders {long}"),
        format!("POST /internal/invalidate {long}"),
        format!("{GET}{GET}GET /products/Tux HTTP/1.1\r\nHo"),
        format!("{GET}GET"),
        String::new(),
    ];
    let start = now();
    let ends = requests.iter().map(async |request| {
        let mut client = send_from(MODEST, address, request).await.unwrap();
        let answers = read_to_end(&mut client).await;
        let statuses = answers.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned());
        statuses.collect::<Vec<_>>().join(" ")
    });
    assert_eq!(
        join_all(ends).await,
        ["400", "404", "405", "403", "200", "400", "403", "200 200 408", "200 408", "408"]
    );
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

/// What clients send that take more places than there are, each again and again.
const GREED: [&str; 4] = ["GET /products/Tux HTTP/1.1\r\nHo", "POST /nothing ", "", GET];

#[actix_web::test]
async fn one_greedy_host_leaves_places_for_others() {
    let mut cluster = Cluster::prepare(one_frontend());
    cluster.limit_files("frontend", FEW_FILES);
    cluster.start_everything().await;
    let address = cluster.frontends[0].clone();
    for greed in GREED {
        let text = if greed.ends_with(' ') { format!("{greed}{CHUNKED}") } else { greed.into() };
        // They come again as soon as they are thrown out, and are never silent for long.
        let greedy = join_all((0..MANY).map(async |_| -> Infallible {
            loop {
                if let Ok(mut client) = send_from(GREEDY, &address, &text).await {
                    while status(&mut client, Duration::from_millis(500)).await == Some(200) {
                        let _if_it_is_open = client.write_all(text.as_bytes()).await;
                    }
                }
                actix_web::rt::time::sleep(Duration::from_millis(20)).await;
            }
        }));
        let modest = async {
            for number in 0..20 {
                let start = now();
                let answer = ask_from(MODEST, &address, GET).await;
                assert_eq!(answer, Some(200), "{greed:?}: the {number}th, {:?}", start.elapsed());
            }
        };
        tokio::select! {
            _ = greedy => {}
            () = modest => {}
        }
    }
}

#[actix_web::test]
async fn a_role_is_let_in_where_strangers_have_taken_every_place() {
    let mut cluster = Cluster::prepare(Settings { secret: Some(SECRET), ..one_frontend() });
    for role in ["catalog", "frontend"] {
        cluster.limit_files(role, FEW_FILES);
    }
    cluster.start_everything().await;
    let catalog = cluster.address("catalog");
    let frontend = cluster.frontends[0].clone();
    let outside = "GET /internal/catalog-status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let strangers = join_all((0..2 * MANY).map(async |number| -> Infallible {
        let address = if number % 2 == 0 { &catalog } else { &frontend };
        // From the host that the roles are on, so that it is the secret that tells them apart.
        loop {
            if let Ok(mut client) = send_from(Ipv4Addr::LOCALHOST, address, outside).await {
                while status(&mut client, Duration::from_millis(100)).await.is_some() {
                    let _if_it_is_open = client.write_all(outside.as_bytes()).await;
                }
            }
            actix_web::rt::time::sleep(Duration::from_millis(20)).await;
        }
    }));
    let drop_nothing = r#"{"session":{"boot":1,"serial":1},"toys":[]}"#;
    let invalidation = format!(
        "POST /internal/invalidate HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {SECRET}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{drop_nothing}",
        drop_nothing.len()
    );
    let roles = async {
        for _ in 0..20 {
            let start = now();
            eventually("a role is answered", async || {
                let answer = ask_from(Ipv4Addr::LOCALHOST, &frontend, &invalidation).await;
                matches!(answer, Some(200 | 421))
            })
            .await;
            assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
        }
        cluster.kill("order-1");
        cluster.start_role("order-1");
        let ready = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let replica = cluster.address("order-1");
        eventually("a replica that was restarted reaches its catalog", async || {
            ask_from(MODEST, &replica, ready).await == Some(200)
        })
        .await;
    };
    tokio::select! {
        _ = strangers => {}
        () = roles => {}
    }
}

#[actix_web::test]
async fn a_role_ends_in_time_though_clients_do_not_read_or_do_not_send() {
    const METRICS: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut cluster = Cluster::start(one_frontend()).await;
    for (role, request) in [("frontend", LIST), ("order-3", METRICS), ("catalog", METRICS)] {
        let address = cluster.address(role);
        let _unread = stuff(&address, &request.repeat(100)).await;
        let mut unsent = Vec::new();
        for text in
            [format!("POST /orders {CHUNKED}"), format!("POST /nothing {CHUNKED}"), GET.into()]
        {
            unsent.push(send_from(MODEST, &address, &text).await.unwrap());
        }
        let start = now();
        assert!(cluster.terminate(role).await.success());
        assert!(start.elapsed() < Duration::from_secs(1), "{role} took {:?}", start.elapsed());
    }
}

#[actix_web::test]
async fn more_clients_than_turns_are_all_served() {
    toystore::process::raise_file_limit();
    let cluster = Cluster::start(one_frontend()).await;
    let address = &cluster.frontends[0];
    let served = join_all((0..2_500).map(async |_| {
        let mut client = TcpStream::connect(address).await.unwrap();
        for _ in 0..4 {
            client.write_all(GET.as_bytes()).await.unwrap();
            let start = now();
            let answer = status(&mut client, TIME_LIMIT).await;
            assert_eq!(answer, Some(200), "after {:?}", start.elapsed());
        }
        client
    }));
    let clients = served.await;
    assert_eq!(buy(address, "Tux", 1, "k").await.unwrap().0, 200);
    drop(clients);
}

#[actix_web::test]
async fn a_host_that_asks_more_often_than_it_may_is_told_when_to_come_again() {
    let mut cluster = Cluster::prepare(one_frontend());
    let roles = std::fs::read_to_string(cluster.roles()).unwrap();
    let limit = "\n[rate_limit]\nrequests_per_second = 1\nburst = 10\n";
    cluster.give_own_roles("frontend", &(roles + limit));
    cluster.start_everything().await;
    let address = &cluster.frontends[0];
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(ask_from(GREEDY, address, GET).await.unwrap());
    }
    assert_eq!(answers[..10], [200; 10]);
    assert!(answers.iter().filter(|status| **status == 429).count() >= 5, "{answers:?}");
    let last = GET.replace("HTTP/1.1", "HTTP/1.0");
    let refused = send_from(GREEDY, address, &last);
    let refused = read_to_end(&mut refused.await.unwrap()).await;
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    // Others are served, and so are supervisors and roles.
    assert_eq!(ask_from(MODEST, address, GET).await, Some(200));
    let ready = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(ask_from(GREEDY, address, ready).await, Some(200));
}
