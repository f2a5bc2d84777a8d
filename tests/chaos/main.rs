//! Chaos: the store as processes, a proxy on every link between two of them, and clients whose
//! every answer is compared with what the databases hold in the end.
//!
//! | module | hurts |
//! |---|---|
//! | [`leases`] | front-ends that hold toys, and their links to the catalog |
//! | [`frontends`] | one front-end of several |
//! | [`cuts`] | links between front-ends, replicas and the catalog, both ways and one way |
//! | [`leadership`] | the leader: deposed, out of the catalog's or a front-end's reach |
//! | [`disks`] | a role's disk: it hangs or is full |
//! | [`restarts`] | the catalog, or everything at once |
//! | [`failpoints`] | a role between two steps of the protocol |
//! | [`strangers`] | a store whose ports anybody can reach |
//! | [`load`] | nothing; as much work as the machine can do |
//! | [`random`] | anything, as a seed has it |
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a test's failure")]

mod cluster;
mod crowd;
mod cuts;
mod disks;
mod failpoints;
mod frontends;
mod history;
mod leadership;
mod leases;
mod ledger;
mod load;
#[path = "../processes/mod.rs"]
mod processes;
mod proxy;
mod random;
mod restarts;
mod strangers;
mod sweep;
