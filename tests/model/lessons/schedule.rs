//! Schedules: the shortest one that breaks a promise, and the same one with the rule kept.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Told;

/// A run: each state with the step that is made in it; the last has none.
type Run<M> = Vec<(<M as stateright::Model>::State, Option<<M as stateright::Model>::Action>)>;

/// How many states a search may visit: worlds of lessons are far smaller.
const MOST_STATES: usize = 2_000_000;

/// The shortest schedule to a state that is wanted, the first in the order of the model's actions.
///
/// (Stateright's own search is breadth-first in blocks of 1,500 states, so the first path that it
/// finds may have steps that are not needed.)
pub(super) fn shortest<M>(
    model: &M,
    wanted: impl Fn(&M::State) -> bool,
    may: impl Fn(&M::State, &M::Action) -> bool,
) -> Option<Run<M>>
where
    M: Told,
    M::State: Clone + Hash,
    M::Action: Clone,
{
    let start = model.init_states().remove(0);
    let steps = search(model, start.clone(), wanted, may)?;
    Some(replay(model, start, steps))
}

/// The run that follows a schedule as far as it can, and goes on until nothing waits.
pub(super) fn follow<M>(model: &M, schedule: &Run<M>) -> Run<M>
where
    M: Told,
    M::State: Clone + Hash,
    M::Action: Clone + PartialEq,
{
    let mut state = model.init_states().remove(0);
    let mut run = Vec::new();
    for wanted in schedule.iter().filter_map(|(_, step)| step.as_ref()) {
        let mut possible = Vec::new();
        model.actions(&state, &mut possible);
        let equal = possible.iter().position(|step| step == wanted);
        let place = equal.or_else(|| possible.iter().position(|step| M::are_alike(step, wanted)));
        let Some(step) = place.map(|place| possible.swap_remove(place)) else { continue };
        let Some(next) = model.next_state(&state, step.clone()) else { continue };
        run.push((std::mem::replace(&mut state, next), Some(step)));
    }
    let rests = |state: &M::State| model.is_at_rest(state);
    let steps = search(model, state.clone(), rests, |_, step| M::goes_on(step));
    run.extend(replay(model, state, steps.expect("with all rules, everything comes to rest")));
    run
}

fn replay<M>(model: &M, start: M::State, steps: Vec<M::Action>) -> Run<M>
where
    M: Told,
    M::Action: Clone,
{
    let mut run = Vec::new();
    let mut state = start;
    for step in steps {
        let next = model.next_state(&state, step.clone()).expect("it was possible before");
        run.push((std::mem::replace(&mut state, next), Some(step)));
    }
    run.push((state, None));
    run
}

/// Breadth-first. Returns the steps to the first state that is wanted.
fn search<M>(
    model: &M,
    start: M::State,
    wanted: impl Fn(&M::State) -> bool,
    may: impl Fn(&M::State, &M::Action) -> bool,
) -> Option<Vec<M::Action>>
where
    M: Told,
    M::State: Clone + Hash,
    M::Action: Clone,
{
    // For each state that was reached: the place of the one before, and the step between.
    let mut reached: Vec<(usize, Option<M::Action>)> = vec![(0, None)];
    let mut known = HashSet::from([fingerprint(&start)]);
    let mut waiting = VecDeque::from([(0, start)]);
    while let Some((place, state)) = waiting.pop_front() {
        if wanted(&state) {
            return Some(steps_to(&reached, place));
        }
        let mut steps = Vec::new();
        model.actions(&state, &mut steps);
        for step in steps.into_iter().filter(|step| may(&state, step)) {
            let Some(next) = model.next_state(&state, step.clone()) else { continue };
            if known.insert(fingerprint(&next)) {
                reached.push((place, Some(step)));
                waiting.push_back((reached.len() - 1, next));
            }
        }
        assert!(reached.len() < MOST_STATES, "the world of a lesson is too large");
    }
    None
}

fn steps_to<A: Clone>(reached: &[(usize, Option<A>)], place: usize) -> Vec<A> {
    let mut steps = Vec::new();
    let mut place = place;
    while let (before, Some(step)) = &reached[place] {
        steps.push(step.clone());
        place = *before;
    }
    steps.reverse();
    steps
}

fn fingerprint<S: Hash>(state: &S) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
