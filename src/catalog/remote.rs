//! The front-ends, as the catalog sees them: holders of toys, to be told to drop them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::service::Service;
use crate::roles::Roles;
use crate::transport::Peer;
use crate::wire::lease::{Invalidation, SessionId};
use crate::wire::replication::{ReplicaId, ReplicaStatus};

/// How long one invalidation may take. A front-end that is slow but alive answers within it; one
/// that is stopped costs no purchase more than its lease anyway.
const TIME_LIMIT: Duration = Duration::from_millis(500);
/// How long to wait before an invalidation that failed is sent again.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the replicas have to say how much they hold.
const CENSUS_LIMIT: Duration = Duration::from_millis(500);

/// Sends invalidations. At most one is under way to each session, however many purchases wait for
/// it: what gathers meanwhile travels with the next.
#[derive(Clone)]
pub(super) struct Remote {
    frontends: Rc<[Peer]>,
    replicas: Rc<[Peer]>,
    pushing: Rc<RefCell<BTreeSet<SessionId>>>,
}

impl Remote {
    pub(super) fn new(roles: &Roles) -> Self {
        let peer = |address| Peer::new(address, roles.secret.as_ref());
        Self {
            frontends: roles.frontends.iter().map(peer).collect(),
            replicas: roles.orders.iter().map(|order| peer(&order.address)).collect(),
            pushing: Rc::default(),
        }
    }

    /// Asks the replicas that answer how many orders they hold; the one that holds most.
    pub(super) async fn longest_log(&self) -> Option<(ReplicaId, u64)> {
        let questions = self.replicas.iter().map(async |replica| {
            let status = replica.get("/internal/status", CENSUS_LIMIT).await;
            status.ok().map(|status: ReplicaStatus| (status.id, status.log.length))
        });
        let answers = futures_util::future::join_all(questions).await;
        answers.into_iter().flatten().max_by_key(|(_, length)| *length)
    }

    /// Goes on telling `session` to drop what it owes until it has, or has ended.
    pub(super) fn push(&self, service: &Arc<Service>, session: SessionId) {
        if !self.pushing.borrow_mut().insert(session) {
            return;
        }
        let remote = self.clone();
        let service = Arc::clone(service);
        actix_web::rt::spawn(async move {
            while let Some(push) = service.push_for(session) {
                let Some(peer) = remote.peer(push.frontend) else { break };
                let body = Invalidation { session, toys: push.toys };
                match peer.post::<_, ()>("/internal/invalidate", &body, TIME_LIMIT).await {
                    Ok(()) => service.acknowledged(session, &body.toys),
                    Err(error) => {
                        log::debug!("session {session} did not take an invalidation: {error}");
                        actix_web::rt::time::sleep(PAUSE).await;
                    }
                }
            }
            remote.pushing.borrow_mut().remove(&session);
        });
    }

    fn peer(&self, frontend: u32) -> Option<&Peer> {
        self.frontends.get(usize::try_from(frontend).ok()?.checked_sub(1)?)
    }
}
