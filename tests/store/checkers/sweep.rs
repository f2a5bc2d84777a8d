//! Histories of a counter that each change adds one to, modulo three.

use std::time::Instant;

use super::at;
use crate::histories::sweep::{Observation, Span, sweep};

fn change(began: u64, ended: u64) -> Span {
    Span { began: Some(at(began)), ended: Some(at(ended)) }
}

fn seen(value: usize, began: u64, ended: u64) -> Observation<usize> {
    Observation { began: at(began), ended: at(ended), seen: value }
}

fn check(changes: &[Span], observations: &[Observation<usize>]) -> Result<(), String> {
    let observations: Vec<_> = observations.iter().collect();
    let positions = 0..=changes.len();
    sweep(changes, &observations, |value, from| {
        positions.clone().skip(from).find(|position| position % 3 == *value)
    })
}

#[test]
fn what_a_correct_store_shows_passes() {
    let changes = [change(10, 20), change(30, 40), change(50, 60), change(70, 80)];
    let observations = [
        seen(0, 0, 5),
        seen(0, 11, 19),
        seen(1, 12, 18),
        seen(1, 25, 29),
        seen(2, 31, 32),
        // The same value again, of a later state.
        seen(0, 61, 65),
        seen(1, 0, 100),
    ];
    check(&changes, &observations).unwrap();
}

#[test]
fn a_state_that_was_over_is_found() {
    assert!(check(&[change(10, 20)], &[seen(0, 21, 22)]).is_err());
}

#[test]
fn a_state_whose_change_was_not_requested_yet_is_found() {
    assert!(check(&[change(10, 20)], &[seen(1, 5, 9)]).is_err());
}

#[test]
fn a_state_that_never_was_is_found() {
    assert!(check(&[change(10, 20)], &[seen(2, 0, 30)]).is_err());
}

#[test]
fn states_that_run_backwards_are_found() {
    let changes = [change(10, 20)];
    let forwards = [seen(0, 11, 13), seen(1, 14, 19)];
    let backwards = [seen(1, 11, 13), seen(0, 14, 19)];
    check(&changes, &forwards).unwrap();
    assert!(check(&changes, &backwards).is_err());
}

#[test]
fn states_that_run_backwards_by_way_of_a_third_are_found() {
    // All changes are in doubt, so only the observations bound each other.
    let changes = [change(0, 90); 4];
    let observations = [seen(2, 10, 20), seen(0, 30, 40), seen(2, 50, 60)];
    assert!(check(&changes, &observations).is_err());
    check(&[change(0, 90); 5], &observations).unwrap();
}

#[test]
fn changes_that_contradict_the_clock_are_found() {
    assert!(check(&[change(30, 40), change(10, 20)], &[]).is_err());
    assert!(check(&[change(30, 40), Span::default(), change(10, 20)], &[]).is_err());
    check(&[change(30, 40), change(10, 31)], &[]).unwrap();
}

#[test]
fn a_change_without_an_answer_may_have_happened_at_any_time() {
    let changes = [Span { began: Some(at(10)), ended: None }];
    check(&changes, &[seen(0, 1_000, 1_001)]).unwrap();
    check(&changes, &[seen(1, 1_000, 1_001)]).unwrap();
    assert!(check(&changes, &[seen(1, 1, 9)]).is_err());
}

#[test]
fn it_agrees_with_trying_every_position() {
    let mut random = Random(7);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20_000 {
        let changes: Vec<Span> = (0..3).map(|_| random.span()).collect();
        let observations: Vec<_> = (0..3)
            .map(|_| {
                let span = random.span();
                let (began, ended) = (span.began.unwrap(), span.ended.unwrap());
                Observation { began, ended, seen: random.below(3) }
            })
            .collect();
        let is_good = check(&changes, &observations).is_ok();
        assert_eq!(is_good, brute_force(&changes, &observations), "{changes:?} {observations:?}");
        if is_good { good += 1 } else { bad += 1 }
    }
    assert!(good > 100 && bad > 100, "{good} good ones and {bad} bad ones prove little");
}

/// Whether any order of all that happened keeps the clock and shows what was seen.
fn brute_force(changes: &[Span], observations: &[Observation<usize>]) -> bool {
    fn go_on(changes: &[Span], done: usize, left: &[&Observation<usize>]) -> bool {
        if done == changes.len() && left.is_empty() {
            return true;
        }
        // What comes next may not begin after something else, that is yet to come, has ended.
        let ends = changes[done..].iter().filter_map(|span| span.ended);
        let first_end = ends.chain(left.iter().map(|one| one.ended)).min();
        let may_be_next = |began: Instant| first_end.is_none_or(|end| began <= end);
        let change = changes.get(done).is_some_and(|span| {
            span.began.is_none_or(may_be_next) && go_on(changes, done + 1, left)
        });
        change
            || left.iter().enumerate().any(|(index, one)| {
                let mut rest = left.to_vec();
                rest.remove(index);
                may_be_next(one.began) && one.seen == done % 3 && go_on(changes, done, &rest)
            })
    }
    go_on(changes, 0, &observations.iter().collect::<Vec<_>>())
}

/// Small numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from((self.0 >> 33) % limit).expect("it is small")
    }

    fn span(&mut self) -> Span {
        let began = self.below(12) as u64;
        let length = 1 + self.below(8) as u64;
        change(began, began + length)
    }
}
