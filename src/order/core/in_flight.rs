//! The purchases in flight, by their keys: what a retry under a key meets.
//!
//! # The idea
//!
//! A client or front-end that has no answer retries under the same idempotency key (as in the
//! IETF's draft of the `Idempotency-Key` header). The retry meets one of three things:
//!
//! - **the purchase in flight**: it joins it, and both get the same answer;
//! - **nothing**: it goes to the catalog, which answers from its record if the key was decided
//!   before, at this leader or at an earlier one;
//! - **another purchase in flight under the same key**, which is a client's error: it goes to the
//!   catalog, too. Only the catalog can tell which of the two the key belongs to:
//!
//! ```text
//! client                     leader                     catalog
//!                                                         | key k: 1 Tux, order 7 (long ago)
//!   | key k, 2 Tux ----------->| in flight --------------->|
//!   | key k, 1 Tux ----------->| not joined -------------->|
//!   |<-- key reused -----------|<--------------------------| differs from the record
//!   |<-- order 7 --------------|<--------------------------| from the record
//! ```
//!
//! If the leader refused the second because of the first, it would refuse the key's owner.
//!
//! # What is left out
//!
//! Any memory of purchases that are answered: the catalog records them.

use std::collections::BTreeMap;

use crate::wire::purchase::{IdempotencyKey, Purchase};
use crate::wire::toy::ToyName;
use crate::wire::trace::RequestOrigin;

/// Purchases that may be in flight at once; more are answered "try again later". Sixteen full
/// batches: some tenths of a second of the catalog's work.
pub const MOST_PURCHASES: usize = 4_096;
/// Attempts that may wait for one purchase: more than a client and its front-ends make while it is
/// in flight, unless a client sends one key many times at once.
const MOST_WAITERS: usize = 16;

/// Too many purchases are in flight, or too many attempts at one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// The purchases in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct InFlight<W> {
    purchases: BTreeMap<ClientKey, Waited<W>>,
}

/// What two purchases have in common if one is a retry of the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ClientKey {
    key: IdempotencyKey,
    name: ToyName,
    quantity: u64,
}

/// A purchase, and the attempts that wait for its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waited<W> {
    purchase: Purchase,
    waiters: Vec<W>,
}

impl<W> Default for InFlight<W> {
    fn default() -> Self {
        Self { purchases: BTreeMap::new() }
    }
}

impl<W> InFlight<W> {
    /// Takes an attempt in. Returns the key of a purchase that is new, `None` if the attempt joins
    /// one. Waiters that `is_gone` do not count against the bound.
    pub(super) fn admit(
        &mut self,
        purchase: Purchase,
        waiter: W,
        is_gone: impl Fn(&W) -> bool,
    ) -> Result<Option<ClientKey>, Busy> {
        let client_key = ClientKey::of(&purchase);
        if let Some(known) = self.purchases.get_mut(&client_key) {
            known.waiters.retain(|waiter| !is_gone(waiter));
            if known.waiters.len() == MOST_WAITERS {
                return Err(Busy);
            }
            known.waiters.push(waiter);
            // The newest attempt knows best which start of the catalog it is for.
            known.purchase.boot = purchase.boot;
            return Ok(None);
        }
        if self.purchases.len() == MOST_PURCHASES {
            return Err(Busy);
        }
        self.purchases.insert(client_key.clone(), Waited { purchase, waiters: vec![waiter] });
        Ok(Some(client_key))
    }

    /// Returns a purchase, or drops it if its waiters are all gone: if the catalog has decided it,
    /// it has the record; if not, nothing has happened. A client that still wants it will retry.
    pub(super) fn get_or_drop(
        &mut self,
        client_key: &ClientKey,
        is_gone: impl Fn(&W) -> bool,
    ) -> Option<&Purchase> {
        if self.purchases.get(client_key)?.waiters.iter().all(is_gone) {
            self.purchases.remove(client_key);
        }
        self.purchases.get(client_key).map(|known| &known.purchase)
    }

    /// Removes a purchase. Returns its waiters.
    pub(super) fn remove(&mut self, client_key: &ClientKey) -> Vec<W> {
        self.purchases.remove(client_key).map(|known| known.waiters).unwrap_or_default()
    }

    /// Removes all purchases. Returns their waiters.
    pub(super) fn clear(&mut self) -> Vec<W> {
        let all = std::mem::take(&mut self.purchases);
        all.into_values().flat_map(|known| known.waiters).collect()
    }

    /// Returns the client's request of a purchase, if it is known.
    pub(super) fn origin(&self, client_key: &ClientKey) -> Option<&RequestOrigin> {
        let origin = &self.purchases.get(client_key)?.purchase.origin;
        (!origin.is_unknown()).then_some(origin)
    }

    /// Returns how many purchases are in flight.
    pub(super) fn len(&self) -> usize {
        self.purchases.len()
    }
}

impl ClientKey {
    /// Returns the purchase's idempotency key.
    pub(super) fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    fn of(purchase: &Purchase) -> Self {
        Self {
            key: purchase.key.clone(),
            name: purchase.name.clone(),
            quantity: purchase.quantity.get(),
        }
    }
}
