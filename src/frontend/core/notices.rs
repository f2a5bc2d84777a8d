//! What a front-end notices of the others: that a process does not answer, which that process
//! cannot record itself, and what follows from it for this front-end.
//!
//! A front-end sees the store as it is now. [`notices`] compares what is [`Seen`] with what was
//! seen before.

use crate::wire::cluster::{FrontendViewState, ReplicaViewState};
use crate::wire::lease::SessionId;
use crate::wire::replication::{Epoch, ReplicaId};
use crate::wire::term::{CatalogId, Term};

/// What a front-end sees of the store at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The newest epoch.
    pub epoch: Epoch,
    /// Who leads.
    pub leader: Option<ReplicaId>,
    /// Each replica's state.
    pub replicas: Vec<(ReplicaId, ReplicaViewState)>,
    /// Whether the catalog answers.
    pub catalog_answers: bool,
    /// The catalog that rules, of several, and its term.
    pub ruler: Option<(Term, CatalogId)>,
    /// The session whose lease runs; without one, nothing is answered from the cache.
    pub lease: Option<SessionId>,
    /// The other front-ends, as far as they were asked lately.
    pub frontends: Vec<(String, FrontendViewState)>,
    /// Why the store cannot sell, if that lasts until an operator acts.
    pub stopped: Option<String>,
}

impl Seen {
    /// Returns whether the catalog and all replicas answer, and one of them leads.
    #[must_use]
    pub fn all_answer(&self) -> bool {
        let answers = |(_, state): &(_, _)| *state != ReplicaViewState::Down;
        self.catalog_answers && self.leader.is_some() && self.replicas.iter().all(answers)
    }
}

/// Something that a front-end noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its name among the events that are recorded.
    pub name: &'static str,
    /// What it is, in words.
    pub text: String,
}

/// Returns what is different now.
#[must_use]
pub fn notices(before: &Seen, now: &Seen) -> Vec<Notice> {
    let mut noticed = Vec::new();
    let mut notice = |name, text: String| noticed.push(Notice { name, text });
    for (id, state) in &now.replicas {
        let was = before.replicas.iter().find(|(other, _)| other == id);
        let was_down = was.map(|(_, state)| *state == ReplicaViewState::Down);
        match (was_down, *state == ReplicaViewState::Down) {
            (Some(false), true) => notice("replica.silent", format!("replica {id} is down")),
            (Some(true), false) => notice("replica.answers", format!("replica {id} answers")),
            (Some(_) | None, _) => {}
        }
    }
    for (role, state) in &now.frontends {
        let was = before.frontends.iter().find(|(other, _)| other == role);
        match (was.map(|(_, state)| *state), *state) {
            (Some(FrontendViewState::Up), FrontendViewState::Down) => {
                notice("frontend.silent", format!("{role} does not answer"));
            }
            (Some(FrontendViewState::Down), FrontendViewState::Up) => {
                notice("frontend.answers", format!("{role} answers"));
            }
            (_, _) => {}
        }
    }
    match (before.catalog_answers, now.catalog_answers) {
        (true, false) => notice("catalog.silent", "the catalog does not answer".into()),
        (false, true) => notice("catalog.answers", "the catalog answers".into()),
        (true, true) | (false, false) => {}
    }
    if before.lease.is_some() && now.lease.is_none() {
        notice("lease.end", "the lease ran out: nothing is answered from the cache".into());
    }
    match (&before.stopped, &now.stopped) {
        (before, Some(why)) if before.as_ref() != Some(why) => {
            notice("sales.stopped", format!("the store cannot sell: {why}"));
        }
        (Some(_), None) => notice("sales.resumed", "the store can sell again".into()),
        (Some(_) | None, Some(_)) | (None, None) => {}
    }
    noticed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: ReplicaViewState) -> Seen {
        Seen {
            epoch: Epoch(1),
            leader: Some(ReplicaId(2)),
            replicas: vec![(ReplicaId(3), state), (ReplicaId(2), ReplicaViewState::Leader)],
            catalog_answers: true,
            lease: Some(SessionId { boot: 1, serial: 1 }),
            ..Seen::default()
        }
    }

    /// What is noticed of these, one after the other.
    fn noticed(all: &[Seen]) -> Vec<String> {
        let pairs = all.windows(2).flat_map(|pair| notices(&pair[0], &pair[1]));
        pairs.map(|notice| notice.text).collect()
    }

    #[test]
    fn a_replica_that_dies_and_comes_back_is_noticed() {
        use ReplicaViewState::{Down, Follower, Syncing};
        let states =
            [Seen::default()].into_iter().chain([Follower, Down, Syncing, Follower].map(seen));
        let all: Vec<Seen> = states.collect();
        let expected = ["the catalog answers", "replica 3 is down", "replica 3 answers"];
        assert_eq!(noticed(&all), expected);
    }

    #[test]
    fn all_answer_once_the_last_replica_does() {
        assert!(!Seen::default().all_answer());
        assert!(!seen(ReplicaViewState::Down).all_answer());
        assert!(seen(ReplicaViewState::Syncing).all_answer());
    }

    #[test]
    fn a_catalog_that_goes_and_a_lease_that_runs_out_are_noticed() {
        let up = seen(ReplicaViewState::Follower);
        let away = Seen { catalog_answers: false, ..up.clone() };
        let why = Some("its disk is full".to_owned());
        let stopped = Seen { stopped: why, ..up.clone() };
        let all =
            [up.clone(), away.clone(), Seen { lease: None, ..away }, stopped.clone(), stopped, up];
        assert_eq!(
            noticed(&all),
            [
                "the catalog does not answer",
                "the lease ran out: nothing is answered from the cache",
                "the catalog answers",
                "the store cannot sell: its disk is full",
                "the store can sell again",
            ]
        );
    }

    #[test]
    fn a_front_end_that_dies_and_comes_back_is_noticed() {
        use FrontendViewState::{Down, Unasked, Up};
        let all = [Unasked, Up, Down, Unasked, Up, Down, Up].map(|state| {
            let frontends = vec![("frontend-2".to_owned(), state)];
            Seen { frontends, ..Seen::default() }
        });
        let dies = "frontend-2 does not answer";
        assert_eq!(noticed(&all), [dies, dies, "frontend-2 answers"]);
    }
}
