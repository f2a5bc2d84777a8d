//! What a front-end does in its own time: its session with the catalog, the replicas' health
//! checks, the selection of the leader.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::cache::Cache;
use super::remote::Remote;
use super::selection::Check;
use super::service::Service;
use crate::clock;
use crate::transport::{CallError, Unreachable};
use crate::wire::lease::{Registration, RenewalReply, SessionId};
use crate::wire::replication::{Leadership, Nomination, NominationReply, ReplicaId};

/// How often the lease is prolonged: a fifth of it.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(200);
/// How often the catalog is asked how it stands.
const CATALOG_INTERVAL: Duration = Duration::from_millis(200);
/// How often each replica's health is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

impl Service {
    /// Keeps a session with the catalog, for ever. Without one nothing is answered from the cache.
    pub(super) async fn keep_session(self: Arc<Self>, remote: Rc<Remote>) {
        let mut previous = None;
        loop {
            match self.cached(|cache| cache.session()) {
                None => self.register(&remote, &mut previous).await,
                Some(session) => {
                    if self.renew(&remote, session).await == Some(RenewalReply::Expired) {
                        log::warn!("session {session} with the catalog has run out");
                        previous = self.cached(Cache::end_session);
                        continue;
                    }
                }
            }
            actix_web::rt::time::sleep(RENEWAL_INTERVAL).await;
        }
    }

    /// Begins a session. The lease counts from before the registration was sent, so it ends here
    /// before it ends at the catalog.
    async fn register(&self, remote: &Remote, previous: &mut Option<SessionId>) {
        let sent = clock::now();
        let request = Registration { frontend: self.number, previous: *previous };
        match remote.register(request).await {
            Ok(registered) => {
                let lease_end = sent + Duration::from_millis(registered.lease_ms);
                let session = registered.session;
                self.cached(|cache| cache.begin_session(session, lease_end, registered.toys));
                log::info!("session {session} with the catalog begins");
                *previous = None;
            }
            Err(error @ CallError::Refused { .. }) => {
                log::warn!("the catalog gives no session: {error}");
            }
            Err(error) => log::debug!("the catalog gives no session: {error}"),
        }
    }

    async fn renew(&self, remote: &Remote, session: SessionId) -> Option<RenewalReply> {
        let sent = clock::now();
        let reply = remote.renew(session).await.ok();
        if let Some(RenewalReply::Renewed { lease_ms }) = reply {
            let lease_end = sent + Duration::from_millis(lease_ms);
            self.cached(|cache| cache.prolong_session(session, lease_end));
        }
        reply
    }

    /// Ends the session, so that no purchase waits for a lease that nobody uses.
    pub(super) async fn close(&self, remote: &Remote) {
        let Some(session) = self.cached(Cache::end_session) else { return };
        if let Err(error) = remote.end(session).await {
            log::debug!("session {session} ends with its lease: {error}");
        }
    }

    /// Asks the catalog how it stands, for ever.
    pub(super) async fn watch_catalog(self: Arc<Self>, remote: Rc<Remote>) {
        loop {
            let asked = clock::now();
            if let Ok(standing) = remote.standing().await {
                self.heard_from_catalog(standing, asked);
            }
            actix_web::rt::time::sleep(CATALOG_INTERVAL).await;
        }
    }

    /// Checks one replica's health, for ever.
    pub(super) async fn check_health(self: Arc<Self>, remote: Rc<Remote>, replica: ReplicaId) {
        loop {
            let check = match remote.check(replica).await {
                Ok(status) => Check::Answered(status),
                Err(CallError::Unreachable(Unreachable::NobodyListens)) => Check::Gone,
                Err(CallError::Refused { status, message }) => {
                    log::error!("replica {replica} refuses health checks: {status} {message}");
                    Check::Missed
                }
                Err(CallError::Unreachable(_)) => Check::Missed,
            };
            self.checked(replica, check);
            actix_web::rt::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Nominates a leader whenever there is none that works, and tells the replicas, for ever.
    pub(super) async fn select_leader(self: Arc<Self>, remote: Rc<Remote>) {
        loop {
            self.selecting.notified().await;
            if let Some(nominee) = self.select(|selection| selection.nominee()) {
                log::info!("replica {} is nominated, to end epoch {}", nominee.id, nominee.seen);
                let nomination = Nomination { seen: nominee.seen };
                match remote.nominate(nominee.id, nomination).await {
                    Ok(NominationReply::Won(leadership)) => self.won(leadership),
                    Ok(NominationReply::Lost(leadership)) => self.learn(leadership),
                    Ok(NominationReply::Unable(why)) => self.pass_over(nominee.id, &why),
                    Err(error) => self.pass_over(nominee.id, &error.to_string()),
                }
            }
            self.inform(&remote).await;
        }
    }

    fn pass_over(&self, nominee: ReplicaId, why: &str) {
        log::warn!("replica {nominee} cannot lead: {why}");
        self.select(|selection| selection.declined(nominee));
        // The next highest is to be tried before this one's next health check brings it back.
        self.selecting.notify_one();
    }

    /// Tells all replicas that do not know it who leads. Those that cannot be told now will be
    /// after their next health check.
    async fn inform(&self, remote: &Remote) {
        let (leadership, uninformed): (Leadership, Vec<ReplicaId>) =
            self.select(|selection| (selection.leadership(), selection.uninformed()));
        let notices = uninformed.into_iter().map(async |replica| {
            if let Err(error) = remote.notify(replica, leadership).await {
                log::debug!("replica {replica} was not told that {leadership}: {error}");
            }
        });
        futures_util::future::join_all(notices).await;
    }
}
