//! The task that writes: everything that changes anything in the catalog, one after the other.
//!
//! A batch: look its keys up, plan, clear the toys that would change, plan again with those that
//! are clear, make it durable, publish, answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::remote::Remote;
use super::service::{Job, Service, Trouble};
use super::sessions::Sessions;
use super::stock::Change;
use crate::clock;
use crate::failpoint;
use crate::wire::lease::Version;
use crate::wire::order::Rows;
use crate::wire::purchase::{CommitReply, CommitRequest};
use crate::wire::replication::{Acquisition, AcquisitionReply, Leadership};
use crate::wire::toy::ToyName;

/// How long a batch waits for front-ends to acknowledge. They take well under a millisecond; after
/// this, the purchases of what they hold wait on their own, and the rest of the batch goes on.
const GRACE: Duration = Duration::from_millis(20);
/// How often locks that no batch asks for any more are given up.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);
/// How soon a restock that had to wait for a front-end is tried again.
const RESTOCK_RETRY: Duration = Duration::from_millis(50);

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
                    self.decide(|cores, now| cores.sessions.give_up_locks(now));
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
    ) -> Result<CommitReply, Trouble> {
        for purchase in &request.purchases {
            if let Some(id) = &purchase.request_id {
                log::debug!("request {id} buys {} {}", purchase.quantity, purchase.name);
            }
        }
        let keys = request.purchases.iter().map(|purchase| purchase.key.clone()).collect();
        let recorded = self.store(self.journal.recorded(keys)).await?;
        let plan = |is_clear: &dyn Fn(&Sessions, &ToyName, Instant) -> bool| {
            self.decide(|cores, now| {
                let is_clear = |toy: &ToyName| is_clear(&cores.sessions, toy, now);
                cores.stock.plan_batch(&self.directory, &request, &recorded, is_clear)
            })
        };
        let wish = match plan(&|_, _, _| true) {
            Ok(wish) => wish.change.touched(),
            Err(leadership) => return Ok(CommitReply::Deposed(leadership)),
        };
        self.clear(remote, &wish).await;
        let plan = match plan(&Sessions::is_clear) {
            Ok(plan) => plan,
            Err(leadership) => return Ok(CommitReply::Deposed(leadership)),
        };
        let verdicts = plan.verdicts;
        let (after, orders) = (plan.change.after, plan.change.orders.clone());
        self.make_durable_and_publish(plan.change).await?;
        let rows = if request.log == after {
            Rows { after, orders }
        } else {
            self.rows(request.log.length).await?
        };
        Ok(CommitReply::Decided { verdicts, rows })
    }

    /// Restocks what is sold out. Returns when to come again if some of it had to wait.
    async fn restock(self: &Arc<Self>, remote: &Remote) -> Option<Duration> {
        let wish = self.decide(|cores, _| cores.stock.plan_restock(|_| true).touched());
        if wish.is_empty() {
            return None;
        }
        self.clear(remote, &wish).await;
        let change = self
            .decide(|cores, now| cores.stock.plan_restock(|toy| cores.sessions.is_clear(toy, now)));
        let names: Vec<&str> = change.shelves.iter().map(|s| s.toy.name.as_str()).collect();
        let restocked = names.join(", ");
        let complete = change.shelves.len() == wish.len();
        match self.make_durable_and_publish(change).await {
            Ok(()) if restocked.is_empty() => {}
            Ok(()) => log::info!("restocked {restocked}"),
            Err(trouble) => log::warn!("could not restock {restocked}: {trouble}"),
        }
        (!complete).then_some(RESTOCK_RETRY)
    }

    async fn write_leadership(
        &self,
        remote: &Remote,
        request: Acquisition,
    ) -> Result<AcquisitionReply, Trouble> {
        if self.standing().leadership == Leadership::default()
            && let Some((replica, length)) = remote.longest_log().await
            && length > self.standing().journal.length
        {
            // The first leader of a new journal. Replicas that were down when the catalog started
            // may hold orders of an earlier one.
            log::error!(
                "replica {replica} holds {length} orders that are not in the journal; nobody can \
                 lead. Was the catalog's database removed? `toystore rebuild --help`"
            );
            return Ok(AcquisitionReply::Foreign { journal: self.standing().journal });
        }
        let prefix = self.store(self.journal.rows(request.log.length, 0)).await?;
        let prefix = prefix.map(|rows| rows.after);
        let reply = self.decide(|cores, _| cores.stock.plan_acquisition(&request, prefix));
        if let AcquisitionReply::Won { leadership, .. } = reply {
            self.store(self.journal.set_leadership(leadership)).await?;
            failpoint::pass(failpoint::CATALOG_ACQUIRED);
            self.decide(|cores, _| cores.stock.adopt_leadership(leadership));
            log::info!("{leadership}");
        }
        Ok(reply)
    }

    /// Locks toys and has their holders drop them; returns when all are clear, or after
    /// [`GRACE`]. Those that are not clear by then stay locked, and are told on.
    async fn clear(self: &Arc<Self>, remote: &Remote, toys: &[(ToyName, Version)]) {
        let debtors = self.decide(|cores, now| {
            cores.sessions.lock(toys, now);
            cores.sessions.debtors(toys, now)
        });
        for session in debtors {
            remote.push(self, session);
        }
        let cleared = async {
            while self.decide(|cores, now| cores.sessions.is_worth_waiting(toys, now)) {
                self.acknowledged.notified().await;
            }
        };
        if actix_web::rt::time::timeout(GRACE, cleared).await.is_err() {
            self.decide(|cores, now| cores.sessions.mark_late(toys, now));
        }
    }

    async fn make_durable_and_publish(&self, change: Change) -> Result<(), Trouble> {
        if change.is_empty() {
            return Ok(());
        }
        let touched = change.touched();
        failpoint::pass(failpoint::CATALOG_BEFORE_COMMIT);
        let stored = self.store(self.journal.commit(change.clone())).await;
        failpoint::pass(failpoint::CATALOG_COMMITTED);
        self.decide(|cores, _| {
            match &stored {
                Ok(()) => cores.stock.apply(&self.directory, &change),
                // Whether it is on disk is unknown, and the catalog is ending. Until it has ended
                // nobody may cache what might be old by then.
                Err(Trouble::Ending) => return,
                Err(_unchanged) => {}
            }
            cores.sessions.unlock(&touched);
        });
        failpoint::pass(failpoint::CATALOG_PUBLISHED);
        stored
    }
}
