//! `/events`: what a page is told while it is open.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use actix_web::rt::task::spawn_blocking;
use serde_json::{Value, json};
use toystore::clock;
use toystore::wire::event::EventKind;
use toystore::wire::recording::{ChangesQuery, RecordedEvent, RoleChanges};

use crate::eventually::eventually;
use crate::neighbours::of_frontend::Fixture;
use crate::neighbours::{Reply, Store};

/// The pages that may follow at once, as the front-end has it.
const MOST_STREAMS: usize = 64;
/// A front-end that waited for its pages would take as long as it waits for purchases: 12 s.
const PROMPT: Duration = Duration::from_secs(6);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A run of a fake replica, and what its clock shows whenever it is asked.
const RUN: u64 = 5;
const NOW_US: u64 = 90_000_000;

/// An event as a browser gets it.
#[derive(Debug)]
struct Told {
    id: String,
    name: String,
    data: Value,
}

/// A page that follows the events.
struct Page(BufReader<TcpStream>);

impl Page {
    /// Begins to follow. Returns the status, too.
    fn open(address: SocketAddr, headers: &str) -> (u16, Self) {
        Self::ask(address, "/events", headers)
    }

    /// Asks for what there is now, as a page does that has no place, and keeps the connection.
    fn poll(address: SocketAddr) -> (u16, Self) {
        Self::ask(address, "/events?once", "")
    }

    fn ask(address: SocketAddr, path: &str, headers: &str) -> (u16, Self) {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout");
        let request = format!("GET {path} HTTP/1.1\r\nHost: store\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut page = Self(BufReader::new(stream));
        let status = page.line().expect("a status line");
        (status[9..12].parse().expect("a status"), page)
    }

    /// The next line, or `None` when the stream has ended.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.0.read_line(&mut line).expect("it is told");
        (length > 0).then(|| line.trim_end().to_owned())
    }

    /// Reads on until an event of this name.
    fn next(&mut self, name: &str) -> Told {
        let mut id = String::new();
        let mut is_it = false;
        loop {
            let line = self.line().expect("the stream goes on");
            if let Some(sent) = line.strip_prefix("id: ") {
                sent.clone_into(&mut id);
            } else if let Some(sent) = line.strip_prefix("event: ") {
                is_it = sent == name;
            } else if let Some(sent) = line.strip_prefix("data: ")
                && is_it
            {
                let data = serde_json::from_str(sent).expect("JSON");
                return Told { id, name: name.to_owned(), data };
            }
        }
    }

    /// Reads to the end.
    fn end(mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("it ends");
    }
}

/// What a page is told that asks once, and had the event `after` last.
async fn once(fixture: &Fixture<'_>, after: &str) -> Vec<Told> {
    let answer = fixture.frontend.get(&format!("/events?once&after={after}")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    let told = text.split("\n\n").filter_map(|block| {
        let field = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name}: ")))
                .map(str::to_owned)
        };
        let data = serde_json::from_str(&field("data")?).expect("JSON");
        Some(Told { id: field("id").unwrap_or_default(), name: field("event")?, data })
    });
    told.collect()
}

fn feed(told: &[Told]) -> Vec<&Told> {
    told.iter().filter(|told| told.name == "feed").collect()
}

#[actix_web::test]
async fn a_page_that_was_cut_off_is_told_what_it_missed() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let all = eventually("what is to be told is told", async || {
        let all = once(&fixture, "").await;
        let is_told = |text: &str| feed(&all).iter().any(|told| told.data["text"] == text);
        (is_told("selected leader 3, epoch 1") && is_told("the catalog answers")).then_some(all)
    })
    .await;
    let all = feed(&all);
    let (first, last) = (&all[0].id, &all[all.len() - 1].id);
    assert!(feed(&once(&fixture, last).await).is_empty(), "it had all");
    assert_eq!(feed(&once(&fixture, first).await).len(), all.len() - 1);
    // An id of an earlier process, or none at all, says nothing of what this one told.
    for other in ["00000000-999", "x", "-"] {
        assert_eq!(feed(&once(&fixture, other).await).len(), all.len(), "{other}");
    }
    let (address, header) = (fixture.frontend.address, format!("Last-Event-ID: {first}\r\n"));
    let second = all[1].id.clone();
    let told = spawn_blocking(move || Page::open(address, &header).1.next("feed"));
    assert_eq!(told.await.expect("no panic").id, second);
}

/// Has replica 1 answer, to a caller that lacks them, that these things happened to it, each so
/// long before it is asked, of which the first `dropped` are kept no more.
fn changed(fixture: &Fixture<'_>, dropped: u64, changes: &'static [(u64, &str, &str)]) {
    fixture.replica(1).on("changes", move |request| {
        let query: ChangesQuery = request.read();
        let from = if query.run == RUN { query.from } else { 0 };
        let first = from.max(dropped);
        let lacking = changes.iter().skip(usize::try_from(first).expect("a few"));
        Reply::data(RoleChanges {
            role: "order-1".into(),
            run: RUN,
            first,
            dropped: dropped.saturating_sub(from),
            now_us: NOW_US,
            changes: lacking.map(|(ago_ms, name, text)| recorded(*ago_ms, name, text)).collect(),
        })
    });
}

fn recorded(ago_ms: u64, name: &str, text: &str) -> RecordedEvent {
    RecordedEvent {
        time_us: NOW_US - ago_ms * 1_000,
        kind: EventKind::Local,
        name: name.into(),
        message: None,
        traces: Vec::new(),
        span: None,
        detail: json!({ "text": text }).as_object().cloned(),
    }
}

/// What is told of replica 1, once anything is.
async fn told_of_replica(fixture: &Fixture<'_>) -> Vec<Value> {
    eventually("what the replica recorded is told", async || {
        let all = once(fixture, "").await;
        let of_replica = feed(&all).into_iter().filter(|told| told.data["role"] == "order-1");
        Some(of_replica.map(|told| told.data.clone()).collect::<Vec<_>>())
            .filter(|all| !all.is_empty())
    })
    .await
}

fn texts(told: &[Value]) -> Vec<&str> {
    told.iter().map(|event| event["text"].as_str().expect("a text")).collect()
}

#[actix_web::test]
async fn what_a_role_recorded_is_told_with_the_roles_own_time_and_once() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    changed(
        &fixture,
        0,
        &[(60_000, "start", "order-1 starts"), (30_000, "caught_up", "caught up")],
    );
    let told = told_of_replica(&fixture).await;
    assert_eq!(texts(&told), ["starts", "caught up"]);
    let at = |place: usize| told[place]["at_ms"].as_u64().expect("a time");
    assert_eq!(at(1) - at(0), 30_000, "the role's own clock says how long it took");
    let now = u64::try_from(clock::time_of_day().as_millis()).expect("a time");
    assert!((30_000..40_000).contains(&(now - at(1))), "{} of {now}", at(1));
    // Asked again, the replica is asked for what follows, and nothing is told twice.
    let asked = fixture.replica(1).received("changes").len();
    eventually("it is asked again", async || {
        once(&fixture, "").await;
        (fixture.replica(1).received("changes").len() > asked + 1).then_some(())
    })
    .await;
    let last = fixture.replica(1).received("changes").pop().expect("it was asked");
    assert_eq!(last.read::<ChangesQuery>(), ChangesQuery { run: RUN, from: 2 });
    assert_eq!(texts(&told_of_replica(&fixture).await), ["starts", "caught up"]);
}

#[actix_web::test]
async fn changes_that_a_role_does_not_keep_any_more_are_counted() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    changed(&fixture, 2, &[(9, "start", "a"), (8, "log.behind", "b"), (7, "log.behind", "c")]);
    let told = told_of_replica(&fixture).await;
    assert_eq!(texts(&told), ["2 earlier changes are not kept any more", "c"]);
    assert_eq!((&told[0]["dropped"], &told[1]["dropped"]), (&json!(2), &Value::Null));
}

#[actix_web::test]
async fn a_front_end_that_starts_again_tells_what_the_roles_recorded_before() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    changed(&fixture, 0, &[(60_000, "follower.dropped", "replica 2 does not answer")]);
    let before = told_of_replica(&fixture).await;
    let Fixture { frontend, neighbours } = fixture;
    frontend.stop().await;
    let fixture = Fixture { frontend: store.run_frontend().ready().await, neighbours };
    let after = told_of_replica(&fixture).await;
    assert_eq!((texts(&after), &after[0]["key"]), (texts(&before), &before[0]["key"]));
}

#[actix_web::test]
async fn no_role_is_asked_what_changed_while_no_page_is_open() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let replica = fixture.replica(1);
    changed(&fixture, 0, &[(9, "start", "order-1 starts")]);
    // The front-end has had the time to ask many times.
    let passes = async || replica.receives("status", replica.received("status").len() + 20).await;
    passes().await;
    assert!(replica.received("changes").is_empty(), "no page is open");
    let address = fixture.frontend.address;
    let page = spawn_blocking(move || Page::open(address, "").1);
    let page = page.await.expect("no panic");
    replica.receives("changes", 2).await;
    drop(page);
    eventually("it is not asked any more", async || {
        let asked = replica.received("changes").len();
        passes().await;
        (replica.received("changes").len() == asked).then_some(())
    })
    .await;
}

#[actix_web::test]
async fn a_page_is_told_the_state_and_the_stock_without_asking_again() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let page = spawn_blocking(move || {
        let (status, mut page) = Page::open(address, "");
        let state = page.next("cluster").data;
        (status, state, page.next("stock").data, page)
    });
    let (status, state, stock, mut page) = page.await.expect("no panic");
    assert_eq!(status, 200);
    let cluster: Value = fixture.cluster().await;
    for field in ["epoch", "leader", "replicas", "frontend", "stopped"] {
        assert_eq!(state[field], cluster[field], "{field}");
    }
    assert_eq!(stock, fixture.frontend.get("/products").await.data::<Value>());
    fixture.change(&fixture.frontend, "Tux", 99).await;
    let told = spawn_blocking(move || {
        let is_sold = |toy: &Value| toy["name"] == "Tux" && toy["quantity"] == 99;
        let has_sold = |stock: &Value| stock.as_array().expect("a list").iter().any(is_sold);
        std::iter::repeat_with(|| page.next("stock").data).any(|stock| has_sold(&stock))
    });
    assert!(told.await.expect("no panic"));
}

#[actix_web::test]
async fn a_hundred_pages_do_not_hold_up_a_front_end_that_is_to_end() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let pages = spawn_blocking(move || {
        let follow = std::iter::repeat_with(|| Page::open(address, "")).take(MOST_STREAMS);
        let poll = std::iter::repeat_with(|| Page::poll(address)).take(100 - MOST_STREAMS);
        let opened = follow.chain(poll).map(|(status, mut page)| {
            assert_eq!(status, 200);
            page.next("cluster");
            page
        });
        opened.collect::<Vec<_>>()
    });
    let pages = pages.await.expect("no panic");
    let began = clock::now();
    fixture.frontend.stop().await;
    assert!(began.elapsed() < PROMPT, "it took {:?}", began.elapsed());
    spawn_blocking(|| pages.into_iter().for_each(Page::end)).await.expect("no panic");
}

#[actix_web::test]
async fn pages_beyond_the_most_are_told_to_ask() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let opened = spawn_blocking(move || {
        let open = || Page::open(address, "");
        std::iter::repeat_with(open).take(MOST_STREAMS).collect::<Vec<_>>()
    });
    let mut pages = opened.await.expect("no panic");
    assert!(pages.iter().all(|(status, _)| *status == 200));
    let (code, message) = fixture.frontend.get("/events").await.error();
    assert_eq!(code, 503);
    assert!(message.contains("/events?once"), "{message}");
    assert!(once(&fixture, "").await.iter().any(|told| told.name == "cluster"));
    pages.pop();
    eventually("a place is free again", async || {
        let reopened = spawn_blocking(move || Page::open(address, "")).await;
        (reopened.expect("no panic").0 == 200).then_some(())
    })
    .await;
}
