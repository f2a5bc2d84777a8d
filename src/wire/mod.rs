//! What crosses a socket: the types that the services share.
//!
//! Services never import one another; what two of them must agree on is here. All bodies are JSON.
//! The bodies that clients see are in [`toy`], [`order`], [`purchase`], [`cluster`] and [`reply`];
//! the bodies between roles (paths under `/internal`) are in [`purchase`], [`replication`] and
//! [`lease`]; [`trace`] goes along with all of them. [`term`] says which of several catalogs rules.
//! [`parse_error`] explains a body that is invalid. [`event`] is the format in which a store tells
//! what happened in it.

pub mod bounds;
pub mod calls;
pub mod cluster;
pub mod count;
pub mod event;
pub mod frame;
pub mod identity;
pub mod lease;
pub mod order;
pub mod parse_error;
pub mod purchase;
pub mod quantity;
pub mod recording;
pub mod replication;
pub mod reply;
pub mod term;
pub mod timing;
pub mod toy;
pub mod trace;
