//! How a front-end keeps its session with the catalog: what to ask next, and what the answer means
//! for the cache.
//!
//! The lease is counted from before the question was sent, so that it ends here before it ends at
//! the catalog. A session that has run out is over before the next one is asked for, and the cache
//! is empty by then.

use std::time::{Duration, Instant};

use super::cache::Cache;
use crate::wire::lease::{Registered, Registration, RenewalReply, SessionId};

/// How often the lease is prolonged: a fifth of it.
pub const RENEWAL_INTERVAL: Duration = Duration::from_millis(200);

/// A front-end as the catalog's tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKeeper {
    frontend: u32,
    /// The session that this process had before, so that nobody waits for its lease.
    previous: Option<SessionId>,
}

/// What to ask the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCall {
    /// For a session.
    Register(Registration),
    /// To prolong this one.
    Renew(SessionId),
}

/// What a renewal brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The session goes on.
    Prolonged,
    /// It has run out, and the cache is empty; register anew, at once.
    RanOut,
}

impl SessionKeeper {
    /// A front-end that has had no session yet.
    #[must_use]
    pub fn new(frontend: u32) -> Self {
        Self { frontend, previous: None }
    }

    /// What to ask the catalog now.
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

    /// A registration that was sent at `sent` has brought a session.
    pub fn registered<V: Clone>(
        &mut self,
        cache: &mut Cache<V>,
        sent: Instant,
        registered: Registered,
    ) {
        let lease_end = sent + Duration::from_millis(registered.lease_ms);
        cache.begin_session(registered.session, lease_end, registered.toys);
        self.previous = None;
    }

    /// A renewal of `session` that was sent at `sent` has been answered.
    pub fn renewed<V: Clone>(
        &mut self,
        cache: &mut Cache<V>,
        session: SessionId,
        sent: Instant,
        reply: RenewalReply,
    ) -> Renewed {
        match reply {
            RenewalReply::Renewed { lease_ms } => {
                cache.prolong_session(session, sent + Duration::from_millis(lease_ms));
                Renewed::Prolonged
            }
            RenewalReply::Expired => {
                self.previous = cache.end_session();
                Renewed::RanOut
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId { boot: 1, serial: 0 };

    fn registered() -> Registered {
        Registered { session: SESSION, lease_ms: 1_000, toys: vec!["Tux".into()] }
    }

    #[test]
    fn the_lease_counts_from_before_the_question_was_sent() {
        let sent = crate::clock::now();
        let (mut keeper, mut cache) = (SessionKeeper::new(1), Cache::<u8>::new(1));
        keeper.registered(&mut cache, sent, registered());
        let last = sent + Duration::from_millis(999);
        assert!(cache.has_lease(last) && !cache.has_lease(last + Duration::from_millis(1)));
        let later = sent + Duration::from_millis(200);
        let reply = RenewalReply::Renewed { lease_ms: 1_000 };
        assert_eq!(keeper.renewed(&mut cache, SESSION, later, reply), Renewed::Prolonged);
        assert!(cache.has_lease(last + Duration::from_millis(200)));
    }

    #[test]
    fn a_session_that_ran_out_is_named_when_the_next_one_is_asked_for() {
        let now = crate::clock::now();
        let (mut keeper, mut cache) = (SessionKeeper::new(7), Cache::<u8>::new(1));
        let first = Registration { frontend: 7, previous: None };
        assert_eq!(keeper.next_call(&cache), NextCall::Register(first));
        keeper.registered(&mut cache, now, registered());
        assert_eq!(keeper.next_call(&cache), NextCall::Renew(SESSION));
        let end = keeper.renewed(&mut cache, SESSION, now, RenewalReply::Expired);
        assert_eq!(end, Renewed::RanOut);
        assert_eq!(cache.session(), None);
        let next = Registration { frontend: 7, previous: Some(SESSION) };
        assert_eq!(keeper.next_call(&cache), NextCall::Register(next));
    }
}
