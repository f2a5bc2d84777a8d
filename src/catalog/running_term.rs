//! A term that one of several catalogs rules: how it begins, what keeps it, and how it ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::core::term::{Lease, POLL_INTERVAL};
use super::journal::Loaded;
use super::journal::marker::Past;
use super::remote::Remote;
use super::service::Service;
use super::shared::{Beaten, Tenure};
use super::sharing::{Claimed, SharingCatalog};
use super::storage::Storage;
use super::tasks;
use crate::process::RoleError;
use crate::runtime::Runtime;
use crate::shutdown::Shutdown;
use crate::storage::StorageError;
use crate::wire::event::EventKind;

/// How long a claim, a beat or a farewell may take, with the database's standbys. PostgreSQL's own
/// limit (`CALL_LIMIT` in `postgres/mod.rs`) is as long.
pub(super) const WRITE_LIMIT: Duration = Duration::from_millis(600);
/// How long it may take to read what a term begins with. PostgreSQL's own limit (`LOAD_LIMIT` in
/// `postgres/reads.rs`) is shorter.
const BEGIN_LIMIT: Duration = Duration::from_secs(5);

/// A term that this process rules.
#[derive(Clone)]
pub(super) struct RunningTerm {
    pub(super) service: Arc<Service>,
    pub(super) tenure: Arc<dyn Tenure>,
    pub(super) shutdown: Shutdown,
}

/// How a term ends.
enum TermEnd {
    /// The database failed, or another catalog has claimed the next term.
    Lost,
    /// No front-end reaches the catalog, and it leaves the term in order.
    Unreached,
}

impl SharingCatalog {
    /// Rules a term until it ends.
    ///
    /// # Errors
    ///
    /// If the term could not begin, or an invariant was found broken.
    pub(super) async fn rule_term(
        &self,
        Claimed { tenure, sent, beginning }: Claimed<'_>,
        connect: &impl Fn() -> Remote,
        stop: &CancellationToken,
    ) -> Result<(), RoleError> {
        let mut lease = Lease::claimed(sent);
        let loaded = stop.run_until_cancelled(self.load(&*tenure, &mut lease)).await;
        let loaded = match loaded.filter(|_| !stop.is_cancelled()) {
            Some(Ok(loaded)) => loaded,
            Some(Err(error)) => {
                self.database_failed(&error);
                return Err(error.into());
            }
            // The process is ending.
            None => {
                self.leave_tenure(&*tenure).await;
                return Ok(());
            }
        };
        let running = self.begin(tenure, loaded, lease, connect());
        if let Err(error) = running.service.forgo(&self.without).await {
            log::warn!("cannot record --without: {error}");
        }
        self.state().running = Some(running.clone());
        drop(beginning);
        self.metrics.terms.inc();
        let (service, recorder) = (&running.service, self.kept.identity.recorder());
        recorder.change(EventKind::Local, "term.begin", || {
            format!("rules from now on, term {}", service.term)
        });
        self.say(|| format!("catalog-{} rules from now on, term {}", self.id, service.term));
        let end = tokio::select! {
            biased;
            () = running.shutdown.stop().cancelled_owned() => TermEnd::Lost,
            () = self.unreached() => TermEnd::Unreached,
        };
        running.service.step_down();
        {
            let mut state = self.state();
            state.running = None;
            state.longest_journal = state.longest_journal.max(running.service.journal_length());
        }
        recorder.change(EventKind::Local, "term.end", || {
            format!("no longer rules, term {}", service.term)
        });
        if matches!(end, TermEnd::Unreached) {
            if self.unreached_terms.happened("", self.runtime().now()) {
                log::warn!("no front-end reaches catalog-{}; another catalog may rule", self.id);
            }
            return self.leave_term(running).await;
        }
        match running.shutdown.clone().end(Ok(())).await {
            Err(RoleError::Storage(error)) => {
                log::warn!("catalog-{} no longer rules, term {}: {error}", self.id, service.term);
                self.state().problem = Some(error.to_string());
                Ok(())
            }
            other => other,
        }
    }

    /// Logs who rules, or how a term begins or ends. Without front-ends, short terms of the
    /// catalogs alternate, which is said once.
    pub(super) fn say(&self, text: impl FnOnce() -> String) {
        let level = if self.unreached_terms.lasts() { log::Level::Debug } else { log::Level::Info };
        log::log!(level, "{}", text());
    }

    /// Ends when no front-end has reached this catalog for a while, if there is another one.
    async fn unreached(&self) {
        if !self.has_others {
            return std::future::pending().await;
        }
        let begun = self.runtime().now();
        while !self.state().audience.is_gone(begun, self.runtime().now()) {
            self.runtime().sleep(POLL_INTERVAL).await;
        }
    }

    /// Gives a term up in order, so that another catalog may claim the next one at once.
    ///
    /// # Errors
    ///
    /// If an invariant was found broken.
    pub(super) async fn leave_term(&self, running: RunningTerm) -> Result<(), RoleError> {
        let RunningTerm { service, tenure, shutdown } = running;
        service.step_down();
        match shutdown.end(Ok(())).await {
            Ok(()) => {}
            // The term is lost already.
            Err(RoleError::Storage(_)) => return Ok(()),
            other => return other,
        }
        self.leave_tenure(&*tenure).await;
        Ok(())
    }

    async fn leave_tenure(&self, tenure: &dyn Tenure) {
        match self.limited(WRITE_LIMIT, tenure.leave()).await {
            Ok(()) => {
                let term = tenure.term();
                self.say(|| format!("catalog-{} has left term {term} in order", self.id));
            }
            Err(error) => self.database_failed(&error),
        }
    }

    fn begin(
        &self,
        tenure: Arc<dyn Tenure>,
        loaded: Loaded,
        lease: Lease,
        remote: Remote,
    ) -> RunningTerm {
        let shutdown = Shutdown::new(CancellationToken::new(), Arc::clone(self.runtime()));
        let rule = (tenure.term(), lease);
        let storage: Arc<dyn Storage> = Arc::clone(&tenure) as _;
        let (kept, roles) = (self.kept.clone(), &self.roles);
        let (service, jobs) = Service::begin(storage, loaded, roles, shutdown.clone(), kept, rule);
        tasks::start(&service, jobs, remote, roles.catalog.restock_interval, &shutdown);
        let beats =
            beat(Arc::clone(&service), Arc::clone(&tenure), self.standbys, shutdown.clone());
        shutdown.spawn("the beats", beats);
        RunningTerm { service, tenure, shutdown }
    }

    /// Reads what the term begins with, while beats keep it.
    async fn load(&self, tenure: &dyn Tenure, lease: &mut Lease) -> Result<Loaded, StorageError> {
        let mut loading = pin!(self.limited(BEGIN_LIMIT, tenure.load()));
        let mut loaded = loop {
            let due = lease.beat_due(self.runtime().now());
            let beat = async {
                self.runtime().sleep_until(due).await;
                (self.runtime().now(), self.limited(WRITE_LIMIT, tenure.beat()).await)
            };
            tokio::select! {
                biased;
                loaded = &mut loading => break loaded?,
                (sent, beaten) = beat => {
                    is_enough(beaten?, self.standbys)?;
                    lease.acknowledged(sent);
                }
            }
        };
        let longest = std::mem::replace(&mut self.state().longest_journal, loaded.journal.length);
        if loaded.journal.length < longest {
            log::error!(
                "the database went back from {longest} orders to {}: every replica is heard before \
                 anything is sold",
                loaded.journal.length
            );
            self.limited(WRITE_LIMIT, tenure.set_past(Past::InDoubt)).await?;
            loaded.past = Past::InDoubt;
        }
        Ok(loaded)
    }
}

/// Writes that the catalog lives whenever it has written nothing else, until the term ends.
async fn beat(service: Arc<Service>, tenure: Arc<dyn Tenure>, standbys: u32, term: Shutdown) {
    let runtime = Arc::clone(&service.runtime);
    loop {
        let due = service.decide(|core, now| core.lease().beat_due(now));
        if due > runtime.now() {
            runtime.sleep_until(due).await;
            continue;
        }
        let sent = runtime.now();
        let beaten = within(&runtime, WRITE_LIMIT, tenure.beat()).await;
        match beaten.and_then(|beaten| is_enough(beaten, standbys)) {
            Ok(()) => service.decide(|core, _| core.lease().acknowledged(sent)),
            Err(error) => {
                term.fail(error);
                return;
            }
        }
    }
}

pub(super) async fn within<T>(
    runtime: &Arc<dyn Runtime>,
    limit: Duration,
    work: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    let elapsed =
        |_| StorageError::Lost(format!("it did not answer within {} ms", limit.as_millis()));
    runtime.timeout(limit, work).await.map_err(elapsed)?
}

fn is_enough(Beaten { standbys }: Beaten, needed: u32) -> Result<(), StorageError> {
    if standbys >= needed {
        return Ok(());
    }
    Err(StorageError::Lost(too_few(standbys, needed)))
}

pub(super) fn too_few(standbys: u32, needed: u32) -> String {
    format!(
        "it has {standbys} synchronous standbys, and `standbys` in roles.toml asks for {needed}; \
         start them, or see docs/operations.md"
    )
}
