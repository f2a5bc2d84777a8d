//! What a leader does in its own time: sell, pass orders on, drop followers that are too slow.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::remote::Remote;
use super::service::{NotTaken, Service, Waiter, answer};
use crate::clock;
use crate::failpoint;
use crate::transport::CallError;
use crate::wire::order::Rows;
use crate::wire::purchase::{CommitReply, CommitRequest, Decision, Verdict};
use crate::wire::replication::{AppendReply, AppendRequest, Epoch, ReplicaId};

/// How long to wait before a batch whose answer was lost is asked again.
const DOUBT_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait before a nominee tries again to fetch what it misses.
const ACTIVATION_PAUSE: Duration = Duration::from_millis(50);
/// How often an idle leader shows its followers that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_millis(250);
/// How long to wait before a follower that did not answer is tried again.
const ABSENCE_PAUSE: Duration = Duration::from_millis(100);
/// How often followers are looked at for their slowness.
const PATIENCE_TICK: Duration = Duration::from_millis(50);

/// What the selling task finds to do.
enum Task {
    /// It does not lead.
    Nothing,
    /// It is to lead and must fetch what it misses first.
    Activate,
    /// Rows of the journal are missing, because an answer with them was lost or was full.
    Fetch,
    /// A batch for the catalog.
    Sell(Epoch, CommitRequest),
}

impl Service {
    /// Sells, for ever, whenever this replica leads.
    pub(super) async fn sell(self: Arc<Self>, remote: Rc<Remote>) {
        loop {
            match self.next_task() {
                Task::Nothing => self.await_work().await,
                Task::Activate => self.activate(&remote).await,
                Task::Fetch => {
                    if !self.fetch_journal(&remote).await {
                        actix_web::rt::time::sleep(ACTIVATION_PAUSE).await;
                    }
                }
                Task::Sell(epoch, request) => self.sell_batch(&remote, epoch, request).await,
            }
        }
    }

    fn next_task(&self) -> Task {
        self.decide(|cores, now| {
            let Some(epoch) = cores.replica.leads() else {
                return if cores.replica.is_chosen() { Task::Activate } else { Task::Nothing };
            };
            if cores.replica.is_behind() {
                return Task::Fetch;
            }
            let purchases = cores.queue.next_batch(now, Waiter::is_closed);
            if purchases.is_empty() {
                return Task::Nothing;
            }
            let log = cores.replica.accepted();
            Task::Sell(epoch, CommitRequest { leader: self.id, epoch, log, purchases })
        })
    }

    /// Waits for something to do, at most until a purchase that rests may go.
    async fn await_work(&self) {
        let rests_until = self.decide(|cores, _| cores.queue.rests_until());
        match rests_until {
            None => self.work.notified().await,
            Some(time) => tokio::select! {
                () = self.work.notified() => {}
                () = actix_web::rt::time::sleep_until(time.into()) => {}
            },
        }
    }

    /// Fetches what this replica misses and begins to sell.
    async fn activate(&self, remote: &Remote) {
        let leads = self.decide(|cores, _| cores.replica.try_to_lead(remote.others()));
        if leads {
            let leadership = self.decide(|cores, _| cores.replica.leadership());
            log::info!("{leadership}: this replica sells from now on");
            self.grown.send_replace(());
            return;
        }
        // The journal has everything, and the catalog has just been reached. The peers are asked if
        // it cannot be reached any more: one of them may be the leader that hangs.
        if !self.fetch_journal(remote).await {
            self.fetch(remote).await;
        }
        let ready = self.decide(|cores, _| !cores.replica.is_behind());
        if !ready {
            actix_web::rt::time::sleep(ACTIVATION_PAUSE).await;
        }
    }

    async fn sell_batch(self: &Arc<Self>, remote: &Remote, epoch: Epoch, request: CommitRequest) {
        let asked = clock::now();
        let reply = remote.commit(&request).await;
        if reply.is_ok() {
            self.decide(|cores, _| cores.replica.catalog_answered(asked));
        }
        match reply {
            Ok(CommitReply::Decided { verdicts, rows }) => self.settle(epoch, &verdicts, rows),
            Ok(CommitReply::Deposed(leadership)) => self.deposed(epoch, leadership),
            Err(CallError::Refused { status, message }) if (400..500).contains(&status) => {
                // Asking the same again would bring the same answer. Nothing was decided.
                log::error!("the catalog refuses a batch: {status} {message}");
                self.decide(|cores, _| cores.queue.give_up());
            }
            Err(error) => self.doubt(&error).await,
        }
    }

    /// Answers refusals at once, and orders when they are on disk here and at the live followers;
    /// meanwhile the next batch goes.
    fn settle(self: &Arc<Self>, epoch: Epoch, verdicts: &[Verdict], rows: Rows) {
        failpoint::pass(failpoint::LEADER_SOLD);
        let answers = self.decide(|cores, now| {
            if cores.replica.leads() != Some(epoch) {
                // Deposed meanwhile: whoever waited has been sent to the next leader.
                return None;
            }
            for verdict in verdicts {
                if let Verdict::Decided(Decision::Granted(number)) = verdict {
                    cores.replica.heard_of(number.0 + 1);
                }
            }
            Some(cores.queue.decided(verdicts, now))
        });
        let Some(answers) = answers else { return };
        answer(answers);
        let service = Arc::clone(self);
        // The rows are accepted and queued for the disk when `take` is first polled; that must
        // happen before the next batch is asked from the log's new end.
        let mut taking = Box::pin(async move { service.take(&rows).await });
        let id = self.id;
        match futures_util::FutureExt::now_or_never(&mut taking) {
            Some(taken) => report(id, taken),
            None => drop(actix_web::rt::spawn(async move { report(id, taking.await) })),
        }
    }

    async fn doubt(&self, error: &CallError) {
        log::warn!("a batch is in doubt and will be asked again: the catalog: {error}");
        self.decide(|cores, _| cores.queue.in_doubt());
        actix_web::rt::time::sleep(DOUBT_PAUSE).await;
    }

    /// Passes orders on to one follower, for ever, whenever this replica leads.
    pub(super) async fn pass_on(self: Arc<Self>, remote: Rc<Remote>, follower: ReplicaId) {
        let mut grown = self.grown.subscribe();
        loop {
            grown.mark_unchanged();
            if !self.decide(|cores, _| cores.replica.has_rows_for(follower)) {
                let news = actix_web::rt::time::timeout(SIGN_OF_LIFE, grown.changed());
                // Whether news came or it is time for a sign of life: look again.
                let _either = news.await;
            }
            if let Some(cursor) = self.decide(|cores, _| cores.replica.cursor_of(follower)) {
                self.pass_on_from(&remote, follower, cursor).await;
            }
        }
    }

    async fn pass_on_from(&self, remote: &Remote, follower: ReplicaId, cursor: u64) {
        let Ok(rows) = self.rows_for_follower(cursor).await else { return };
        let request = self.decide(|cores, now| {
            // Also for a sign of life: of a follower that hangs over one, the next purchase is not
            // to hear later than over a row.
            cores.replica.follower_owes(follower, now);
            let leadership = cores.replica.leadership();
            let leader_length = cores.replica.accepted().length;
            let request_ids = cores.queue.request_ids(rows.after.length..rows.end_length());
            let request = AppendRequest { leadership, rows, leader_length, request_ids };
            cores.replica.leads().map(|_| request)
        });
        let Some(request) = request else { return };
        match remote.append(follower, &request).await {
            Ok(AppendReply::Synced { length }) => {
                self.decide(|cores, now| cores.replica.follower_has(follower, length, now));
                self.release();
            }
            Ok(AppendReply::Gap { length }) => {
                self.decide(|cores, _| cores.replica.follower_lacks(follower, length));
                self.release();
            }
            Ok(AppendReply::Stale(leadership)) => self.learn(leadership),
            Ok(AppendReply::Diverged) => {
                log::error!("replica {follower}'s log is not a prefix of the journal");
                self.lose(follower).await;
            }
            Err(error) => {
                log::debug!("replica {follower} did not take orders: {error}");
                self.lose(follower).await;
            }
        }
    }

    async fn lose(&self, follower: ReplicaId) {
        if self.decide(|cores, _| cores.replica.follower_lost(follower)) {
            log::warn!("replica {follower} does not follow; nobody waits for it until it is back");
            self.release();
        }
        actix_web::rt::time::sleep(ABSENCE_PAUSE).await;
    }

    /// Takes followers that are too slow out of the live set, for ever.
    pub(super) async fn keep_patience(self: Arc<Self>) {
        loop {
            actix_web::rt::time::sleep(PATIENCE_TICK).await;
            let dropped = self.decide(|cores, now| cores.replica.drop_slow_followers(now));
            for follower in &dropped {
                log::warn!("replica {follower} is slow; nobody waits for it until it is back");
            }
            if !dropped.is_empty() {
                self.release();
            }
        }
    }
}

/// A leader whose rows were not taken finds itself behind the journal and fetches them.
fn report(id: ReplicaId, taken: Result<(), NotTaken>) {
    match taken {
        Ok(()) => {}
        Err(NotTaken::Gap(length)) => {
            log::warn!("replica {id} has {length} orders and misses some; it will fetch them");
        }
        Err(NotTaken::Diverged) => {
            log::error!("replica {id}'s log is no prefix of the journal; it will be fetched anew");
        }
        Err(NotTaken::Storage(trouble)) => {
            log::error!("replica {id} could not write its log: {trouble}");
        }
    }
}
