//! Faults: drawn from the seed, for some seconds; then everything is repaired.

use std::rc::Rc;
use std::time::Duration;

use toystore::transport::Message;
use toystore::wire::calls::{Caller, EndSession, LogReport};
use toystore::wire::count::LARGEST;
use toystore::wire::lease::SessionId;
use toystore::wire::order::{Position, Rows};
use toystore::wire::purchase::CommitRequest;
use toystore::wire::replication::{Acquisition, AppendRequest, Epoch, Leadership, Nomination};

use super::cluster::Cluster;
use super::databases::Journal;
use super::disk::Health;
use super::message::Node;
use super::network::Conditions;
use super::world::Env;

/// How often a crash looks for a write in flight.
const LOOKS: u32 = 2_000;

/// How long a stranger waits for an answer.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Crash,
    /// A crash with a write in flight.
    CrashWhileWriting,
    Pause,
    CutOneWay,
    CutBothWays,
    Isolation,
    /// No front-end reaches a replica, which goes on.
    CutFromFrontEnds,
    FullDisk,
    SlowDisk,
    FailingDisk,
    Conditions,
    Blackout,
    /// Two machines of a kind change places: each answers at the other's address.
    Exchange,
    /// The catalog's database is restored from a backup that was taken a while ago.
    Restore,
    /// Several catalogs and their database.
    Shared(SharedFault),
    /// A stranger names epochs that were never given, and logs and sessions that are not.
    Stranger,
}

/// A fault of several catalogs and the database that they share.
#[derive(Clone, Copy, Debug)]
enum SharedFault {
    /// One of the catalogs does not reach the database.
    CutFromDatabase,
    /// The database is away, or has another primary afterwards.
    Failover,
    /// The catalog that rules and the front-ends do not reach each other, one way or both.
    CutFromFrontEnds,
    /// It has too few standbys.
    FewStandbys,
    /// The catalog that rules is paused, or killed.
    CatalogStops,
}

const FAULTS: [Fault; 15] = [
    Fault::Crash,
    Fault::CrashWhileWriting,
    Fault::Pause,
    Fault::CutOneWay,
    Fault::CutBothWays,
    Fault::Isolation,
    Fault::CutFromFrontEnds,
    Fault::FullDisk,
    Fault::SlowDisk,
    Fault::FailingDisk,
    Fault::Conditions,
    Fault::Blackout,
    Fault::Exchange,
    Fault::Restore,
    Fault::Stranger,
];

const SHARED_FAULTS: [SharedFault; 5] = [
    SharedFault::CutFromDatabase,
    SharedFault::CutFromFrontEnds,
    SharedFault::Failover,
    SharedFault::FewStandbys,
    SharedFault::CatalogStops,
];

/// Injects faults until `end`. Each seed draws which kinds, and how often: a run in which
/// everything fails all the time never gets far enough for what is rare.
pub(crate) fn start(cluster: &Rc<Cluster>, end: Duration) {
    let world = Rc::clone(&cluster.world);
    let shared = SHARED_FAULTS.into_iter().filter(|_| cluster.shared.get().is_some());
    let shared = shared.map(Fault::Shared);
    let kinds: Vec<Fault> =
        FAULTS.into_iter().chain(shared).filter(|_| world.chance(450_000)).collect();
    let longest_peace = world.draw_time(Duration::from_millis(100)..Duration::from_secs(3));
    let env = Env { world, node: Node::World };
    if kinds.is_empty() {
        return;
    }
    let cluster = Rc::clone(cluster);
    env.clone().spawn(async move {
        loop {
            env.sleep(env.world.draw_time(Duration::from_millis(20)..longest_peace)).await;
            if env.world.time() >= end {
                return;
            }
            let kind = kinds[draw(&env, kinds.len())];
            let (env, cluster) = (env.clone(), Rc::clone(&cluster));
            env.clone().spawn(async move { inject(&env, &cluster, kind).await });
        }
    });
}

/// Repairs everything.
pub(crate) fn heal(cluster: &Rc<Cluster>) {
    cluster.world.trace(Node::World, || "repairs everything".to_owned());
    cluster.network.heal();
    if let Some(base) = cluster.shared.get() {
        base.set_away(false);
        base.set_standbys(1);
    }
    for node in cluster.servers() {
        cluster.set_health(node, Health::Healthy);
        cluster.world.resume(node);
        cluster.start(node);
    }
}

async fn inject(env: &Env, cluster: &Rc<Cluster>, kind: Fault) {
    let servers = cluster.servers();
    let one = servers[draw(env, servers.len())];
    let other = servers[draw(env, servers.len())];
    let length = env.world.draw_time(Duration::from_millis(20)..Duration::from_millis(2_500));
    env.trace(|| format!("{kind:?} of {one} ({other}), for {length:?}"));
    match kind {
        Fault::Crash => {
            cluster.crash(one);
            env.sleep(length).await;
            // A full disk may be the reason why the process ended.
            let is_full = env.world.chance(300_000);
            if is_full {
                cluster.set_health(one, Health::Full);
            }
            cluster.start(one);
            if is_full {
                env.sleep(length).await;
                cluster.set_health(one, Health::Healthy);
            }
        }
        Fault::CrashWhileWriting => {
            for _ in 0..LOOKS {
                if cluster.is_writing(one) {
                    cluster.crash(one);
                    break;
                }
                env.sleep(Duration::from_micros(500)).await;
            }
            env.sleep(length).await;
            cluster.start(one);
        }
        Fault::Blackout => {
            for node in &servers {
                cluster.crash(*node);
            }
            env.sleep(length / 4).await;
            let first = draw(env, servers.len());
            for place in 0..servers.len() {
                env.sleep(length / 8).await;
                cluster.start(servers[(first + place) % servers.len()]);
            }
        }
        Fault::Exchange => exchange(env, cluster, one, length).await,
        Fault::Restore => restore(env, cluster, length).await,
        Fault::Stranger => mislead(env, cluster).await,
        Fault::Pause => {
            if cluster.world.is_up(one) && !cluster.world.is_paused(one) {
                cluster.world.reached("a machine was paused");
                cluster.world.pause(one);
                env.sleep(length).await;
                cluster.world.resume(one);
            }
        }
        Fault::CutOneWay => {
            cluster.network.cut(one, other);
            env.sleep(length).await;
            cluster.network.mend(one, other);
        }
        Fault::CutBothWays => {
            cut_both_ways(cluster, one, other);
            env.sleep(length).await;
            mend_both_ways(cluster, one, other);
        }
        Fault::Isolation => {
            for node in servers.iter().filter(|node| **node != one) {
                cut_both_ways(cluster, one, *node);
            }
            env.sleep(length).await;
            for node in servers.iter().filter(|node| **node != one) {
                mend_both_ways(cluster, one, *node);
            }
        }
        Fault::CutFromFrontEnds => {
            for frontend in &cluster.frontends {
                cluster.network.cut(Node::Frontend(*frontend), one);
            }
            env.sleep(length).await;
            for frontend in &cluster.frontends {
                cluster.network.mend(Node::Frontend(*frontend), one);
            }
        }
        Fault::Shared(kind) => inject_beside(env, cluster, kind, length).await,
        Fault::FullDisk => fail_disk(env, cluster, one, Health::Full, length).await,
        Fault::SlowDisk => fail_disk(env, cluster, one, Health::Slow, length).await,
        Fault::FailingDisk => fail_disk(env, cluster, one, Health::Failing, length).await,
        Fault::Conditions => {
            let most = [10_000, 60_000, 200_000][draw(env, 3)];
            let conditions = Conditions {
                lost: env.world.draw(0..most),
                repeated: env.world.draw(0..most),
                very_late: env.world.draw(0..most / 2),
                longest_delay: env
                    .world
                    .draw_time(Duration::from_millis(1)..Duration::from_millis(120)),
            };
            env.trace(|| format!("{conditions:?}"));
            cluster.network.conditions.set(conditions);
        }
    }
}

/// Faults of several catalogs and the database that they share.
async fn inject_beside(env: &Env, cluster: &Rc<Cluster>, kind: SharedFault, length: Duration) {
    match kind {
        SharedFault::CutFromDatabase => {
            let catalogs = cluster.catalogs();
            let one = catalogs[draw(env, catalogs.len())];
            cut_both_ways(cluster, one, Node::Database);
            env.sleep(length).await;
            mend_both_ways(cluster, one, Node::Database);
        }
        SharedFault::CutFromFrontEnds => {
            let Some(one) = cluster.ruler() else { return };
            let frontends = cluster.frontends.iter().map(|frontend| Node::Frontend(*frontend));
            let links = frontends.flat_map(|frontend| [(frontend, one), (one, frontend)]);
            let kept = draw(env, 3);
            let links: Vec<_> =
                links.enumerate().filter(|(at, _)| at % 2 != kept).map(|(_, it)| it).collect();
            for (from, to) in &links {
                cluster.network.cut(*from, *to);
            }
            env.sleep(length).await;
            for (from, to) in &links {
                cluster.network.mend(*from, *to);
            }
        }
        SharedFault::Failover => {
            let base = cluster.shared.get().expect("several catalogs share a database");
            base.set_away(true);
            if env.world.chance(500_000) {
                env.world.reached("the shared database changed its primary");
                base.changes_primary();
            }
            env.sleep(length).await;
            base.set_away(false);
        }
        SharedFault::FewStandbys => {
            let base = cluster.shared.get().expect("several catalogs share a database");
            base.set_standbys(0);
            env.sleep(length).await;
            base.set_standbys(1);
        }
        SharedFault::CatalogStops => {
            let Some(one) = cluster.ruler() else { return };
            if env.world.chance(500_000) {
                cluster.crash(one);
                env.sleep(length).await;
                cluster.start(one);
            } else if env.world.is_up(one) && !env.world.is_paused(one) {
                env.world.reached("a catalog that ruled was paused");
                env.world.pause(one);
                // A front-end may not hear of the next one, and ask this one when it wakes up.
                let frontend =
                    Node::Frontend(cluster.frontends[draw(env, cluster.frontends.len())]);
                let others = cluster.catalogs().into_iter().filter(|other| *other != one);
                let others: Vec<_> = others.filter(|_| env.world.chance(700_000)).collect();
                for other in &others {
                    cut_both_ways(cluster, frontend, *other);
                }
                // Until another one rules, and may change what this one let front-ends cache.
                env.sleep(Duration::from_secs(2) + length).await;
                env.world.resume(one);
                env.sleep(Duration::from_secs(1)).await;
                for other in &others {
                    mend_both_ways(cluster, frontend, *other);
                }
            }
        }
    }
}

/// A backup, and so long afterwards the catalog's end and a restore.
async fn restore(env: &Env, cluster: &Rc<Cluster>, length: Duration) {
    // A database that several catalogs share has no such backup here.
    if cluster.shared.get().is_some() {
        return;
    }
    let backup = cluster.journal.read(Journal::clone);
    env.sleep(length).await;
    cluster.crash(Node::Catalog);
    env.sleep(length / 4).await;
    cluster.restore(backup);
    cluster.start(Node::Catalog);
}

/// Some messages of a stranger, each well-formed and none true. (Rows that were never sold are not
/// among them: the judge wants each log to be a prefix of the journal at all times.)
async fn mislead(env: &Env, cluster: &Cluster) {
    let replica = cluster.replicas[draw(env, cluster.replicas.len())];
    let length = [1, 1_000, LARGEST][draw(env, 3)];
    let epoch = Epoch(length);
    let log = Position { length, ..Position::START };
    let leadership = Leadership { epoch, leader: Some(replica) };
    let start = Rows::none(Position::START);
    let catalogs = cluster.catalogs();
    let catalog = if catalogs.len() == 1 { catalogs[0] } else { catalogs[draw(env, 2)] };
    for _ in 0..=draw(env, 4) {
        let (to, message): (Node, Rc<dyn Message>) = match draw(env, 7) {
            0 => (Node::replica(replica), Rc::new(leadership)),
            1 => (Node::replica(replica), Rc::new(Nomination { seen: epoch })),
            2 => {
                let (rows, leader_length, origins) = (start.clone(), length, Vec::new());
                let append = AppendRequest { leadership, rows, leader_length, origins };
                (Node::replica(replica), Rc::new(append))
            }
            3 => (catalog, Rc::new(Acquisition { nominee: replica, seen: epoch, log })),
            4 => {
                let relayed = vec![(replica, log)];
                (catalog, Rc::new(LogReport { own: Some((replica, log)), relayed }))
            }
            5 => (catalog, Rc::new(EndSession { session: SessionId::FORGOTTEN })),
            _ => {
                let purchases = Vec::new();
                let batch = CommitRequest { leader: replica, epoch, log, purchases };
                (catalog, Rc::new(batch))
            }
        };
        let answer = cluster.network.call(env, to, message, Caller::default(), PATIENCE).await;
        if answer.is_ok() {
            env.world.reached("a stranger's message was answered");
        }
    }
}

async fn fail_disk(env: &Env, cluster: &Cluster, node: Node, health: Health, length: Duration) {
    cluster.set_health(node, health);
    env.sleep(length).await;
    cluster.set_health(node, Health::Healthy);
}

/// A machine and another of its kind change places for a while, if there is another.
async fn exchange(env: &Env, cluster: &Cluster, one: Node, length: Duration) {
    let kind = std::mem::discriminant(&one);
    let other = cluster
        .servers()
        .into_iter()
        .find(|node| *node != one && std::mem::discriminant(node) == kind);
    if let Some(other) = other {
        cluster.network.swap(one, other);
        env.sleep(length).await;
        cluster.network.move_back(one, other);
    }
}

fn cut_both_ways(cluster: &Cluster, one: Node, other: Node) {
    cluster.network.cut(one, other);
    cluster.network.cut(other, one);
}

fn mend_both_ways(cluster: &Cluster, one: Node, other: Node) {
    cluster.network.mend(one, other);
    cluster.network.mend(other, one);
}

fn draw(env: &Env, below: usize) -> usize {
    usize::try_from(env.world.draw(0..below as u64)).expect("few")
}
