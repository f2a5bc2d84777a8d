//! A replica's machine: the production's core, with a simulated disk and network around it.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use toystore::order::core::Core;
use toystore::order::core::batches::{BatchOutcome, DOUBT_PAUSE, FETCH_PAUSE, Task};
use toystore::order::core::effects::Event;
use toystore::order::core::followers::{ABSENCE_PAUSE, HEARTBEAT_INTERVAL, NextAppend};
use toystore::order::core::in_flight::Busy;
use toystore::order::core::leadership::Candidacy;
use toystore::order::core::log::{Fetched, LogNumber, NotTaken, Write};
use toystore::wire::order::{Order, OrderNumber, Position, Rows};
use toystore::wire::purchase::{CommitReply, CommitRequest, Purchase, PurchaseReply};
use toystore::wire::replication::{
    AcquisitionReply, AppendReply, AppendRequest, Epoch, MOST_ROWS, Nomination, NominationReply,
    OrderReply, ReplicaId,
};

use super::changes::Changes;
use super::disk::{Disk, DiskError};
use super::message::{Failure, Node, Reply, Request};
use super::scene::Scene;
use super::world::Env;

const ATTEMPT: Duration = Duration::from_millis(600);
const COMMIT: Duration = Duration::from_secs(1);
const QUESTION: Duration = Duration::from_millis(300);
const ROWS: Duration = Duration::from_secs(2);
const FOLLOWER_CHECK_INTERVAL: Duration = Duration::from_millis(50);
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const GAP_PAUSE: Duration = Duration::from_millis(20);

/// A replica's database.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) orders: Vec<Order>,
    /// The position behind each order.
    pub(crate) ends: Vec<Position>,
}

impl Log {
    pub(crate) fn end(&self) -> Position {
        self.ends.last().copied().unwrap_or(Position::START)
    }

    /// One transaction; refused if the one before it was.
    fn append(&mut self, after: Position, orders: &[Order]) -> Option<Position> {
        if self.end().length != after.length {
            return None;
        }
        for order in orders {
            self.ends.push(self.end().continued_by(order));
            self.orders.push(order.clone());
        }
        Some(self.end())
    }

    fn rows(&self, from: u64) -> Option<Rows> {
        let skipped = usize::try_from(from).expect("few orders");
        let after = match skipped.checked_sub(1) {
            None => Position::START,
            Some(last) => *self.ends.get(last)?,
        };
        let most = usize::try_from(MOST_ROWS).expect("few");
        Some(Rows { after, orders: self.orders.iter().skip(skipped).take(most).cloned().collect() })
    }
}

struct Replica {
    env: Env,
    scene: Rc<Scene>,
    id: ReplicaId,
    core: RefCell<Core<Waiter>>,
    disk: Rc<Disk<Log>>,
    work: Notify,
    grown: Changes,
}

type Waiter = oneshot::Sender<PurchaseReply>;

/// Rows on their way to the disk.
struct Writing<F> {
    log: LogNumber,
    done: F,
}

#[derive(Clone, Copy)]
enum Source {
    Peer(ReplicaId),
    Journal,
}

/// Starts the process, with what is on its disk.
pub(crate) fn start(scene: &Rc<Scene>, id: ReplicaId) {
    let node = Node::replica(id);
    let env = Env { world: Rc::clone(&scene.world), node };
    env.world.switch_on(node);
    let others: Vec<_> = scene.replicas.iter().copied().filter(|other| *other != id).collect();
    let disk = Rc::clone(&scene.logs[&id.0]);
    let end = disk.read(Log::end);
    scene.judge.look_at_log(scene, id);
    let replica = Rc::new(Replica {
        env: env.clone(),
        scene: Rc::clone(scene),
        id,
        core: RefCell::new(Core::new(id, others.clone(), end)),
        disk,
        work: Notify::new(),
        grown: Changes::default(),
    });
    env.spawn(Rc::clone(&replica).watch());
    env.spawn(Rc::clone(&replica).catch_up());
    env.spawn(Rc::clone(&replica).sell());
    for follower in others {
        env.spawn(Rc::clone(&replica).replicate(follower));
    }
    env.spawn(Rc::clone(&replica).watch_followers());
    let listening = Rc::clone(&replica);
    scene.network.listen(node, move |request| Rc::clone(&listening).answer(request));
}

impl Replica {
    async fn answer(self: Rc<Self>, request: Request) -> Reply {
        match request {
            Request::Status => Reply::Status(self.decide(|core, now| core.status(now))),
            Request::Nominate(nomination) => Reply::Nominated(self.nominate(nomination).await),
            Request::Leader(leadership) => {
                self.decide(|core, _| core.learn(leadership));
                Reply::Done
            }
            Request::Purchase(purchase, limit) => self.purchase(purchase, limit).await,
            Request::Order(number) => self.order(number).await,
            Request::Append(request) => {
                self.append(request).await.map_or(Reply::Unavailable, Reply::Appended)
            }
            Request::Rows(from) => Reply::Rows(self.rows(from).await),
            other => unreachable!("a replica is asked {other:?}"),
        }
    }

    async fn purchase(&self, purchase: Purchase, limit: Duration) -> Reply {
        let (waiter, answer) = oneshot::channel();
        let admitted =
            self.decide(|core, _| core.purchase(purchase, waiter, oneshot::Sender::is_closed));
        if let Err(Busy) = admitted {
            return Reply::Unavailable;
        }
        match self.env.timeout(limit, answer).await {
            Some(Ok(reply)) => Reply::Purchased(reply),
            Some(Err(_)) | None => Reply::Unavailable,
        }
    }

    async fn order(&self, number: OrderNumber) -> Reply {
        if self.decide(|core, _| core.has_order(number)) {
            self.env.moment().await;
            let place = usize::try_from(number.0).expect("few orders");
            if let Some(order) = self.disk.read(|log| log.orders.get(place).cloned()) {
                return Reply::Order(OrderReply::Found(order));
            }
        }
        match self.ask_catalog(Request::JournalOrder(number), ATTEMPT).await {
            Ok(Reply::Order(OrderReply::Unknown)) => {
                self.env.reached("an order was confirmed not to be there");
                Reply::Order(OrderReply::Unknown)
            }
            Ok(Reply::Order(found)) => Reply::Order(found),
            Ok(other) => unreachable!("{other:?}"),
            Err(_) => Reply::Unavailable,
        }
    }

    async fn nominate(&self, nomination: Nomination) -> NominationReply {
        let request = match self.decide(|core, _| core.nominated(nomination)) {
            Candidacy::Answer(reply) => {
                self.env.reached("a nominee led already");
                return reply;
            }
            Candidacy::Acquire(request) => request,
        };
        match self.ask_catalog(Request::Acquire(request), ATTEMPT).await {
            Ok(Reply::Acquired(reply)) => {
                if let AcquisitionReply::Lost(status) = reply {
                    self.env.reached(if status.leadership.is_led_by(self.id) {
                        "an acquisition that was won before was taken up"
                    } else {
                        "an acquisition was lost"
                    });
                }
                self.decide(|core, _| core.acquisition_answered(&request, reply))
            }
            Ok(other) => unreachable!("{other:?}"),
            Err(failure) => NominationReply::Unable(format!("the catalog: {failure:?}")),
        }
    }

    async fn append(&self, request: AppendRequest) -> Option<AppendReply> {
        if let Err(reply) = self.decide(|core, _| core.append(&request)) {
            return Some(reply);
        }
        let taken = self.take(&request.rows).await;
        self.decide(|core, _| core.appended(taken))
    }

    async fn rows(&self, from: u64) -> Rows {
        self.env.moment().await;
        let rows = self.disk.read(|log| log.rows(from));
        rows.unwrap_or_else(|| self.decide(|core, _| core.no_rows()))
    }

    async fn take(&self, rows: &Rows) -> Result<(), NotTaken> {
        let writing = self.decide(|core, _| {
            let write = core.take(rows)?;
            if write.orders.len() < rows.orders.len() {
                self.env.reached("rows came that were there already");
            }
            Ok(self.queue_for_disk(write))
        })?;
        self.finish(writing).await
    }

    fn queue_for_disk(
        &self,
        write: Write,
    ) -> Writing<impl Future<Output = Result<Position, DiskError>> + use<>> {
        let Write { log, after, orders } = write;
        let written = self.disk.write(move |log| log.append(after, &orders));
        let env = self.env.clone();
        let done = async move {
            written.await?.ok_or_else(|| {
                env.reached("an unwritten append was refused");
                DiskError::Full
            })
        };
        Writing { log, done }
    }

    async fn finish(
        &self,
        writing: Writing<impl Future<Output = Result<Position, DiskError>>>,
    ) -> Result<(), NotTaken> {
        match writing.done.await {
            Ok(end) => {
                self.scene.judge.look_at_log(&self.scene, self.id);
                self.env.moment().await;
                self.decide(|core, _| core.written(writing.log, end));
                Ok(())
            }
            Err(error) => {
                if error == DiskError::Broken {
                    self.scene.fail(self.env.node);
                }
                self.decide(|core, _| core.not_written(writing.log));
                Err(NotTaken::NotWritten)
            }
        }
    }

    async fn sell(self: Rc<Self>) {
        loop {
            let task = self.decide(|core, now| core.next_task(now, oneshot::Sender::is_closed));
            self.trace_task(&task);
            match task {
                Task::Rest(None) => self.work.notified().await,
                Task::Rest(Some(time)) => {
                    let rest = time.saturating_duration_since(self.env.now());
                    self.env.timeout(rest, self.work.notified()).await;
                }
                Task::Activate => self.activate().await,
                Task::Fetch => {
                    self.env.reached("a leader fetched what it lacked");
                    if !self.fetch_journal().await {
                        self.env.sleep(FETCH_PAUSE).await;
                    }
                }
                Task::Sell(epoch, request) => self.sell_batch(epoch, request).await,
            }
        }
    }

    fn trace_task(&self, task: &Task) {
        self.env.trace(|| match task {
            Task::Rest(until) => format!("rests{}", if until.is_some() { " a moment" } else { "" }),
            Task::Activate => "is to lead".to_owned(),
            Task::Fetch => "fetches what it lacks".to_owned(),
            Task::Sell(_, batch) => {
                let keys: Vec<_> = batch.purchases.iter().map(|one| one.key.as_str()).collect();
                format!("asks for {keys:?} from {} on", batch.log.length)
            }
        });
    }

    async fn activate(&self) {
        if self.decide(|core, _| core.try_to_lead()) {
            return;
        }
        self.env.reached("a leader began by fetching");
        if !self.fetch_journal().await {
            self.fetch().await;
        }
        if !self.decide(|core, _| core.try_to_lead()) {
            self.env.sleep(FETCH_PAUSE).await;
        }
    }

    async fn sell_batch(self: &Rc<Self>, epoch: Epoch, request: CommitRequest) {
        let asked = self.env.now();
        let outcome = match self.ask_catalog(Request::Commit(request), COMMIT).await {
            Ok(Reply::Committed(reply)) => BatchOutcome::Answered(reply),
            Ok(other) => unreachable!("{other:?}"),
            Err(_) => BatchOutcome::InDoubt,
        };
        let pauses = outcome == BatchOutcome::InDoubt;
        match &outcome {
            BatchOutcome::InDoubt => {
                self.env.reached("a batch was in doubt and was asked again");
            }
            BatchOutcome::Answered(CommitReply::Deposed(_)) => {
                self.env.reached("a batch of a deposed leader was refused");
            }
            BatchOutcome::Answered(CommitReply::Decided { .. })
                if self.core.borrow().leads() != Some(epoch) =>
            {
                self.env.reached("a batch's answer found its leader deposed");
            }
            BatchOutcome::Answered(CommitReply::Decided { .. }) | BatchOutcome::Refused => {}
        }
        let writing = self.decide(|core, now| {
            let write = core.batch_answered(epoch, outcome, asked, now);
            write.map(|write| self.queue_for_disk(write))
        });
        if let Some(writing) = writing {
            let replica = Rc::clone(self);
            self.env.spawn(async move {
                let _fetched_otherwise = replica.finish(writing).await;
            });
        }
        if pauses {
            self.env.sleep(DOUBT_PAUSE).await;
        }
    }

    async fn replicate(self: Rc<Self>, follower: ReplicaId) {
        let mut grown = self.grown.listen();
        loop {
            grown.catch_up();
            if !self.decide(|core, _| core.has_rows_for(follower)) {
                let _either = self.env.timeout(HEARTBEAT_INTERVAL, grown.news()).await;
            }
            if let Some(cursor) = self.decide(|core, _| core.cursor_of(follower)) {
                self.replicate_from(follower, cursor).await;
            }
        }
    }

    async fn replicate_from(&self, follower: ReplicaId, cursor: u64) {
        let at_hand = self.decide(|core, _| core.cached_rows(cursor));
        let rows = match at_hand {
            Some(rows) => rows,
            None => self.rows(cursor).await,
        };
        let request = self.decide(|core, now| core.append_to(follower, rows, now));
        let Some(request) = request else { return };
        let answer = self.ask(Node::replica(follower), Request::Append(request), ROWS).await;
        let reply = match answer {
            Ok(Reply::Appended(reply)) => Some(reply),
            Ok(other) => unreachable!("{other:?}"),
            Err(_) => None,
        };
        match reply {
            Some(AppendReply::Gap { .. }) => self.env.reached("a follower had a gap"),
            Some(AppendReply::Stale(_)) => {
                self.env.reached("a leader heard of its end from a follower");
            }
            Some(AppendReply::Diverged) => panic!("{} and {} diverged", self.id, follower),
            Some(AppendReply::Synced { .. }) | None => {}
        }
        let next = self.decide(|core, now| core.append_answered(follower, reply, now));
        if next == NextAppend::AfterPause {
            self.env.sleep(ABSENCE_PAUSE).await;
        }
    }

    async fn watch_followers(self: Rc<Self>) {
        loop {
            self.env.sleep(FOLLOWER_CHECK_INTERVAL).await;
            self.decide(Core::drop_slow_followers);
        }
    }

    async fn catch_up(self: Rc<Self>) {
        loop {
            if self.decide(|core, _| core.should_fetch()) && self.fetch().await {
                self.decide(|core, _| core.caught_up());
            }
            self.env.sleep(LOOK_INTERVAL).await;
        }
    }

    async fn fetch(&self) -> bool {
        for other in self.scene.replicas.iter().filter(|other| **other != self.id) {
            self.fetch_from(Source::Peer(*other)).await;
        }
        self.fetch_journal().await
    }

    async fn fetch_journal(&self) -> bool {
        let fetched = self.fetch_from(Source::Journal).await;
        match fetched {
            Fetched::Everything => self.decide(|core, _| core.has_all_of_the_journal()),
            Fetched::Foreign => panic!("the log of replica {} is no prefix", self.id),
            Fetched::More | Fetched::Overtaken | Fetched::Failed => {}
        }
        fetched == Fetched::Everything
    }

    async fn fetch_from(&self, source: Source) -> Fetched {
        loop {
            let from = self.decide(|core, _| core.accepted().length);
            let answer = match source {
                Source::Peer(peer) => {
                    self.ask(Node::replica(peer), Request::Rows(from), ROWS).await
                }
                Source::Journal => self.ask_catalog(Request::Journal(from), ROWS).await,
            };
            let Ok(Reply::Rows(rows)) = answer else { return Fetched::Failed };
            if !rows.orders.is_empty() {
                self.env.reached(match source {
                    Source::Peer(_) => "a replica caught up from a peer",
                    Source::Journal => "a replica caught up from the journal",
                });
            }
            let taken = self.take(&rows).await;
            match Core::<Waiter>::fetched(&rows, taken) {
                Fetched::More => {}
                Fetched::Overtaken => {
                    self.env.reached("fetched rows were overtaken");
                    self.env.sleep(GAP_PAUSE).await;
                }
                end @ (Fetched::Everything | Fetched::Foreign | Fetched::Failed) => return end,
            }
        }
    }

    async fn watch(self: Rc<Self>) {
        loop {
            let asked = self.env.now();
            let length = self.decide(|core, _| core.durable().length);
            let pulse = self.disk.pulse();
            let status = self.ask_catalog(Request::CatalogStatus, QUESTION);
            let (moved, status) = futures_util::future::join(pulse, status).await;
            if moved {
                self.decide(|core, _| core.disk_answered(asked));
            }
            if let Ok(Reply::CatalogStatus(status)) = status {
                self.decide(|core, _| core.heard_from_catalog(status, asked, length));
            }
            self.env.sleep(WATCH_INTERVAL).await;
        }
    }

    async fn ask_catalog(&self, request: Request, limit: Duration) -> Result<Reply, Failure> {
        self.ask(Node::Catalog, request, limit).await
    }

    async fn ask(&self, to: Node, request: Request, limit: Duration) -> Result<Reply, Failure> {
        self.scene.network.call(&self.env, to, request, limit).await
    }

    /// Makes a decision, and carries out what follows from it.
    fn decide<T>(&self, decision: impl FnOnce(&mut Core<Waiter>, Instant) -> T) -> T {
        let (outcome, effects) = {
            let mut core = self.core.borrow_mut();
            let outcome = decision(&mut core, self.env.now());
            (outcome, core.take_effects())
        };
        for event in &effects.events {
            self.env.trace(|| event.to_string());
            match event {
                Event::Leads(leadership) => {
                    self.scene.judge.leads(&self.scene, self.id, *leadership);
                }
                Event::FollowerLost(_) => self.env.reached("a follower was lost"),
                Event::FollowerSlow(_) => self.env.reached("a follower was slow"),
                Event::SteppedDown(..) => panic!("only a rebuilt catalog forgets a leadership"),
                Event::Diverged | Event::FollowerDiverged(_) => panic!("{event}"),
                Event::Learned(_) | Event::Chosen(_) | Event::Behind(_) => {}
            }
        }
        for (waiter, reply) in effects.answers {
            if let PurchaseReply::Decided(decision) = &reply {
                let live: Vec<_> = self.core.borrow().live_followers().collect();
                self.scene.judge.leader_answers(&self.scene, self.id, &live, *decision);
            } else if !waiter.is_closed() {
                self.env.reached("a leader's waiters were sent to the next one");
            }
            let _unheard = waiter.send(reply);
        }
        if effects.work {
            self.work.notify_one();
        }
        if effects.grown {
            self.grown.tell();
        }
        outcome
    }
}
