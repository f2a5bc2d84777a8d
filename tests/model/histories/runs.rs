//! The runs: worlds with all rules, and for each rule a world without it.

use super::super::{Search, assert_needed, explore};
use super::*;

const NOTHING: Left =
    Left { sales: 3, backups: 1, restores: 0, rollbacks: 0, starts: 2, outages: 2 };
const RESTORED: Left = Left { restores: 1, ..NOTHING };
const ROLLED_BACK: Left = Left { rollbacks: 1, outages: 1, ..NOTHING };

fn assert_holds(what: &str, left: Left, sights: &[&'static str]) {
    let model = Histories::new(left, None);
    let seen = model.sights.clone();
    assert!(explore(what, model, Search::Everything).is_empty());
    seen.assert_seen(sights);
}

#[test]
fn a_journal_that_was_restored_gives_no_number_away_twice() {
    let sights = [
        "a log contradicts the journal",
        "a journal in doubt has heard every replica",
        "a purchase is refused",
        "a normal restart waits for no replica",
    ];
    assert_holds("the catalog's database is restored", RESTORED, &sights);
}

#[test]
fn a_machine_that_was_rolled_back_sells_nothing_to_a_longer_log() {
    assert_holds("the machine is rolled back", ROLLED_BACK, &["a log contradicts the journal"]);
}

#[test]
fn each_rule_is_needed() {
    let needed = [
        (Rule::MarkersTell, RESTORED, ONCE),
        (Rule::AllAreHeard, RESTORED, ONCE),
        (Rule::EvidenceStops, RESTORED, ONCE),
        (Rule::LeadersAreHeard, ROLLED_BACK, HELD),
    ];
    for (rule, left, property) in needed {
        assert_needed(rule, Histories::new(left, Some(rule)), property);
    }
}
