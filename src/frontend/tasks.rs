//! What a front-end does in its own time: its session with the catalog, the replicas' health
//! checks, the selection of the leader.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::core::cache::Cache;
use super::core::health::HealthCheck;
use super::core::session::{NextCall, RENEWAL_INTERVAL, RenewalOutcome, SessionKeeper};
use super::remote::Remote;
use super::service::Service;
use crate::clock;
use crate::transport::{CallError, Unreachable};
use crate::wire::replication::{Leadership, Nomination, NominationReply, ReplicaId};

/// How often the catalog is asked how it stands.
const CATALOG_INTERVAL: Duration = Duration::from_millis(200);
/// How often each replica's health is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

impl Service {
    /// Keeps a session with the catalog, for ever. Without one nothing is answered from the cache.
    pub(super) async fn keep_session(self: Arc<Self>, remote: Rc<Remote>) {
        let mut keeper = SessionKeeper::new(self.number);
        loop {
            let sent = clock::now();
            match self.cached(|cache| keeper.next_call(cache)) {
                NextCall::Register(request) => match remote.register(request).await {
                    Ok(reply) => {
                        log::info!("session {} with the catalog begins", reply.session);
                        self.cached(|cache| keeper.registered(cache, sent, reply));
                    }
                    Err(error @ CallError::Refused { .. }) => {
                        log::warn!("the catalog gives no session: {error}");
                    }
                    Err(error) => log::debug!("the catalog gives no session: {error}"),
                },
                NextCall::Renew(session) => {
                    if let Ok(reply) = remote.renew(session).await
                        && self.cached(|cache| keeper.renewed(cache, session, sent, reply))
                            == RenewalOutcome::Expired
                    {
                        log::warn!("session {session} with the catalog has run out");
                        continue;
                    }
                }
            }
            actix_web::rt::time::sleep(RENEWAL_INTERVAL).await;
        }
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
            if let Ok(status) = remote.status().await {
                self.heard_from_catalog(status, asked);
            }
            actix_web::rt::time::sleep(CATALOG_INTERVAL).await;
        }
    }

    /// Checks one replica's health, for ever.
    pub(super) async fn check_health(self: Arc<Self>, remote: Rc<Remote>, replica: ReplicaId) {
        loop {
            let check = match remote.check(replica).await {
                Ok(status) => HealthCheck::Answered(status),
                Err(CallError::Unreachable(Unreachable::NobodyListens)) => HealthCheck::Gone,
                Err(CallError::Refused { status, message }) => {
                    log::error!("replica {replica} refuses health checks: {status} {message}");
                    HealthCheck::Missed
                }
                Err(CallError::Unreachable(_)) => HealthCheck::Missed,
            };
            self.select(|selection| selection.checked(replica, check));
            self.selecting.notify_one();
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
                let reply = remote.nominate(nominee.id, nomination).await;
                match &reply {
                    Ok(NominationReply::Won(_) | NominationReply::Lost(_)) => {}
                    Ok(NominationReply::Unable(why)) => {
                        log::warn!("replica {} cannot lead: {why}", nominee.id);
                    }
                    Err(error) => log::warn!("replica {} cannot lead: {error}", nominee.id),
                }
                self.select(|selection| {
                    selection.nominated(nominee.id, reply.as_ref().ok());
                });
                // If it was passed over, the next highest is to be tried before this one's next
                // health check brings it back.
                self.selecting.notify_one();
            }
            self.inform(&remote).await;
        }
    }

    /// Tells all replicas that do not know it who leads. Those that cannot be told now will be
    /// after their next health check.
    async fn inform(&self, remote: &Remote) {
        let (leadership, uninformed): (Leadership, Vec<ReplicaId>) =
            self.select(|selection| (selection.leadership(), selection.uninformed()));
        let events = uninformed.into_iter().map(async |replica| {
            if let Err(error) = remote.notify(replica, leadership).await {
                log::debug!("replica {replica} was not told that {leadership}: {error}");
            }
        });
        futures_util::future::join_all(events).await;
    }
}
