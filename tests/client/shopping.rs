//! What clients do: which requests they make, which they make again, and what they find at the end.

use std::collections::HashSet;
use std::net::TcpListener;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use toystore::client::core::receipts::Finding;
use toystore::client::core::schedule::{End, Pace};
use toystore::client::core::stats::RequestType;
use toystore::client::report::{Report, Verdict};
use toystore::client::{Settings, open_and_shop};
use toystore::roles::Address;
use toystore::wire::quantity::Quantity;

use crate::store::{Connections, Fails, Manners, Store, TOYS};

/// Three clients of ten visits each that buy whatever they see.
fn settings(frontends: &[&Address]) -> Settings {
    Settings {
        clients: 3,
        end: End::Visits(10),
        pace: Pace::Closed,
        probability: "1".parse().expect("1 is a probability"),
        quantity: Quantity::ONE,
        seed: 7,
        frontends: frontends.iter().map(|address| (*address).clone()).collect(),
    }
}

async fn shop(settings: &Settings) -> Report {
    open_and_shop(settings, &CancellationToken::new()).await.expect("the store is open")
}

/// An address where nobody listens.
fn closed_address() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("a listener has an address");
    Address::try_from(address.to_string()).expect("a socket's address is host:port")
}

#[actix_web::test]
async fn whoever_buys_everything_has_an_order_for_every_visit() {
    let store = Store::open(Manners::default());
    let report = shop(&settings(&[&store.address])).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!((report.iterations, report.orders, report.units), (30, 30, 30));
    assert_eq!((report.check.checked, report.check.matching), (30, 30));
    for (request, count) in [
        (RequestType::Query, 30),
        (RequestType::QueryHit, 30 - TOYS.len() as u64),
        (RequestType::QueryMiss, TOYS.len() as u64),
        (RequestType::Order, 30),
        (RequestType::OrderRefused, 0),
        (RequestType::OrderQuery, 30),
    ] {
        let row = report.requests.of(request);
        assert_eq!((row.count, row.errors, row.retries), (count, 0, 0), "{}", request.name());
        assert_eq!(row.latency.p50_ms.is_some(), count > 0);
    }
    assert_eq!(report.statuses, [(200, 90)].into());
    assert_eq!(store.read(|books| books.orders.len()), 30);
}

#[actix_web::test]
async fn every_purchase_has_a_key_of_its_own_in_every_run() {
    let store = Store::open(Manners::default());
    shop(&settings(&[&store.address])).await;
    shop(&settings(&[&store.address])).await;
    let keys = store.read(|books| books.keys.clone());
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 60);
    assert!(keys.iter().all(|key| key.len() == 32));
}

#[actix_web::test]
async fn the_same_seed_asks_for_the_same_toys_and_buys_the_same() {
    let mut logs = Vec::new();
    for seed in [7, 7, 8] {
        let store = Store::open(Manners::default());
        let probability = "0.4".parse().unwrap();
        let settings = settings(&[&store.address]);
        shop(&Settings { clients: 1, end: End::Visits(50), seed, probability, ..settings }).await;
        logs.push(store.read(|books| books.log.clone()));
    }
    assert_eq!(logs[0], logs[1]);
    assert_ne!(logs[0], logs[2]);
    assert!((5..40).contains(&logs[0].iter().filter(|toy| toy.starts_with('+')).count()));
}

#[actix_web::test]
async fn an_order_that_the_store_tells_wrong_or_not_at_all_fails_the_check() {
    for (manners, number, finding) in [
        (Manners { lies_about: Some(4), ..Manners::default() }, 4, Finding::Different),
        (Manners { forgets: Some(5), ..Manners::default() }, 5, Finding::Missing),
    ] {
        let store = Store::open(manners);
        let report = shop(&settings(&[&store.address])).await;
        assert_eq!(report.verdict(), Verdict::CheckFailed);
        assert_eq!((report.check.failed, report.check.matching), (1, 29));
        let failure = &report.check.failures[0];
        assert_eq!((failure.number.0, failure.finding), (number, finding));
    }
}

#[actix_web::test]
async fn a_number_that_is_given_out_twice_fails_the_check() {
    let store = Store::open(Manners { repeats_numbers: true, ..Manners::default() });
    let report = shop(&Settings { end: End::Visits(1), ..settings(&[&store.address]) }).await;
    assert_eq!(report.verdict(), Verdict::CheckFailed);
    let repeated = report.check.failures.iter().filter(|f| f.finding == Finding::Repeated);
    assert_eq!(repeated.count(), 2);
}

#[actix_web::test]
async fn an_order_answered_503_is_tried_again_with_the_same_key() {
    let store = Store::open(Manners { unavailable: 1, ..Manners::default() });
    let one = Settings { clients: 1, end: End::Visits(1), ..settings(&[&store.address]) };
    let report = shop(&one).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!((report.orders, report.check.matching), (1, 1));
    let row = report.requests.of(RequestType::Order);
    assert_eq!((row.count, row.retries, row.errors), (1, 1, 0));
    assert_eq!(report.statuses, [(200, 3), (503, 1)].into());
    let keys = store.read(|books| books.keys.clone());
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[actix_web::test]
async fn an_order_whose_answer_broke_off_is_found_and_not_bought_again() {
    let store = Store::open(Manners { broken: 1, ..Manners::default() });
    let one = Settings { clients: 1, end: End::Visits(1), ..settings(&[&store.address]) };
    let report = shop(&one).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!((report.orders, report.requests.of(RequestType::Order).retries), (1, 1));
    assert_eq!((report.unanswered.broken, report.orders_in_doubt), (1, 0));
    assert_eq!(store.read(|books| (books.orders.len(), books.keys.len())), (1, 2));
}

#[actix_web::test]
async fn a_purchase_refused_for_lack_of_stock_is_no_error() {
    let store = Store::open(Manners { stock: Some(2), ..Manners::default() });
    let quantity = Quantity::new(3).unwrap();
    let report = shop(&Settings { quantity, ..settings(&[&store.address]) }).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!(report.orders, 0);
    let row = report.requests.of(RequestType::Order);
    assert_eq!((row.count, row.refusals, row.errors, row.retries), (0, 30, 0, 0));
    assert_eq!(row.latency.mean_ms, None);
    assert_eq!(report.requests.of(RequestType::OrderRefused).count, 30);
}

#[actix_web::test]
async fn a_toy_that_is_sold_out_is_not_ordered() {
    let store = Store::open(Manners { stock: Some(0), ..Manners::default() });
    let report = shop(&settings(&[&store.address])).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!(store.read(|books| books.keys.len()), 0);
}

#[actix_web::test]
async fn clients_of_a_frontend_that_is_down_go_on_to_the_next() {
    let store = Store::open(Manners::default());
    let report = shop(&settings(&[&closed_address(), &store.address])).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!((report.orders, report.check.matching), (30, 30));
    // The first and the third client begin at the front-end that is down, and leave it for good.
    assert_eq!(report.requests.of(RequestType::Query).retries, 2);
    assert_eq!(report.unanswered.nobody_listens, 2);
    assert!(report.clients.iter().all(|client| client.frontend == store.address.as_str()));
}

#[actix_web::test]
async fn errors_are_counted_by_reason_and_never_measured() {
    let store = Store::open(Manners { fails: Fails::Queries, ..Manners::default() });
    let report = shop(&settings(&[&store.address])).await;
    assert_eq!(report.verdict(), Verdict::NoneSucceeded(RequestType::Query));
    let row = report.requests.of(RequestType::Query);
    assert_eq!((row.count, row.errors, row.latency.mean_ms), (0, 30, None));
    assert_eq!(report.complaints, [("query: it answered 500: a bug".to_owned(), 30)].into());
}

#[actix_web::test]
async fn an_open_loop_makes_its_visits_and_ends_in_time() {
    let store = Store::open(Manners::default());
    let pace = Pace::Open("1000".parse().unwrap());
    let end = End::Time("0.1".parse().unwrap());
    let report = shop(&Settings { pace, end, ..settings(&[&store.address]) }).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert!((1..=100).contains(&report.iterations), "{} iterations", report.iterations);
    assert_eq!(report.run.pace, "open");
    assert_eq!(report.iterations_due, Some(100));
}

#[actix_web::test]
async fn runs_with_the_cache_and_without_it_are_pairs() {
    let mut runs = Vec::new();
    for without_cache in [false, true] {
        let store = Store::open(Manners { without_cache, ..Manners::default() });
        let settings = settings(&[&store.address]);
        let report = shop(&Settings { probability: "0.4".parse().unwrap(), ..settings }).await;
        assert_eq!(report.hit_ratio.is_none(), without_cache);
        // Three clients at once: what they do is the same, in which order is the store's doing.
        let mut log = store.read(|books| books.log.clone());
        log.sort();
        runs.push(log);
    }
    assert_eq!(runs[0], runs[1]);
}

#[actix_web::test]
async fn clients_are_spread_over_the_frontends_and_check_where_they_bought() {
    let store = Store::open(Manners::default());
    let other = store.another_door();
    let report = shop(&settings(&[&store.address, &other])).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!((report.orders, report.check.matching), (30, 30));
    let used: Vec<&str> = report.clients.iter().map(|client| client.frontend.as_str()).collect();
    assert_eq!(used, [store.address.as_str(), other.as_str(), store.address.as_str()]);
    let doors = [(store.address.to_string(), 20), (other.to_string(), 10)].into();
    assert_eq!(store.read(|books| books.doors.clone()), doors);
}

#[actix_web::test]
async fn a_store_that_ends_each_connection_is_asked_over_new_ones() {
    let store = Store::open(Manners { connections: Connections::Ended, ..Manners::default() });
    let report = shop(&settings(&[&store.address])).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!(report.requests.of(RequestType::Query).retries, 0);
    assert_eq!(report.statuses, [(200, 90)].into());
}

/// A store that hangs for half a second hangs for all who would have come meanwhile. At 100 visits
/// a second, those that were due 100 ms or more before its end (the sixth up to the 45th, at the
/// least) waited as long, though a client that waits for its answers sent one of them only.
#[actix_web::test]
async fn in_an_open_loop_those_who_would_have_waited_did() {
    for (pace, slow) in [(Pace::Closed, 1..=50), (Pace::Open("100".parse().unwrap()), 40..=50)] {
        let stalls = Some((4, Duration::from_millis(500)));
        let store = Store::open(Manners { stalls, ..Manners::default() });
        let probability = "0".parse().unwrap();
        let settings = settings(&[&store.address]);
        let one = Settings { clients: 1, end: End::Visits(50), pace, probability, ..settings };
        let report = shop(&one).await;
        let bins = &report.requests.of(RequestType::Query).histogram;
        let waited: u64 = bins.iter().filter(|bin| bin.up_to_ms > 100.0).map(|bin| bin.count).sum();
        assert!(slow.contains(&waited), "{waited} waited, not {slow:?}");
    }
}
