//! The front-end's decisions: what it may answer by itself, which replica it takes for the leader,
//! when it asks again.

pub mod cache;
pub mod flights;
mod recency;
pub mod retry;
pub mod selection;
pub mod session;
