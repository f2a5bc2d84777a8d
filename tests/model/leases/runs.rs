//! The runs: worlds of several sizes with all rules, and for each rule a world without it that must
//! end in a stale read.

use super::super::{Search, assert_needed, explore};
use super::*;

const SMALL: Size = Size {
    toys: 1,
    stock: 1,
    purchases: &[0],
    reads: 2,
    readers: 2,
    ticks: 4,
    begun: 2,
    sessions: 0,
    renewals: 1,
    catalog_crashes: 0,
    frontend_crashes: 0,
    restocks: 0,
    sweeps: false,
};

/// Messages of all kinds cross each other, and no time passes.
const CROSSING: Size =
    Size { stock: 1, purchases: &[0, 0], reads: 3, ticks: 0, renewals: 0, restocks: 1, ..SMALL };
const TWO_TOYS: Size = Size { toys: 2, purchases: &[0, 1], reads: 3, ticks: 0, ..SMALL };
const ANEW: Size = Size { sessions: 1, ticks: 3, ..SMALL };
const RESTART: Size = Size { catalog_crashes: 1, ticks: 3, ..SMALL };
const SWEPT_RESTART: Size = Size { renewals: 0, ticks: 4, sweeps: true, ..RESTART };
const NEW_PROCESS: Size = Size { renewals: 0, sessions: 1, ticks: 2, frontend_crashes: 1, ..SMALL };
const FIRST_SESSIONS: Size =
    Size { begun: 0, sessions: 1, renewals: 0, ticks: 1, catalog_crashes: 1, ..SMALL };

fn assert_holds(what: &str, size: Size, sights: &[&'static str]) {
    let model = Leases::new(size, None);
    let seen = model.sights.clone();
    assert!(explore(what, model, Search::Everything).is_empty());
    seen.assert_seen(sights);
}

#[test]
fn messages_may_cross_each_other() {
    let sights = [
        "a read is answered from the cache",
        "an answer arrives after the invalidation that overtook it",
        "an answer that may not be cached",
        "a purchase waits",
        "a purchase is refused",
        "a toy is restocked",
    ];
    assert_holds("messages cross", CROSSING, &sights);
    assert_holds("two toys", TWO_TOYS, &sights[..4]);
}

#[test]
fn leases_may_expire() {
    let sights = [
        "a session expires",
        "an answer arrives after its session",
        "a toy changes that a front-end without a lease has cached",
    ];
    assert_holds("leases expire", SMALL, &sights);
}

#[test]
fn a_front_end_may_register_anew() {
    let sights = ["a session expires", "a front-end registers anew"];
    assert_holds("a front-end registers anew", ANEW, &sights);
}

#[test]
fn the_catalog_may_crash() {
    let sights = [
        "a hit under a session of before the catalog's restart",
        "a purchase waits after a restart",
        "the catalog crashes between commit and publication",
    ];
    assert_holds("the catalog crashes", RESTART, &sights);
    assert_holds("the catalog crashes and sweeps", SWEPT_RESTART, &sights);
}

#[test]
fn a_front_end_may_crash() {
    assert_holds("a front-end crashes", NEW_PROCESS, &["a front-end registers anew"]);
    assert_holds(
        "sessions begin and the catalog crashes",
        FIRST_SESSIONS,
        &["a front-end registers anew"],
    );
}

#[test]
fn each_rule_is_needed() {
    let needed = [
        (Rule::AcknowledgementsBeforeCommit, CROSSING),
        (Rule::LockedUntilCommitted, CROSSING),
        (Rule::LockedUntilPublished, CROSSING),
        (Rule::DurableBeforeVisible, RESTART),
        (Rule::RestartWaitsForSessions, RESTART),
        (Rule::SessionDurableBeforeAnswer, FIRST_SESSIONS),
        (Rule::DropBeforeAcknowledgement, CROSSING),
        (Rule::FloorOfFills, CROSSING),
        (Rule::SessionOfFills, ANEW),
        (Rule::HoldersOnly, CROSSING),
        (Rule::HitsWithinLease, SMALL),
        (Rule::LeaseFromSending, SMALL),
    ];
    for (rule, size) in needed {
        assert_needed(rule, Leases::new(size, Some(rule)), STALE);
    }
}
