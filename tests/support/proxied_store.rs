//! The store as processes, with a proxy on each link between two roles.
//!
//! Each role is on a machine of its own: it has a data folder and a `roles.toml` of its own, in
//! which its own address is where it listens, and its neighbours' are the proxies' on the way to
//! them.
//! Clients talk to the front-ends directly. Where two catalogs share a database, there is a proxy
//! from each of them to each of its servers, too.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::{Deref, DerefMut};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::eventually::eventually;
use crate::postgres::Servers;
use crate::processes::{
    Cluster, REPLICAS, Settings, frontend_name, get, roles_text, shared_roles_text,
};
use crate::proxies::Network;
use crate::shared_store;

/// Stock that no test sells out, so that quantities only fall.
pub(crate) const PLENTY: u64 = 1_000_000;

/// A test that measures the store at its limit has the machine to itself.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// A running store with its links.
pub(crate) struct Store {
    // The roles end before the proxies between them do.
    cluster: Cluster,
    pub(crate) network: Network,
    _place: Place,
}

/// A place on the machine: among others, or alone.
enum Place {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Store {
    /// Starts every role.
    pub(crate) async fn open(settings: Settings) -> Self {
        Self::open_failing(settings, &[]).await
    }

    /// Starts every role, some with failpoints.
    pub(crate) async fn open_failing(settings: Settings, failpoints: &[(&str, &str)]) -> Self {
        let place = Place::Shared { _guard: MACHINE.read().await };
        Self::open_at(place, settings, failpoints).await
    }

    /// Starts every role when no other test runs.
    pub(crate) async fn open_alone(settings: Settings) -> Self {
        let place = Place::Alone { _guard: MACHINE.write().await };
        Self::open_at(place, settings, &[]).await
    }

    /// Starts every role, with two catalogs that share a database on `servers`.
    pub(crate) async fn open_sharing(
        settings: Settings,
        servers: &Servers,
        database: &str,
    ) -> Self {
        let place = Place::Shared { _guard: MACHINE.read().await };
        let mut cluster = Cluster::prepare(settings);
        cluster.share_database(settings, &servers.url(database));
        shared_store::migrate(&cluster);
        let to_servers =
            servers.addresses().into_iter().enumerate().flat_map(|(number, address)| {
                let to = database_name(number);
                [1, 2].map(|id| (format!("catalog-{id}"), to.clone(), address.clone()))
            });
        let network = network(&cluster, to_servers.collect());
        for name in cluster.addresses.keys() {
            let through = |number| network.address(name, &database_name(number));
            let seen: Option<Vec<_>> = (0..servers.addresses().len()).map(through).collect();
            let all = servers.addresses().join(",");
            let seen = seen.map_or_else(|| all.clone(), |seen| seen.join(","));
            let url = servers.url(database).replace(&all, &seen);
            let text = shared_roles_text(settings, &seen_by(name, &cluster, &network), &url);
            cluster.give_own_roles(name, &text.replacen("\"data\"", &format!("\"{name}\""), 1));
        }
        cluster.give_own_machines();
        cluster.start_everything().await;
        Self { cluster, network, _place: place }
    }

    async fn open_at(place: Place, settings: Settings, failpoints: &[(&str, &str)]) -> Self {
        let mut cluster = Cluster::prepare(settings);
        let network = network(&cluster, Vec::new());
        for name in cluster.addresses.keys() {
            let text = roles_text(settings, &seen_by(name, &cluster, &network));
            cluster.give_own_roles(name, &text.replacen("\"data\"", &format!("\"{name}\""), 1));
        }
        cluster.give_own_machines();
        for (role, failpoints) in failpoints {
            cluster.fail_at(role, failpoints);
        }
        cluster.start_everything().await;
        Self { cluster, network, _place: place }
    }

    /// The epoch and its leader, according to a front-end (counted from 0).
    pub(crate) async fn leadership(&self, frontend: usize) -> (u64, Option<u64>) {
        let (_, body) = get(&self.frontends[frontend], "/cluster").await.unwrap();
        (body["data"]["epoch"].as_u64().unwrap(), body["data"]["leader"].as_u64())
    }

    /// Waits until another replica than `replica` leads according to all front-ends.
    pub(crate) async fn await_another_leader_than(&self, replica: &str) {
        eventually("another replica leads", async || {
            let mut agreed = Vec::new();
            for frontend in 0..self.frontends.len() {
                agreed.push(self.leadership(frontend).await);
            }
            let (_, leader) = agreed[0];
            let differs = leader.is_some_and(|id| format!("order-{id}") != replica);
            differs && agreed.iter().all(|one| *one == agreed[0])
        })
        .await;
    }

    /// How often a text occurs in a role's log.
    pub(crate) fn count_in_log(&self, role: &str, text: &str) -> usize {
        self.log(role).matches(text).count()
    }
}

/// Settings with stock that no test sells out.
pub(crate) fn settings() -> Settings {
    Settings { initial_stock: PLENTY, ..Settings::default() }
}

/// What a database server is called, as the end of a link.
pub(crate) fn database_name(number: usize) -> String {
    format!("database-{number}")
}

/// Proxies between the roles of a cluster, and these others.
fn network(cluster: &Cluster, others: Vec<(String, String, String)>) -> Network {
    let listener = cluster.frontends[0].parse::<SocketAddrV4>().unwrap();
    // An address of their own, so that no proxy takes a port that a role is about to take.
    let host = Ipv4Addr::from_bits(listener.ip().to_bits() ^ 0x0080_0000);
    let to = |(from, to): (String, String)| {
        let address = cluster.addresses[&to].clone();
        (from, to, address)
    };
    let links = links(&cluster.catalogs, cluster.frontends.len()).into_iter().map(to);
    Network::new(host.into(), links.chain(others).collect())
}

/// Where a role finds the others: its own address is where it listens, and theirs are the proxies'.
fn seen_by(name: &str, cluster: &Cluster, network: &Network) -> BTreeMap<String, String> {
    let mut seen = cluster.addresses.clone();
    for (neighbour, address) in &mut seen {
        if let Some(proxy) = network.address(name, neighbour) {
            *address = proxy;
        }
    }
    seen
}

/// The links: which role calls which.
fn links(catalogs: &[String], frontends: usize) -> Vec<(String, String)> {
    let mut links = Vec::new();
    let mut add = |from: &str, to: &str| links.push((from.to_owned(), to.to_owned()));
    for frontend in (1..=frontends).map(frontend_name) {
        for catalog in catalogs {
            add(&frontend, catalog);
            add(catalog, &frontend);
        }
        for replica in REPLICAS {
            add(&frontend, replica);
        }
    }
    for replica in REPLICAS {
        for catalog in catalogs {
            add(replica, catalog);
            add(catalog, replica);
        }
        for other in REPLICAS.iter().filter(|other| **other != replica) {
            add(replica, other);
        }
    }
    links
}

impl Deref for Store {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for Store {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}
