//! A leader's steps, as `order/tasks.rs` makes them: selling, acknowledging, replicating.

use std::time::Duration;

use toystore::order::core::batches::BatchOutcome;

use super::*;

impl Purchases {
    pub(super) fn selling(
        &self,
        state: &State,
        member: usize,
        one: &Member,
        steps: &mut Vec<Step>,
    ) {
        match &one.selling {
            None => {
                if let Some(SellStep::Sell(..)) = self.next_step(one) {
                    steps.push(Step::Sell(member));
                }
            }
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

    /// What the task that sells would do next. `None` if it waits for the catalog, or has nothing
    /// to do with it.
    pub(super) fn next_step(&self, one: &Member) -> Option<SellStep> {
        let is_idle = one.core.has_acquired() && one.selling.is_none();
        is_idle.then(|| self.take_step(&mut one.core.clone()))
    }

    fn take_step(&self, core: &mut Core<Waiter>) -> SellStep {
        // Whatever rests or gathers has done so long enough.
        let step = core.next_step(self.base + Duration::from_secs(1), |_| false);
        if step == SellStep::Fetch && !self.keeps(Rule::LeadersBehindFetch) {
            return SellStep::Rest(None);
        }
        step
    }

    pub(super) fn sell(&self, state: &mut State, member: usize) {
        let step = self.call(state, member, |core| self.take_step(core));
        let SellStep::Sell(_, mut request) = step else { return };
        if request.purchases.len() > 1 {
            self.sights.note("two purchases share a batch");
        }
        if !self.keeps(Rule::KeysAreJoined) {
            for purchase in &mut request.purchases {
                let keys = self.keys.iter().find(|keys| keys.contains(&purchase.key));
                purchase.key = keys.expect("a client's key")[0].clone();
            }
        }
        state.members[member].selling = Some((request, None));
    }

    /// The leader gives the batch up; it may still arrive, if it has not.
    pub(super) fn doubt(&self, state: &mut State, member: usize) {
        match &state.members[member].selling {
            Some((_, Some(_))) => self.sights.note("a batch is asked again that was decided"),
            Some((request, None)) if !state.strays.contains(request) => {
                state.strays.push(request.clone());
            }
            Some((_, None)) | None => {}
        }
        if let Some(Writing { answer: Answer::Batch { sender, .. }, .. }) = &mut state.writer {
            sender.take_if(|sender| *sender == member);
        }
        self.batch_lost(state, member);
    }

    /// The leader has no answer to its batch.
    pub(super) fn batch_lost(&self, state: &mut State, member: usize) {
        let Some((request, _)) = state.members[member].selling.take() else { return };
        if self.keeps(Rule::LostBatchesAreAskedAgain) {
            let outcome = BatchOutcome::InDoubt;
            self.call(state, member, |core| {
                core.batch_answered(request.epoch, outcome, self.base, self.base)
            });
        }
    }

    pub(super) fn settle(&self, state: &mut State, member: usize) {
        let one = &mut state.members[member];
        let Some((request, Some(mut reply))) = one.selling.take() else { return };
        if let CommitReply::Decided { rows, .. } = &mut reply {
            if one.core.leads() != Some(request.epoch) {
                self.sights.note("a leader is deposed while its batch is at the catalog");
            }
            *rows = self.delivered(one, rows);
        }
        let outcome = BatchOutcome::Answered(reply);
        let write = self.call(state, member, |core| {
            core.batch_answered(request.epoch, outcome, self.base, self.base)
        });
        let Some(write) = write else { return };
        let log = write.log;
        self.queue_for_disk(state, member, write);
        if !self.keeps(Rule::DurableBeforeAcknowledgement) {
            // As if the disk had them.
            self.call(state, member, |core| core.written(log, core.accepted(), self.base));
        }
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
                None if state.left.appends > 0 && one.core.leads().is_some() => {
                    steps.push(Step::Replicate { leader, follower });
                }
                Some((_, None)) => steps.push(Step::Take { leader, follower }),
                Some((_, Some(_))) => steps.push(Step::Note { leader, follower }),
                None => {}
            }
            // The answer is lost; or nothing was sent, and no more is, in this small world.
            let unsent = one.core.has_rows_for(id(follower)) && state.left.appends == 0;
            if one.live.contains(&follower) && (replicating_to.is_some() || unsent) {
                steps.push(Step::Lose { leader, follower });
            }
        }
    }

    pub(super) fn replicate(&self, state: &mut State, leader: usize, follower: usize) {
        state.left.appends -= 1;
        let one = &state.members[leader];
        let Some(cursor) = one.core.cursor_of(id(follower)) else { return };
        let rows = one.core.cached_rows(cursor).unwrap_or_else(|| {
            self.sights.note("a follower is sent rows from the disk");
            rows_from(one.disk(), cursor).unwrap_or_else(|| one.core.no_rows())
        });
        let request =
            self.call(state, leader, |core| core.append_to(id(follower), rows, self.base));
        let request = request.expect("it leads");
        state.members[leader].replicating_to.insert(follower, (request, None));
    }

    /// A follower's answer arrives.
    pub(super) fn note(&self, state: &mut State, leader: usize, follower: usize) {
        let one = &mut state.members[leader];
        let Some((request, Some(reply))) = one.replicating_to.remove(&follower) else { return };
        let reply = match reply {
            AppendReply::Gap { length } if !self.keeps(Rule::GapsAreNoAcknowledgements) => {
                AppendReply::Synced { length }
            }
            AppendReply::Gap { .. }
            | AppendReply::Synced { .. }
            | AppendReply::Stale(_)
            | AppendReply::Diverged => reply,
        };
        match reply {
            // What it was sent in an earlier epoch does not make it live in this one.
            AppendReply::Synced { .. } if one.core.leads() == Some(request.leadership.epoch) => {
                one.live.insert(follower);
            }
            AppendReply::Gap { .. } | AppendReply::Diverged => {
                one.live.remove(&follower);
            }
            AppendReply::Synced { .. } | AppendReply::Stale(_) => {}
        }
        self.append_answered(state, leader, follower, Some(reply));
        if !self.keeps(Rule::LiveFollowersBeforeAcknowledgement) {
            // As if it were lost at once: acknowledgements never wait for it.
            self.append_answered(state, leader, follower, None);
        }
    }

    /// The leader gives up waiting for a follower; the rows may still arrive.
    pub(super) fn lose(&self, state: &mut State, leader: usize, follower: usize) {
        let one = &mut state.members[leader];
        one.live.remove(&follower);
        if let Some((request, None)) = one.replicating_to.remove(&follower) {
            let stray = (follower, request);
            if !state.stray_rows.contains(&stray) {
                state.stray_rows.push(stray);
            }
        }
        if self.keeps(Rule::LostFollowersAreNotAwaited) {
            self.append_answered(state, leader, follower, None);
        }
    }

    fn append_answered(
        &self,
        state: &mut State,
        leader: usize,
        follower: usize,
        reply: Option<AppendReply>,
    ) {
        self.call(state, leader, |core| core.append_answered(id(follower), reply, self.base));
    }
}
