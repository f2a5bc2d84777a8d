//! The databases on the simulated disks: the catalog's journal and the replicas' logs, with the
//! transactions that the production's SQLite makes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use send_wrapper::SendWrapper;
use toystore::catalog;
use toystore::catalog::core::stock::{Change, RecordedDecision, Shelf};
use toystore::catalog::journal::marker::Past;
use toystore::order;
use toystore::storage::{Outcome, StorageError};
use toystore::wire::identity::StoreId;
use toystore::wire::lease::SessionId;
use toystore::wire::order::{Order, OrderNumber, Position, Rows};
use toystore::wire::purchase::IdempotencyKey;
use toystore::wire::replication::{Leadership, ReplicaId};

use super::cluster::Cluster;
use super::disk::{Disk, DiskError};
use super::judge::Judge;
use super::transcript::Transcript;
use super::world::Env;

/// A table of orders, each with the position behind it.
#[derive(Clone, Default)]
pub(crate) struct Log {
    /// The store that the orders belong to, once its replica knows.
    pub(crate) store: Option<StoreId>,
    pub(crate) orders: Vec<Order>,
    ends: Vec<Position>,
    /// Where the logs ended, order by order, that were set aside; the copies are kept.
    aside: Vec<Vec<Position>>,
}

impl Log {
    pub(crate) fn end(&self) -> Position {
        self.ends.last().copied().unwrap_or(Position::START)
    }

    /// Where the log ended when it had so many orders.
    pub(crate) fn end_at(&self, length: u64) -> Option<Position> {
        end_at(&self.ends, length)
    }

    /// Whether a copy that was set aside has all orders up to `end`.
    pub(crate) fn has_aside(&self, end: Position) -> bool {
        self.aside.iter().any(|ends| end_at(ends, end.length) == Some(end))
    }

    pub(crate) fn append(&mut self, orders: &[Order]) {
        for order in orders {
            self.ends.push(self.end().continued_by(order));
            self.orders.push(order.clone());
        }
    }

    pub(crate) fn rows(&self, from: u64, most: u64) -> Option<Rows> {
        let skipped = usize::try_from(from).ok()?;
        let after = match skipped.checked_sub(1) {
            None => Position::START,
            Some(last) => *self.ends.get(last)?,
        };
        let most = usize::try_from(most).expect("few orders");
        Some(Rows { after, orders: self.orders.iter().skip(skipped).take(most).cloned().collect() })
    }
}

fn end_at(ends: &[Position], length: u64) -> Option<Position> {
    let last = usize::try_from(length).ok()?.checked_sub(1);
    last.map_or(Some(Position::START), |last| ends.get(last).copied())
}

/// The catalog's database.
#[derive(Clone)]
pub(crate) struct Journal {
    pub(crate) shelves: Vec<Shelf>,
    pub(crate) log: Log,
    pub(crate) decisions: BTreeMap<IdempotencyKey, RecordedDecision>,
    pub(crate) leadership: Leadership,
    pub(crate) sessions: BTreeSet<SessionId>,
    pub(crate) past: Past,
}

impl Journal {
    pub(crate) fn new(shelves: Vec<Shelf>) -> Self {
        Self {
            shelves,
            log: Log::default(),
            decisions: BTreeMap::new(),
            leadership: Leadership::default(),
            sessions: BTreeSet::new(),
            past: Past::InDoubt,
        }
    }

    /// What the catalog loads at its start.
    pub(crate) fn load(&self) -> catalog::journal::Loaded {
        catalog::journal::Loaded {
            shelves: self.shelves.clone(),
            journal: self.log.end(),
            leadership: self.leadership,
            sessions: self.sessions.iter().copied().collect(),
            store: StoreId::new(1).expect("a number that a store may have"),
            past: self.past,
        }
    }

    /// What `toystore rebuild` does: appends what the log has and this lacks, with its decisions,
    /// and restocks as its orders need. Returns how many orders were added.
    pub(crate) fn roll_forward(&mut self, log: &Log, initial: u64) -> usize {
        let known = self.log.orders.len();
        assert_eq!(self.log.orders[..], log.orders[..known], "the journal is a prefix of the log");
        let missing = &log.orders[known..];
        self.log.append(missing);
        for order in missing {
            let of_toy = self.shelves.iter_mut().find(|one| one.toy.name == order.name);
            let stock = of_toy.expect("a toy that there is");
            let taken = order.quantity.get();
            let refill = taken.saturating_sub(stock.toy.quantity).div_ceil(initial) * initial;
            stock.toy.quantity = stock.toy.quantity + refill - taken;
            stock.stocked += refill;
            stock.sold += taken;
            stock.version = stock.version.next();
            let key = order.key.clone().expect("every order has a key");
            let (name, quantity) = (order.name.clone(), order.quantity);
            let granted = RecordedDecision { name, quantity, number: Some(order.number) };
            let earlier = self.decisions.insert(key, granted);
            let was_granted = earlier.is_some_and(|earlier| earlier.number.is_some());
            assert!(!was_granted, "order {} is granted under a key that has one", order.number);
        }
        self.past = Past::InDoubt;
        missing.len()
    }

    /// One transaction. A database would refuse a key's second decision.
    pub(crate) fn apply(&mut self, change: &Change) {
        assert_eq!(change.after, self.log.end(), "the journal grows at its end");
        for shelf in &change.shelves {
            let row = self.shelves.iter_mut().find(|row| row.toy.name == shelf.toy.name);
            *row.expect("a toy that there is") = shelf.clone();
        }
        self.log.append(&change.orders);
        for (key, decision) in &change.decisions {
            let earlier = self.decisions.insert(key.clone(), decision.clone());
            assert!(earlier.is_none(), "{key} is decided twice");
        }
    }
}

/// The catalog's database, as its service uses it.
pub(crate) struct CatalogStorage(SendWrapper<Inner<Journal>>);

/// A replica's database, as its service uses it.
pub(crate) struct ReplicaStorage(SendWrapper<Inner<Log>>);

struct Inner<D> {
    env: Env,
    disk: Rc<Disk<D>>,
    judge: Rc<Judge>,
    transcript: Rc<Transcript>,
}

impl<D: 'static> Inner<D> {
    fn new(env: &Env, cluster: &Cluster, disk: &Rc<Disk<D>>) -> Self {
        Self {
            env: env.clone(),
            disk: Rc::clone(disk),
            judge: Rc::clone(&cluster.judge),
            transcript: Rc::clone(&cluster.transcript),
        }
    }

    /// Writes, at once; ends when it is synced.
    fn write<T: 'static, W: FnOnce(&mut D) -> T + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, StorageError>> + use<T, D, W> {
        let written = Box::pin(self.disk.write(work));
        async move { written.await.map_err(storage_error) }
    }

    /// Reads what is on disk, after a moment.
    async fn read<T>(&self, read: impl FnOnce(&D) -> T) -> T {
        self.env.moment().await;
        self.disk.read(read)
    }

    fn pulse(&self) -> impl Future<Output = Result<(), StorageError>> + use<D> {
        let pulse = self.disk.pulse();
        async move { pulse.await.map_err(storage_error) }
    }
}

fn storage_error(error: DiskError) -> StorageError {
    let path = PathBuf::from("simulated.db");
    match error {
        DiskError::Full => StorageError::Full(path),
        DiskError::Broken => StorageError::Broken(path, "the disk failed".into()),
    }
}

impl CatalogStorage {
    pub(crate) fn new(env: &Env, cluster: &Cluster) -> Self {
        Self(SendWrapper::new(Inner::new(env, cluster, &cluster.journal)))
    }
}

impl catalog::storage::Storage for CatalogStorage {
    fn recorded(
        &self,
        keys: Vec<IdempotencyKey>,
    ) -> Outcome<'_, HashMap<IdempotencyKey, RecordedDecision>> {
        Box::pin(async move {
            let known = |journal: &Journal| {
                let known = |key: IdempotencyKey| {
                    let recorded = journal.decisions.get(&key)?.clone();
                    Some((key, recorded))
                };
                keys.into_iter().filter_map(known).collect::<HashMap<_, _>>()
            };
            let found = self.0.read(known).await;
            if !found.is_empty() {
                self.0.env.reached("a decision was given again under its key");
            }
            Ok(found)
        })
    }

    fn commit(&self, change: Change) -> Outcome<'_, ()> {
        let committed = change.clone();
        let written = self.0.write(move |journal| journal.apply(&change));
        Box::pin(async move {
            written.await?;
            self.0.transcript.commit(&self.0.env, &committed);
            Ok(())
        })
    }

    fn set_leadership(&self, leadership: Leadership) -> Outcome<'_, ()> {
        let judge = Rc::clone(&self.0.judge);
        Box::pin(self.0.write(move |journal| {
            judge.records(leadership);
            journal.leadership = leadership;
        }))
    }

    fn set_past(&self, past: Past) -> Outcome<'_, ()> {
        Box::pin(self.0.write(move |journal| journal.past = past))
    }

    fn note_sessions(&self, begun: Option<SessionId>, ended: Vec<SessionId>) -> Outcome<'_, ()> {
        Box::pin(self.0.write(move |journal| {
            journal.sessions.retain(|session| !ended.contains(session));
            journal.sessions.extend(begun);
        }))
    }

    fn rows(&self, from: u64, most: u64) -> Outcome<'_, Option<Rows>> {
        Box::pin(async move { Ok(self.0.read(|journal| journal.log.rows(from, most)).await) })
    }

    fn pulse(&self) -> Outcome<'_, ()> {
        Box::pin(self.0.pulse())
    }

    fn try_write(&self) -> Outcome<'_, ()> {
        Box::pin(self.0.write(|_journal| ()))
    }

    fn checkpoint(&self) -> Outcome<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl ReplicaStorage {
    pub(crate) fn new(env: &Env, cluster: &Cluster, id: ReplicaId) -> Self {
        Self(SendWrapper::new(Inner::new(env, cluster, &cluster.logs[&id.0])))
    }
}

impl order::storage::Storage for ReplicaStorage {
    fn append(&self, after: Position, orders: Vec<Order>) -> Outcome<'static, Position> {
        let written = self.0.write(move |log| {
            // Refused if the append before this one was.
            (log.end().length == after.length).then(|| {
                log.append(&orders);
                log.end()
            })
        });
        let (env, transcript) = (self.0.env.clone(), Rc::clone(&self.0.transcript));
        Box::pin(async move {
            let end = written.await?;
            transcript.append(&env, after, end);
            if end.is_none() {
                env.reached("an unwritten append was refused");
            }
            end.ok_or_else(|| StorageError::Discontinued("simulated.db".into()))
        })
    }

    fn pulse(&self) -> Outcome<'static, ()> {
        Box::pin(self.0.pulse())
    }

    fn try_write(&self) -> Outcome<'_, ()> {
        Box::pin(self.0.write(|_log| ()))
    }

    fn order(&self, number: OrderNumber) -> Outcome<'_, Option<Order>> {
        Box::pin(async move {
            let place = usize::try_from(number.0).expect("few orders");
            Ok(self.0.read(|log| log.orders.get(place).cloned()).await)
        })
    }

    fn rows(&self, from: u64, most: u64) -> Outcome<'_, Option<Rows>> {
        Box::pin(async move { Ok(self.0.read(|log| log.rows(from, most)).await) })
    }

    fn set_aside(&self) -> Outcome<'_, PathBuf> {
        self.0.env.reached("a log was set aside");
        Box::pin(self.0.write(|log| {
            let mut aside = std::mem::take(&mut log.aside);
            aside.push(std::mem::take(&mut log.ends));
            *log = Log { store: log.store, aside, ..Log::default() };
            PathBuf::from("simulated.db.aside-1")
        }))
    }

    fn set_store(&self, store: StoreId) -> Outcome<'_, ()> {
        Box::pin(self.0.write(move |log| log.store = Some(store)))
    }

    fn checkpoint(&self) -> Outcome<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn path(&self) -> &Path {
        Path::new("simulated.db")
    }
}
