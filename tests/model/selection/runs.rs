//! The runs: worlds of several sizes with all rules, and for each rule a world without it.

use super::super::{Search, assert_needed, explore};
use super::*;

const QUIET: Size = Size { replicas: 3, left: NOTHING };
const NOTHING: Left =
    Left { checks: 3, crashes: 0, restarts: 0, cuts: 0, losses: 0, strays: 0, restores: 0 };
const CRASHES: Size =
    Size { replicas: 2, left: Left { checks: 2, crashes: 1, restarts: 1, ..NOTHING } };
const LOSSES: Size = Size { replicas: 2, left: Left { losses: 2, ..NOTHING } };
const STRAYS: Size = Size { replicas: 2, left: Left { checks: 2, strays: 2, ..NOTHING } };
const RESTORES: Size = Size { replicas: 2, left: Left { checks: 2, restores: 1, ..NOTHING } };
const CUTS: Size = Size { left: Left { checks: 2, cuts: 2, ..NOTHING }, ..QUIET };

fn assert_holds(what: &str, size: Size, sights: &[&'static str]) {
    assert_holds_without(None, what, size, sights);
}

fn assert_holds_without(rule: Option<Rule>, what: &str, size: Size, sights: &[&'static str]) {
    let model = Choosing::new(size, rule);
    let seen = model.sights.clone();
    assert!(explore(what, model, Search::Everything).is_empty());
    seen.assert_seen(sights);
}

#[test]
fn two_front_ends_select_one_leader() {
    assert_holds("nothing fails", QUIET, &["a nominee leads already"]);
}

#[test]
fn health_checks_may_be_lost() {
    assert_holds("health checks are lost", LOSSES, &["a nominee leads already"]);
}

#[test]
fn a_replica_may_crash_and_come_back() {
    let sights = ["a nomination loses", "a nominee cannot be reached", "a replica comes back"];
    assert_holds("a replica crashes and comes back", CRASHES, &sights);
}

#[test]
fn front_ends_may_be_cut_off_from_different_replicas() {
    assert_holds("links are cut", CUTS, &["a nomination loses", "a nominee cannot be reached"]);
}

#[test]
fn a_stranger_may_name_an_epoch_that_was_never_given() {
    let sights = [
        "a replica is told of an epoch that was never given",
        "an acquisition names an epoch that was never given",
    ];
    assert_holds("a stranger misleads", STRAYS, &sights);
}

#[test]
fn the_catalog_may_forget_epochs() {
    let sights = ["the catalog's database goes back in time"];
    assert_holds("the catalog is restored", RESTORES, &sights);
}

#[test]
fn each_rule_is_needed() {
    let needed = [
        (Rule::OnlyTheCatalogIsBelieved, STRAYS, GIVEN),
        (Rule::EpochsGrowByOne, STRAYS, COUNTED),
        (Rule::TheRecordCounts, RESTORES, RESTS),
        (Rule::MissesAreForgiven, LOSSES, CALM),
        (Rule::ReplacedChoicesYield, CUTS, RESTS),
        (Rule::IdleLeadersAreReplaced, CRASHES, RESTS),
        (Rule::SilentLeadersAreReplaced, CUTS, RESTS),
    ];
    for (rule, size, property) in needed {
        assert_needed(rule, Choosing::new(size, Some(rule)), property);
    }
}

/// The head of [the model](super) says why they exist.
#[test]
fn two_rules_only_save_time() {
    for rule in [Rule::LosersAdoptTheWinner, Rule::DeclinedNomineesArePassedOver] {
        assert_holds_without(Some(rule), &format!("without {rule:?}"), CRASHES, &[]);
    }
}
