//! Two catalogs, one of which is stopped, killed or cut off: the other one rules, and what the
//! first does when it wakes up harms nothing.

use std::rc::Rc;
use std::time::Duration;

use toystore::catalog::core::term::UNREACHED_TERM;
use toystore::roles::Engine;
use toystore::wire::purchase::Decision;

use super::cluster::{self, Cluster};
use super::message::{Node, ShowToy, Shown};
use super::steady::{self, Answered, PATIENCE, ask, buy, pass};

/// Within this time another catalog rules, and what an earlier one let front-ends cache is gone.
const TAKEOVER: Duration = Duration::from_millis(2_500);

/// A store with two catalogs and two front-ends.
fn store() -> Rc<Cluster> {
    store_on(cluster::several_catalogs())
}

fn store_on(engine: Engine) -> Rc<Cluster> {
    steady::store(2, &[1, 2], |roles| roles.catalog.engine = engine)
}

fn show(cluster: &Cluster, frontend: u32) -> Answered<Shown> {
    ask(cluster, frontend, ShowToy("Tux".into()))
}

fn of<T>(answered: &Answered<T>) -> T {
    let answer = answered.borrow_mut().take().expect("it is answered in time");
    answer.unwrap_or_else(|error| panic!("{error}"))
}

/// The catalog that rules, and the other one.
fn both(cluster: &Cluster) -> (Node, Node) {
    let first = cluster.ruler().expect("a catalog rules");
    let other = cluster.catalogs().into_iter().find(|node| *node != first);
    (first, other.expect("there are two"))
}

#[test]
fn a_catalog_that_is_killed_is_followed_by_another_one() {
    let cluster = store();
    let (first, other) = both(&cluster);
    cluster.crash(first);
    let bought = buy(&cluster, 1, "a");
    pass(&cluster, TAKEOVER);
    assert!(matches!(of(&bought), Decision::Granted(_)));
    assert_eq!(cluster.ruler(), Some(other));
    cluster.start(first);
    pass(&cluster, TAKEOVER);
    assert_eq!(cluster.ruler(), Some(other), "started anew it stands by");
}

#[test]
fn a_catalog_that_is_cut_off_from_the_database_is_followed_by_another_one() {
    let cluster = store();
    let (first, other) = both(&cluster);
    for (from, to) in [(first, Node::Database), (Node::Database, first)] {
        cluster.network.cut(from, to);
    }
    let bought = buy(&cluster, 1, "a");
    pass(&cluster, TAKEOVER);
    assert!(matches!(of(&bought), Decision::Granted(_)));
    assert_eq!(cluster.ruler(), Some(other));
}

#[test]
fn a_catalog_that_is_cut_off_from_the_front_ends_is_followed_by_another_one() {
    for ways in [[true, true], [true, false], [false, true]] {
        let cluster = store();
        let (first, other) = both(&cluster);
        for frontend in [1, 2].map(Node::Frontend) {
            let links = [(frontend, first), (first, frontend)];
            for ((from, to), _) in links.into_iter().zip(ways).filter(|(_, is_cut)| *is_cut) {
                cluster.network.cut(from, to);
            }
        }
        let bought = buy(&cluster, 1, "a");
        pass(&cluster, TAKEOVER);
        assert!(matches!(of(&bought), Decision::Granted(_)), "{ways:?}");
        assert_eq!(cluster.ruler(), Some(other), "{ways:?}");
        cluster.network.heal();
        pass(&cluster, Duration::from_secs(5));
        assert_eq!(cluster.ruler(), Some(other), "{ways:?}: one that is reached keeps its term");
    }
}

#[test]
fn of_two_catalogs_that_were_cut_off_from_the_front_ends_in_turn_the_one_that_is_mended_rules() {
    // So long are both cut off: either may rule then, at the start of its term or at the end.
    for time in (0..10).map(|half| Duration::from_millis(500) * half) {
        for is_first_mended in [true, false] {
            let cluster = store();
            let (first, other) = both(&cluster);
            let frontends = [1, 2].map(Node::Frontend);
            for catalog in [first, other] {
                for frontend in frontends {
                    cluster.network.cut(frontend, catalog);
                    cluster.network.cut(catalog, frontend);
                }
                pass(&cluster, TAKEOVER);
            }
            pass(&cluster, time);
            let mended = if is_first_mended { first } else { other };
            let bought = buy(&cluster, 1, "a");
            for frontend in frontends {
                cluster.network.mend(frontend, mended);
                cluster.network.mend(mended, frontend);
            }
            pass(&cluster, UNREACHED_TERM + TAKEOVER);
            assert_eq!(cluster.ruler(), Some(mended), "{mended}, after {time:?}");
            assert!(matches!(of(&bought), Decision::Granted(_)), "{mended}, after {time:?}");
        }
    }
}

#[test]
fn a_catalog_with_no_other_beside_it_keeps_its_term_though_no_front_end_reaches_it() {
    let mut engine = cluster::several_catalogs();
    let Engine::Postgres(settings) = &mut engine else { panic!("they share a database") };
    settings.processes.truncate(1);
    let cluster = store_on(engine);
    let only = cluster.ruler().expect("a catalog rules");
    for frontend in [1, 2].map(Node::Frontend) {
        cluster.network.cut(frontend, only);
        cluster.network.cut(only, frontend);
    }
    let step = Duration::from_millis(10);
    let end = cluster.world.time() + UNREACHED_TERM + TAKEOVER;
    while cluster.world.time() < end {
        pass(&cluster, step);
        assert_eq!(cluster.ruler(), Some(only), "there is no catalog that could do better");
    }
}

#[test]
fn a_catalog_that_wakes_up_shows_nothing_old() {
    let cluster = store();
    let (first, other) = both(&cluster);
    // Front-end 2 hears of no other catalog.
    for (from, to) in [(Node::Frontend(2), other), (other, Node::Frontend(2))] {
        cluster.network.cut(from, to);
    }
    cluster.world.pause(first);
    let bought = buy(&cluster, 1, "a");
    pass(&cluster, TAKEOVER + Duration::from_millis(1_250));
    assert!(matches!(of(&bought), Decision::Granted(_)));
    let shown = show(&cluster, 2);
    pass(&cluster, Duration::from_millis(300));
    assert!(shown.borrow().is_none(), "the catalog that it asks is stopped");
    // It sees the query before it finds that its last beat is long ago.
    cluster.world.resume_newest_first(first);
    pass(&cluster, PATIENCE);
    // It may have no answer: it reaches no catalog that rules.
    if let Some(Ok(shown)) = shown.borrow_mut().take() {
        assert_eq!(shown.quantity, 99, "another client was told that the toy is sold");
    }
    assert_eq!(cluster.ruler(), Some(other));
}

#[test]
fn a_catalog_rules_though_each_claim_takes_as_long_as_its_parts_may() {
    let cluster = store();
    let base = Rc::clone(cluster.shared.get().expect("they share a database"));
    base.set_claims_take([Duration::from_millis(390), Duration::from_millis(400)]);
    let (first, other) = both(&cluster);
    cluster.crash(first);
    let bought = buy(&cluster, 1, "a");
    pass(&cluster, TAKEOVER + Duration::from_secs(1));
    assert!(matches!(of(&bought), Decision::Granted(_)));
    assert_eq!(cluster.ruler(), Some(other));
}

#[test]
fn a_catalog_that_ends_in_order_while_its_term_begins_leaves_it_to_the_other_one_at_once() {
    let cluster = store();
    let base = Rc::clone(cluster.shared.get().expect("they share a database"));
    let (first, other) = both(&cluster);
    let term = base.term();
    base.set_loads_take(Duration::from_millis(700));
    cluster.crash(first);
    while base.term() == term {
        pass(&cluster, Duration::from_millis(10));
    }
    base.set_loads_take(Duration::ZERO);
    cluster.start(first);
    pass(&cluster, Duration::from_millis(200));
    assert_eq!(cluster.ruler(), None, "the term is claimed, and does not run yet");
    cluster.terminate(other);
    pass(&cluster, Duration::from_millis(400));
    assert_eq!(cluster.ruler(), Some(first), "it need not wait for silence");
}
