//! The whole store as real processes: failover and restarts, lost and damaged files, start-up
//! errors, overload, and the verbs that run a store.

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
#[path = "../support/prometheus.rs"]
mod prometheus;
#[path = "../support/shared_store.rs"]
mod shared_store;

mod checkers;
mod connections;
mod damage;
mod database_failover;
mod databases;
mod disagreements;
mod failover;
mod full_disks;
mod interrupted;
mod large;
mod logs;
mod metrics;
mod open_files;
mod operations;
mod overload;
mod spans;
mod start;
mod takeover;
mod tls;
mod traces;
mod verbs;
