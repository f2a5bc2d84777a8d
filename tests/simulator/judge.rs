//! The judge sees every machine, and checks each invariant whenever something changes that it
//! concerns.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use toystore::catalog::core::stock::Shelf;
use toystore::wire::lease::Version;
use toystore::wire::order::{Order, OrderNumber};
use toystore::wire::purchase::{Decision, IdempotencyKey, Purchase};
use toystore::wire::replication::{Epoch, Leadership, ReplicaId};
use toystore::wire::toy::ToyName;

use super::cluster::Cluster;
use super::message::Shown;
use super::world::{Env, World};

/// What has happened, as far as the invariants need it.
#[derive(Default)]
pub(crate) struct Judge {
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    /// Each toy's states, in order.
    states: BTreeMap<ToyName, Vec<State>>,
    /// How many orders the catalog has published.
    published: u64,
    /// How far each replica's log was compared with the journal.
    compared: BTreeMap<ReplicaId, usize>,
    leaders: BTreeMap<Epoch, ReplicaId>,
    /// Counts how often the catalog's database was restored or rolled forward, and when it was.
    era: Era,
    era_began: Duration,
    /// The leaders of earlier eras.
    earlier_leaders: BTreeSet<(Epoch, ReplicaId)>,
    /// The epoch in which each replica leads, as last seen.
    leading: BTreeMap<ReplicaId, Epoch>,
    /// How many orders each replica has found to be safe in its last leadership.
    safe: BTreeMap<ReplicaId, u64>,
    /// All orders below this number may have been acknowledged.
    acknowledged: u64,
    /// The first decision on each key, and the era in which the client began to ask.
    decisions: BTreeMap<IdempotencyKey, (Decision, Era)>,
}

/// A part of a run in which the journal only grows.
pub(crate) type Era = u32;

/// How long a front-end may serve its cache after a catalog's end: a lease, on a slow clock, and a
/// stall in the middle of an answer.
const OLD_LEASES: Duration = Duration::from_secs(3);

struct State {
    /// The first version and the last one that was given up since.
    versions: RangeInclusive<Version>,
    quantity: u64,
    /// How many there ever were.
    stocked: u64,
    since: Duration,
}

/// What was true when a client asked.
pub(crate) struct Before {
    time: Duration,
    pub(crate) era: Era,
    published: u64,
    /// The place of each toy's state among all that there were.
    states: BTreeMap<ToyName, usize>,
}

impl Judge {
    /// The catalog shows this from now on.
    pub(crate) fn published(&self, world: &World, shelves: &[Shelf], initial: u64) {
        let mut known = self.known.borrow_mut();
        for shelf in shelves {
            assert_eq!(shelf.stocked - shelf.sold, shelf.toy.quantity, "stock is conserved");
            let states = known.states.entry(shelf.toy.name.clone()).or_default();
            let (version, quantity) = (shelf.version, shelf.toy.quantity);
            let restocked =
                shelf.stocked - states.last().map_or(shelf.stocked, |last| last.stocked);
            if restocked > 0 {
                let left = states.last().map(|last| last.quantity);
                assert_eq!((restocked, left), (initial, Some(0)), "a restock fills what is empty");
            }
            if let Some(last) = states.last_mut() {
                // A version that was given up is forgotten by a restart.
                let (first, newest) = last.versions.clone().into_inner();
                assert!(version >= first, "{} goes back in time", shelf.toy.name);
                if (shelf.stocked, quantity) == (last.stocked, last.quantity) {
                    if version > newest {
                        world.reached("a version was given up");
                    }
                    last.versions = first..=newest.max(version);
                    continue;
                }
                assert!(version > first, "a version has one quantity");
            }
            let (versions, stocked) = (version..=version, shelf.stocked);
            states.push(State { versions, quantity, stocked, since: world.time() });
        }
    }

    /// Each order has a decision under a key of its own, and the sums agree.
    pub(crate) fn look_at_journal(&self, cluster: &Cluster) {
        cluster.journal.read(|journal| {
            let numbers: BTreeSet<OrderNumber> =
                journal.decisions.values().filter_map(|recorded| recorded.number).collect();
            let granted = journal.decisions.values().filter(|one| one.number.is_some()).count();
            assert_eq!(numbers.len(), granted, "two keys have one order");
            assert_eq!(numbers.len(), journal.log.orders.len(), "each order has a key");
            for recorded in journal.decisions.values() {
                let Some(number) = recorded.number else { continue };
                let order = &journal.log.orders[usize::try_from(number.0).expect("few")];
                let decided = (&recorded.name, recorded.quantity);
                assert_eq!(decided, (&order.name, order.quantity), "order {number} is as decided");
            }
            for shelf in &journal.shelves {
                let left = shelf.stocked - shelf.sold;
                assert_eq!(left, shelf.toy.quantity, "stock is conserved on disk");
                let of_toy = journal.log.orders.iter().filter(|order| order.name == shelf.toy.name);
                let sold: u64 = of_toy.map(|order| order.quantity.get()).sum();
                assert_eq!(
                    sold, shelf.sold,
                    "what is sold of {} is in the journal",
                    shelf.toy.name
                );
            }
            let mut known = self.known.borrow_mut();
            known.published = known.published.max(journal.log.orders.len() as u64);
        });
    }

    /// A replica's log on disk is a prefix of the journal on disk.
    pub(crate) fn look_at_log(&self, cluster: &Cluster, id: ReplicaId) {
        let mut known = self.known.borrow_mut();
        let era = known.era;
        let compared = known.compared.entry(id).or_default();
        cluster.logs[&id.0].read(|log| {
            if *compared == log.orders.len() {
                return;
            }
            // Else an emptied catalog could take the replica, with the orders, for its own.
            assert!(log.store.is_some(), "replica {id} has orders, and belongs to a store");
            let end = cluster.journal.read(|journal| {
                // A restored journal may be a prefix of the log instead.
                let end = match era {
                    0 => log.orders.len(),
                    _ => log.orders.len().min(journal.log.orders.len()),
                };
                let from = (*compared).min(end);
                let rows = journal.log.orders.get(from..end);
                assert_eq!(rows, Some(&log.orders[from..end]), "replica {id}'s log is a prefix");
                end
            });
            *compared = end;
        });
    }

    /// The journal on disk is an earlier one from now on, or was rolled forward.
    ///
    /// What an earlier journal lacks is lost, but for what clients were told: acknowledged orders
    /// are on the replicas' disks, and their numbers and keys stay theirs. A refusal may be
    /// forgotten, and a stock that was shown may be one that never was.
    pub(crate) fn begin_era(&self, cluster: &Cluster) {
        let mut known = self.known.borrow_mut();
        known.era += 1;
        known.era_began = cluster.world.time();
        known.states.clear();
        known.compared.clear();
        let journal = cluster.journal.read(|journal| journal.log.end().length);
        known.published = known.acknowledged.max(journal);
        let leaders = std::mem::take(&mut known.leaders);
        known.earlier_leaders.extend(leaders);
    }

    /// Epochs only grow.
    pub(crate) fn records(&self, leadership: Leadership) {
        let mut known = self.known.borrow_mut();
        let last = known.leaders.last_key_value().map(|(epoch, _)| *epoch);
        assert!(last < Some(leadership.epoch), "{leadership} comes after epoch {last:?}");
        let leader = leadership.leader.expect("a new epoch has a leader");
        known.leaders.insert(leadership.epoch, leader);
    }

    /// An epoch has one leader, and a replica that begins to sell has all that was acknowledged.
    pub(crate) fn leads(&self, cluster: &Cluster, id: ReplicaId, epoch: Option<Epoch>) {
        let mut known = self.known.borrow_mut();
        if known.leading.get(&id).copied() == epoch {
            return;
        }
        let Some(epoch) = epoch else {
            known.leading.remove(&id);
            return;
        };
        known.safe.remove(&id);
        known.leading.insert(id, epoch);
        let was_earlier = known.earlier_leaders.contains(&(epoch, id));
        let is_its_leader = known.leaders.get(&epoch) == Some(&id) || was_earlier;
        assert!(is_its_leader, "epoch {epoch} has two leaders");
        if known.era > 0 && cluster.is_behind() {
            // It has all of a restored journal, and sells nothing.
            return;
        }
        if cluster.journal.read(|journal| journal.leadership.epoch) != epoch {
            // It was deposed while it fetched, and has not heard of it. It will sell nothing.
            return;
        }
        let length = cluster.logs[&id.0].read(|log| log.orders.len() as u64);
        let acknowledged = known.acknowledged;
        assert!(length >= acknowledged, "leader {id} has {length} orders of {acknowledged}");
    }

    /// Orders that a leader may acknowledge from now on are on its disk, and on those of its live
    /// followers.
    pub(crate) fn acknowledges(
        &self,
        cluster: &Cluster,
        leader: ReplicaId,
        length: u64,
        live: &[ReplicaId],
    ) {
        let mut known = self.known.borrow_mut();
        let safe = known.safe.entry(leader).or_default();
        if length <= *safe {
            return;
        }
        *safe = length;
        let era = known.era;
        for id in live.iter().chain([&leader]) {
            let on_disk = cluster.logs[&id.0].read(|log| log.orders.len() as u64);
            // A follower that has written the orders, and whose answer is late, may have set its
            // log aside since, with what a restored journal lacked: the copy is kept.
            let is_aside = era > 0 && *id != leader && {
                let end = cluster.logs[&leader.0].read(|log| log.end_at(length));
                end.is_some_and(|end| cluster.logs[&id.0].read(|log| log.has_aside(end)))
            };
            assert!(
                length <= on_disk || is_aside,
                "leader {leader} acknowledges {length} orders; replica {id}'s disk has {on_disk}"
            );
        }
    }

    /// An order is answered once its leader has found it to be safe.
    pub(crate) fn leader_answers(&self, cluster: &Cluster, leader: ReplicaId, decision: Decision) {
        let Decision::Granted(number) = decision else { return };
        let mut known = self.known.borrow_mut();
        // A leader may be deposed between the step that finds the order safe and this one.
        let on_disk = cluster.logs[&leader.0].read(|log| log.orders.len() as u64);
        let safe = known.safe.get(&leader).copied().unwrap_or_default();
        assert!(
            number.0 < safe.min(on_disk),
            "order {number} is answered, and not safe on replica {leader}"
        );
        known.acknowledged = known.acknowledged.max(number.0 + 1);
    }

    /// What is true now, to be compared with the answer to a question that is asked now.
    pub(crate) fn before(&self, env: &Env) -> Before {
        let known = self.known.borrow();
        let newest = |states: &Vec<State>| states.len().checked_sub(1).expect("a first state");
        Before {
            time: env.world.time(),
            era: known.era,
            published: known.published,
            states: known
                .states
                .iter()
                .map(|(toy, states)| (toy.clone(), newest(states)))
                .collect(),
        }
    }

    /// Reads are linearizable: what was published before the question is in the answer.
    pub(crate) fn shown(&self, now: Duration, toy: &ToyName, shown: Shown, before: &Before) {
        let known = self.known.borrow();
        if before.era != known.era || (known.era > 0 && now < known.era_began + OLD_LEASES) {
            return;
        }
        let states = &known.states[toy];
        let is_shown = |state: &State| {
            state.versions.contains(&shown.version) && state.quantity == shown.quantity
        };
        let place = states.iter().rposition(is_shown);
        let newest = before.states[toy];
        let Some(place) = place else {
            panic!("{toy} has one quantity in version {:?}, and not that: {shown:?}", shown.version)
        };
        assert!(place >= newest, "{toy}: {shown:?} is shown after {:?}", states[newest].versions);
    }

    /// A purchase has one decision, and the decision was right when it was taken.
    pub(crate) fn decided(
        &self,
        cluster: &Cluster,
        purchase: &Purchase,
        decision: Decision,
        before: &Before,
    ) {
        let mut known = self.known.borrow_mut();
        let known_era = known.era;
        let (is_same_era, era) = (before.era == known.era, before.era);
        let decided = known.decisions.entry(purchase.key.clone()).or_insert((decision, era));
        if *decided == (Decision::OutOfStock, decided.1) && decided.1 < known_era {
            // It may have been forgotten since.
            *decided = (decision, era);
        }
        assert_eq!(decided.0, decision, "{} has one answer", purchase.key);
        cluster.journal.read(|journal| {
            let recorded = journal.decisions.get(&purchase.key);
            if recorded.is_none() && known_era > 0 {
                assert_forgotten_or_in_a_log(cluster, purchase, decision, known_era, before);
                return;
            }
            let recorded = recorded.expect("what is answered is recorded");
            let number = match decision {
                Decision::Granted(number) => Some(number),
                Decision::OutOfStock => None,
                Decision::UnknownToy | Decision::KeyReused | Decision::OtherCatalog => {
                    panic!("{purchase:?}: {decision:?}")
                }
            };
            assert_eq!(recorded.number, number, "{} is answered as it was decided", purchase.key);
            if let Some(number) = number {
                assert!(number.0 < known.acknowledged, "order {number} was answered by no leader");
                let order = &journal.log.orders[usize::try_from(number.0).expect("few")];
                assert_eq!((&order.name, order.quantity), (&purchase.name, purchase.quantity));
            }
        });
        if decision == Decision::OutOfStock && is_same_era {
            let states = &known.states[&purchase.name];
            let mut ends = states.iter().skip(1).map(|state| Some(state.since)).chain([None]);
            let lacked = states.iter().any(|state| {
                let end = ends.next().expect("each state ends or lasts");
                let overlaps = end.is_none_or(|end| end >= before.time);
                overlaps && state.quantity < purchase.quantity.get()
            });
            assert!(lacked, "{purchase:?} was refused, and there were enough all the time");
        }
    }

    /// Whether a key that was decided before the journal was restored may be decided anew: only a
    /// refusal may, which no log has.
    pub(crate) fn may_be_forgotten(&self, decision: Decision, since: Era) -> bool {
        decision == Decision::OutOfStock && since < self.known.borrow().era
    }

    /// How many orders there are at least.
    pub(crate) fn orders(&self) -> u64 {
        self.known.borrow().acknowledged
    }

    /// What a toy's newest state has left.
    pub(crate) fn left_of(&self, toy: &ToyName) -> u64 {
        let known = self.known.borrow();
        known.states.get(toy).and_then(|states| states.last()).map_or(0, |last| last.quantity)
    }

    /// What must hold when everything has come to rest.
    pub(crate) fn at_rest(&self, cluster: &Cluster) {
        self.look_at_journal(cluster);
        self.look_at_answers(cluster);
        assert!(is_restocked(cluster), "no toy stays sold out");
        assert!(self.shows_what_is_on_disk(cluster), "the catalog shows what is on its disk");
        for id in &cluster.replicas {
            self.look_at_log(cluster, *id);
        }
        assert!(all_logs_are_equal(cluster), "all logs are equal once all replicas have recovered");
    }

    /// Whether nothing is left to do: no toy is sold out, the catalog shows what is on its disk,
    /// and all logs are equal.
    pub(crate) fn is_at_rest(&self, cluster: &Cluster) -> bool {
        is_restocked(cluster) && self.shows_what_is_on_disk(cluster) && all_logs_are_equal(cluster)
    }

    fn shows_what_is_on_disk(&self, cluster: &Cluster) -> bool {
        let known = self.known.borrow();
        cluster.journal.read(|journal| {
            journal.shelves.iter().all(|shelf| {
                let states = known.states.get(&shelf.toy.name);
                states.and_then(|states| states.last()).is_some_and(|last| {
                    (last.stocked, last.quantity) == (shelf.stocked, shelf.toy.quantity)
                })
            })
        })
    }

    /// Every decision that a client saw is on disk.
    fn look_at_answers(&self, cluster: &Cluster) {
        let known = self.known.borrow();
        cluster.journal.read(|journal| {
            for (key, (decision, era)) in &known.decisions {
                let number = match decision {
                    Decision::Granted(number) => Some(*number),
                    Decision::OutOfStock
                    | Decision::UnknownToy
                    | Decision::KeyReused
                    | Decision::OtherCatalog => None,
                };
                let recorded = journal.decisions.get(key).map(|recorded| recorded.number);
                // A refusal may have been forgotten since, and the purchase that was sent again or
                // twice granted.
                if number.is_none() && *era < known.era {
                    continue;
                }
                assert_eq!(recorded, Some(number), "the decision on {key} is kept");
            }
        });
    }
}

/// A key that a restored journal does not have: a refusal was forgotten, or the order is in a log.
fn assert_forgotten_or_in_a_log(
    cluster: &Cluster,
    purchase: &Purchase,
    decision: Decision,
    era: Era,
    before: &Before,
) {
    match decision {
        Decision::Granted(number) => {
            let order = cluster.order(number).expect("an acknowledged order is in a log");
            assert_eq!(order.key.as_ref(), Some(&purchase.key), "order {number} is its key's");
        }
        Decision::OutOfStock => {
            assert!(before.era < era, "what is answered is recorded");
            cluster.world.reached("a refusal was forgotten");
        }
        Decision::UnknownToy | Decision::KeyReused | Decision::OtherCatalog => {
            panic!("{purchase:?}: {decision:?}")
        }
    }
}

/// An order that is found is the journal's; one that is not found was not sold when the
/// question was asked.
pub(crate) fn found(
    cluster: &Cluster,
    number: OrderNumber,
    order: Option<&Order>,
    before: &Before,
) {
    match order {
        None => {
            let published = before.published;
            assert!(number.0 >= published, "order {number} is denied; there are {published}");
        }
        Some(order) => {
            assert_eq!(
                cluster.order(number).as_ref(),
                Some(order),
                "order {number} is the journal's"
            );
        }
    }
}

/// Whether no toy is sold out.
fn is_restocked(cluster: &Cluster) -> bool {
    cluster.journal.read(|journal| journal.shelves.iter().all(|shelf| shelf.toy.quantity > 0))
}

/// Whether all logs are equal.
fn all_logs_are_equal(cluster: &Cluster) -> bool {
    let journal = cluster.journal.read(|journal| journal.log.end());
    cluster.logs.values().all(|log| log.read(|log| log.end() == journal))
}
