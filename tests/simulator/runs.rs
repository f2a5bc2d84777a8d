//! One run: clients shop while faults come, everything is repaired, and must complete.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use toystore::wire::event::EventLog;

use super::cluster::Cluster;
use super::paths::Paths;
use super::world::{Timing, World};
use super::{client, events, faults, machine};

/// How long everything may take to complete once it is healed.
const RECOVERY: Duration = Duration::from_secs(40);

/// What a run did.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) paths: Paths,
    pub(crate) events: u64,
    pub(crate) orders: u64,
    pub(crate) simulated: Duration,
}

/// Runs a world. Its cluster is returned as it is at the end.
pub(crate) fn run_in(world: &Rc<World>) -> (Rc<Cluster>, Outcome) {
    machine::take_logs();
    let cluster = Cluster::new(Rc::clone(world));
    let done = Rc::new(Cell::new(0));
    for number in 1..=cluster.clients {
        let actions = world.draw(20..80);
        client::start(&cluster, number, actions, &done);
    }
    let faults_end = world.draw_time(Duration::from_secs(2)..Duration::from_secs(9));
    faults::start(&cluster, faults_end);
    world.run_until(faults_end);
    faults::heal(&cluster);
    let frontends = cluster.frontends.len();
    (0..frontends).for_each(|place| client::start_final_check(&cluster, place, &done));
    let all = cluster.clients + u32::try_from(frontends).expect("few");
    let latest = faults_end + RECOVERY;
    // Faults that are active end by themselves; the network's conditions are good again.
    while world.time() < latest {
        world.run_until(world.time() + Duration::from_millis(500));
        cluster.roll_forward();
        if done.get() == all && cluster.judge.is_at_rest(&cluster) {
            break;
        }
    }
    let served = done.get();
    assert_eq!(
        served, all,
        "everything was repaired, and some clients were not served within {RECOVERY:?}"
    );
    cluster.judge.at_rest(&cluster);
    let paths = world.paths.borrow().clone();
    let orders = cluster.judge.orders();
    // Tasks and the world hold each other.
    cluster.servers().into_iter().for_each(|node| cluster.crash(node));
    world.stop_observing();
    let events = world.events.get();
    (cluster, Outcome { paths, events, orders, simulated: world.time() })
}

/// Runs a seed, and returns what happened in it. The trace has what the services log, too, if it is
/// wanted.
pub(crate) fn recorded(seed: u64, traces: bool) -> (EventLog, Vec<String>) {
    let world = World::new(seed, toystore::clock::now(), traces, Timing::Random);
    *world.recorded.borrow_mut() = Some(events::Events::default());
    let (cluster, _) = run_in(&world);
    (events::log(&cluster, seed), world.take_trace())
}
