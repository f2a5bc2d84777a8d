//! A store in a steady world, which a test asks by hand: for tests of one course of events.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use toystore::identity::Identity;
use toystore::roles::{Role, Roles};
use toystore::transport::CallError;
use toystore::wire::calls::Call;
use toystore::wire::purchase::{Decision, IdempotencyKey, Purchase};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::ReplicaId;
use toystore::wire::toy::ToyName;
use toystore::wire::trace::RequestOrigin;

use super::cluster::{self, Cluster};
use super::machine;
use super::message::{Node, PlaceOrder};
use super::world::{Env, Timing, World};

/// Until then a new store has heard its replicas, chosen a leader, and begun its sessions.
pub(crate) const SETTLED: Duration = Duration::from_secs(3);
/// How long a client waits: longer than a front-end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// An answer, once it is there.
pub(crate) type Answered<T> = Rc<RefCell<Option<Result<T, CallError>>>>;

/// A store that sells 100 Tux, with so many replicas, these front-ends, and what `change` makes of
/// its roles.
pub(crate) fn store(
    replicas: u32,
    frontends: &[u32],
    change: impl FnOnce(&mut Roles),
) -> Rc<Cluster> {
    machine::take_logs();
    let world = World::new(1, toystore::clock::now(), false, Timing::Steady);
    let replicas: Vec<_> = (1..=replicas).map(ReplicaId).collect();
    let toys = [ToyName::from("Tux")];
    let mut roles = cluster::roles(&replicas, frontends, &toys, 100, 10, Duration::from_secs(60));
    change(&mut roles);
    let cluster = Cluster::with_roles(world, roles, 1, false);
    cluster.world.switch_on(Node::Client(1));
    cluster.servers().into_iter().for_each(|node| cluster.start(node));
    pass(&cluster, SETTLED);
    cluster
}

/// Lets so much simulated time pass.
pub(crate) fn pass(cluster: &Cluster, time: Duration) {
    cluster.world.run_until(cluster.world.time() + time);
}

/// Has a client ask a front-end.
pub(crate) fn ask<C: Call>(cluster: &Cluster, frontend: u32, call: C) -> Answered<C::Answer> {
    let env = Env { world: Rc::clone(&cluster.world), node: Node::Client(1) };
    let own = Identity::new(Role::Frontend(0), None);
    let peer = cluster.network.peer(&env, Node::Frontend(frontend), &own);
    let answered = Answered::default();
    let to = Rc::clone(&answered);
    env.spawn(async move {
        *to.borrow_mut() = Some(peer.call(&call, PATIENCE).await);
    });
    answered
}

/// Has a client buy a Tux at a front-end.
pub(crate) fn buy(cluster: &Cluster, frontend: u32, key: &str) -> Answered<Decision> {
    let purchase = Purchase {
        key: IdempotencyKey::from(key.to_owned()),
        name: "Tux".into(),
        quantity: Quantity::ONE,
        origin: RequestOrigin::default(),
        boot: None,
    };
    ask(cluster, frontend, PlaceOrder(purchase))
}
