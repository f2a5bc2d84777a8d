//! What replicas report of their logs, and whether the catalog may sell after that (see
//! [`history`](super::core::history)).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::core::history::Hearing;
use super::errors::CatalogError;
use super::journal::marker::Past;
use super::service::Service;
use super::tasks::Holders;
use crate::runtime::Pauses;
use crate::wire::calls::LogReport;
use crate::wire::order::Position;
use crate::wire::replication::{CatalogReport, ReplicaId};

/// How often suspicions that were not noticed at once are looked for.
const SUSPICION_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait before a replica that did not answer is asked again.
const SUSPICION_PAUSE: Duration = Duration::from_millis(50);

impl Service {
    /// Takes a report of how long replicas' logs are. Returns the catalog's status.
    pub(super) async fn report(&self, report: LogReport) -> Result<CatalogReport, CatalogError> {
        // A front-end may have another roles.toml. It needs the answer to see that.
        let known = report.relayed.into_iter().filter(|(id, _)| self.replicas.contains(id));
        for (replica, log) in known {
            let hearing = self.decide(|core, now| core.hear_of(replica, log, now));
            self.heard(hearing).await?;
        }
        if let Some((replica, log)) = report.own {
            self.check(replica)?;
            self.hear(replica, log).await?;
        }
        self.catalog_report()
    }

    /// Returns the catalog's status, and which catalog it is.
    pub(super) fn catalog_report(&self) -> Result<CatalogReport, CatalogError> {
        let restock_at = *self.restock_at.lock().expect("nothing panics under this lock");
        let report = |core: &mut Core, now| CatalogReport {
            status: core.status(),
            // The id of an emptied database is given to no process: the store that the replicas
            // hold has another one, and comes back.
            store: self.identity.store().filter(|_| core.has_every_order().is_ok()),
            boot: Some(core.boot()),
            // A suspicion ends before a client's deadline, so it is not reported.
            stopped: core.may_sell_but_for_suspicions().err().map(|stopped| stopped.to_string()),
            next_restock_ms: restock_at
                .and_then(|at| u64::try_from(at.saturating_duration_since(now).as_millis()).ok()),
        };
        self.rule(|ruling, now| report(ruling.core(), now))
    }

    /// Notes where a replica's log ends. A log that contradicts the journal stops sales, also after
    /// a restart, until an operator acts.
    pub(super) async fn hear(&self, replica: ReplicaId, log: Position) -> Result<(), CatalogError> {
        let hearing = self.decide(|core, now| core.hear(replica, log, now));
        self.heard(hearing).await
    }

    async fn heard(&self, hearing: Hearing) -> Result<(), CatalogError> {
        match hearing {
            Hearing::Known => Ok(()),
            Hearing::Complete => {
                log::info!("every replica has been heard: sales begin");
                self.store(self.storage.set_past(Past::Continued)).await
            }
            Hearing::Suspicion => {
                log::warn!("a replica is said to hold orders that the journal lacks; it is asked");
                self.suspected.notify_one();
                Ok(())
            }
            Hearing::Contradiction => {
                if let Err(stopped) = self.decide(|core, _| core.may_sell()) {
                    log::error!("{stopped}");
                }
                self.store(self.storage.set_past(Past::InDoubt)).await
            }
        }
    }

    /// Asks the replicas that are said to hold orders which the journal lacks, for ever.
    pub(super) async fn check_suspicions(self: Arc<Self>, holders: Rc<Holders>) {
        let pauses = Pauses::new(&*self.runtime, SUSPICION_CHECK_INTERVAL);
        loop {
            let suspicions = self.decide(Core::suspicions);
            if suspicions.is_empty() {
                let pause = pauses.rest(self.runtime.now());
                let _either = self.runtime.rest_or(pause, self.suspected.notified()).await;
                continue;
            }
            for replica in suspicions {
                match holders.remote.log_of(replica).await {
                    Ok(answer) => {
                        let hearing = self.decide(|core, now| core.answered(replica, answer, now));
                        let _logged = self.heard(hearing).await;
                    }
                    Err(error) => {
                        log::debug!("order-{replica} did not say where its log ends: {error}");
                    }
                }
            }
            self.runtime.sleep(SUSPICION_PAUSE).await;
        }
    }

    /// Goes on without replicas that are lost for good.
    ///
    /// # Errors
    ///
    /// If the database failed.
    pub async fn forgo(&self, replicas: &[ReplicaId]) -> Result<(), CatalogError> {
        if !self.decide(|core, _| core.forgo(replicas)) {
            return Ok(());
        }
        match self.decide(|core, _| core.may_sell()) {
            Ok(()) => self.store(self.storage.set_past(Past::Continued)).await,
            Err(_others_are_missing) => Ok(()),
        }
    }
}
