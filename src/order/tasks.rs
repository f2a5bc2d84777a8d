//! The tasks of a leader: one that sells, one per follower that passes orders on, one that looks
//! for followers that are too slow.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::core::batches::{BatchOutcome, DOUBT_PAUSE, FETCH_PAUSE, Task};
use super::core::followers::{ABSENCE_PAUSE, HEARTBEAT_INTERVAL, NextAppend};
use super::remote::Remote;
use super::service::{Service, Waiter};
use crate::clock;
use crate::failpoint;
use crate::transport::CallError;
use crate::wire::purchase::{CommitReply, CommitRequest};
use crate::wire::replication::{Epoch, ReplicaId};

/// How often followers are looked at for their slowness.
const FOLLOWER_CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl Service {
    /// Sells, for ever, whenever this replica leads.
    pub(super) async fn sell(self: Arc<Self>, remote: Rc<Remote>) {
        loop {
            match self.decide(|core, now| core.next_task(now, Waiter::is_closed)) {
                Task::Rest(None) => self.work.notified().await,
                Task::Rest(Some(time)) => tokio::select! {
                    () = self.work.notified() => {}
                    () = actix_web::rt::time::sleep_until(time.into()) => {}
                },
                Task::Activate => self.activate(&remote).await,
                Task::Fetch => {
                    if !self.fetch_journal(&remote).await {
                        actix_web::rt::time::sleep(FETCH_PAUSE).await;
                    }
                }
                Task::Sell(epoch, request) => self.sell_batch(&remote, epoch, request).await,
            }
        }
    }

    /// Fetches what this replica misses and begins to sell.
    async fn activate(&self, remote: &Remote) {
        if self.decide(|core, _| core.try_to_lead()) {
            return;
        }
        // The journal has everything, and the catalog has just been reached. The peers are asked if
        // it cannot be reached any more: one of them may be the leader that hangs.
        if !self.fetch_journal(remote).await {
            self.fetch(remote).await;
        }
        if !self.decide(|core, _| core.try_to_lead()) {
            actix_web::rt::time::sleep(FETCH_PAUSE).await;
        }
    }

    async fn sell_batch(self: &Arc<Self>, remote: &Remote, epoch: Epoch, request: CommitRequest) {
        let asked = clock::now();
        let outcome = match remote.commit(&request).await {
            Ok(reply) => {
                if let CommitReply::Decided { .. } = reply {
                    failpoint::pass(failpoint::LEADER_SOLD);
                }
                BatchOutcome::Answered(reply)
            }
            Err(CallError::Refused { status, message }) if (400..500).contains(&status) => {
                log::error!("the catalog refuses a batch: {status} {message}");
                BatchOutcome::Refused
            }
            Err(error) => {
                log::warn!("a batch is in doubt and will be asked again: the catalog: {error}");
                BatchOutcome::InDoubt
            }
        };
        let pauses = outcome == BatchOutcome::InDoubt;
        let writing = self.decide(|core, now| {
            let write = core.batch_answered(epoch, outcome, asked, now);
            write.map(|write| self.queue_for_disk(write))
        });
        if let Some(writing) = writing {
            // The next batch goes while this one is written here and at the followers.
            let service = Arc::clone(self);
            drop(actix_web::rt::spawn(async move { service.finish(writing).await }));
        }
        if pauses {
            actix_web::rt::time::sleep(DOUBT_PAUSE).await;
        }
    }

    /// Passes orders on to one follower, for ever, whenever this replica leads.
    pub(super) async fn replicate(self: Arc<Self>, remote: Rc<Remote>, follower: ReplicaId) {
        let mut grown = self.grown.subscribe();
        loop {
            grown.mark_unchanged();
            if !self.decide(|core, _| core.has_rows_for(follower)) {
                let news = actix_web::rt::time::timeout(HEARTBEAT_INTERVAL, grown.changed());
                // Whether news came or it is time for a sign of life: look again.
                let _either = news.await;
            }
            if let Some(cursor) = self.decide(|core, _| core.cursor_of(follower)) {
                self.replicate_from(&remote, follower, cursor).await;
            }
        }
    }

    async fn replicate_from(&self, remote: &Remote, follower: ReplicaId, cursor: u64) {
        let Ok(rows) = self.rows_for_follower(cursor).await else { return };
        let request = self.decide(|core, now| core.append_to(follower, rows, now));
        let Some(request) = request else { return };
        let reply = match remote.append(follower, &request).await {
            Ok(reply) => Some(reply),
            Err(error) => {
                log::debug!("replica {follower} did not take orders: {error}");
                None
            }
        };
        let next = self.decide(|core, now| core.append_answered(follower, reply, now));
        if next == NextAppend::AfterPause {
            actix_web::rt::time::sleep(ABSENCE_PAUSE).await;
        }
    }

    /// Takes followers that are too slow out of the live set, for ever.
    pub(super) async fn watch_followers(self: Arc<Self>) {
        loop {
            actix_web::rt::time::sleep(FOLLOWER_CHECK_INTERVAL).await;
            self.decide(Core::drop_slow_followers);
        }
    }
}
