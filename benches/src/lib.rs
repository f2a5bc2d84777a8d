//! What is measured: the decisions that an order or a query takes, their messages, and what the
//! databases do for them. Each case can be run again and again, and takes as long each time.
//!
//! Batches have [`BATCH`] purchases, about what the store's batches have while 64 clients buy.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use toystore::catalog::core::history::History;
use toystore::catalog::core::sessions::Sessions;
use toystore::catalog::core::steps::ReceivedBatch;
use toystore::catalog::core::stock::Stock;
use toystore::catalog::core::{Core, WriteOutcome};
use toystore::catalog::journal::Journal;
use toystore::frontend::core::cache::{Cache, Lookup};
use toystore::order::order_log::OrderLog;
use toystore::roles::ToyRole;
use toystore::wire::lease::{FillRequest, Registration, SessionId, Version};
use toystore::wire::order::{Order, OrderNumber, Position, Rows};
use toystore::wire::purchase::{
    CommitReply, CommitRequest, Decision, IdempotencyKey, Purchase, Verdict,
};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::{Epoch, Leadership, ReplicaId};
use toystore::wire::reply::Data;
use toystore::wire::toy::{Price, Toy, ToyName};
use toystore::wire::trace::RequestOrigin;

/// Purchases in a batch.
pub const BATCH: u64 = 32;
/// As many of a toy as are never sold out.
const AMPLE_STOCK: u64 = 1_000_000_000;
const TOYS: u64 = 12;
const LEADER: Leadership = Leadership { epoch: Epoch(1), leader: Some(ReplicaId(3)) };

/// Something to measure.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Does it once.
    pub run: Box<dyn FnMut()>,
}

/// How a case is made.
type Make = fn() -> Box<dyn FnMut()>;

const CASES: [(&str, Make); 12] = [
    ("decide a batch", decide_a_batch),
    ("lock, decide and publish a batch", lock_decide_publish),
    ("renew a session and fill a cache", renew_and_fill),
    ("hit the cache", hit_the_cache),
    ("miss, fill and invalidate the cache", miss_fill_invalidate),
    ("encode a batch", encode_a_batch),
    ("decode a batch", decode_a_batch),
    ("encode the answer to a batch", encode_an_answer),
    ("encode the answer to a query", encode_a_toy),
    ("link an order to the chain", link_an_order),
    ("look up and commit a batch in SQLite", commit_a_batch),
    ("append a batch to a log in SQLite", append_a_batch),
];

/// Returns all cases.
pub fn cases() -> impl Iterator<Item = Case> {
    CASES.into_iter().map(|(name, make)| Case { name, run: make() })
}

/// Returns the case of a name.
#[must_use]
pub fn case(name: &str) -> Option<Case> {
    let (name, make) = CASES.into_iter().find(|(it, _)| *it == name)?;
    Some(Case { name, run: make() })
}

/// Returns the names of all cases.
pub fn names() -> impl Iterator<Item = &'static str> {
    CASES.into_iter().map(|(name, _)| name)
}

fn toy_name(number: u64) -> ToyName {
    ToyName::from(format!("Toy {}", number % TOYS).as_str())
}

fn toy(number: u64) -> Toy {
    Toy { name: toy_name(number), price: Price::from_cents(1_599), quantity: 100 }
}

fn toy_roles() -> Vec<ToyRole> {
    (0..TOYS)
        .map(|number| ToyRole { name: toy_name(number), price: Price::from_cents(1_599) })
        .collect()
}

/// The purchase that becomes order `number`. Its key begins with the time, as a front-end's does.
fn purchase(number: u64) -> Purchase {
    let bits = u128::from(number) << 80 | u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Purchase {
        key: IdempotencyKey::from_random(bits),
        name: toy_name(number),
        quantity: Quantity::ONE,
        origin: RequestOrigin::default(),
        boot: None,
    }
}

fn batch(first: u64, log: Position) -> CommitRequest {
    CommitRequest {
        leader: ReplicaId(3),
        epoch: Epoch(1),
        log,
        purchases: (first..first + BATCH).map(purchase).collect(),
    }
}

fn order(number: u64) -> Order {
    let Purchase { key, name, quantity, .. } = purchase(number);
    Order { number: OrderNumber(number), name, quantity, key: Some(key) }
}

/// A catalog's database with all toys, and what it holds.
fn journal(folder: &Folder) -> (Journal, Stock) {
    let opened = Journal::open(&folder.0.join("catalog.db"), &toy_roles(), AMPLE_STOCK);
    let (journal, loaded) = opened.expect("a database can be made");
    (journal, Stock::new(loaded.shelves, AMPLE_STOCK, loaded.journal, LEADER))
}

/// A folder that goes with the case. (A crate for it would change what the store's own libraries are
/// built with, and all of them would be built again.)
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such things.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn folder() -> Folder {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("toystore-benches-{}-{number}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    std::fs::create_dir_all(&folder.0).expect("a folder can be made");
    folder
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made")
}

/// A catalog with a front-end that has a session, as it is in memory.
fn core(now: Instant) -> (Core, SessionId) {
    let (_, stock) = journal(&folder());
    let mut core = Core::new(stock, Sessions::new(1, [], now), History::continued(), [1], now);
    let registration = Registration { frontend: 1, previous: None };
    let mut ruling = core.ruling(now).expect("it rules");
    let session = ruling.register(registration, now).expect("the front-end is known").session;
    (core, session)
}

#[expect(clippy::disallowed_methods, reason = "a core is given a time; any will do")]
fn now() -> Instant {
    Instant::now()
}

fn decide_a_batch() -> Box<dyn FnMut()> {
    let (_, stock) = journal(&folder());
    let (toy_index, request) = (stock.toy_index(), batch(0, Position::START));
    Box::new(move || {
        black_box(stock.plan_batch(&toy_index, &request, &HashMap::new(), |_| true))
            .expect("it leads");
    })
}

/// What the catalog decides for a batch, with a front-end that holds every toy and drops it.
fn lock_decide_publish() -> Box<dyn FnMut()> {
    let now = now();
    let (mut core, session) = core(now);
    let mut next = 0;
    Box::new(move || {
        let mut ruling = core.ruling(now).expect("it rules");
        for number in 0..TOYS {
            let request = FillRequest { name: toy_name(number), session: Some(session) };
            black_box(ruling.fill(&request, now));
        }
        let received = ReceivedBatch::new(batch(next, core.status().journal));
        let locked = received.lock(&mut core, HashMap::new(), now).expect("it leads");
        let push = core.push_for(session, now).expect("toys are held");
        core.acknowledged(session, &push.toys);
        let planned = locked.plan(&core, now).expect("it leads");
        let committed = planned.publish(&mut core, WriteOutcome::Durable).expect("it is on disk");
        assert_eq!(committed.orders().len() as u64, BATCH, "all toys are clear");
        black_box(committed.reply());
        next += BATCH;
    })
}

fn renew_and_fill() -> Box<dyn FnMut()> {
    let now = now();
    let (mut core, session) = core(now);
    let request = FillRequest { name: toy_name(7), session: Some(session) };
    Box::new(move || {
        let mut ruling = core.ruling(now).expect("it rules");
        black_box(ruling.renew(session, now));
        black_box(ruling.fill(&request, now));
    })
}

fn warm_cache(now: Instant) -> (Cache<Version>, SessionId) {
    let session = SessionId { boot: 1, serial: 0 };
    let mut cache = Cache::new(1_000);
    cache.begin_session(session, now + Duration::from_secs(1), (0..TOYS).map(toy_name));
    for number in 0..TOYS {
        assert!(cache.store(session, &toy_name(number), Version(1), Version(1)), "it is cached");
    }
    (cache, session)
}

fn hit_the_cache() -> Box<dyn FnMut()> {
    let now = now();
    let (mut cache, _) = warm_cache(now);
    Box::new(move || {
        let found = black_box(cache.look_up("Toy 7", now));
        assert!(matches!(found, Lookup::Hit(..)), "it is cached");
        black_box(found.confirmed(now));
    })
}

fn miss_fill_invalidate() -> Box<dyn FnMut()> {
    let now = now();
    let (mut cache, session) = warm_cache(now);
    let (name, mut version) = (toy_name(7), Version(1));
    Box::new(move || {
        version = Version(version.0 + 1);
        cache.invalidate(session, &[(name.clone(), version)]);
        black_box(cache.look_up(name.as_str(), now));
        assert!(cache.store(session, &name, version, version), "it is cached");
    })
}

fn encode_a_batch() -> Box<dyn FnMut()> {
    let request = batch(0, Position::START);
    Box::new(move || {
        black_box(serde_json::to_vec(&request)).expect("a batch is JSON");
    })
}

fn decode_a_batch() -> Box<dyn FnMut()> {
    let text = serde_json::to_vec(&batch(0, Position::START)).expect("a batch is JSON");
    Box::new(move || {
        black_box(serde_json::from_slice::<CommitRequest>(&text)).expect("it is a batch");
    })
}

fn encode_an_answer() -> Box<dyn FnMut()> {
    let orders: Vec<Order> = (0..BATCH).map(order).collect();
    let verdicts = orders.iter().map(|order| Verdict::Decided(Decision::Granted(order.number)));
    let verdicts = verdicts.collect();
    let data = CommitReply::Decided { verdicts, rows: Rows { after: Position::START, orders } };
    let answer = Data { data };
    Box::new(move || {
        black_box(serde_json::to_vec(&answer)).expect("an answer is JSON");
    })
}

fn encode_a_toy() -> Box<dyn FnMut()> {
    let answer = Data { data: toy(7) };
    Box::new(move || {
        black_box(serde_json::to_vec(&answer)).expect("an answer is JSON");
    })
}

fn link_an_order() -> Box<dyn FnMut()> {
    let mut end = Position::START;
    let mut next = order(0);
    Box::new(move || {
        next.number = OrderNumber(end.length);
        end = end.continued_by(&next);
    })
}

fn commit_a_batch() -> Box<dyn FnMut()> {
    let (folder, runtime) = (folder(), runtime());
    let (journal, mut stock) = journal(&folder);
    let (toy_index, mut next) = (stock.toy_index(), 0);
    Box::new(move || {
        let _kept = &folder;
        let received = batch(next, stock.status().journal);
        let keys = received.purchases.iter().map(|purchase| purchase.key.clone()).collect();
        let recorded = runtime.block_on(journal.recorded(keys)).expect("it can be read");
        let plan = stock.plan_batch(&toy_index, &received, &recorded, |_| true).expect("it leads");
        runtime.block_on(journal.commit(plan.change.clone())).expect("it can be written");
        stock.apply(&toy_index, &plan.change);
        next += BATCH;
    })
}

fn append_a_batch() -> Box<dyn FnMut()> {
    let (folder, runtime) = (folder(), runtime());
    let opened = OrderLog::open(&folder.0.join("order-1.db"));
    let (log, mut end) = opened.expect("a database can be made");
    Box::new(move || {
        let _kept = &folder;
        let orders = (end.length..end.length + BATCH).map(order).collect();
        end = runtime.block_on(log.append(end, orders)).expect("it can be written");
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_can_be_run_again() {
        for mut case in super::cases() {
            for _ in 0..3 {
                (case.run)();
            }
        }
    }
}
