//! A store whose catalog is killed, stopped, or has a full disk: how soon a front-end says so, what
//! a purchase is told that waited for it, and what is cached afterwards.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use toystore::identity::Identity;
use toystore::roles::Role;
use toystore::transport::CallError;
use toystore::wire::calls::Call;
use toystore::wire::purchase::{Decision, IdempotencyKey, Purchase};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::ReplicaId;
use toystore::wire::toy::ToyName;
use toystore::wire::trace::RequestOrigin;

use super::cluster::{self, Cluster};
use super::disk::Health;
use super::machine;
use super::message::{AskReadiness, Node, PlaceOrder, ShowToy, Shown};
use super::world::{Env, Timing, World};

/// By then a store that was started has a leader, and its front-end a session.
const SETTLED: Duration = Duration::from_secs(2);
/// Within this time `/readyz` says what is missing.
const SAID: Duration = Duration::from_secs(1);
/// How long a client waits: longer than a front-end.
const PATIENCE: Duration = Duration::from_secs(12);

/// An answer, once it is there.
type Answered<T> = Rc<RefCell<Option<Result<T, CallError>>>>;

/// What happens to the catalog.
#[derive(Clone, Copy, Debug)]
enum Absence {
    Killed,
    Stopped,
}

/// A store that sells, in a steady world.
fn store(has_cache: bool) -> Rc<Cluster> {
    machine::take_logs();
    let world = World::new(1, toystore::clock::now(), false, Timing::Steady);
    let replicas: Vec<_> = (1..=3).map(ReplicaId).collect();
    let toys = [ToyName::from("Tux")];
    let mut roles = cluster::roles(&replicas, &[1], &toys, 100, 10, Duration::from_secs(60));
    roles.cache.enabled = has_cache;
    let cluster = Cluster::with_roles(world, roles, 1, false);
    cluster.world.switch_on(Node::Client(1));
    cluster.servers().into_iter().for_each(|node| cluster.start(node));
    pass(&cluster, SETTLED);
    cluster
}

fn pass(cluster: &Cluster, time: Duration) {
    cluster.world.run_until(cluster.world.time() + time);
}

fn ask<C: Call>(cluster: &Cluster, call: C) -> Answered<C::Answer> {
    let env = Env { world: Rc::clone(&cluster.world), node: Node::Client(1) };
    let own = Identity::new(Role::Frontend(0), None);
    let peer = cluster.network.peer(&env, Node::Frontend(1), &own);
    let answered = Answered::default();
    let to = Rc::clone(&answered);
    env.spawn(async move {
        *to.borrow_mut() = Some(peer.call(&call, PATIENCE).await);
    });
    answered
}

fn buy(cluster: &Cluster) -> Answered<Decision> {
    let purchase = Purchase {
        key: IdempotencyKey::from("a".to_owned()),
        name: "Tux".into(),
        quantity: Quantity::ONE,
        origin: RequestOrigin::default(),
        boot: None,
    };
    ask(cluster, PlaceOrder(purchase))
}

/// Why the front-end is not ready, if it is not.
fn not_ready(cluster: &Cluster) -> Option<String> {
    let answered = ask(cluster, AskReadiness {});
    pass(cluster, Duration::from_millis(5));
    let answer = answered.borrow_mut().take().expect("it is answered at once");
    answer.unwrap_or_else(|error| panic!("{error}"))
}

fn take(cluster: &Cluster, absence: Absence) {
    match absence {
        Absence::Killed => cluster.crash(Node::Catalog),
        Absence::Stopped => cluster.world.pause(Node::Catalog),
    }
}

#[test]
fn a_front_end_without_a_catalog_says_so_within_a_second() {
    for has_cache in [true, false] {
        for absence in [Absence::Killed, Absence::Stopped] {
            let cluster = store(has_cache);
            assert_eq!(not_ready(&cluster), None, "{has_cache} {absence:?}");
            take(&cluster, absence);
            let end = cluster.world.time() + SAID;
            let why = loop {
                if let Some(why) = not_ready(&cluster) {
                    break why;
                }
                let is_in_time = cluster.world.time() < end;
                assert!(is_in_time, "it is ready after {SAID:?}: {has_cache} {absence:?}");
            };
            assert_eq!(why, "the catalog is unreachable", "{has_cache} {absence:?}");
        }
    }
}

#[test]
fn a_purchase_that_waited_in_vain_for_the_catalog_is_told_of_it() {
    for absence in [Absence::Killed, Absence::Stopped] {
        let cluster = store(true);
        take(&cluster, absence);
        let bought = buy(&cluster);
        pass(&cluster, PATIENCE);
        let answer = bought.borrow_mut().take().expect("it is answered in time");
        let Err(CallError::Refused { status: 503, message }) = answer else {
            panic!("{absence:?}: {answer:?}");
        };
        assert!(message.contains("the catalog is unreachable"), "{absence:?}: {message}");
        assert!(message.contains("retry"), "{absence:?}: {message}");
    }
}

#[test]
fn a_toy_whose_purchase_the_full_disk_refused_is_cached_again() {
    let cluster = store(true);
    let show = || {
        let answered = ask(&cluster, ShowToy("Tux".into()));
        pass(&cluster, Duration::from_millis(5));
        let shown = answered.borrow_mut().take().expect("it is answered at once");
        let Shown { quantity, is_hit, .. } = shown.unwrap_or_else(|error| panic!("{error}"));
        (quantity, is_hit)
    };
    assert_eq!([show(), show()], [(100, false), (100, true)]);
    cluster.set_health(Node::Catalog, Health::Full);
    let bought = buy(&cluster);
    pass(&cluster, SETTLED);
    assert!(matches!(*bought.borrow(), Some(Err(_))), "{bought:?}");
    assert_eq!([show(), show()], [(100, false), (100, true)], "it is readable meanwhile");
    cluster.set_health(Node::Catalog, Health::Healthy);
    pass(&cluster, SETTLED);
    let bought = buy(&cluster);
    pass(&cluster, SETTLED);
    assert!(matches!(*bought.borrow(), Some(Ok(Decision::Granted(_)))), "{bought:?}");
    assert_eq!([show(), show()], [(99, false), (99, true)]);
}

#[test]
fn a_purchase_waits_for_a_catalog_that_is_soon_there_again() {
    let cluster = store(true);
    cluster.crash(Node::Catalog);
    let bought = buy(&cluster);
    pass(&cluster, Duration::from_secs(2));
    cluster.start(Node::Catalog);
    pass(&cluster, Duration::from_secs(4));
    let answer = bought.borrow_mut().take().expect("it is answered");
    assert!(matches!(answer, Ok(Decision::Granted(_))), "{answer:?}");
}
