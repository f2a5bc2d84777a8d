//! The runs: worlds with all rules, and for each rule a world without it that must end in a
//! counterexample.

use super::super::{Search, assert_needed, explore};
use super::*;

/// A link is cut, or loses answers, and is mended; or the other one fails, too.
const CUT: Size = Size { changes: 2, links: &[Link::Open, Link::Cut, Link::LosesAnswers] };
/// The links to both catalogs are cut one after the other, and one of them is mended.
const IN_TURN: Size = Size { changes: 3, links: &[Link::Open, Link::Cut] };

fn assert_holds(what: &str, size: Size, sights: &[&'static str]) {
    let model = Audiences::new(size, None);
    let seen = model.sights.clone();
    assert!(explore(what, model, Search::Everything).is_empty());
    seen.assert_seen(sights);
}

#[test]
fn the_front_end_may_be_cut_off_from_the_catalog_that_rules() {
    assert_holds("a link fails", CUT, &["a term ends in silence", "a term is claimed"]);
}

#[test]
fn the_front_end_may_be_cut_off_from_both_catalogs_in_turn() {
    let sights =
        ["no catalog is reached", "a term ends in silence", "a term ends that had no audience"];
    assert_holds("links fail in turn", IN_TURN, &sights);
}

#[test]
fn each_rule_of_the_audience_is_needed() {
    let needed = [
        (Rule::SilenceEndsATerm, CUT, REACHED),
        (Rule::UnansweredQuestionsDoNotCount, CUT, REACHED),
        (Rule::TermsNeedAnAudience, IN_TURN, REACHED),
        (Rule::ReachedCatalogsGoFirst, CUT, REACHED),
        (Rule::QuestionsKeepATerm, CUT, CALM),
    ];
    for (rule, size, promise) in needed {
        assert_needed(rule, Audiences::new(size, Some(rule)), promise);
    }
}
