//! The two loops of clients. Closed: a client orders as soon as its last order is answered. Open:
//! orders are due at fixed times, whether or not earlier ones are answered, as of many people who
//! do not know of one another; so a system that hangs is asked again and again.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;

use crate::Problem;
use crate::etcd::{Etcd, Shelves};
use crate::store::Store;
use crate::tally::Tally;

/// The most orders without an answer in an open loop. It is under what a system takes.
const MOST_WAITING: usize = 900;
/// A client that was refused tries again after this time: not in a tight loop.
const PAUSE: Duration = Duration::from_millis(5);
/// How often an open loop looks which orders are due; tokio's timers tell no shorter times apart.
const TICK: Duration = Duration::from_millis(1);

/// The toys that are sold. Every roles.toml that ships has them.
pub(crate) const TOYS: [&str; 12] = [
    "Tux",
    "Barbie",
    "Crayola Crayons",
    "Dollhouse",
    "Erector Set",
    "Etch A Sketch",
    "Frisbee",
    "Hula Hoop",
    "Jigsaw Puzzle",
    "LEGO",
    "Lincoln Logs",
    "Monopoly",
];

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// A front-end of the store.
    Store,
    /// etcd, with an order put under a key of its own.
    EtcdPut,
    /// etcd, with the stock taken and the order put in one transaction.
    EtcdTransaction,
}

/// A load.
pub(crate) struct Plan {
    /// What is loaded.
    pub(crate) system: System,
    /// Where it is. Clients are spread over the addresses.
    pub(crate) addresses: Vec<SocketAddr>,
    /// How many clients there are; in an open loop, how many connections at first.
    pub(crate) clients: usize,
    /// For how long.
    pub(crate) time: Duration,
    /// Orders per second in an open loop.
    pub(crate) rate: Option<u32>,
}

/// A client's connection.
enum Client {
    Store(Store),
    Etcd(Etcd),
}

impl Client {
    /// Orders one toy. Returns how many attempts another client was ahead of.
    async fn order(&mut self, toy: usize) -> Result<u64, Problem> {
        match self {
            Self::Store(store) => store.order(TOYS[toy]).await.map(|()| 0),
            Self::Etcd(etcd) => etcd.order(toy).await,
        }
    }
}

/// Connects clients, where several may share a connection.
struct Connector {
    plan: Plan,
    shelves: Rc<Shelves>,
    /// How many were connected.
    count: usize,
}

impl Connector {
    async fn connect(&mut self) -> Result<Client, Problem> {
        let address = self.plan.addresses[self.count % self.plan.addresses.len()];
        self.count += 1;
        Ok(match self.plan.system {
            System::Store => Client::Store(Store::connect(address).await?),
            System::EtcdPut => Client::Etcd(Etcd::connect(address, None).await?),
            System::EtcdTransaction => {
                Client::Etcd(Etcd::connect(address, Some(Rc::clone(&self.shelves))).await?)
            }
        })
    }
}

/// Runs a load, and returns what it saw.
pub(crate) async fn run(plan: Plan) -> Result<Tally, Problem> {
    let (clients, time, rate) = (plan.clients, plan.time, plan.rate);
    let shelves = Rc::new(Shelves::default());
    if plan.system == System::EtcdTransaction {
        let mut etcd = Etcd::connect(plan.addresses[0], Some(Rc::clone(&shelves))).await?;
        etcd.stock_up().await?;
    }
    let mut connector = Connector { plan, shelves, count: 0 };
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(connector.connect().await?);
    }
    let tally = Rc::new(RefCell::new(Tally::begin()?));
    let end = Instant::now() + time;
    if let Some(rate) = rate {
        open_loop(connector, connected, rate, end, &tally).await;
    } else {
        closed_loop(connector, connected, end, &tally).await;
    }
    let tally = tally.replace(Tally::begin()?);
    Ok(with_end(tally))
}

fn with_end(mut tally: Tally) -> Tally {
    tally.end();
    tally
}

async fn closed_loop(
    connector: Connector,
    connected: Vec<Client>,
    end: Instant,
    tally: &Rc<RefCell<Tally>>,
) {
    let connector = Rc::new(tokio::sync::Mutex::new(connector));
    for (number, mut client) in connected.into_iter().enumerate() {
        let (tally, connector) = (Rc::clone(tally), Rc::clone(&connector));
        spawn_local(async move {
            let mut toy = number % TOYS.len();
            while Instant::now() < end {
                let begin = Instant::now();
                match client.order(toy).await {
                    Ok(conflicts) => tally.borrow_mut().answered(begin, conflicts),
                    Err(problem) => {
                        tally.borrow_mut().failed(&problem);
                        tokio::time::sleep(PAUSE).await;
                        if let Ok(another) = connector.lock().await.connect().await {
                            client = another;
                        }
                    }
                }
                // Each client walks through all toys, in another order than its neighbour.
                toy = (toy + 1 + number % 5) % TOYS.len();
            }
        });
    }
    tokio::time::sleep_until(end.into()).await;
}

async fn open_loop(
    mut connector: Connector,
    connected: Vec<Client>,
    rate: u32,
    end: Instant,
    tally: &Rc<RefCell<Tally>>,
) {
    let idle = Rc::new(RefCell::new(connected));
    let waiting = Rc::new(());
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    for number in 0_u32.. {
        let due = begin + Duration::from_secs(1) * number / rate;
        if due >= end {
            break;
        }
        while Instant::now() < due {
            ticks.tick().await;
        }
        if Rc::strong_count(&waiting) > MOST_WAITING {
            tally.borrow_mut().failed(&"too many orders wait for an answer".into());
            continue;
        }
        let next = idle.borrow_mut().pop();
        let client = match next {
            Some(client) => Ok(client),
            None => connector.connect().await,
        };
        let mut client = match client {
            Ok(client) => client,
            Err(problem) => {
                tally.borrow_mut().failed(&problem);
                continue;
            }
        };
        // A timer is late by up to a tick, which is not the system's time.
        let sent = Instant::now();
        let (tally, idle, waiting) = (Rc::clone(tally), Rc::clone(&idle), Rc::clone(&waiting));
        spawn_local(async move {
            match client.order(number as usize % TOYS.len()).await {
                Ok(conflicts) => {
                    tally.borrow_mut().answered(sent, conflicts);
                    idle.borrow_mut().push(client);
                }
                Err(problem) => tally.borrow_mut().failed(&problem),
            }
            drop(waiting);
        });
    }
}
