//! The catalog's steps, in the order of `catalog/tasks.rs`: a batch, an acquisition, a restock.
//!
//! Each is planned and committed in one step and published and answered in the next, so that a
//! crash may come between; without crashes to come, there is no difference.

use std::collections::HashMap;

use toystore::catalog::core::stock::Change;
use toystore::wire::purchase::Verdict;

use super::properties::{CONSERVED, PREFIXES};
use super::*;

impl Purchases {
    pub(super) fn writing(&self, state: &State, steps: &mut Vec<Step>) {
        let left = &state.left;
        if state.writer.is_some() {
            steps.push(Step::FinishWriting);
        }
        if left.catalog_crashes > 0 {
            steps.push(Step::CrashCatalog);
        }
        if self.is_free(state) {
            steps.extend((0..state.strays.len()).map(Step::ArriveLate));
            if left.restocks > 0 && !state.stock.plan_restock(|_| true).is_empty() {
                steps.push(Step::Restock);
            }
        }
        if self.is_free(state) && left.nominations > 0 {
            let epoch = state.stock.status().leadership.epoch;
            // Two that have never led are alike; with one nomination, let it be the second's.
            let first = usize::from(self.size.replicas > 2 && self.size.left.nominations == 1);
            for member in first..state.members.len() {
                steps.push(Step::Nominate { member, seen: epoch });
                steps.push(Step::Nominate { member, seen: Epoch(epoch.0 - 1) });
            }
        }
    }

    /// Whether the writer takes another job.
    pub(super) fn is_free(&self, state: &State) -> bool {
        state.writer.is_none() || !self.keeps(Rule::OneWriter)
    }

    pub(super) fn decide(&self, state: &mut State, member: usize, clear: bool) {
        let Some((request, None)) = state.members[member].selling.clone() else { return };
        self.arrive(state, Some(member), &request, clear);
    }

    /// A batch arrives; `clear` tells whether anything may change now.
    pub(super) fn arrive(
        &self,
        state: &mut State,
        sender: Option<usize>,
        request: &CommitRequest,
        clear: bool,
    ) {
        let leadership = state.stock.status().leadership;
        let mut asked = request.clone();
        if !self.keeps(Rule::EpochOfBatches) {
            asked.epoch = leadership.epoch;
            asked.leader = leadership.leader.expect("the first leadership has a leader");
        }
        let recorded = self.recorded(state, request);
        let stock = self.planned_on(&state.stock);
        let plan = match stock.plan_batch(&self.toy_index, &asked, &recorded, |_| clear) {
            Ok(plan) => plan,
            Err(leadership) => {
                self.sights.note("a batch of an earlier epoch arrives");
                let reply = CommitReply::Deposed(leadership);
                answer(state, Answer::Batch { sender, reply });
                return;
            }
        };
        if plan.verdicts.contains(&Verdict::Wait) {
            self.sights.note("a purchase has to wait");
        }
        let Some(disk) = self.committed(state, &plan.change) else { return };
        let carried = if self.keeps(Rule::AnswersCarryMissedRows) {
            rows_from(&disk.journal, request.log.length)
        } else {
            Some(Rows { after: plan.change.after, orders: plan.change.orders.clone() })
        };
        let Some(rows) = carried else {
            state.broken = Some(PREFIXES);
            return;
        };
        if request.log.length < plan.change.after.length {
            self.sights.note("a batch's answer brings rows that were missed");
        }
        let reply = CommitReply::Decided { verdicts: plan.verdicts, rows };
        self.commit(state, disk, Answer::Batch { sender, reply });
    }

    /// The stock that a batch is planned on: what is published, or more than there is.
    fn planned_on(&self, published: &Stock) -> Stock {
        if self.keeps(Rule::StockSuffices) {
            return published.clone();
        }
        let mut tux = published.shelves()[0].clone();
        tux.toy.quantity += 1;
        tux.stocked += 1;
        let status = published.status();
        Stock::new(vec![tux], self.size.stock, status.journal, status.leadership)
    }

    fn recorded(
        &self,
        state: &State,
        request: &CommitRequest,
    ) -> HashMap<IdempotencyKey, RecordedDecision> {
        let mut recorded = HashMap::new();
        for purchase in &request.purchases {
            let Some(known) = state.disk.decisions.get(&purchase.key) else { continue };
            self.sights.note("a key is answered from its record");
            let quantity = state.stock.shelves()[0].toy.quantity;
            if known.number.is_none() && quantity >= purchase.quantity.get() {
                self.sights.note("a refused purchase comes again when there is stock");
            }
            let mut known = known.clone();
            if !self.keeps(Rule::BodiesAreCompared) {
                known.quantity = purchase.quantity;
            }
            if self.keeps(Rule::KeysAreLookedUp) {
                recorded.insert(purchase.key.clone(), known);
            }
        }
        recorded
    }

    /// The database as a change will leave it, if it fits.
    fn committed(&self, state: &mut State, change: &Change) -> Option<Disk> {
        let mut disk = state.disk.clone();
        let mut change = change.clone();
        for shelf in &mut change.shelves {
            if !self.keeps(Rule::StockSuffices) {
                shelf.stocked -= 1;
                shelf.toy.quantity = shelf.stocked.saturating_sub(shelf.sold);
            }
        }
        // What production asserts in `Stock::apply` and in its database's schema.
        let fits = |shelf: &Shelf| {
            shelf.version > disk.stock.shelves()[0].version && shelf.sold <= shelf.stocked
        };
        if change.after != disk.stock.status().journal || !change.shelves.iter().all(fits) {
            state.broken = Some(CONSERVED);
            return None;
        }
        disk.stock.apply(&self.toy_index, &change);
        disk.journal.extend(change.orders.iter().cloned());
        for (key, decision) in change.decisions {
            if decision.number.is_some() {
                let owner = self.keys.iter().position(|keys| keys.contains(&key));
                disk.owners.push(owner.expect("a client's key"));
            } else if !self.keeps(Rule::RefusalsAreRecorded) {
                continue;
            }
            disk.decisions.insert(key, decision);
        }
        Some(disk)
    }

    /// Commits; what is left to do is to publish and to answer.
    fn commit(&self, state: &mut State, disk: Disk, reply: Answer) {
        let writing = if !self.keeps(Rule::DurableBeforeVisible) {
            state.stock = disk.stock.clone();
            answer(state, reply);
            Writing { disk, answer: Answer::None }
        } else if !self.keeps(Rule::OneTransaction) {
            let decisions = state.disk.decisions.clone();
            state.disk = Disk { decisions, ..disk.clone() };
            Writing { disk, answer: reply }
        } else {
            state.disk = disk.clone();
            Writing { disk, answer: reply }
        };
        self.keep_writing(state, writing);
    }

    fn keep_writing(&self, state: &mut State, writing: Writing) {
        state.writer = Some(writing);
        if state.left.catalog_crashes == 0 && self.keeps(Rule::OneWriter) {
            Self::finish_writing(state);
        }
    }

    pub(super) fn finish_writing(state: &mut State) {
        let Some(writing) = state.writer.take() else { return };
        state.disk = writing.disk;
        state.stock = state.disk.stock.clone();
        answer(state, writing.answer);
    }

    pub(super) fn restock(&self, state: &mut State) {
        state.left.restocks -= 1;
        let change = state.stock.plan_restock(|_| true);
        let Some(disk) = self.committed(state, &change) else { return };
        if state.clients.iter().any(|one| one.answers.contains(&Some(Decision::OutOfStock))) {
            self.sights.note("a restock after a refusal");
        }
        self.commit(state, disk, Answer::None);
    }

    /// A nominee acquires leadership.
    pub(super) fn acquire(&self, state: &mut State, request: Acquisition, before: Leadership) {
        let mut asked = request;
        if !self.keeps(Rule::AcquisitionsNameTheEpoch) {
            asked.seen = state.stock.status().leadership.epoch;
        }
        let mut prefix = rows_from(&state.disk.journal, request.log.length).map(|rows| rows.after);
        if !self.keeps(Rule::ForeignLogsCannotLead) {
            prefix = Some(request.log);
        }
        let reply = state.stock.plan_acquisition(&asked, prefix);
        let (AcquisitionReply::Won { leadership, .. }, disk) = (reply, &state.disk) else {
            answer(state, Answer::Acquisition(request, before, reply));
            return;
        };
        let mut disk = disk.clone();
        disk.stock.adopt_leadership(leadership);
        let reply = Answer::Acquisition(request, before, reply);
        if self.keeps(Rule::EpochDurableBeforeAnswer) {
            self.commit(state, disk, reply);
        } else {
            state.stock.adopt_leadership(leadership);
            answer(state, reply);
            self.keep_writing(state, Writing { disk, answer: Answer::None });
        }
    }

    /// A leader that waits for an answer finds its connection closed.
    pub(super) fn crash_catalog(&self, state: &mut State) {
        state.left.catalog_crashes -= 1;
        if let Some(Writing { answer: Answer::Batch { sender: Some(member), .. }, .. }) =
            state.writer.take()
        {
            self.sights.note("the catalog crashes between commit and answer");
            self.batch_lost(state, member);
        }
        state.stock = state.disk.stock.clone();
    }
}

/// An answer leaves the catalog.
fn answer(state: &mut State, answer: Answer) {
    match answer {
        Answer::Batch { sender: Some(member), reply } => {
            if let Some((_, answer @ None)) = &mut state.members[member].selling {
                *answer = Some(reply);
            }
        }
        Answer::Acquisition(request, before, reply) => {
            state.acquisitions.push((request, before, reply));
        }
        Answer::Batch { sender: None, .. } | Answer::None => {}
    }
}
