//! The catalog's steps: a batch, an acquisition.

use std::collections::HashMap;

use toystore::wire::purchase::Verdict;
use toystore::wire::replication::Standing;

use super::*;

impl Purchases {
    /// Decides a batch; `clear` tells whether anything may change now.
    pub(super) fn decide(
        &self,
        state: &mut State,
        request: &CommitRequest,
        clear: bool,
    ) -> CommitReply {
        let leadership = state.stock.standing().leadership;
        let mut asked = request.clone();
        if !self.keeps(Rule::EpochOfBatches) {
            asked.epoch = leadership.epoch;
            asked.leader = leadership.leader.expect("somebody leads");
        }
        let looked_up = self.keeps(Rule::KeysAreLookedUp);
        let recorded: HashMap<_, _> =
            state.decisions.clone().into_iter().filter(|_| looked_up).collect();
        if asked.purchases.iter().any(|one| recorded.contains_key(&one.key)) {
            self.sights.note("a key is answered from its record");
        }
        let plan = match state.stock.plan_batch(&self.directory, &asked, &recorded, |_| clear) {
            Ok(plan) => plan,
            Err(leadership) => {
                self.sights.note("a batch of an earlier epoch arrives");
                return CommitReply::Deposed(leadership);
            }
        };
        if plan.verdicts.contains(&Verdict::Wait) {
            self.sights.note("a purchase is told to wait");
        }
        let after = plan.change.after;
        let led = leadership.is_led_by(request.leader) && leadership.epoch == request.epoch;
        if !led && !plan.change.is_empty() {
            state.broken = Some(FENCED);
        }
        state.stock.apply(&self.directory, &plan.change);
        state.journal.extend(plan.change.orders.iter().cloned());
        if self.keeps(Rule::OneTransaction) {
            self.record(state, &plan.change.decisions);
        }
        let rows = rows_from(&state.journal, request.log.length)
            .expect("a log is no longer than the journal");
        if request.log == after {
            assert_eq!(rows.orders, plan.change.orders, "the rows that are new follow the log");
        } else {
            self.sights.note("a batch's answer brings rows that were missed");
        }
        CommitReply::Decided { verdicts: plan.verdicts, rows }
    }

    fn record(&self, state: &mut State, decisions: &[(Purchase, Decision)]) {
        for (purchase, decision) in decisions {
            let number = match decision {
                Decision::Granted(number) => Some(*number),
                Decision::OutOfStock if self.keeps(Rule::RefusalsAreRecorded) => None,
                Decision::OutOfStock | Decision::UnknownToy | Decision::KeyReused => continue,
            };
            let (name, quantity) = (purchase.name.clone(), purchase.quantity);
            let recorded = Recorded { name, quantity, number };
            state.decisions.insert(purchase.key.clone(), recorded);
        }
    }

    /// An acquisition arrives: decided, on disk, published.
    pub(super) fn acquire(state: &mut State, place: usize) {
        let request = state.acquisitions[place].request;
        let prefix = rows_from(&state.journal, request.log.length).map(|rows| rows.after);
        let answer = state.stock.plan_acquisition(&request, prefix);
        match answer {
            AcquisitionReply::Won { leadership, .. } => state.stock.adopt_leadership(leadership),
            AcquisitionReply::Lost(Standing { .. }) => {}
            AcquisitionReply::Foreign { .. } => unreachable!("logs are prefixes of the journal"),
        }
        state.acquisitions[place].answer = Some(answer);
        if !state.acquisitions[place].awaited {
            state.acquisitions.remove(place);
        }
    }
}
