//! Any replica's steps, as `order/service.rs` and `order/tasks.rs` make them: taking rows, fetching
//! them, becoming leader, crashing.
//!
//! The production's `Core` decides. A rule is left out by telling it something untrue (an empty
//! journal, rows that were renumbered, a follower that was lost) or by not doing what it says.

use toystore::order::core::effects::Event;
use toystore::order::core::followers::NotAppended;
use toystore::order::core::leadership::Candidacy;
use toystore::order::core::log::{LogNumber, NotTaken, Write};
use toystore::wire::replication::{CatalogStatus, Nomination};

use super::properties::{ONE_LEADER, PREFIXES};
use super::*;

impl Member {
    /// A process that starts with these rows on its disk.
    pub(super) fn new(model: &Purchases, member: usize, rows: Vec<Order>) -> Self {
        let others = (0..model.size.replicas).filter(|other| *other != member).map(id);
        let mut core = Core::new(id(member), others.collect(), end_of(&rows));
        // It has reached the catalog once, so that its next answers make no difference to that.
        let status = CatalogStatus { leadership: Leadership::default(), journal: Position::START };
        core.heard_from_catalog((status, None), model.base, core.known());
        Self {
            core,
            on_disk: rows.len(),
            rows,
            waiting: BTreeSet::new(),
            selling: None,
            replicating_to: BTreeMap::new(),
            live: BTreeSet::new(),
        }
    }

    pub(super) fn disk(&self) -> &[Order] {
        &self.rows[..self.on_disk]
    }

    pub(super) fn is_writing(&self) -> bool {
        self.on_disk < length_of(self.core.accepted())
    }

    /// The log that a write belongs to.
    fn log(&self) -> LogNumber {
        let nothing = Rows::none(self.core.accepted());
        self.core.clone().take(&nothing).expect("it continues every log").log
    }
}

impl Purchases {
    /// Calls a member's core, and carries out what follows from it.
    pub(super) fn call<T>(
        &self,
        state: &mut State,
        member: usize,
        decision: impl FnOnce(&mut Core<Waiter>) -> T,
    ) -> T {
        let one = &mut state.members[member];
        let led = one.core.leads().is_some();
        let outcome = decision(&mut one.core);
        let effects = one.core.take_effects();
        for event in effects.events {
            match event {
                Event::Learned(_) | Event::Acquired(_) | Event::SteppedDown(..) => one.live.clear(),
                Event::FollowerLost(_) => self.sights.note("a live follower is lost"),
                Event::FollowerDiverged(_) => self.sights.note("a follower's log is foreign"),
                Event::Behind(_) | Event::Diverged => {
                    self.sights.note("a batch's rows do not continue the log");
                }
                Event::Leads(_) | Event::FollowerLive(_) | Event::FollowerSlow(_) => {}
            }
            if led && matches!(event, Event::Learned(_)) {
                self.sights.note("a leader hears that another leads");
            }
        }
        if one.core.acknowledged_length().is_some_and(|all| all < one.core.durable().length) {
            self.sights.note("an answer waits for a follower");
        }
        for (waiter, reply) in effects.answers {
            let noted = (member, waiter, reply.clone());
            self.answers.lock().expect("nothing panics under it").push(noted);
            match reply {
                PurchaseReply::Decided(decision) => {
                    state.members[member].waiting.remove(&waiter);
                    self.answer(state, member, waiter, decision);
                }
                PurchaseReply::NotLeader(_) if self.keeps(Rule::DeposedLeadersRedirectWaiters) => {
                    state.members[member].waiting.remove(&waiter);
                }
                PurchaseReply::NotLeader(_) => {}
            }
        }
        outcome
    }

    pub(super) fn keeping_up(
        &self,
        state: &State,
        member: usize,
        one: &Member,
        steps: &mut Vec<Step>,
    ) {
        if one.is_writing() {
            steps.push(Step::Write(member));
            if state.left.full_disks > 0 {
                steps.push(Step::DiskIsFull(member));
            }
        }
        let core = &one.core;
        let journal = state.stock.status().journal.length;
        let lacks = core.accepted().length < journal;
        let fetches = match self.next_step(one) {
            Some(SellStep::Activate | SellStep::Fetch) => lacks,
            Some(SellStep::Sell(..) | SellStep::Rest(_)) => false,
            None => !core.has_acquired() && (lacks || (core.should_fetch() && journal > 0)),
        };
        if fetches {
            steps.push(Step::Fetch(member));
        }
        if core.has_acquired() && core.leads().is_none() && core.clone().try_to_lead() {
            steps.push(Step::Lead(member));
        }
        if core.leadership().epoch < state.stock.status().leadership.epoch {
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

    /// The rows as they reach the core.
    pub(super) fn delivered(&self, one: &Member, rows: &Rows) -> Rows {
        let mut rows = rows.clone();
        if !self.keeps(Rule::RowsContinueTheLog) {
            // As if they did.
            rows.after = one.core.accepted();
            for (order, number) in rows.orders.iter_mut().zip(rows.after.length..) {
                order.number = OrderNumber(number);
            }
        }
        rows
    }

    /// Takes rows; they are on their way to the disk.
    fn take(&self, state: &mut State, member: usize, rows: &Rows) -> Result<(), NotTaken> {
        let rows = self.delivered(&state.members[member], rows);
        let write = self.call(state, member, |core| core.take(&rows))?;
        self.queue_for_disk(state, member, write);
        Ok(())
    }

    pub(super) fn queue_for_disk(&self, state: &mut State, member: usize, write: Write) {
        let one = &mut state.members[member];
        if write.after.length != one.rows.len() as u64 {
            // The database refuses what does not continue it.
            state.broken = Some(PREFIXES);
            return;
        }
        one.rows.extend(write.orders);
        if !one.is_writing() {
            // A write without rows is done when all before it is.
            self.call(state, member, |core| core.written(write.log, write.after, self.base));
        }
    }

    /// All that the disk was given is on it.
    pub(super) fn write(&self, state: &mut State, member: usize) {
        let one = &mut state.members[member];
        let end = one.core.accepted();
        if end.length != one.rows.len() as u64 {
            state.broken = Some(PREFIXES);
            return;
        }
        one.on_disk = one.rows.len();
        let log = one.log();
        self.call(state, member, |core| core.written(log, end, self.base));
    }

    pub(super) fn fill_disk(&self, state: &mut State, member: usize) {
        state.left.full_disks -= 1;
        let one = &mut state.members[member];
        one.rows.truncate(one.on_disk);
        let log = one.log();
        if self.keeps(Rule::UnwrittenRowsAreTakenBack) {
            self.call(state, member, |core| core.not_written(log));
        }
    }

    /// Asks the journal for what is missing.
    pub(super) fn fetch(&self, state: &mut State, member: usize) {
        let from = state.members[member].core.accepted().length;
        let Some(rows) = rows_from(&state.disk.journal, from) else { return };
        match self.take(state, member, &rows) {
            Ok(()) => {}
            Err(NotTaken::Diverged) => {
                self.sights.note("a foreign log is set aside");
                let one = &mut state.members[member];
                one.rows.clear();
                one.on_disk = 0;
                self.call(state, member, Core::begin_anew);
                return;
            }
            Err(NotTaken::Gap(_) | NotTaken::NotWritten) => {
                unreachable!("rows from the log's end on leave no gap")
            }
        }
        self.call(state, member, |core| {
            core.journal_read_to_end();
            core.caught_up()
        });
        if state.members[member].core.has_acquired() {
            self.sights.note("a leader fetches what it misses");
        }
        // Only a crash, a full disk or a leader would see that it takes time to write.
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
    ) -> Option<AppendReply> {
        let accepted = self.call(state, follower, |core| core.append(request));
        match accepted {
            Err(NotAppended::Stale(leadership)) if self.keeps(Rule::StaleRowsAreRefused) => {
                self.sights.note("a follower knows a newer leader");
                return Some(AppendReply::Stale(leadership));
            }
            Err(NotAppended::Leads) => {
                self.sights.note("a leader gets rows of a newer one");
                return None;
            }
            Err(NotAppended::Stale(_)) | Ok(()) => {}
        }
        let taken = self.take(state, follower, &request.rows);
        match taken {
            Ok(()) if !self.keeps(Rule::FollowersWriteBeforeAcknowledgement) => {
                let length = state.members[follower].core.accepted().length;
                return Some(AppendReply::Synced { length });
            }
            Ok(()) => self.write(state, follower),
            Err(NotTaken::Gap(_)) => self.sights.note("rows leave a gap"),
            Err(NotTaken::Diverged | NotTaken::NotWritten) => {}
        }
        let reply = self.call(state, follower, |core| core.appended(taken));
        Some(reply.expect("what was taken was written"))
    }

    /// A front-end nominates a replica. A nomination that names an epoch that has ended may be
    /// late: the nominee may have asked the catalog before it became leader.
    pub(super) fn nominate(&self, state: &mut State, member: usize, seen: Epoch) {
        let core = &mut state.members[member].core;
        let late = seen < state.stock.status().leadership.epoch;
        let (request, before) = match core.nominated(Nomination { seen }) {
            Candidacy::Acquire(request) => (request, core.leadership()),
            Candidacy::Answer(_) if late => {
                let before = Leadership { epoch: seen, leader: None };
                (Acquisition { nominee: id(member), seen, log: core.durable() }, before)
            }
            Candidacy::Answer(_) => return,
        };
        state.left.nominations -= 1;
        self.acquire(state, request, before);
    }

    /// The catalog's answer to an acquisition arrives, maybe after other messages about it.
    pub(super) fn become_leader(&self, state: &mut State, place: usize) {
        let (request, asked, mut reply) = state.acquisitions.remove(place);
        let member = member_of(request.nominee);
        let before = state.members[member].core.clone();
        let (leadership, journal) = match &mut reply {
            AcquisitionReply::Won { leadership, journal } => (*leadership, journal),
            AcquisitionReply::Lost(status) if status.leadership.is_led_by(request.nominee) => {
                self.sights.note("a nominee finds that it leads already");
                (status.leadership, &mut status.journal)
            }
            AcquisitionReply::Lost(_) | AcquisitionReply::Foreign { .. } => {
                self.sights.note(match reply {
                    AcquisitionReply::Foreign { .. } => "a foreign log cannot lead",
                    AcquisitionReply::Won { .. } | AcquisitionReply::Lost(_) => {
                        "an acquisition loses"
                    }
                });
                self.call(state, member, |core| core.acquisition_answered(&request, asked, reply));
                return;
            }
        };
        let known = before.leadership();
        if known.epoch == leadership.epoch && known.leader != leadership.leader {
            // Only a rebuilt catalog may give an epoch away again, and none is rebuilt here.
            state.broken = Some(ONE_LEADER);
            return;
        }
        let misses = before.durable().length < journal.length;
        if !self.keeps(Rule::NomineesFetchFirst) {
            *journal = Position::START;
        }
        self.call(state, member, |core| core.acquisition_answered(&request, asked, reply));
        if state.members[member].core == before {
            self.sights.note("an acquisition is answered too late");
        } else if misses {
            self.sights.note("a nominee misses orders");
        }
    }

    pub(super) fn crash(&self, state: &mut State, member: usize) {
        state.left.crashes -= 1;
        let one = &mut state.members[member];
        if one.is_writing() {
            self.sights.note("a replica crashes before it has written what was sold");
        }
        let rows = one.disk().to_vec();
        let before = std::mem::replace(one, Member::new(self, member, rows));
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
        state.acquisitions.retain(|(request, ..)| request.nominee != id(member));
    }
}
