//! Fetching what was missed: from the other replicas, and what they lack from the journal.
//!
//! There is no special mode for it. Rows that are fetched go through the same
//! [`take`](super::service::Service::take) as those that the leader sends, in whatever order both
//! arrive; a replica that is fetching also follows.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::core::log::Fetched;
use super::remote::Remote;
use super::service::{Service, Waiter};
use crate::failpoint;
use crate::transport::CallError;
use crate::wire::order::Rows;

/// How long to wait before asking again for rows that did not continue the log.
const GAP_PAUSE: Duration = Duration::from_millis(20);
/// How often a replica looks whether it is behind with nobody sending it anything.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

impl Service {
    /// Asks the others for what this replica missed while it was away (once, at its start), and
    /// afterwards whenever it is behind; for ever.
    pub(super) async fn catch_up(self: Arc<Self>, remote: Rc<Remote>) {
        let start = self.decide(|core, _| core.durable().length);
        loop {
            if self.decide(|core, _| core.should_fetch())
                && self.fetch(&remote).await
                && self.decide(|core, _| core.caught_up())
            {
                let length = self.decide(|core, _| core.durable().length);
                log::info!("replica {} had {start} orders and is in step with {length}", self.id);
            }
            actix_web::rt::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Fetches all that the other replicas have, then all that the journal has. True if the journal
    /// was asked, so that nothing is missing but what is new.
    pub(super) async fn fetch(&self, remote: &Remote) -> bool {
        for other in remote.others() {
            let fetched = self.fetch_from(async |from| remote.rows(other, from).await).await;
            if fetched == Fetched::Foreign {
                log::warn!("replicas {} and {other} hold different orders", self.id);
            }
        }
        self.fetch_journal(remote).await
    }

    /// Fetches all that the journal has. True if it was asked to its end.
    pub(super) async fn fetch_journal(&self, remote: &Remote) -> bool {
        let fetched = self.fetch_from(async |from| remote.journal(from).await).await;
        match fetched {
            Fetched::Everything => self.decide(|core, _| core.has_all_of_the_journal()),
            Fetched::Foreign => self.set_log_aside().await,
            Fetched::More | Fetched::Overtaken | Fetched::Failed => {}
        }
        fetched == Fetched::Everything
    }

    /// Fetches rows from one source until it has no more.
    async fn fetch_from(&self, ask: impl AsyncFn(u64) -> Result<Rows, CallError>) -> Fetched {
        loop {
            let from = self.decide(|core, _| core.accepted().length);
            let Ok(rows) = ask(from).await else { return Fetched::Failed };
            let taken = self.take(&rows).await;
            failpoint::pass(failpoint::CATCHING_UP);
            match Core::<Waiter>::fetched(&rows, taken) {
                Fetched::More => {}
                Fetched::Overtaken => actix_web::rt::time::sleep(GAP_PAUSE).await,
                end @ (Fetched::Everything | Fetched::Foreign | Fetched::Failed) => return end,
            }
        }
    }

    /// Keeps a copy of a log that is not of this cluster, or is damaged, and begins it anew.
    async fn set_log_aside(&self) {
        match self.store(self.log.set_aside()).await {
            Ok(copy) => {
                log::error!(
                    "replica {} held orders that are not in the journal; a copy is kept as {}, and \
                     the log is fetched anew",
                    self.id,
                    copy.display()
                );
                self.decide(|core, _| core.begin_anew());
            }
            Err(error) => log::error!("replica {} cannot begin anew: {error}", self.id),
        }
    }
}
