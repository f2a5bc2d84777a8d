//! The catalog's machine: the production's core and steps, with a simulated disk and network around
//! them. What the server's writing task does with SQLite and HTTP, this does here.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};
use toystore::catalog::core::sessions::Sessions;
use toystore::catalog::core::steps::{BatchReply, GRACE, LockedToys, ReceivedBatch, Restock};
use toystore::catalog::core::stock::{Change, RecordedDecision, Shelf, Stock};
use toystore::catalog::core::{Core, WriteOutcome};
use toystore::wire::lease::{Invalidation, Registration, SessionId};
use toystore::wire::order::{Order, OrderNumber, Position, Rows};
use toystore::wire::purchase::{CommitReply, CommitRequest, Decision, IdempotencyKey, Verdict};
use toystore::wire::replication::{
    Acquisition, AcquisitionReply, Leadership, MOST_ROWS, OrderReply,
};

use super::disk::DiskError;
use super::message::{Node, Reply, Request};
use super::scene::Scene;
use super::world::Env;

const MOST_JOBS: usize = 64;
const TIDY_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
const INVALIDATION: Duration = Duration::from_millis(500);
const INVALIDATION_PAUSE: Duration = Duration::from_millis(20);
const CENSUS: Duration = Duration::from_millis(500);

/// The catalog's database.
pub(crate) struct Journal {
    pub(crate) shelves: Vec<Shelf>,
    pub(crate) initial: u64,
    pub(crate) orders: Vec<Order>,
    /// The position behind each order.
    pub(crate) ends: Vec<Position>,
    pub(crate) decisions: BTreeMap<IdempotencyKey, RecordedDecision>,
    pub(crate) leadership: Leadership,
    pub(crate) sessions: BTreeSet<SessionId>,
}

impl Journal {
    pub(crate) fn end(&self) -> Position {
        self.ends.last().copied().unwrap_or(Position::START)
    }

    fn before(&self, number: u64) -> Option<Position> {
        match usize::try_from(number).expect("few orders").checked_sub(1) {
            None => Some(Position::START),
            Some(last) => self.ends.get(last).copied(),
        }
    }

    fn rows(&self, from: u64, most: u64) -> Option<Rows> {
        let after = self.before(from)?;
        let skipped = usize::try_from(from).expect("few orders");
        let most = usize::try_from(most).expect("few orders");
        Some(Rows { after, orders: self.orders.iter().skip(skipped).take(most).cloned().collect() })
    }

    /// One transaction. A database would refuse a key's second decision.
    fn apply(&mut self, change: &Change) {
        assert_eq!(change.after, self.end(), "the journal grows at its end");
        for shelf in &change.shelves {
            let row = self.shelves.iter_mut().find(|row| row.toy.name == shelf.toy.name);
            *row.expect("a toy that there is") = shelf.clone();
        }
        for order in &change.orders {
            self.ends.push(self.end().continued_by(order));
            self.orders.push(order.clone());
        }
        for (purchase, decision) in &change.decisions {
            let number = match decision {
                Decision::Granted(number) => Some(*number),
                Decision::OutOfStock | Decision::UnknownToy | Decision::KeyReused => None,
            };
            let recorded = RecordedDecision {
                name: purchase.name.clone(),
                quantity: purchase.quantity,
                number,
            };
            let earlier = self.decisions.insert(purchase.key.clone(), recorded);
            assert!(earlier.is_none(), "{} is decided twice", purchase.key);
        }
    }
}

struct Catalog {
    env: Env,
    scene: Rc<Scene>,
    core: RefCell<Core>,
    jobs: mpsc::Sender<Job>,
    acknowledged: Notify,
    pushing: RefCell<BTreeSet<SessionId>>,
}

enum Job {
    Commit(CommitRequest, oneshot::Sender<Reply>),
    Acquire(Acquisition, oneshot::Sender<Reply>),
}

/// Starts the process, with what is on its disk.
pub(crate) fn start(scene: &Rc<Scene>) {
    let env = Env { world: Rc::clone(&scene.world), node: Node::Catalog };
    env.world.switch_on(Node::Catalog);
    let boot = env.world.draw(1..u64::MAX);
    let (stock, sessions) = scene.journal.read(|journal| {
        let shelves = journal.shelves.clone();
        let stock = Stock::new(shelves, journal.initial, journal.end(), journal.leadership);
        if !journal.sessions.is_empty() {
            env.reached("a restarted catalog waited for earlier sessions");
        }
        (stock, Sessions::new(boot, journal.sessions.clone(), env.now()))
    });
    scene.judge.published(&env, stock.shelves(), scene.journal.read(|journal| journal.initial));
    scene.judge.look_at_journal(scene);
    let frontends = u32::try_from(scene.frontends.len()).expect("few");
    let (jobs, queue) = mpsc::channel(MOST_JOBS);
    let catalog = Rc::new(Catalog {
        env: env.clone(),
        scene: Rc::clone(scene),
        core: RefCell::new(Core::new(stock, sessions, frontends, env.now())),
        jobs,
        acknowledged: Notify::new(),
        pushing: RefCell::default(),
    });
    env.spawn(Rc::clone(&catalog).write(queue));
    env.spawn(Rc::clone(&catalog).sweep());
    let listening = Rc::clone(&catalog);
    scene.network.listen(Node::Catalog, move |request| Rc::clone(&listening).answer(request));
}

impl Catalog {
    async fn answer(self: Rc<Self>, request: Request) -> Reply {
        match request {
            Request::Toy(request) => Reply::Toy(self.decide(|core, now| core.fill(&request, now))),
            Request::CatalogStatus => Reply::CatalogStatus(self.decide(|core, _| core.status())),
            Request::Register(request) => self.register(request).await,
            Request::Renew(session) => {
                Reply::Renewed(self.decide(|core, now| core.renew(session, now)))
            }
            Request::Commit(request) => self.ask(|answer| Job::Commit(request, answer)).await,
            Request::Acquire(request) => self.ask(|answer| Job::Acquire(request, answer)).await,
            Request::Journal(from) => self.rows(from).await.map_or(Reply::Unavailable, Reply::Rows),
            Request::JournalOrder(number) => Reply::Order(self.order(number).await),
            other => unreachable!("the catalog is asked {other:?}"),
        }
    }

    async fn ask(&self, job: impl FnOnce(oneshot::Sender<Reply>) -> Job) -> Reply {
        let (answer, outcome) = oneshot::channel();
        if self.jobs.try_send(job(answer)).is_err() {
            return Reply::Unavailable;
        }
        outcome.await.unwrap_or(Reply::Unavailable)
    }

    async fn register(&self, request: Registration) -> Reply {
        let registering = self.decide(|core, now| core.register(request, now));
        let registering = registering.expect("front-ends know their numbers");
        let (session, ended) = (registering.session, registering.ended);
        if !self.note_sessions(Some(session), ended).await {
            return Reply::Unavailable;
        }
        Reply::Registered(self.decide(|core, _| core.registered(session)))
    }

    async fn note_sessions(&self, begun: Option<SessionId>, ended: Vec<SessionId>) -> bool {
        let noted = self.scene.journal.write(move |journal| {
            journal.sessions.retain(|session| !ended.contains(session));
            journal.sessions.extend(begun);
        });
        self.stored(noted.await) == WriteOutcome::Durable
    }

    async fn rows(&self, from: u64) -> Option<Rows> {
        self.env.moment().await;
        let rows = self.scene.journal.read(|journal| journal.rows(from, MOST_ROWS))?;
        Some(self.decide(|core, _| core.published(rows)))
    }

    async fn order(&self, number: OrderNumber) -> OrderReply {
        if !self.decide(|core, _| core.has_order(number)) {
            return OrderReply::Unknown;
        }
        self.env.moment().await;
        let rows = self.scene.journal.read(|journal| journal.rows(number.0, 1));
        let order = rows.and_then(|rows| rows.orders.into_iter().next());
        order.map_or(OrderReply::Unknown, OrderReply::Found)
    }

    async fn write(self: Rc<Self>, mut jobs: mpsc::Receiver<Job>) {
        let mut restock_at = self.env.now() + self.scene.restock_interval;
        let mut tidy_at = self.env.now() + TIDY_INTERVAL;
        loop {
            let patience = restock_at.min(tidy_at).saturating_duration_since(self.env.now());
            match self.env.timeout(patience, jobs.recv()).await {
                Some(Some(Job::Commit(request, answer))) => {
                    let _unheard = answer.send(self.write_batch(request).await);
                }
                Some(Some(Job::Acquire(request, answer))) => {
                    let _unheard = answer.send(self.write_leadership(request).await);
                }
                Some(None) => return,
                None => {
                    let now = self.env.now();
                    if now >= tidy_at {
                        self.decide(Core::give_up_locks);
                        tidy_at = now + TIDY_INTERVAL;
                    }
                    if now >= restock_at {
                        let again = self.restock().await;
                        restock_at = self.env.now() + again.unwrap_or(self.scene.restock_interval);
                    }
                }
            }
        }
    }

    async fn write_batch(self: &Rc<Self>, request: CommitRequest) -> Reply {
        let leader = request.leader;
        let batch = ReceivedBatch::new(request);
        self.env.moment().await;
        let recorded: HashMap<_, _> = self.scene.journal.read(|journal| {
            let known =
                |key: IdempotencyKey| Some((key.clone(), journal.decisions.get(&key)?.clone()));
            batch.keys().into_iter().filter_map(known).collect()
        });
        if !recorded.is_empty() {
            self.env.reached("a decision was given again under its key");
        }
        let locked = match self.decide(|core, now| batch.lock(core, recorded, now)) {
            Ok(locked) => locked,
            Err(leadership) => return Reply::Committed(CommitReply::Deposed(leadership)),
        };
        self.clear(locked.locked_toys()).await;
        let planned = match self.decide(|core, now| locked.plan(core, now)) {
            Ok(planned) => planned,
            Err(leadership) => return Reply::Committed(CommitReply::Deposed(leadership)),
        };
        let stored = self.make_durable(planned.change()).await;
        let Some(sold) = self.decide(|core, _| planned.publish(core, stored)) else {
            return Reply::Unavailable;
        };
        self.tell_judge();
        for order in sold.orders() {
            self.env.trace(|| format!("sells {order:?} for replica {leader}"));
        }
        let (verdicts, rows) = match sold.reply() {
            BatchReply::Ready(CommitReply::Decided { verdicts, rows }) => (verdicts, rows),
            BatchReply::Ready(CommitReply::Deposed(_)) => unreachable!("it has been decided"),
            BatchReply::NeedsRows { from, verdicts } => {
                self.env.reached("a batch was answered with rows of the journal");
                let Some(rows) = self.rows(from).await else { return Reply::Unavailable };
                (verdicts, rows)
            }
        };
        if verdicts.contains(&Verdict::Wait) {
            self.env.reached("a purchase waited for a front-end");
        }
        Reply::Committed(CommitReply::Decided { verdicts, rows })
    }

    async fn restock(self: &Rc<Self>) -> Option<Duration> {
        let restock = self.decide(Restock::lock)?;
        self.clear(restock.locked_toys()).await;
        let (change, again) = self.decide(|core, now| restock.plan(core, now));
        let stored = self.make_durable(&change).await;
        self.decide(|core, _| core.publish(&change, stored));
        self.tell_judge();
        for shelf in &change.shelves {
            self.env.trace(|| format!("restocks {}: {stored:?}", shelf.toy.name));
        }
        if again.is_some() {
            self.env.reached("a restock had to wait");
        }
        again
    }

    async fn write_leadership(&self, request: Acquisition) -> Reply {
        let is_unled = self.decide(|core, _| core.is_unled());
        let longest = if is_unled { self.longest_log().await } else { None };
        self.env.moment().await;
        let length = request.log.length;
        let prefix = self.scene.journal.read(|journal| Some(journal.rows(length, 0)?.after));
        let reply = self.decide(|core, _| core.acquire(&request, prefix, longest));
        if let AcquisitionReply::Won { leadership, .. } = reply {
            let scene = Rc::clone(&self.scene);
            let written = self.scene.journal.write(move |journal| {
                scene.judge.records(leadership);
                journal.leadership = leadership;
            });
            if self.stored(written.await) != WriteOutcome::Durable {
                return Reply::Unavailable;
            }
            self.decide(|core, _| core.adopt_leadership(leadership));
            self.env.trace(|| format!("records that {leadership}"));
        }
        Reply::Acquired(reply)
    }

    async fn longest_log(&self) -> Option<u64> {
        let mut longest = None;
        for id in &self.scene.replicas {
            let asked =
                self.scene.network.call(&self.env, Node::replica(*id), Request::Status, CENSUS);
            if let Ok(Reply::Status(status)) = asked.await {
                longest = longest.max(Some(status.log.length));
            }
        }
        longest
    }

    async fn clear(self: &Rc<Self>, clearing: &LockedToys) {
        for session in &clearing.unacknowledged {
            self.push(*session);
        }
        let cleared = async {
            while self.decide(|core, now| core.is_worth_waiting(&clearing.toys, now)) {
                self.acknowledged.notified().await;
            }
        };
        if self.env.timeout(GRACE, cleared).await.is_none() {
            self.env.reached("a front-end was late with an acknowledgement");
            self.decide(|core, now| core.mark_slow(&clearing.toys, now));
        }
    }

    /// Goes on telling a session what to drop until it has, or has ended.
    fn push(self: &Rc<Self>, session: SessionId) {
        if !self.pushing.borrow_mut().insert(session) {
            return;
        }
        let catalog = Rc::clone(self);
        self.env.spawn(async move {
            while let Some(push) = catalog.decide(|core, now| core.push_for(session, now)) {
                let body = Invalidation { session, toys: push.toys };
                let frontend = Node::Frontend(push.frontend);
                let request = Request::Invalidate(body.clone());
                let network = &catalog.scene.network;
                match network.call(&catalog.env, frontend, request, INVALIDATION).await {
                    Ok(_done) => {
                        catalog.decide(|core, _| core.acknowledged(session, &body.toys));
                        catalog.acknowledged.notify_one();
                    }
                    Err(_failure) => {
                        catalog.env.reached("an invalidation was sent again");
                        catalog.env.sleep(INVALIDATION_PAUSE).await;
                    }
                }
            }
            catalog.pushing.borrow_mut().remove(&session);
        });
    }

    async fn sweep(self: Rc<Self>) {
        loop {
            self.env.sleep(SWEEP_INTERVAL).await;
            let ended = self.decide(Core::sweep);
            if !ended.is_empty() {
                self.env.reached("a session ran out");
                self.note_sessions(None, ended).await;
            }
        }
    }

    async fn make_durable(&self, change: &Change) -> WriteOutcome {
        if change.is_empty() {
            return WriteOutcome::Durable;
        }
        let change = change.clone();
        let written = self.scene.journal.write(move |journal| journal.apply(&change));
        self.stored(written.await)
    }

    /// A process whose disk failed ends.
    fn stored(&self, outcome: Result<(), DiskError>) -> WriteOutcome {
        match outcome {
            Ok(()) => WriteOutcome::Durable,
            Err(DiskError::Full) => WriteOutcome::Unchanged,
            Err(DiskError::Broken) => {
                self.scene.fail(Node::Catalog);
                WriteOutcome::Unknown
            }
        }
    }

    fn tell_judge(&self) {
        let shelves = self.core.borrow().shelves().to_vec();
        let initial = self.scene.journal.read(|journal| journal.initial);
        self.scene.judge.published(&self.env, &shelves, initial);
        self.scene.judge.look_at_journal(&self.scene);
    }

    fn decide<T>(&self, decision: impl FnOnce(&mut Core, Instant) -> T) -> T {
        decision(&mut self.core.borrow_mut(), self.env.now())
    }
}
