//! A front-end's machine: the production's cores, with a simulated network around them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::Notify;
use toystore::frontend::core::cache::{Cache, ConfirmedLookup, Lookup};
use toystore::frontend::core::health::HealthCheck;
use toystore::frontend::core::retry::{DEADLINE, QUERY_DEADLINE, Retry, RetryDecision};
use toystore::frontend::core::selection::{AttemptOutcome, Selection};
use toystore::frontend::core::session::{
    NextCall, RENEWAL_INTERVAL, RenewalOutcome, SessionKeeper,
};
use toystore::frontend::single_flight::SingleFlight;
use toystore::wire::lease::{FillReply, FillRequest, SessionId};
use toystore::wire::order::OrderNumber;
use toystore::wire::purchase::{Purchase, PurchaseReply};
use toystore::wire::replication::{Leadership, Nomination, NominationReply, OrderReply, ReplicaId};
use toystore::wire::toy::ToyName;

use super::changes::{Changes, Listener};
use super::message::{Failure, Node, Reply, Request, Shown};
use super::scene::Scene;
use super::world::Env;

const CHECK: Duration = Duration::from_millis(250);
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
const NOMINATION: Duration = Duration::from_secs(1);
const NOTICE: Duration = Duration::from_millis(250);
const QUESTION: Duration = Duration::from_millis(500);

struct Frontend {
    env: Env,
    scene: Rc<Scene>,
    number: u32,
    cache: RefCell<Cache<Shown>>,
    single_flight: SingleFlight<Option<Reply>>,
    selection: RefCell<Selection>,
    leader_changed: Changes,
    selecting: Notify,
}

/// Starts the process, with an empty cache.
pub(crate) fn start(scene: &Rc<Scene>, number: u32) {
    let node = Node::Frontend(number);
    let env = Env { world: Rc::clone(&scene.world), node };
    env.world.switch_on(node);
    let frontend = Rc::new(Frontend {
        env: env.clone(),
        scene: Rc::clone(scene),
        number,
        cache: RefCell::new(Cache::new(scene.cache_capacity)),
        single_flight: SingleFlight::default(),
        selection: RefCell::new(Selection::new(scene.replicas.iter().copied())),
        leader_changed: Changes::default(),
        selecting: Notify::new(),
    });
    env.spawn(Rc::clone(&frontend).keep_session());
    for id in &scene.replicas {
        env.spawn(Rc::clone(&frontend).check_health(*id));
    }
    env.spawn(Rc::clone(&frontend).select_leader());
    let listening = Rc::clone(&frontend);
    scene.network.listen(node, move |request| Rc::clone(&listening).answer(request));
}

impl Frontend {
    async fn answer(self: Rc<Self>, request: Request) -> Reply {
        match request {
            Request::Show(name) => self.toy(name).await.unwrap_or(Reply::Unavailable),
            Request::Buy(purchase) => self.purchase(purchase).await.unwrap_or(Reply::Unavailable),
            Request::Find(number) => self.order(number).await.unwrap_or(Reply::Unavailable),
            Request::Invalidate(told) => {
                self.cache.borrow_mut().invalidate(told.session, &told.toys);
                Reply::Done
            }
            other => unreachable!("a front-end is asked {other:?}"),
        }
    }

    async fn toy(&self, name: ToyName) -> Option<Reply> {
        let lookup = self.cache.borrow_mut().look_up(name.as_str(), self.env.now());
        let was_hit = matches!(lookup, Lookup::Hit(..));
        self.env.moment().await;
        match lookup.confirmed(self.env.now()) {
            ConfirmedLookup::Hit(shown) => Some(Reply::Shown(Shown { is_hit: true, ..shown })),
            ConfirmedLookup::Unknown => unreachable!("shoppers ask for toys that there are"),
            ConfirmedLookup::Ask(session) => {
                if was_hit {
                    self.env.reached("a lease ended between look-up and answer");
                }
                self.ask_for_toy(name, session).await
            }
        }
    }

    async fn ask_for_toy(&self, name: ToyName, session: Option<SessionId>) -> Option<Reply> {
        let request = FillRequest { name: name.clone(), session };
        let asked_itself = std::cell::Cell::new(false);
        let fill = async {
            asked_itself.set(true);
            self.fill(request).await
        };
        let answer = self.single_flight.run(name, fill);
        let answer = self.env.timeout(QUERY_DEADLINE, answer).await;
        if !asked_itself.get() && matches!(answer, Some(Some(Some(_)))) {
            self.env.reached("a miss was shared");
        }
        answer??
    }

    async fn fill(&self, request: FillRequest) -> Option<Reply> {
        let mut retry = Retry::new(self.env.now(), QUERY_DEADLINE);
        let fill = loop {
            match self.ask(Node::Catalog, Request::Toy(request.clone()), QUESTION).await {
                Ok(Reply::Toy(FillReply::Found(fill))) => break fill,
                Ok(other) => unreachable!("{other:?}"),
                Err(_) => match retry.failed(self.env.now()) {
                    RetryDecision::Again(pause) => self.env.sleep(pause).await,
                    RetryDecision::GiveUp => return None,
                },
            }
        };
        let (quantity, version) = (fill.toy.quantity, fill.version);
        let shown = Shown { quantity, version, is_hit: false };
        let stored = self.cache.borrow_mut().filled(&fill, shown);
        if fill.cacheable_under.is_some() && !stored {
            self.env.reached("an answer was overtaken by its invalidation");
        }
        Some(Reply::Shown(shown))
    }

    async fn purchase(&self, purchase: Purchase) -> Option<Reply> {
        let first = std::cell::Cell::new(None);
        let ask = async |leader: ReplicaId, limit| {
            let request = Request::Purchase(purchase.clone(), limit);
            match self.ask(Node::replica(leader), request, limit).await? {
                Reply::Purchased(PurchaseReply::Decided(decision)) => {
                    if *first.get().get_or_insert(leader) != leader {
                        let path =
                            "a purchase was answered by another leader than it was asked of first";
                        self.env.reached(path);
                    }
                    Ok(Ok(Reply::Bought(decision)))
                }
                Reply::Purchased(PurchaseReply::NotLeader(leadership)) => Ok(Err(leadership)),
                other => unreachable!("{other:?}"),
            }
        };
        let noting = async |leader, limit| {
            first.set(first.get().or(Some(leader)));
            ask(leader, limit).await
        };
        self.ask_leader(noting).await
    }

    async fn order(&self, number: OrderNumber) -> Option<Reply> {
        let ask = async |leader: ReplicaId, limit| match self
            .ask(Node::replica(leader), Request::Order(number), limit)
            .await?
        {
            Reply::Order(OrderReply::Found(order)) => Ok(Ok(Reply::Found(Some(order)))),
            Reply::Order(OrderReply::Unknown) => Ok(Ok(Reply::Found(None))),
            other => unreachable!("{other:?}"),
        };
        self.ask_leader(ask).await
    }

    async fn ask_leader(
        &self,
        ask: impl AsyncFn(ReplicaId, Duration) -> Result<Result<Reply, Leadership>, Failure>,
    ) -> Option<Reply> {
        let mut retry = Retry::new(self.env.now(), DEADLINE);
        let mut changes = self.leader_changed.listen();
        loop {
            changes.catch_up();
            if let Some(leader) = self.select(|selection| selection.leader()) {
                let attempt = std::pin::pin!(ask(leader, retry.time_limit(self.env.now())));
                let other = std::pin::pin!(self.another_than(leader, &mut changes));
                match select(attempt, other).await {
                    Either::Left((outcome, _)) => {
                        let (attempt, reply) = judge(outcome);
                        self.select(|selection| selection.attempted(leader, attempt));
                        if reply.is_some() {
                            return reply;
                        }
                    }
                    Either::Right(_) => {
                        self.env.reached("an attempt ended because another replica leads");
                        continue;
                    }
                }
            }
            let RetryDecision::Again(pause) = retry.failed(self.env.now()) else { return None };
            let _either = self.env.timeout(pause, changes.news()).await;
        }
    }

    async fn another_than(&self, leader: ReplicaId, changes: &mut Listener) {
        while self.select(|selection| selection.leadership().is_led_by(leader)) {
            changes.news().await;
        }
    }

    async fn keep_session(self: Rc<Self>) {
        let mut keeper = SessionKeeper::new(self.number);
        loop {
            let sent = self.env.now();
            let next_call = keeper.next_call(&*self.cache.borrow());
            match next_call {
                NextCall::Register(request) => {
                    let asked = self.ask(Node::Catalog, Request::Register(request), QUESTION);
                    if let Ok(Reply::Registered(reply)) = asked.await {
                        keeper.registered(&mut self.cache.borrow_mut(), sent, reply);
                    }
                }
                NextCall::Renew(session) => {
                    let asked = self.ask(Node::Catalog, Request::Renew(session), QUESTION);
                    if let Ok(Reply::Renewed(reply)) = asked.await {
                        let mut cache = self.cache.borrow_mut();
                        let renewed = keeper.renewed(&mut cache, session, sent, reply);
                        if renewed == RenewalOutcome::Expired {
                            continue;
                        }
                    }
                }
            }
            self.env.sleep(RENEWAL_INTERVAL).await;
        }
    }

    async fn check_health(self: Rc<Self>, replica: ReplicaId) {
        loop {
            let check = match self.ask(Node::replica(replica), Request::Status, CHECK).await {
                Ok(Reply::Status(status)) => HealthCheck::Answered(status),
                Ok(other) => unreachable!("{other:?}"),
                Err(Failure::NobodyListens) => HealthCheck::Gone,
                Err(Failure::NoAnswer | Failure::Unavailable) => HealthCheck::Missed,
            };
            self.select(|selection| selection.checked(replica, check));
            self.selecting.notify_one();
            self.env.sleep(CHECK_INTERVAL).await;
        }
    }

    async fn select_leader(self: Rc<Self>) {
        loop {
            self.selecting.notified().await;
            if let Some(nominee) = self.select(|selection| selection.nominee()) {
                self.env.trace(|| format!("nominates {nominee:?}"));
                let request = Request::Nominate(Nomination { seen: nominee.seen });
                let reply = match self.ask(Node::replica(nominee.id), request, NOMINATION).await {
                    Ok(Reply::Nominated(reply)) => Some(reply),
                    Ok(other) => unreachable!("{other:?}"),
                    Err(_) => None,
                };
                if !matches!(reply, Some(NominationReply::Won(_) | NominationReply::Lost(_))) {
                    self.env.reached("a nominee could not lead");
                }
                self.select(|selection| selection.nominated(nominee.id, reply.as_ref()));
                self.selecting.notify_one();
            }
            let (leadership, uninformed) =
                self.select(|selection| (selection.leadership(), selection.uninformed()));
            let events = uninformed
                .into_iter()
                .map(|id| self.ask(Node::replica(id), Request::Leader(leadership), NOTICE));
            futures_util::future::join_all(events).await;
        }
    }

    async fn ask(&self, to: Node, request: Request, limit: Duration) -> Result<Reply, Failure> {
        self.scene.network.call(&self.env, to, request, limit).await
    }

    fn select<T>(&self, work: impl FnOnce(&mut Selection) -> T) -> T {
        let (outcome, before, after) = {
            let mut selection = self.selection.borrow_mut();
            let before = (selection.leadership(), selection.leader());
            let outcome = work(&mut selection);
            (outcome, before, (selection.leadership(), selection.leader()))
        };
        if before != after {
            self.env.trace(|| format!("takes {:?} for the leader: {}", after.1, after.0));
            self.leader_changed.tell();
            self.selecting.notify_one();
        }
        outcome
    }
}

fn judge(outcome: Result<Result<Reply, Leadership>, Failure>) -> (AttemptOutcome, Option<Reply>) {
    match outcome {
        Ok(Ok(reply)) => (AttemptOutcome::Answered, Some(reply)),
        Ok(Err(leadership)) => (AttemptOutcome::NotLeader(leadership), None),
        Err(Failure::NobodyListens) => (AttemptOutcome::Gone, None),
        Err(Failure::NoAnswer | Failure::Unavailable) => (AttemptOutcome::Unanswered, None),
    }
}
