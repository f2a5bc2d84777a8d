//! The catalog's endpoints.
//!
//! | request | asked by | answer |
//! |---|---|---|
//! | `GET /healthz`, `GET /readyz` | anyone | whether it lives, can serve |
//! | `GET /metrics` | anyone | what it counts, for Prometheus |
//! | `GET /internal/catalog-status` | people | [`CatalogReport`](crate::wire::replication::CatalogReport) |
//! | `POST /internal/term` | front-ends, replicas | [`TermReport`](crate::wire::term::TermReport), of one of several catalogs |
//! | `POST /internal/report` | replicas, front-ends | [`CatalogReport`](crate::wire::replication::CatalogReport) |
//! | `GET /internal/toys` | front-ends | all toys |
//! | `POST /internal/toy` | front-ends | [`FillReply`](crate::wire::lease::FillReply) |
//! | `POST /internal/register` | front-ends | [`Registered`](crate::wire::lease::Registered) |
//! | `POST /internal/renew` | front-ends | [`RenewalReply`](crate::wire::lease::RenewalReply) |
//! | `POST /internal/end` | front-ends that shut down | nothing |
//! | `POST /internal/commit` | the leader | [`CommitReply`](crate::wire::purchase::CommitReply) |
//! | `POST /internal/acquire` | a nominee | [`AcquisitionReply`](crate::wire::replication::AcquisitionReply) |
//! | `GET /internal/journal/{from}` | replicas | [`Rows`](crate::wire::order::Rows) |
//! | `GET /internal/roles` | every role, at its start | [`ListedRole`](crate::wire::identity::ListedRole)s |
//! | `POST /internal/events` | front-ends | [`RoleEvents`](crate::wire::recording::RoleEvents) |
//! | `POST /internal/changes` | front-ends | [`RoleChanges`](crate::wire::recording::RoleChanges) |
//! | `GET /internal/order/{number}` | replicas | [`OrderReply`](crate::wire::replication::OrderReply) |

use std::sync::Arc;

use actix_web::web::ServiceConfig;

use super::seat::Seat;
use crate::health;
use crate::identity::Guarded;
use crate::roles::Secret;
use crate::server::{self, CallTable, Ration};
use crate::wire::calls::{
    EndSession, Endpoints, GetCatalogStatus, GetJournal, GetOrder, GetToys, LogReport, TermQuery,
};
use crate::wire::lease::{FillRequest, Registration, Renewal};
use crate::wire::order::OrderNumber;
use crate::wire::purchase::CommitRequest;
use crate::wire::replication::Acquisition;

pub(super) fn configure(
    config: &mut ServiceConfig,
    calls: &mut CallTable,
    seat: &Seat,
    secret: Option<&Secret>,
) {
    health::routes(config, seat.identity().role(), Arc::new(seat.clone()));
    server::metrics(config, seat.scraped(), Ration::default());
    server::internal(config, calls, secret, |endpoints| internal(endpoints, seat));
}

/// Registers the answers to other roles' calls.
pub fn internal(endpoints: &mut impl Endpoints, seat: &Seat) {
    let endpoints = &mut Guarded::new(endpoints, seat.identity());
    if let Seat::Shared(catalog) = seat {
        endpoints.on(catalog, async |catalog, call: TermQuery, _| Ok(catalog.answer(call)));
    }
    endpoints
        .on(seat, async |seat, GetCatalogStatus {}, _| Ok(seat.service()?.catalog_report()?));
    endpoints.on(seat, async |seat, call: LogReport, _| Ok(seat.service()?.report(call).await?));
    endpoints.on(seat, async |seat, GetToys {}, caller| {
        server::log_query(&caller.origin, || "all toys".into());
        Ok(seat.service()?.toys()?)
    });
    endpoints.on(seat, async |seat, call: FillRequest, caller| {
        server::log_query(&caller.origin, || call.name.quoted().to_string());
        Ok(seat.service()?.toy(&call)?)
    });
    endpoints.on(seat, async |seat, call: Renewal, _| Ok(seat.service()?.renew(call.session)?));
    endpoints
        .on(seat, async |seat, call: Registration, _| Ok(seat.service()?.register(call).await?));
    endpoints
        .on(seat, async |seat, call: EndSession, _| Ok(seat.service()?.end(call.session).await?));
    endpoints.on(seat, async |seat, call: CommitRequest, caller| {
        Ok(seat.service()?.commit(call, &caller.timing).await?)
    });
    endpoints
        .on(seat, async |seat, call: Acquisition, _| Ok(seat.service()?.acquire(call).await?));
    endpoints
        .on(seat, async |seat, call: GetJournal, _| Ok(seat.service()?.rows(call.from).await?));
    endpoints.on(seat, async |seat, call: GetOrder, caller| {
        server::log_query(&caller.origin, || format!("order {}", call.number));
        Ok(seat.service()?.order(OrderNumber(call.number)).await?)
    });
}
