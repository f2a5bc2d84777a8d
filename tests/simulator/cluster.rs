//! The cluster: which machines there are, what is on their disks, and which services run on them.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use toystore::catalog::core::history::Stopped;
use toystore::catalog::core::stock::Shelf;
use toystore::catalog::journal::marker::Past;
use toystore::catalog::metrics::CatalogMetrics;
use toystore::catalog::seat::Seat;
use toystore::catalog::service::Kept;
use toystore::catalog::sharing::SharingCatalog;
use toystore::health::Readiness as _;
use toystore::identity::Identity;
use toystore::order::core::Core;
use toystore::order::service::Waiter;
use toystore::process::RoleError;
use toystore::roles::{
    Address, CacheSettings, CatalogProcess, CatalogRole, DatabaseUrl, Engine, FrontendRole,
    OrderRole, PostgresSettings, Role, Roles, ToyRole, TraceSettings,
};
use toystore::runtime::Runtime;
use toystore::shutdown::Shutdown;
use toystore::transport::Peer;
use toystore::wire::calls::{Endpoints, Refusal};
use toystore::wire::lease::{Invalidation, Version};
use toystore::wire::order::{Order, OrderNumber, Position};
use toystore::wire::purchase::IdempotencyKey;
use toystore::wire::replication::{Epoch, ReplicaId};
use toystore::wire::reply::Data;
use toystore::wire::term::{CatalogId, Term};
use toystore::wire::toy::{Price, Toy, ToyName};
use toystore::{catalog, frontend, order};

use super::databases::{CatalogStorage, Journal, Log, ReplicaStorage};
use super::disk::{Disk, Health};
use super::events::{self, Recorded};
use super::judge::Judge;
use super::machine::Machine;
use super::message::{AskReadiness, Node, PlaceOrder, ShowOrder, ShowToy, Shown};
use super::network::{Conditions, Handlers, Network};
use super::observer::Observer;
use super::shared::{Client, SharedBase};
use super::transcript::Transcript;
use super::world::{Env, World};

/// One in so many seeds has two catalogs, which share a database.
const SHARED_EVERY: u64 = 4;
/// One in so many seeds has many replicas, of which those that follow are checked less often.
const MANY_EVERY: u64 = 32;
/// The remainder of those seeds, none of which has two catalogs.
const MANY_FROM: u64 = 6;

/// A store with its machines, network and judge.
pub(crate) struct Cluster {
    pub(crate) world: Rc<World>,
    pub(crate) network: Rc<Network>,
    pub(crate) judge: Rc<Judge>,
    pub(crate) transcript: Rc<Transcript>,
    pub(crate) journal: Rc<Disk<Journal>>,
    pub(crate) logs: BTreeMap<u32, Rc<Disk<Log>>>,
    pub(crate) replicas: Vec<ReplicaId>,
    pub(crate) frontends: Vec<u32>,
    pub(crate) toys: Vec<ToyName>,
    pub(crate) clients: u32,
    roles: Roles,
    catalog: RefCell<Option<Arc<catalog::service::Service>>>,
    /// The database that several catalogs share, if the store has several.
    pub(crate) shared: OnceCell<Rc<SharedBase>>,
    candidates: RefCell<BTreeMap<u32, Arc<SharingCatalog>>>,
    /// The newest term of which the judge has seen what its catalog shows.
    shown_term: Cell<Term>,
    running: RefCell<BTreeMap<u32, Arc<order::service::Service>>>,
    /// What ends each process.
    shutdowns: RefCell<BTreeMap<Node, Shutdown>>,
    last_invalidation: RefCell<Option<Invalidation>>,
    /// Whether the catalog's database was restored from a backup. At most once in a run: the second
    /// backup might hold an order that the first restore lost and that no client heard of.
    was_restored: Cell<bool>,
    /// The replica that each purchase in flight was sent to first.
    pub(crate) first_asked: RefCell<BTreeMap<IdempotencyKey, Node>>,
    /// How many clients each front-end answered with the catalog's last answer for a toy.
    pub(crate) fills: RefCell<BTreeMap<(Node, ToyName), u32>>,
    /// What the catalog last showed, as far as it tells whether anything has changed since: the
    /// journal's length, and the sums of all versions, quantities, and toys ever stocked.
    shown: Cell<Option<[u64; 4]>>,
}

/// What the judge and the observer see of a replica.
pub(crate) struct ReplicaView<'a>(&'a Core<Waiter>);

impl ReplicaView<'_> {
    pub(crate) fn has_acquired(&self) -> bool {
        self.0.has_acquired()
    }

    pub(crate) fn leads(&self) -> Option<Epoch> {
        self.0.leads()
    }

    pub(crate) fn accepted(&self) -> Position {
        self.0.accepted()
    }

    pub(crate) fn acknowledged_length(&self) -> Option<u64> {
        self.0.acknowledged_length()
    }

    pub(crate) fn live_followers(&self) -> Vec<ReplicaId> {
        self.0.live_followers().collect()
    }
}

impl Cluster {
    /// Draws a store, and starts its roles.
    pub(crate) fn new(world: Rc<World>) -> Rc<Self> {
        let mut replicas = [3, 3, 3, 2, 1][draw(&world, 5)];
        if has_many_replicas(&world) {
            replicas = [6, 8, 13][draw(&world, 3)];
        }
        let replicas: Vec<_> = (1..=replicas).map(ReplicaId).collect();
        let frontends: Vec<_> = (1..=[2, 2, 1, 3][draw(&world, 4)]).collect();
        let toys: Vec<ToyName> = ["Tux", "Uno", "Whale", "Fox"][..=draw(&world, 4)]
            .iter()
            .map(|name| ToyName::from(*name))
            .collect();
        let initial = world.draw(2..30);
        let drifts = world.chance(500_000);
        let clients = u32::try_from(world.draw(2..7)).expect("few");
        let capacity = 1 + draw(&world, toys.len());
        let restock_interval = world.draw_time(Duration::from_millis(200)..Duration::from_secs(4));
        let mut roles = roles(&replicas, &frontends, &toys, initial, capacity, restock_interval);
        if world.seed.is_multiple_of(SHARED_EVERY) {
            roles.catalog.engine = several_catalogs();
        }
        let cluster = Self::with_roles(world, roles, clients, drifts);
        if cluster.world.chance(300_000) {
            let longest_delay =
                cluster.world.draw_time(Duration::from_millis(10)..Duration::from_millis(90));
            cluster.network.conditions.set(Conditions { longest_delay, ..Conditions::default() });
        }
        cluster.servers().into_iter().for_each(|node| cluster.start(node));
        cluster
    }

    /// A store of these roles, none of which runs yet.
    pub(crate) fn with_roles(
        world: Rc<World>,
        roles: Roles,
        clients: u32,
        drifts: bool,
    ) -> Rc<Self> {
        let replicas: Vec<_> = roles.orders.iter().map(|order| order.id).collect();
        let frontends: Vec<_> = (1..).zip(&roles.frontends).map(|(number, _)| number).collect();
        let toys: Vec<_> = roles.catalog.toys.iter().map(|toy| toy.name.clone()).collect();
        let shared = match &roles.catalog.engine {
            Engine::Sqlite { .. } => Vec::new(),
            Engine::Postgres(_) => vec![Node::Database],
        };
        let catalogs = catalogs_of(&roles);
        let servers = catalogs.chain([Node::World]).chain(shared.iter().copied());
        let servers = servers.chain(replicas.iter().copied().map(Node::replica));
        let servers = servers.chain(frontends.iter().copied().map(Node::Frontend));
        for node in servers.chain((1..=clients).map(Node::Client)) {
            let is_exact = matches!(node, Node::World | Node::Client(_) | Node::Database);
            world.add_machine(node, drifts && !is_exact);
        }
        let shelves = toys.iter().map(|name| shelf(name, roles.catalog.initial_stock)).collect();
        let logs =
            replicas.iter().map(|id| (id.0, Disk::new(&world, Node::replica(*id), Log::default())));
        let cluster = Rc::new(Self {
            network: Network::new(&world),
            judge: Rc::default(),
            transcript: Rc::default(),
            journal: Disk::new(&world, Node::Catalog, Journal::new(shelves)),
            logs: logs.collect(),
            replicas,
            frontends,
            toys,
            clients,
            roles,
            catalog: RefCell::default(),
            shared: OnceCell::new(),
            candidates: RefCell::default(),
            shown_term: Cell::default(),
            running: RefCell::default(),
            shutdowns: RefCell::default(),
            last_invalidation: RefCell::default(),
            was_restored: Cell::default(),
            first_asked: RefCell::default(),
            fills: RefCell::default(),
            shown: Cell::default(),
            world,
        });
        if !shared.is_empty() {
            let base = SharedBase::new(&cluster);
            // What the first term will show.
            let shelves = cluster.journal.read(|journal| journal.shelves.clone());
            let initial = cluster.roles.catalog.initial_stock;
            cluster.judge.published(&cluster.world, &shelves, initial);
            assert!(cluster.shared.set(base).is_ok(), "a store has one database");
        }
        cluster.network.heal();
        let observer = Rc::downgrade(&(Rc::clone(&cluster) as Rc<dyn Observer>));
        cluster.network.observe(observer);
        let (looking, listening) = (Rc::downgrade(&cluster), Rc::downgrade(&cluster));
        cluster.world.observe(
            move |node| looking.upgrade().into_iter().for_each(|cluster| cluster.look(node)),
            move |line| listening.upgrade().into_iter().for_each(|cluster| cluster.logged(line)),
        );
        cluster
    }

    /// All machines that may fail.
    pub(crate) fn servers(&self) -> Vec<Node> {
        let replicas = self.replicas.iter().copied().map(Node::replica);
        let frontends = self.frontends.iter().copied().map(Node::Frontend);
        self.catalogs().into_iter().chain(replicas).chain(frontends).collect()
    }

    /// The catalog's machine, or those of several.
    pub(crate) fn catalogs(&self) -> Vec<Node> {
        catalogs_of(&self.roles).collect()
    }

    /// The catalog that rules the newest term, of several.
    pub(crate) fn ruler(&self) -> Option<Node> {
        let candidates = self.candidates.borrow();
        let terms = candidates.iter().filter_map(|(id, it)| Some((it.service()?.term, *id)));
        terms.max().map(|(_, id)| Node::Candidate(id))
    }

    /// Starts a process that does not run.
    pub(crate) fn start(self: &Rc<Self>, node: Node) {
        if self.world.is_up(node) {
            return;
        }
        self.world.trace(node, || "starts".to_owned());
        let env = Env { world: Rc::clone(&self.world), node };
        self.world.switch_on(node);
        let runtime: Arc<dyn Runtime> = Arc::new(Machine::new(&env));
        let shutdown = Shutdown::new(CancellationToken::new(), Arc::clone(&runtime));
        self.shutdowns.borrow_mut().insert(node, shutdown.clone());
        self.restart_after_failure(node, &shutdown);
        let handlers = match node {
            Node::Catalog => self.start_catalog(&env, &shutdown, runtime),
            Node::Replica(id) => self.start_replica(&env, ReplicaId(id), &shutdown, runtime),
            Node::Frontend(number) => self.start_frontend(&env, number, &shutdown, runtime),
            Node::Candidate(id) => self.start_candidate(&env, id, &shutdown, runtime),
            Node::Client(_) | Node::Database | Node::World => unreachable!("they never stop"),
        };
        self.network.listen(node, handlers);
    }

    fn start_catalog(&self, env: &Env, shutdown: &Shutdown, runtime: Arc<dyn Runtime>) -> Handlers {
        let loaded = self.journal.read(Journal::load);
        if !loaded.sessions.is_empty() {
            self.world.reached("a restarted catalog waited for earlier sessions");
        }
        let storage = Arc::new(CatalogStorage::new(env, self));
        let (service, jobs) = catalog::service::Service::new(
            storage,
            loaded,
            &self.roles,
            shutdown.clone(),
            runtime,
            events::recorder(&self.world, Node::Catalog),
        );
        events::runs(&self.world, Node::Catalog, &service.identity);
        let connect = self.connect(env, &service.identity);
        let remote = catalog::remote::Remote::new(&self.roles, connect);
        let interval = self.roles.catalog.restock_interval;
        catalog::tasks::start(&service, jobs, remote, interval, shutdown);
        let mut handlers = Handlers::default();
        catalog::routes::internal(&mut handlers, &Seat::Alone(Arc::clone(&service)));
        *self.catalog.borrow_mut() = Some(service);
        self.shown.set(None);
        self.look(Node::Catalog);
        self.judge.look_at_journal(self);
        handlers
    }

    fn start_candidate(
        self: &Rc<Self>,
        env: &Env,
        id: u32,
        shutdown: &Shutdown,
        runtime: Arc<dyn Runtime>,
    ) -> Handlers {
        let identity = events::identity(&self.world, env.node, None);
        let base = self.shared.get().expect("several catalogs share a database");
        let database = Arc::new(Client::new(base, env, CatalogId(id)));
        let metrics = Arc::new(CatalogMetrics::new());
        let kept = Kept { runtime, identity: Arc::clone(&identity), metrics };
        let candidate = SharingCatalog::new(CatalogId(id), (database, 1), &self.roles, &[], kept);
        let (connect, roles) = (self.connect(env, &identity), self.roles.clone());
        let connect = move || catalog::remote::Remote::new(&roles, &connect);
        shutdown.spawn("the terms", Arc::clone(&candidate).run(connect, shutdown.clone()));
        let mut handlers = Handlers::default();
        catalog::routes::internal(&mut handlers, &Seat::Shared(Arc::clone(&candidate)));
        self.candidates.borrow_mut().insert(id, candidate);
        handlers
    }

    fn start_replica(
        &self,
        env: &Env,
        id: ReplicaId,
        shutdown: &Shutdown,
        runtime: Arc<dyn Runtime>,
    ) -> Handlers {
        self.judge.look_at_log(self, id);
        let storage = Box::new(ReplicaStorage::new(env, self, id));
        let store = self.logs[&id.0].read(|log| log.store);
        let identity = events::identity(&self.world, env.node, store);
        let connect = self.connect(env, &identity);
        let remote = Rc::new(order::remote::Remote::new(&self.roles, id, connect));
        let others = self.replicas.iter().copied().filter(|other| *other != id).collect();
        let database = (storage as _, self.logs[&id.0].read(Log::end));
        let shutdown_too = shutdown.clone();
        let service =
            order::service::Service::new(id, others, database, shutdown_too, runtime, identity);
        order::tasks::start(&service, &remote, shutdown);
        let mut handlers = Handlers::default();
        order::routes::internal(&mut handlers, &service, &remote);
        self.running.borrow_mut().insert(id.0, service);
        handlers
    }

    fn start_frontend(
        &self,
        env: &Env,
        number: u32,
        shutdown: &Shutdown,
        runtime: Arc<dyn Runtime>,
    ) -> Handlers {
        let identity = events::identity(&self.world, env.node, None);
        let connect = self.connect(env, &identity);
        let remote = Rc::new(frontend::remote::Remote::new(&self.roles, connect));
        let service =
            frontend::service::Service::new(identity, number, &self.roles, Arc::clone(&runtime));
        frontend::tasks::start(&service, &remote, &self.roles, shutdown);
        let mut handlers = Handlers::default();
        frontend::routes::internal(&mut handlers, &service);
        let recorded = &mut Recorded::new(&mut handlers, &service.identity);
        answer_clients(recorded, &service, &remote, runtime);
        handlers
    }

    fn connect(&self, env: &Env, own: &Arc<Identity>) -> impl Fn(Role) -> Peer + use<> {
        let (network, env, own) = (Rc::clone(&self.network), env.clone(), Arc::clone(own));
        move |role| {
            let node = match role {
                Role::Catalog => Node::Catalog,
                Role::CatalogProcess(id) => Node::Candidate(id.0),
                Role::Order(id) => Node::replica(id),
                Role::Frontend(number) => Node::Frontend(number),
            };
            network.peer(&env, node, &own)
        }
    }

    /// Ends one of several catalogs in order, as SIGTERM does; its server has nothing to finish.
    pub(crate) fn terminate(&self, node: Node) {
        let Node::Candidate(id) = node else { unreachable!("the others end alike") };
        let env = Env { world: Rc::clone(&self.world), node };
        let shutdown = self.shutdowns.borrow_mut().remove(&node).expect("it runs");
        shutdown.stop().cancel();
        let candidate = Arc::clone(&self.candidates.borrow()[&id]);
        env.spawn(async move { candidate.leave().await });
    }

    /// Kills a process, as by kill -9 or a power cut.
    pub(crate) fn crash(&self, node: Node) {
        if !self.world.is_up(node) {
            return;
        }
        self.world.trace(node, || "crashes".to_owned());
        events::crashes(&self.world, node);
        self.network.stop_listening(node);
        self.world.crash(node);
        let shutdown = self.shutdowns.borrow_mut().remove(&node);
        drop(shutdown);
        match node {
            Node::Catalog => {
                self.world.reached("the catalog crashed");
                let ended = self.catalog.take();
                drop(ended);
                self.journal.crash();
            }
            Node::Replica(id) => {
                self.world.reached("a replica crashed");
                let ended = self.running.borrow_mut().remove(&id);
                drop(ended);
                self.logs[&id].crash();
            }
            Node::Candidate(id) => {
                let ended = self.candidates.borrow_mut().remove(&id);
                let ruled = ended.as_ref().is_some_and(|it| it.service().is_some());
                if ruled {
                    self.world.reached("a catalog that ruled crashed");
                }
                drop(ended);
            }
            Node::Frontend(_) => self.world.reached("a front-end crashed"),
            Node::Client(_) | Node::Database | Node::World => {
                unreachable!("they never crash")
            }
        }
    }

    /// Restores the catalog's database from a backup, once; the catalog is down afterwards.
    pub(crate) fn restore(&self, mut backup: Journal) {
        if self.was_restored.replace(true) {
            return;
        }
        self.crash(Node::Catalog);
        self.world.reached("the catalog's database was restored from a backup");
        self.world.trace(Node::Catalog, || format!("is restored to {:?}", backup.log.end()));
        // As its marker would say.
        backup.past = Past::InDoubt;
        self.journal.change(|journal| *journal = backup);
        self.judge.begin_era(self);
    }

    /// Whether a replica's log is longer than the journal.
    pub(crate) fn is_behind(&self) -> bool {
        let journal = self.journal.read(|journal| journal.log.end().length);
        self.logs.values().any(|log| log.read(|log| log.end().length) > journal)
    }

    /// What an operator does once everything is repaired: if the catalog says that a log is longer
    /// than its journal, rolls the journal forward from the longest one.
    pub(crate) fn roll_forward(self: &Rc<Self>) {
        let stopped = self.catalog.borrow().as_ref().map(|it| it.decide(|core, _| core.may_sell()));
        if !matches!(stopped, Some(Err(Stopped::Contradicted { .. }))) {
            return;
        }
        self.crash(Node::Catalog);
        let longest = self.logs.values().map(|log| log.read(Log::clone));
        let longest = longest.max_by_key(|log| log.orders.len()).expect("there are replicas");
        let initial = self.roles.catalog.initial_stock;
        let is_behind = self.is_behind();
        if is_behind {
            let added = self.journal.change(|journal| journal.roll_forward(&longest, initial));
            self.world.reached("a restored journal was rolled forward");
            self.world.trace(Node::Catalog, || format!("is rolled forward by {added} orders"));
        } else {
            self.journal.change(|journal| journal.past = Past::InDoubt);
        }
        self.judge.begin_era(self);
        self.start(Node::Catalog);
    }

    /// The order of this number in the journal, or in the longest log if that is longer.
    pub(crate) fn order(&self, number: OrderNumber) -> Option<Order> {
        let place = usize::try_from(number.0).expect("few");
        let of_journal = self.journal.read(|journal| journal.log.orders.get(place).cloned());
        let mut logs = self.logs.values();
        of_journal.or_else(|| logs.find_map(|log| log.read(|log| log.orders.get(place).cloned())))
    }

    /// A process that fails ends, as in production, and is started again after a while.
    fn restart_after_failure(self: &Rc<Self>, node: Node, shutdown: &Shutdown) {
        let (cluster, shutdown) = (Rc::downgrade(self), shutdown.clone());
        let generation = self.world.generation(node);
        let env = Env { world: Rc::clone(&self.world), node: Node::World };
        self.world.spawn(Node::World, async move {
            shutdown.stop().cancelled().await;
            let Some(cluster) = cluster.upgrade() else { return };
            if cluster.world.generation(node) != generation || !cluster.world.is_up(node) {
                return;
            }
            match shutdown.take_failure() {
                Some(RoleError::Storage(_)) => {}
                Some(failure) => panic!("{node} ends: {failure}"),
                // It was told to.
                None if !cluster.shutdowns.borrow().contains_key(&node) => return,
                None => panic!("{node} ends without a reason"),
            }
            cluster.crash(node);
            cluster.set_health(node, Health::Healthy);
            env.sleep(cluster.world.draw_time(Duration::ZERO..Duration::from_secs(1))).await;
            cluster.start(node);
        });
    }

    /// Looks at a machine after a step of it: whether all invariants still hold.
    fn look(&self, node: Node) {
        events::after_step(&self.world, node);
        match node {
            Node::Catalog => {
                let service = self.catalog.borrow();
                service.iter().for_each(|service| self.look_at_catalog(service));
            }
            Node::Candidate(id) => self.look_at_candidate(id),
            Node::Replica(id) => self.look_at_replica(ReplicaId(id)),
            Node::Frontend(_) | Node::Client(_) | Node::Database | Node::World => {}
        }
    }

    /// What the catalog of an earlier term believes concerns only those whom it answers.
    fn look_at_candidate(&self, id: u32) {
        let service = self.candidates.borrow().get(&id).and_then(|it| it.service());
        let Some(service) = service.filter(|it| it.term >= self.shown_term.get()) else { return };
        if self.shown_term.replace(service.term) != service.term {
            self.world.reached("another catalog ruled");
            self.shown.set(None);
        }
        self.look_at_catalog(&service);
    }

    fn look_at_catalog(&self, service: &catalog::service::Service) {
        let (shown, shelves) = service.decide(|core, _| {
            let sum = |of: fn(&Shelf) -> u64| core.shelves().iter().map(of).sum();
            let shown = [
                core.status().journal.length,
                sum(|shelf| shelf.version.0),
                sum(|shelf| shelf.toy.quantity),
                sum(|shelf| shelf.stocked),
            ];
            let is_new = self.shown.get() != Some(shown);
            (shown, is_new.then(|| core.shelves().to_vec()))
        });
        if let Some(shelves) = shelves {
            self.shown.set(Some(shown));
            self.judge.published(&self.world, &shelves, self.roles.catalog.initial_stock);
            self.judge.look_at_journal(self);
        }
    }

    fn look_at_replica(&self, id: ReplicaId) {
        self.judge.look_at_log(self, id);
        let seen = self.replica(id.0, |core| {
            core.leads().map(|epoch| (epoch, core.acknowledged_length(), core.live_followers()))
        });
        let leading = seen.flatten();
        self.judge.leads(self, id, leading.as_ref().map(|(epoch, ..)| *epoch));
        if let Some((_, Some(length), live)) = leading {
            self.judge.acknowledges(self, id, length, &live);
        }
    }

    /// Reads a replica's state. `None` if it does not run.
    pub(crate) fn replica<T>(&self, id: u32, read: impl FnOnce(ReplicaView<'_>) -> T) -> Option<T> {
        let service = self.running.borrow().get(&id).cloned()?;
        Some(service.decide(|core, _| read(ReplicaView(core))))
    }

    /// Why a replica that runs is not ready, if it is not.
    pub(crate) fn not_ready(&self, id: u32) -> Option<String> {
        self.running.borrow()[&id].readiness().err()
    }

    /// Whether this very invalidation was the last one to be sent.
    pub(crate) fn is_repeated(&self, invalidation: &Invalidation) -> bool {
        let last = self.last_invalidation.borrow_mut().replace(invalidation.clone());
        last.as_ref() == Some(invalidation)
    }

    /// Whether a machine's disk has a write in flight.
    pub(crate) fn is_writing(&self, node: Node) -> bool {
        match node {
            Node::Catalog => self.journal.is_writing(),
            Node::Replica(id) => self.logs[&id].is_writing(),
            Node::Candidate(_)
            | Node::Frontend(_)
            | Node::Client(_)
            | Node::Database
            | Node::World => false,
        }
    }

    pub(crate) fn set_health(&self, node: Node, health: Health) {
        match node {
            Node::Catalog => self.journal.set_health(health),
            Node::Replica(id) => self.logs[&id].set_health(health),
            Node::Candidate(_)
            | Node::Frontend(_)
            | Node::Client(_)
            | Node::Database
            | Node::World => {}
        }
    }
}

/// The machines of the catalogs of `roles`.
fn catalogs_of(roles: &Roles) -> impl Iterator<Item = Node> + use<> {
    let nodes = roles.catalog.roles().into_iter().map(|role| match role {
        Role::CatalogProcess(CatalogId(id)) => Node::Candidate(id),
        Role::Catalog | Role::Order(_) | Role::Frontend(_) => Node::Catalog,
    });
    nodes.collect::<Vec<_>>().into_iter()
}

/// Answers what clients ask a front-end.
fn answer_clients(
    handlers: &mut impl Endpoints,
    service: &Arc<frontend::service::Service>,
    remote: &Rc<frontend::remote::Remote>,
    runtime: Arc<dyn Runtime>,
) {
    use frontend::answers::{Source, ToyAnswer};
    let both = (Arc::clone(service), Rc::clone(remote));
    let all = (Arc::clone(service), Rc::clone(remote), runtime);
    handlers.on(&all, async |(service, remote, runtime), ShowToy(name), _| {
        match service.toy(&remote, name.as_str(), runtime.now(), || ()).await {
            Ok(ToyAnswer::Found(toy, source)) => {
                let shown: Data<Toy> = serde_json::from_slice(&toy.body).expect("it was written");
                let (quantity, version) = (shown.data.quantity, toy.version);
                Ok(Shown { quantity, version, is_hit: source == Source::Cache })
            }
            Ok(ToyAnswer::Unknown) => unreachable!("clients ask for toys that there are"),
            Err(error) => Err(Refusal::Unavailable(error.to_string())),
        }
    });
    handlers.on(&both, async |(service, _), AskReadiness {}, _| Ok(service.readiness().err()));
    handlers.on(&both, async |(service, remote), PlaceOrder(purchase), _| {
        let decision = service.purchase(&remote, &purchase).await;
        decision.map_err(|error| Refusal::Unavailable(error.to_string()))
    });
    handlers.on(&both, async |(service, remote), ShowOrder(number), _| {
        let order = service.order(&remote, number).await;
        order.map_err(|error| Refusal::Unavailable(error.to_string()))
    });
}

/// The configuration of a store of such a shape.
pub(crate) fn roles(
    replicas: &[ReplicaId],
    frontends: &[u32],
    toys: &[ToyName],
    initial_stock: u64,
    capacity: usize,
    restock_interval: Duration,
) -> Roles {
    // Addresses do not matter in a simulated network.
    let address = |port: usize| Address::try_from(format!("127.0.0.1:{port}")).expect("an address");
    let toy = |name: &ToyName| ToyRole { name: name.clone(), price: Price::from_cents(999) };
    Roles {
        folder: PathBuf::new(),
        tls: None,
        data_dir: PathBuf::from("simulated"),
        frontends: frontends
            .iter()
            .map(|id| FrontendRole { id: *id, address: address(8_000 + *id as usize) })
            .collect(),
        catalog: CatalogRole {
            engine: Engine::Sqlite { address: address(8_081) },
            restock_interval,
            initial_stock,
            toys: toys.iter().map(toy).collect(),
        },
        orders: replicas
            .iter()
            .map(|id| OrderRole { id: *id, address: address(8_090 + id.0 as usize) })
            .collect(),
        cache: CacheSettings { enabled: true, capacity },
        trace: TraceSettings { events: 0, otlp: None },
        links: Vec::new(),
        secret: None,
        rate_limit: None,
        hosts: Vec::new(),
    }
}

/// Two catalogs, which share a database.
pub(crate) fn several_catalogs() -> Engine {
    let database = "postgres://toystore@127.0.0.1:5501/toystore".to_owned();
    let process = |id: u32| CatalogProcess {
        id: CatalogId(id),
        address: Address::try_from(format!("127.0.0.1:{}", 8_080 + id)).expect("an address"),
    };
    Engine::Postgres(PostgresSettings {
        database: DatabaseUrl::try_from(database).expect("a URL"),
        standbys: 1,
        processes: vec![process(1), process(2)],
    })
}

fn shelf(name: &ToyName, quantity: u64) -> Shelf {
    let toy = Toy { name: name.clone(), price: Price::from_cents(999), quantity };
    Shelf { toy, stocked: quantity, sold: 0, version: Version(0) }
}

/// Whether the world's seed draws many replicas.
pub(crate) fn has_many_replicas(world: &World) -> bool {
    world.seed % MANY_EVERY == MANY_FROM
}

fn draw(world: &World, below: usize) -> usize {
    usize::try_from(world.draw(0..below as u64)).expect("few")
}
