//! How often one host may ask, if `roles.toml` limits that.
//!
//! Each host has a bucket that refills at the rate of the limit; a request that finds it empty is
//! refused with 429. Buckets that are full again are forgotten, so that there are only as many as
//! hosts that have asked lately. What other roles and supervisors ask is not counted.

use std::time::Duration;

use actix_web::dev::ServiceRequest;
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::internal::INTERNAL;
use super::limits::PeerHost;
use super::reply::ErrorReply;
use crate::roles::RateLimit;

/// Paths that are not counted: supervisors ask them, and the answers cost next to nothing.
const NOT_COUNTED: [&str; 2] = ["/healthz", "/readyz"];
/// How often full buckets are forgotten.
pub(super) const FORGET_INTERVAL: Duration = Duration::from_secs(10);

/// Whether a limit counts requests for this path.
#[must_use]
pub fn is_counted(path: &str) -> bool {
    !path.starts_with(INTERNAL) && !NOT_COUNTED.contains(&path)
}

/// The buckets of all hosts.
pub(super) struct RequestLimit {
    buckets: RateLimiter<PeerHost, HashMapStateStore<PeerHost>, DefaultClock>,
}

impl RequestLimit {
    pub(super) fn new(limit: RateLimit) -> Self {
        let quota = Quota::per_second(limit.requests_per_second)
            .allow_burst(limit.burst.unwrap_or(limit.requests_per_second));
        Self { buckets: RateLimiter::hashmap(quota) }
    }

    /// Counts a request.
    ///
    /// # Errors
    ///
    /// 429 if its host asks too often.
    pub(super) fn check(&self, request: &ServiceRequest) -> Result<(), ErrorReply> {
        let Some(peer) = request.peer_addr().filter(|_| is_counted(request.path())) else {
            return Ok(());
        };
        self.buckets.check_key(&PeerHost::from(peer.ip())).map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            ErrorReply::TooOften(wait.as_secs() + 1)
        })
    }

    /// Forgets the hosts whose buckets are full.
    pub(super) fn forget(&self) {
        self.buckets.retain_recent();
        self.buckets.shrink_to_fit();
    }
}
