//! The neighbours of a front-end: a fake catalog with a few toys, and three fake replicas that
//! share one journal.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use toystore::wire::lease::{
    Fill, FillReply, FillRequest, Invalidation, Registered, Registration, Renewal, RenewalReply,
    SessionId, Version,
};
use toystore::wire::order::{Order, OrderNumber};
use toystore::wire::purchase::{Decision, Purchase, PurchaseReply};
use toystore::wire::replication::{
    CatalogStatus, Epoch, Fitness, Leadership, Nomination, NominationReply, OrderReply, ReplicaId,
    ReplicaState, ReplicaStatus,
};

use super::{Answer, FrontendRole, Neighbour, Received, Reply, Running, Store, end_of};
use crate::eventually::eventually;

/// The neighbours of a front-end. They answer from one state, unless a test says otherwise.
pub(crate) struct Neighbours<'a> {
    pub(crate) catalog: Neighbour<'a>,
    /// Replicas 1, 2 and 3, in this order; see [`Neighbours::replica`].
    replicas: [Neighbour<'a>; 3],
    state: Arc<Mutex<State>>,
}

/// What the neighbours answer from.
pub(crate) struct State {
    pub(crate) leadership: Leadership,
    pub(crate) journal: Vec<Order>,
    pub(crate) decisions: BTreeMap<String, (Purchase, OrderNumber)>,
    pub(crate) stock: BTreeMap<String, (u64, Version)>,
    pub(crate) lease_ms: u64,
    /// How many sessions were begun; the last one has not ended.
    pub(crate) sessions: u64,
}

impl<'a> Neighbours<'a> {
    /// All run, and no replica leads yet.
    pub(crate) fn of(store: &'a Store) -> Self {
        let stock = store.toys.iter().map(|(name, _)| ((*name).to_owned(), (100, Version(0))));
        let state = State {
            leadership: Leadership::default(),
            journal: Vec::new(),
            decisions: BTreeMap::new(),
            stock: stock.collect(),
            lease_ms: 1_000,
            sessions: 0,
        };
        let [one, two, three] = &store.orders;
        let neighbours = Self {
            catalog: Neighbour::at(&store.catalog),
            replicas: [Neighbour::at(one), Neighbour::at(two), Neighbour::at(three)],
            state: Arc::new(Mutex::new(state)),
        };
        neighbours.set_up_catalog();
        for id in 1..=3 {
            neighbours.set_up_replica(id);
        }
        neighbours
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no handler panics")
    }

    pub(crate) fn replica(&self, id: usize) -> &Neighbour<'a> {
        &self.replicas[id - 1]
    }

    /// The session that has not ended.
    pub(crate) fn session(&self) -> SessionId {
        self.state().session()
    }

    /// The keys of the purchases that a replica received.
    pub(crate) fn keys_at(&self, id: usize) -> Vec<String> {
        let purchases = self.replica(id).received("purchase");
        purchases.iter().map(|request| request.read::<Purchase>().key.to_string()).collect()
    }

    /// Changes a toy's quantity as the catalog does: the front-end first drops it.
    pub(crate) async fn change(&self, frontend: &Running<FrontendRole>, name: &str, quantity: u64) {
        let version = self.state().stock[name].1.next();
        let toys = vec![(name.into(), version)];
        let invalidation = Invalidation { session: self.session(), toys, origins: Vec::new() };
        assert_eq!(frontend.post("/internal/invalidate", invalidation).await.status, 200);
        self.state().stock.insert(name.to_owned(), (quantity, version));
    }

    fn on_state(
        &self,
        neighbour: &Neighbour<'_>,
        topic: &str,
        handler: impl Fn(&mut State, &Received) -> Reply + Send + Sync + 'static,
    ) {
        let state = Arc::clone(&self.state);
        neighbour.on(topic, move |request| {
            handler(&mut state.lock().expect("no handler panics"), request)
        });
    }

    fn set_up_catalog(&self) {
        let catalog = &self.catalog;
        self.on_state(catalog, "report", |state, _| {
            let (leadership, journal) = (state.leadership, end_of(&state.journal));
            Reply::data(CatalogStatus { leadership, journal })
        });
        self.on_state(catalog, "register", |state, request| {
            let _well_formed: Registration = request.read();
            state.sessions += 1;
            let toys = state.stock.keys().map(|name| name.as_str().into()).collect();
            let (session, lease_ms) = (state.session(), state.lease_ms);
            Reply::data(Registered { session, lease_ms, toys })
        });
        self.on_state(catalog, "renew", |state, request| {
            let Renewal { session } = request.read();
            let lease_ms = state.lease_ms;
            Reply::data(if session == state.session() {
                RenewalReply::Renewed { lease_ms }
            } else {
                RenewalReply::Expired
            })
        });
        self.on_state(catalog, "toy", |state, request| {
            let FillRequest { name, session } = request.read();
            let Some((_, version)) = state.stock.get(name.as_str()) else {
                return Reply::data(FillReply::Unknown);
            };
            let toy = serde_json::from_value(state.toy(name.as_str())).expect("a toy");
            let cacheable_under = session.filter(|session| *session == state.session());
            Reply::data(FillReply::Found(Fill { toy, version: *version, cacheable_under }))
        });
        self.on_state(catalog, "toys", |state, _| {
            Reply::data(state.stock.keys().map(|name| state.toy(name)).collect::<Vec<_>>())
        });
    }

    fn set_up_replica(&self, number: u32) {
        let (id, replica) = (ReplicaId(number), &self.replicas[number as usize - 1]);
        self.on_state(replica, "status", move |state, _| {
            let leads = state.leadership.is_led_by(id);
            Reply::data(ReplicaStatus {
                id,
                state: if leads { ReplicaState::Leader } else { ReplicaState::Follower },
                fitness: Fitness::Ready,
                heard_ms: Some(0),
                leadership: state.leadership,
                awaits_nomination: false,
                log: end_of(&state.journal),
            })
        });
        self.on_state(replica, "nominate", move |state, request| {
            let Nomination { seen } = request.read();
            if seen < state.leadership.epoch {
                return Reply::data(NominationReply::Lost(state.leadership));
            }
            state.leadership = Leadership { epoch: Epoch(seen.0 + 1), leader: Some(id) };
            Reply::data(NominationReply::Won(state.leadership))
        });
        self.on_state(replica, "leader", |_, request| {
            let _well_formed: Leadership = request.read();
            Reply::data(())
        });
        self.on_state(replica, "purchase", move |state, request| {
            if !state.leadership.is_led_by(id) {
                return Reply::data(PurchaseReply::NotLeader(state.leadership));
            }
            Reply::data(PurchaseReply::Decided(state.decide(&request.read())))
        });
        self.on_state(replica, "order", |state, request| {
            let found = state.journal.iter().find(|order| order.number.0 == request.number());
            Reply::data(found.cloned().map_or(OrderReply::Unknown, OrderReply::Found))
        });
    }
}

impl State {
    fn session(&self) -> SessionId {
        SessionId { boot: 1, serial: self.sessions }
    }

    fn toy(&self, name: &str) -> Value {
        json!({ "name": name, "price": 15.99, "quantity": self.stock[name].0 })
    }

    fn decide(&mut self, purchase: &Purchase) -> Decision {
        let key = purchase.key.as_str();
        if let Some((first, number)) = self.decisions.get(key) {
            let is_same = (&first.name, first.quantity) == (&purchase.name, purchase.quantity);
            return if is_same { Decision::Granted(*number) } else { Decision::KeyReused };
        }
        let Some((left, _)) = self.stock.get(purchase.name.as_str()) else {
            return Decision::UnknownToy;
        };
        if *left < purchase.quantity.get() {
            return Decision::OutOfStock;
        }
        let number = OrderNumber(self.journal.len() as u64);
        let (name, quantity) = (purchase.name.clone(), purchase.quantity);
        self.journal.push(Order { number, name, quantity, key: Some(purchase.key.clone()) });
        self.decisions.insert(key.to_owned(), (purchase.clone(), number));
        Decision::Granted(number)
    }
}

/// A front-end under test, and its neighbours.
pub(crate) struct Fixture<'a> {
    pub(crate) frontend: Running<FrontendRole>,
    pub(crate) neighbours: Neighbours<'a>,
}

impl<'a> Fixture<'a> {
    /// All run and are ready; replica 3 leads.
    pub(crate) async fn ready(store: &'a Store) -> Self {
        let neighbours = Neighbours::of(store);
        let frontend = store.run_frontend().ready().await;
        Self { frontend, neighbours }
    }

    /// Asks for a toy: its quantity, and whether that was a hit.
    pub(crate) async fn toy(&self, name: &str) -> (u64, String) {
        let answer = self.frontend.get(&format!("/products/{name}")).await;
        let cache = answer.header("x-cache").expect("the answer has X-Cache").to_owned();
        let toy: Value = answer.data();
        assert_eq!(toy["name"], name);
        (toy["quantity"].as_u64().expect("a quantity is a number"), cache)
    }

    /// Buys one.
    pub(crate) fn buy(&self, name: &str) -> impl Future<Output = Answer> + use<> {
        self.frontend.post("/orders", json!({ "name": name, "quantity": 1 }))
    }

    pub(crate) async fn cluster(&self) -> Value {
        self.frontend.get("/cluster").await.data()
    }

    /// Waits until this front-end takes a replica for the leader.
    pub(crate) async fn await_leader(&self, id: u32) {
        eventually(&format!("replica {id} leads"), async || self.cluster().await["leader"] == id)
            .await;
    }
}

impl<'a> Deref for Fixture<'a> {
    type Target = Neighbours<'a>;

    fn deref(&self) -> &Neighbours<'a> {
        &self.neighbours
    }
}
