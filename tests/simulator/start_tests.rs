//! Roles that start together, in a steady world: when the store sells, and which replica leads.

use std::rc::Rc;
use std::time::Duration;

use toystore::wire::replication::{Epoch, Leadership, ReplicaId};

use super::cluster::{self, Cluster};
use super::machine;
use super::message::Node;
use super::world::{Timing, World};

/// Within this time a leader is chosen: some questions at intervals of 10 ms, and two writes.
const CHOSEN: Duration = Duration::from_millis(60);

/// A store of three replicas and a front-end, none of which runs.
fn closed_store() -> Rc<Cluster> {
    machine::take_logs();
    let world = World::new(1, toystore::clock::now(), false, Timing::Steady);
    let replicas: Vec<_> = (1..=3).map(ReplicaId).collect();
    let toys = ["Tux".into()];
    let roles = cluster::roles(&replicas, &[1], &toys, 100, 10, Duration::from_secs(60));
    Cluster::with_roles(world, roles, 1, false)
}

fn start(cluster: &Rc<Cluster>, nodes: &[Node]) {
    for node in nodes {
        cluster.start(*node);
    }
}

fn pass(cluster: &Cluster, time: Duration) {
    cluster.world.run_until(cluster.world.time() + time);
}

fn epoch(cluster: &Cluster) -> Epoch {
    cluster.journal.read(|journal| journal.leadership.epoch)
}

fn leader(cluster: &Cluster) -> Option<ReplicaId> {
    cluster.journal.read(|journal| journal.leadership.leader)
}

#[test]
fn roles_that_start_at_once_find_each_other_whatever_comes_first() {
    let in_order = [Node::Catalog, Node::Replica(1), Node::Replica(2), Node::Replica(3)];
    let in_order = [&in_order[..], &[Node::Frontend(1)]].concat();
    let backwards: Vec<_> = in_order.iter().rev().copied().collect();
    for order in [in_order, backwards] {
        let cluster = closed_store();
        for node in &order {
            start(&cluster, &[*node]);
            pass(&cluster, Duration::from_millis(5));
        }
        pass(&cluster, CHOSEN);
        assert_eq!(leader(&cluster), Some(ReplicaId(3)), "{order:?}");
    }
}

#[test]
fn roles_that_start_anew_do_not_wait_for_the_last_leader() {
    const OFFSETS: [u64; 3] = [0, 4, 11];
    let all = [Node::Catalog, Node::Replica(1), Node::Replica(2), Node::Replica(3)];
    let all = [&all[..], &[Node::Frontend(1)]].concat();
    let offset = |schedule: usize, place: u32| OFFSETS[schedule / 3_usize.pow(place) % 3];
    for schedule in 0..OFFSETS.len().pow(5) {
        let offsets: Vec<_> = (0..5).map(|place| offset(schedule, place)).collect();
        let cluster = closed_store();
        start(&cluster, &all);
        pass(&cluster, Duration::from_secs(1));
        for node in &all {
            cluster.crash(*node);
        }
        let last = epoch(&cluster);
        pass(&cluster, Duration::from_secs(10));
        let mut starts: Vec<_> = offsets.iter().zip(&all).collect();
        starts.sort();
        let mut passed = 0;
        for (offset, node) in starts {
            pass(&cluster, Duration::from_millis(offset - passed));
            passed = *offset;
            start(&cluster, &[*node]);
        }
        pass(&cluster, CHOSEN);
        assert!(epoch(&cluster) > last, "the last leader does not lead; started at {offsets:?} ms");
        assert_eq!(leader(&cluster), Some(ReplicaId(3)), "started at {offsets:?} ms");
    }
}

#[test]
fn a_lower_id_that_started_a_little_earlier_does_not_lead() {
    let cluster = closed_store();
    start(&cluster, &[Node::Catalog, Node::Frontend(1), Node::Replica(1), Node::Replica(2)]);
    pass(&cluster, Duration::from_millis(70));
    let none = Leadership::default();
    assert_eq!(cluster.journal.read(|journal| journal.leadership), none);
    start(&cluster, &[Node::Replica(3)]);
    pass(&cluster, CHOSEN);
    assert_eq!(leader(&cluster), Some(ReplicaId(3)));
}

#[test]
fn a_replica_that_does_not_start_is_not_waited_for() {
    let cluster = closed_store();
    start(&cluster, &[Node::Catalog, Node::Frontend(1), Node::Replica(1), Node::Replica(2)]);
    pass(&cluster, Duration::from_millis(100) + CHOSEN);
    assert_eq!(leader(&cluster), Some(ReplicaId(2)));
}
