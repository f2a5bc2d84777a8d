//! What the catalog does on its own time: writing, invalidating, restocking, cleaning up.
//!
//! # The idea
//!
//! One task writes. It takes each change through its [steps](super::core::steps) before it begins
//! the next, so that a plan is still true when it is committed:
//!
//! ```text
//! batch ─► known keys? ──► lock toys ─► wait for holders ─► plan ─► commit ─► publish ─► answer
//! restock ───────────────► lock toys ─► wait for holders ─► plan ─► commit ─► publish
//! ```

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::core::steps::{BatchReply, GRACE, LockedToys, ReceivedBatch, Restock};
use super::core::stock::Change;
use super::core::{Core, WriteOutcome};
use super::errors::CatalogError;
use super::remote::Remote;
use super::service::{Job, Service};
use crate::events::Traces;
use crate::failpoint;
use crate::runtime::Pauses;
use crate::server::log_level;
use crate::shutdown::Shutdown;
use crate::wire::calls::Call as _;
use crate::wire::event::EventKind;
use crate::wire::lease::{Invalidation, SessionId};
use crate::wire::purchase::{CommitReply, CommitRequest, Purchase};
use crate::wire::replication::{Acquisition, AcquisitionReply};
use crate::wire::trace::RequestOrigin;

/// How many toys of a restock are named to pages, which read many such texts at once.
const MOST_NAMED: usize = 8;
/// How often locks that no batch asks for any more are given up.
const UNLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// How often sessions that have run out are forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// How often the database is asked whether it responds.
const SELF_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait before an invalidation that failed is sent again.
const INVALIDATION_BACKOFF: Duration = Duration::from_millis(20);

/// The writing task's view of the front-ends: at most one invalidation is in flight to each
/// session, however many purchases wait for it; what gathers meanwhile goes with the next.
pub(super) struct Holders {
    pub(super) remote: Remote,
    invalidating: RefCell<BTreeSet<SessionId>>,
    /// The clients' requests in the batch that is under way.
    origins: RefCell<Vec<RequestOrigin>>,
}

/// Starts the catalog's tasks, which end with `shutdown`.
pub fn start(
    service: &Arc<Service>,
    jobs: mpsc::Receiver<Job>,
    remote: Remote,
    restock_interval: Duration,
    shutdown: &Shutdown,
) {
    let holders =
        Rc::new(Holders { remote, invalidating: RefCell::default(), origins: RefCell::default() });
    shutdown.spawn(
        "the check of suspicions",
        Arc::clone(service).check_suspicions(Rc::clone(&holders)),
    );
    shutdown.spawn("the writing task", Arc::clone(service).write(jobs, holders, restock_interval));
    shutdown.spawn("the sweep of sessions", Arc::clone(service).sweep());
    shutdown.spawn("the self-check", Arc::clone(service).check_database());
}

impl Service {
    /// Makes all changes, one after the other, until no more can come.
    async fn write(
        self: Arc<Self>,
        mut jobs: mpsc::Receiver<Job>,
        holders: Rc<Holders>,
        restock_interval: Duration,
    ) {
        let mut restock_at = self.runtime.now() + restock_interval;
        let mut unlock_at = self.runtime.now() + UNLOCK_INTERVAL;
        // One for all jobs until it is due: tokio would wake this thread up for each new one.
        let mut timer = pin!(self.runtime.sleep_until(restock_at.min(unlock_at)));
        loop {
            *self.restock_at.lock().expect("nothing panics under this lock") = Some(restock_at);
            tokio::select! {
                // Timers first: jobs may come without end.
                biased;
                () = &mut timer => {
                    let now = self.runtime.now();
                    if now >= unlock_at {
                        self.decide(Core::give_up_locks);
                        unlock_at = now + UNLOCK_INTERVAL;
                    }
                    if now >= restock_at {
                        let next = self.restock(&holders).await.unwrap_or(restock_interval);
                        restock_at = self.runtime.now() + next;
                    }
                    timer.set(self.runtime.sleep_until(restock_at.min(unlock_at)));
                }
                job = jobs.recv() => match job {
                    // A leader that gave up will retry with the same keys.
                    Some(Job::Commit(request, answer)) => {
                        let mut fsync = Duration::ZERO;
                        let reply = self.write_batch(&holders, request, &mut fsync).await;
                        let _gave_up = answer.send(reply.map(|reply| (reply, fsync)));
                    }
                    Some(Job::Acquire(request, answer)) => {
                        let _gave_up = answer.send(self.write_leadership(request).await);
                    }
                    None => return,
                },
            }
        }
    }

    async fn write_batch(
        self: &Arc<Self>,
        holders: &Rc<Holders>,
        request: CommitRequest,
        fsync: &mut Duration,
    ) -> Result<CommitReply, CatalogError> {
        let known = |purchase: &&Purchase| !purchase.origin.is_unknown();
        for Purchase { origin, quantity, name, .. } in request.purchases.iter().filter(known) {
            log::log!(log_level(origin), "{origin} buys {quantity} {}", name.quoted());
        }
        let origins = request.purchases.iter().filter(known).map(|one| one.origin.clone());
        holders.origins.replace(origins.collect());
        // Only the leader's log counts: anyone may name another one.
        let led = self.rule(|ruling, _| ruling.led_by(request.leader, request.epoch))?;
        if let Err(leadership) = led {
            return Ok(CommitReply::Deposed(leadership));
        }
        // The plan's own line of defence: nothing is written for a leader whose log contradicts the
        // journal.
        self.hear(request.leader, request.log).await?;
        self.decide(|core, _| core.may_sell()).map_err(CatalogError::Stopped)?;
        let (events, traces) = (self.identity.recorder(), Traces::of(request.traces()));
        let batch = ReceivedBatch::new(request);
        let recorded = self.store(self.storage.recorded(batch.keys())).await?;
        let locked = match self.decide(|core, now| batch.lock(core, recorded, now)) {
            Ok(locked) => locked,
            Err(leadership) => return Ok(CommitReply::Deposed(leadership)),
        };
        let began = self.runtime.now();
        self.clear(holders, locked.locked_toys()).await;
        if !locked.locked_toys().unacknowledged.is_empty() {
            events.did("caches.cleared", &traces, Some(began), String::new);
        }
        let planned = match self.decide(|core, now| locked.plan(core, now)) {
            Ok(planned) => planned,
            Err(leadership) => return Ok(CommitReply::Deposed(leadership)),
        };
        let began = self.runtime.now();
        let outcome = self.make_durable(planned.change()).await;
        *fsync = self.runtime.now() - began;
        if !planned.change().is_empty() {
            let text = || match &outcome {
                Ok(()) => planned.change().in_words(),
                Err(error) => error.to_string(),
            };
            events.did("commit", &traces, Some(began), text);
        }
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

    /// Restocks what is sold out. Returns how soon to come again if some of it had to wait.
    async fn restock(self: &Arc<Self>, holders: &Rc<Holders>) -> Option<Duration> {
        if !self.decide(|core, _| core.takes_writes()) {
            return None;
        }
        let restock = self.decide(Restock::lock)?;
        holders.origins.take();
        self.clear(holders, restock.locked_toys()).await;
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
            Ok(()) => {
                let recorder = self.identity.recorder();
                recorder.change(EventKind::Local, "restock.commit", || {
                    match names.len().saturating_sub(MOST_NAMED) {
                        0 => format!("restocked {restocked}"),
                        more => {
                            format!("restocked {} and {more} more", names[..MOST_NAMED].join(", "))
                        }
                    }
                });
                self.metrics.restocks.inc();
                log::info!("restocked {restocked}");
            }
            Err(error) => log::warn!("could not restock {restocked}: {error}"),
        }
        if again.is_some() {
            log::debug!("a restock waits for front-ends");
        }
        again
    }

    async fn write_leadership(
        &self,
        request: Acquisition,
    ) -> Result<AcquisitionReply, CatalogError> {
        self.hear(request.nominee, request.log).await?;
        let prefix = self.store(self.storage.rows(request.log.length, 0)).await?;
        let prefix = prefix.map(|rows| rows.after);
        let reply = self.rule(|ruling, _| ruling.acquire(&request, prefix))?;
        let is_won = matches!(reply, AcquisitionReply::Won { .. });
        self.metrics.acquisitions[usize::from(!is_won)].inc();
        if let AcquisitionReply::Won { leadership, .. } = reply {
            self.store(self.storage.set_leadership(leadership)).await?;
            failpoint::pass(failpoint::CATALOG_ACQUIRED);
            self.decide(|core, _| core.adopt_leadership(leadership));
            let recorder = self.identity.recorder();
            recorder.change(EventKind::Local, "leadership.commit", || {
                format!("recorded that {leadership}")
            });
            log::info!("{leadership}");
        }
        Ok(reply)
    }

    /// Has the holders of locked toys drop them. Returns when all toys are clear, or after
    /// [`GRACE`]; toys that are not clear by then stay locked, and their holders are told on.
    async fn clear(self: &Arc<Self>, holders: &Rc<Holders>, toys: &LockedToys) {
        if toys.unacknowledged.is_empty() {
            return;
        }
        for session in &toys.unacknowledged {
            self.invalidate(holders, *session);
        }
        let began = self.runtime.now();
        let cleared = async {
            while self.decide(|core, now| core.is_worth_waiting(&toys.toys, now)) {
                self.acknowledged.notified().await;
            }
        };
        if self.runtime.timeout(GRACE, cleared).await.is_err() {
            log::debug!("a front-end is slow to acknowledge an invalidation");
            self.decide(|core, now| core.mark_slow(&toys.toys, now));
            self.metrics.slow_invalidations.inc();
        }
        let waited = self.runtime.now() - began;
        self.metrics.invalidation_seconds.observe(waited.as_secs_f64());
    }

    /// Goes on telling `session` to drop what it has not acknowledged, until it has, or has ended.
    fn invalidate(self: &Arc<Self>, holders: &Rc<Holders>, session: SessionId) {
        if !holders.invalidating.borrow_mut().insert(session) {
            return;
        }
        let (service, holders) = (Arc::clone(self), Rc::clone(holders));
        self.runtime.spawn(Box::pin(async move {
            while let Some(push) = service.push_for(session) {
                let origins = holders.origins.borrow().clone();
                let invalidation = Invalidation { session, toys: push.toys, origins };
                match holders.remote.invalidate(push.frontend, &invalidation).await {
                    Some(Ok(())) => {
                        service.metrics.invalidations[0].inc();
                        service.acknowledged(session, &invalidation.toys);
                    }
                    Some(Err(error)) => {
                        service.metrics.invalidations[1].inc();
                        log::debug!("session {session} did not take an invalidation: {error}");
                        service.runtime.sleep(INVALIDATION_BACKOFF).await;
                    }
                    None => break,
                }
            }
            holders.invalidating.borrow_mut().remove(&session);
        }));
    }

    async fn make_durable(&self, change: &Change) -> Result<(), CatalogError> {
        if change.is_empty() {
            return Ok(());
        }
        failpoint::pass(failpoint::CATALOG_BEFORE_COMMIT);
        let began = self.runtime.now();
        let stored = self.store(self.storage.commit(change.clone())).await;
        let took = self.runtime.now() - began;
        self.metrics.write_seconds.observe(took.as_secs_f64());
        if stored.is_ok() {
            self.decide(|core, _| core.lease().acknowledged(began));
        }
        failpoint::pass(failpoint::CATALOG_COMMITTED);
        stored
    }

    /// Forgets the sessions that have run out, for ever.
    async fn sweep(self: Arc<Self>) {
        let pauses = Pauses::new(&*self.runtime, SWEEP_INTERVAL);
        loop {
            self.runtime.rest(pauses.rest(self.runtime.now())).await;
            let ended = self.decide(Core::sweep);
            if ended.is_empty() {
                continue;
            }
            for session in ended.iter().filter(|session| **session != SessionId::FORGOTTEN) {
                log::info!("session {session} has ended");
            }
            if let Err(error) = self.store(self.storage.note_sessions(None, ended)).await {
                log::warn!("cannot delete ended sessions; the next start deletes them: {error}");
            }
        }
    }

    /// Checks whether the database responds and has room, for ever. Once it has refused a write,
    /// nothing is sold, so only a write of this check's own can tell that it takes them again.
    async fn check_database(self: Arc<Self>) {
        let pauses = Pauses::new(&*self.runtime, SELF_CHECK_INTERVAL);
        loop {
            let asked = self.runtime.now();
            match self.store(self.storage.pulse()).await {
                Ok(()) if self.decide(|core, _| core.takes_writes()) => {
                    self.decide(|core, _| core.write_completed(asked));
                    self.say_writes_are_taken();
                }
                Ok(()) => {
                    if self.store(self.storage.try_write()).await.is_ok() {
                        self.decide(|core, _| core.write_taken(asked));
                        self.say_writes_are_taken();
                    }
                }
                Err(_said) => {}
            }
            self.runtime.rest(pauses.rest(self.runtime.now())).await;
        }
    }
}
