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
//! A replica believes only the catalog. What a front-end or another replica says of a newer
//! epoch is a *hint*: the replica asks the catalog, and steps down once the catalog says so. The
//! purchases that wait there are answered "not leader": the client's front-end retries them at the
//! next leader under the same keys. The outcome of a batch that is at the catalog then is ignored
//! here; a retry under the same key gets it from the catalog's record.
//!
//! # An epoch that was never given
//!
//! An epoch that came from elsewhere could be any number. A replica that believed the largest one
//! would follow a leader that does not exist, and acquire no epoch ever again:
//!
//! ```text
//! stranger            replica 3 (leads, epoch 7)       catalog: epoch 7, replica 3
//!   | epoch 2^62 ------->| asks ------------------------->|
//!   |                    |<--------- epoch 7, replica 3 --| leads on
//! ```
//!
//! The catalog's record may also be *older* than what a replica knows: its database was restored
//! from a backup, or rebuilt. The record counts then, too, if the catalog was asked after the
//! replica learned what it knows; an answer that was overtaken does not.
//!
//! # What is left out
//!
//! Elections: the front-ends choose the nominee. Leaderships that expire: a leader that no
//! front-end can reach stays leader until another replica is nominated.

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
    /// It has acquired leadership, and fetches what it misses before it sells.
    Activating,
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
    pub fn has_acquired(&self) -> bool {
        self.mode != Mode::Following
    }

    /// Handles a front-end's nomination of this replica.
    #[must_use]
    pub fn nominated(&mut self, nomination: Nomination) -> Candidacy {
        if self.has_acquired() && self.leadership.epoch >= nomination.seen {
            return Candidacy::Answer(NominationReply::Won(self.leadership));
        }
        self.awaits_nomination = false;
        Candidacy::Acquire(Acquisition {
            nominee: self.id,
            seen: nomination.seen,
            log: self.durable(),
        })
    }

    /// Handles the catalog's answer to an acquisition, which was sent when this replica knew
    /// `before`. Returns the answer for the front-end.
    pub fn acquisition_answered(
        &mut self,
        request: &Acquisition,
        before: Leadership,
        reply: AcquisitionReply,
    ) -> NominationReply {
        match reply {
            AcquisitionReply::Won { leadership, journal } => {
                self.become_leader(leadership, before, journal.length)
            }
            // An earlier acquisition won, whose answer was lost; or that of an earlier process.
            AcquisitionReply::Lost(status) if status.leadership.is_led_by(self.id) => {
                self.become_leader(status.leadership, before, status.journal.length)
            }
            AcquisitionReply::Lost(status) => {
                self.recorded(status.leadership, before);
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
    /// The epoch itself may be known: the answer to a report may overtake that to the acquisition.
    /// Its known leader may even be another replica: a restored catalog gives epochs out again, and
    /// its record counts.
    fn become_leader(
        &mut self,
        leadership: Leadership,
        before: Leadership,
        journal_length: u64,
    ) -> NominationReply {
        // Newer than what was known before, or an earlier catalog's.
        let is_old = leadership.epoch < self.leadership.epoch && self.leadership != before;
        let is_done = leadership.epoch == self.leadership.epoch && self.has_acquired();
        if !is_old && !is_done {
            assert!(leadership.is_led_by(self.id), "an acquisition is answered to its nominee");
            self.leadership = leadership;
            self.mode = Mode::Activating;
            // It checks itself more often from now on.
            self.effects.ask_catalog = true;
            self.heard_of(journal_length);
            self.effects.events.push(Event::Acquired(leadership.epoch));
            // Purchases of an earlier epoch, of whose end this replica had not heard.
            self.redirect_waiters();
            self.effects.work = true;
        }
        NominationReply::Won(leadership)
    }

    /// Begins to sell if the log on disk has all that the journal had when the catalog recorded the
    /// epoch. Returns whether this replica leads from now on. No follower is live yet.
    pub fn try_to_lead(&mut self) -> bool {
        // It has heard of all that the journal had then, and since: it may be rolled forward from
        // another replica.
        if self.mode != Mode::Activating || self.missing() > 0 {
            return false;
        }
        self.mode = Mode::Leading(Followers::new(self.others.iter().copied()));
        self.effects.events.push(Event::Leads(self.leadership));
        self.effects.grown = true;
        true
    }

    /// Takes a hint that there is a newer leadership: the catalog is to be asked.
    pub fn hinted(&mut self, leadership: Leadership) {
        self.effects.ask_catalog |= leadership.epoch > self.leadership.epoch;
    }

    /// Notes the catalog's record, which was asked for when this replica knew `before`.
    ///
    /// A newer epoch ends what is known. An older one, or another leader of the same epoch, shows
    /// that the catalog's database went back in time, unless something newer was learned meanwhile:
    /// the catalog does not know this leader, and its journal may never get the orders that the
    /// leader still waits for.
    pub fn recorded(&mut self, record: Leadership, before: Leadership) {
        let known = self.leadership;
        if record.epoch > known.epoch {
            self.leadership = record;
            self.mode = Mode::Following;
            self.effects.events.push(Event::Learned(record));
            self.redirect_waiters();
            self.effects.grown = true;
        } else if record != known && known == before {
            let led = self.has_acquired();
            self.leadership = record;
            self.mode = Mode::Following;
            if led {
                self.effects.events.push(Event::SteppedDown(known.epoch, record));
                self.redirect_waiters();
            }
            self.effects.grown = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use super::*;

    fn acquired(core: &Core<u32>) -> Option<Epoch> {
        core.has_acquired().then_some(core.leadership.epoch)
    }

    #[test]
    fn a_nominee_does_not_lead_before_it_has_what_it_missed() {
        let mut core = started(2);
        acquire(&mut core, leading(1, ME), 4);
        assert!(!core.try_to_lead());
        let write = core.take(&stretch(2, 4)).unwrap();
        assert!(!core.try_to_lead(), "accepted is not on disk yet");
        core.written(write.log, end_of(&journal(4)), crate::clock::now());
        assert!(core.try_to_lead());
        assert_eq!(core.leads(), Some(Epoch(1)));
    }

    #[test]
    fn a_nominee_fetches_what_a_journal_that_was_rolled_forward_has_more() {
        let mut core = started(0);
        acquire(&mut core, leading(1, ME), 0);
        core.heard_of(1);
        assert!(!core.try_to_lead());
        take_and_write(&mut core, &stretch(0, 1));
        assert!(core.try_to_lead());
    }

    #[test]
    fn a_newer_epoch_deposes_and_an_overtaken_answer_is_ignored() {
        let mut core = leader(0);
        core.recorded(leading(1, ME), leading(1, ME));
        assert_eq!(core.leads(), Some(Epoch(1)));
        core.recorded(leading(2, OTHER), leading(1, ME));
        assert_eq!(core.leadership(), leading(2, OTHER));
        assert_eq!(core.leads(), None);
        let request = Acquisition { nominee: ME, seen: Epoch(0), log: core.durable() };
        let won = AcquisitionReply::Won { leadership: leading(1, ME), journal: core.durable() };
        core.acquisition_answered(&request, Leadership::default(), won);
        assert!(!core.has_acquired(), "the leadership of epoch 1 has ended");
    }

    #[test]
    fn a_replica_asks_the_catalog_before_it_believes_in_a_newer_epoch() {
        let mut core = leader(0);
        for hint in [leading(2, OTHER), leading(crate::wire::count::LARGEST, OTHER)] {
            core.hinted(hint);
            assert_eq!(core.leads(), Some(Epoch(1)));
            assert!(core.take_effects().ask_catalog);
        }
        core.hinted(leading(1, OTHER));
        assert!(!core.take_effects().ask_catalog, "it is not newer");
    }

    #[test]
    fn a_nominee_that_heard_of_its_own_victory_first_still_becomes_leader() {
        let mut core = started(0);
        core.recorded(leading(1, ME), Leadership::default());
        assert!(!core.has_acquired());
        acquire(&mut core, leading(1, ME), 0);
        assert!(core.has_acquired());
    }

    #[test]
    fn a_replica_awaits_its_first_nomination_until_it_asks_the_catalog() {
        let mut core = started(0);
        let awaits = |core: &Core<u32>| core.status(crate::clock::now()).awaits_nomination;
        core.recorded(leading(1, ME), Leadership::default());
        assert!(awaits(&core), "an earlier process led");
        assert!(matches!(core.nominated(Nomination { seen: Epoch(1) }), Candidacy::Acquire(_)));
        assert!(!awaits(&core), "it may win");
    }

    #[test]
    fn of_an_epoch_that_was_given_away_twice_the_catalog_knows_the_leader() {
        let mut core = started(0);
        core.recorded(leading(1, OTHER), Leadership::default());
        acquire(&mut core, leading(1, ME), 0);
        assert!(core.try_to_lead());
        assert_eq!(core.leadership(), leading(1, ME));
        core.recorded(leading(1, OTHER), leading(1, ME));
        let events = core.take_effects().events;
        assert_eq!(events.last(), Some(&Event::SteppedDown(Epoch(1), leading(1, OTHER))));
    }

    #[test]
    fn under_a_restored_catalog_a_replica_counts_epochs_as_the_catalog_does() {
        let mut core = started(0);
        let before = core.leadership();
        acquire(&mut core, leading(5, ME), 0);
        core.recorded(leading(1, OTHER), before);
        assert_eq!(acquired(&core), Some(Epoch(5)), "that was the record from before");
        core.recorded(leading(1, OTHER), leading(5, ME));
        assert_eq!((acquired(&core), core.leadership()), (None, leading(1, OTHER)));
        acquire(&mut core, leading(2, ME), 0);
        assert_eq!(acquired(&core), Some(Epoch(2)));
    }

    #[test]
    fn an_acquisition_may_win_an_older_epoch_than_one_of_an_earlier_catalog() {
        let mut core = started(0);
        core.recorded(leading(9, OTHER), Leadership::default());
        acquire(&mut core, leading(2, ME), 0);
        assert_eq!(acquired(&core), Some(Epoch(2)));
    }

    #[test]
    fn a_late_answer_does_not_end_a_later_leadership() {
        let mut core = leader(0);
        acquire(&mut core, leading(3, ME), 0);
        core.recorded(leading(2, OTHER), leading(1, ME));
        assert!(core.has_acquired());
        assert_eq!(core.leadership(), leading(3, ME));
    }
}
