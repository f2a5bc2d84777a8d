//! Whether a front-end can serve and the store can sell, and what changes about that.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::answers::FrontendError;
use super::core::selection::Selection;
use super::service::Service;
use crate::health::Readiness;
use crate::roles::Role;
use crate::wire::event::EventKind;
use crate::wire::replication::{Leadership, ReplicaId, Unwritable};

/// Who leads, whether purchases can be sent there, and whether no replica can write.
type View = (Leadership, Option<ReplicaId>, Option<(ReplicaId, Unwritable)>);

/// Why the store cannot sell. Each purchase asks, so the answer is derived when something changes
/// that it follows from, and a flag tells whether there is one.
#[derive(Debug, Default)]
pub(super) struct SalesStop {
    lasts: AtomicBool,
    why: Mutex<Option<String>>,
}

impl Service {
    /// Returns why the store cannot sell, if that lasts until an operator acts.
    pub(super) fn stopped(&self) -> Option<String> {
        if !self.stop.lasts.load(Ordering::Acquire) {
            return None;
        }
        self.stop.why.lock().expect("nothing panics under this lock").clone()
    }

    /// Says that no replica leads, and which addresses of replicas lead elsewhere.
    pub(super) fn no_leader(&self) -> String {
        let replicas: Vec<_> =
            self.selected(|selection| selection.statuses().map(|(id, _)| id).collect());
        let strangers = replicas.into_iter().filter_map(|id| {
            let role = Role::Order(id);
            let says = self.identity.stranger_at(role)?;
            Some(format!("; another process answers as {role}: {says}"))
        });
        format!("no order replica leads{}", strangers.collect::<String>())
    }

    /// Derives anew why the store cannot sell. To be called when the catalog's report or the
    /// replicas' conditions have changed, and when a report may have become too old.
    pub(super) fn derive_stop(&self) {
        let is_new = {
            // Held meanwhile, so that what is derived last is what was read last.
            let mut why = self.stop.why.lock().expect("nothing panics under this lock");
            let at_catalog = self.catalog().and_then(|report| report.stopped);
            let now = at_catalog.clone().or_else(|| {
                let (replica, why) = self.selected(Selection::unwritable)?;
                let role = Role::Order(replica);
                Some(format!("no order replica can write; {role} cannot: {why}"))
            });
            if now == *why {
                return;
            }
            match (at_catalog, &now) {
                (Some(why), _) => log::info!("nothing can be sold: {why}"),
                // That is said of the replicas.
                (None, Some(_)) => {}
                (None, None) => log::info!("nothing stops sales any more"),
            }
            self.stop.lasts.store(now.is_some(), Ordering::Release);
            *why = now;
            why.is_some()
        };
        if is_new {
            self.leader_changed.notify_waiters();
        }
    }

    /// Logs who leads from now on. A front-end that has just started may hear of a leader that has
    /// ended since; only of one that it has seen lead does it say that it is gone.
    pub(super) fn say_change(&self, before: View, after: View, was_seen: bool) {
        let ((_, leader_before, _), (leadership, leader, unwritable)) = (before, after);
        if (before.0, leader_before) != (leadership, leader) {
            self.identity.recorder().change(EventKind::Local, "selection", || {
                match (leader, leader_before) {
                    (Some(leader), _) => {
                        format!("selected leader {leader}, epoch {}", leadership.epoch)
                    }
                    (None, Some(gone)) if was_seen => format!("leader {gone} is gone"),
                    (None, _) => format!("{leadership}, but that replica does not lead"),
                }
            });
            match (leader, leader_before) {
                (Some(_), _) => log::info!("{leadership}"),
                (None, Some(gone)) if was_seen => log::warn!("leader {gone} is gone"),
                (None, _) => log::debug!("{leadership}, but that replica does not lead"),
            }
        }
        match (before.2, unwritable) {
            (None, Some((replica, why))) => {
                log::error!("no order replica can write; replica {replica} cannot: {why}");
            }
            (Some(_), None) => log::info!("an order replica can write again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Notes that a purchase is retried at another leader than it was sent to before.
    pub(super) fn retried_at(&self, leader: ReplicaId) {
        self.metrics.retries.inc();
        self.retried.lock().expect("nothing panics under this lock").retried_at(leader);
    }

    /// Logs how many purchases were retried at which leader, once there are no more.
    pub(super) fn say_retried(&self) {
        let retried = self.retried.lock().expect("nothing panics under this lock").settled();
        for (leader, purchases) in retried {
            let plural = if purchases == 1 { "" } else { "s" };
            log::info!("retried {purchases} purchase{plural} at leader {leader}");
        }
    }
}

impl Readiness for Service {
    fn readiness(&self) -> Result<(), String> {
        // Before the session, whose lease ends when the catalog is gone.
        if !self.catalog_answers() {
            return Err(match self.identity.strangers_as_catalogs() {
                Some(strangers) => strangers,
                None => "the catalog is unreachable".into(),
            });
        }
        if let Some(why) = self.stopped() {
            return Err(why);
        }
        let refused = *self.refused_boot.lock().expect("nothing panics under this lock");
        if refused.is_some() && refused == self.boot() {
            return Err(FrontendError::OtherCatalog.to_string());
        }
        if self.settings.enabled && !self.cached(|cache| cache.has_lease(self.runtime.now())) {
            return Err("there is no session with the catalog yet".into());
        }
        match self.selected(Selection::leader) {
            Some(_) => Ok(()),
            None => Err(self.no_leader()),
        }
    }
}
