//! The front-end's decisions: what the cache may answer, which replica leads, when to retry.

pub mod cache;
pub mod feed;
pub mod health;
pub mod retried;
pub mod retry;
pub mod selection;
pub mod session;
