//! Taking office and laying it down: a replica is nominated, elected at the catalog, deposed.

use super::remote::Remote;
use super::service::{Service, Waiter};
use crate::wire::order::Position;
use crate::wire::purchase::PurchaseReply;
use crate::wire::replication::{
    Acquisition, AcquisitionReply, Epoch, Leadership, Nomination, NominationReply,
};

impl Service {
    /// A front-end wants this replica to lead.
    pub(super) async fn nominate(
        &self,
        remote: &Remote,
        nomination: Nomination,
    ) -> NominationReply {
        let (leadership, is_chosen, log) = self.decide(|cores, _| {
            let replica = &cores.replica;
            (replica.leadership(), replica.is_chosen(), replica.durable())
        });
        if is_chosen && leadership.epoch >= nomination.seen {
            return NominationReply::Won(leadership);
        }
        let request = Acquisition { nominee: self.id, seen: nomination.seen, log };
        match remote.acquire(&request).await {
            Ok(AcquisitionReply::Won { leadership, journal }) => {
                self.take_office(leadership, journal)
            }
            // It won before, and the answer was lost, or it was another run of this replica.
            Ok(AcquisitionReply::Lost(standing)) if standing.leadership.is_led_by(self.id) => {
                self.take_office(standing.leadership, standing.journal)
            }
            Ok(AcquisitionReply::Lost(standing)) => {
                self.learn(standing.leadership);
                NominationReply::Lost(standing.leadership)
            }
            Ok(AcquisitionReply::Foreign { journal }) => {
                let problem = format!(
                    "the log of replica {} ({} orders) is no prefix of the journal ({} orders): \
                     one of the two databases is not of this cluster",
                    self.id, log.length, journal.length
                );
                log::error!("{problem}");
                NominationReply::Unable(problem)
            }
            Err(error) => NominationReply::Unable(format!("the catalog: {error}")),
        }
    }

    /// Whoever waited here in an earlier epoch, of whose end this replica had not heard, asks anew:
    /// what was at the catalog then is answered to nobody.
    fn take_office(&self, leadership: Leadership, journal: Position) -> NominationReply {
        let sent_away = self.decide(|cores, _| {
            let taken = cores.replica.acquired(leadership, journal.length);
            taken.then(|| cores.queue.dissolve())
        });
        if let Some(waiters) = sent_away {
            log::info!("replica {} is to lead, epoch {}", self.id, leadership.epoch);
            send_away(waiters, leadership);
            self.work.notify_one();
        }
        NominationReply::Won(leadership)
    }

    /// Takes note of a leadership. Whoever waited here, if this replica led, asks the next leader.
    pub(super) fn learn(&self, leadership: Leadership) {
        let sent_away =
            self.decide(|cores, _| cores.replica.learn(leadership).then(|| cores.queue.dissolve()));
        let Some(waiters) = sent_away else { return };
        log::info!("replica {} hears that {leadership}", self.id);
        send_away(waiters, leadership);
        self.grown.send_replace(());
    }

    /// The catalog names another leader of this replica's own epoch, as one can whose database was
    /// rebuilt: it has given the epoch away again.
    pub(super) fn contradicted(&self, leadership: Leadership) {
        let own = self.decide(|cores, _| {
            let own = cores.replica.leadership();
            (cores.replica.is_chosen() && own.epoch == leadership.epoch).then_some(own.epoch)
        });
        if let Some(epoch) = own
            && !leadership.is_led_by(self.id)
        {
            self.deposed(epoch, leadership);
        }
    }

    /// The catalog says that this replica does not lead in `epoch`, and who does lead. The office
    /// of a later epoch, taken up meanwhile, is not touched by that.
    pub(super) fn deposed(&self, epoch: Epoch, leadership: Leadership) {
        self.learn(leadership);
        let sent_away = self.decide(|cores, _| {
            let own = cores.replica.leadership();
            let resigns = own.epoch == epoch && cores.replica.resign();
            resigns.then(|| (cores.queue.dissolve(), own))
        });
        if let Some((waiters, own)) = sent_away {
            log::warn!(
                "the catalog knows only that {leadership}; replica {} lays down office of epoch {}",
                self.id,
                own.epoch
            );
            send_away(waiters, own);
        }
    }
}

/// Whoever waited here asks the leader, once there is one.
pub(super) fn send_away(waiters: Vec<Waiter>, leadership: Leadership) {
    for waiter in waiters {
        let _unheard = waiter.send(PurchaseReply::NotLeader(leadership));
    }
}
