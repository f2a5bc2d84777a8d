//! What clients do: which requests they make, which they make again, and what they find at the end.

use std::collections::HashSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use toystore::client::core::receipts::Finding;
use toystore::client::core::schedule::{End, Schedule};
use toystore::client::core::stats::RequestType;
use toystore::client::report::{Report, RunResult};
use toystore::client::{Settings, open_and_shop};
use toystore::roles::Address;
use toystore::wire::quantity::Quantity;

use super::program::closed_address;
use crate::fake_store::{Connections, Fails, Faults, Store, TOYS};

/// Three clients of ten iterations each that always buy.
fn settings(frontends: &[&Address]) -> Settings {
    Settings {
        clients: 3,
        end: End::Iterations(10),
        schedule: Schedule::ClosedLoop,
        probability: "1".parse().expect("1 is a probability"),
        quantity: Quantity::ONE,
        seed: 7,
        frontends: frontends.iter().map(|address| (*address).clone()).collect(),
    }
}

async fn shop(settings: &Settings) -> Report {
    open_and_shop(settings, &CancellationToken::new()).await.expect("the store is open")
}

#[actix_web::test]
async fn a_client_that_always_buys_has_an_order_for_every_iteration() {
    let store = Store::open(Faults::default());
    let report = shop(&settings(&[&store.address])).await;
    assert_eq!(report.result(), RunResult::Passed);
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
    let store = Store::open(Faults::default());
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
        let store = Store::open(Faults::default());
        let probability = "0.4".parse().unwrap();
        let settings = settings(&[&store.address]);
        shop(&Settings { clients: 1, end: End::Iterations(50), seed, probability, ..settings })
            .await;
        logs.push(store.read(|books| books.log.clone()));
    }
    assert_eq!(logs[0], logs[1]);
    assert_ne!(logs[0], logs[2]);
    assert!((5..40).contains(&logs[0].iter().filter(|toy| toy.starts_with('+')).count()));
}

#[actix_web::test]
async fn an_order_that_the_store_returns_wrongly_or_not_at_all_fails_the_check() {
    for (faults, number, finding) in [
        (Faults { lies_about: Some(4), ..Faults::default() }, 4, Finding::Different),
        (Faults { forgets: Some(5), ..Faults::default() }, 5, Finding::Missing),
    ] {
        let store = Store::open(faults);
        let report = shop(&settings(&[&store.address])).await;
        assert_eq!(report.result(), RunResult::CheckFailed);
        assert_eq!((report.check.failed, report.check.matching), (1, 29));
        let failure = &report.check.failures[0];
        assert_eq!((failure.number.0, failure.finding), (number, finding));
    }
}

#[actix_web::test]
async fn a_number_that_is_given_twice_fails_the_check() {
    let store = Store::open(Faults { repeats_numbers: true, ..Faults::default() });
    let report = shop(&Settings { end: End::Iterations(1), ..settings(&[&store.address]) }).await;
    assert_eq!(report.result(), RunResult::CheckFailed);
    let repeated = report.check.failures.iter().filter(|f| f.finding == Finding::Repeated);
    assert_eq!(repeated.count(), 2);
}

#[actix_web::test]
async fn an_order_that_is_answered_503_is_retried_under_the_same_key() {
    let store = Store::open(Faults { unavailable: 1, ..Faults::default() });
    let one = Settings { clients: 1, end: End::Iterations(1), ..settings(&[&store.address]) };
    let report = shop(&one).await;
    assert_eq!(report.result(), RunResult::Passed);
    assert_eq!((report.orders, report.check.matching), (1, 1));
    let row = report.requests.of(RequestType::Order);
    assert_eq!((row.count, row.retries, row.errors), (1, 1, 0));
    assert_eq!(report.statuses, [(200, 3), (503, 1)].into());
    let keys = store.read(|books| books.keys.clone());
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[actix_web::test]
async fn an_order_whose_answer_broke_off_is_not_bought_again() {
    let store = Store::open(Faults { broken: 1, ..Faults::default() });
    let one = Settings { clients: 1, end: End::Iterations(1), ..settings(&[&store.address]) };
    let report = shop(&one).await;
    assert_eq!(report.result(), RunResult::Passed);
    assert_eq!((report.orders, report.requests.of(RequestType::Order).retries), (1, 1));
    assert_eq!((report.unanswered.broken, report.orders_in_doubt), (1, 0));
    assert_eq!(store.read(|books| (books.orders.len(), books.keys.len())), (1, 2));
}

#[actix_web::test]
async fn a_purchase_refused_for_lack_of_stock_is_no_error() {
    let store = Store::open(Faults { stock: Some(2), ..Faults::default() });
    let quantity = Quantity::new(3).unwrap();
    let report = shop(&Settings { quantity, ..settings(&[&store.address]) }).await;
    assert_eq!(report.result(), RunResult::Passed);
    assert_eq!(report.orders, 0);
    let row = report.requests.of(RequestType::Order);
    assert_eq!((row.count, row.refusals, row.errors, row.retries), (0, 30, 0, 0));
    assert_eq!(row.latency.mean_ms, None);
    assert_eq!(report.requests.of(RequestType::OrderRefused).count, 30);
}

#[actix_web::test]
async fn a_toy_that_is_sold_out_is_not_ordered() {
    let store = Store::open(Faults { stock: Some(0), ..Faults::default() });
    let report = shop(&settings(&[&store.address])).await;
    assert_eq!(report.result(), RunResult::Passed);
    assert_eq!(store.read(|books| books.keys.len()), 0);
}

#[actix_web::test]
async fn clients_of_a_frontend_that_is_down_go_on_to_the_next() {
    let store = Store::open(Faults::default());
    let report = shop(&settings(&[&closed_address(), &store.address])).await;
    assert_eq!(report.result(), RunResult::Passed);
    assert_eq!((report.orders, report.check.matching), (30, 30));
    // The first and the third client begin at the front-end that is down, and do not return to it.
    assert_eq!(report.requests.of(RequestType::Query).retries, 2);
    assert_eq!(report.unanswered.refused, 2);
    assert!(report.clients.iter().all(|client| client.frontend == store.address.as_str()));
}

#[actix_web::test]
async fn errors_are_counted_by_reason_and_have_no_latency() {
    let store = Store::open(Faults { fails: Fails::Queries, ..Faults::default() });
    let report = shop(&settings(&[&store.address])).await;
    assert_eq!(report.result(), RunResult::NoneSucceeded(RequestType::Query));
    let row = report.requests.of(RequestType::Query);
    assert_eq!((row.count, row.errors, row.latency.mean_ms), (0, 30, None));
    assert_eq!(report.reasons, [("query: it answered 500: a bug".to_owned(), 30)].into());
}

#[actix_web::test]
async fn an_open_loop_makes_its_iterations_and_ends_in_time() {
    let store = Store::open(Faults::default());
    let schedule = Schedule::OpenLoop("1000".parse().unwrap());
    let end = End::Time("0.1".parse().unwrap());
    let report = shop(&Settings { schedule, end, ..settings(&[&store.address]) }).await;
    assert_eq!(report.result(), RunResult::Passed);
    assert!((1..=100).contains(&report.iterations), "{} iterations", report.iterations);
    assert_eq!(report.run.schedule, "open");
    assert_eq!(report.iterations_due, Some(100));
}

#[actix_web::test]
async fn runs_with_the_cache_and_without_it_are_pairs() {
    let mut runs = Vec::new();
    for without_cache in [false, true] {
        let store = Store::open(Faults { without_cache, ..Faults::default() });
        let settings = settings(&[&store.address]);
        let report = shop(&Settings { probability: "0.4".parse().unwrap(), ..settings }).await;
        assert_eq!(report.hit_ratio.is_none(), without_cache);
        // Three clients at once: the store decides in which order their requests arrive.
        let mut log = store.read(|books| books.log.clone());
        log.sort();
        runs.push(log);
    }
    assert_eq!(runs[0], runs[1]);
}

#[actix_web::test]
async fn clients_are_spread_over_the_frontends_and_check_where_they_bought() {
    let store = Store::open(Faults::default());
    let other = store.another_frontend();
    let report = shop(&settings(&[&store.address, &other])).await;
    assert_eq!(report.result(), RunResult::Passed);
    assert_eq!((report.orders, report.check.matching), (30, 30));
    let used: Vec<&str> = report.clients.iter().map(|client| client.frontend.as_str()).collect();
    assert_eq!(used, [store.address.as_str(), other.as_str(), store.address.as_str()]);
    let hosts = [(store.address.to_string(), 20), (other.to_string(), 10)].into();
    assert_eq!(store.read(|books| books.hosts.clone()), hosts);
}

#[actix_web::test]
async fn a_store_that_closes_each_connection_gets_new_ones() {
    let store = Store::open(Faults { connections: Connections::Ended, ..Faults::default() });
    let report = shop(&settings(&[&store.address])).await;
    assert_eq!(report.result(), RunResult::Passed);
    assert_eq!(report.requests.of(RequestType::Query).retries, 0);
    assert_eq!(report.statuses, [(200, 90)].into());
}

/// A store hangs for half a second. At 100 iterations per second, those that were due 100 ms or
/// more before the end of it (at least the sixth to the 45th) waited for more than 100 ms, though a
/// client that waits for its answers sent only one of them.
#[actix_web::test]
async fn in_an_open_loop_all_iterations_that_were_due_while_the_store_hung_count_as_slow() {
    for (schedule, slow) in
        [(Schedule::ClosedLoop, 1..=50), (Schedule::OpenLoop("100".parse().unwrap()), 40..=50)]
    {
        let stalls = Some((4, Duration::from_millis(500)));
        let store = Store::open(Faults { stalls, ..Faults::default() });
        let probability = "0".parse().unwrap();
        let settings = settings(&[&store.address]);
        let one =
            Settings { clients: 1, end: End::Iterations(50), schedule, probability, ..settings };
        let report = shop(&one).await;
        let bins = &report.requests.of(RequestType::Query).histogram;
        let waited: u64 = bins.iter().filter(|bin| bin.up_to_ms > 100.0).map(|bin| bin.count).sum();
        assert!(slow.contains(&waited), "{waited} waited, not {slow:?}");
    }
}
