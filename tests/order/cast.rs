//! The parts of an order replica's neighbours: the catalog, and other replicas.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use toystore::wire::order::{Order, OrderNumber, Rows};
use toystore::wire::purchase::{
    CommitReply, CommitRequest, Decision, IdempotencyKey, Purchase, Verdict,
};
use toystore::wire::replication::{
    Acquisition, AcquisitionReply, AppendReply, AppendRequest, CatalogStatus, Leadership,
    MOST_ROWS, OrderReply,
};

use crate::leading;
use crate::neighbours::{Door, Heard, Neighbour, Reply, end_of, rows_from};

/// The catalog's part: it grants everything but what is called "Sold out".
pub(crate) struct Catalog<'a> {
    neighbour: Neighbour<'a>,
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) leadership: Leadership,
    pub(crate) journal: Vec<Order>,
    pub(crate) decisions: HashMap<IdempotencyKey, (Purchase, Decision)>,
}

impl<'a> Catalog<'a> {
    pub(crate) fn at(door: &'a Door) -> Self {
        let catalog = Self { neighbour: Neighbour::at(door), ledger: Arc::default() };
        catalog.plays("catalog-status", |ledger, _| Reply::data(ledger.status()));
        catalog.plays("acquire", |ledger, heard| Reply::data(ledger.acquire(&heard.read())));
        catalog.plays("commit", |ledger, heard| Reply::data(ledger.commit(&heard.read())));
        catalog
            .plays("journal", |ledger, heard| Reply::data(page(&ledger.journal, heard.number())));
        catalog.plays("order", |ledger, heard| {
            let found = ledger.journal.iter().find(|order| order.number.0 == heard.number());
            Reply::data(found.cloned().map_or(OrderReply::Unknown, OrderReply::Found))
        });
        catalog
    }

    pub(crate) fn plays(
        &self,
        topic: &str,
        part: impl Fn(&mut Ledger, &Heard) -> Reply + Send + Sync + 'static,
    ) {
        let ledger = Arc::clone(&self.ledger);
        self.on(topic, move |heard| part(&mut ledger.lock().expect("no test panics in it"), heard));
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no test panics in it")
    }

    /// The keys of each batch that it was sent.
    pub(crate) fn batches(&self) -> Vec<Vec<String>> {
        let keys = |request: CommitRequest| {
            request.purchases.iter().map(|purchase| purchase.key.to_string()).collect()
        };
        self.heard("commit").iter().map(|heard| keys(heard.read())).collect()
    }
}

impl<'a> Deref for Catalog<'a> {
    type Target = Neighbour<'a>;

    fn deref(&self) -> &Neighbour<'a> {
        &self.neighbour
    }
}

impl Ledger {
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
            self.journal.push(Order { number, name, quantity });
        }
        decision
    }
}

/// Another replica's part: it follows.
pub(crate) struct Peer<'a> {
    neighbour: Neighbour<'a>,
    log: Arc<Mutex<Vec<Order>>>,
}

impl<'a> Peer<'a> {
    pub(crate) fn at(door: &'a Door) -> Self {
        let log: Arc<Mutex<Vec<Order>>> = Arc::default();
        let neighbour = Neighbour::at(door);
        let kept = Arc::clone(&log);
        neighbour.on("rows", move |heard| {
            Reply::data(page(&kept.lock().expect("no test panics in it"), heard.number()))
        });
        let kept = Arc::clone(&log);
        neighbour.on("append", move |heard| {
            let mut log = kept.lock().expect("no test panics in it");
            let AppendRequest { rows, .. } = heard.read();
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
        self.log.lock().expect("no test panics in it").clone()
    }

    pub(crate) fn has(&self, orders: Vec<Order>) {
        *self.log.lock().expect("no test panics in it") = orders;
    }

    /// Waits until the leader counts on it: it sends a second message after it has taken the
    /// answer to the first.
    pub(crate) async fn is_live(&self) {
        let heard = self.heard("append").len();
        self.hears("append", heard + 2).await;
    }
}

impl<'a> Deref for Peer<'a> {
    type Target = Neighbour<'a>;

    fn deref(&self) -> &Neighbour<'a> {
        &self.neighbour
    }
}

/// As many rows as one message carries.
pub(crate) fn page(log: &[Order], from: u64) -> Rows {
    let mut rows = rows_from(log, from);
    rows.orders.truncate(usize::try_from(MOST_ROWS).expect("it is small"));
    rows
}
