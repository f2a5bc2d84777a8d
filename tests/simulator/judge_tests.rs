//! Each check of the judge can fail: wrong histories, each of which it must find.

use std::rc::Rc;
use std::time::Duration;

use toystore::catalog::core::stock::{RecordedDecision, Shelf};
use toystore::wire::identity::StoreId;
use toystore::wire::lease::Version;
use toystore::wire::order::{Order, OrderNumber};
use toystore::wire::purchase::{Decision, IdempotencyKey, Purchase};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::{Epoch, Leadership, ReplicaId};
use toystore::wire::toy::{Price, Toy, ToyName};
use toystore::wire::trace::RequestOrigin;

use super::cluster::{self, Cluster};
use super::databases::{Journal, Log};
use super::judge::{self, Before};
use super::message::{Node, Shown};
use super::world::{Env, Timing, World};

const STOCK: u64 = 10;
const LEADER: ReplicaId = ReplicaId(3);
const GRANTED: Decision = Decision::Granted(OrderNumber(0));

/// A cluster in which no role runs. The tests say what the judge sees of it.
fn cluster() -> Rc<Cluster> {
    let world = World::new(0, toystore::clock::now(), false, Timing::Steady);
    let replicas: Vec<_> = (1..=3).map(ReplicaId).collect();
    let interval = Duration::from_secs(10);
    let roles = cluster::roles(&replicas, &[1], &[tux()], STOCK, 10, interval);
    let cluster = Cluster::with_roles(world, roles, 1, false);
    publish(&cluster, 0, 0, 0);
    cluster
}

/// The catalog shows this version from now on.
fn publish(cluster: &Cluster, version: u64, restocked: u64, sold: u64) {
    let shelf = Shelf { version: Version(version), ..shelf(restocked, sold) };
    cluster.judge.published(&cluster.world, &[shelf], STOCK);
}

fn shelf(restocked: u64, sold: u64) -> Shelf {
    let stocked = STOCK + restocked;
    let toy = Toy { name: tux(), price: Price::from_cents(999), quantity: stocked - sold };
    Shelf { toy, stocked, sold, version: Version(sold) }
}

fn shown(quantity: u64, version: u64) -> Shown {
    Shown { quantity, version: Version(version), is_hit: false }
}

fn before(cluster: &Cluster) -> Before {
    cluster.judge.before(&Env { world: Rc::clone(&cluster.world), node: Node::World })
}

fn tux() -> ToyName {
    "Tux".into()
}

fn purchase() -> Purchase {
    let key = IdempotencyKey::from("k".to_owned());
    Purchase {
        key,
        name: tux(),
        quantity: Quantity::ONE,
        origin: RequestOrigin::default(),
        boot: None,
    }
}

fn recorded(number: Option<OrderNumber>) -> RecordedDecision {
    RecordedDecision { name: tux(), quantity: Quantity::ONE, number }
}

fn order() -> Order {
    Order {
        number: OrderNumber(0),
        name: tux(),
        quantity: Quantity::ONE,
        key: Some(purchase().key),
    }
}

/// The catalog has the order on disk, granted to [`purchase`], and shows that it is sold.
fn sell(cluster: &Cluster) {
    cluster.journal.change(|journal| {
        journal.log.append(&[order()]);
        journal.shelves[0] = shelf(0, 1);
        journal.decisions.insert(purchase().key, recorded(Some(OrderNumber(0))));
    });
    publish(cluster, 1, 0, 1);
    cluster.judge.look_at_journal(cluster);
}

/// A replica has the order on disk.
fn write(cluster: &Cluster, id: u32) {
    cluster.logs[&id].change(|log| {
        log.store = StoreId::new(1);
        log.append(&[order()]);
    });
}

/// A replica leads in an epoch.
fn lead(cluster: &Cluster, epoch: u64, leader: ReplicaId) {
    let leadership = Leadership { epoch: Epoch(epoch), leader: Some(leader) };
    cluster.judge.records(leadership);
    cluster.journal.change(|journal| journal.leadership = leadership);
    cluster.judge.leads(cluster, leader, Some(leadership.epoch));
}

#[test]
fn a_correct_history_passes() {
    let cluster = cluster();
    let early = before(&cluster);
    cluster.judge.shown(cluster.world.time(), &tux(), shown(10, 0), &early);
    lead(&cluster, 1, LEADER);
    sell(&cluster);
    (1..=3).for_each(|id| write(&cluster, id));
    cluster.judge.acknowledges(&cluster, LEADER, 1, &[ReplicaId(1), ReplicaId(2)]);
    cluster.judge.leader_answers(&cluster, LEADER, GRANTED);
    cluster.judge.decided(&cluster, &purchase(), GRANTED, &early);
    cluster.judge.shown(cluster.world.time(), &tux(), shown(10, 0), &early);
    cluster.judge.shown(cluster.world.time(), &tux(), shown(9, 1), &before(&cluster));
    judge::found(&cluster, OrderNumber(0), Some(&order()), &early);
    judge::found(&cluster, OrderNumber(1), None, &before(&cluster));
    cluster.judge.at_rest(&cluster);
}

#[test]
#[should_panic(expected = "belongs to a store")]
fn an_order_at_a_replica_without_a_store_is_found() {
    let cluster = cluster();
    sell(&cluster);
    cluster.logs[&1].change(|log| log.append(&[order()]));
    cluster.judge.look_at_log(&cluster, ReplicaId(1));
}

#[test]
fn a_version_that_was_given_up_and_that_a_restart_forgets_passes() {
    let cluster = cluster();
    let first = before(&cluster);
    publish(&cluster, 1, 0, 0);
    cluster.judge.shown(cluster.world.time(), &tux(), shown(10, 1), &first);
    // The fill may be older than the version that was given up: the quantity is the same.
    cluster.judge.shown(cluster.world.time(), &tux(), shown(10, 0), &before(&cluster));
    publish(&cluster, 0, 0, 0);
    publish(&cluster, 1, 0, 1);
    cluster.judge.shown(cluster.world.time(), &tux(), shown(9, 1), &before(&cluster));
}

#[test]
#[should_panic(expected = "is shown after")]
fn a_stale_read_after_a_version_that_was_given_up_is_found() {
    let cluster = cluster();
    publish(&cluster, 1, 0, 0);
    publish(&cluster, 2, 0, 1);
    cluster.judge.shown(cluster.world.time(), &tux(), shown(10, 1), &before(&cluster));
}

#[test]
#[should_panic(expected = "goes back in time")]
fn a_version_that_goes_back_is_found() {
    let cluster = cluster();
    publish(&cluster, 2, 0, 1);
    publish(&cluster, 1, 0, 2);
}

#[test]
#[should_panic(expected = "a version has one quantity")]
fn a_version_with_two_quantities_is_found() {
    publish(&cluster(), 0, 0, 1);
}

#[test]
#[should_panic(expected = "a restock fills what is empty")]
fn a_restock_of_what_is_not_empty_is_found() {
    publish(&cluster(), 1, STOCK, 0);
}

#[test]
#[should_panic(expected = "is shown after")]
fn a_stale_read_is_found() {
    let cluster = cluster();
    publish(&cluster, 1, 0, 1);
    cluster.judge.shown(cluster.world.time(), &tux(), shown(10, 0), &before(&cluster));
}

#[test]
#[should_panic(expected = "has one quantity in version")]
fn a_read_of_a_quantity_that_never_was_is_found() {
    let cluster = cluster();
    cluster.judge.shown(cluster.world.time(), &tux(), shown(9, 0), &before(&cluster));
}

#[test]
#[should_panic(expected = "comes after epoch")]
fn an_epoch_that_is_given_twice_is_found() {
    let cluster = cluster();
    lead(&cluster, 1, LEADER);
    lead(&cluster, 1, ReplicaId(2));
}

#[test]
#[should_panic(expected = "has two leaders")]
fn a_second_leader_of_an_epoch_is_found() {
    let cluster = cluster();
    lead(&cluster, 1, LEADER);
    cluster.judge.leads(&cluster, ReplicaId(2), Some(Epoch(1)));
}

#[test]
#[should_panic(expected = "leader 2 has 0 orders of 1")]
fn a_leader_that_lacks_an_acknowledged_order_is_found() {
    let cluster = cluster();
    lead(&cluster, 1, LEADER);
    sell(&cluster);
    write(&cluster, 3);
    cluster.judge.acknowledges(&cluster, LEADER, 1, &[]);
    cluster.judge.leader_answers(&cluster, LEADER, GRANTED);
    lead(&cluster, 2, ReplicaId(2));
}

#[test]
#[should_panic(expected = "replica 2's disk has 0")]
fn an_acknowledgement_before_a_live_follower_has_the_order_on_disk_is_found() {
    let cluster = cluster();
    lead(&cluster, 1, LEADER);
    sell(&cluster);
    write(&cluster, 3);
    cluster.judge.acknowledges(&cluster, LEADER, 1, &[ReplicaId(2)]);
}

#[test]
#[should_panic(expected = "not safe on replica 3")]
fn an_answer_before_the_order_is_safe_is_found() {
    let cluster = cluster();
    lead(&cluster, 1, LEADER);
    sell(&cluster);
    write(&cluster, 3);
    cluster.judge.leader_answers(&cluster, LEADER, GRANTED);
}

#[test]
#[should_panic(expected = "not safe on replica 3")]
fn an_answer_of_a_deposed_leader_that_never_found_the_order_safe_is_found() {
    let cluster = cluster();
    lead(&cluster, 1, LEADER);
    sell(&cluster);
    write(&cluster, 3);
    cluster.judge.leads(&cluster, LEADER, None);
    cluster.judge.leader_answers(&cluster, LEADER, GRANTED);
}

#[test]
#[should_panic(expected = "replica 1's log is a prefix")]
fn a_log_that_is_no_prefix_of_the_journal_is_found() {
    let cluster = cluster();
    write(&cluster, 1);
    cluster.judge.look_at_log(&cluster, ReplicaId(1));
}

#[test]
#[should_panic(expected = "what is sold of Tux is in the journal")]
fn a_sale_without_an_order_is_found() {
    let cluster = cluster();
    cluster.journal.change(|journal| journal.shelves[0] = shelf(0, 1));
    cluster.judge.look_at_journal(&cluster);
}

#[test]
#[should_panic(expected = "stock is conserved on disk")]
fn a_stock_on_disk_that_does_not_add_up_is_found() {
    let cluster = cluster();
    cluster.journal.change(|journal| journal.shelves[0].toy.quantity = 9);
    cluster.judge.look_at_journal(&cluster);
}

#[test]
#[should_panic(expected = "each order has a key")]
fn an_order_without_a_decision_is_found() {
    let cluster = cluster();
    cluster.journal.change(|journal| journal.log.append(&[order()]));
    cluster.judge.look_at_journal(&cluster);
}

/// The order is acknowledged, and the client has its number.
fn acknowledge(cluster: &Cluster) {
    let early = before(cluster);
    lead(cluster, 1, LEADER);
    sell(cluster);
    (1..=3).for_each(|id| write(cluster, id));
    cluster.judge.acknowledges(cluster, LEADER, 1, &[]);
    cluster.judge.leader_answers(cluster, LEADER, GRANTED);
    cluster.judge.decided(cluster, &purchase(), GRANTED, &early);
}

/// The catalog's database is as it was at first.
fn restore(cluster: &Cluster) {
    cluster.journal.change(|journal| *journal = Journal::new(vec![shelf(0, 0)]));
    cluster.judge.begin_era(cluster);
}

#[test]
fn a_journal_that_is_restored_and_rolled_forward_passes() {
    let cluster = cluster();
    acknowledge(&cluster);
    restore(&cluster);
    (1..=3).for_each(|id| cluster.judge.look_at_log(&cluster, ReplicaId(id)));
    // A replica that holds the order may still answer.
    cluster.judge.decided(&cluster, &purchase(), GRANTED, &before(&cluster));
    judge::found(&cluster, OrderNumber(0), Some(&order()), &before(&cluster));
    let log = cluster.logs[&1].read(Log::clone);
    let added = cluster.journal.change(|journal| journal.roll_forward(&log, STOCK));
    assert_eq!(added, 1);
    cluster.judge.begin_era(&cluster);
    publish(&cluster, 1, 0, 1);
    cluster.judge.decided(&cluster, &purchase(), GRANTED, &before(&cluster));
    cluster.judge.at_rest(&cluster);
}

#[test]
#[should_panic(expected = "an acknowledged order is in a log")]
fn an_acknowledged_order_that_a_restore_lost_is_found() {
    let cluster = cluster();
    acknowledge(&cluster);
    restore(&cluster);
    (1..=3).for_each(|id| cluster.logs[&id].change(|log| *log = Log::default()));
    cluster.judge.decided(&cluster, &purchase(), GRANTED, &before(&cluster));
}

#[test]
#[should_panic(expected = "replica 1's log is a prefix")]
fn a_number_that_a_restored_journal_gives_again_is_found() {
    let cluster = cluster();
    acknowledge(&cluster);
    restore(&cluster);
    let other = Order { key: Some("other".to_owned().into()), ..order() };
    cluster.journal.change(|journal| journal.log.append(&[other]));
    cluster.judge.look_at_log(&cluster, ReplicaId(1));
}

#[test]
#[should_panic(expected = "k has one answer")]
fn a_refusal_that_is_forgotten_without_a_restore_is_found() {
    let cluster = cluster();
    let early = before(&cluster);
    publish(&cluster, 1, 0, STOCK);
    cluster.journal.change(|journal| journal.decisions.insert(purchase().key, recorded(None)));
    cluster.judge.decided(&cluster, &purchase(), Decision::OutOfStock, &early);
    cluster.judge.decided(&cluster, &purchase(), GRANTED, &early);
}

#[test]
#[should_panic(expected = "two keys have one order")]
fn an_order_that_is_granted_to_two_keys_is_found() {
    let cluster = cluster();
    sell(&cluster);
    let other = IdempotencyKey::from("other".to_owned());
    let again = recorded(Some(OrderNumber(0)));
    cluster.journal.change(|journal| journal.decisions.insert(other, again));
    cluster.judge.look_at_journal(&cluster);
}

#[test]
#[should_panic(expected = "what is answered is recorded")]
fn a_decision_that_is_not_recorded_is_found() {
    let cluster = cluster();
    let now = before(&cluster);
    cluster.judge.decided(&cluster, &purchase(), Decision::OutOfStock, &now);
}

#[test]
#[should_panic(expected = "was answered by no leader")]
fn an_order_that_no_leader_answered_is_found() {
    let cluster = cluster();
    let now = before(&cluster);
    sell(&cluster);
    cluster.judge.decided(&cluster, &purchase(), GRANTED, &now);
}

#[test]
#[should_panic(expected = "there were enough all the time")]
fn a_refusal_with_enough_stock_is_found() {
    let cluster = cluster();
    let now = before(&cluster);
    cluster.journal.change(|journal| journal.decisions.insert(purchase().key, recorded(None)));
    cluster.judge.decided(&cluster, &purchase(), Decision::OutOfStock, &now);
}

#[test]
#[should_panic(expected = "order 0 is denied")]
fn a_denial_of_an_order_is_found() {
    let cluster = cluster();
    sell(&cluster);
    judge::found(&cluster, OrderNumber(0), None, &before(&cluster));
}

#[test]
#[should_panic(expected = "order 0 is the journal's")]
fn an_order_that_is_not_the_journal_s_is_found() {
    let cluster = cluster();
    judge::found(&cluster, OrderNumber(0), Some(&order()), &before(&cluster));
}

#[test]
#[should_panic(expected = "all logs are equal")]
fn a_log_that_did_not_catch_up_is_found() {
    let cluster = cluster();
    sell(&cluster);
    cluster.judge.at_rest(&cluster);
}

#[test]
#[should_panic(expected = "no toy stays sold out")]
fn a_toy_that_is_not_restocked_is_found() {
    let cluster = cluster();
    cluster.journal.change(|journal| journal.shelves[0] = Shelf { stocked: 0, ..shelf(0, 0) });
    cluster.journal.change(|journal| journal.shelves[0].toy.quantity = 0);
    cluster.judge.at_rest(&cluster);
}

#[test]
#[should_panic(expected = "the catalog shows what is on its disk")]
fn a_change_that_is_never_published_is_found() {
    let cluster = cluster();
    cluster.journal.change(|journal| journal.shelves[0] = shelf(STOCK, 0));
    cluster.judge.at_rest(&cluster);
}

#[test]
#[should_panic(expected = "the decision on k is kept")]
fn a_decision_that_is_lost_is_found() {
    let cluster = cluster();
    acknowledge(&cluster);
    cluster.journal.change(|journal| {
        let recorded = journal.decisions.remove(&purchase().key).expect("it was recorded");
        journal.decisions.insert(IdempotencyKey::from("other".to_owned()), recorded);
    });
    cluster.judge.at_rest(&cluster);
}
