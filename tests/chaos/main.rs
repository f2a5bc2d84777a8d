//! Chaos: the store as processes, a proxy on each link between two of them, faults of all kinds,
//! and clients whose answers are compared with the databases in the end.
//!
//! | module | where the fault is |
//! |---|---|
//! | [`leases`] | front-ends that hold toys, and their links to the catalog |
//! | [`frontends`] | one front-end of several |
//! | [`cuts`] | links between front-ends, replicas and the catalog, both ways and one way |
//! | [`leadership`] | the leader: deposed, or cut off from the catalog or from a front-end |
//! | [`disks`] | a role's disk: it hangs or is full |
//! | [`restarts`] | the catalog, or everything at once |
//! | [`failpoints`] | a role between two steps of the protocol |
//! | [`strangers`] | callers that do not know the secret |
//! | [`load`] | nowhere: as much work as the machine can do |
//! | [`random`] | anywhere, drawn from a seed |
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a test's failure")]

#[path = "../support/clients.rs"]
mod clients;
#[path = "../support/eventually.rs"]
mod eventually;
#[path = "../support/histories/mod.rs"]
mod histories;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/proxied_store.rs"]
mod proxied_store;
#[path = "../support/proxies.rs"]
mod proxies;
#[path = "../support/shared_store.rs"]
mod shared_store;

mod cuts;
mod disks;
mod failpoints;
mod frontends;
mod leadership;
mod leases;
mod load;
mod random;
mod restarts;
mod strangers;
mod takeover;
