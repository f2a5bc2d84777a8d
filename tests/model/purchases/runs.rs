//! The runs: worlds of several sizes with all rules, and for each rule a world without it.

use super::super::{Search, assert_needed, explore};
use super::properties::*;
use super::*;

const SMALL: Size =
    Size { replicas: 2, stock: 1, wants: &[1, 1], rises: 0, foreign: false, left: NOTHING };
const NOTHING: Left = Left {
    tries: 1,
    queries: 0,
    nominations: 0,
    crashes: 0,
    catalog_crashes: 0,
    doubts: 0,
    waits: 0,
    restocks: 0,
    full_disks: 0,
    appends: 0,
};
/// Batches get lost, and a refused purchase is asked again after a restock.
const IN_DOUBT: Size =
    Size { left: Left { tries: 2, doubts: 2, waits: 1, restocks: 1, ..NOTHING }, ..SMALL };
const ONE_DOUBT: Size = Size { left: Left { tries: 2, doubts: 1, ..NOTHING }, ..SMALL };
const REUSED: Size =
    Size { stock: 3, rises: 1, left: Left { tries: 2, doubts: 1, ..NOTHING }, ..SMALL };
const CATALOG_CRASHES: Size = Size {
    stock: 2,
    left: Left { tries: 2, nominations: 1, catalog_crashes: 1, ..NOTHING },
    ..SMALL
};
const QUERIED: Size = Size {
    stock: 2,
    left: Left { queries: 1, nominations: 1, catalog_crashes: 1, ..NOTHING },
    ..SMALL
};
const NEW_LEADER: Size =
    Size { left: Left { tries: 2, nominations: 1, doubts: 1, ..NOTHING }, ..SMALL };
const DUEL: Size = Size { wants: &[1], left: Left { nominations: 3, ..NOTHING }, ..SMALL };
const TWO_ELECTIONS: Size =
    Size { wants: &[1], left: Left { nominations: 2, catalog_crashes: 1, ..NOTHING }, ..SMALL };
const CRASHES: Size =
    Size { left: Left { tries: 2, nominations: 1, crashes: 1, ..NOTHING }, ..SMALL };
const FOLLOWED: Size =
    Size { stock: 3, wants: &[1, 2], left: Left { appends: 3, ..NOTHING }, ..SMALL };
const FOLLOWED_ANEW: Size = Size {
    stock: 3,
    wants: &[1, 2],
    left: Left { nominations: 1, appends: 2, ..NOTHING },
    ..SMALL
};
const FULL_DISK: Size =
    Size { stock: 3, wants: &[1, 2], left: Left { full_disks: 1, appends: 2, ..NOTHING }, ..SMALL };
const FOREIGN: Size = Size {
    foreign: true,
    wants: &[1],
    left: Left { tries: 2, nominations: 1, appends: 1, ..NOTHING },
    ..SMALL
};
const THREE: Size = Size {
    replicas: 3,
    wants: &[1],
    left: Left { nominations: 1, crashes: 1, appends: 1, ..NOTHING },
    ..SMALL
};

fn assert_holds(what: &str, size: Size, sights: &[&'static str]) {
    assert_holds_without(None, what, size, sights);
}

fn assert_holds_without(rule: Option<Rule>, what: &str, size: Size, sights: &[&'static str]) {
    let model = Purchases::new(size, rule);
    let seen = model.sights.clone();
    assert!(explore(what, model, Search::Everything).is_empty());
    seen.assert_seen(sights);
}

#[test]
fn a_client_without_an_answer_may_retry() {
    let sights = [
        "a batch is asked again that was decided",
        "a batch's answer brings rows that were missed",
        "a key is answered from its record",
        "a purchase is refused",
        "a duplicate arrives after the answer",
        "a restock after a refusal",
        "a refused purchase comes again when there is stock",
        "a purchase has to wait",
        "two purchases share a batch",
    ];
    assert_holds("batches are lost", IN_DOUBT, &sights);
    assert_holds("keys are reused", REUSED, &["a key is used for something else"]);
}

#[test]
fn the_catalog_may_crash() {
    let sights = [
        "the catalog crashes between commit and answer",
        "a nominee finds that it leads already",
        "a key is answered from its record",
    ];
    assert_holds("the catalog crashes", CATALOG_CRASHES, &sights);
}

#[test]
fn orders_may_be_asked_for() {
    let sights = [
        "a replica has an order that is asked for",
        "the catalog has an order that a replica lacks",
        "an order comes to be while it is asked for",
        "there is no order with a number",
    ];
    assert_holds("orders are asked for", QUERIED, &sights);
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
        "a leader crashes when its batch is committed",
        "a key is answered from its record",
    ];
    assert_holds("a replica crashes", CRASHES, &sights);
}

#[test]
fn an_order_waits_for_the_live_followers() {
    let sights = [
        "an answer waits for a follower",
        "an order is acknowledged with a live follower",
        "an order is acknowledged by a leader alone",
        "a live follower is lost",
        "a follower knows a newer leader",
        "rows leave a gap",
        "rows arrive late",
    ];
    assert_holds("orders are replicated", FOLLOWED, &[]);
    assert_holds("orders are replicated by two leaders", FOLLOWED_ANEW, &sights);
    assert_holds("three replicas, one crashes", THREE, &sights[..5]);
}

#[test]
fn a_disk_may_be_full() {
    assert_holds("a disk is full", FULL_DISK, &["a batch's rows do not continue the log"]);
}

#[test]
fn a_log_may_be_foreign() {
    let sights =
        ["a foreign log cannot lead", "a foreign log is set aside", "a follower's log is foreign"];
    assert_holds("a log is foreign", FOREIGN, &sights);
}

#[test]
fn each_rule_is_needed() {
    let needed = [
        (Rule::StockSuffices, SMALL, CONSERVED),
        (Rule::KeysAreLookedUp, IN_DOUBT, SOLD_ONCE),
        (Rule::RefusalsAreRecorded, IN_DOUBT, REFUSED),
        (Rule::BodiesAreCompared, REUSED, ORDERED),
        (Rule::RetriesKeepTheirKey, Size { stock: 2, ..IN_DOUBT }, SOLD_ONCE),
        (Rule::OneTransaction, CATALOG_CRASHES, SOLD_ONCE),
        (Rule::OneWriter, CATALOG_CRASHES, CONSERVED),
        (Rule::DurableBeforeVisible, CATALOG_CRASHES, DURABLE),
        (Rule::DurableBeforeVisible, QUERIED, FOUND),
        (Rule::EpochOfBatches, NEW_LEADER, HELD),
        (Rule::EpochDurableBeforeAnswer, TWO_ELECTIONS, ONE_LEADER),
        (Rule::ForeignLogsCannotLead, FOREIGN, PREFIXES),
        (Rule::NomineesFetchFirst, NEW_LEADER, HELD),
        (Rule::DurableBeforeAcknowledgement, SMALL, DURABLE),
        (Rule::LiveFollowersBeforeAcknowledgement, FOLLOWED, DURABLE),
        (Rule::FollowersWriteBeforeAcknowledgement, FOLLOWED, DURABLE),
        (Rule::GapsAreNoAcknowledgements, FOLLOWED, DURABLE),
        (Rule::RowsContinueTheLog, FOLLOWED, PREFIXES),
        (Rule::UnwrittenRowsAreTakenBack, FULL_DISK, PREFIXES),
        (Rule::AbsenceIsConfirmed, QUERIED, FOUND),
        (Rule::LostBatchesAreAskedAgain, IN_DOUBT, ANSWERED),
        (Rule::LostFollowersAreNotAwaited, FOLLOWED, ANSWERED),
        (Rule::DeposedLeadersRedirectWaiters, NEW_LEADER, ANSWERED),
        (Rule::LeadersBehindFetch, FULL_DISK, ANSWERED),
    ];
    for (rule, size, property) in needed {
        assert_needed(rule, Purchases::new(size, Some(rule)), property);
    }
}

/// The module's documentation says why.
#[test]
fn some_rules_are_for_other_reasons() {
    let other = [
        (Rule::StaleRowsAreRefused, Size { wants: &[1], ..FOLLOWED_ANEW }),
        (Rule::AcquisitionsNameTheEpoch, TWO_ELECTIONS),
        (Rule::AnswersCarryMissedRows, ONE_DOUBT),
        (Rule::KeysAreJoined, ONE_DOUBT),
    ];
    for (rule, size) in other {
        assert_holds_without(Some(rule), &format!("without {rule:?}"), size, &[]);
    }
}
