//! A store and its surroundings: who is there, what is on their disks, what they are told to do.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use toystore::catalog::core::stock::Shelf;
use toystore::wire::lease::Version;
use toystore::wire::replication::{Leadership, ReplicaId};
use toystore::wire::toy::{Price, Toy, ToyName};

use super::catalog::{self, Journal};
use super::disk::{Disk, Health};
use super::frontend;
use super::judge::Judge;
use super::message::Node;
use super::network::{Network, Weather};
use super::replica::{self, Log};
use super::world::World;

/// A store, drawn from the seed.
pub(crate) struct Scene {
    pub(crate) world: Rc<World>,
    pub(crate) network: Rc<Network>,
    pub(crate) judge: Judge,
    pub(crate) journal: Rc<Disk<Journal>>,
    pub(crate) logs: BTreeMap<u32, Rc<Disk<Log>>>,
    pub(crate) replicas: Vec<ReplicaId>,
    pub(crate) frontends: Vec<u32>,
    pub(crate) toys: Vec<ToyName>,
    pub(crate) cache_capacity: usize,
    pub(crate) restock_interval: Duration,
    pub(crate) shoppers: u32,
}

impl Scene {
    /// Draws a store, and starts its roles.
    pub(crate) fn new(world: Rc<World>) -> Rc<Self> {
        let replicas: Vec<_> = (1..=[3, 3, 3, 2, 1][draw(&world, 5)]).map(ReplicaId).collect();
        let frontends: Vec<_> = (1..=[2, 2, 1, 3][draw(&world, 4)]).collect();
        let toys: Vec<ToyName> = ["Tux", "Uno", "Whale", "Fox"][..=draw(&world, 4)]
            .iter()
            .map(|name| ToyName::from(*name))
            .collect();
        let initial = world.draw(2..30);
        let drifts = world.chance(500_000);
        let names = [Node::Catalog, Node::Fate];
        let nodes = names.into_iter().chain(replicas.iter().copied().map(Node::replica));
        let shoppers = u32::try_from(world.draw(2..7)).expect("few");
        let nodes = nodes.chain(frontends.iter().copied().map(Node::Frontend));
        for node in nodes.chain((1..=shoppers).map(Node::Shopper)) {
            let keeps_good_time = matches!(node, Node::Fate | Node::Shopper(_));
            world.add_machine(node, drifts && !keeps_good_time);
        }
        let shelves = toys.iter().map(|name| shelf(name, initial)).collect();
        let journal = Journal {
            shelves,
            initial,
            orders: Vec::new(),
            ends: Vec::new(),
            decisions: BTreeMap::new(),
            leadership: Leadership::default(),
            sessions: std::collections::BTreeSet::new(),
        };
        let logs =
            replicas.iter().map(|id| (id.0, Disk::new(&world, Node::replica(*id), Log::default())));
        let scene = Rc::new(Self {
            network: Network::new(&world),
            judge: Judge::default(),
            journal: Disk::new(&world, Node::Catalog, journal),
            logs: logs.collect(),
            cache_capacity: 1 + draw(&world, toys.len()),
            restock_interval: world.draw_time(Duration::from_millis(200)..Duration::from_secs(4)),
            replicas,
            frontends,
            toys,
            shoppers,
            world,
        });
        scene.network.heal();
        if scene.world.chance(300_000) {
            let slowness =
                scene.world.draw_time(Duration::from_millis(10)..Duration::from_millis(90));
            scene.network.weather.set(Weather { slowness, ..Weather::default() });
        }
        scene.servers().into_iter().for_each(|node| scene.start(node));
        scene
    }

    /// All machines that may fail.
    pub(crate) fn servers(&self) -> Vec<Node> {
        let replicas = self.replicas.iter().copied().map(Node::replica);
        let frontends = self.frontends.iter().copied().map(Node::Frontend);
        [Node::Catalog].into_iter().chain(replicas).chain(frontends).collect()
    }

    /// Starts a process that does not run.
    pub(crate) fn start(self: &Rc<Self>, node: Node) {
        if self.world.is_up(node) {
            return;
        }
        self.world.trace(node, || "starts".to_owned());
        match node {
            Node::Catalog => catalog::start(self),
            Node::Replica(id) => replica::start(self, ReplicaId(id)),
            Node::Frontend(number) => frontend::start(self, number),
            Node::Shopper(_) | Node::Fate => unreachable!("they never stop"),
        }
    }

    /// Kills a process, as by kill -9 or a power cut.
    pub(crate) fn crash(&self, node: Node) {
        if !self.world.is_up(node) {
            return;
        }
        self.world.trace(node, || "crashes".to_owned());
        self.world.crash(node);
        match node {
            Node::Catalog => {
                self.world.reached("the catalog crashed");
                self.journal.crash();
            }
            Node::Replica(id) => {
                self.world.reached("a replica crashed");
                self.logs[&id].crash();
            }
            Node::Frontend(_) => self.world.reached("a front-end crashed"),
            Node::Shopper(_) | Node::Fate => unreachable!("they never crash"),
        }
    }

    /// A process whose disk failed ends, and somebody starts it again.
    pub(crate) fn fail(self: &Rc<Self>, node: Node) {
        let scene = Rc::clone(self);
        let life = self.world.life(node);
        let env = super::world::Env { world: Rc::clone(&self.world), node: Node::Fate };
        self.world.spawn(Node::Fate, async move {
            if scene.world.life(node) == life {
                scene.crash(node);
                scene.set_health(node, Health::Well);
                env.sleep(scene.world.draw_time(Duration::ZERO..Duration::from_secs(1))).await;
                scene.start(node);
            }
        });
    }

    /// Whether something is on its way to a machine's disk.
    pub(crate) fn is_writing(&self, node: Node) -> bool {
        match node {
            Node::Catalog => self.journal.is_writing(),
            Node::Replica(id) => self.logs[&id].is_writing(),
            Node::Frontend(_) | Node::Shopper(_) | Node::Fate => false,
        }
    }

    pub(crate) fn set_health(&self, node: Node, health: Health) {
        match node {
            Node::Catalog => self.journal.set_health(health),
            Node::Replica(id) => self.logs[&id].set_health(health),
            Node::Frontend(_) | Node::Shopper(_) | Node::Fate => {}
        }
    }
}

fn shelf(name: &ToyName, quantity: u64) -> Shelf {
    let toy = Toy { name: name.clone(), price: Price::from_cents(999), quantity };
    Shelf { toy, stocked: quantity, sold: 0, version: Version(0) }
}

fn draw(world: &World, below: usize) -> usize {
    usize::try_from(world.draw(0..below as u64)).expect("few")
}
