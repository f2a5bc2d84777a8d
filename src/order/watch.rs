//! What a replica keeps an eye on: its disk, the catalog, and whether its log belongs there.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::office::send_away;
use super::remote::Remote;
use super::replica::Replica;
use super::service::Service;
use super::tail::Tail;
use crate::clock;
use crate::storage::StorageError;
use crate::wire::order::Position;

/// How often the disk and the catalog are asked whether they are there.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

impl Service {
    /// Watches whether the disk moves and the catalog answers, for ever. By the way it hears of new
    /// leaders.
    pub(super) async fn watch(self: Arc<Self>, remote: Rc<Remote>) {
        let mut last_length = 0;
        let mut ticks = actix_web::rt::time::interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked = clock::now();
            let length_before = self.decide(|cores, _| cores.replica.durable().length);
            let (moved, standing) = tokio::join!(self.log.pulse(), remote.standing());
            match moved {
                Ok(()) => self.decide(|cores, _| cores.replica.disk_moved(asked)),
                // A disk that does not keep up moves all the same, when it comes to it.
                Err(StorageError::Busy(_)) => {}
                Err(error) => self.lifeline.fail(error),
            }
            if let Ok(standing) = standing {
                self.learn(standing.leadership);
                self.contradicted(standing.leadership);
                if standing.journal.length < length_before {
                    self.estranged(length_before, standing.journal.length);
                    continue;
                }
                let needs_rows;
                (last_length, needs_rows) = self.decide(|cores, _| {
                    cores.replica.catalog_answered(asked);
                    let length = cores.replica.accepted().length;
                    // Orders of this moment are on their way; only one who stands still is behind.
                    if length == last_length {
                        cores.replica.heard_of(standing.journal.length);
                    }
                    (length, cores.replica.is_chosen() && cores.replica.is_behind())
                });
                if needs_rows {
                    // A leader that has nothing to sell must be woken to fetch.
                    self.work.notify_one();
                }
            }
        }
    }

    /// The journal is shorter than this log, which holds nothing that was not in the journal. Under
    /// such a catalog this replica is not fit to lead, and says so, as often as it asks.
    fn estranged(&self, own: u64, journal: u64) {
        log::error!(
            "replica {} has {own} orders and the catalog's journal {journal}: the catalog's \
             database was removed or replaced. Stop the catalog, move its database away and run \
             `toystore rebuild --from {}`",
            self.id,
            self.log.path().display()
        );
    }

    /// The journal says that this log is not of its cluster, or is damaged. A copy is kept, and the
    /// log begins anew.
    pub(super) async fn set_log_aside(&self) {
        match self.store(self.log.set_aside()).await {
            Ok(copy) => {
                log::error!(
                    "replica {} held orders that are not in the journal; a copy is kept as {}, and \
                     the log is fetched anew",
                    self.id,
                    copy.display()
                );
                let (waiters, leadership) = self.decide(|cores, _| {
                    let leadership = cores.replica.leadership();
                    cores.replica = Replica::new(self.id, Position::START);
                    cores.tail = Tail::new(Position::START);
                    cores.log_number += 1;
                    (cores.queue.dissolve(), leadership)
                });
                send_away(waiters, leadership);
            }
            Err(trouble) => log::error!("replica {} cannot begin anew: {trouble}", self.id),
        }
    }
}
