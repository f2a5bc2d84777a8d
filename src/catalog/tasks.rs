//! The task that writes: everything that changes anything in the catalog, one after the other.
//!
//! It takes each change through its [steps](super::core::steps), and has the disk and the
//! front-ends do what the steps need.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::core::steps::{BatchReply, GRACE, LockedToys, ReceivedBatch, Restock};
use super::core::stock::Change;
use super::core::{Core, WriteOutcome};
use super::remote::Remote;
use super::service::{CatalogError, Job, Service};
use crate::clock;
use crate::failpoint;
use crate::wire::purchase::{CommitReply, CommitRequest};
use crate::wire::replication::{Acquisition, AcquisitionReply};

/// How often locks that no batch asks for any more are given up.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

impl Service {
    /// The writing task: everything that changes anything, in turn.
    pub(super) async fn write(
        self: Arc<Self>,
        mut jobs: mpsc::Receiver<Job>,
        remote: Remote,
        restock_interval: Duration,
    ) {
        let mut restock_at = clock::now() + restock_interval;
        let mut tidying = actix_web::rt::time::interval(TIDY_INTERVAL);
        loop {
            tokio::select! {
                _ = tidying.tick() => {
                    self.decide(Core::give_up_locks);
                }
                job = jobs.recv() => match job {
                    Some(Job::Commit(request, answer)) => {
                        // Whoever does not wait any more will ask again with the same keys.
                        let _unheard = answer.send(self.write_batch(&remote, request).await);
                    }
                    Some(Job::Acquire(request, answer)) => {
                        let _unheard = answer.send(self.write_leadership(&remote, request).await);
                    }
                    None => return,
                },
                () = actix_web::rt::time::sleep_until(restock_at.into()) => {
                    let next = self.restock(&remote).await.unwrap_or(restock_interval);
                    restock_at = clock::now() + next;
                }
            }
        }
    }

    async fn write_batch(
        self: &Arc<Self>,
        remote: &Remote,
        request: CommitRequest,
    ) -> Result<CommitReply, CatalogError> {
        for purchase in &request.purchases {
            if let Some(id) = &purchase.request_id {
                log::debug!("request {id} buys {} {}", purchase.quantity, purchase.name);
            }
        }
        let batch = ReceivedBatch::new(request);
        let recorded = self.store(self.journal.recorded(batch.keys())).await?;
        let locked = match self.decide(|core, now| batch.lock(core, recorded, now)) {
            Ok(locked) => locked,
            Err(leadership) => return Ok(CommitReply::Deposed(leadership)),
        };
        self.clear(remote, locked.locked_toys()).await;
        let planned = match self.decide(|core, now| locked.plan(core, now)) {
            Ok(planned) => planned,
            Err(leadership) => return Ok(CommitReply::Deposed(leadership)),
        };
        let outcome = self.make_durable(planned.change()).await;
        let stored = outcome.as_ref().map_or_else(CatalogError::stored, |()| WriteOutcome::Durable);
        let sold = self.decide(|core, _| planned.publish(core, stored));
        let Some(sold) = sold else { return Err(outcome.err().unwrap_or(CatalogError::Ending)) };
        if !sold.orders().is_empty() {
            failpoint::pass(failpoint::CATALOG_PUBLISHED);
        }
        match sold.reply() {
            BatchReply::Ready(reply) => Ok(reply),
            BatchReply::NeedsRows { from, verdicts } => {
                Ok(CommitReply::Decided { verdicts, rows: self.rows(from).await? })
            }
        }
    }

    /// Restocks what is sold out. Returns when to come again if some of it had to wait.
    async fn restock(self: &Arc<Self>, remote: &Remote) -> Option<Duration> {
        let restock = self.decide(Restock::lock)?;
        self.clear(remote, restock.locked_toys()).await;
        let (change, again) = self.decide(|core, now| restock.plan(core, now));
        let names: Vec<&str> = change.shelves.iter().map(|s| s.toy.name.as_str()).collect();
        let restocked = names.join(", ");
        let outcome = self.make_durable(&change).await;
        let stored = outcome.as_ref().map_or_else(CatalogError::stored, |()| WriteOutcome::Durable);
        self.decide(|core, _| core.publish(&change, stored));
        if !change.is_empty() {
            failpoint::pass(failpoint::CATALOG_PUBLISHED);
        }
        match outcome {
            Ok(()) if restocked.is_empty() => {}
            Ok(()) => log::info!("restocked {restocked}"),
            Err(error) => log::warn!("could not restock {restocked}: {error}"),
        }
        again
    }

    async fn write_leadership(
        &self,
        remote: &Remote,
        request: Acquisition,
    ) -> Result<AcquisitionReply, CatalogError> {
        let is_unled = self.decide(|core, _| core.is_unled());
        let longest = if is_unled { remote.longest_log().await } else { None };
        let prefix = self.store(self.journal.rows(request.log.length, 0)).await?;
        let prefix = prefix.map(|rows| rows.after);
        let length = longest.map(|(_, length)| length);
        let reply = self.decide(|core, _| core.acquire(&request, prefix, length));
        match reply {
            AcquisitionReply::Won { leadership, .. } => {
                self.store(self.journal.set_leadership(leadership)).await?;
                failpoint::pass(failpoint::CATALOG_ACQUIRED);
                self.decide(|core, _| core.adopt_leadership(leadership));
                log::info!("{leadership}");
            }
            AcquisitionReply::Foreign { journal } => {
                if let Some((replica, length)) = longest.filter(|(_, len)| *len > journal.length) {
                    log::error!(
                        "replica {replica} holds {length} orders that are not in the journal; \
                         nobody can lead. Was the catalog's database removed? `toystore rebuild \
                         --help`"
                    );
                }
            }
            AcquisitionReply::Lost(_) => {}
        }
        Ok(reply)
    }

    /// Has the holders of locked toys drop them; returns when all are clear, or after [`GRACE`].
    /// Those that are not clear by then stay locked, and are told on.
    async fn clear(self: &Arc<Self>, remote: &Remote, clearing: &LockedToys) {
        for session in &clearing.unacknowledged {
            remote.push(self, *session);
        }
        let cleared = async {
            while self.decide(|core, now| core.is_worth_waiting(&clearing.toys, now)) {
                self.acknowledged.notified().await;
            }
        };
        if actix_web::rt::time::timeout(GRACE, cleared).await.is_err() {
            self.decide(|core, now| core.mark_slow(&clearing.toys, now));
        }
    }

    async fn make_durable(&self, change: &Change) -> Result<(), CatalogError> {
        if change.is_empty() {
            return Ok(());
        }
        failpoint::pass(failpoint::CATALOG_BEFORE_COMMIT);
        let stored = self.store(self.journal.commit(change.clone())).await;
        failpoint::pass(failpoint::CATALOG_COMMITTED);
        stored
    }
}
