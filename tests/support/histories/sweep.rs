//! Linearizability in one sweep: whether what clients saw fits the sequence of changes.
//!
//! The sequence of the changes is known from the journal. Not known is at which instant between its
//! request and its answer each of them took effect, nor which state an observation saw where
//! several look the same. The history is linearizable exactly if every observation can be given a
//! *position* (how many changes it comes after) such that
//!
//! 1. the state there looks as it was seen,
//! 2. every change that was answered before the observation was asked for is before it,
//! 3. every change that was asked for after the observation was answered is behind it,
//! 4. an observation that was answered before this one was asked for is not behind it,
//!
//! and the changes themselves do not contradict the clock. (Sorted by position, each change before
//! the observations of the state that it makes, all real-time order is kept.)
//!
//! To take the least position that fits is never wrong, as all that it does to later observations
//! is to bound them from below. So one pass in the order of asking decides, and a sort is what it
//! costs.

use std::fmt::Debug;
use std::time::Instant;

/// The time within which a change took effect. An end that is `None` is not known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) began: Option<Instant>,
    pub(crate) ended: Option<Instant>,
}

/// What a client saw, and when.
#[derive(Clone, Debug)]
pub(crate) struct Observation<S> {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) seen: S,
}

/// Checks observations against changes in their order. `first_from` tells the first position, from
/// one on, where the state looks as it was seen.
///
/// # Errors
///
/// If the history is not linearizable; why.
pub(crate) fn sweep<S: Debug>(
    changes: &[Span],
    observations: &[&Observation<S>],
    first_from: impl Fn(&S, usize) -> Option<usize>,
) -> Result<(), String> {
    check_order(changes)?;
    let mut answered: Vec<(Instant, usize)> =
        (1..).zip(changes).filter_map(|(place, span)| Some((span.ended?, place))).collect();
    answered.sort_unstable();
    let mut answered = answered.into_iter().peekable();
    let most = Most::new(changes);
    let mut by_end: Vec<usize> = (0..observations.len()).collect();
    by_end.sort_by_key(|&index| observations[index].ended);
    let mut by_end = by_end.into_iter().peekable();
    let mut by_begin: Vec<usize> = (0..observations.len()).collect();
    by_begin.sort_by_key(|&index| observations[index].began);
    let mut positions = vec![0; observations.len()];
    let mut least = 0;
    for index in by_begin {
        let Observation { began, ended, seen } = observations[index];
        while let Some((_, place)) = answered.next_if(|(answered, _)| answered < began) {
            least = least.max(place);
        }
        // An observation that was answered before this one was requested was itself requested
        // earlier, and so has its position by now.
        while let Some(earlier) = by_end.next_if(|&earlier| observations[earlier].ended < *began) {
            least = least.max(positions[earlier]);
        }
        let most = most.before(*ended);
        let position = first_from(seen, least).filter(|position| *position <= most);
        positions[index] = position.ok_or_else(|| {
            format!(
                "{seen:?} is not linearizable: it comes after {least} changes and before number \
                 {most}, and no state there looks so"
            )
        })?;
    }
    Ok(())
}

/// A change that was answered before another was asked for comes first.
fn check_order(changes: &[Span]) -> Result<(), String> {
    let mut newest: Option<(Instant, usize)> = None;
    for (place, span) in changes.iter().enumerate() {
        if let (Some((began, earlier)), Some(ended)) = (newest, span.ended)
            && ended < began
        {
            return Err(format!("change {place} had ended when change {earlier} was asked for"));
        }
        newest = newest.max(span.began.map(|began| (began, place)));
    }
    Ok(())
}

/// How many changes can have happened by when.
struct Most {
    /// When changes were asked for, sorted, each with the least place of it and of all later ones.
    asked: Vec<(Instant, usize)>,
    all: usize,
}

impl Most {
    fn new(changes: &[Span]) -> Self {
        let all = changes.len();
        let mut asked: Vec<_> =
            (0..).zip(changes).filter_map(|(place, span)| Some((span.began?, place))).collect();
        asked.sort_unstable();
        let mut least = all;
        for (_, place) in asked.iter_mut().rev() {
            least = least.min(*place);
            *place = least;
        }
        Self { asked, all }
    }

    fn before(&self, time: Instant) -> usize {
        let later = self.asked.partition_point(|(asked, _)| *asked <= time);
        self.asked.get(later).map_or(self.all, |(_, place)| *place)
    }
}
