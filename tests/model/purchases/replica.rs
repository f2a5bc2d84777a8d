//! Any replica's steps, in the order of `order/service.rs`, `order/catch_up.rs` and
//! `order/leadership.rs`: taking rows, fetching them, taking office, crashing.

use toystore::order::core::replica::Acceptance;

use super::properties::{ONE_LEADER, PREFIXES};
use super::*;

/// Why rows were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    Gap(u64),
    Diverged,
}

impl Member {
    pub(super) fn new(id: ReplicaId, rows: Vec<Order>) -> Self {
        let end = end_of(&rows);
        Self {
            replica: Replica::new(id, end),
            queue: Queue::default(),
            log_cache: LogCache::new(end),
            rows,
            selling: None,
            replicating_to: BTreeMap::new(),
            live: BTreeSet::new(),
        }
    }

    pub(super) fn is_writing(&self) -> bool {
        self.replica.durable() != self.replica.accepted()
    }
}

impl Purchases {
    pub(super) fn keeping_up(
        &self,
        state: &State,
        member: usize,
        one: &Member,
        steps: &mut Vec<Step>,
    ) {
        let replica = &one.replica;
        if one.is_writing() {
            steps.push(Step::Write(member));
            if state.left.full_disks > 0 {
                steps.push(Step::DiskIsFull(member));
            }
        }
        let journal = state.stock.status().journal.length;
        let leader_fetches = one.selling.is_none()
            && replica.is_behind()
            && (replica.leads().is_none() || self.keeps(Rule::LeadersBehindFetch));
        let lacks = replica.accepted().length < journal || (replica.is_new() && journal > 0);
        if lacks && (!replica.is_chosen() || leader_fetches) {
            steps.push(Step::Fetch(member));
        }
        if replica.is_chosen() && replica.clone().try_to_lead([]) {
            steps.push(Step::Lead(member));
        }
        if replica.leadership().epoch < state.stock.status().leadership.epoch {
            steps.push(Step::Inform(member));
        }
        if state.left.crashes > 0 {
            steps.push(Step::Crash(member));
        }
        if member == 0 {
            steps.extend((0..state.acquisitions.len()).map(Step::BecomeLeader));
            steps.extend((0..state.stray_rows.len()).map(Step::TakeLate));
        }
    }

    /// Takes rows; they are on their way to the disk.
    pub(super) fn take(
        &self,
        state: &mut State,
        member: usize,
        rows: &Rows,
    ) -> Result<(), NotTaken> {
        let one = &mut state.members[member];
        let mut rows = rows.clone();
        if !self.keeps(Rule::RowsContinueTheLog) {
            // As if they did.
            rows.after = one.replica.accepted();
            for (order, number) in rows.orders.iter_mut().zip(rows.after.length..) {
                order.number = OrderNumber(number);
            }
        }
        match one.replica.accept(&rows) {
            Acceptance::Write(after, orders) => {
                if after.length != one.rows.len() as u64 {
                    // The database refuses what does not continue it.
                    state.broken = Some(PREFIXES);
                    return Ok(());
                }
                one.log_cache.extend(after, &orders);
                one.rows.extend(orders);
                if !one.is_writing() {
                    // Nothing is written soon.
                    self.release(state, member);
                }
                Ok(())
            }
            Acceptance::Gap(length) => Err(NotTaken::Gap(length)),
            Acceptance::Diverged => Err(NotTaken::Diverged),
        }
    }

    /// All that the disk was given is on it.
    pub(super) fn write(&self, state: &mut State, member: usize) {
        let one = &mut state.members[member];
        let end = one.replica.accepted();
        if end.length != one.rows.len() as u64 {
            state.broken = Some(PREFIXES);
            return;
        }
        one.replica.written(end);
        self.release(state, member);
    }

    pub(super) fn fill_disk(&self, state: &mut State, member: usize) {
        state.left.full_disks -= 1;
        let one = &mut state.members[member];
        one.rows.truncate(length_of(one.replica.durable()));
        if self.keeps(Rule::UnwrittenRowsAreTakenBack) {
            one.replica.not_written();
        }
    }

    /// Asks the journal for what is missing.
    pub(super) fn fetch(&self, state: &mut State, member: usize) {
        let from = state.members[member].replica.accepted().length;
        let Some(rows) = rows_from(&state.disk.journal, from) else { return };
        match self.take(state, member, &rows) {
            Ok(()) => state.members[member].replica.has_everything(),
            Err(NotTaken::Diverged) => {
                self.sights.note("a foreign log is set aside");
                state.members[member] = Member::new(id(member), Vec::new());
                return;
            }
            Err(NotTaken::Gap(_)) => unreachable!("rows from the log's end on leave no gap"),
        }
        let one = &mut state.members[member];
        one.replica.caught_up();
        if one.replica.is_chosen() {
            self.sights.note("a leader fetches what it misses");
        }
        // Who would see that it takes time to write? A crash, a full disk, a leader.
        let left = &self.size.left;
        if left.crashes == 0 && left.full_disks == 0 && left.appends == 0 {
            self.write(state, member);
        }
    }

    /// A follower takes rows and writes them, with all that was given to its disk before.
    pub(super) fn take_rows(
        &self,
        state: &mut State,
        follower: usize,
        request: &AppendRequest,
    ) -> AppendReply {
        self.learn(state, follower, request.leadership);
        let replica = &mut state.members[follower].replica;
        replica.heard_of(request.leader_length);
        let known = replica.leadership();
        if known.epoch > request.leadership.epoch && self.keeps(Rule::StaleRowsAreRefused) {
            self.sights.note("a follower knows a newer leader");
            return AppendReply::Stale(known);
        }
        match self.take(state, follower, &request.rows) {
            Ok(()) if !self.keeps(Rule::FollowersWriteBeforeAcknowledgement) => {
                let length = state.members[follower].replica.accepted().length;
                AppendReply::Synced { length }
            }
            Ok(()) => {
                self.write(state, follower);
                let replica = &mut state.members[follower].replica;
                replica.caught_up();
                replica.append_reply()
            }
            Err(NotTaken::Gap(length)) => {
                self.sights.note("rows leave a gap");
                AppendReply::Gap { length }
            }
            Err(NotTaken::Diverged) => {
                state.members[follower].replica.doubt_log();
                AppendReply::Diverged
            }
        }
    }

    pub(super) fn learn(&self, state: &mut State, member: usize, leadership: Leadership) {
        let one = &mut state.members[member];
        let sold = one.replica.leads().is_some();
        if one.replica.learn(leadership) {
            if self.keeps(Rule::DeposedLeadersSendAway) {
                one.queue.clear();
            }
            one.live.clear();
            if sold {
                self.sights.note("a leader hears that another leads");
            }
        }
    }

    /// A front-end wants a replica to lead.
    pub(super) fn nominate(&self, state: &mut State, member: usize, seen: Epoch) {
        let replica = &state.members[member].replica;
        let late = seen < state.stock.status().leadership.epoch;
        if !late && replica.is_chosen() && replica.leadership().epoch >= seen {
            return;
        }
        state.left.nominations -= 1;
        let log = replica.durable();
        self.acquire(state, Acquisition { nominee: id(member), seen, log });
    }

    /// The catalog's answer to an acquisition arrives, maybe after others' word of it.
    pub(super) fn become_leader(&self, state: &mut State, place: usize) {
        let (request, answer) = state.acquisitions.remove(place);
        let member = member_of(request.nominee);
        let (leadership, journal) = match answer {
            AcquisitionReply::Won { leadership, journal } => (leadership, journal),
            AcquisitionReply::Lost(status) if status.leadership.is_led_by(request.nominee) => {
                self.sights.note("a nominee finds that it leads already");
                (status.leadership, status.journal)
            }
            AcquisitionReply::Lost(status) => {
                self.sights.note("an acquisition loses");
                self.learn(state, member, status.leadership);
                return;
            }
            AcquisitionReply::Foreign { .. } => {
                self.sights.note("a foreign log cannot lead");
                return;
            }
        };
        let known = state.members[member].replica.leadership();
        if known.epoch == leadership.epoch && known.leader != leadership.leader {
            // What production asserts in `Replica::acquired`.
            state.broken = Some(ONE_LEADER);
            return;
        }
        let one = &mut state.members[member];
        let needed = if self.keeps(Rule::NomineesFetchFirst) { journal.length } else { 0 };
        if one.replica.acquired(leadership, needed) {
            one.queue.clear();
            one.live.clear();
            if one.replica.durable().length < journal.length {
                self.sights.note("a nominee misses orders");
            }
        } else {
            self.sights.note("an acquisition is answered too late");
        }
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
        if matches!(before.selling, Some((_, Some(CommitReply::Decided { .. })))) {
            self.sights.note("a leader crashes when its batch is committed");
        }
        if let Some((request, None)) = before.selling
            && !state.strays.contains(&request)
        {
            state.strays.push(request);
        }
        if let Some(Writing { answer: Answer::Batch { sender, .. }, .. }) = &mut state.writer {
            sender.take_if(|sender| *sender == member);
        }
        state.acquisitions.retain(|(request, _)| request.nominee != id(member));
    }
}
