//! The catalog and the order replicas, as a front-end or another replica reaches them.

use std::rc::Rc;
use std::sync::Arc;

use crate::catalogs::Catalogs;
use crate::descriptors::Threads;
use crate::identity::Identity;
use crate::roles::{Role, Roles};
use crate::transport::{Http, Peer};
use crate::wire::replication::ReplicaId;
use crate::wire::timing::{ServerTiming, TimingNote};
use crate::wire::trace::RequestOrigin;

/// One thread's connections to them.
pub struct Neighbours {
    /// The catalog.
    pub catalog: Catalogs,
    replicas: Vec<(ReplicaId, Peer)>,
    /// Where the time of their calls went, if they are made on behalf of a request.
    timing: TimingNote,
}

impl Neighbours {
    /// Connections, made by `connect`, to the catalog and to the replicas except `own`.
    #[must_use]
    pub fn new(roles: &Roles, own: Option<ReplicaId>, connect: impl Fn(Role) -> Peer) -> Self {
        let others = roles.orders.iter().map(|order| order.id).filter(|id| Some(*id) != own);
        Self {
            catalog: Catalogs::new(roles, &connect),
            replicas: others.map(|id| (id, connect(Role::Order(id)))).collect(),
            timing: TimingNote::default(),
        }
    }

    /// The same connections, for a client's request.
    #[must_use]
    pub fn on_behalf_of(&self, origin: &Rc<RequestOrigin>) -> Self {
        let timing = TimingNote::default();
        let own = |(id, peer): &(ReplicaId, Peer)| (*id, peer.on_behalf_of(origin, &timing));
        Self {
            catalog: self.catalog.on_behalf_of(origin, &timing),
            replicas: self.replicas.iter().map(own).collect(),
            timing,
        }
    }

    /// Returns where the time of the calls went that were made on behalf of a request.
    #[must_use]
    pub fn timing(&self) -> ServerTiming {
        self.timing.get()
    }

    /// The replicas' ids.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaId> {
        self.replicas.iter().map(|(id, _)| *id)
    }

    /// One replica.
    ///
    /// # Panics
    ///
    /// If `roles.toml` has no such replica, or it is this one itself.
    #[must_use]
    pub fn replica(&self, id: ReplicaId) -> &Peer {
        let found = self.replicas.iter().find(|(replica, _)| *replica == id);
        &found.expect("only the replicas of roles.toml are asked").1
    }
}

/// Connects the process that is `own` to the roles of `roles`, by frames where a role knows them
/// and else over HTTP.
///
/// # Panics
///
/// The function that is returned, if it is asked for a role that `roles` does not have.
pub fn over_sockets<'a>(roles: &'a Roles, own: &'a Arc<Identity>) -> impl Fn(Role) -> Peer + 'a {
    let peers = roles.in_start_order().len();
    let most_calls = Threads::of(own.role()).descriptors().calls_to_each_of(peers);
    move |role| {
        let address = roles.way_to(role).expect("only the roles of roles.toml are asked");
        let access = roles.access();
        Peer::framed(role, address, access, Http::with_limit(address, access, most_calls), own)
    }
}
