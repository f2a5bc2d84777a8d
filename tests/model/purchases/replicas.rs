//! The replicas' steps: selling, passing orders on, taking office.

use std::time::Duration;

use toystore::order::queue::Admission;
use toystore::order::replica::Acceptance;
use toystore::wire::purchase::Verdict;

use super::*;

impl Member {
    pub(super) fn new(id: ReplicaId, rows: Vec<Order>) -> Self {
        Self {
            replica: Replica::new(id, end_of(&rows)),
            queue: Queue::default(),
            rows,
            selling: None,
            passing: BTreeMap::new(),
            live: BTreeSet::new(),
        }
    }

    /// Takes rows; they are on their way to the disk. If they leave a gap, where the log ends.
    fn take(&mut self, rows: &Rows) -> Result<(), u64> {
        match self.replica.accept(rows) {
            Acceptance::Write(after, orders) => {
                assert_eq!(after.length, self.rows.len() as u64, "rows continue the log");
                self.rows.extend(orders);
                Ok(())
            }
            Acceptance::Gap(length) => Err(length),
            Acceptance::Diverged => unreachable!("all rows are the journal's"),
        }
    }

    fn is_writing(&self) -> bool {
        self.replica.durable().length < self.rows.len() as u64
    }
}

impl Purchases {
    pub(super) fn actions_of(
        &self,
        state: &State,
        member: usize,
        one: &Member,
        steps: &mut Vec<Step>,
    ) {
        let replica = &one.replica;
        let journal = state.stock.standing().journal.length;
        match &one.selling {
            None if replica.leads().is_some() && !replica.is_behind() && !one.queue.is_empty() => {
                steps.push(Step::Sell(member));
            }
            None => {}
            Some((_, answer)) => {
                match answer {
                    Some(_) => steps.push(Step::Settle(member)),
                    None => steps.push(Step::Decide(member)),
                }
                if answer.is_none() && state.left.waits > 0 {
                    steps.push(Step::TellToWait(member));
                }
                if state.left.doubts > 0 {
                    steps.push(Step::Doubt(member));
                }
            }
        }
        if one.is_writing() {
            steps.push(Step::Write(member));
            if state.left.full_disks > 0 {
                steps.push(Step::DiskIsFull(member));
            }
        }
        let may_fetch = !replica.is_chosen() || (one.selling.is_none() && replica.is_behind());
        if may_fetch && replica.accepted().length < journal {
            steps.push(Step::Fetch(member));
        }
        if replica.is_chosen() && replica.leads().is_none() {
            steps.push(Step::Lead(member));
        }
        if replica.leadership().epoch < state.stock.standing().leadership.epoch {
            steps.push(Step::Inform(member));
        }
        for follower in (0..self.size.replicas).filter(|other| *other != member) {
            let (leader, lost) = (member, one.live.contains(&follower));
            match one.passing.get(&follower) {
                None if state.left.appends > 0 && replica.leads().is_some() => {
                    steps.push(Step::PassOn { leader, follower });
                }
                Some((_, None)) => steps.push(Step::Take { leader, follower }),
                Some((_, Some(_))) => steps.push(Step::Note { leader, follower }),
                None => {}
            }
            if lost && one.passing.contains_key(&follower) {
                steps.push(Step::Lose { leader, follower });
            }
        }
    }

    pub(super) fn ask(&self, state: &mut State, client: usize, member: usize) {
        let attempt = self.size.left.tries - state.clients[client].tries;
        state.clients[client].tries -= 1;
        if state.clients[client].answered.is_some() {
            self.sights.note("a duplicate arrives after the answer");
        }
        let purchase = self.purchase((client, attempt));
        let admission = state.members[member].queue.admit(purchase, (client, attempt), |_| false);
        assert_eq!(admission, Admission::Admitted, "there are few");
    }

    pub(super) fn sell(&self, state: &mut State, member: usize) {
        let one = &mut state.members[member];
        let Some(epoch) = one.replica.leads() else { return };
        // Whatever rests has rested long enough.
        let later = self.base + Duration::from_secs(1);
        let purchases = one.queue.next_batch(later, |_| false);
        if purchases.len() > 1 {
            self.sights.note("two purchases share a batch");
        }
        if !purchases.is_empty() {
            let log = one.replica.accepted();
            one.selling = Some((CommitRequest { leader: id(member), epoch, log, purchases }, None));
        }
    }

    /// The leader loses its patience; the batch, if it has not arrived, may do so yet.
    pub(super) fn doubt(&self, state: &mut State, member: usize) {
        state.left.doubts -= 1;
        let one = &mut state.members[member];
        let Some((request, answer)) = one.selling.take() else { return };
        one.queue.in_doubt();
        match answer {
            None => state.strays.push(request),
            Some(_) => self.sights.note("a batch is asked again that was decided"),
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
                if replica.leadership().epoch == epoch && replica.resign() {
                    state.members[member].queue.dissolve();
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
        if one.take(&rows).is_err() {
            self.sights.note("a batch's rows do not continue the log");
        }
        self.answer(state, member, &answers);
        if !self.keeps(Rule::DurableBeforeAcknowledgement) {
            let one = &mut state.members[member];
            let answers = one.queue.acknowledge(one.replica.accepted().length);
            self.answer(state, member, &answers);
        }
    }

    /// All that the disk was given is on it.
    pub(super) fn write(&self, state: &mut State, member: usize) {
        let one = &mut state.members[member];
        one.replica.written(end_of(&one.rows));
        self.release(state, member);
    }

    fn release(&self, state: &mut State, member: usize) {
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

    /// An answer leaves the leader. Whether it arrives does not matter: it might.
    fn answer(&self, state: &mut State, member: usize, answers: &[(Waiter, Decision)]) {
        for ((client, _), decision) in answers {
            let one = &mut state.clients[*client];
            if one.answered.is_some_and(|before| before != *decision) {
                state.broken = Some(ONE_ANSWER);
            }
            one.answered = Some(*decision);
            let Decision::Granted(number) = decision else {
                self.sights.note("a purchase is refused");
                continue;
            };
            let holds = |member: &usize| state.members[*member].replica.durable().length > number.0;
            let journaled = state.journal.len() as u64 > number.0;
            let live = &state.members[member].live;
            if !journaled || !holds(&member) || !live.iter().all(holds) {
                state.broken = Some(DURABLE);
            }
            self.sights.note(if live.is_empty() {
                "an order is acknowledged by a leader alone"
            } else {
                "an order is acknowledged with a live follower"
            });
        }
    }

    /// Asks the journal for what is missing.
    pub(super) fn fetch(&self, state: &mut State, member: usize) {
        let one = &mut state.members[member];
        let rows = rows_from(&state.journal, one.replica.accepted().length);
        let taken = one.take(&rows.expect("a log is no longer than the journal"));
        assert_eq!(taken, Ok(()), "rows from the log's end on leave no gap");
        one.replica.has_everything();
        if one.replica.is_chosen() {
            self.sights.note("a leader fetches what it misses");
        }
    }

    pub(super) fn pass_on(&self, state: &mut State, leader: usize, follower: usize) {
        state.left.appends -= 1;
        let one = &mut state.members[leader];
        let Some(cursor) = one.replica.cursor_of(id(follower)) else { return };
        let rows = rows_from(&one.rows, cursor);
        let rows = rows.unwrap_or_else(|| Rows::none(one.replica.durable()));
        one.replica.follower_owes(id(follower), self.base);
        let leadership = one.replica.leadership();
        let leader_length = one.replica.accepted().length;
        let request_ids = Vec::new();
        let request = AppendRequest { leadership, rows, leader_length, request_ids };
        one.passing.insert(follower, (request, None));
    }

    /// A follower takes rows and writes them, with all that was given to its disk before.
    pub(super) fn take_append(&self, state: &mut State, leader: usize, follower: usize) {
        let Some((request, None)) = state.members[leader].passing.get(&follower).cloned() else {
            return;
        };
        self.learn(state, follower, request.leadership);
        let one = &mut state.members[follower];
        one.replica.heard_of(request.leader_length);
        let known = one.replica.leadership();
        let reply = if known.epoch > request.leadership.epoch {
            self.sights.note("a follower knows a newer leader");
            AppendReply::Stale(known)
        } else if let Err(length) = one.take(&request.rows) {
            self.sights.note("rows leave a gap");
            AppendReply::Gap { length }
        } else {
            one.replica.written(end_of(&one.rows));
            one.replica.caught_up();
            one.replica.append_reply()
        };
        if let Some((_, answer)) = state.members[leader].passing.get_mut(&follower) {
            *answer = Some(reply);
        }
    }

    pub(super) fn note(&self, state: &mut State, leader: usize, follower: usize) {
        let one = &mut state.members[leader];
        let Some((request, Some(reply))) = one.passing.remove(&follower) else { return };
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
            AppendReply::Diverged => unreachable!("all rows are the journal's"),
        };
        one.replica.follower_has(id(follower), length, self.base);
        // What it was sent in an earlier office does not make it live in this one.
        if one.replica.leads() == Some(request.leadership.epoch) {
            one.live.insert(follower);
        }
        self.release(state, leader);
    }

    pub(super) fn lose(&self, state: &mut State, leader: usize, follower: usize) {
        let one = &mut state.members[leader];
        one.passing.remove(&follower);
        one.live.remove(&follower);
        if one.replica.follower_lost(id(follower)) {
            self.sights.note("a live follower is lost");
            self.release(state, leader);
        }
    }

    pub(super) fn learn(&self, state: &mut State, member: usize, leadership: Leadership) {
        let one = &mut state.members[member];
        let sold = one.replica.leads().is_some();
        if one.replica.learn(leadership) {
            one.queue.dissolve();
            one.live.clear();
            if sold {
                self.sights.note("a leader hears that another leads");
            }
        }
    }

    pub(super) fn nominate(state: &mut State, member: usize, seen: Epoch) {
        state.left.nominations -= 1;
        let replica = &state.members[member].replica;
        if replica.is_chosen() && replica.leadership().epoch >= seen {
            return;
        }
        let request = Acquisition { nominee: id(member), seen, log: replica.durable() };
        state.acquisitions.push(Acquiring { request, answer: None, awaited: true });
    }

    /// The catalog's answer to an acquisition arrives, maybe after others' word of it.
    pub(super) fn take_office(&self, state: &mut State, place: usize) {
        let Acquiring { request, answer, .. } = state.acquisitions.remove(place);
        let member = member_of(request.nominee);
        let (leadership, journal) = match answer {
            Some(AcquisitionReply::Won { leadership, journal }) => (leadership, journal),
            Some(AcquisitionReply::Lost(standing))
                if standing.leadership.is_led_by(request.nominee) =>
            {
                self.sights.note("a nominee finds that it leads already");
                (standing.leadership, standing.journal)
            }
            Some(AcquisitionReply::Lost(standing)) => {
                self.sights.note("an acquisition loses");
                self.learn(state, member, standing.leadership);
                return;
            }
            Some(AcquisitionReply::Foreign { .. }) | None => return,
        };
        let one = &mut state.members[member];
        let needed = if self.keeps(Rule::NomineesFetchFirst) { journal.length } else { 0 };
        if one.replica.acquired(leadership, needed) {
            one.queue.dissolve();
            one.live.clear();
            if one.replica.durable().length < journal.length {
                self.sights.note("a nominee misses orders");
            }
        } else {
            self.sights.note("an acquisition is answered too late");
        }
    }

    pub(super) fn lead(&self, state: &mut State, member: usize) {
        let others = (0..self.size.replicas).map(id);
        state.members[member].replica.try_to_lead(others);
    }

    pub(super) fn crash(&self, state: &mut State, member: usize) {
        state.left.crashes -= 1;
        let one = &mut state.members[member];
        if one.is_writing() {
            self.sights.note("a replica crashes before it has written what was sold");
        }
        let mut rows = std::mem::take(&mut one.rows);
        rows.truncate(length_of(one.replica.durable()));
        let before = std::mem::replace(one, Member::new(id(member), rows));
        if let Some((request, None)) = before.selling {
            state.strays.push(request);
        }
        state.acquisitions.retain_mut(|acquiring| {
            acquiring.awaited &= acquiring.request.nominee != id(member);
            acquiring.awaited || acquiring.answer.is_none()
        });
    }
}

pub(super) fn length_of(position: Position) -> usize {
    usize::try_from(position.length).expect("a small number")
}
