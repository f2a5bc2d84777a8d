//! What has changed about the store, in sentences: the page's feed.
//!
//! A front-end sees the store as it is now: who leads, what each replica does, whether the catalog
//! answers. The feed compares what is [`Seen`] now with what was seen before, and says what is
//! different. It keeps the last [`MOST_EVENTS`]; each has a number, by which a reader that was cut
//! off goes on where it was.

use std::collections::{BTreeMap, VecDeque};

use crate::wire::cluster::{FeedEvent, FeedKind, FrontendViewState, ReplicaViewState};
use crate::wire::order::OrderNumber;
use crate::wire::replication::{Epoch, ReplicaId};
use crate::wire::term::{CatalogId, Term};
use crate::wire::toy::ToyName;

/// The events that are kept: some minutes of a store in which much fails.
pub const MOST_EVENTS: usize = 256;
/// The toys that one event names.
const MOST_NAMES: usize = 4;
/// The toys whose invalidations are counted one by one until they are told.
const MOST_COUNTED: usize = 256;

/// What a front-end sees of the store at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The newest epoch.
    pub epoch: Epoch,
    /// Who leads.
    pub leader: Option<ReplicaId>,
    /// Each replica's state, and the number of its last order.
    pub replicas: Vec<(ReplicaId, ReplicaViewState, Option<OrderNumber>)>,
    /// Whether the catalog answers.
    pub catalog_answers: bool,
    /// The catalog that rules, of several, and its term.
    pub ruler: Option<(Term, CatalogId)>,
    /// Whether the front-end has a lease, without which it answers nothing from its cache; `None`
    /// if it has no cache.
    pub has_lease: Option<bool>,
    /// The other front-ends, as far as they were asked lately.
    pub frontends: Vec<(String, FrontendViewState)>,
    /// Why the store cannot sell, if that lasts until an operator acts.
    pub stopped: Option<String>,
}

/// The feed.
#[derive(Debug, Default)]
pub struct Feed {
    events: VecDeque<FeedEvent>,
    /// The number of the next event.
    next: u64,
    before: Option<Seen>,
    /// How many orders each replica had when it was last in step.
    in_step: BTreeMap<ReplicaId, u64>,
    /// The invalidations that were not told yet.
    invalidated: BTreeMap<ToyName, u64>,
    /// Invalidations of further toys.
    others: u64,
}

impl Seen {
    /// Returns whether nothing else differs than how many orders the replicas have.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let counted = other.replicas.iter().map(|(_, _, last)| *last);
        let mut same = self.clone();
        same.replicas.iter_mut().zip(counted).for_each(|((_, _, last), other)| *last = other);
        same == *other
    }
}

impl Feed {
    /// Takes what is seen at `at_ms`, the time of day, and tells what is different.
    pub fn see(&mut self, seen: Seen, at_ms: u64) {
        let before = self.before.take().unwrap_or_default();
        self.see_leader(&before, &seen, at_ms);
        for (id, state, last) in &seen.replicas {
            let was = before.replicas.iter().find(|(other, ..)| other == id);
            self.see_replica(*id, was.map(|(_, state, _)| *state), (*state, *last), at_ms);
        }
        for (role, state) in &seen.frontends {
            let was = before.frontends.iter().find(|(other, _)| other == role);
            let word = match (was.map(|(_, state)| *state), *state) {
                (Some(FrontendViewState::Up), FrontendViewState::Down) => "does not answer",
                (Some(FrontendViewState::Down), FrontendViewState::Up) => "answers",
                (_, _) => continue,
            };
            self.say(FeedKind::Frontend, &format!("{role} {word}"), at_ms);
        }
        if let Some((term, id)) = seen.ruler.filter(|ruler| before.ruler != Some(*ruler)) {
            self.say(FeedKind::Catalog, &format!("catalog-{id} rules, term {term}"), at_ms);
        }
        match (before.catalog_answers, seen.catalog_answers) {
            (true, false) => self.say(FeedKind::Catalog, "the catalog does not answer", at_ms),
            (false, true) => self.say(FeedKind::Catalog, "the catalog answers", at_ms),
            (true, true) | (false, false) => {}
        }
        match (before.has_lease, seen.has_lease) {
            (Some(true), Some(false)) => {
                self.say(FeedKind::Cache, "the lease ran out: nothing is cached", at_ms);
            }
            (Some(false) | None, Some(true)) => {
                self.say(FeedKind::Cache, "a lease begins: toys may be cached", at_ms);
            }
            (_, Some(_) | None) => {}
        }
        match (&before.stopped, &seen.stopped) {
            (before, Some(why)) if before.as_ref() != Some(why) => {
                self.say(FeedKind::Store, &format!("the store cannot sell: {why}"), at_ms);
            }
            (Some(_), None) => self.say(FeedKind::Store, "the store can sell again", at_ms),
            (Some(_) | None, Some(_)) | (None, None) => {}
        }
        self.before = Some(seen);
    }

    /// Adds an event.
    pub fn say(&mut self, kind: FeedKind, text: &str, at_ms: u64) {
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(FeedEvent { number: self.next, at_ms, kind, text: text.to_owned() });
        self.next += 1;
    }

    /// Notes that the catalog invalidated a toy, to be told by [`Feed::tell_invalidations`].
    pub fn invalidated(&mut self, toy: &ToyName) {
        if let Some(times) = self.invalidated.get_mut(toy.as_str()) {
            *times += 1;
        } else if self.invalidated.len() < MOST_COUNTED {
            self.invalidated.insert(toy.clone(), 1);
        } else {
            self.others += 1;
        }
    }

    /// Tells in one event which toys were invalidated since the last such event, if any were.
    pub fn tell_invalidations(&mut self, at_ms: u64) {
        let counted = std::mem::take(&mut self.invalidated);
        let further = counted.iter().skip(MOST_NAMES).map(|(_, times)| times).sum::<u64>();
        let further = further + std::mem::take(&mut self.others);
        let mut names: Vec<String> = counted
            .iter()
            .take(MOST_NAMES)
            .map(|(toy, times)| match times {
                1 => toy.as_str().to_owned(),
                times => format!("{} ({times} times)", toy.as_str()),
            })
            .collect();
        if further > 0 {
            names.push(format!("others ({further} times)"));
        }
        if !names.is_empty() {
            self.say(FeedKind::Cache, &format!("invalidated {}", names.join(", ")), at_ms);
        }
    }

    /// Returns the events from this number on that are kept.
    pub fn since(&self, number: u64) -> impl Iterator<Item = &FeedEvent> {
        self.events.iter().filter(move |event| event.number >= number)
    }

    /// Returns the number that the next event will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    fn see_leader(&mut self, before: &Seen, seen: &Seen, at_ms: u64) {
        match (before.leader, seen.leader) {
            (was, Some(leader)) if was != Some(leader) || before.epoch != seen.epoch => {
                let text = format!("selected leader {leader}, epoch {}", seen.epoch);
                self.say(FeedKind::Leader, &text, at_ms);
            }
            (Some(gone), None) => {
                self.say(FeedKind::Leader, &format!("leader {gone} is gone"), at_ms);
            }
            (_, Some(_)) | (None, None) => {}
        }
    }

    fn see_replica(
        &mut self,
        id: ReplicaId,
        was: Option<ReplicaViewState>,
        (is, last): (ReplicaViewState, Option<OrderNumber>),
        at_ms: u64,
    ) {
        use ReplicaViewState::{Down, Follower, Leader, Syncing};
        let length = last.map_or(0, |last| last.0 + 1);
        match (was, is) {
            (Some(Leader | Follower | Syncing), Down) => {
                self.say(FeedKind::Replica, &format!("replica {id} is down"), at_ms);
            }
            (Some(Down), Leader | Follower | Syncing) => {
                self.say(FeedKind::Replica, &format!("replica {id} answers"), at_ms);
            }
            (_, Leader | Follower | Syncing | Down) => {}
        }
        if let Leader | Follower = is {
            let had = self.in_step.insert(id, length);
            if let (Some(Down | Syncing), Some(had)) = (was, had)
                && length > had
            {
                let orders = length - had;
                let plural = if orders == 1 { "" } else { "s" };
                let text = format!("replica {id} caught up {orders} order{plural}");
                self.say(FeedKind::Replica, &text, at_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ReplicaViewState::{Down, Follower, Leader, Syncing};

    use super::*;

    fn seen(
        epoch: u64,
        leader: Option<u32>,
        replicas: &[(u32, ReplicaViewState, Option<u64>)],
    ) -> Seen {
        let replicas = replicas
            .iter()
            .map(|(id, state, last)| (ReplicaId(*id), *state, last.map(OrderNumber)));
        Seen {
            epoch: Epoch(epoch),
            leader: leader.map(ReplicaId),
            replicas: replicas.collect(),
            catalog_answers: true,
            ruler: None,
            has_lease: Some(true),
            frontends: Vec::new(),
            stopped: None,
        }
    }

    fn told(feed: &Feed, from: u64) -> Vec<&str> {
        feed.since(from).map(|event| event.text.as_str()).collect()
    }

    #[test]
    fn a_leader_that_dies_and_comes_back_is_told() {
        let mut feed = Feed::default();
        feed.see(seen(1, Some(3), &[(3, Leader, Some(9)), (2, Follower, Some(9))]), 0);
        let from = feed.next();
        feed.see(seen(1, None, &[(3, Down, None), (2, Follower, Some(9))]), 100);
        feed.see(seen(2, Some(2), &[(3, Down, None), (2, Leader, Some(127))]), 200);
        feed.see(seen(2, Some(2), &[(3, Syncing, Some(9)), (2, Leader, Some(127))]), 300);
        feed.see(seen(2, Some(2), &[(3, Follower, Some(127)), (2, Leader, Some(127))]), 400);
        feed.see(seen(2, Some(2), &[(3, Follower, Some(128)), (2, Leader, Some(128))]), 500);
        assert_eq!(
            told(&feed, from),
            [
                "leader 3 is gone",
                "replica 3 is down",
                "selected leader 2, epoch 2",
                "replica 3 answers",
                "replica 3 caught up 118 orders",
            ]
        );
    }

    #[test]
    fn a_catalog_that_goes_and_a_lease_that_runs_out_are_told() {
        let mut feed = Feed::default();
        let up = seen(1, Some(1), &[(1, Leader, None)]);
        feed.see(up.clone(), 0);
        let from = feed.next();
        feed.see(Seen { catalog_answers: false, ..up.clone() }, 1);
        feed.see(Seen { catalog_answers: false, has_lease: Some(false), ..up.clone() }, 2);
        let why = Some("its disk is full".to_owned());
        feed.see(Seen { stopped: why.clone(), ..up.clone() }, 3);
        feed.see(Seen { stopped: why, ..up.clone() }, 4);
        feed.see(up, 5);
        assert_eq!(
            told(&feed, from),
            [
                "the catalog does not answer",
                "the lease ran out: nothing is cached",
                "the catalog answers",
                "a lease begins: toys may be cached",
                "the store cannot sell: its disk is full",
                "the store can sell again",
            ]
        );
    }

    #[test]
    fn a_front_end_that_dies_and_comes_back_is_told() {
        use FrontendViewState::{Down, Unasked, Up};
        let mut feed = Feed::default();
        for (at_ms, state) in (0..).zip([Unasked, Up, Down, Unasked, Up, Down, Up]) {
            let frontends = vec![("frontend-2".to_owned(), state)];
            feed.see(Seen { frontends, ..Seen::default() }, at_ms);
        }
        let dies = "frontend-2 does not answer";
        assert_eq!(told(&feed, 0), [dies, dies, "frontend-2 answers"]);
    }

    #[test]
    fn orders_alone_make_no_other_state() {
        let one = seen(1, Some(3), &[(3, Leader, Some(9)), (2, Follower, None)]);
        assert!(one.is_like(&seen(1, Some(3), &[(3, Leader, Some(12)), (2, Follower, Some(9))])));
        assert!(!one.is_like(&seen(1, Some(3), &[(3, Leader, Some(9)), (2, Syncing, None)])));
        assert!(!one.is_like(&seen(2, Some(3), &[(3, Leader, Some(9)), (2, Follower, None)])));
    }

    #[test]
    fn invalidations_are_told_together() {
        let mut feed = Feed::default();
        feed.tell_invalidations(0);
        for toy in ["Slinky", "Tux", "Slinky", "Uno", "A", "B", "C"] {
            feed.invalidated(&toy.into());
        }
        feed.tell_invalidations(1);
        feed.tell_invalidations(2);
        assert_eq!(told(&feed, 0), ["invalidated A, B, C, Slinky (2 times), others (2 times)"]);
    }

    #[test]
    fn the_last_events_are_kept_and_numbered() {
        let mut feed = Feed::default();
        for place in 0..MOST_EVENTS + 3 {
            feed.say(FeedKind::Store, &place.to_string(), 0);
        }
        assert_eq!(told(&feed, 0).len(), MOST_EVENTS);
        assert_eq!(feed.since(0).next().map(|event| event.number), Some(3));
        assert_eq!(told(&feed, feed.next() - 1), [(MOST_EVENTS + 2).to_string()]);
    }
}
