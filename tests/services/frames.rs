//! Calls as frames, as a replica takes them: the same answers as over HTTP, side by side on one
//! connection, and only for callers with the secret.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::rt;
use actix_web::rt::net::TcpStream;
use actix_web::web::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;
use toystore::identity::Identity;
use toystore::roles::{Access, Address, Role};
use toystore::transport::{Http, LARGEST_MESSAGE, Peer};
use toystore::wire::calls::{Buy, Call, Caller, GetOrder, GetStatus, MessageTag};
use toystore::wire::event::EventKind;
use toystore::wire::frame::{self, AnswerHead, CallHead, Hello, PREFACE, Welcome};
use toystore::wire::identity::Addressee;
use toystore::wire::order::OrderNumber;
use toystore::wire::purchase::{Decision, PurchaseReply};
use toystore::wire::recording::{RecordedEvent, RoleEvents};
use toystore::wire::replication::{Epoch, Nomination, ReplicaId, ReplicaStatus};
use toystore::wire::timing::{ServerTiming, TimedPart};

use crate::eventually::TIME_LIMIT;
use crate::neighbours::of_order::Catalog;
use crate::neighbours::{Fault, OrderRole, Running, Store, purchase};

const SECRET: &str = "a-secret-of-the-test";

/// One connection to a role.
struct Connection(Framed<TcpStream, LengthDelimitedCodec>);

impl Connection {
    /// A connection whose caller has sent the preface and this secret.
    async fn with_secret(address: SocketAddr, secret: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let mut first = BytesMut::from(PREFACE);
        frame::write(&mut first, &Hello { secret: secret.map(Cow::Borrowed) }, |_| {});
        stream.write_all(&first).await.expect("it reads");
        Self(Framed::new(stream, frame::codec(LARGEST_MESSAGE)))
    }

    async fn to(role: &Running<OrderRole>) -> Self {
        let mut connection = Self::with_secret(role.address, None).await;
        assert_eq!(connection.welcome().await, Some(Welcome::Accepted));
        connection
    }

    async fn frame(&mut self) -> Option<Bytes> {
        let frame = rt::time::timeout(TIME_LIMIT, self.0.next()).await.expect("it comes in time");
        Some(frame?.expect("it is a frame").freeze())
    }

    async fn welcome(&mut self) -> Option<Welcome> {
        let frame = self.frame().await?;
        Some(frame::read::<Welcome>(&frame).expect("it is a welcome").0)
    }

    async fn send(&mut self, head: &CallHead<'_>, body: &impl Serialize) {
        let mut bytes = BytesMut::new();
        let body = serde_json::to_vec(body).expect("JSON");
        frame::write(&mut bytes, head, |buffer| buffer.extend_from_slice(&body));
        self.0.get_mut().write_all(&bytes).await.expect("it reads");
    }

    async fn call<C: Call>(&mut self, id: u64, call: &C) {
        self.send(&CallHead::new(id, C::PATH, &Caller::default()), call).await;
    }

    /// The next answer: its call's number, its status and its body.
    async fn answer(&mut self) -> (u64, u16, String) {
        let frame = self.frame().await.expect("the connection is open");
        let (head, body) = frame::read::<AnswerHead>(&frame).expect("it is an answer");
        let AnswerHead { id, status, .. } = head;
        (id, status, String::from_utf8(body.to_vec()).expect("bodies are text"))
    }
}

#[actix_web::test]
async fn a_call_has_the_answer_that_it_has_over_http() {
    let store = Store::new();
    let replica = store.run_order(3);
    let over_http: ReplicaStatus = replica.get("/internal/status").await.data();
    let mut connection = Connection::to(&replica).await;
    connection.call(7, &GetStatus {}).await;
    let (id, status, body) = connection.answer().await;
    assert_eq!((id, status), (7, 200));
    assert_eq!(serde_json::from_str::<ReplicaStatus>(&body).unwrap(), over_http);
}

#[actix_web::test]
async fn calls_on_one_connection_do_not_wait_for_one_another() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    let mut connection = Connection::to(&replica).await;
    connection.call(0, &Nomination { seen: Epoch(0) }).await;
    assert_eq!(connection.answer().await.1, 200);
    let release = CancellationToken::new();
    catalog.fail_next("commit", Fault::Held(release.clone()));
    let buy = Buy { purchase: purchase("a", "Tux", 1), within_ms: None };
    connection.call(1, &buy).await;
    catalog.receives("commit", 1).await;
    connection.call(2, &GetStatus {}).await;
    assert_eq!(connection.answer().await.0, 2, "the purchase still waits for the catalog");
    release.cancel();
    let (id, _, body) = connection.answer().await;
    let granted = PurchaseReply::Decided(Decision::Granted(OrderNumber(0)));
    assert_eq!((id, serde_json::from_str::<PurchaseReply>(&body).unwrap()), (1, granted));
}

#[actix_web::test]
async fn calls_that_are_wrong_are_refused_one_by_one() {
    let store = Store::new();
    let replica = store.run_order(3);
    let mut connection = Connection::to(&replica).await;
    let caller = Caller::default();
    connection.send(&CallHead::new(1, "/no-such-call", &caller), &json!({})).await;
    let (id, status, why) = connection.answer().await;
    assert_eq!((id, status), (1, 404));
    assert!(why.contains("no such call"), "{why}");
    connection.send(&CallHead::new(2, GetOrder::PATH, &caller), &json!({"number": "one"})).await;
    let (id, status, why) = connection.answer().await;
    assert_eq!((id, status), (2, 400));
    assert!(why.contains("invalid request body"), "{why}");
    let meant_for = Some(Addressee { role: "order-2".into(), store: None });
    let caller = Caller { meant_for, ..Caller::default() };
    connection.send(&CallHead::new(3, GetStatus::PATH, &caller), &GetStatus {}).await;
    let (id, status, why) = connection.answer().await;
    assert_eq!((id, status), (3, 421));
    assert!(why.contains("this is order-3"), "{why}");
    connection.call(4, &GetStatus {}).await;
    assert_eq!(connection.answer().await.1, 200, "the connection goes on");
}

#[actix_web::test]
async fn a_caller_without_the_secret_is_told_so_and_makes_no_call() {
    let store = Store { secret: Some(SECRET), ..Store::new() };
    let replica = store.run_order(3);
    for secret in [None, Some("another-secret"), Some("")] {
        let mut connection = Connection::with_secret(replica.address, secret).await;
        let welcome = connection.welcome().await;
        assert!(matches!(welcome, Some(Welcome::Refused { status: 403, .. })), "{welcome:?}");
        assert_eq!(connection.frame().await, None, "the connection is closed");
    }
    let mut connection = Connection::with_secret(replica.address, Some(SECRET)).await;
    assert_eq!(connection.welcome().await, Some(Welcome::Accepted));
    connection.call(0, &GetStatus {}).await;
    assert_eq!(connection.answer().await.1, 200);
}

#[actix_web::test]
async fn bytes_that_are_no_frames_end_the_connection_and_nothing_else() {
    let store = Store::new();
    let replica = store.run_order(3);
    for bytes in
        [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x01\x80", b"\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut connection = Connection::to(&replica).await.0.into_inner();
        connection.write_all(bytes).await.expect("it reads");
        connection.shutdown().await.expect("it is open");
        let mut rest = Vec::new();
        let read = rt::time::timeout(TIME_LIMIT, connection.read_to_end(&mut rest)).await;
        read.expect("it closes the connection").ok();
    }
    assert_eq!(replica.get("/internal/status").await.status, 200);
}

#[actix_web::test]
async fn a_role_that_stops_answers_what_it_has_accepted_and_closes_its_connections() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    let mut connection = Connection::to(&replica).await;
    let mut resting = Connection::to(&replica).await;
    connection.call(0, &Nomination { seen: Epoch(0) }).await;
    assert_eq!(connection.answer().await.1, 200);
    let release = CancellationToken::new();
    catalog.fail_next("commit", Fault::Held(release.clone()));
    connection.call(1, &Buy { purchase: purchase("a", "Tux", 1), within_ms: None }).await;
    catalog.receives("commit", 1).await;
    let stopped = rt::spawn(replica.stop());
    assert_eq!(resting.frame().await, None);
    release.cancel();
    let (id, status, _) = connection.answer().await;
    assert_eq!((id, status), (1, 200));
    assert_eq!(connection.frame().await, None);
    stopped.await.expect("it ends in order");
}

/// A role at a listener that the test plays.
fn peer_at(listener: &TcpListener) -> Peer {
    let address = listener.local_addr().expect("it is bound").to_string();
    let address: Address = serde_json::from_value(json!(address)).expect("it is an address");
    let own = Identity::new(Role::Frontend(1), None);
    let http = Http::new(&address, Access::default());
    Peer::framed(Role::Order(ReplicaId(3)), &address, Access::default(), http, &own)
}

/// Answers the next call with 503.
async fn refuse_next(connection: &mut Framed<TcpStream, LengthDelimitedCodec>) {
    let call = connection.next().await.expect("a call comes").expect("in a frame");
    let (head, _) = frame::read::<CallHead<'_>>(&call).expect("it has a head");
    let mut bytes = BytesMut::new();
    frame::write(&mut bytes, &unavailable(head.id), |_| {});
    connection.get_mut().write_all(&bytes).await.expect("the caller reads");
}

#[actix_web::test]
async fn a_connection_on_which_nothing_arrives_is_left_for_a_new_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let peer = peer_at(&listener);
    let server = rt::spawn(async move {
        // The first connection's calls are not answered; the second one's are.
        let (first, _) = listener.accept().await.expect("it is called");
        let _first = welcomed(first).await;
        let (second, _) = listener.accept().await.expect("it is called");
        refuse_next(&mut welcomed(second).await).await;
    });
    let silent = peer.call(&GetStatus {}, Duration::from_millis(50)).await;
    assert_eq!(silent.unwrap_err().to_string(), "it did not answer in time");
    let answered = peer.call(&GetStatus {}, TIME_LIMIT).await;
    assert!(answered.unwrap_err().to_string().starts_with("it answered 503"));
    server.await.expect("the server's part is over");
}

#[actix_web::test]
async fn a_call_that_is_not_awaited_to_its_end_leaves_the_connection_as_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let peer = peer_at(&listener);
    let arrived = CancellationToken::new();
    let first_is_there = arrived.clone();
    let server = rt::spawn(async move {
        let (only, _) = listener.accept().await.expect("it is called");
        let mut only = welcomed(only).await;
        only.next().await.expect("a call comes").expect("in a frame");
        first_is_there.cancel();
        refuse_next(&mut only).await;
    });
    tokio::select! {
        _answer = peer.call(&GetStatus {}, TIME_LIMIT) => unreachable!("it has no answer"),
        () = arrived.cancelled() => {}
    }
    let answered = peer.call(&GetStatus {}, TIME_LIMIT).await;
    assert!(answered.unwrap_err().to_string().starts_with("it answered 503"));
    server.await.expect("the server's part is over");
}

fn unavailable(id: u64) -> AnswerHead {
    AnswerHead { id, status: 503, timing: ServerTiming::default() }
}

async fn welcomed(mut stream: TcpStream) -> Framed<TcpStream, LengthDelimitedCodec> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await.expect("a caller begins with the preface");
    assert_eq!(preface, PREFACE);
    let mut framed = Framed::new(stream, frame::codec(LARGEST_MESSAGE));
    framed.next().await.expect("the caller says who it is").expect("in a frame");
    let mut bytes = BytesMut::new();
    frame::write(&mut bytes, &Welcome::Accepted, |_| {});
    framed.get_mut().write_all(&bytes).await.expect("the caller reads");
    framed
}

#[actix_web::test]
async fn a_call_is_recorded_counted_and_timed_as_over_http() {
    let store = Store::new();
    let _catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).ready().await;
    let mut connection = Connection::to(&replica).await;
    let message = Some(MessageTag { from: "frontend".into(), id: 5 });
    let caller = Caller { message, ..Caller::default() };
    let nomination = Nomination { seen: Epoch(0) };
    connection.send(&CallHead::new(0, Nomination::PATH, &caller), &nomination).await;
    assert_eq!(connection.answer().await.1, 200);
    let all = json!({ "traces": [], "from_age_us": 3_600_000_000_u64, "to_age_us": 0 });
    let recorded: RoleEvents = replica.post("/internal/events", all).await.data();
    let of_call = |event: &&RecordedEvent| {
        let message = event.message.as_ref();
        message.is_some_and(|it| it.id.starts_with("0000000000000005") && it.peer == "frontend")
    };
    let kinds: Vec<_> = recorded.events.iter().filter(of_call).map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Recv, EventKind::Send]);

    connection.call(1, &Buy { purchase: purchase("a", "Tux", 1), within_ms: None }).await;
    let frame = connection.frame().await.expect("the connection is open");
    let (head, _) = frame::read::<AnswerHead>(&frame).expect("it is an answer");
    assert!(head.timing.get(TimedPart::Fsync).is_some(), "{head:?}");
    let metrics = String::from_utf8(replica.get("/metrics").await.body.to_vec()).expect("text");
    let counted = "toystore_http_requests_total{code=\"200\",route=\"/internal/purchase\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
}

#[actix_web::test]
async fn a_caller_that_does_not_say_who_it_is_is_left() {
    let store = Store::new();
    let replica = store.run_order(3);
    let hello = {
        let mut bytes = BytesMut::from(PREFACE);
        frame::write(&mut bytes, &Hello { secret: None }, |_| {});
        bytes
    };
    for sent in [&hello[..PREFACE.len() - 2], PREFACE, &hello[..hello.len() - 1]] {
        let mut stream = TcpStream::connect(replica.address).await.expect("it listens");
        stream.write_all(sent).await.expect("it reads");
        let mut rest = Vec::new();
        let read = rt::time::timeout(TIME_LIMIT, stream.read_to_end(&mut rest)).await;
        read.expect("it closes the connection").ok();
    }
    assert_eq!(replica.get("/internal/status").await.status, 200);
}
