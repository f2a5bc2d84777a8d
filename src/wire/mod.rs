//! What crosses a socket: the words that the services share, and nothing that they decide.
//!
//! Services never import one another; what two of them must agree on stands here. Everything is
//! JSON. The bodies that clients see are in [`toy`], [`order`], [`purchase`], [`cluster`] and
//! [`reply`]; the bodies between roles (paths under `/internal`) are in [`purchase`],
//! [`replication`] and [`lease`]. [`parse_error`] says what is wrong with a body
//! that is none of them.

pub mod calls;
pub mod cluster;
pub mod count;
pub mod lease;
pub mod order;
pub mod parse_error;
pub mod purchase;
pub mod quantity;
pub mod replication;
pub mod reply;
pub mod toy;
