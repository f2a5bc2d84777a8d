//! How a front-end keeps its session with the catalog: which call to make next, and what the answer
//! means for the cache.
//!
//! The lease is counted from before the call was sent, so that it ends at the front-end before it
//! ends at the catalog:
//!
//! ```text
//! front-end  | sent                          lease ends |
//! catalog    |       answered                           |        lease ends, margin added |
//! ```
//!
//! When a session has expired, the cache is emptied before the next one is asked for.

use std::time::{Duration, Instant};

use super::cache::Cache;
use crate::wire::lease::{LONGEST_LEASE_MS, Registered, Registration, RenewalReply, SessionId};

/// How often the lease is renewed: five times per lease, so that a lost renewal does no harm.
pub const RENEWAL_INTERVAL: Duration = Duration::from_millis(200);

/// Keeps one front-end's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKeeper {
    frontend: u32,
    /// The session that expired here. The catalog ends it at once when it is named in the next
    /// registration, and no purchase waits for its lease.
    previous: Option<SessionId>,
}

/// The next call to the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCall {
    /// Register, to begin a session.
    Register(Registration),
    /// Renew this session.
    Renew(SessionId),
}

/// The outcome of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalOutcome {
    /// The session goes on.
    Renewed,
    /// The session has expired, and the cache is empty: register at once.
    Expired,
}

impl SessionKeeper {
    /// Creates a keeper for a front-end that has had no session yet.
    #[must_use]
    pub fn new(frontend: u32) -> Self {
        Self { frontend, previous: None }
    }

    /// Decides which call to make now.
    #[must_use]
    pub fn next_call<V: Clone>(&self, cache: &Cache<V>) -> NextCall {
        match cache.session() {
            None => NextCall::Register(Registration {
                frontend: self.frontend,
                previous: self.previous,
            }),
            Some(session) => NextCall::Renew(session),
        }
    }

    /// Begins the session that answers a registration sent at `sent`.
    pub fn registered<V: Clone>(
        &mut self,
        cache: &mut Cache<V>,
        sent: Instant,
        registered: Registered,
    ) {
        let lease_end = sent + lease_of(registered.lease_ms);
        cache.begin_session(registered.session, lease_end, registered.toys);
        self.previous = None;
    }

    /// Notes the answer to a renewal of `session` sent at `sent`.
    pub fn renewed<V: Clone>(
        &mut self,
        cache: &mut Cache<V>,
        session: SessionId,
        sent: Instant,
        reply: RenewalReply,
    ) -> RenewalOutcome {
        match reply {
            RenewalReply::Renewed { lease_ms } => {
                cache.renew_session(session, sent + lease_of(lease_ms));
                RenewalOutcome::Renewed
            }
            RenewalReply::Expired => {
                self.previous = cache.end_session();
                RenewalOutcome::Expired
            }
        }
    }
}

/// A lease as it counts here: the catalog waits for no longer one.
fn lease_of(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds.min(LONGEST_LEASE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId { boot: 1, serial: 0 };

    fn registered() -> Registered {
        Registered { session: SESSION, lease_ms: 1_000, toys: vec!["Tux".into()] }
    }

    #[test]
    fn the_lease_counts_from_before_the_call_was_sent() {
        let sent = crate::clock::now();
        let (mut keeper, mut cache) = (SessionKeeper::new(1), Cache::<u8>::new(1));
        keeper.registered(&mut cache, sent, registered());
        let last = sent + Duration::from_millis(999);
        assert!(cache.has_lease(last) && !cache.has_lease(last + Duration::from_millis(1)));
        let later = sent + Duration::from_millis(200);
        let reply = RenewalReply::Renewed { lease_ms: 1_000 };
        assert_eq!(keeper.renewed(&mut cache, SESSION, later, reply), RenewalOutcome::Renewed);
        assert!(cache.has_lease(last + Duration::from_millis(200)));
    }

    #[test]
    fn a_session_that_expired_is_named_in_the_next_registration() {
        let now = crate::clock::now();
        let (mut keeper, mut cache) = (SessionKeeper::new(7), Cache::<u8>::new(1));
        let first = Registration { frontend: 7, previous: None };
        assert_eq!(keeper.next_call(&cache), NextCall::Register(first));
        keeper.registered(&mut cache, now, registered());
        assert_eq!(keeper.next_call(&cache), NextCall::Renew(SESSION));
        let end = keeper.renewed(&mut cache, SESSION, now, RenewalReply::Expired);
        assert_eq!(end, RenewalOutcome::Expired);
        assert_eq!(cache.session(), None);
        let next = Registration { frontend: 7, previous: Some(SESSION) };
        assert_eq!(keeper.next_call(&cache), NextCall::Register(next));
    }
}
