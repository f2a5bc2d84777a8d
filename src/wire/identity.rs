//! Which store and which role a call is meant for.
//!
//! An address says where a process was when `roles.toml` was written. Processes move, machines are
//! cloned, files are restored, and then another process answers at that address. So a call says
//! whom it is meant for, and any other process refuses it (HTTP 421, Misdirected Request,
//! RFC 9110, 15.5.20):
//!
//! ```text
//! catalog                      127.0.0.1:8080 (front-end 1 was here; front-end 2 is)
//!   | invalidate, to frontend      |
//!   |----------------------------->|
//!   |<------ 421: I am frontend-2 -|   no acknowledgement: front-end 1 may still show the toy
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use super::count;

/// A store's id, drawn at random when its journal was created. Replicas keep it in their databases,
/// and front-ends learn it from the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoreId(#[serde(deserialize_with = "count::deserialize_random")] u64);

/// A role and its address, as a process's `roles.toml` has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRole {
    /// The role's name, such as `order-3`.
    pub role: String,
    /// Where the process reaches it.
    pub address: String,
}

/// Whom a call is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// The role's name, such as `order-3`.
    pub role: String,
    /// The store, if the caller knows it.
    pub store: Option<StoreId>,
}

impl StoreId {
    /// The store with a number that was drawn at random. (63 bits are used, as SQLite's integers
    /// are signed.)
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self((bits >> 1).max(1))
    }

    /// The store with this number, if there can be one.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        (1..=u64::MAX >> 1).contains(&number).then_some(Self(number))
    }

    /// Returns the number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// Reads the store's id as it is displayed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::new(u64::from_str_radix(text, 16).ok()?)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Addressee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.store {
            Some(store) => write!(f, "{} of store {store}", self.role),
            None => f.write_str(&self.role),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_read_as_it_is_displayed() {
        let store = StoreId::from_random(u64::MAX);
        assert_eq!(StoreId::parse(&store.to_string()), Some(store));
        assert_eq!(StoreId::parse("0"), None);
        assert_eq!(StoreId::parse("ffffffffffffffff"), None, "SQLite could not hold it");
    }
}
