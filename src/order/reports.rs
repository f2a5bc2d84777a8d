//! What a replica tells the catalog of its log, and what it learns from the answer: who leads, what
//! it lacks, which store it belongs to, and that its log is not the journal's.

use std::sync::atomic::Ordering;

use super::core::JournalCheck;
use super::core::log::LogNumber;
use super::errors::OrderError;
use super::remote::Remote;
use super::service::Service;
use crate::wire::identity::StoreId;

impl Service {
    /// Makes sure that this replica belongs to a store, as it must before it takes orders.
    /// If it sold first and asked afterwards, an emptied catalog might answer:
    ///
    /// ```text
    /// replica                 catalog of store A      emptied: of store B
    ///   | takes A's order 0     |                       |
    ///   |<----------------------|                       |
    ///   | which store? -------------------------------->|
    ///   |<------------------------------------------- B |
    ///   | belongs to B, with an order of A              |
    /// ```
    ///
    /// A replica belongs to one store for ever, so this asks once in its life.
    ///
    /// # Errors
    ///
    /// If the catalog does not say, or the disk is full.
    pub(super) async fn belong(&self, remote: &Remote) -> Result<(), OrderError> {
        if self.identity.store().is_none() {
            self.ask_catalog(remote).await?;
        }
        self.identity.store().map(drop).ok_or(OrderError::NoStore)
    }

    /// Asks the catalog for its status, which tells of new leaders, of orders that this replica
    /// lacks, and of the store.
    ///
    /// # Errors
    ///
    /// If the catalog does not answer, or the disk is full.
    pub(super) async fn ask_catalog(&self, remote: &Remote) -> Result<(), OrderError> {
        let asked = self.runtime.now();
        let (before, log) = self.decide(|core, _| (core.known(), core.log_number()));
        let report = remote.report(self.id, before.log).await;
        let report = report.map_err(|error| OrderError::NoCatalog(error.to_string()))?;
        // A log that is longer than the journal stops the sales of the catalog, which says so; here
        // it makes the replica unfit to lead.
        let status = (report.status, report.boot);
        let heard = self.decide(|core, _| core.heard_from_catalog(status, asked, before));
        if heard == JournalCheck::Forged {
            self.set_log_aside(log).await;
        }
        match report.store {
            Some(store) => self.adopt(store).await,
            None => Ok(()),
        }
    }

    /// Takes the catalog's store for this replica's own, if it has none yet.
    async fn adopt(&self, store: StoreId) -> Result<(), OrderError> {
        // Of two answers that differ, the first counts, here and on disk.
        let _only_one = self.adopting.lock().await;
        if self.identity.store().is_none() {
            self.store(self.storage.set_store(store)).await?;
            self.identity.adopt(store);
            log::info!("replica {} belongs to store {store} from now on", self.id);
        }
        Ok(())
    }

    /// Keeps a copy of the log `log`, which belongs to another store or is damaged, and begins it
    /// anew, unless that was done meanwhile. Two tasks may find it out at the same time: were it
    /// done twice, the second would take the orders on disk that the first has fetched for none.
    pub(super) async fn set_log_aside(&self, log: LogNumber) {
        let _only_one = self.setting_aside.lock().await;
        if self.decide(|core, _| core.log_number()) != log {
            return;
        }
        match self.store(self.storage.set_aside()).await {
            Ok(copy) => {
                log::error!(
                    "replica {} held orders that are not in the journal; a copy is kept as {}, and \
                     the log is fetched anew",
                    self.id,
                    copy.display()
                );
                self.decide(|core, _| core.begin_anew());
                self.conditions.length_at_start.store(0, Ordering::Relaxed);
                let now = self.runtime.now();
                let _said_above = self.conditions.not_set_aside.over(now);
                let _said_above = self.conditions.foreign_logs.over(now);
            }
            Err(error) => {
                let reason = error.to_string();
                if self.conditions.not_set_aside.happened(&reason, self.runtime.now()) {
                    log::error!("replica {} cannot begin its log anew: {reason}", self.id);
                }
            }
        }
    }
}
