//! A store whose catalog is killed, stopped, or has a full disk: how soon a front-end says so, what
//! a purchase is told that waited for it, and what is cached afterwards.

use std::rc::Rc;
use std::time::Duration;

use toystore::transport::CallError;
use toystore::wire::purchase::Decision;

use super::cluster::Cluster;
use super::disk::Health;
use super::message::{AskReadiness, Node, ShowToy, Shown};
use super::steady::{self, PATIENCE, SETTLED, ask, buy, pass};

/// Within this time `/readyz` says what is missing.
const SAID: Duration = Duration::from_secs(1);

/// What happens to the catalog.
#[derive(Clone, Copy, Debug)]
enum Absence {
    Killed,
    Stopped,
}

fn store(has_cache: bool) -> Rc<Cluster> {
    steady::store(3, &[1], |roles| roles.cache.enabled = has_cache)
}

/// Why the front-end is not ready, if it is not.
fn not_ready(cluster: &Cluster) -> Option<String> {
    let answered = ask(cluster, 1, AskReadiness {});
    pass(cluster, Duration::from_millis(5));
    let answer = answered.borrow_mut().take().expect("it is answered at once");
    answer.unwrap_or_else(|error| panic!("{error}"))
}

fn take(cluster: &Cluster, absence: Absence) {
    match absence {
        Absence::Killed => cluster.crash(Node::Catalog),
        Absence::Stopped => cluster.world.pause(Node::Catalog),
    }
}

#[test]
fn a_front_end_without_a_catalog_says_so_within_a_second() {
    for has_cache in [true, false] {
        for absence in [Absence::Killed, Absence::Stopped] {
            let cluster = store(has_cache);
            assert_eq!(not_ready(&cluster), None, "{has_cache} {absence:?}");
            take(&cluster, absence);
            let end = cluster.world.time() + SAID;
            let why = loop {
                if let Some(why) = not_ready(&cluster) {
                    break why;
                }
                let is_in_time = cluster.world.time() < end;
                assert!(is_in_time, "it is ready after {SAID:?}: {has_cache} {absence:?}");
            };
            assert_eq!(why, "the catalog is unreachable", "{has_cache} {absence:?}");
        }
    }
}

#[test]
fn a_purchase_that_waited_in_vain_for_the_catalog_is_told_of_it() {
    for absence in [Absence::Killed, Absence::Stopped] {
        let cluster = store(true);
        take(&cluster, absence);
        let bought = buy(&cluster, 1, "a");
        pass(&cluster, PATIENCE);
        let answer = bought.borrow_mut().take().expect("it is answered in time");
        let Err(CallError::Refused { status: 503, message }) = answer else {
            panic!("{absence:?}: {answer:?}");
        };
        assert!(message.contains("the catalog is unreachable"), "{absence:?}: {message}");
        assert!(message.contains("retry"), "{absence:?}: {message}");
    }
}

#[test]
fn a_toy_whose_purchase_the_full_disk_refused_is_cached_again() {
    let cluster = store(true);
    let show = || {
        let answered = ask(&cluster, 1, ShowToy("Tux".into()));
        pass(&cluster, Duration::from_millis(5));
        let shown = answered.borrow_mut().take().expect("it is answered at once");
        let Shown { quantity, is_hit, .. } = shown.unwrap_or_else(|error| panic!("{error}"));
        (quantity, is_hit)
    };
    assert_eq!([show(), show()], [(100, false), (100, true)]);
    cluster.set_health(Node::Catalog, Health::Full);
    let bought = buy(&cluster, 1, "a");
    pass(&cluster, SETTLED);
    assert!(matches!(*bought.borrow(), Some(Err(_))), "{bought:?}");
    assert_eq!([show(), show()], [(100, false), (100, true)], "it is readable meanwhile");
    cluster.set_health(Node::Catalog, Health::Healthy);
    pass(&cluster, SETTLED);
    let bought = buy(&cluster, 1, "a");
    pass(&cluster, SETTLED);
    assert!(matches!(*bought.borrow(), Some(Ok(Decision::Granted(_)))), "{bought:?}");
    assert_eq!([show(), show()], [(99, false), (99, true)]);
}

#[test]
fn a_purchase_waits_for_a_catalog_that_is_soon_there_again() {
    let cluster = store(true);
    cluster.crash(Node::Catalog);
    let bought = buy(&cluster, 1, "a");
    pass(&cluster, Duration::from_secs(2));
    cluster.start(Node::Catalog);
    pass(&cluster, Duration::from_secs(4));
    let answer = bought.borrow_mut().take().expect("it is answered");
    assert!(matches!(answer, Ok(Decision::Granted(_))), "{answer:?}");
}
