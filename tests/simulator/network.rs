//! The network: messages are late, lost, repeated and overtaken, and links are cut, also one way.

use std::any::TypeId;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;
use toystore::identity::Identity;
use toystore::roles::Role;
use toystore::transport::{self, CallError, Message, Peer, Unreachable};
use toystore::wire::calls::{Call, Caller, Endpoints, Refusal};
use toystore::wire::replication::ReplicaId;
use toystore::wire::term::CatalogId;

use super::events;
use super::message::Node;
use super::observer::Observer;
use super::world::{Env, World};

/// The conditions on a network; shares are in millionths of its messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// So late that most callers have given up.
    pub(crate) very_late: u64,
    /// Other messages take at most this long.
    pub(crate) longest_delay: Duration,
}

/// How long each message takes in a steady world.
const STEADY_DELAY: Duration = Duration::from_micros(100);

type Reply = Result<Rc<dyn Message>, CallError>;
type Handler = Rc<dyn Fn(&dyn Message, Caller) -> LocalBoxFuture<'static, Reply>>;

/// All links.
pub(crate) struct Network {
    world: Rc<World>,
    pub(crate) conditions: Cell<Conditions>,
    /// Directions in which nothing gets through.
    cuts: RefCell<BTreeSet<(Node, Node)>>,
    /// How each process answers each type of call.
    handlers: RefCell<BTreeMap<Node, BTreeMap<TypeId, Handler>>>,
    /// Machines that have changed places: which one is at the address of which.
    moved: RefCell<BTreeMap<Node, Node>>,
    /// Where the answers to lost messages would go: such a caller waits until its time limit.
    unanswered: RefCell<Vec<Answers>>,
    observer: OnceCell<Weak<dyn Observer>>,
    /// Messages to be held up, and what those that are wait for.
    holds: RefCell<Vec<Hold>>,
    held: RefCell<Vec<oneshot::Sender<()>>>,
}

/// The next message in this direction whose type begins with this word is held up.
pub(crate) struct Hold {
    pub(crate) from: Node,
    pub(crate) to: Node,
    pub(crate) word: String,
}

/// Where the first answer goes.
type Answers = Rc<RefCell<Option<oneshot::Sender<Reply>>>>;

/// What a process registers its answers with.
#[derive(Default)]
pub(crate) struct Handlers(BTreeMap<TypeId, Handler>);

impl Endpoints for Handlers {
    fn on<C: Call, S, F>(&mut self, state: &S, answer: impl Fn(S, C, Caller) -> F + Clone + 'static)
    where
        S: Clone + 'static,
        F: Future<Output = Result<C::Answer, Refusal>> + 'static,
    {
        let state = state.clone();
        let handler = move |message: &dyn Message, caller| -> LocalBoxFuture<'static, Reply> {
            let call = message.as_any().downcast_ref::<C>().expect("handlers go by type");
            let answered = answer(state.clone(), call.clone(), caller);
            Box::pin(async move {
                match answered.await {
                    Ok(answer) => Ok(Rc::new(answer) as Rc<dyn Message>),
                    Err(Refusal::Unavailable(message)) => {
                        Err(CallError::Refused { status: 503, message })
                    }
                    Err(Refusal::Misdirected(message)) => {
                        Err(CallError::Refused { status: transport::MISDIRECTED, message })
                    }
                    Err(Refusal::NotRuling(who_rules)) => {
                        Err(CallError::Unreachable(Unreachable::NotRuling(who_rules)))
                    }
                }
            })
        };
        self.0.insert(TypeId::of::<C>(), Rc::new(handler));
    }
}

/// How one process reaches another.
struct Link {
    network: Rc<Network>,
    env: Env,
    to: Node,
}

impl transport::Network for Link {
    fn call(
        &self,
        call: Rc<dyn Message>,
        caller: Caller,
        limit: Duration,
    ) -> LocalBoxFuture<'static, Reply> {
        let (network, env) = (Rc::clone(&self.network), self.env.clone());
        // What is at the address when the call is made answers it.
        let to = network.at_address_of(self.to);
        Box::pin(async move { network.call(&env, to, call, caller, limit).await })
    }
}

impl Network {
    pub(crate) fn new(world: &Rc<World>) -> Rc<Self> {
        Rc::new(Self {
            world: Rc::clone(world),
            conditions: Cell::default(),
            cuts: RefCell::default(),
            handlers: RefCell::default(),
            moved: RefCell::default(),
            unanswered: RefCell::default(),
            observer: OnceCell::new(),
            holds: RefCell::default(),
            held: RefCell::default(),
        })
    }

    /// From now on `observer` sees all messages.
    pub(crate) fn observe(&self, observer: Weak<dyn Observer>) {
        assert!(self.observer.set(observer).is_ok(), "a network has one observer");
    }

    /// From now on `node` answers by these handlers.
    pub(crate) fn listen(&self, node: Node, handlers: Handlers) {
        self.handlers.borrow_mut().insert(node, handlers.0);
    }

    /// `node` answers no more.
    pub(crate) fn stop_listening(&self, node: Node) {
        let handlers = self.handlers.borrow_mut().remove(&node);
        drop(handlers);
    }

    /// The role that runs at the address of `to`, as the process on `env`'s machine, which is
    /// `own`, reaches it.
    pub(crate) fn peer(self: &Rc<Self>, env: &Env, to: Node, own: &Arc<Identity>) -> Peer {
        let role = match to {
            Node::Catalog => Role::Catalog,
            Node::Candidate(id) => Role::CatalogProcess(CatalogId(id)),
            Node::Replica(id) => Role::Order(ReplicaId(id)),
            Node::Frontend(number) => Role::Frontend(number),
            Node::Client(_) | Node::Database | Node::World => unreachable!("they are not called"),
        };
        let link = Link { network: Rc::clone(self), env: env.clone(), to };
        Peer::simulated(role, Rc::new(link), own)
    }

    /// Two machines change places: each is at the other's address.
    pub(crate) fn swap(&self, one: Node, other: Node) {
        self.world.trace(Node::World, || format!("{one} and {other} change places"));
        let (at_one, at_other) = (self.at_address_of(one), self.at_address_of(other));
        let mut moved = self.moved.borrow_mut();
        moved.insert(one, at_other);
        moved.insert(other, at_one);
    }

    /// Each of two machines is at its own address again.
    pub(crate) fn move_back(&self, one: Node, other: Node) {
        self.world.trace(Node::World, || format!("{one} and {other} are back"));
        let mut moved = self.moved.borrow_mut();
        moved.remove(&one);
        moved.remove(&other);
    }

    fn at_address_of(&self, node: Node) -> Node {
        self.moved.borrow().get(&node).copied().unwrap_or(node)
    }

    pub(crate) fn cut(&self, from: Node, to: Node) {
        self.world.trace(Node::World, || format!("cuts {from} -> {to}"));
        self.cuts.borrow_mut().insert((from, to));
    }

    pub(crate) fn mend(&self, from: Node, to: Node) {
        self.world.trace(Node::World, || format!("mends {from} -> {to}"));
        self.cuts.borrow_mut().remove(&(from, to));
    }

    /// Holds a message up until all are [released](Network::release).
    pub(crate) fn hold(&self, hold: Hold) {
        self.holds.borrow_mut().push(hold);
    }

    pub(crate) fn release(&self) {
        for held in self.held.take() {
            let _gave_up = held.send(());
        }
    }

    /// Waits if the message is one to be held up. True if it was.
    async fn is_held(&self, from: Node, to: Node, message: &dyn Message) -> bool {
        let is_meant = |hold: &Hold| {
            (hold.from, hold.to) == (from, to) && format!("{message:?}").starts_with(&hold.word)
        };
        let place = self.holds.borrow().iter().position(is_meant);
        let Some(place) = place else { return false };
        self.holds.borrow_mut().remove(place);
        let (held, released) = oneshot::channel();
        self.held.borrow_mut().push(held);
        released.await.expect("it is released before the end");
        true
    }

    pub(crate) fn heal(&self) {
        self.cuts.borrow_mut().clear();
        self.moved.borrow_mut().clear();
        self.conditions
            .set(Conditions { longest_delay: Duration::from_millis(1), ..Conditions::default() });
    }

    /// Asks, and waits for the answer, at most so long by the asking machine's clock.
    pub(crate) async fn call(
        self: &Rc<Self>,
        env: &Env,
        to: Node,
        call: Rc<dyn Message>,
        caller: Caller,
        limit: Duration,
    ) -> Reply {
        let (answer, answered) = oneshot::channel();
        let answers: Answers = Rc::new(RefCell::new(Some(answer)));
        let repeated = self.world.chance(self.conditions.get().repeated);
        if repeated {
            self.world.reached("a message was delivered twice");
        }
        self.observed(|observer| observer.sent(env.node, to, &*call));
        for _ in 0..=u32::from(repeated) {
            let call = (Rc::clone(&call), caller.clone());
            self.send(env.node, to, call, Rc::clone(&answers));
        }
        drop(answers);
        let reply = match env.timeout(limit, answered).await {
            Some(Ok(reply)) => reply,
            Some(Err(_)) => {
                let how = Unreachable::Broken("the connection was closed".into());
                Err(CallError::Unreachable(how))
            }
            None => Err(CallError::Unreachable(Unreachable::Silent)),
        };
        self.observed(|observer| observer.received(env.node, to, &*call, &reply));
        reply
    }

    fn send(
        self: &Rc<Self>,
        from: Node,
        to: Node,
        (call, caller): (Rc<dyn Message>, Caller),
        answers: Answers,
    ) {
        let network = Rc::clone(self);
        self.world.spawn(Node::World, async move {
            let message = |ending| events::message_of(caller.message.as_ref(), ending);
            let (asked, answered) = (message(""), message(".answer"));
            if !network.travels(from, to).await {
                events::lost(&network.world, from, to, asked.as_deref());
                network.unanswered.borrow_mut().push(answers);
                return;
            }
            let handlers = network.handlers.borrow().get(&to).cloned();
            let Some(handlers) = handlers else {
                let refused = Err(CallError::Unreachable(Unreachable::ConnectionRefused));
                network.answer(to, from, refused, answers, None).await;
                return;
            };
            let handler = handlers.get(&(*call).as_any().type_id());
            let handler = Rc::clone(handler.expect("a process is asked what it can answer"));
            let world = Rc::clone(&network.world);
            // If the machine crashes, this ends, and with it the connection.
            world.spawn(to, async move {
                let arrived = network.world.time();
                network.observed(|observer| observer.arrived(from, to, &*call));
                let reply = handler(&*call, caller).await;
                let took = network.world.time().saturating_sub(arrived);
                network.observed(|observer| observer.answered(from, to, &*call, &reply, took));
                let answering = Rc::clone(&network);
                network.world.spawn(Node::World, async move {
                    answering.answer(to, from, reply, answers, answered).await;
                });
            });
        });
    }

    async fn answer(
        &self,
        from: Node,
        to: Node,
        reply: Reply,
        answers: Answers,
        message: Option<String>,
    ) {
        if !self.travels(from, to).await {
            events::lost(&self.world, from, to, message.as_deref());
            self.unanswered.borrow_mut().push(answers);
            return;
        }
        if let Ok(message) = &reply
            && self.is_held(from, to, &**message).await
        {
            self.observed(|observer| observer.held(from, to, &**message));
        }
        if let Some(first) = answers.borrow_mut().take() {
            let _gave_up = first.send(reply);
        }
    }

    /// Whether a message arrives; ends when it does, or would have.
    pub(crate) async fn travels(&self, from: Node, to: Node) -> bool {
        if self.world.is_steady() {
            self.env().sleep(STEADY_DELAY).await;
            return !self.is_cut(from, to);
        }
        let conditions = self.conditions.get();
        // What is sent in a step that has stalled leaves after the stall.
        self.env().sleep(self.world.stall_left(from)).await;
        let mut delay = self.world.draw_time(Duration::from_micros(50)..conditions.longest_delay);
        if self.world.chance(conditions.very_late) {
            delay = self.world.draw_time(Duration::from_millis(300)..Duration::from_secs(8));
            self.world.reached("a message was very late");
        }
        let sent_into_a_cut = self.is_cut(from, to);
        self.env().sleep(delay).await;
        if sent_into_a_cut || self.is_cut(from, to) {
            self.world.reached("a message ran into a cut");
            return false;
        }
        if self.world.chance(conditions.lost) {
            self.world.reached("a message was lost");
            return false;
        }
        true
    }

    /// Notes that a rare path was reached.
    pub(crate) fn reached(&self, path: &'static str) {
        self.world.reached(path);
    }

    fn is_cut(&self, from: Node, to: Node) -> bool {
        self.cuts.borrow().contains(&(from, to))
    }

    fn observed(&self, tell: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = self.observer.get().and_then(Weak::upgrade) {
            tell(&*observer);
        }
    }

    fn env(&self) -> Env {
        Env { world: Rc::clone(&self.world), node: Node::World }
    }
}
