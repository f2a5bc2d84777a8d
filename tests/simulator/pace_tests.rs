//! What is done every some hundred milliseconds, when one message of it is lost.

use std::time::Duration;

use super::message::{AskReadiness, Node};
use super::steady::{self, ask, pass};

/// How long a link is cut: less than the shortest of the intervals, so that one call at most is
/// lost.
const CUT: Duration = Duration::from_millis(150);
/// How much later each test cuts it than the one before.
const STEP: Duration = Duration::from_millis(25);
/// For how long afterwards the loss may show: longer than a lease and than a replica stays fit.
const WATCHED: Duration = Duration::from_millis(1_300);
/// Between the starts of two followers, which then check themselves at different times.
const APART: Duration = Duration::from_millis(37);

#[test]
fn a_replica_whose_report_is_lost_stays_ready_however_many_there_are() {
    for replicas in [3, 6, 7, 8, 9, 13] {
        for step in 0..18 {
            let cluster = steady::store(replicas, &[1], |_| {});
            let ready = |at: &str| {
                for id in [1, replicas] {
                    let why = cluster.not_ready(id);
                    assert_eq!(why, None, "{id} of {replicas}, {at} the cut of step {step}");
                }
            };
            pass(&cluster, STEP * step);
            ready("before");
            for id in [1, replicas] {
                cluster.network.cut(Node::Replica(id), Node::Catalog);
            }
            pass(&cluster, CUT);
            for id in [1, replicas] {
                cluster.network.mend(Node::Replica(id), Node::Catalog);
            }
            let end = cluster.world.time() + WATCHED;
            while cluster.world.time() < end {
                pass(&cluster, Duration::from_millis(5));
                ready("after");
            }
        }
    }
}

#[test]
fn an_idle_leader_keeps_its_leadership_while_the_catalog_is_away_and_comes_back() {
    for (replicas, step) in [3, 6, 13].into_iter().flat_map(|n| (0..48).map(move |step| (n, step)))
    {
        for hangs in [false, true] {
            let cluster = steady::store(replicas, &[1], |_| {});
            for follower in (1..replicas).map(Node::Replica) {
                cluster.crash(follower);
                cluster.start(follower);
                pass(&cluster, APART);
            }
            pass(&cluster, steady::SETTLED + STEP * step);
            let leads = || cluster.replica(replicas, |replica| replica.leads()).flatten();
            let before = leads();
            assert!(before.is_some());
            // From little more than a leader stays fit to more than any follower does.
            let away = Duration::from_millis(1_100 + 29 * u64::from(step));
            if hangs {
                cluster.world.pause(Node::Catalog);
                pass(&cluster, away);
                cluster.world.resume(Node::Catalog);
            } else {
                cluster.crash(Node::Catalog);
                pass(&cluster, away);
                cluster.start(Node::Catalog);
            }
            pass(&cluster, WATCHED);
            let at = format!("step {step} of {replicas} replicas, the catalog hangs: {hangs}");
            assert_eq!(leads(), before, "{at}");
            let in_vain = cluster.world.paths.borrow().count("a nominee could not lead");
            assert_eq!(in_vain, 0, "{at}");
        }
    }
}

#[test]
fn a_front_end_whose_renewal_is_lost_keeps_its_session() {
    for step in 0..8 {
        let cluster = steady::store(3, &[1], |_| {});
        pass(&cluster, STEP * step);
        cluster.network.cut(Node::Frontend(1), Node::Catalog);
        pass(&cluster, CUT);
        cluster.network.mend(Node::Frontend(1), Node::Catalog);
        let end = cluster.world.time() + WATCHED;
        while cluster.world.time() < end {
            let answered = ask(&cluster, 1, AskReadiness {});
            pass(&cluster, Duration::from_millis(5));
            let why = answered.borrow_mut().take().expect("it is answered at once");
            assert_eq!(why.expect("it is reached"), None, "the cut of step {step}");
        }
    }
}
