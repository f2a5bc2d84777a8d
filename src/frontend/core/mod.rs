//! The front-end's decisions: what the cache may answer, which replica leads, when to retry; and
//! what it tells the pages.

pub mod cache;
pub mod feed;
pub mod health;
pub mod notices;
pub mod retried;
pub mod retry;
pub mod selection;
pub mod session;
