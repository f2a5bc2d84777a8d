//! A leader's steps, in the order of `order/tasks.rs`: selling, settling, replicating.

use std::time::Duration;

use toystore::wire::purchase::Verdict;

use super::*;

impl Purchases {
    pub(super) fn selling(
        &self,
        state: &State,
        member: usize,
        one: &Member,
        steps: &mut Vec<Step>,
    ) {
        let leads = one.replica.leads().is_some();
        let behind = one.replica.is_behind() && self.keeps(Rule::LeadersBehindFetch);
        match &one.selling {
            None if leads && !behind && !self.next_batch(&mut one.queue.clone()).is_empty() => {
                steps.push(Step::Sell(member));
            }
            None => {}
            Some((_, None)) => {
                if self.is_free(state) {
                    steps.push(Step::Decide(member));
                    if state.left.waits > 0 {
                        steps.push(Step::TellToWait(member));
                    }
                }
                if state.left.doubts > 0 {
                    steps.push(Step::Doubt(member));
                }
            }
            Some((_, Some(_))) => {
                steps.push(Step::Settle(member));
                if state.left.doubts > 0 {
                    steps.push(Step::Doubt(member));
                }
            }
        }
    }

    fn next_batch(&self, queue: &mut Queue<Waiter>) -> Vec<Purchase> {
        // Whatever rests has rested long enough.
        queue.next_batch(self.base + Duration::from_secs(1), |_| false)
    }

    pub(super) fn sell(&self, state: &mut State, member: usize) {
        let one = &mut state.members[member];
        let Some(epoch) = one.replica.leads() else { return };
        let mut purchases = self.next_batch(&mut one.queue);
        if purchases.len() > 1 {
            self.sights.note("two purchases share a batch");
        }
        if !self.keeps(Rule::KeysAreJoined) {
            for purchase in &mut purchases {
                let keys = self.keys.iter().find(|keys| keys.contains(&purchase.key));
                purchase.key = keys.expect("a client's key")[0].clone();
            }
        }
        let log = one.replica.accepted();
        one.selling = Some((CommitRequest { leader: id(member), epoch, log, purchases }, None));
    }

    /// The leader loses its patience; the batch, if it has not arrived, may do so yet.
    pub(super) fn doubt(&self, state: &mut State, member: usize) {
        let Some((request, answer)) = state.members[member].selling.take() else { return };
        match answer {
            Some(_) => self.sights.note("a batch is asked again that was decided"),
            None if state.strays.contains(&request) => {}
            None => state.strays.push(request),
        }
        if let Some(Writing { answer: Answer::Batch { sender, .. }, .. }) = &mut state.writer {
            sender.take_if(|sender| *sender == member);
        }
        self.put_back(state, member);
    }

    pub(super) fn put_back(&self, state: &mut State, member: usize) {
        if self.keeps(Rule::LostBatchesAreAskedAgain) {
            state.members[member].queue.in_doubt();
        }
    }

    pub(super) fn settle(&self, state: &mut State, member: usize) {
        let one = &mut state.members[member];
        let Some((CommitRequest { epoch, .. }, Some(reply))) = one.selling.take() else { return };
        let (verdicts, rows) = match reply {
            CommitReply::Decided { verdicts, rows } => (verdicts, rows),
            CommitReply::Deposed(leadership) => {
                self.learn(state, member, leadership);
                let replica = &mut state.members[member].replica;
                if replica.leadership().epoch == epoch && replica.step_down() {
                    state.members[member].queue.clear();
                }
                return;
            }
        };
        if one.replica.leads() != Some(epoch) {
            self.sights.note("a leader is deposed while its batch is at the catalog");
            return;
        }
        for verdict in &verdicts {
            if let Verdict::Decided(Decision::Granted(number)) = verdict {
                one.replica.heard_of(number.0 + 1);
            }
        }
        let answers = one.queue.decided(&verdicts, self.base);
        if self.take(state, member, &rows).is_err() {
            self.sights.note("a batch's rows do not continue the log");
        }
        self.answer(state, member, &answers);
        if !self.keeps(Rule::DurableBeforeAcknowledgement) {
            let one = &mut state.members[member];
            let answers = one.queue.acknowledge(one.replica.accepted().length);
            self.answer(state, member, &answers);
        }
    }

    /// Answers all whose orders are as durable as they must be.
    pub(super) fn release(&self, state: &mut State, member: usize) {
        let one = &mut state.members[member];
        let Some(mut length) = one.replica.acknowledged_length() else { return };
        if length < one.replica.durable().length {
            self.sights.note("an answer waits for a follower");
        }
        if !self.keeps(Rule::LiveFollowersBeforeAcknowledgement) {
            length = one.replica.durable().length;
        }
        let answers = one.queue.acknowledge(length);
        self.answer(state, member, &answers);
    }

    pub(super) fn replicating(
        &self,
        state: &State,
        leader: usize,
        one: &Member,
        steps: &mut Vec<Step>,
    ) {
        for follower in (0..self.size.replicas).filter(|other| *other != leader) {
            let replicating_to = one.replicating_to.get(&follower);
            match replicating_to {
                None if state.left.appends > 0 && one.replica.leads().is_some() => {
                    steps.push(Step::Replicate { leader, follower });
                }
                Some((_, None)) => steps.push(Step::Take { leader, follower }),
                Some((_, Some(_))) => steps.push(Step::Note { leader, follower }),
                None => {}
            }
            // The answer is lost; or nothing was sent, and no more is, in this small world.
            let owes = one.replica.has_rows_for(id(follower)) && state.left.appends == 0;
            if one.live.contains(&follower) && (replicating_to.is_some() || owes) {
                steps.push(Step::Lose { leader, follower });
            }
        }
    }

    pub(super) fn replicate(&self, state: &mut State, leader: usize, follower: usize) {
        state.left.appends -= 1;
        let one = &mut state.members[leader];
        let Some(cursor) = one.replica.cursor_of(id(follower)) else { return };
        let rows = one.log_cache.rows(cursor, 10).unwrap_or_else(|| {
            self.sights.note("a follower is sent rows from the disk");
            let on_disk = &one.rows[..length_of(one.replica.durable())];
            rows_from(on_disk, cursor).unwrap_or_else(|| Rows::none(one.replica.durable()))
        });
        one.replica.follower_owes(id(follower), self.base);
        let leadership = one.replica.leadership();
        let leader_length = one.replica.accepted().length;
        let request_ids = Vec::new();
        let request = AppendRequest { leadership, rows, leader_length, request_ids };
        one.replicating_to.insert(follower, (request, None));
    }

    /// A follower's answer arrives.
    pub(super) fn note(&self, state: &mut State, leader: usize, follower: usize) {
        let one = &mut state.members[leader];
        let Some((request, Some(reply))) = one.replicating_to.remove(&follower) else { return };
        let length = match reply {
            AppendReply::Gap { length } if self.keeps(Rule::GapsAreNoAcknowledgements) => {
                one.live.remove(&follower);
                one.replica.follower_lacks(id(follower), length);
                self.release(state, leader);
                return;
            }
            AppendReply::Synced { length } | AppendReply::Gap { length } => length,
            AppendReply::Stale(leadership) => {
                self.learn(state, leader, leadership);
                return;
            }
            AppendReply::Diverged => {
                self.sights.note("a follower's log is foreign");
                one.live.remove(&follower);
                one.replica.follower_lost(id(follower));
                self.release(state, leader);
                return;
            }
        };
        one.replica.follower_has(id(follower), length, self.base);
        // What it was sent in an earlier office does not make it live in this one.
        if one.replica.leads() == Some(request.leadership.epoch) {
            one.live.insert(follower);
        }
        self.release(state, leader);
    }

    /// The leader loses its patience with a follower; the rows may arrive yet.
    pub(super) fn lose(&self, state: &mut State, leader: usize, follower: usize) {
        let one = &mut state.members[leader];
        one.live.remove(&follower);
        if let Some((request, None)) = one.replicating_to.remove(&follower) {
            let stray = (follower, request);
            if !state.stray_rows.contains(&stray) {
                state.stray_rows.push(stray);
            }
        }
        let one = &mut state.members[leader];
        if self.keeps(Rule::LostFollowersAreNotAwaited) && one.replica.follower_lost(id(follower)) {
            self.sights.note("a live follower is lost");
            self.release(state, leader);
        }
    }
}
