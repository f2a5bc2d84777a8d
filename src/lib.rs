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

/// The catalog: the stock and the purchase journal.
pub mod catalog;
/// The command line.
pub mod cli;
/// The client: shops, measures and checks.
pub mod client;
/// The one place that reads a clock.
pub mod clock;
/// Places where a test can end a role.
pub mod failpoint;
/// The front-end: the store's door, with a cache of toys.
pub mod frontend;
/// `/healthz` and `/readyz`, and the probe that asks them.
pub mod health;
/// The order replicas.
pub mod order;
/// A role as a process.
pub mod process;
/// `roles.toml`: who runs where.
pub mod roles;
/// A role's HTTP server.
pub mod server;
/// What survives a crash, in SQLite.
pub mod storage;
/// One call to another role.
pub mod transport;
/// What crosses a socket.
pub mod wire;
