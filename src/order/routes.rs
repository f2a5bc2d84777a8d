//! An order replica's endpoints.
//!
//! | request | asked by | answer |
//! |---|---|---|
//! | `GET /healthz`, `GET /readyz` | anyone | whether it lives, can serve |
//! | `GET /metrics` | anyone | what it counts, for Prometheus |
//! | `GET /internal/status` | front-ends: the health check | [`ReplicaStatus`](crate::wire::replication::ReplicaStatus) |
//! | `GET /internal/log` | the catalog | [`LogEnd`](crate::wire::replication::LogEnd) |
//! | `POST /internal/nominate` | a front-end | [`NominationReply`](crate::wire::replication::NominationReply) |
//! | `POST /internal/leader` | a front-end: who leads | nothing |
//! | `POST /internal/purchase` | front-ends | [`PurchaseReply`](crate::wire::purchase::PurchaseReply) |
//! | `GET /internal/order/{number}` | front-ends | [`OrderReply`](crate::wire::replication::OrderReply) |
//! | `POST /internal/append` | the leader | [`AppendReply`](crate::wire::replication::AppendReply) |
//! | `GET /internal/roles` | every role, at its start | [`ListedRole`](crate::wire::identity::ListedRole)s |
//! | `POST /internal/events` | front-ends | [`RoleEvents`](crate::wire::recording::RoleEvents) |
//! | `POST /internal/changes` | front-ends | [`RoleChanges`](crate::wire::recording::RoleChanges) |
//! | `GET /internal/rows/{from}` | replicas that catch up | [`Rows`](crate::wire::order::Rows) |

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::ServiceConfig;

use super::errors::OrderError;
use super::remote::Remote;
use super::service::Service;
use crate::health;
use crate::identity::Guarded;
use crate::neighbours::over_sockets;
use crate::roles::{Role, Roles};
use crate::server::{self, CallTable, OnBehalf as _, Ration};
use crate::wire::calls::{Buy, Caller, Endpoints, GetLog, GetOrder, GetRows, GetStatus, Refusal};
use crate::wire::order::OrderNumber;
use crate::wire::replication::{AppendRequest, Leadership, Nomination};

pub(super) fn configure(
    config: &mut ServiceConfig,
    calls: &mut CallTable,
    service: &Arc<Service>,
    roles: &Roles,
) {
    health::routes(config, Role::Order(service.id), Arc::clone(service) as _);
    server::metrics(config, Arc::clone(service) as _, Ration::default());
    let remote = Rc::new(Remote::new(roles, service.id, over_sockets(roles, &service.identity)));
    server::internal(config, calls, roles.secret.as_ref(), |endpoints| {
        internal(endpoints, service, &remote);
    });
}

/// Registers the answers to other roles' calls, some of which ask `remote` in turn.
pub fn internal(endpoints: &mut impl Endpoints, service: &Arc<Service>, remote: &Rc<Remote>) {
    let endpoints = &mut Guarded::new(endpoints, &service.identity);
    endpoints.on(service, async |service, GetStatus {}, _| Ok(service.status()));
    endpoints.on(service, async |service, GetLog {}, _| Ok(service.log_end()));
    endpoints.on(service, async |service, call: Leadership, _| {
        service.hinted(call);
        Ok(())
    });
    endpoints.on(service, async |service, call: Buy, caller| {
        let time_limit = call.within_ms.map(Duration::from_millis);
        let mut purchase = call.purchase;
        if purchase.origin.is_unknown() {
            purchase.origin = caller.origin;
        } else if caller.origin.trace.is_some() {
            // The calls for this purchase are made in this role's span.
            purchase.origin.trace = caller.origin.trace;
        }
        let answer = service.purchase(purchase, time_limit).await;
        service.metrics.purchase(&answer);
        caller.timing.add_all(service.timing_of(&answer));
        Ok(answer?)
    });
    endpoints.on(service, async |service, call: GetRows, _| Ok(service.rows(call.from).await?));
    let both = (Arc::clone(service), Rc::clone(remote));
    endpoints.on(&both, async |(service, remote), call: AppendRequest, caller| {
        if !call.rows.orders.is_empty() {
            service.belong(&remote).await?;
            // The leader may be another store's than the one that this replica belongs to by now.
            service.identity.check(&caller)?;
        }
        Ok(service.append(call).await?)
    });
    endpoints.on(&both, async |(service, remote), call: Nomination, caller| {
        Ok(service.nominate(&on_behalf(&remote, caller), call).await)
    });
    endpoints.on(&both, async |(service, remote), call: GetOrder, caller| {
        server::log_query(&caller.origin, || format!("order {}", call.number));
        Ok(service.order(&on_behalf(&remote, caller), OrderNumber(call.number)).await?)
    });
}

fn on_behalf(remote: &Rc<Remote>, caller: Caller) -> Rc<Remote> {
    if caller.origin.is_unknown() {
        return Rc::clone(remote);
    }
    Rc::new(remote.on_behalf_of(&Rc::new(caller.origin)))
}

impl From<OrderError> for Refusal {
    fn from(error: OrderError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
