//! An online toy store of three microservices, with caching, replication and fault tolerance, in
//! one executable.
//!
//! The modules in reading order. Every service has the same few files: `routes` (HTTP in),
//! `service` (where a decision meets an await), `core` (pure decisions), `tasks` (what it does on
//! its own time) and `remote` (HTTP out). The catalog and the replicas have a `storage` as well.
//!
//! ```text
//! request ─► routes ─► service ─► core        decides; knows no socket, clock, disk or log
//!                         ├─────► storage     remembers (the only SQL)
//!                         └─────► remote ─► transport ─► the next service's routes
//!            tasks ────► service, remote      what a service does on its own time
//! ```
//!
//! A service meets the world at three places: its [runtime], its peers in [transport], and its
//! storage. The simulator in `tests/simulator` replaces these and runs the rest as it is.
//! `docs/architecture.md` says in which file to find what, and `tests/tidy.rs` who may use whom.

// What the services agree on.

pub mod wire; // what crosses a socket: types, and the list of all calls between roles

// The services, and the client.

pub mod catalog; // the stock, the purchase journal, the front-ends' leases

pub mod order; // the replicas: the orders, the leader

pub mod frontend; // what clients talk to: the cache, the selection of the leader

pub mod client; // shops, measures and checks every order

// Where a service meets its machine.

pub mod runtime; // clock, timers, tasks and random numbers

mod alarm; // a timer that wakes a thread up once for each long pause

pub mod events; // what a process has done lately, and how that is put together and shown

pub mod identity; // who this process is, and whom it takes calls for

pub mod rulers; // which of several catalogs rules, as this process has heard

pub mod agreement; // whether two roles.toml agree on who is where

pub mod transport; // one call to another role

pub mod storage; // what the databases share: SQLite, on threads of its own

// What every role needs.

pub mod tls; // certificates, as rustls takes them

pub mod roles; // roles.toml: who runs where

pub mod descriptors; // how many connections and calls a process may have open

pub mod catalogs; // the catalog, or several of which one rules, as others call it

pub mod neighbours; // the catalog and the replicas, as others reach them

pub mod server; // a role's HTTP server

pub mod metrics; // what a role counts and measures, as Prometheus reads it

pub mod health; // /healthz and /readyz, and the probe that asks them

pub mod repeats; // what lasts is logged once when it begins and once when it ends

pub mod shutdown; // how a role ends: in order, or because of a failure

pub mod process; // a role as a process: listener, signals, exit

pub mod pid_lock; // the files that make a process a role

pub mod clock; // the one place that reads a clock

pub mod failpoint; // places where a test can end a role

// What an operator does.

pub mod trace; // toystore trace: events for the viewers that people have

pub mod backup; // copies of a store's databases, and back

pub mod certs; // certificates for a trial of TLS

pub mod mend; // rebuilds and repairs a catalog's database

// The command line.

pub mod cluster; // starts, stops and shows the roles of a roles.toml

pub mod manual; // what a shell and `man` know of the commands

pub mod cli; // arguments in, a role or a command run, an exit status out
