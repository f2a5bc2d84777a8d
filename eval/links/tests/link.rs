//! A link between a client and a server on this machine.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use links::{Link, State, Way};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// For anything that has to happen.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a test looks whether something happens that must not.
const A_WHILE: Duration = Duration::from_millis(50);

/// Both ends of a connection through a link.
struct Connection {
    link: Link,
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    async fn open(state: State) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let link = link_to(listener.local_addr().unwrap().to_string(), state);
        let client = TcpStream::connect(link.address()).await.unwrap();
        let (server, _) = in_time(listener.accept()).await.unwrap();
        Self { link, client, server }
    }
}

fn link_to(target: String, state: State) -> Link {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (link, work) = Link::new(listener, target, state).unwrap();
    tokio::spawn(work);
    link
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("it happens before the deadline")
}

async fn receive(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    in_time(stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

/// Whether nothing arrives for a while.
async fn receives_nothing(stream: &mut TcpStream) -> bool {
    timeout(A_WHILE, stream.read_u8()).await.is_err()
}

async fn connect_error(address: SocketAddr) -> Option<ErrorKind> {
    TcpStream::connect(address).await.err().map(|error| error.kind())
}

fn is_reset(outcome: &io::Result<usize>) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn bytes_pass_in_both_directions() {
    let mut ends = Connection::open(State::OPEN).await;
    ends.client.write_all(b"a question").await.unwrap();
    assert_eq!(receive(&mut ends.server, 10).await, b"a question");
    ends.server.write_all(b"an answer").await.unwrap();
    assert_eq!(receive(&mut ends.client, 9).await, b"an answer");
}

#[tokio::test]
async fn a_delay_holds_for_each_direction_and_for_a_new_connection() {
    const DELAY: Duration = Duration::from_millis(20);
    let began = Instant::now();
    let mut ends = Connection::open(State::distant(DELAY)).await;
    assert!(began.elapsed() >= 2 * DELAY, "connected after {:?}", began.elapsed());
    let began = Instant::now();
    ends.client.write_all(b"?").await.unwrap();
    receive(&mut ends.server, 1).await;
    assert!(began.elapsed() >= DELAY, "asked after {:?}", began.elapsed());
    ends.server.write_all(b"!").await.unwrap();
    receive(&mut ends.client, 1).await;
    assert!(began.elapsed() >= 2 * DELAY, "answered after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_delay_does_not_limit_how_many_messages_are_under_way() {
    const DELAY: Duration = Duration::from_millis(200);
    const MESSAGES: u8 = 20;
    let mut ends = Connection::open(State::late(DELAY)).await;
    let began = Instant::now();
    for number in 0..MESSAGES {
        ends.server.write_all(&[number]).await.unwrap();
        // So that each is read by itself.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(receive(&mut ends.client, MESSAGES.into()).await, (0..MESSAGES).collect::<Vec<_>>());
    assert!(began.elapsed() < 5 * DELAY, "one after the other: {:?}", began.elapsed());
}

#[tokio::test]
async fn held_bytes_arrive_when_the_direction_is_opened_again() {
    let mut ends = Connection::open(State::ANSWERS_HELD).await;
    ends.client.write_all(b"?").await.unwrap();
    assert_eq!(receive(&mut ends.server, 1).await, b"?");
    ends.server.write_all(b"!").await.unwrap();
    assert!(receives_nothing(&mut ends.client).await);
    ends.link.set(State::Up { requests: Way::Held, answers: Way::Open });
    assert_eq!(receive(&mut ends.client, 1).await, b"!");
    ends.client.write_all(b"?").await.unwrap();
    assert!(receives_nothing(&mut ends.server).await);
    ends.link.set(State::OPEN);
    assert_eq!(receive(&mut ends.server, 1).await, b"?");
}

#[tokio::test]
async fn a_cut_resets_both_ends_and_refuses_connections_until_it_is_healed() {
    let mut ends = Connection::open(State::OPEN).await;
    ends.link.set(State::Cut);
    assert!(is_reset(&in_time(ends.client.read(&mut [0])).await));
    assert!(is_reset(&in_time(ends.server.read(&mut [0])).await));
    let address = ends.link.address();
    // The listener closes a moment after the connections.
    in_time(async { while connect_error(address).await != Some(ErrorKind::ConnectionRefused) {} })
        .await;
    ends.link.set(State::OPEN);
    in_time(async { while connect_error(address).await.is_some() {} }).await;
}

#[tokio::test]
async fn a_connection_to_a_port_where_no_process_listens_is_reset() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let link = link_to(unused.to_string(), State::OPEN);
    let mut client = TcpStream::connect(link.address()).await.unwrap();
    assert!(is_reset(&in_time(client.read(&mut [0])).await));
}

#[tokio::test]
async fn one_direction_may_be_closed_before_the_other() {
    let mut ends = Connection::open(State::OPEN).await;
    ends.client.shutdown().await.unwrap();
    assert_eq!(in_time(ends.server.read(&mut [0])).await.unwrap(), 0);
    ends.server.write_all(b"late").await.unwrap();
    assert_eq!(receive(&mut ends.client, 4).await, b"late");
}

#[tokio::test]
async fn a_held_link_does_not_tell_that_the_other_side_has_closed() {
    let mut ends = Connection::open(State::HELD).await;
    drop(ends.server);
    assert!(receives_nothing(&mut ends.client).await);
    ends.link.set(State::OPEN);
    assert_eq!(in_time(ends.client.read(&mut [0])).await.unwrap(), 0);
}
