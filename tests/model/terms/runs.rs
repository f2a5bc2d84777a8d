//! The runs: worlds of several sizes with all rules, and for each rule a world without it that must
//! end in a counterexample.

use super::super::{Search, assert_needed, explore};
use super::*;

pub(super) const SMALL: Size = Size {
    ticks: 5,
    speeds: [100, 100],
    claims: 1,
    commits: 1,
    beats: 0,
    fills: 0,
    cancels: 0,
    failovers: 0,
};
/// The catalog that rules beats while another one looks.
const BEATS: Size = Size { beats: 1, ticks: 5, ..SMALL };
/// The clock of the catalog that rules is slow, and that of the other one is fast.
const SKEWED: Size = Size { speeds: [90, 110], ..SMALL };
/// A front-end caches what the first term has, and the second one changes it.
const CACHED: Size = Size { fills: 1, ticks: 9, ..SMALL };
const CANCELLED: Size = Size { cancels: 1, failovers: 1, ticks: 4, ..SMALL };

fn assert_holds(what: &str, size: Size, sights: &[&'static str]) {
    let model = Terms::new(size, None);
    let seen = model.sights.clone();
    assert!(explore(what, model, Search::Everything).is_empty());
    seen.assert_seen(sights);
}

#[test]
fn another_catalog_may_rule() {
    let sights = ["another catalog rules", "a write is refused", "a read is answered from memory"];
    assert_holds("another catalog rules", SMALL, &sights);
    assert_holds("the first one beats", BEATS, &sights);
}

#[test]
fn the_catalogs_clocks_may_differ_by_a_fifth() {
    assert_holds("clocks of different speeds", SKEWED, &["another catalog rules"]);
}

#[test]
fn a_front_end_may_cache_across_terms() {
    assert_holds("a front-end caches", CACHED, &["another catalog rules", "a hit"]);
}

#[test]
fn the_primary_may_change() {
    let sights = ["the primary changes", "another catalog rules", "a term ends at a doubt"];
    assert_holds("the primary changes", CANCELLED, &sights);
}

#[test]
fn each_rule_of_terms_is_needed() {
    let needed = [
        (Rule::LeaseOfReads, SMALL, STALE),
        (Rule::ClaimAfterMargin, SKEWED, STALE),
        (Rule::ClaimNamesTheBeat, BEATS, STALE),
        (Rule::FencedWrites, SMALL, STALE),
        (Rule::BarrierOfSessions, CACHED, STALE),
        (Rule::EndAtDoubt, CANCELLED, LOST),
    ];
    for (rule, size, broken) in needed {
        assert_needed(rule, Terms::new(size, Some(rule)), broken);
    }
}
