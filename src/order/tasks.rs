//! What a replica does on its own time: selling, replicating, catching up, checking itself.
//!
//! One task sells, and rests unless this replica leads. One task per other replica replicates to
//! it, and one takes slow followers out of the live set; they rest, too. One task catches up: rows
//! that it fetches go through the same `Service::take` as those that the leader sends, in whatever
//! order both arrive, so that catching up is no special mode. One task checks whether this replica
//! could lead. With several catalogs, one task for each asks whether it rules.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::core::batches::{BatchOutcome, DOUBT_PAUSE, FETCH_PAUSE, SellStep};
use super::core::followers::{ABSENCE_PAUSE, HEARTBEAT_INTERVAL, NextAppend};
use super::core::log::Fetched;
use super::remote::Remote;
use super::service::{Service, Waiter};
use crate::events::Traces;
use crate::failpoint;
use crate::runtime::{Pauses, shared_out};
use crate::shutdown::Shutdown;
use crate::storage::StorageError;
use crate::transport::CallError;
use crate::wire::calls::Call as _;
use crate::wire::order::Rows;
use crate::wire::purchase::{CommitReply, CommitRequest};
use crate::wire::replication::{Epoch, ReplicaId};

/// How often followers are checked for acknowledgements that are overdue, while one is awaited.
const FOLLOWER_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// How often they are checked while none is awaited: less than the time that each is given.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait before asking again for rows that did not continue the log.
const GAP_PAUSE: Duration = Duration::from_millis(20);
/// How often a replica checks whether it has fallen behind.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(200);
/// How often the database and the catalog are asked whether they respond.
const SELF_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// The most that these two grow at a follower of several. At a leader they do not grow.
const LONGEST_FOLLOWER_INTERVAL: Duration = Duration::from_secs(1);
/// The pause before a leader asks a silent catalog again. When the catalog comes back, the leader
/// has to be fit before a front-end has seen a follower ready three times, which takes 200 ms.
const SILENCE_PAUSE: Duration = Duration::from_millis(50);
/// The most that the interval of heartbeats grows: a follower that hangs is noticed before the next
/// purchase, if that comes some seconds later.
const LONGEST_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// The shortest time between two questions to the catalog, however many hints there are.
const HINT_PAUSE: Duration = Duration::from_millis(5);

/// Starts a replica's tasks, which end with `shutdown`.
pub fn start(service: &Arc<Service>, remote: &Rc<Remote>, shutdown: &Shutdown) {
    let own = || (Arc::clone(service), Rc::clone(remote));
    let followers: Vec<_> = remote.others().collect();
    for watch in remote.catalogs().watchers(&service.runtime) {
        shutdown.spawn("the watch of a catalog", watch);
    }
    let (tasks, remote) = own();
    shutdown.spawn("the self-check", tasks.check_self(remote));
    let (tasks, remote) = own();
    shutdown.spawn("the catching up", tasks.catch_up(remote));
    let (tasks, remote) = own();
    shutdown.spawn("the selling", tasks.sell(remote));
    for follower in followers {
        let (tasks, remote) = own();
        shutdown.spawn("the replication", tasks.replicate(remote, follower));
    }
    shutdown.spawn("the check of followers", Arc::clone(service).check_followers());
}

impl Service {
    /// Sells, for ever, whenever this replica leads.
    async fn sell(self: Arc<Self>, remote: Rc<Remote>) {
        loop {
            match self.decide(|core, now| core.next_step(now, Waiter::is_closed)) {
                SellStep::Rest(None) => self.work.notified().await,
                SellStep::Rest(Some(time)) => {
                    let rest = time.saturating_duration_since(self.runtime.now());
                    let _either = self.runtime.timeout(rest, self.work.notified()).await;
                }
                SellStep::Activate => self.activate(&remote).await,
                SellStep::Fetch => {
                    if !self.fetch_journal(&remote).await {
                        self.runtime.sleep(FETCH_PAUSE).await;
                    }
                }
                SellStep::Sell(epoch, request) => self.sell_batch(&remote, epoch, request).await,
            }
        }
    }

    /// Fetches the orders that this replica lacks, and begins to sell.
    async fn activate(&self, remote: &Remote) {
        if let Err(error) = self.belong(remote).await {
            log::debug!("the leader does not sell yet: {error}");
            return self.runtime.sleep(FETCH_PAUSE).await;
        }
        if self.decide(|core, _| core.try_to_lead()) {
            return;
        }
        // The journal has everything, and the catalog answered just now. If it cannot be reached
        // any more the peers are asked; they come second since one may be the leader that hangs.
        if !self.fetch_journal(remote).await {
            self.fetch(remote).await;
        }
        if !self.decide(|core, _| core.try_to_lead()) {
            self.runtime.sleep(FETCH_PAUSE).await;
        }
    }

    async fn sell_batch(self: &Arc<Self>, remote: &Remote, epoch: Epoch, request: CommitRequest) {
        self.metrics.sends(&request);
        let (asked, traces) = (self.runtime.now(), Traces::of(request.traces()));
        let answer = remote.commit(&request).await;
        let (now, conditions) = (self.runtime.now(), &self.conditions);
        self.metrics.catalog_seconds.observe((now - asked).as_secs_f64());
        let outcome = match answer {
            Ok((reply, timing)) => {
                self.timeline.decided(&reply, timing, asked, now);
                if let Some(lasted) = conditions.batches_in_doubt.over(now) {
                    log::info!("the catalog answers batches again, after {lasted}");
                }
                if let Some(lasted) = conditions.rejected_batches.over(now) {
                    log::info!("the catalog accepts batches again, after {lasted}");
                }
                if let CommitReply::Decided { .. } = reply {
                    failpoint::pass(failpoint::LEADER_SOLD);
                }
                BatchOutcome::Answered(reply)
            }
            Err(CallError::Refused { status, message }) if (400..500).contains(&status) => {
                let reason = format!("{status} {message}");
                if conditions.rejected_batches.happened(&reason, now) {
                    log::error!(
                        "the catalog rejects a batch, and its purchases stay undecided: {reason}"
                    );
                }
                BatchOutcome::Rejected
            }
            Err(error) => {
                let reason = error.to_string();
                if conditions.batches_in_doubt.happened(&reason, now) {
                    log::warn!(
                        "the catalog did not answer a batch ({reason}); it is sent again under the \
                         same keys"
                    );
                }
                BatchOutcome::InDoubt
            }
        };
        self.metrics.batch(&outcome);
        let pauses = outcome == BatchOutcome::InDoubt;
        let writing = self.decide(|core, now| {
            let write = core.batch_answered(epoch, outcome, asked, now);
            write.map(|write| self.queue_for_disk(write, &traces))
        });
        if let Some(writing) = writing {
            // The next batch goes to the catalog while this one is written here and at followers.
            let service = Arc::clone(self);
            self.runtime.spawn(Box::pin(async move {
                let _fetched_again_if_not = service.finish(writing).await;
            }));
        }
        if pauses {
            self.runtime.sleep(DOUBT_PAUSE).await;
        }
    }

    /// Replicates to one follower, for ever, whenever this replica leads.
    async fn replicate(self: Arc<Self>, remote: Rc<Remote>, follower: ReplicaId) {
        let followers = remote.others().count();
        let heartbeat = shared_out(HEARTBEAT_INTERVAL, followers, LONGEST_HEARTBEAT_INTERVAL);
        loop {
            let grown = self.grown.notified();
            let (leads, has_rows, is_live) = self.decide(|core, _| {
                let is_live = core.live_followers().any(|live| live == follower);
                (core.leads().is_some(), core.has_rows_for(follower), is_live)
            });
            if !leads {
                grown.await;
            } else if !has_rows {
                // Whether rows came or a heartbeat is due: look again.
                let rest = if is_live { heartbeat } else { HEARTBEAT_INTERVAL };
                let _either = self.runtime.rest_or(rest, grown).await;
            }
            if let Some(cursor) = self.decide(|core, _| core.cursor_of(follower)) {
                self.replicate_from(&remote, follower, cursor).await;
            }
        }
    }

    async fn replicate_from(&self, remote: &Remote, follower: ReplicaId, cursor: u64) {
        let Ok(rows) = self.rows_for_follower(cursor).await else {
            // The reader may refuse at once, as when too many jobs wait for it.
            return self.runtime.sleep(ABSENCE_PAUSE).await;
        };
        let request = self.decide(|core, now| core.append_to(follower, rows, now));
        let Some(request) = request else { return };
        let sent = self.runtime.now();
        let reply = match remote.append(follower, &request).await {
            Ok(reply) => {
                self.metrics.acknowledged(&request, self.runtime.now() - sent);
                Some(reply)
            }
            Err(error) => {
                log::debug!("replica {follower} did not acknowledge: {error}");
                None
            }
        };
        let next = self.decide(|core, now| core.append_answered(follower, reply, now));
        if next == NextAppend::AfterPause {
            self.runtime.sleep(ABSENCE_PAUSE).await;
        }
    }

    /// Takes followers whose acknowledgements are overdue out of the live set, for ever, whenever
    /// this replica leads.
    async fn check_followers(self: Arc<Self>) {
        loop {
            let grown = self.grown.notified();
            let (leads, awaits) =
                self.decide(|core, _| (core.leads().is_some(), core.awaits_acknowledgements()));
            if !leads {
                grown.await;
            } else if awaits {
                self.runtime.sleep(FOLLOWER_CHECK_INTERVAL).await;
            } else {
                // A message that is sent meanwhile is not overdue before this has passed.
                let _either = self.runtime.rest_or(IDLE_CHECK_INTERVAL, grown).await;
            }
            self.decide(Core::drop_slow_followers);
        }
    }

    /// Asks the others for what this replica missed while it was away (once, at its start), and
    /// afterwards whenever it is behind; for ever.
    async fn catch_up(self: Arc<Self>, remote: Rc<Remote>) {
        let paces = self.paces(CATCH_UP_INTERVAL, &remote);
        loop {
            if self.decide(|core, _| core.should_fetch())
                && self.belong(&remote).await.is_ok()
                && self.fetch(&remote).await
                && self.decide(|core, _| core.caught_up())
            {
                let length = self.decide(|core, _| core.durable().length);
                self.say_caught_up(length);
            }
            let (leads, has_found) =
                self.decide(|core, _| (core.has_acquired(), !core.should_fetch()));
            self.runtime.rest(paces.of(leads).next(self.runtime.now(), has_found)).await;
        }
    }

    /// Fetches all that the other replicas have, then all that the journal has. True if the journal
    /// was read to its end, so that nothing is missing but what is new.
    async fn fetch(&self, remote: &Remote) -> bool {
        for other in remote.others() {
            let fetched = self.fetch_from(async |from| remote.rows(other, from).await).await;
            let reason = format!("replicas {} and {other} hold different orders", self.id);
            if fetched == Fetched::Diverged
                && self.conditions.foreign_logs.happened(&reason, self.runtime.now())
            {
                log::warn!("{reason}");
            }
        }
        self.fetch_journal(remote).await
    }

    /// Fetches all that the journal has. True if it was read to its end.
    async fn fetch_journal(&self, remote: &Remote) -> bool {
        let log = self.decide(|core, _| core.log_number());
        let fetched = self.fetch_from(async |from| remote.journal(from).await).await;
        match fetched {
            Fetched::Everything => self.decide(|core, _| core.journal_read_to_end()),
            Fetched::Diverged => self.set_log_aside(log).await,
            Fetched::More | Fetched::Overtaken | Fetched::Failed => {}
        }
        fetched == Fetched::Everything
    }

    /// Fetches rows from one source until it has no more.
    async fn fetch_from(&self, ask: impl AsyncFn(u64) -> Result<Rows, CallError>) -> Fetched {
        loop {
            let from = self.decide(|core, _| core.accepted().length);
            let Ok(rows) = ask(from).await else { return Fetched::Failed };
            if !rows.orders.is_empty() {
                self.decide(|core, _| core.note_rows_asked_for());
            }
            let taken = self.take(&rows, &Traces::None).await;
            if taken.is_ok() {
                self.metrics.caught_up(&rows);
            }
            failpoint::pass(failpoint::CATCHING_UP);
            match Core::<Waiter>::fetched(&rows, taken) {
                Fetched::More => {}
                Fetched::Overtaken => self.runtime.sleep(GAP_PAUSE).await,
                end @ (Fetched::Everything | Fetched::Diverged | Fetched::Failed) => return end,
            }
        }
    }

    /// Checks whether the database and the catalog respond, for ever. The catalog's status also
    /// tells of new leaders, and of orders that this replica lacks.
    async fn check_self(self: Arc<Self>, remote: Rc<Remote>) {
        let paces = self.paces(SELF_CHECK_INTERVAL, &remote);
        loop {
            let asked = self.runtime.now();
            // The database begins at once, and its answer is usually there when the catalog's
            // comes, so that the thread wakes up once.
            let pulse = self.storage.pulse();
            let answered = self.ask_catalog(&remote).await;
            match pulse.await {
                Ok(()) => self.disk_answered(asked).await,
                // A busy database responds later.
                Err(StorageError::Busy(_)) => {}
                Err(error) => {
                    let _noted = self.store::<()>(std::future::ready(Err(error))).await;
                }
            }
            let has_found = answered.is_ok() && self.identity.store().is_some();
            let began = self.runtime.now();
            let leads = self.decide(|core, _| {
                let leads = core.has_acquired();
                core.checks_itself_every(paces.of(leads).interval());
                leads
            });
            let mut pause = paces.of(leads).next(began, has_found);
            if leads && answered.is_err() {
                pause = pause.min(SILENCE_PAUSE);
            }
            // A hint of a newer leadership ends the pause; many of them do not make a tight loop.
            if self.runtime.rest_or(pause, self.hinted.notified()).await.is_ok() {
                self.runtime.sleep_until(began + HINT_PAUSE).await;
            }
        }
    }

    /// How often a replica does what each of the store does every `interval`.
    fn paces(&self, interval: Duration, remote: &Remote) -> Paces {
        let others = remote.others().count();
        let following = shared_out(interval, others, LONGEST_FOLLOWER_INTERVAL);
        let [leading, following] = [interval, following].map(|it| Pauses::new(&*self.runtime, it));
        Paces { leading, following }
    }
}

/// The pauses between what a replica does, while it leads and while it follows.
struct Paces {
    leading: Pauses,
    following: Pauses,
}

impl Paces {
    fn of(&self, leads: bool) -> &Pauses {
        if leads { &self.leading } else { &self.following }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use futures_util::FutureExt as _;
    use futures_util::future::LocalBoxFuture;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::identity::Identity;
    use crate::order::storage::Storage;
    use crate::roles::{Role, Roles};
    use crate::runtime::{Runtime, System};
    use crate::storage::Outcome;
    use crate::transport::{Message, Network, Peer};
    use crate::wire::calls::Caller;
    use crate::wire::identity::StoreId;
    use crate::wire::order::{Order, OrderNumber, Position};
    use crate::wire::quantity::Quantity;

    /// A database that is too busy to read, and empties its log when it is set aside.
    #[derive(Clone, Default)]
    struct BusyDatabase(Arc<Mutex<Vec<&'static str>>>);

    impl BusyDatabase {
        fn note(&self, what: &'static str) {
            self.0.lock().unwrap().push(what);
        }

        fn busy<T>() -> Outcome<'static, T> {
            Box::pin(async { Err(StorageError::Busy("order-1.db".into())) })
        }
    }

    impl Storage for BusyDatabase {
        fn append(&self, after: Position, orders: Vec<Order>) -> Outcome<'static, Position> {
            self.note("append");
            Box::pin(async move { Ok(orders.iter().fold(after, Position::continued_by)) })
        }

        fn pulse(&self) -> Outcome<'static, ()> {
            Self::busy()
        }

        fn try_write(&self) -> Outcome<'_, ()> {
            Self::busy()
        }

        fn order(&self, _number: OrderNumber) -> Outcome<'_, Option<Order>> {
            Self::busy()
        }

        fn rows(&self, _from: u64, _most: u64) -> Outcome<'_, Option<Rows>> {
            Self::busy()
        }

        fn set_aside(&self) -> Outcome<'_, PathBuf> {
            self.note("set aside");
            Box::pin(async {
                tokio::task::yield_now().await;
                Ok(PathBuf::from("order-1.db.aside-1"))
            })
        }

        fn set_store(&self, _store: StoreId) -> Outcome<'_, ()> {
            Self::busy()
        }

        fn checkpoint(&self) -> Outcome<'_, ()> {
            Self::busy()
        }

        fn path(&self) -> &Path {
            Path::new("order-1.db")
        }
    }

    /// A clock that stands still, and notes for how long a task would sleep.
    #[derive(Default)]
    struct NotedPauses(Mutex<Vec<Duration>>);

    impl Runtime for NotedPauses {
        fn now(&self) -> std::time::Instant {
            System.now()
        }

        fn sleep(&self, duration: Duration) -> LocalBoxFuture<'static, ()> {
            self.0.lock().unwrap().push(duration);
            async {}.boxed_local()
        }

        fn spawn(&self, _task: LocalBoxFuture<'static, ()>) {}

        fn random(&self) -> u64 {
            4
        }
    }

    /// A network on which nothing is asked.
    struct NoNetwork;

    impl Network for NoNetwork {
        fn call(
            &self,
            _call: Rc<dyn Message>,
            _caller: Caller,
            _time_limit: Duration,
        ) -> LocalBoxFuture<'static, Result<Rc<dyn Message>, CallError>> {
            unreachable!("nothing is asked")
        }
    }

    fn order() -> Order {
        let (number, quantity) = (OrderNumber(0), Quantity::ONE);
        Order { number, name: "Tux".into(), quantity, key: None }
    }

    fn replica(database: &BusyDatabase, end: Position, runtime: &Arc<NotedPauses>) -> Arc<Service> {
        let runtime: Arc<dyn Runtime> = Arc::<NotedPauses>::clone(runtime);
        let shutdown = Shutdown::new(CancellationToken::new(), Arc::clone(&runtime));
        let (id, others) = (ReplicaId(1), vec![ReplicaId(2)]);
        let identity = Identity::new(Role::Order(id), None);
        let storage = (Box::new(database.clone()) as Box<dyn Storage>, end);
        Service::new(id, others, storage, shutdown, runtime, identity)
    }

    #[actix_web::test]
    async fn a_leader_that_cannot_read_its_log_pauses_before_it_tries_again() {
        let pauses = Arc::new(NotedPauses::default());
        let end = Position::START.continued_by(&order());
        let service = replica(&BusyDatabase::default(), end, &pauses);
        let roles = Roles::read(Path::new("roles.toml")).unwrap();
        let remote = Remote::new(&roles, ReplicaId(1), |role| {
            Peer::simulated(role, Rc::new(NoNetwork), &service.identity)
        });
        service.replicate_from(&remote, ReplicaId(2), 0).await;
        assert_eq!(*pauses.0.lock().unwrap(), [ABSENCE_PAUSE]);
    }

    #[actix_web::test]
    async fn a_log_that_two_tasks_find_foreign_is_set_aside_once() {
        let database = BusyDatabase::default();
        let service = replica(&database, Position::START, &Arc::default());
        let foreign = service.decide(|core, _| core.log_number());
        let fetched = async {
            service.set_log_aside(foreign).await;
            let rows = Rows { after: Position::START, orders: vec![order()] };
            service.take(&rows, &Traces::None).await.unwrap();
        };
        futures_util::join!(fetched, service.set_log_aside(foreign));
        assert_eq!(*database.0.lock().unwrap(), ["set aside", "append"]);
        let (accepted, durable) = service.decide(|core, _| (core.accepted(), core.durable()));
        assert_eq!((accepted.length, durable.length), (1, 1), "they are what the disk has");
    }
}
