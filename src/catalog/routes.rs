//! The catalog's endpoints.
//!
//! | request | asked by | answer |
//! |---|---|---|
//! | `GET /healthz`, `GET /readyz` | anyone | whether it lives, can serve |
//! | `GET /metrics` | anyone | what it counts, for Prometheus |
//! | `GET /internal/catalog-status` | people | [`CatalogReport`](crate::wire::replication::CatalogReport) |
//! | `POST /internal/report` | replicas, front-ends | [`CatalogReport`](crate::wire::replication::CatalogReport) |
//! | `GET /internal/toys` | front-ends | all toys |
//! | `POST /internal/toy` | front-ends | [`FillReply`](crate::wire::lease::FillReply) |
//! | `POST /internal/register` | front-ends | [`Registered`](crate::wire::lease::Registered) |
//! | `POST /internal/renew` | front-ends | [`RenewalReply`](crate::wire::lease::RenewalReply) |
//! | `POST /internal/end` | front-ends that shut down | nothing |
//! | `POST /internal/commit` | the leader | [`CommitReply`](crate::wire::purchase::CommitReply) |
//! | `POST /internal/acquire` | a nominee | [`AcquisitionReply`](crate::wire::replication::AcquisitionReply) |
//! | `GET /internal/journal/{from}` | replicas | [`Rows`](crate::wire::order::Rows) |
//! | `POST /internal/events` | front-ends | [`RoleEvents`](crate::wire::recording::RoleEvents) |
//! | `GET /internal/order/{number}` | replicas | [`OrderReply`](crate::wire::replication::OrderReply) |

use std::sync::Arc;

use actix_web::web::ServiceConfig;

use super::service::{CatalogError, Service};
use crate::health;
use crate::identity::Guarded;
use crate::roles::{Role, Secret};
use crate::server::{self, CallTable};
use crate::wire::calls::{
    EndSession, Endpoints, GetCatalogStatus, GetJournal, GetOrder, GetToys, LogReport, Refusal,
};
use crate::wire::lease::{FillRequest, Registration, Renewal};
use crate::wire::order::OrderNumber;
use crate::wire::purchase::CommitRequest;
use crate::wire::recording::EventsQuery;
use crate::wire::replication::Acquisition;

pub(super) fn configure(
    config: &mut ServiceConfig,
    calls: &mut CallTable,
    service: &Arc<Service>,
    secret: Option<&Secret>,
) {
    health::routes(config, Role::Catalog, Arc::clone(service) as _);
    server::metrics(config, Arc::clone(service) as _);
    server::internal(config, calls, secret, |endpoints| internal(endpoints, service));
}

/// Registers the answers to other roles' calls.
pub fn internal(endpoints: &mut impl Endpoints, service: &Arc<Service>) {
    let endpoints = &mut Guarded::new(endpoints, &service.identity);
    endpoints.on(service, async |service, call: EventsQuery, _| {
        Ok(service.identity.recorder().events(&call))
    });
    endpoints.on(service, async |service, GetCatalogStatus {}, _| Ok(service.catalog_report()));
    endpoints.on(service, async |service, call: LogReport, _| Ok(service.report(call).await?));
    endpoints.on(service, async |service, GetToys {}, _| Ok(service.toys()));
    endpoints.on(service, async |service, call: FillRequest, _| Ok(service.toy(&call)));
    endpoints.on(service, async |service, call: Renewal, _| Ok(service.renew(call.session)));
    endpoints
        .on(service, async |service, call: Registration, _| Ok(service.register(call).await?));
    endpoints
        .on(service, async |service, call: EndSession, _| Ok(service.end(call.session).await?));
    endpoints.on(service, async |service, call: CommitRequest, caller| {
        Ok(service.commit(call, &caller.timing).await?)
    });
    endpoints.on(service, async |service, call: Acquisition, _| Ok(service.acquire(call).await?));
    endpoints.on(service, async |service, call: GetJournal, _| Ok(service.rows(call.from).await?));
    endpoints.on(service, async |service, call: GetOrder, _| {
        Ok(service.order(OrderNumber(call.number)).await?)
    });
}

impl From<CatalogError> for Refusal {
    fn from(error: CatalogError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
