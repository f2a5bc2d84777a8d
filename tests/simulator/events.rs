//! What happened in a simulated world, as events: those that the services record themselves, and
//! what the network and the machines do to them.
//!
//! The services' recorders are emptied after each step of a machine. So the events are in the order
//! in which they happened, with the world's exact times. A recorder has a clock of its own: reading
//! a machine's clock may stall the machine, and a run is to be the same whether it is recorded or
//! not.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use send_wrapper::SendWrapper;
use toystore::events::EventRecorder;
use toystore::events::collect::trace_event;
use toystore::identity::Identity;
use toystore::roles::Role;
use toystore::runtime::Runtime;
use toystore::wire::calls::{Call, Caller, Endpoints, MessageTag, Refusal};
use toystore::wire::event::{EventKind, EventLog, EventSource, EventsHeader, TraceEvent};
use toystore::wire::identity::StoreId;
use toystore::wire::replication::ReplicaId;
use toystore::wire::term::CatalogId;

use super::cluster::Cluster;
use super::message::Node;
use super::network::Handlers;
use super::world::World;

/// More events than a machine has in one step.
const MOST_IN_A_STEP: usize = 10_000;
/// What the role of a client is called, which has none.
const NO_ROLE: Role = Role::Frontend(0);

/// The events of a world.
#[derive(Default)]
pub(crate) struct Events {
    happened: Vec<TraceEvent>,
    processes: BTreeMap<Node, (u64, Arc<Identity>)>,
}

/// The world's exact clock, for recorders only.
struct ExactClock {
    world: SendWrapper<Rc<World>>,
    first_message: u64,
}

impl Runtime for ExactClock {
    fn now(&self) -> Instant {
        self.world.clock(Node::World)
    }

    fn sleep(&self, _duration: Duration) -> LocalBoxFuture<'static, ()> {
        unreachable!("a recorder does not wait")
    }

    fn spawn(&self, _task: LocalBoxFuture<'static, ()>) {
        unreachable!("a recorder has no tasks")
    }

    fn random(&self) -> u64 {
        self.first_message
    }
}

/// A recorder for the process on `node`, if the world's events are recorded.
pub(crate) fn recorder(world: &Rc<World>, node: Node) -> EventRecorder {
    if world.recorded.borrow().is_none() {
        return EventRecorder::off();
    }
    let place = match node {
        Node::Catalog => 1,
        Node::Candidate(id) => 0x400 + u64::from(id),
        Node::Replica(id) => 0x100 + u64::from(id),
        Node::Frontend(number) => 0x200 + u64::from(number),
        Node::Client(number) => 0x300 + u64::from(number),
        Node::Database | Node::World => unreachable!("it is no process"),
    };
    let first_message = place << 48 | world.generation(node) << 32;
    let clock = ExactClock { world: SendWrapper::new(Rc::clone(world)), first_message };
    EventRecorder::new(role_of(node), MOST_IN_A_STEP, &(Arc::new(clock) as Arc<dyn Runtime>))
}

/// The identity of the process on `node`, which records events if the world's are.
pub(crate) fn identity(world: &Rc<World>, node: Node, store: Option<StoreId>) -> Arc<Identity> {
    // A client's tasks are one process, which never ends.
    let known = world.recorded.borrow().as_ref().and_then(|it| it.processes.get(&node).cloned());
    if let (Node::Client(_), Some((_, identity))) = (node, known) {
        return identity;
    }
    let identity = Identity::recording(role_of(node), store, recorder(world, node));
    runs(world, node, &identity);
    identity
}

/// From now on the process that is `identity` runs on `node`.
pub(crate) fn runs(world: &Rc<World>, node: Node, identity: &Arc<Identity>) {
    if let Some(events) = &mut *world.recorded.borrow_mut() {
        events.processes.insert(node, (world.generation(node), Arc::clone(identity)));
    }
}

/// Takes what the process on `node` has recorded in its last step.
pub(crate) fn after_step(world: &World, node: Node) {
    if let Some(events) = &mut *world.recorded.borrow_mut() {
        events.take(world, node);
    }
}

/// A message was lost on its way.
pub(crate) fn lost(world: &World, from: Node, to: Node, message: Option<&str>) {
    let mut recorded = world.recorded.borrow_mut();
    let (Some(events), Some(message)) = (&mut *recorded, message) else { return };
    // The world takes no note of who waits for it.
    let lost = TraceEvent::new(&name_of(from), EventKind::Drop, "", micros(world));
    events.happened.push(lost.about(message, &name_of(from), &name_of(to)));
}

/// The process on `node` ends without a warning.
pub(crate) fn crashes(world: &World, node: Node) {
    if let Some(events) = &mut *world.recorded.borrow_mut() {
        events.take(world, node);
        let (incarnation, _) = events.processes[&node];
        let crash = TraceEvent::new(&name_of(node), EventKind::Crash, "crash", micros(world));
        events.happened.push(TraceEvent { incarnation, ..crash });
    }
}

/// The id of a call, or of its answer.
pub(crate) fn message_of(tag: Option<&MessageTag>, ending: &str) -> Option<String> {
    tag.map(|tag| format!("{}{ending}", MessageTag::id_text(tag.id)))
}

/// All events of a world, in the common format.
pub(crate) fn log(cluster: &Cluster, seed: u64) -> EventLog {
    let events = cluster.world.recorded.take().unwrap_or_default();
    let clients = (1..=cluster.clients).map(Node::Client);
    let frontends = cluster.frontends.iter().copied().map(Node::Frontend);
    let replicas = cluster.replicas.iter().copied().map(Node::replica);
    let nodes = clients.chain(frontends).chain(cluster.catalogs()).chain(replicas);
    let mut header = EventsHeader::new(EventSource::Simulator, nodes.map(name_of).collect());
    header.seed = Some(seed);
    let mut log = EventLog { header, events: events.happened };
    name_both_ends(&mut log.events);
    log.stamp();
    log
}

impl Events {
    fn take(&mut self, world: &World, node: Node) {
        let Some((incarnation, identity)) = self.processes.get(&node) else { return };
        for event in identity.recorder().take() {
            let event = trace_event(&name_of(node), event);
            let time_us = micros(world);
            self.happened.push(TraceEvent { time_us, incarnation: *incarnation, ..event });
        }
    }
}

/// A message that is lost has no name where it is lost, and a client none that its server knows:
/// both are told by where it was sent and received.
fn name_both_ends(events: &mut [TraceEvent]) {
    let mut names: HashMap<String, String> = HashMap::new();
    let mut ends: HashMap<String, [Option<String>; 2]> = HashMap::new();
    for event in &*events {
        let Some(message) = &event.message else { continue };
        let place = match event.kind {
            EventKind::Send => 0,
            EventKind::Recv => 1,
            EventKind::Drop
            | EventKind::Local
            | EventKind::Timer
            | EventKind::Crash
            | EventKind::Start => continue,
        };
        names.insert(message.clone(), event.name.clone());
        ends.entry(message.clone()).or_default()[place] = Some(event.node.clone());
    }
    for event in events {
        let Some(message) = &event.message else { continue };
        if let (EventKind::Drop, Some(name)) = (event.kind, names.get(message)) {
            event.name.clone_from(name);
        }
        // An answer that never came has the ends of its call, the other way round.
        let call = message.trim_end_matches(".answer");
        let of_call = ends.get(call).map(|[from, to]| [to.clone(), from.clone()]);
        let own = ends.get(message).cloned().unwrap_or_default();
        let is_answer = call != message;
        let other = of_call.filter(|_| is_answer).unwrap_or_default();
        let [from, to] = [0, 1].map(|end| own[end].clone().or_else(|| other[end].clone()));
        event.from = from.or_else(|| event.from.take());
        event.to = to.or_else(|| event.to.take());
    }
}

fn role_of(node: Node) -> Role {
    match node {
        Node::Catalog => Role::Catalog,
        Node::Candidate(id) => Role::CatalogProcess(CatalogId(id)),
        Node::Replica(id) => Role::Order(ReplicaId(id)),
        Node::Frontend(number) => Role::Frontend(number),
        Node::Client(_) | Node::Database | Node::World => NO_ROLE,
    }
}

fn name_of(node: Node) -> String {
    match node {
        Node::Client(number) => format!("client-{number}"),
        Node::Database => "database".to_owned(),
        Node::World => "world".to_owned(),
        Node::Catalog | Node::Candidate(_) | Node::Replica(_) | Node::Frontend(_) => {
            role_of(node).to_string()
        }
    }
}

fn micros(world: &World) -> u64 {
    u64::try_from(world.time().as_micros()).expect("a run is short")
}

/// Endpoints whose calls are recorded, whomever they are meant for: what clients ask.
pub(crate) struct Recorded<'a> {
    handlers: &'a mut Handlers,
    identity: Arc<Identity>,
}

impl<'a> Recorded<'a> {
    pub(crate) fn new(handlers: &'a mut Handlers, identity: &Arc<Identity>) -> Self {
        Self { handlers, identity: Arc::clone(identity) }
    }
}

impl Endpoints for Recorded<'_> {
    fn on<C: Call, S, F>(&mut self, state: &S, answer: impl Fn(S, C, Caller) -> F + Clone + 'static)
    where
        S: Clone + 'static,
        F: Future<Output = Result<C::Answer, Refusal>> + 'static,
    {
        let identity = Arc::clone(&self.identity);
        self.handlers.on(state, move |state, call: C, caller| {
            let exchange = identity.recorder().receives(&call, &caller);
            let answered = answer(state, call, caller);
            let identity = Arc::clone(&identity);
            async move {
                let answer = answered.await;
                if let Some(exchange) = exchange {
                    let refusal = answer.as_ref().err().map(ToString::to_string);
                    identity.recorder().answers(&exchange, refusal.as_deref());
                }
                answer
            }
        });
    }
}
