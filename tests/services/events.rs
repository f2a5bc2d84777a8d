//! `/events`: what a page is told while it is open.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use actix_web::rt::task::spawn_blocking;
use serde_json::Value;
use toystore::clock;

use crate::eventually::eventually;
use crate::neighbours::Store;
use crate::neighbours::of_frontend::Fixture;

/// The pages that may follow at once, as the front-end has it.
const MOST_STREAMS: usize = 64;
/// A front-end that waited for its pages would take as long as it waits for purchases: 12 s.
const PROMPT: Duration = Duration::from_secs(6);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

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
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout");
        let request = format!("GET /events HTTP/1.1\r\nHost: store\r\n{headers}\r\n");
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
    let all = eventually("who leads is told", async || {
        let all = once(&fixture, "").await;
        let texts: Vec<_> = feed(&all).iter().map(|told| told.data["text"].clone()).collect();
        texts.contains(&Value::from("selected leader 3, epoch 1")).then_some(all)
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
async fn pages_do_not_hold_up_a_front_end_that_is_to_end() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let address = fixture.frontend.address;
    let pages = spawn_blocking(move || {
        let open = || {
            let mut page = Page::open(address, "").1;
            page.next("cluster");
            page
        };
        std::iter::repeat_with(open).take(10).collect::<Vec<_>>()
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
