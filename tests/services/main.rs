//! Each service alone, over HTTP: the test and fake neighbours play the rest of the store.
//!
//! Only here can a test hold up one answer, lose another, and compare each request that a service
//! sends with what the protocol asks for.

#[path = "../support/eventually.rs"]
mod eventually;
#[path = "../support/fake_store.rs"]
mod fake_store;
#[path = "../support/neighbours/mod.rs"]
mod neighbours;
#[path = "../support/prometheus.rs"]
mod prometheus;

mod catalog;
mod client;
mod document;
mod events;
mod frames;
mod frontend;
mod hearings;
mod http;
mod metrics;
mod order;
mod requests;
mod timings;
mod traces;
