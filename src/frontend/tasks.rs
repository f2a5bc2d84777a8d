//! What a front-end does on its own time: its session with the catalog, the replicas' health
//! checks, the selection of the leader.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::core::cache::Cache;
use super::core::health::{CheckLimit, EarlyChecks, HealthCheck};
use super::core::selection::Nominee;
use super::core::session::{NextCall, RENEWAL_INTERVAL, RenewalOutcome, SessionKeeper};
use super::remote::Remote;
use super::service::Service;
use crate::repeats::Repeats;
use crate::roles::Roles;
use crate::runtime::{Pauses, shared_out};
use crate::shutdown::Shutdown;
use crate::transport::{CallError, Unreachable};
use crate::wire::calls::LogReport;
use crate::wire::event::EventKind;
use crate::wire::replication::{Leadership, Nomination, NominationReply, ReplicaId};

/// How often the catalog is asked for its status.
const CATALOG_INTERVAL: Duration = Duration::from_millis(200);
/// How often a replica's health is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The most that this grows in a store of several replicas, for those that need not be watched.
const LONGEST_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Starts a front-end's tasks, which end with `shutdown`.
pub fn start(service: &Arc<Service>, remote: &Rc<Remote>, roles: &Roles, shutdown: &Shutdown) {
    let own = || (Arc::clone(service), Rc::clone(remote));
    for watch in remote.catalogs().watchers(&service.runtime) {
        shutdown.spawn("the watch of a catalog", watch);
    }
    let (tasks, remote) = own();
    shutdown.spawn("the check of the catalog", tasks.check_catalog(remote));
    if roles.cache.enabled {
        let (tasks, remote) = own();
        shutdown.spawn("the session", tasks.keep_session(remote));
    }
    for order in &roles.orders {
        let (tasks, remote) = own();
        shutdown.spawn("a health check", tasks.check_health(remote, order.id));
    }
    let (tasks, remote) = own();
    shutdown.spawn("the selection", tasks.select_leader(remote));
}

impl Service {
    /// Keeps a session with the catalog, for ever. Without one nothing is answered from the cache.
    async fn keep_session(self: Arc<Self>, remote: Rc<Remote>) {
        let mut keeper = SessionKeeper::new(self.number);
        let refusals = Repeats::default();
        let pauses = Pauses::new(&*self.runtime, RENEWAL_INTERVAL);
        loop {
            let sent = self.runtime.now();
            match self.cached(|cache| keeper.next_call(cache)) {
                NextCall::Register(request) => match remote.register(request).await {
                    Ok(reply) => {
                        if let Some(lasted) = refusals.over(self.runtime.now()) {
                            log::info!("the catalog grants sessions again, after {lasted}");
                        }
                        log::info!("session {} with the catalog begins", reply.session);
                        let recorder = self.identity.recorder();
                        let text = || {
                            format!("a lease of {} ms begins: toys may be cached", reply.lease_ms)
                        };
                        recorder.change(EventKind::Local, "lease.begin", text);
                        self.cached(|cache| keeper.registered(cache, sent, reply));
                    }
                    Err(error @ CallError::Refused { .. }) => {
                        if refusals.happened(&error.to_string(), self.runtime.now()) {
                            log::warn!("the catalog refuses a session: {error}");
                        }
                    }
                    Err(error) => log::debug!("no session with the catalog: {error}"),
                },
                NextCall::Renew(session) => {
                    if let Ok(reply) = remote.renew(session).await
                        && self.cached(|cache| keeper.renewed(cache, session, sent, reply))
                            == RenewalOutcome::Expired
                    {
                        log::warn!("session {session} with the catalog has run out");
                        let recorder = self.identity.recorder();
                        recorder.change(EventKind::Timer, "lease", || {
                            "the session with the catalog is over: the cache is empty".into()
                        });
                        continue;
                    }
                }
            }
            let has_session = self.cached(|cache| cache.session().is_some());
            self.runtime.rest(pauses.next(self.runtime.now(), has_session)).await;
        }
    }

    /// Ends the session, so that no purchase waits for a lease that is not used any more.
    pub(super) async fn close(&self, remote: &Remote) {
        let Some(session) = self.cached(Cache::end_session) else { return };
        if let Err(error) = remote.end(session).await {
            log::debug!("session {session} ends with its lease: {error}");
        }
    }

    /// Asks the catalog for its status, for ever.
    async fn check_catalog(self: Arc<Self>, remote: Rc<Remote>) {
        let pauses = Pauses::new(&*self.runtime, CATALOG_INTERVAL);
        loop {
            let asked = self.runtime.now();
            let (relayed, before) =
                self.selected(|selection| (selection.logs(), selection.leadership()));
            let report = remote.report(&LogReport { own: None, relayed }).await;
            let has_answered = report.is_ok();
            match report {
                Ok(report) => self.heard_from_catalog(report, asked, before),
                Err(error) => self.no_report(&error),
            }
            self.say_retried();
            self.runtime.rest(pauses.next(self.runtime.now(), has_answered)).await;
        }
    }

    /// Checks one replica's health, for ever.
    async fn check_health(self: Arc<Self>, remote: Rc<Remote>, replica: ReplicaId) {
        let refusals = Repeats::default();
        let mut limit = CheckLimit::default();
        let pauses = Pauses::new(&*self.runtime, CHECK_INTERVAL);
        let mut early = EarlyChecks::new(self.runtime.now(), CHECK_INTERVAL);
        let others = remote.replicas().count().saturating_sub(1);
        let rest = shared_out(CHECK_INTERVAL, others, LONGEST_CHECK_INTERVAL);
        let long_pauses = Pauses::new(&*self.runtime, rest);
        loop {
            let asked = self.runtime.now();
            let mut again_at_once = false;
            let answer = remote.check(replica, limit.get()).await;
            let check = match answer {
                Ok(status) => {
                    limit.answered(self.runtime.now() - asked);
                    if let Some(lasted) = refusals.over(self.runtime.now()) {
                        log::info!("replica {replica} answers health checks again, after {lasted}");
                    }
                    HealthCheck::Answered(status)
                }
                Err(CallError::Unreachable(Unreachable::ConnectionRefused)) => HealthCheck::Gone,
                Err(CallError::Refused { status, message }) => {
                    let reason = format!("{status} {message}");
                    if refusals.happened(&reason, self.runtime.now()) {
                        log::error!("replica {replica} refuses health checks: {reason}");
                    }
                    HealthCheck::Missed
                }
                Err(CallError::Unreachable(Unreachable::Silent)) => {
                    again_at_once = limit.missed();
                    HealthCheck::Missed
                }
                Err(CallError::Unreachable(_)) => HealthCheck::Missed,
            };
            let counts = !pauses.asks_often(asked) || early.counts(&check, asked);
            let unsettled = self.unsettled.notified();
            let (is_led, may_rest) = self.select(|selection| {
                if counts {
                    selection.checked(replica, check);
                }
                (selection.is_leader_seen(), selection.may_rest(replica))
            });
            self.selecting.notify_one();
            if may_rest && rest > CHECK_INTERVAL {
                let pause = long_pauses.rest(self.runtime.now());
                let _either = self.runtime.rest_or(pause, unsettled).await;
            } else if !again_at_once {
                self.runtime.rest(pauses.next(self.runtime.now(), is_led)).await;
            }
        }
    }

    /// Nominates a leader whenever there is none that works, and tells the replicas, for ever.
    async fn select_leader(self: Arc<Self>, remote: Rc<Remote>) {
        let (nominations, failures) = (Repeats::default(), Repeats::default());
        loop {
            self.selecting.notified().await;
            let (nominee, before) =
                self.selected(|selection| (selection.nominee(), selection.leadership()));
            if let Some(Nominee { id, seen }) = nominee {
                if nominations.happened(&format!("{id} {seen}"), self.runtime.now()) {
                    log::info!("replica {id} is nominated, to end epoch {seen}");
                }
                let reply = remote.nominate(id, Nomination { seen }).await;
                self.metrics.nominated(reply.as_ref().ok());
                let failure = match &reply {
                    Ok(NominationReply::Won(_) | NominationReply::Lost(_)) => None,
                    Ok(NominationReply::Unable(why)) => Some(why.clone()),
                    Err(error) => Some(error.to_string()),
                };
                let now = self.runtime.now();
                if let Some(why) = failure {
                    if failures.happened(&format!("{id} {why}"), now) {
                        log::warn!("replica {id} cannot lead: {why}");
                    }
                } else {
                    let _said_below = nominations.over(now);
                    if let Some(lasted) = failures.over(now) {
                        log::info!("a nomination is answered again, after {lasted}");
                    }
                }
                self.select(|selection| {
                    selection.nominated(id, before, reply.as_ref().ok());
                });
                // If it was passed over, the next highest is to be tried before this one's next
                // health check brings it back.
                self.selecting.notify_one();
            }
            self.notify_replicas(&remote).await;
        }
    }

    /// Tells all replicas that do not know it who leads. Those that cannot be told now will be
    /// after their next health check.
    async fn notify_replicas(&self, remote: &Remote) {
        let (leadership, uninformed): (Leadership, Vec<ReplicaId>) =
            self.selected(|selection| (selection.leadership(), selection.uninformed()));
        let messages = uninformed.into_iter().map(async |replica| {
            match remote.notify(replica, leadership).await {
                Ok(()) => self.select(|selection| selection.told(replica, leadership)),
                Err(error) => {
                    log::debug!("replica {replica} was not told that {leadership}: {error}");
                }
            }
        });
        futures_util::future::join_all(messages).await;
    }
}
