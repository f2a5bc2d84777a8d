//! What a replica keeps an eye on: its disk, and the catalog.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::core::JournalCheck;
use super::remote::Remote;
use super::service::Service;
use crate::clock;
use crate::storage::StorageError;

/// How often the disk and the catalog are asked whether they are there.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

impl Service {
    /// Watches whether the disk moves and the catalog answers, for ever. By the way it hears of new
    /// leaders.
    pub(super) async fn watch(self: Arc<Self>, remote: Rc<Remote>) {
        let mut ticks = actix_web::rt::time::interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked = clock::now();
            let length = self.decide(|core, _| core.durable().length);
            let (moved, status) = tokio::join!(self.log.pulse(), remote.status());
            match moved {
                Ok(()) => self.decide(|core, _| core.disk_answered(asked)),
                // A disk that does not keep up moves all the same, when it comes to it.
                Err(StorageError::Busy(_)) => {}
                Err(error) => self.shutdown.fail(error),
            }
            let Ok(status) = status else { continue };
            match self.decide(|core, _| core.heard_from_catalog(status, asked, length)) {
                JournalCheck::Known => {}
                // It says so as often as it asks.
                JournalCheck::Diverged => log::error!(
                    "replica {} has {length} orders and the catalog's journal {}: the catalog's \
                     database was removed or replaced. Stop the catalog, move its database away \
                     and run `toystore rebuild --from {}`",
                    self.id,
                    status.journal.length,
                    self.log.path().display()
                ),
            }
        }
    }
}
