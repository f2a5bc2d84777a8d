//! Who leads, and how a replica becomes leader and steps down.
//!
//! # The idea
//!
//! Each leadership has an epoch, and the catalog's record is the only one that counts. A front-end
//! nominates a replica, the nominee acquires the next epoch at the catalog by a compare-and-set,
//! and the catalog refuses batches of any other epoch. The epoch is a fencing token (M. Kleppmann,
//! *How to do distributed locking*): a leader that was paused and wakes up can harm nothing, even
//! before it learns that another replica leads.
//!
//! A new leader does not sell before its log has all that the journal had when the catalog recorded
//! the epoch. Else it would answer queries without orders that clients know of:
//!
//! ```text
//! leader, epoch 7     catalog             nominee (its log ends at 5)
//!   | commit 6 ------->| journal: 6          |
//!   |  (acknowledged, then it dies)          |
//!   |                  |<--- acquire --------|
//!   |                  |---- epoch 8, 6 ---->| activating: fetches 6, writes it
//!   |                  |                     | leading: sells
//! ```
//!
//! A replica steps down as soon as it hears of a newer epoch. The purchases that wait there are
//! answered "not leader": the client's front-end retries them at the next leader under the same
//! keys. The outcome of a batch that is at the catalog then is ignored here; a retry under the same
//! key gets it from the catalog's record.
//!
//! # What is left out
//!
//! Elections: the front-ends choose the nominee. Terms that expire: a leader that no front-end can
//! reach stays leader until another replica is nominated.

use super::Core;
use super::effects::Event;
use super::followers::Followers;
use crate::wire::replication::{
    Acquisition, AcquisitionReply, Epoch, Leadership, Nomination, NominationReply,
};

/// A replica's part in the newest leadership that it knows of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// It follows.
    Following,
    /// It has acquired leadership, and fetches what it misses up to this length before it sells.
    Activating(u64),
    /// It leads and sells.
    Leading(Followers),
}

/// What a nominee does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidacy {
    /// It answers at once: it leads already.
    Answer(NominationReply),
    /// It asks the catalog.
    Acquire(Acquisition),
}

impl<W> Core<W> {
    /// Returns the newest leadership that this replica knows of.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership
    }

    /// Returns the epoch in which this replica leads and sells, if it does.
    #[must_use]
    pub fn leads(&self) -> Option<Epoch> {
        matches!(self.mode, Mode::Leading(_)).then_some(self.leadership.epoch)
    }

    /// Returns whether this replica has acquired leadership, even while it is still fetching what
    /// it misses.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        self.mode != Mode::Following
    }

    /// Returns the epoch of the leadership that this replica has acquired, if it has.
    #[must_use]
    pub fn acquired(&self) -> Option<Epoch> {
        self.is_chosen().then_some(self.leadership.epoch)
    }

    /// Handles a front-end's nomination of this replica.
    #[must_use]
    pub fn nominated(&self, nomination: Nomination) -> Candidacy {
        if self.is_chosen() && self.leadership.epoch >= nomination.seen {
            return Candidacy::Answer(NominationReply::Won(self.leadership));
        }
        Candidacy::Acquire(Acquisition {
            nominee: self.id,
            seen: nomination.seen,
            log: self.durable(),
        })
    }

    /// Handles the catalog's answer to an acquisition. Returns the answer for the front-end.
    pub fn acquisition_answered(
        &mut self,
        request: &Acquisition,
        reply: AcquisitionReply,
    ) -> NominationReply {
        match reply {
            AcquisitionReply::Won { leadership, journal } => {
                self.become_leader(leadership, journal.length)
            }
            // An earlier acquisition won, whose answer was lost; or that of an earlier process.
            AcquisitionReply::Lost(status) if status.leadership.is_led_by(self.id) => {
                self.become_leader(status.leadership, status.journal.length)
            }
            AcquisitionReply::Lost(status) => {
                self.learn(status.leadership);
                NominationReply::Lost(status.leadership)
            }
            AcquisitionReply::Foreign { journal } => NominationReply::Unable(format!(
                "the log of replica {} ({} orders) is no prefix of the journal ({} orders): one of \
                 the two databases is not of this cluster",
                self.id, request.log.length, journal.length
            )),
        }
    }

    /// Becomes leader, unless the leadership is older than one that is known, or is this replica's
    /// already.
    ///
    /// The epoch itself may be known: a front-end's or a follower's message may overtake the
    /// catalog's answer. Its known leader may even be another replica: a rebuilt catalog gives
    /// epochs out again, and its record counts.
    fn become_leader(&mut self, leadership: Leadership, journal_length: u64) -> NominationReply {
        let is_old = leadership.epoch < self.leadership.epoch;
        let is_done = leadership.epoch == self.leadership.epoch && self.is_chosen();
        if !is_old && !is_done {
            assert!(leadership.is_led_by(self.id), "an acquisition is answered to its nominee");
            self.leadership = leadership;
            self.mode = Mode::Activating(journal_length);
            self.heard_of(journal_length);
            self.effects.events.push(Event::Chosen(leadership.epoch));
            // Purchases of an earlier epoch, of whose end this replica had not heard.
            self.redirect_waiters();
            self.effects.work = true;
        }
        NominationReply::Won(leadership)
    }

    /// Begins to sell if the log on disk has all that the journal had when the catalog recorded the
    /// epoch. Returns whether this replica leads from now on. No follower is live yet.
    pub fn try_to_lead(&mut self) -> bool {
        let Mode::Activating(needed) = self.mode else { return false };
        if self.durable().length < needed {
            return false;
        }
        self.mode = Mode::Leading(Followers::new(self.others.iter().copied()));
        self.effects.events.push(Event::Leads(self.leadership));
        self.effects.grown = true;
        true
    }

    /// Notes a leadership. If it is newer than the known one, this replica follows.
    pub fn learn(&mut self, leadership: Leadership) {
        if leadership.epoch > self.leadership.epoch {
            self.leadership = leadership;
            self.mode = Mode::Following;
            self.effects.events.push(Event::Learned(leadership));
            self.redirect_waiters();
            self.effects.grown = true;
        }
    }

    /// Compares the catalog's record with this replica's own leadership. A rebuilt catalog may have
    /// given this epoch to another replica.
    pub(super) fn contradicted(&mut self, leadership: Leadership) {
        if self.leadership.epoch == leadership.epoch && !leadership.is_led_by(self.id) {
            self.step_down(leadership.epoch, leadership);
        }
    }

    /// Compares the catalog's record with the epoch that this replica had acquired when the catalog
    /// was asked. An older record shows that the catalog's database went back in time: it does not
    /// know this leader, and its journal may never get the orders that the leader still waits for.
    pub fn forgotten(&mut self, acquired: Option<Epoch>, known: Leadership) {
        if let Some(epoch) = acquired
            && known.epoch < epoch
        {
            self.step_down(epoch, known);
        }
    }

    /// Steps down from `epoch`: the catalog says that this replica does not lead in it, and which
    /// leadership it knows. A later epoch that this replica has acquired meanwhile is not affected.
    pub(super) fn step_down(&mut self, epoch: Epoch, known: Leadership) {
        self.learn(known);
        if self.leadership.epoch == epoch && self.is_chosen() {
            self.mode = Mode::Following;
            self.effects.events.push(Event::SteppedDown(epoch, known));
            self.redirect_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use super::*;

    #[test]
    fn a_nominee_does_not_lead_before_it_has_what_it_missed() {
        let mut core = started(2);
        acquire(&mut core, leading(1, ME), 4);
        assert!(!core.try_to_lead());
        let write = core.take(&stretch(2, 4)).unwrap();
        assert!(!core.try_to_lead(), "accepted is not on disk yet");
        core.written(write.log, end_of(&journal(4)));
        assert!(core.try_to_lead());
        assert_eq!(core.leads(), Some(Epoch(1)));
    }

    #[test]
    fn a_newer_epoch_deposes_and_an_older_one_is_ignored() {
        let mut core = leader(0);
        core.learn(leading(1, OTHER));
        assert_eq!(core.leadership(), leading(1, ME));
        assert_eq!(core.leads(), Some(Epoch(1)));
        core.learn(leading(2, OTHER));
        assert_eq!(core.leadership(), leading(2, OTHER));
        assert_eq!(core.leads(), None);
        acquire(&mut core, leading(1, ME), 0);
        assert!(!core.is_chosen(), "the leadership of epoch 1 has ended");
    }

    #[test]
    fn a_nominee_that_heard_of_its_own_victory_first_still_becomes_leader() {
        let mut core = started(0);
        core.learn(leading(1, ME));
        assert!(!core.is_chosen());
        acquire(&mut core, leading(1, ME), 0);
        assert!(core.is_chosen());
    }

    #[test]
    fn of_an_epoch_that_was_given_away_twice_the_catalog_knows_the_leader() {
        let mut core = started(0);
        core.learn(leading(1, OTHER));
        acquire(&mut core, leading(1, ME), 0);
        assert!(core.try_to_lead());
        assert_eq!(core.leadership(), leading(1, ME));
    }

    #[test]
    fn a_leader_whose_epoch_the_catalog_gave_to_another_steps_down() {
        let mut core = leader(0);
        core.contradicted(leading(1, ME));
        assert!(core.is_chosen());
        core.contradicted(leading(1, OTHER));
        assert!(!core.is_chosen());
        let events = core.take_effects().events;
        assert_eq!(events, [Event::SteppedDown(Epoch(1), leading(1, OTHER))]);
    }

    #[test]
    fn a_leader_that_a_restored_catalog_does_not_know_steps_down() {
        let mut core = started(0);
        let before = core.acquired();
        acquire(&mut core, leading(2, ME), 5);
        core.forgotten(before, leading(1, OTHER));
        core.forgotten(core.acquired(), leading(2, ME));
        assert_eq!(core.acquired(), Some(Epoch(2)), "that was the record from before");
        core.forgotten(Some(Epoch(2)), leading(1, OTHER));
        assert_eq!(core.acquired(), None);
    }

    #[test]
    fn a_late_answer_does_not_end_a_later_leadership() {
        let mut core = leader(0);
        acquire(&mut core, leading(3, ME), 0);
        core.step_down(Epoch(1), leading(2, OTHER));
        assert!(core.is_chosen());
        assert_eq!(core.leadership(), leading(3, ME));
    }
}
