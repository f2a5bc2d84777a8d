//! How a replica comes to lead and ceases to: nominated, chosen by the catalog, deposed.
//!
//! A nomination is a front-end's wish; what counts is the catalog's record of the epoch. Whoever
//! waited at a leader that leads no longer is sent on to the next one. What was at the catalog then
//! is answered to nobody here: asked again under its key, it is answered there.

use std::time::Instant;

use super::Core;
use super::effects::Event;
use crate::wire::purchase::PurchaseReply;
use crate::wire::replication::{
    Acquisition, AcquisitionReply, Epoch, Leadership, Nomination, NominationReply,
};

/// What a nominee does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidacy {
    /// It leads already.
    Answer(NominationReply),
    /// It asks the catalog.
    Acquire(Acquisition),
}

impl<W> Core<W> {
    /// A front-end wants this replica to lead.
    #[must_use]
    pub fn nominated(&self, nomination: Nomination) -> Candidacy {
        let leadership = self.replica.leadership();
        if self.replica.is_chosen() && leadership.epoch >= nomination.seen {
            return Candidacy::Answer(NominationReply::Won(leadership));
        }
        Candidacy::Acquire(Acquisition {
            nominee: self.replica.id(),
            seen: nomination.seen,
            log: self.replica.durable(),
        })
    }

    /// The catalog has answered the acquisition; what the front-end is told.
    pub fn acquisition_answered(
        &mut self,
        request: &Acquisition,
        reply: AcquisitionReply,
    ) -> NominationReply {
        match reply {
            AcquisitionReply::Won { leadership, journal } => {
                self.become_leader(leadership, journal.length)
            }
            // It won before, and the answer was lost, or it was another run of this replica.
            AcquisitionReply::Lost(status) if status.leadership.is_led_by(self.replica.id()) => {
                self.become_leader(status.leadership, status.journal.length)
            }
            AcquisitionReply::Lost(status) => {
                self.learn(status.leadership);
                NominationReply::Lost(status.leadership)
            }
            AcquisitionReply::Foreign { journal } => NominationReply::Unable(format!(
                "the log of replica {} ({} orders) is no prefix of the journal ({} orders): one of \
                 the two databases is not of this cluster",
                self.replica.id(),
                request.log.length,
                journal.length
            )),
        }
    }

    /// Whoever waited here in an earlier epoch, of whose end this replica had not heard, asks anew:
    /// what was at the catalog then is answered to nobody.
    fn become_leader(&mut self, leadership: Leadership, journal_length: u64) -> NominationReply {
        if self.replica.acquired(leadership, journal_length) {
            self.note(Event::Chosen(leadership.epoch));
            self.redirect_waiters(leadership);
            self.effects.work = true;
        }
        NominationReply::Won(leadership)
    }

    /// Takes note of a leadership. Whoever waited here, if this replica led, asks the next leader.
    pub fn learn(&mut self, leadership: Leadership) {
        if self.replica.learn(leadership) {
            self.note(Event::Learned(leadership));
            self.redirect_waiters(leadership);
            self.effects.grown = true;
        }
    }

    /// The catalog names another leader of this replica's own epoch, as one can whose database was
    /// rebuilt: it has given the epoch away again.
    pub(super) fn contradicted(&mut self, leadership: Leadership) {
        let own = self.replica.leadership();
        let is_contradicted = self.replica.is_chosen() && own.epoch == leadership.epoch;
        if is_contradicted && !leadership.is_led_by(self.replica.id()) {
            self.deposed(own.epoch, leadership);
        }
    }

    /// The catalog says that this replica does not lead in `epoch`, and who does lead. The office
    /// of a later epoch, taken up meanwhile, is not touched by that.
    pub(super) fn deposed(&mut self, epoch: Epoch, leadership: Leadership) {
        self.learn(leadership);
        let own = self.replica.leadership();
        if own.epoch == epoch && self.replica.step_down() {
            self.note(Event::SteppedDown(epoch, leadership));
            self.redirect_waiters(own);
        }
    }

    /// Begins to sell, if the log holds all that the acquisition named.
    pub fn try_to_lead(&mut self) -> bool {
        let leads = self.replica.try_to_lead(self.others.iter().copied());
        if leads {
            self.note(Event::Leads(self.replica.leadership()));
            self.effects.grown = true;
        }
        leads
    }

    /// The catalog has answered what it was asked at `asked`.
    pub fn catalog_answered(&mut self, asked: Instant) {
        self.replica.catalog_answered(asked);
    }

    /// Whoever waited here asks the leader, once there is one.
    pub(super) fn redirect_waiters(&mut self, leadership: Leadership) {
        let reply = PurchaseReply::NotLeader(leadership);
        let waiters = self.queue.clear();
        self.effects.answers.extend(waiters.into_iter().map(|waiter| (waiter, reply.clone())));
    }
}
