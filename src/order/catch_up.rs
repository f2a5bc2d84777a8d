//! Fetching what was missed: from the other replicas, and what they lack from the journal.
//!
//! There is no special mode for it. Rows that are fetched go through the same
//! [`take`](super::service::Service::take) as those that the leader sends, in whatever order both
//! arrive; a replica that is fetching also follows.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::remote::Remote;
use super::replica::may_go_on;
use super::service::{NotTaken, Service};
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
        let start = self.decide(|cores, _| cores.replica.durable().length);
        loop {
            let (is_new, is_behind) = self.decide(|cores, _| {
                // A chosen leader fetches what it misses itself, before it sells.
                let idle = cores.replica.is_chosen();
                (cores.replica.is_new() && !idle, cores.replica.is_behind() && !idle)
            });
            if is_new || is_behind {
                let complete = self.fetch(&remote).await;
                let length = self.decide(|cores, _| cores.replica.durable().length);
                if complete && is_new {
                    self.decide(|cores, _| cores.replica.caught_up());
                    log::info!(
                        "replica {} had {start} orders and is in step with {length}",
                        self.id
                    );
                }
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
        match self.fetch_from(async |from| remote.journal(from).await).await {
            Fetched::Everything => {
                self.decide(|cores, _| cores.replica.has_everything());
                true
            }
            Fetched::Something => false,
            Fetched::Foreign => {
                self.set_log_aside().await;
                false
            }
        }
    }

    /// Fetches rows from one source until it has no more.
    async fn fetch_from(&self, ask: impl AsyncFn(u64) -> Result<Rows, CallError>) -> Fetched {
        loop {
            let from = self.decide(|cores, _| cores.replica.accepted().length);
            let Ok(rows) = ask(from).await else { return Fetched::Something };
            let taken = self.take(&rows).await;
            failpoint::pass(failpoint::CATCHING_UP);
            match taken {
                Ok(()) if !may_go_on(&rows) => return Fetched::Everything,
                // There is more: ask from the log's end now.
                Ok(()) => {}
                // Somebody else's rows came between, or were not written.
                Err(NotTaken::Gap(_)) => actix_web::rt::time::sleep(GAP_PAUSE).await,
                Err(NotTaken::Diverged) => return Fetched::Foreign,
                Err(NotTaken::Storage(trouble)) => {
                    log::error!("replica {} cannot catch up: {trouble}", self.id);
                    return Fetched::Something;
                }
            }
        }
    }
}

/// What was fetched from one source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fetched {
    /// All that it has.
    Everything,
    /// It stopped answering, or what it answered could not be kept.
    Something,
    /// It holds other orders than this replica.
    Foreign,
}
