//! What a leader does in its own time: sell in batches, pass orders on, drop followers that are too
//! slow.

use std::time::{Duration, Instant};

use super::effects::Event;
use super::{Core, NotTaken, Write};
use crate::wire::order::Rows;
use crate::wire::purchase::{CommitReply, CommitRequest, Decision, Verdict};
use crate::wire::replication::{AppendReply, AppendRequest, Epoch, ReplicaId};

/// How long to wait before a batch whose answer was lost is asked again.
pub const DOUBT_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait before a leader tries again to fetch what it misses.
pub const FETCH_PAUSE: Duration = Duration::from_millis(50);
/// How often an idle leader shows its followers that it lives.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait before a follower that did not answer is tried again.
pub const ABSENCE_PAUSE: Duration = Duration::from_millis(100);

/// What there is to do for the task that sells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Nothing, until there is work, or until this time, when a purchase that rests may go.
    Rest(Option<Instant>),
    /// This replica is to lead and must fetch what it misses first.
    Activate,
    /// Rows of the journal are missing, because an answer with them was lost or was full.
    Fetch,
    /// A batch for the catalog.
    Sell(Epoch, CommitRequest),
}

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// The catalog has answered.
    Answered(CommitReply),
    /// It will not have the batch: asking the same again would bring the same answer.
    Refused,
    /// It did not answer, or could not: whether the batch was decided is in doubt.
    InDoubt,
}

/// Whether a follower is worth another message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// It is there.
    Kept,
    /// It is not; to be tried again after [`ABSENCE_PAUSE`].
    Lost,
}

impl<W> Core<W> {
    /// What the task that sells should do now. A batch that it is given is at the catalog from now
    /// on, until its [outcome](Core::batch_answered) is known.
    pub fn next_task(&mut self, now: Instant, is_gone: impl Fn(&W) -> bool) -> Task {
        let Some(epoch) = self.replica.leads() else {
            return if self.replica.is_chosen() { Task::Activate } else { Task::Rest(None) };
        };
        if self.replica.is_behind() {
            return Task::Fetch;
        }
        let purchases = self.queue.next_batch(now, is_gone);
        if purchases.is_empty() {
            return Task::Rest(self.queue.rests_until());
        }
        let (leader, log) = (self.replica.id(), self.replica.accepted());
        Task::Sell(epoch, CommitRequest { leader, epoch, log, purchases })
    }

    /// What came of a batch that was sent in `epoch`, at `asked`. Refusals are answered at once,
    /// orders when they are on disk here and at the live followers; meanwhile the next batch may
    /// go. Returns what is to be written.
    pub fn batch_answered(
        &mut self,
        epoch: Epoch,
        outcome: BatchOutcome,
        asked: Instant,
        now: Instant,
    ) -> Option<Write> {
        match outcome {
            BatchOutcome::Answered(CommitReply::Decided { verdicts, rows }) => {
                self.replica.catalog_answered(asked);
                self.settle(epoch, &verdicts, &rows, now)
            }
            BatchOutcome::Answered(CommitReply::Deposed(leadership)) => {
                self.replica.catalog_answered(asked);
                self.deposed(epoch, leadership);
                None
            }
            BatchOutcome::Refused => {
                self.queue.give_up();
                None
            }
            BatchOutcome::InDoubt => {
                self.queue.in_doubt();
                None
            }
        }
    }

    fn settle(
        &mut self,
        epoch: Epoch,
        verdicts: &[Verdict],
        rows: &Rows,
        now: Instant,
    ) -> Option<Write> {
        if self.replica.leads() != Some(epoch) {
            // Deposed meanwhile: whoever waited has been sent to the next leader.
            return None;
        }
        for verdict in verdicts {
            if let Verdict::Decided(Decision::Granted(number)) = verdict {
                self.replica.heard_of(number.0 + 1);
            }
        }
        let answers = self.queue.decided(verdicts, now);
        self.answer(answers);
        // A leader whose rows are not taken finds itself behind the journal and fetches them.
        match self.take(rows) {
            Ok(write) => return Some(write),
            Err(NotTaken::Gap(length)) => self.note(Event::Behind(length)),
            Err(NotTaken::Diverged) => self.note(Event::Diverged),
            Err(NotTaken::NotWritten) => {}
        }
        None
    }

    /// From which number on a follower is to be sent rows; `None` unless this replica leads.
    #[must_use]
    pub fn cursor_of(&self, follower: ReplicaId) -> Option<u64> {
        self.replica.cursor_of(follower)
    }

    /// Whether a follower should be sent a message now, rather than as a sign of life.
    #[must_use]
    pub fn has_rows_for(&self, follower: ReplicaId) -> bool {
        self.replica.has_rows_for(follower)
    }

    /// The message that carries `rows` to a follower; nothing if this replica leads no longer.
    pub fn append_to(
        &mut self,
        follower: ReplicaId,
        rows: Rows,
        now: Instant,
    ) -> Option<AppendRequest> {
        // Also for a sign of life: of a follower that hangs over one, the next purchase is not
        // to hear later than over a row.
        self.replica.follower_owes(follower, now);
        self.replica.leads()?;
        let leadership = self.replica.leadership();
        let leader_length = self.replica.accepted().length;
        let request_ids = self.queue.request_ids(rows.after.length..rows.end_length());
        Some(AppendRequest { leadership, rows, leader_length, request_ids })
    }

    /// What a follower answered to such a message; nothing if it did not.
    pub fn append_answered(
        &mut self,
        follower: ReplicaId,
        reply: Option<AppendReply>,
        now: Instant,
    ) -> Contact {
        let contact = match reply {
            Some(AppendReply::Synced { length }) => {
                self.replica.follower_has(follower, length, now);
                Contact::Kept
            }
            Some(AppendReply::Gap { length }) => {
                self.replica.follower_lacks(follower, length);
                Contact::Kept
            }
            Some(AppendReply::Stale(leadership)) => {
                self.learn(leadership);
                Contact::Kept
            }
            Some(AppendReply::Diverged) => {
                self.note(Event::FollowerDiverged(follower));
                Contact::Lost
            }
            None => Contact::Lost,
        };
        if contact == Contact::Lost && self.replica.follower_lost(follower) {
            self.note(Event::FollowerLost(follower));
        }
        self.release();
        contact
    }

    /// Takes followers out of the live set that have owed an acknowledgement for too long.
    pub fn drop_slow_followers(&mut self, now: Instant) {
        for follower in self.replica.drop_slow_followers(now) {
            self.note(Event::FollowerSlow(follower));
        }
        self.release();
    }
}
