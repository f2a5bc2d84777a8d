//! Which replica this front-end takes for the leader, and when it looks for another.
//!
//! # The idea
//!
//! There is no election among the replicas. A front-end checks their health, nominates the highest
//! id that responds, and tells all of them; the nominee makes its leadership true at the catalog,
//! by a compare-and-set on the epoch. With several front-ends that could become a duel:
//!
//! ```text
//! front-end 1      catalog         front-end 2
//!   | 3 is gone      |  epoch 7        |
//!   | nominate 2 --->|  epoch 8: 2     | 3 is gone
//!   |                |<--- nominate 2, ending epoch 7
//!   |                |---> lost: epoch 8, leader 2: adopted, not contested
//! ```
//!
//! A nomination names the epoch that it means to end. Whoever comes second loses, and *adopts* the
//! winner: it gives it as much time as any leader before it contests it. A replica with a higher id
//! that comes back does not depose a leader that works.
//!
//! Two front-ends that are cut off from different replicas could still depose each other's choice
//! in turn: one cannot reach 3 and nominates 2, the other cannot reach 2 and nominates 3. So a
//! front-end whose nominee was replaced although it reaches it well does not insist: for
//! [`YIELDING`] health checks it takes the next one, and both settle on a replica that both reach.
//!
//! # When a replica is gone
//!
//! A process that was killed refuses connections: it is gone at once. One that was stopped accepts
//! them and never answers: it is gone after [`MOST_MISSES`] health checks without an answer. An
//! answer to anything else counts as one to a health check.
//!
//! A replica that answers and is *unfit*, because its disk or its way to the catalog hangs, is
//! passed over; but a leader that is unfit is replaced only by one that has been fit for some time.
//! When the catalog restarts, all replicas are unfit for a moment, and none should lose its office
//! to whoever happens to event first that it is over.

use crate::wire::replication::{
    Epoch, Fitness, Leadership, NominationReply, ReplicaId, ReplicaState, ReplicaStatus,
};

/// Health checks in a row that a replica may miss. With one in 100 ms and 250 ms for an answer, a
/// leader that hangs is replaced within a second, and a busy one is given the time that two cores
/// under full load were seen to need.
pub const MOST_MISSES: u32 = 3;

/// Health checks for which a nominee that another front-end replaced is not nominated again: about
/// ten seconds, in which the other one has found a leader that suits both.
pub const YIELDING: u32 = 100;

/// A front-end's view of the replicas.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    /// By descending id.
    replicas: Vec<Candidate>,
    known: Leadership,
    /// The replica that this front-end made the leader last.
    own_choice: Option<ReplicaId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Candidate {
    id: ReplicaId,
    /// Health checks missed since the last good one. Before the first check nothing is known.
    misses: Option<u32>,
    /// Health checks in a row that it answered without leading, though it should: its process is a
    /// new one, which has no office.
    idle: u32,
    /// Health checks in a row that it answered being unfit.
    unfit: u32,
    /// Health checks in a row that it answered being fit.
    fit: u32,
    /// Health checks for which it is not nominated, because another front-end replaced it.
    yields: u32,
    status: Option<ReplicaStatus>,
}

/// What came of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It answered.
    Answered(ReplicaStatus),
    /// It did not answer in time.
    Missed,
    /// Nobody listens there.
    Gone,
}

/// What came of a request that was sent to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It answered.
    Answered,
    /// It does not lead; who does, as far as it knows.
    NotLeader(Leadership),
    /// Nobody listens there.
    Gone,
    /// It did not answer, or could not. It may be busy; that is for the health checks to find out.
    Unanswered,
}

/// A replica to nominate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nominee {
    /// Who.
    pub id: ReplicaId,
    /// The epoch to end.
    pub seen: Epoch,
}

/// What a health check tells of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Fit,
    /// Not checked yet, or checked with mixed results.
    Doubtful,
    /// It answers, and could not lead.
    Unfit,
    Gone,
}

impl Selection {
    /// A view of replicas of which nothing is known yet.
    #[must_use]
    pub fn new(ids: impl IntoIterator<Item = ReplicaId>) -> Self {
        let mut replicas: Vec<Candidate> = ids.into_iter().map(Candidate::new).collect();
        replicas.sort_by_key(|candidate| std::cmp::Reverse(candidate.id));
        Self { replicas, known: Leadership::default(), own_choice: None }
    }

    /// The newest leadership that is known.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.known
    }

    /// Where purchases and order queries go: the leader, unless it is known to be gone or to hold
    /// no office.
    #[must_use]
    pub fn leader(&self) -> Option<ReplicaId> {
        let leader = self.known.leader?;
        let candidate = self.candidate(leader)?;
        (candidate.condition() != Condition::Gone && candidate.idle == 0).then_some(leader)
    }

    /// What each replica said last, if it answers; by descending id.
    pub fn statuses(&self) -> impl Iterator<Item = (ReplicaId, Option<ReplicaStatus>)> {
        self.replicas.iter().map(|candidate| {
            let answers = candidate.misses.is_some_and(|misses| misses < MOST_MISSES);
            (candidate.id, candidate.status.filter(|_| answers))
        })
    }

    /// Takes note of a leadership. True if it was news. Its leader is given the time of a new one.
    pub fn learn(&mut self, leadership: Leadership) -> bool {
        if leadership.epoch <= self.known.epoch {
            return false;
        }
        if let Some(own) = self.own_choice.take_if(|own| !leadership.is_led_by(*own))
            && let Some(candidate) = self.candidate_mut(own)
            && candidate.condition() == Condition::Fit
        {
            candidate.yields = YIELDING;
        }
        self.known = leadership;
        if let Some(leader) = leadership.leader
            && let Some(candidate) = self.candidate_mut(leader)
        {
            candidate.misses = Some(0);
            candidate.idle = 0;
            candidate.unfit = 0;
        }
        true
    }

    /// Takes note of a leadership that this front-end's own nomination brought about.
    pub fn won(&mut self, leadership: Leadership) {
        self.learn(leadership);
        self.own_choice = leadership.leader;
    }

    /// Takes note of a health check.
    pub fn checked(&mut self, id: ReplicaId, check: Check) {
        let known = self.known;
        let Some(candidate) = self.candidate_mut(id) else { return };
        candidate.yields = candidate.yields.saturating_sub(1);
        let one_more = |count: u32| (count + 1).min(MOST_MISSES);
        match check {
            Check::Answered(status) => {
                candidate.status = Some(status);
                candidate.misses = Some(0);
                let idles = known.is_led_by(id) && status.state != ReplicaState::Leader;
                candidate.idle = if idles { one_more(candidate.idle) } else { 0 };
                (candidate.fit, candidate.unfit) = match status.fitness {
                    Fitness::Ready => (one_more(candidate.fit), 0),
                    Fitness::Unfit => (0, one_more(candidate.unfit)),
                };
                if self.learn(status.leadership)
                    && status.leadership.is_led_by(id)
                    && status.state != ReplicaState::Leader
                    && let Some(candidate) = self.candidate_mut(id)
                {
                    // It led once, in a process that is no more.
                    candidate.idle = 1;
                }
            }
            Check::Missed => candidate.misses = Some(one_more(candidate.misses.unwrap_or(0))),
            Check::Gone => candidate.misses = Some(MOST_MISSES),
        }
    }

    /// Takes note of a request to the leader.
    pub fn attempted(&mut self, id: ReplicaId, attempt: Attempt) {
        match attempt {
            Attempt::Answered => self.heard_from(id),
            Attempt::NotLeader(leadership) => {
                self.learn(leadership);
            }
            Attempt::Gone => self.checked(id, Check::Gone),
            Attempt::Unanswered => {}
        }
    }

    /// A replica answered something else than a health check: it is not gone.
    pub fn heard_from(&mut self, id: ReplicaId) {
        if let Some(candidate) = self.candidate_mut(id)
            && candidate.misses.is_some_and(|misses| misses < MOST_MISSES)
        {
            candidate.misses = Some(0);
        }
    }

    /// Whom to nominate now: nobody while the leader works or the highest candidate is in doubt.
    #[must_use]
    pub fn nominee(&self) -> Option<Nominee> {
        let seen = self.known.epoch;
        let incumbent = self.known.leader.and_then(|leader| self.candidate(leader));
        let works = incumbent.filter(|leader| !leader.idles()).map(Candidate::condition);
        let chosen = match works {
            Some(Condition::Fit | Condition::Doubtful) => return None,
            Some(Condition::Unfit) => {
                let mut fit = self.replicas.iter().filter(|one| one.condition() == Condition::Fit);
                fit.find(|candidate| candidate.fit == MOST_MISSES)?
            }
            Some(Condition::Gone) | None => {
                let able = self.replicas.iter().filter(|candidate| {
                    !matches!(candidate.condition(), Condition::Gone | Condition::Unfit)
                });
                // Rather one that yields than none.
                able.clone().find(|candidate| candidate.yields == 0).or(able.clone().next())?
            }
        };
        (chosen.condition() == Condition::Fit).then_some(Nominee { id: chosen.id, seen })
    }

    /// Takes note of what a nominee answered; nothing if it did not. One that could not acquire
    /// leadership is passed over: the next highest is tried while it is gone.
    pub fn nominated(&mut self, id: ReplicaId, reply: Option<&NominationReply>) {
        match reply {
            Some(NominationReply::Won(leadership)) => self.won(*leadership),
            Some(NominationReply::Lost(leadership)) => {
                self.learn(*leadership);
            }
            Some(NominationReply::Unable(_)) | None => self.checked(id, Check::Gone),
        }
    }

    /// Who should be told of the leadership: those that answer and do not know it.
    #[must_use]
    pub fn uninformed(&self) -> Vec<ReplicaId> {
        let uninformed = self.statuses().filter(|(_, status)| {
            status.is_some_and(|status| status.leadership.epoch < self.known.epoch)
        });
        uninformed.map(|(id, _)| id).collect()
    }

    fn candidate(&self, id: ReplicaId) -> Option<&Candidate> {
        self.replicas.iter().find(|candidate| candidate.id == id)
    }

    fn candidate_mut(&mut self, id: ReplicaId) -> Option<&mut Candidate> {
        self.replicas.iter_mut().find(|candidate| candidate.id == id)
    }
}

impl Candidate {
    fn new(id: ReplicaId) -> Self {
        Self { id, misses: None, idle: 0, unfit: 0, fit: 0, yields: 0, status: None }
    }

    fn condition(&self) -> Condition {
        match self.misses {
            Some(misses) if misses >= MOST_MISSES => Condition::Gone,
            Some(0) if self.unfit >= MOST_MISSES => Condition::Unfit,
            Some(0) if self.unfit == 0 => Condition::Fit,
            Some(_) | None => Condition::Doubtful,
        }
    }

    fn idles(&self) -> bool {
        self.idle >= MOST_MISSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::order::Position;

    const ONE: ReplicaId = ReplicaId(1);
    const TWO: ReplicaId = ReplicaId(2);
    const THREE: ReplicaId = ReplicaId(3);

    fn leading(epoch: u64, leader: ReplicaId) -> Leadership {
        Leadership { epoch: Epoch(epoch), leader: Some(leader) }
    }

    fn status(id: ReplicaId, state: ReplicaState, leadership: Leadership) -> Check {
        Check::Answered(ReplicaStatus {
            id,
            state,
            fitness: Fitness::Ready,
            leadership,
            log: Position::START,
        })
    }

    fn follows(id: ReplicaId) -> Check {
        status(id, ReplicaState::Follower, Leadership::default())
    }

    fn all_new() -> Selection {
        Selection::new([ONE, TWO, THREE])
    }

    fn led_by_three() -> Selection {
        let mut selection = all_new();
        for id in [ONE, TWO] {
            selection.checked(id, status(id, ReplicaState::Follower, leading(1, THREE)));
        }
        selection.checked(THREE, status(THREE, ReplicaState::Leader, leading(1, THREE)));
        selection
    }

    #[test]
    fn the_highest_id_that_responds_is_nominated() {
        let mut selection = all_new();
        for id in [ONE, TWO, THREE] {
            assert_eq!(selection.nominee(), None, "the highest is not checked yet");
            selection.checked(id, follows(id));
        }
        assert_eq!(selection.nominee(), Some(Nominee { id: THREE, seen: Epoch(0) }));
    }

    #[test]
    fn the_next_highest_is_nominated_when_the_highest_is_gone() {
        let mut selection = all_new();
        selection.checked(ONE, follows(ONE));
        selection.checked(TWO, follows(TWO));
        for _ in 0..MOST_MISSES {
            assert_eq!(selection.nominee(), None, "the highest is in doubt only");
            selection.checked(THREE, Check::Missed);
        }
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
    }

    #[test]
    fn a_leader_that_refuses_connections_is_replaced_at_once() {
        let mut selection = led_by_three();
        assert_eq!(selection.nominee(), None);
        assert_eq!(selection.leader(), Some(THREE));
        selection.checked(THREE, Check::Gone);
        assert_eq!(selection.leader(), None);
        assert_eq!(selection.nominee(), Some(Nominee { id: TWO, seen: Epoch(1) }));
    }

    #[test]
    fn a_leader_that_hangs_is_replaced_after_several_misses() {
        let mut selection = led_by_three();
        for _ in 1..MOST_MISSES {
            selection.checked(THREE, Check::Missed);
            assert_eq!(selection.nominee(), None);
        }
        selection.checked(THREE, Check::Missed);
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
    }

    #[test]
    fn an_answer_to_anything_counts_as_a_health_check() {
        let mut selection = led_by_three();
        for _ in 0..10 {
            selection.checked(THREE, Check::Missed);
            selection.heard_from(THREE);
        }
        assert_eq!(selection.nominee(), None);
    }

    #[test]
    fn a_higher_id_that_comes_back_does_not_depose_a_leader_that_works() {
        let mut selection = led_by_three();
        selection.checked(THREE, Check::Gone);
        selection.learn(leading(2, TWO));
        selection.checked(TWO, status(TWO, ReplicaState::Leader, leading(2, TWO)));
        selection.checked(THREE, follows(THREE));
        assert_eq!(selection.nominee(), None);
        assert_eq!(selection.leader(), Some(TWO));
        assert_eq!(selection.uninformed(), [THREE, ONE]);
    }

    #[test]
    fn a_leader_whose_process_is_new_is_nominated_anew() {
        let mut selection = led_by_three();
        for _ in 0..MOST_MISSES {
            assert_eq!(selection.nominee(), None, "it may not have heard of its election yet");
            selection.checked(THREE, status(THREE, ReplicaState::Follower, leading(1, THREE)));
        }
        assert_eq!(selection.nominee(), Some(Nominee { id: THREE, seen: Epoch(1) }));
    }

    fn unfit(id: ReplicaId, state: ReplicaState, leadership: Leadership) -> Check {
        Check::Answered(ReplicaStatus {
            id,
            state,
            fitness: Fitness::Unfit,
            leadership,
            log: Position::START,
        })
    }

    #[test]
    fn after_a_cold_start_nobody_is_taken_for_the_leader_that_once_was() {
        let mut selection = all_new();
        for id in [ONE, TWO, THREE] {
            selection.checked(id, status(id, ReplicaState::Follower, leading(7, TWO)));
            assert_eq!(selection.leader().filter(|leader| *leader == TWO && id == TWO), None);
        }
        for _ in 1..MOST_MISSES {
            assert_eq!(selection.nominee(), None);
            selection.checked(TWO, status(TWO, ReplicaState::Follower, leading(7, TWO)));
        }
        assert_eq!(selection.leader(), None);
        assert_eq!(selection.nominee(), Some(Nominee { id: THREE, seen: Epoch(7) }));
    }

    #[test]
    fn a_leader_that_could_not_serve_is_replaced_by_one_that_could() {
        let mut selection = led_by_three();
        for _ in 0..MOST_MISSES {
            assert_eq!(selection.nominee(), None);
            selection.checked(THREE, unfit(THREE, ReplicaState::Leader, leading(1, THREE)));
            selection.checked(TWO, status(TWO, ReplicaState::Follower, leading(1, THREE)));
        }
        assert_eq!(selection.nominee(), Some(Nominee { id: TWO, seen: Epoch(1) }));
    }

    #[test]
    fn a_leader_keeps_its_office_when_all_were_unfit_for_a_while() {
        let mut selection = led_by_three();
        for _ in 0..10 {
            selection.checked(THREE, unfit(THREE, ReplicaState::Leader, leading(1, THREE)));
            selection.checked(TWO, unfit(TWO, ReplicaState::Follower, leading(1, THREE)));
            selection.checked(ONE, unfit(ONE, ReplicaState::Follower, leading(1, THREE)));
        }
        assert_eq!(selection.nominee(), None);
        // The first to reach the catalog again is not the leader.
        selection.checked(ONE, status(ONE, ReplicaState::Follower, leading(1, THREE)));
        selection.checked(ONE, status(ONE, ReplicaState::Follower, leading(1, THREE)));
        assert_eq!(selection.nominee(), None);
        selection.checked(THREE, status(THREE, ReplicaState::Leader, leading(1, THREE)));
        selection.checked(ONE, status(ONE, ReplicaState::Follower, leading(1, THREE)));
        assert_eq!(selection.nominee(), None);
    }

    #[test]
    fn a_replica_that_is_unfit_is_not_nominated() {
        let mut selection = all_new();
        for _ in 0..MOST_MISSES {
            assert_eq!(selection.nominee(), None, "it may just be starting");
            selection.checked(THREE, unfit(THREE, ReplicaState::Follower, Leadership::default()));
            selection.checked(TWO, follows(TWO));
        }
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
    }

    #[test]
    fn a_winner_is_adopted_before_it_is_contested() {
        let mut selection = led_by_three();
        for id in [TWO, THREE] {
            selection.checked(id, Check::Gone);
        }
        assert!(selection.learn(leading(2, TWO)), "the catalog's word on a lost nomination");
        assert_eq!(selection.nominee(), None);
        for _ in 0..MOST_MISSES {
            selection.checked(TWO, Check::Missed);
        }
        assert_eq!(selection.nominee(), Some(Nominee { id: ONE, seen: Epoch(2) }));
    }

    #[test]
    fn a_choice_that_another_front_end_replaced_is_not_insisted_on() {
        let mut selection = led_by_three();
        selection.checked(THREE, Check::Gone);
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
        selection.won(leading(2, TWO));
        assert_eq!(selection.leadership(), leading(2, TWO));
        selection.checked(TWO, status(TWO, ReplicaState::Leader, leading(2, TWO)));
        // Another front-end does not reach 2, and this one does not reach 3.
        selection.learn(leading(3, THREE));
        selection.checked(THREE, Check::Gone);
        let follows = status(TWO, ReplicaState::Follower, leading(3, THREE));
        selection.checked(TWO, follows);
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(ONE));
        for _ in 0..YIELDING {
            selection.checked(TWO, follows);
        }
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
    }

    #[test]
    fn a_choice_that_crashed_may_be_made_again() {
        let mut selection = led_by_three();
        selection.checked(THREE, Check::Gone);
        selection.won(leading(2, TWO));
        selection.checked(TWO, Check::Gone);
        selection.learn(leading(3, ONE));
        selection.checked(ONE, Check::Gone);
        selection.checked(TWO, status(TWO, ReplicaState::Follower, leading(3, ONE)));
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
    }

    #[test]
    fn a_nominee_that_cannot_acquire_leadership_is_passed_over() {
        let mut selection = led_by_three();
        selection.checked(THREE, Check::Gone);
        selection.nominated(TWO, None);
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(ONE));
        selection.checked(TWO, status(TWO, ReplicaState::Follower, leading(1, THREE)));
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
    }

    #[test]
    fn while_no_replica_is_fit_nobody_is_nominated() {
        let mut selection = led_by_three();
        for id in [ONE, TWO, THREE] {
            selection.checked(id, Check::Gone);
        }
        assert_eq!(selection.nominee(), None);
    }
}
