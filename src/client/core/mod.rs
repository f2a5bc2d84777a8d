//! The client's decisions and counts, without sockets, clocks or files.
//!
//! `shopper` chooses toys, `schedule` says when each iteration is due, `retry` decides whether a
//! request is sent again, `receipts` compares orders, and `stats`, `latency` and `live` count.

pub mod latency;
pub(super) mod live;
pub mod receipts;
pub(super) mod retry;
pub mod schedule;
pub mod shopper;
pub mod stats;
