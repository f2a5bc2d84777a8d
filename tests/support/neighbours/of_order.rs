//! The neighbours of an order replica: a fake catalog, and fake replicas that follow.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use toystore::wire::identity::StoreId;
use toystore::wire::order::{Order, OrderNumber, Rows};
use toystore::wire::purchase::{
    CommitReply, CommitRequest, Decision, IdempotencyKey, Purchase, Verdict,
};
use toystore::wire::replication::{
    Acquisition, AcquisitionReply, AppendReply, AppendRequest, CatalogReport, CatalogStatus,
    Leadership, MOST_ROWS, OrderReply,
};

use super::{Neighbour, Port, Received, Reply, end_of, leading, rows_from};

/// What the store's id is made of.
pub(crate) const STORE: u64 = 14;

/// A fake catalog. It grants every purchase but those of the toy "Sold out".
pub(crate) struct Catalog<'a> {
    neighbour: Neighbour<'a>,
    state: Arc<Mutex<CatalogState>>,
}

#[derive(Default)]
pub(crate) struct CatalogState {
    /// It does not tell yet which store it has.
    pub(crate) is_new: bool,
    pub(crate) leadership: Leadership,
    pub(crate) journal: Vec<Order>,
    pub(crate) decisions: HashMap<IdempotencyKey, (Purchase, Decision)>,
}

impl<'a> Catalog<'a> {
    pub(crate) fn at(port: &'a Port) -> Self {
        let catalog = Self { neighbour: Neighbour::at(port), state: Arc::default() };
        catalog.on_state("report", |state, _| Reply::data(state.report()));
        catalog.on_state("acquire", |state, request| Reply::data(state.acquire(&request.read())));
        catalog.on_state("commit", |state, request| Reply::data(state.commit(&request.read())));
        catalog.on_state("journal", |state, request| {
            Reply::data(page(&state.journal, request.number()))
        });
        catalog.on_state("order", |state, request| {
            let found = state.journal.iter().find(|order| order.number.0 == request.number());
            Reply::data(found.cloned().map_or(OrderReply::Unknown, OrderReply::Found))
        });
        catalog
    }

    /// Answers a topic from the catalog's state from now on.
    pub(crate) fn on_state(
        &self,
        topic: &str,
        handler: impl Fn(&mut CatalogState, &Received) -> Reply + Send + Sync + 'static,
    ) {
        let state = Arc::clone(&self.state);
        self.on(topic, move |request| handler(&mut lock(&state), request));
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, CatalogState> {
        lock(&self.state)
    }

    /// The keys of each batch that it was sent.
    pub(crate) fn batches(&self) -> Vec<Vec<String>> {
        let keys = |request: CommitRequest| {
            request.purchases.iter().map(|purchase| purchase.key.to_string()).collect()
        };
        self.received("commit").iter().map(|request| keys(request.read())).collect()
    }
}

impl<'a> Deref for Catalog<'a> {
    type Target = Neighbour<'a>;

    fn deref(&self) -> &Neighbour<'a> {
        &self.neighbour
    }
}

impl CatalogState {
    fn report(&self) -> CatalogReport {
        CatalogReport {
            status: self.status(),
            store: (!self.is_new).then(|| StoreId::from_random(STORE)),
            boot: None,
            stopped: None,
            next_restock_ms: None,
        }
    }

    pub(crate) fn status(&self) -> CatalogStatus {
        CatalogStatus { leadership: self.leadership, journal: end_of(&self.journal) }
    }

    pub(crate) fn acquire(&mut self, request: &Acquisition) -> AcquisitionReply {
        let journal = end_of(&self.journal);
        if request.seen != self.leadership.epoch {
            return AcquisitionReply::Lost(self.status());
        }
        if rows_from(&self.journal, request.log.length).after != request.log {
            return AcquisitionReply::Foreign { journal };
        }
        self.leadership = leading(request.seen.0 + 1, request.nominee.0);
        AcquisitionReply::Won { leadership: self.leadership, journal }
    }

    pub(crate) fn commit(&mut self, request: &CommitRequest) -> CommitReply {
        if self.leadership != leading(request.epoch.0, request.leader.0) {
            return CommitReply::Deposed(self.leadership);
        }
        let verdicts = request.purchases.iter().map(|p| Verdict::Decided(self.decide(p)));
        let verdicts = verdicts.collect();
        CommitReply::Decided { verdicts, rows: page(&self.journal, request.log.length) }
    }

    fn decide(&mut self, purchase: &Purchase) -> Decision {
        if purchase.name.as_str() == "Sold out" {
            return Decision::OutOfStock;
        }
        let number = OrderNumber(self.journal.len() as u64);
        let first = (purchase.clone(), Decision::Granted(number));
        let (known, decision) = self.decisions.entry(purchase.key.clone()).or_insert(first).clone();
        if (&known.name, known.quantity) != (&purchase.name, purchase.quantity) {
            return Decision::KeyReused;
        }
        if decision == Decision::Granted(number) {
            let (name, quantity) = (purchase.name.clone(), purchase.quantity);
            self.journal.push(Order { number, name, quantity, key: Some(purchase.key.clone()) });
        }
        decision
    }
}

/// A fake replica that follows.
pub(crate) struct Peer<'a> {
    neighbour: Neighbour<'a>,
    log: Arc<Mutex<Vec<Order>>>,
}

impl<'a> Peer<'a> {
    pub(crate) fn at(port: &'a Port) -> Self {
        let log: Arc<Mutex<Vec<Order>>> = Arc::default();
        let neighbour = Neighbour::at(port);
        let kept = Arc::clone(&log);
        neighbour.on("rows", move |request| Reply::data(page(&lock(&kept), request.number())));
        let kept = Arc::clone(&log);
        neighbour.on("append", move |request| {
            let mut log = lock(&kept);
            let AppendRequest { rows, .. } = request.read();
            let length = log.len() as u64;
            if rows.after.length > length {
                return Reply::data(AppendReply::Gap { length });
            }
            log.extend(rows.orders.into_iter().filter(|order| order.number.0 >= length));
            Reply::data(AppendReply::Synced { length: log.len() as u64 })
        });
        Self { neighbour, log }
    }

    pub(crate) fn log(&self) -> Vec<Order> {
        lock(&self.log).clone()
    }

    pub(crate) fn set_log(&self, orders: Vec<Order>) {
        *lock(&self.log) = orders;
    }

    /// Waits until the leader counts on it: until it has sent a second message, which it does after
    /// the answer to the first.
    pub(crate) async fn await_live(&self) {
        let before = self.received("append").len();
        self.receives("append", before + 2).await;
    }
}

impl<'a> Deref for Peer<'a> {
    type Target = Neighbour<'a>;

    fn deref(&self) -> &Neighbour<'a> {
        &self.neighbour
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no handler panics")
}

/// As many rows as one message carries.
pub(crate) fn page(log: &[Order], from: u64) -> Rows {
    let mut rows = rows_from(log, from);
    rows.orders.truncate(usize::try_from(MOST_ROWS).expect("it is small"));
    rows
}
