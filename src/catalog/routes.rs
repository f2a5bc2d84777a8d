//! The catalog's endpoints.
//!
//! | request | asked by | answer |
//! |---|---|---|
//! | `GET /healthz`, `GET /readyz` | anybody | whether it lives, can serve |
//! | `GET /internal/catalog-status` | replicas, front-ends | [`CatalogStatus`](crate::wire::replication::CatalogStatus) |
//! | `GET /internal/toys` | front-ends | all toys |
//! | `POST /internal/toy` | front-ends | [`FillReply`](crate::wire::lease::FillReply) |
//! | `POST /internal/register` | front-ends | [`Registered`](crate::wire::lease::Registered) |
//! | `POST /internal/renew` | front-ends | [`RenewalReply`](crate::wire::lease::RenewalReply) |
//! | `POST /internal/end` | front-ends that are ending | nothing |
//! | `POST /internal/commit` | the leader | [`CommitReply`](crate::wire::purchase::CommitReply) |
//! | `POST /internal/acquire` | a nominee | [`AcquisitionReply`](crate::wire::replication::AcquisitionReply) |
//! | `GET /internal/journal/{from}` | replicas | [`Rows`](crate::wire::order::Rows) |
//! | `GET /internal/order/{number}` | replicas | [`OrderReply`](crate::wire::replication::OrderReply) |

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{self, Data, Json, Path, ServiceConfig};
use serde::Serialize;

use super::service::{CatalogError, Service};
use crate::health;
use crate::roles::{Role, Secret};
use crate::server::{self, ErrorReply};
use crate::wire::lease::{FillRequest, Registration, Renewal};
use crate::wire::order::OrderNumber;
use crate::wire::purchase::CommitRequest;
use crate::wire::replication::Acquisition;

pub(super) fn configure(
    config: &mut ServiceConfig,
    service: &Arc<Service>,
    secret: Option<&Secret>,
) {
    config.app_data(Data::from(Arc::clone(service)));
    health::routes(config, Role::Catalog, Arc::clone(service) as _);
    server::internal(config, secret, |internal| {
        internal
            .route("/catalog-status", web::get().to(status))
            .route("/toys", web::get().to(toys))
            .route("/toy", web::post().to(toy))
            .route("/register", web::post().to(register))
            .route("/renew", web::post().to(renew))
            .route("/end", web::post().to(end))
            .route("/commit", web::post().to(commit))
            .route("/acquire", web::post().to(acquire))
            .route("/journal/{from}", web::get().to(journal))
            .route("/order/{number}", web::get().to(order));
    });
}

async fn status(service: Data<Service>) -> HttpResponse {
    server::data(service.status())
}

async fn toys(service: Data<Service>) -> HttpResponse {
    server::data(service.toys())
}

async fn toy(service: Data<Service>, request: Json<FillRequest>) -> HttpResponse {
    server::data(service.toy(&request))
}

async fn register(service: Data<Service>, request: Json<Registration>) -> HttpResponse {
    render(service.register(request.into_inner()).await)
}

async fn renew(service: Data<Service>, request: Json<Renewal>) -> HttpResponse {
    server::data(service.renew(request.session))
}

async fn end(service: Data<Service>, request: Json<Renewal>) -> HttpResponse {
    render(service.end(request.session).await)
}

async fn commit(service: Data<Service>, request: Json<CommitRequest>) -> HttpResponse {
    render(service.commit(request.into_inner()).await)
}

async fn acquire(service: Data<Service>, request: Json<Acquisition>) -> HttpResponse {
    render(service.acquire(request.into_inner()).await)
}

async fn journal(service: Data<Service>, from: Path<u64>) -> HttpResponse {
    render(service.rows(from.into_inner()).await)
}

async fn order(service: Data<Service>, number: Path<u64>) -> HttpResponse {
    render(service.order(OrderNumber(number.into_inner())).await)
}

fn render<T: Serialize>(outcome: Result<T, CatalogError>) -> HttpResponse {
    match outcome {
        Ok(answer) => server::data(answer),
        Err(error) => ErrorReply::Unavailable(error.to_string()).into_response(),
    }
}
