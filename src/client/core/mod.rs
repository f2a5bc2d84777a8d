//! The client's decisions and counts, without sockets, clocks or files.

pub mod latency;
pub mod receipts;
pub mod retry;
pub mod schedule;
pub mod shopper;
pub mod stats;
