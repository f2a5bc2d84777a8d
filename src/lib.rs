//! An online toy store of three microservices, with caching, replication and fault tolerance, in
//! one executable.
//!
//! The modules in reading order. Every service has the same few files: `routes` (HTTP in),
//! `service` (where a decision meets an await), the cores (pure decisions, named for what they
//! decide) and `remote` (HTTP out).
//!
//! ```text
//! request ─► routes ─► service ─► core        decides; knows no socket, clock, disk or log
//!                         ├─────► storage     remembers (the only SQL)
//!                         └─────► remote ─► transport ─► the next service's routes
//! ```

pub mod wire; // what crosses a socket

pub mod roles; // roles.toml: who runs where

pub mod catalog; // the stock, the purchase journal, the leases

pub mod order; // the replicas: the orders, the leader

pub mod frontend; // the door: the cache, the selection of the leader

pub mod client; // shops, measures and checks

pub mod storage; // what survives a crash, in SQLite

pub mod identity; // who this process is, and whom it takes calls for

pub mod transport; // one call to another role

pub mod neighbours; // the catalog and the replicas, as others reach them

pub mod server; // a role's HTTP server

pub mod health; // /healthz and /readyz, and the probe that asks them

pub mod process; // a role as a process

pub mod pid_lock; // the files that make a process a role

pub mod cluster; // starts, stops and shows the roles of a roles.toml

pub mod cli; // the command line

pub mod clock; // the one place that reads a clock

pub mod runtime; // what a service needs of its machine

pub mod shutdown; // how a role ends

pub mod failpoint; // places where a test can end a role
