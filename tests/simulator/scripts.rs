//! The scripts of the [transcripts](super): what is done in each situation, and that it is told as
//! before.

use std::error::Error;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use goldenscript::{Block, Context};
use toystore::identity::Identity;
use toystore::wire::order::OrderNumber;
use toystore::wire::purchase::{IdempotencyKey, Purchase};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::ReplicaId;
use toystore::wire::toy::ToyName;
use toystore::wire::trace::RequestOrigin;

use super::super::cluster::{self, Cluster};
use super::super::conversation::{Conversation, TALKS};
use super::super::machine;
use super::super::message::{Node, PlaceOrder, ShowOrder, ShowToy};
use super::super::network::Hold;
use super::super::world::{Env, Timing, World};

/// How long a client waits for its answer.
const TIME_LIMIT: Duration = Duration::from_secs(12);
/// By then a store that was started has a leader, and each front-end a session.
const SETTLED: Duration = Duration::from_secs(1);

/// What a script can do.
#[derive(goldenscript::Command)]
enum Command {
    /// Starts a store of three replicas and so many front-ends, and waits until it serves.
    Start {
        #[arg(key, optional)]
        frontends: Option<u32>,
    },
    /// A client asks for a toy.
    Get {
        toy: String,
        #[arg(key)]
        at: Option<Role>,
    },
    /// A client buys.
    Buy {
        toy: String,
        #[arg(key)]
        quantity: Option<u64>,
        #[arg(key)]
        key: Option<String>,
        #[arg(key)]
        at: Option<Role>,
    },
    /// A client asks for an order.
    Order {
        number: u64,
        #[arg(key)]
        at: Option<Role>,
    },
    /// Lets the time pass, in milliseconds.
    Run { millis: f64 },
    /// Kills a role, as by kill -9.
    Kill { role: Role },
    /// Stops a role in its tracks, as by SIGSTOP.
    Pause { role: Role },
    /// Lets a paused role go on.
    Resume { role: Role },
    /// Starts a role that was killed.
    Boot { role: Role },
    /// Holds up the next answer of this kind.
    Hold { from: Role, to: Role, kind: String },
    /// Lets everything go that is held up.
    Release,
}

/// A role's name, such as `order-3`.
#[derive(Clone, Copy)]
struct Role(Node);

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.parse::<toystore::roles::Role>()? {
            toystore::roles::Role::Catalog => Ok(Self(Node::Catalog)),
            toystore::roles::Role::CatalogProcess(id) => Ok(Self(Node::Candidate(id.0))),
            toystore::roles::Role::Order(id) => Ok(Self(Node::replica(id))),
            toystore::roles::Role::Frontend(number) => Ok(Self(Node::Frontend(number))),
        }
    }
}

/// Runs a script.
#[derive(Default)]
struct Runner {
    cluster: Option<Rc<Cluster>>,
    keys: u32,
    /// The whole conversation, when it is over.
    heard: Conversation,
}

impl Runner {
    fn start(&mut self, frontends: u32) {
        machine::take_logs();
        let world = World::new(0, toystore::clock::now(), false, Timing::Steady);
        let replicas: Vec<_> = (1..=3).map(ReplicaId).collect();
        let frontends: Vec<_> = (1..=frontends).collect();
        let toys = ["Tux", "Uno"].map(ToyName::from);
        let interval = Duration::from_secs(10);
        let roles = cluster::roles(&replicas, &frontends, &toys, 100, 10, interval);
        let cluster = Cluster::with_roles(world, roles, 1, false);
        cluster.world.switch_on(Node::Client(1));
        cluster.servers().into_iter().for_each(|node| cluster.start(node));
        cluster.world.run_until(SETTLED);
        cluster.transcript.begin(&cluster.world);
        self.cluster = Some(cluster);
    }

    fn cluster(&self) -> &Rc<Cluster> {
        self.cluster.as_ref().expect("a script begins with start")
    }

    /// A client asks, and waits for the answer while time passes.
    fn ask<C: toystore::wire::calls::Call>(&self, at: Option<Role>, call: C) {
        let cluster = self.cluster();
        let env = Env { world: Rc::clone(&cluster.world), node: Node::Client(1) };
        let own = Identity::new(toystore::roles::Role::Frontend(0), None);
        let at = at.map_or(Node::Frontend(1), |role| role.0);
        let peer = cluster.network.peer(&env, at, &own);
        env.spawn(async move {
            let _seen_in_the_transcript = peer.call(&call, TIME_LIMIT).await;
        });
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        match command {
            Command::Start { frontends } => self.start(frontends.unwrap_or(1)),
            Command::Get { toy, at } => self.ask(*at, ShowToy(toy.as_str().into())),
            Command::Order { number, at } => self.ask(*at, ShowOrder(OrderNumber(*number))),
            Command::Buy { toy, quantity, key, at } => {
                self.keys += 1;
                let key = key.clone().unwrap_or_else(|| format!("k{}", self.keys));
                let quantity =
                    Quantity::new(quantity.unwrap_or(1)).ok_or("a quantity is 1 or more")?;
                let name = toy.as_str().into();
                let key = IdempotencyKey::from(key);
                self.ask(
                    *at,
                    PlaceOrder(Purchase {
                        key,
                        name,
                        quantity,
                        origin: RequestOrigin::default(),
                        boot: None,
                    }),
                );
            }
            Command::Run { millis } => {
                let world = &self.cluster().world;
                world.run_until(world.time() + Duration::from_secs_f64(millis / 1_000.0));
            }
            Command::Kill { role } => {
                let cluster = self.cluster();
                cluster.transcript.note(&cluster.world, role.0, || "killed".to_owned());
                cluster.crash(role.0);
            }
            Command::Boot { role } => {
                let cluster = self.cluster();
                cluster.transcript.note(&cluster.world, role.0, || "started".to_owned());
                cluster.start(role.0);
            }
            Command::Pause { role } => {
                let cluster = self.cluster();
                cluster.transcript.note(&cluster.world, role.0, || "stopped (SIGSTOP)".to_owned());
                cluster.world.pause(role.0);
            }
            Command::Resume { role } => {
                let cluster = self.cluster();
                cluster.transcript.note(&cluster.world, role.0, || "goes on (SIGCONT)".to_owned());
                cluster.world.resume(role.0);
            }
            Command::Hold { from, to, kind } => {
                let (from, to, word) = (from.0, to.0, kind.clone());
                self.cluster().network.hold(Hold { from, to, word });
            }
            Command::Release => self.cluster().network.release(),
        }
        Ok(self.cluster().transcript.take())
    }

    fn start_block(&mut self, _block: &Block) -> Result<String, Box<dyn Error>> {
        if let Some(cluster) = &self.cluster {
            cluster.transcript.begin(&cluster.world);
        }
        Ok(String::new())
    }

    fn end_script(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some(cluster) = self.cluster.take() {
            self.heard = cluster.transcript.conversation.take();
            *cluster.transcript.lines.borrow_mut() = None;
            cluster.servers().into_iter().for_each(|node| cluster.crash(node));
            cluster.world.stop_observing();
        }
        Ok(())
    }
}

#[test]
fn every_transcript_is_what_the_services_say() {
    for talk in TALKS {
        let path = format!("tests/simulator/transcripts/{}.txt", talk.name);
        let mut runner = Runner::default();
        goldenscript::run(&mut runner, &path).expect("the transcript can be read");
        runner.heard.check(&talk);
    }
}
