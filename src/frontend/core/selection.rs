//! Which replica this front-end takes for the leader, and which one it nominates if none leads.
//!
//! # The idea
//!
//! The replicas hold no election. A front-end checks the replicas' health, goes through the ids
//! from the highest down, nominates the first that is ready, and then tells all replicas who
//! leads. The nominee becomes leader at the catalog, by a compare-and-set on the epoch.
//!
//! A replica with a higher id that returns does *not* depose a leader that works. The ids only
//! decide who is nominated while there is no leader; replacing one that works would interrupt
//! purchases and gain nothing.
//!
//! Where the assignment sends one health check, to the highest id, and to the next if there is no
//! answer, this front-end checks all replicas at once and all the time. The result is the same: a
//! lower id is nominated only when every higher one is known to be gone or unfit, and none while
//! the highest candidate is [doubtful](super::health). But when a leader dies, the front-end knows
//! already which replica is next, and needs no timeout for each that is down.
//!
//! # A leader that was restarted
//!
//! A process leads only after it was nominated. So a replica that is the leader by the newest epoch
//! and was not nominated since it started is nominated at once; else this front-end would wait for
//! [`MOST_MISSES`] health checks to see that it does not lead. One that was nominated may not have
//! heard yet that it has won:
//!
//! ```text
//! front-end 1      replica 3           catalog         front-end 2
//!   | nominate 3 --->| acquire ---------->| epoch 8: 3     |
//!   |                |   (the answer is slow)              |
//!   |                |<----------------------- check ------|
//!   |                |---- epoch 8, follows, nominated --->| waits
//! ```
//!
//! # Several front-ends
//!
//! Two front-ends that both miss the leader must not depose each other's choice. A nomination
//! names the epoch that it is to end, so the second one loses, and *adopts* the winner: it gives
//! the new leader as much time as any other before it nominates against it.
//!
//! ```text
//! front-end 1      catalog         front-end 2
//!   | 3 is gone      |  epoch 7        |
//!   | nominate 2 --->|  epoch 8: 2     | 3 is gone
//!   |                |<--- nominate 2, ending epoch 7
//!   |                |---> lost: epoch 8, leader 2: adopted
//! ```
//!
//! Two front-ends that are cut off from different replicas could still take turns: one cannot
//! reach 3 and nominates 2, the other cannot reach 2 and nominates 3. So a front-end whose choice
//! was replaced while it reached it well *yields*: for [`YIELD_CHECKS`] health checks it nominates
//! the next one instead, and both settle on a replica that both reach.
//!
//! # A leader that is unfit
//!
//! A leader that answers but could not lead is replaced only by a replica that has been ready for
//! [`MOST_MISSES`] checks: when the catalog restarts, the leader must not lose its leadership to
//! the replica that reaches it first. When the catalog hangs, all become unfit, and the leader may
//! be the first. So replicas tell how old the last answers are, and only those checks of a follower
//! count that find its own newer:
//!
//! ```text
//! catalog      answers 3   answers 2   hangs
//! replica 3        | ──────── 1 s ───────► unfit    not replaced: 2 was answered about then
//! replica 2                    | ──────── 1 s ───────► unfit
//! ```

use super::health::{Condition, HealthCheck, MOST_MISSES, ReplicaHealth, one_more};
use crate::wire::order::Position;
use crate::wire::replication::{
    Epoch, Fitness, Leadership, NominationReply, ReplicaId, ReplicaState, ReplicaStatus, Unwritable,
};

/// Health checks for which a nominee that another front-end replaced is not nominated again: about
/// ten seconds, in which the other front-end finds a leader that both reach.
pub const YIELD_CHECKS: u32 = 100;

/// A front-end's view of the replicas.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    /// The highest id first.
    replicas: Vec<Candidate>,
    /// The newest leadership that this front-end knows of.
    known: Leadership,
    /// The leader, if this front-end's own nomination made it one.
    own_choice: Option<ReplicaId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Candidate {
    id: ReplicaId,
    health: ReplicaHealth,
    /// Health checks in a row that it answered without leading, though it is the leader by the
    /// newest epoch: [`MOST_MISSES`] once it is known that it will not.
    not_leading: u32,
    /// Health checks for which it is not nominated, since another front-end replaced it.
    yields: u32,
    /// The newest epoch that it was told of since its last health check.
    told: Epoch,
}

/// The outcome of a request that was sent to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It answered.
    Answered,
    /// It does not lead; who does, as far as it knows.
    NotLeader(Leadership),
    /// The connection was refused: no process listens at its address.
    Gone,
    /// It did not answer, or reported an error. It may be busy; the health checks will tell.
    Unanswered,
}

/// A replica to nominate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nominee {
    /// Its id.
    pub id: ReplicaId,
    /// The epoch to end.
    pub seen: Epoch,
}

impl Selection {
    /// Creates a view of replicas that were not checked yet.
    #[must_use]
    pub fn new(ids: impl IntoIterator<Item = ReplicaId>) -> Self {
        let mut replicas: Vec<Candidate> = ids.into_iter().map(Candidate::new).collect();
        replicas.sort_by_key(|candidate| std::cmp::Reverse(candidate.id));
        Self { replicas, known: Leadership::default(), own_choice: None }
    }

    /// Returns the newest leadership that is known.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.known
    }

    /// Returns where purchases and order queries go: the leader, unless it is known to be gone or
    /// not to lead any more.
    #[must_use]
    pub fn leader(&self) -> Option<ReplicaId> {
        let leader = self.candidate(self.known.leader?)?;
        let is_gone = leader.health.condition() == Condition::Gone;
        (!is_gone && leader.not_leading == 0).then_some(leader.id)
    }

    /// Returns the replica to nominate now, if any.
    #[must_use]
    pub fn nominee(&self) -> Option<Nominee> {
        let chosen = match self.leader_condition() {
            // A leader that works stays, whatever the ids of the others.
            Some(Condition::Ready | Condition::Doubtful) => return None,
            Some(Condition::Unfit) => {
                self.replicas.iter().find(|candidate| candidate.health.is_steadily_ready())?
            }
            Some(Condition::Gone) | None => self.highest_that_may_lead()?,
        };
        (chosen.health.condition() == Condition::Ready)
            .then_some(Nominee { id: chosen.id, seen: self.known.epoch })
    }

    /// Returns where the log of each replica ends that answered its last health check.
    #[must_use]
    pub fn logs(&self) -> Vec<(ReplicaId, Position)> {
        self.statuses().filter_map(|(id, status)| Some((id, status?.log))).collect()
    }

    /// Returns each replica's last answer, if it still answers; the highest id first.
    pub fn statuses(&self) -> impl Iterator<Item = (ReplicaId, Option<ReplicaStatus>)> {
        self.replicas.iter().map(|candidate| (candidate.id, candidate.health.status()))
    }

    /// Returns a replica whose disk takes no writes, and why, if no other could lead instead.
    #[must_use]
    pub fn unwritable(&self) -> Option<(ReplicaId, Unwritable)> {
        let mut first = None;
        for Candidate { id, health, .. } in &self.replicas {
            match health.status().map(|status| status.fitness) {
                Some(Fitness::CannotWrite(why)) => first = first.or(Some((*id, why))),
                None if health.condition() == Condition::Gone => {}
                // It can lead, or may once it is checked or the catalog answers it.
                Some(Fitness::Ready | Fitness::Unfit) | None => return None,
            }
        }
        first
    }

    /// Returns whether the leader was seen to lead: it accepted this front-end's nomination, or
    /// said in its last answer that it leads.
    #[must_use]
    pub fn is_leader_seen(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let status = self.candidate(leader).and_then(|candidate| candidate.health.status());
        self.own_choice == Some(leader)
            || status.is_some_and(|status| status.state == ReplicaState::Leader)
    }

    /// Returns whether a leader was seen to lead, and is ready.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_leader_seen() && self.leader_condition() == Some(Condition::Ready)
    }

    /// Returns whether a replica may be checked less often while the selection stays
    /// [settled](Self::is_settled): another one leads, and nothing that is counted in its own
    /// checks is under way.
    #[must_use]
    pub fn may_rest(&self, id: ReplicaId) -> bool {
        let counts_nothing = |candidate: &Candidate| {
            candidate.health.condition() == Condition::Ready && candidate.yields == 0
        };
        self.is_settled()
            && self.leader() != Some(id)
            && self.candidate(id).is_some_and(counts_nothing)
    }

    /// Returns the replicas that answer and do not know the leadership yet.
    #[must_use]
    pub fn uninformed(&self) -> Vec<ReplicaId> {
        let uninformed = self.replicas.iter().filter(|candidate| {
            let status = candidate.health.status();
            candidate.told < self.known.epoch
                && status.is_some_and(|status| status.leadership.epoch < self.known.epoch)
        });
        uninformed.map(|candidate| candidate.id).collect()
    }

    /// Notes that a replica was told of a leadership. Its next health check shows whether it is to
    /// be told again.
    pub fn told(&mut self, id: ReplicaId, leadership: Leadership) {
        if let Some(candidate) = self.candidate_mut(id) {
            candidate.told = leadership.epoch;
        }
    }

    /// Notes a leadership. Returns whether it is new; then its leader's health checks are counted
    /// from 0.
    pub fn learn(&mut self, leadership: Leadership) -> bool {
        if leadership.epoch <= self.known.epoch {
            return false;
        }
        if let Some(own) = self.own_choice.take_if(|own| !leadership.is_led_by(*own))
            && let Some(candidate) = self.candidate_mut(own)
            && candidate.health.condition() == Condition::Ready
        {
            candidate.yields = YIELD_CHECKS;
        }
        self.known = leadership;
        if let Some(leader) = leadership.leader
            && let Some(candidate) = self.candidate_mut(leader)
        {
            candidate.health.count_anew();
            candidate.not_leading = 0;
        }
        true
    }

    /// Notes the catalog's record, which was asked for when `before` was known. If it is older, or
    /// names another leader of the same epoch, the catalog's database went back in time, and its
    /// record counts; unless something newer was learned meanwhile. Of a newer epoch the replicas
    /// tell, once they know.
    pub fn recorded(&mut self, record: Leadership, before: Leadership) {
        let is_newer = record.epoch > self.known.epoch;
        if !is_newer && record != self.known && self.known == before {
            self.known = Leadership::default();
            self.own_choice = None;
            self.learn(record);
        }
    }

    /// Notes a leadership that this front-end's own nomination brought about.
    pub fn won(&mut self, leadership: Leadership) {
        self.learn(leadership);
        self.own_choice = leadership.leader;
    }

    /// Notes a nominee's answer, or that there was none, to a nomination that was sent when
    /// `before` was known. A nominee that could not become leader is passed over until its next
    /// health check, and the next highest is nominated.
    pub fn nominated(
        &mut self,
        id: ReplicaId,
        before: Leadership,
        reply: Option<&NominationReply>,
    ) {
        match reply {
            Some(NominationReply::Won(leadership)) => self.won(*leadership),
            Some(NominationReply::Lost(leadership)) => {
                // The nominee has asked the catalog, which may have given no such epoch.
                self.recorded(*leadership, before);
                self.learn(*leadership);
            }
            Some(NominationReply::Unable(_)) | None => self.checked(id, HealthCheck::Gone),
        }
    }

    /// Notes the outcome of a health check.
    pub fn checked(&mut self, id: ReplicaId, check: HealthCheck) {
        let Some(candidate) = self.candidate_mut(id) else { return };
        candidate.yields = candidate.yields.saturating_sub(1);
        candidate.told = Epoch::default();
        candidate.health.checked(check);
        let HealthCheck::Answered(status) = check else { return };
        self.learn(status.leadership);
        let known = self.known;
        let leads = status.state == ReplicaState::Leader;
        let has_led = status.awaits_nomination && status.leadership == known;
        let leader = known.leader.and_then(|leader| self.candidate(leader)?.health.status());
        let Some(candidate) = self.candidate_mut(id) else { return };
        candidate.health.compare_with(leader);
        candidate.not_leading = if leads || !known.is_led_by(id) {
            0
        } else if has_led {
            MOST_MISSES
        } else {
            one_more(candidate.not_leading)
        };
    }

    /// Notes the outcome of a request to the leader.
    pub fn attempted(&mut self, id: ReplicaId, outcome: AttemptOutcome) {
        match outcome {
            AttemptOutcome::Answered => self.heard_from(id),
            AttemptOutcome::NotLeader(leadership) => {
                self.learn(leadership);
            }
            AttemptOutcome::Gone => self.checked(id, HealthCheck::Gone),
            AttemptOutcome::Unanswered => {}
        }
    }

    /// Notes an answer to another request than a health check.
    pub fn heard_from(&mut self, id: ReplicaId) {
        if let Some(candidate) = self.candidate_mut(id) {
            candidate.health.heard_from();
        }
    }

    /// Returns the condition of the leader. `None` if there is none, or if its process was
    /// restarted and does not lead any more.
    fn leader_condition(&self) -> Option<Condition> {
        let leader = self.candidate(self.known.leader?)?;
        (leader.not_leading < MOST_MISSES).then(|| leader.health.condition())
    }

    /// Returns the highest candidate that may be able to lead. One that yields comes after all
    /// that do not, but before none.
    fn highest_that_may_lead(&self) -> Option<&Candidate> {
        let mut may_lead = self.replicas.iter().filter(|candidate| {
            !matches!(candidate.health.condition(), Condition::Gone | Condition::Unfit)
        });
        may_lead.clone().find(|candidate| candidate.yields == 0).or(may_lead.next())
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
        let health = ReplicaHealth::default();
        Self { id, health, not_leading: 0, yields: 0, told: Epoch::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::order::Position;
    use crate::wire::replication::Fitness;

    const ONE: ReplicaId = ReplicaId(1);
    const TWO: ReplicaId = ReplicaId(2);
    const THREE: ReplicaId = ReplicaId(3);

    fn leading(epoch: u64, leader: ReplicaId) -> Leadership {
        Leadership { epoch: Epoch(epoch), leader: Some(leader) }
    }

    fn status(id: ReplicaId, state: ReplicaState, leadership: Leadership) -> HealthCheck {
        HealthCheck::Answered(ReplicaStatus {
            id,
            state,
            fitness: Fitness::Ready,
            heard_ms: Some(100),
            leadership,
            awaits_nomination: false,
            log: Position::START,
        })
    }

    /// The answer of a process that no front-end has nominated yet.
    fn restarted(id: ReplicaId, leadership: Leadership) -> HealthCheck {
        let HealthCheck::Answered(status) = status(id, ReplicaState::Follower, leadership) else {
            unreachable!("a status is an answer")
        };
        HealthCheck::Answered(ReplicaStatus { awaits_nomination: true, ..status })
    }

    fn follows(id: ReplicaId) -> HealthCheck {
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
    fn the_highest_id_that_is_ready_is_nominated() {
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
            assert_eq!(selection.nominee(), None, "the highest is only doubtful");
            selection.checked(THREE, HealthCheck::Missed);
        }
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
    }

    #[test]
    fn a_leader_that_refuses_connections_is_replaced_at_once() {
        let mut selection = led_by_three();
        assert_eq!(selection.nominee(), None);
        assert_eq!(selection.leader(), Some(THREE));
        selection.checked(THREE, HealthCheck::Gone);
        assert_eq!(selection.leader(), None);
        assert_eq!(selection.nominee(), Some(Nominee { id: TWO, seen: Epoch(1) }));
    }

    #[test]
    fn a_leader_that_hangs_is_replaced_after_several_misses() {
        let mut selection = led_by_three();
        for _ in 1..MOST_MISSES {
            selection.checked(THREE, HealthCheck::Missed);
            assert_eq!(selection.nominee(), None);
        }
        selection.checked(THREE, HealthCheck::Missed);
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
    }

    #[test]
    fn an_answer_to_anything_counts_as_a_health_check() {
        let mut selection = led_by_three();
        for _ in 0..10 {
            selection.checked(THREE, HealthCheck::Missed);
            selection.heard_from(THREE);
        }
        assert_eq!(selection.nominee(), None);
    }

    #[test]
    fn a_higher_id_that_comes_back_does_not_depose_a_leader_that_works() {
        let mut selection = led_by_three();
        selection.checked(THREE, HealthCheck::Gone);
        selection.learn(leading(2, TWO));
        selection.checked(TWO, status(TWO, ReplicaState::Leader, leading(2, TWO)));
        selection.checked(THREE, follows(THREE));
        assert_eq!(selection.nominee(), None);
        assert_eq!(selection.leader(), Some(TWO));
        assert_eq!(selection.uninformed(), [THREE, ONE]);
        selection.told(THREE, selection.leadership());
        assert_eq!(selection.uninformed(), [ONE]);
        selection.checked(THREE, follows(THREE));
        assert_eq!(selection.uninformed(), [THREE, ONE], "it does not know it yet");
    }

    #[test]
    fn a_leader_whose_process_is_new_is_nominated_at_once() {
        let mut selection = led_by_three();
        selection.checked(THREE, restarted(THREE, Leadership::default()));
        assert_eq!(selection.leader(), None);
        assert_eq!(selection.nominee(), None, "the answer is of an older epoch");
        selection.checked(THREE, restarted(THREE, leading(1, THREE)));
        assert_eq!(selection.nominee(), Some(Nominee { id: THREE, seen: Epoch(1) }));
    }

    #[test]
    fn a_nominee_that_does_not_lead_yet_is_given_time() {
        let mut selection = led_by_three();
        for _ in 0..MOST_MISSES {
            assert_eq!(selection.nominee(), None, "it may not have heard yet that it leads");
            selection.checked(THREE, status(THREE, ReplicaState::Follower, leading(1, THREE)));
        }
        assert_eq!(selection.nominee(), Some(Nominee { id: THREE, seen: Epoch(1) }));
    }

    fn unfit(id: ReplicaId, state: ReplicaState, leadership: Leadership) -> HealthCheck {
        HealthCheck::Answered(ReplicaStatus {
            id,
            state,
            fitness: Fitness::Unfit,
            heard_ms: Some(1_000),
            leadership,
            awaits_nomination: false,
            log: Position::START,
        })
    }

    #[test]
    fn after_a_cold_start_the_last_leader_is_not_taken_for_one_that_leads() {
        let mut selection = all_new();
        for id in [ONE, TWO, THREE] {
            assert_eq!(selection.nominee(), None, "the highest is not checked yet");
            selection.checked(id, restarted(id, leading(7, TWO)));
            assert_eq!(selection.leader().filter(|leader| *leader == TWO && id == TWO), None);
        }
        assert_eq!(selection.leader(), None);
        assert_eq!(selection.nominee(), Some(Nominee { id: THREE, seen: Epoch(7) }));
    }

    #[test]
    fn a_leader_that_is_unfit_is_replaced_by_a_replica_that_is_ready() {
        let mut selection = led_by_three();
        for _ in 0..MOST_MISSES {
            assert_eq!(selection.nominee(), None);
            selection.checked(THREE, unfit(THREE, ReplicaState::Leader, leading(1, THREE)));
            selection.checked(TWO, status(TWO, ReplicaState::Follower, leading(1, THREE)));
        }
        assert_eq!(selection.nominee(), Some(Nominee { id: TWO, seen: Epoch(1) }));
    }

    #[test]
    fn a_follower_that_was_not_heard_since_the_leader_was_does_not_replace_it() {
        let heard = |check: HealthCheck, heard_ms| {
            let HealthCheck::Answered(status) = check else { unreachable!("it is an answer") };
            HealthCheck::Answered(ReplicaStatus { heard_ms, ..status })
        };
        let mut selection = led_by_three();
        let mut nominee = |leaders, followers| {
            for _ in 0..MOST_MISSES {
                let leader = unfit(THREE, ReplicaState::Leader, leading(1, THREE));
                selection.checked(THREE, heard(leader, leaders));
                let follower = status(TWO, ReplicaState::Follower, leading(1, THREE));
                selection.checked(TWO, heard(follower, followers));
            }
            selection.nominee().map(|nominee| nominee.id)
        };
        assert_eq!(nominee(Some(1_200), Some(800)), None, "the catalog may hang");
        assert_eq!(nominee(Some(1_201), Some(800)), Some(TWO));
        assert_eq!(nominee(None, Some(800)), Some(TWO), "the leader's log takes no writes");
    }

    #[test]
    fn a_leader_keeps_its_leadership_when_all_were_unfit_for_a_while() {
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
    fn the_winner_of_another_nomination_is_adopted() {
        let mut selection = led_by_three();
        for id in [TWO, THREE] {
            selection.checked(id, HealthCheck::Gone);
        }
        assert!(selection.learn(leading(2, TWO)), "the catalog answers that the nomination lost");
        assert_eq!(selection.nominee(), None);
        for _ in 0..MOST_MISSES {
            selection.checked(TWO, HealthCheck::Missed);
        }
        assert_eq!(selection.nominee(), Some(Nominee { id: ONE, seen: Epoch(2) }));
    }

    #[test]
    fn a_front_end_whose_choice_was_replaced_yields() {
        let mut selection = led_by_three();
        selection.checked(THREE, HealthCheck::Gone);
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
        selection.won(leading(2, TWO));
        assert_eq!(selection.leadership(), leading(2, TWO));
        selection.checked(TWO, status(TWO, ReplicaState::Leader, leading(2, TWO)));
        // Another front-end does not reach 2, and this one does not reach 3.
        selection.learn(leading(3, THREE));
        selection.checked(THREE, HealthCheck::Gone);
        let follows = status(TWO, ReplicaState::Follower, leading(3, THREE));
        selection.checked(TWO, follows);
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(ONE));
        for _ in 0..YIELD_CHECKS {
            selection.checked(TWO, follows);
        }
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
    }

    #[test]
    fn a_nominee_that_accepted_is_seen_to_lead_before_its_next_health_check() {
        let mut selection = all_new();
        for id in [ONE, TWO, THREE] {
            selection.checked(id, follows(id));
        }
        selection.won(leading(1, THREE));
        assert!(selection.is_leader_seen());
        selection.checked(THREE, HealthCheck::Gone);
        assert!(!selection.is_leader_seen());
    }

    #[test]
    fn a_leader_that_ended_before_this_front_end_started_is_not_seen_to_lead() {
        let mut selection = all_new();
        selection.checked(ONE, status(ONE, ReplicaState::Follower, leading(7, THREE)));
        assert_eq!(selection.leader(), Some(THREE));
        assert!(!selection.is_leader_seen());
    }

    #[test]
    fn a_choice_that_crashed_may_be_made_again() {
        let mut selection = led_by_three();
        selection.checked(THREE, HealthCheck::Gone);
        selection.won(leading(2, TWO));
        selection.checked(TWO, HealthCheck::Gone);
        selection.learn(leading(3, ONE));
        selection.checked(ONE, HealthCheck::Gone);
        selection.checked(TWO, status(TWO, ReplicaState::Follower, leading(3, ONE)));
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
    }

    #[test]
    fn a_nominee_that_cannot_become_leader_is_passed_over() {
        let mut selection = led_by_three();
        selection.checked(THREE, HealthCheck::Gone);
        selection.nominated(TWO, selection.leadership(), None);
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(ONE));
        selection.checked(TWO, status(TWO, ReplicaState::Follower, leading(1, THREE)));
        assert_eq!(selection.nominee().map(|nominee| nominee.id), Some(TWO));
    }

    #[test]
    fn only_replicas_that_follow_a_leader_that_works_may_be_checked_less_often() {
        let may_rest = |selection: &Selection| [ONE, TWO, THREE].map(|id| selection.may_rest(id));
        assert_eq!(may_rest(&all_new()), [false; 3]);
        let mut selection = led_by_three();
        assert_eq!(may_rest(&selection), [true, true, false]);
        selection.checked(TWO, HealthCheck::Missed);
        assert_eq!(may_rest(&selection), [true, false, false]);
        selection.checked(THREE, HealthCheck::Missed);
        assert_eq!(may_rest(&selection), [false; 3], "one of them may have to lead");
    }

    #[test]
    fn a_full_disk_stops_the_store_only_if_no_replica_can_write() {
        let full = |id, state| {
            let HealthCheck::Answered(status) = status(id, state, leading(1, THREE)) else {
                unreachable!("a status is an answer")
            };
            let fitness = Fitness::CannotWrite(Unwritable::Full);
            HealthCheck::Answered(ReplicaStatus { fitness, ..status })
        };
        let mut selection = led_by_three();
        selection.checked(THREE, full(THREE, ReplicaState::Leader));
        selection.checked(TWO, HealthCheck::Gone);
        assert_eq!(selection.unwritable(), None, "replica 1 can lead");
        selection.checked(ONE, full(ONE, ReplicaState::Follower));
        assert_eq!(selection.unwritable(), Some((THREE, Unwritable::Full)));
        selection.checked(TWO, follows(TWO));
        assert_eq!(selection.unwritable(), None);
    }

    #[test]
    fn while_all_replicas_are_gone_none_is_nominated() {
        let mut selection = led_by_three();
        for id in [ONE, TWO, THREE] {
            selection.checked(id, HealthCheck::Gone);
        }
        assert_eq!(selection.nominee(), None);
    }
}
