//! A catalog that shares its database with others: it stands by, rules a term, and stands by again.
//!
//! ```text
//!            ┌──────────────────────────────────────────────────────────────┐
//!            ▼                                                              │
//! observe, every 100 ms ─► claim ─► load, beats ─► a Service and its tasks ─┤
//!                                                                           │
//!                      any error of the database, or too few standbys ──────┘
//! ```
//!
//! The [core](super::core::term) decides when to claim and how long to rule. Each term has a
//! [`Service`] of its own, with a core, tasks and connections that end with it. What ends a term
//! does not end the process: it stands by, and may claim a later one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::core::term::{Audience, ClaimDecision, POLL_INTERVAL, Sighting, Succession};
use super::readiness::SharingMetrics;
use super::remote::Remote;
use super::running_term::{RunningTerm, too_few, within};
use super::service::{Kept, Service};
use super::shared::{Observed, SharedDatabase, Tenure};
use crate::identity::Identity;
use crate::process::RoleError;
use crate::repeats::Repeats;
use crate::roles::Roles;
use crate::runtime::Runtime;
use crate::shutdown::Shutdown;
use crate::storage::StorageError;
use crate::wire::calls::TermQuery;
use crate::wire::replication::ReplicaId;
use crate::wire::term::{CatalogId, Duty, Term, TermReport, WhoRules};

/// How long a look at the database may take: less than other catalogs wait for a beat.
const OBSERVE_LIMIT: Duration = Duration::from_millis(500);
/// How long a claim may take: 400 ms for its connections, and as long as any write. One that is
/// given up sooner may have raised the term, and then every catalog waits again.
const CLAIM_LIMIT: Duration = Duration::from_secs(1);
/// How long a catalog stands by after a term that it could not begin, so that another one may try.
const FAILED_TERM_PAUSE: Duration = Duration::from_secs(2);
/// A look at the database that is older says nothing of whether it answers.
const OBSERVATION_LASTS: Duration = Duration::from_secs(1);

/// One of several catalogs.
pub struct SharingCatalog {
    pub(super) id: CatalogId,
    pub(super) database: Arc<dyn SharedDatabase>,
    /// How many synchronous standbys the database must have.
    pub(super) standbys: u32,
    /// Whether another catalog could rule.
    pub(super) has_others: bool,
    pub(super) roles: Roles,
    pub(super) without: Vec<ReplicaId>,
    pub(super) kept: Kept,
    state: Mutex<SharingState>,
    /// Held from a claim until its term runs, or has failed to.
    beginning: tokio::sync::Mutex<()>,
    refusals: Repeats,
    /// Terms that ended since no front-end reached this process.
    pub(super) unreached_terms: Repeats,
    pub(super) metrics: SharingMetrics,
}

pub(super) struct SharingState {
    /// What was last seen of the database, and when it was asked.
    observed: Option<(Observed, Instant)>,
    /// Why the database could not be used when it was last asked.
    pub(super) problem: Option<String>,
    /// The longest journal that this process has seen.
    pub(super) longest_journal: u64,
    /// The term that this process rules.
    pub(super) running: Option<RunningTerm>,
    /// Whether front-ends reach it, whether it rules or stands by.
    pub(super) audience: Audience,
}

/// A term that was claimed and does not run yet.
pub(super) struct Claimed<'a> {
    pub(super) tenure: Arc<dyn Tenure>,
    /// When the claim was sent.
    pub(super) sent: Instant,
    pub(super) beginning: tokio::sync::MutexGuard<'a, ()>,
}

impl SharingCatalog {
    /// Catalog `id`, which shares `database` with others and rules only if that has so many
    /// synchronous standbys. It does not wait to hear the replicas `without`.
    #[must_use]
    pub fn new(
        id: CatalogId,
        (database, standbys): (Arc<dyn SharedDatabase>, u32),
        roles: &Roles,
        without: &[ReplicaId],
        kept: Kept,
    ) -> Arc<Self> {
        let state = SharingState {
            observed: None,
            problem: None,
            longest_journal: 0,
            running: None,
            audience: Audience::default(),
        };
        let metrics = SharingMetrics::new(&kept.metrics.role, standbys);
        Arc::new(Self {
            id,
            database,
            standbys,
            has_others: roles.catalog.roles().len() > 1,
            roles: roles.clone(),
            without: without.to_vec(),
            kept,
            state: Mutex::new(state),
            beginning: tokio::sync::Mutex::default(),
            refusals: Repeats::default(),
            unreached_terms: Repeats::default(),
            metrics,
        })
    }

    /// Stands by and rules in turn, until the process ends. `connect` gives each term its
    /// connections to the other roles.
    pub async fn run(self: Arc<Self>, connect: impl Fn() -> Remote, process: Shutdown) {
        let mut not_before = self.runtime().now();
        loop {
            let claimed = self.stand_by(not_before, &process.stop()).await;
            match self.rule_term(claimed, &connect, &process.stop()).await {
                Ok(())
                // Another catalog may find it better.
                | Err(RoleError::Storage(StorageError::Lost(_) | StorageError::Deposed)) => {}
                Err(RoleError::Storage(_)) => {
                    not_before = self.runtime().now() + FAILED_TERM_PAUSE;
                }
                // An invariant is broken.
                Err(failure) => {
                    process.fail(failure);
                    return;
                }
            }
        }
    }

    /// Gives the term up in order, if there is one, once the server has finished. One that has been
    /// claimed and does not run yet is given up by the task that claimed it.
    pub async fn leave(&self) {
        let _begun = self.beginning.lock().await;
        let Some(running) = self.state().running.take() else { return };
        if let Err(error) = self.leave_term(running).await {
            log::warn!("{error}");
        }
    }

    /// Returns the term that this process rules.
    ///
    /// # Errors
    ///
    /// Who rules instead, as far as it is known.
    pub(super) fn ruling(&self) -> Result<Arc<Service>, WhoRules> {
        let state = self.state();
        match &state.running {
            Some(running) => Ok(Arc::clone(&running.service)),
            None => Err(state.who_rules(self.id)),
        }
    }

    /// Returns the term that this process rules, if it does.
    #[must_use]
    pub fn service(&self) -> Option<Arc<Service>> {
        self.ruling().ok()
    }

    /// Answers a role that asks whether this process rules.
    pub(super) fn answer(&self, query: TermQuery) -> TermReport {
        let now = self.runtime().now();
        let is_reached = {
            let mut state = self.state();
            state.audience.asked(query, now);
            state.audience.is_here(now)
        };
        if is_reached && let Some(lasted) = self.unreached_terms.over(now) {
            log::info!("front-ends reach catalog-{} again, after {lasted}", self.id);
        }
        self.report()
    }

    /// Returns whether this process rules.
    pub(super) fn report(&self) -> TermReport {
        let rules = self.ruling().ok().filter(|service| service.rule(|_, _| ()).is_ok());
        let who_rules = self.state().who_rules(self.id);
        match rules {
            Some(service) => TermReport { id: self.id, duty: Duty::Active, term: service.term },
            None => TermReport { id: self.id, duty: Duty::Standby, term: who_rules.term },
        }
    }

    /// Returns who the process is.
    pub(super) fn identity(&self) -> &Arc<Identity> {
        &self.kept.identity
    }

    /// Returns what was last seen of the database, however long ago.
    pub(super) fn last_observed(&self) -> Option<Observed> {
        let state = self.state();
        let (observed, _) = state.observed.clone()?;
        let standbys = state.running.as_ref().map(|running| running.tenure.standbys());
        Some(Observed { standbys: standbys.unwrap_or(observed.standbys), ..observed })
    }

    /// Returns how many orders the database had when it was last seen.
    pub(super) fn orders_seen(&self) -> u64 {
        let state = self.state();
        let observed = state.observed.as_ref().map_or(0, |(observed, _)| observed.journal.length);
        let running = state.running.as_ref().map(|running| running.service.journal_length());
        running.unwrap_or(observed)
    }

    /// Returns what was just seen of the database, and why it could not be used since.
    pub(super) fn database(&self) -> (Option<Observed>, Option<String>) {
        let now = self.runtime().now();
        let state = self.state();
        let is_fresh = state.running.is_some()
            || state.observed.as_ref().is_some_and(|(_, asked)| now < *asked + OBSERVATION_LASTS);
        let problem = state.problem.clone();
        drop(state);
        (self.last_observed().filter(|_| is_fresh), problem)
    }

    /// Looks at the database until a term can be claimed, which it does not before this time.
    /// Returns the term, and when the claim was sent.
    async fn stand_by(&self, not_before: Instant, stop: &CancellationToken) -> Claimed<'_> {
        let mut succession = Succession::new(self.standbys);
        let news = Repeats::default();
        loop {
            let asked = self.runtime().now();
            match self.limited(OBSERVE_LIMIT, self.database.observe()).await {
                Ok(observed) => {
                    let decision = self.observed(observed, asked, &mut succession, &news);
                    if let ClaimDecision::Claim(beat) = decision
                        && asked >= not_before
                        && let beginning = self.beginning.lock().await
                        && !stop.is_cancelled()
                    {
                        let sent = self.runtime().now();
                        match self.limited(CLAIM_LIMIT, self.database.claim(beat)).await {
                            Ok(Some(tenure)) => return Claimed { tenure, sent, beginning },
                            Ok(None) => log::debug!("another catalog was faster"),
                            Err(error) => self.database_failed(&error),
                        }
                    }
                }
                Err(error) => self.database_failed(&error),
            }
            self.runtime().sleep(POLL_INTERVAL).await;
        }
    }

    fn observed(
        &self,
        observed: Observed,
        asked: Instant,
        succession: &mut Succession,
        news: &Repeats,
    ) -> ClaimDecision {
        let now = self.runtime().now();
        if !self.kept.identity.adopt(observed.store) {
            let ours = self.kept.identity.store().map(|store| store.to_string());
            self.database_failed(&StorageError::Unusable(format!(
                "{} holds store {}, and this process belongs to store {}; give all catalogs the \
                 same database, and start this one again",
                observed.primary,
                observed.store,
                ours.unwrap_or_default()
            )));
            return ClaimDecision::Wait;
        }
        if let Some(lasted) = self.refusals.over(now) {
            log::info!("the database answers again, after {lasted}");
        }
        let sighting =
            Sighting { beat: observed.beat, holder: observed.holder, standbys: observed.standbys };
        let (who_rules, audience) = {
            let mut state = self.state();
            state.problem = (observed.standbys < self.standbys).then(|| {
                let few = StorageError::Lost(too_few(observed.standbys, self.standbys));
                few.to_string()
            });
            state.longest_journal = state.longest_journal.max(observed.journal.length);
            state.observed = Some((observed, asked));
            (state.who_rules(self.id), state.audience.clone())
        };
        if news.happened(&who_rules.to_string(), now) {
            self.say(|| format!("catalog-{}: {who_rules}", self.id));
        }
        succession.sighted(sighting, (asked, now), &audience)
    }

    pub(super) fn database_failed(&self, error: &StorageError) {
        let problem = error.to_string();
        if self.refusals.happened(&problem, self.runtime().now()) {
            log::warn!("catalog-{} cannot rule: {problem}", self.id);
        }
        self.state().problem = Some(problem);
    }

    /// Awaits the database for at most `limit`.
    pub(super) async fn limited<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        within(self.runtime(), limit, work).await
    }

    pub(super) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.kept.runtime
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, SharingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharingState {
    /// Who rules, as far as it is known to `own`, which does not.
    fn who_rules(&self, own: CatalogId) -> WhoRules {
        let Some((observed, _)) = &self.observed else {
            return WhoRules { term: Term::default(), holder: None };
        };
        let holder = observed.holder.filter(|holder| *holder != own);
        WhoRules { term: observed.beat.term, holder }
    }
}
