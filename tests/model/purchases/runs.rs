//! The runs: worlds of several sizes with all rules, and for each rule a world without it.

use super::super::{Search, explore};
use super::*;

const NOTHING: Left = Left {
    tries: 1,
    nominations: 0,
    crashes: 0,
    doubts: 0,
    waits: 0,
    restocks: 0,
    full_disks: 0,
    appends: 0,
};
const SMALL: Size = Size { replicas: 2, stock: 1, clients: 2, left: NOTHING };
/// A batch gets lost, and a refused purchase is asked again after a restock.
const IN_DOUBT: Size =
    Size { left: Left { tries: 2, doubts: 2, waits: 1, restocks: 1, ..NOTHING }, ..SMALL };
const NEW_LEADER: Size =
    Size { left: Left { tries: 2, nominations: 1, doubts: 1, ..NOTHING }, ..SMALL };
const DUEL: Size = Size { clients: 1, left: Left { tries: 2, nominations: 2, ..NOTHING }, ..SMALL };
const CRASHES: Size =
    Size { left: Left { tries: 2, nominations: 1, crashes: 1, ..NOTHING }, ..SMALL };
const FOLLOWED: Size =
    Size { stock: 2, left: Left { nominations: 1, appends: 3, ..NOTHING }, ..SMALL };
const FULL_DISK: Size =
    Size { stock: 2, left: Left { full_disks: 1, appends: 3, ..NOTHING }, ..SMALL };
const THREE: Size =
    Size { replicas: 3, clients: 1, left: Left { nominations: 1, appends: 2, ..NOTHING }, ..SMALL };

fn assert_holds(what: &str, size: Size, sights: &[&'static str]) {
    let model = Purchases::new(size, None);
    let seen = model.sights.clone();
    assert!(explore(what, model, Search::Everything).is_empty());
    seen.assert_seen(sights);
}

#[test]
fn whoever_is_in_doubt_may_ask_again() {
    let sights = [
        "a batch is asked again that was decided",
        "a batch's answer brings rows that were missed",
        "a key is answered from its record",
        "a purchase is refused",
        "a duplicate arrives after the answer",
        "a restock after a refusal",
        "a purchase is told to wait",
        "two purchases share a batch",
    ];
    assert_holds("batches are lost", IN_DOUBT, &sights);
}

#[test]
fn the_leader_may_change_while_its_batch_is_at_the_catalog() {
    let sights = [
        "a leader is deposed while its batch is at the catalog",
        "a batch of an earlier epoch arrives",
        "a leader hears that another leads",
        "a nominee misses orders",
        "a leader fetches what it misses",
    ];
    assert_holds("another replica leads", NEW_LEADER, &sights);
}

#[test]
fn nominations_may_cross_each_other() {
    let sights = [
        "an acquisition loses",
        "an acquisition is answered too late",
        "a nominee finds that it leads already",
    ];
    assert_holds("nominations cross", DUEL, &sights);
}

#[test]
fn a_replica_may_crash() {
    let sights = [
        "a replica crashes before it has written what was sold",
        "a nominee finds that it leads already",
    ];
    assert_holds("a replica crashes", CRASHES, &sights);
}

#[test]
fn an_order_waits_for_the_followers_that_live() {
    let sights = [
        "an answer waits for a follower",
        "an order is acknowledged with a live follower",
        "an order is acknowledged by a leader alone",
        "a live follower is lost",
        "a follower knows a newer leader",
        "rows leave a gap",
    ];
    assert_holds("orders are passed on", FOLLOWED, &sights);
    assert_holds("three replicas", THREE, &sights[..4]);
}

#[test]
fn a_disk_may_be_full() {
    assert_holds("a disk is full", FULL_DISK, &["a batch's rows do not continue the log"]);
}

#[test]
fn each_rule_is_needed() {
    let needed = [
        (Rule::EpochOfBatches, NEW_LEADER, FENCED),
        (Rule::KeysAreLookedUp, IN_DOUBT, ONE_ANSWER),
        (Rule::RefusalsAreRecorded, IN_DOUBT, SOLD_ONCE),
        (Rule::OneTransaction, IN_DOUBT, ONE_ANSWER),
        (Rule::RetriesKeepTheirKey, Size { stock: 2, ..IN_DOUBT }, SOLD_ONCE),
        (Rule::DurableBeforeAcknowledgement, SMALL, DURABLE),
        (Rule::LiveFollowersBeforeAcknowledgement, FOLLOWED, DURABLE),
        (Rule::GapsAreNoAcknowledgements, FOLLOWED, DURABLE),
        (Rule::AbsenceIsConfirmed, SMALL, FOUND),
    ];
    for (rule, size, property) in needed {
        let model = Purchases::new(size, Some(rule));
        let found = explore(&format!("without {rule:?}"), model, Search::Until(property));
        assert!(found.contains(&property), "nothing went wrong without {rule:?}");
    }
}

#[test]
fn a_nominee_that_sells_before_it_has_fetched_does_no_harm() {
    let model = Purchases::new(NEW_LEADER, Some(Rule::NomineesFetchFirst));
    assert!(explore("nominees sell at once", model, Search::Everything).is_empty());
}
