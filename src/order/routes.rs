//! An order replica's endpoints.
//!
//! | request | asked by | answer |
//! |---|---|---|
//! | `GET /healthz`, `GET /readyz` | anybody | whether it lives, can serve |
//! | `GET /internal/status` | front-ends: the health check | [`ReplicaStatus`](crate::wire::replication::ReplicaStatus) |
//! | `POST /internal/nominate` | a front-end | [`NominationReply`](crate::wire::replication::NominationReply) |
//! | `POST /internal/leader` | a front-end: who leads | nothing |
//! | `POST /internal/purchase?within_ms=…` | front-ends | [`PurchaseReply`](crate::wire::purchase::PurchaseReply) |
//! | `GET /internal/order/{number}` | front-ends | [`OrderReply`](crate::wire::replication::OrderReply) |
//! | `POST /internal/append` | the leader | [`AppendReply`](crate::wire::replication::AppendReply) |
//! | `GET /internal/rows/{from}` | replicas that catch up | [`Rows`](crate::wire::order::Rows) |

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{self, Data, Json, Path, Query, ServiceConfig};
use serde::{Deserialize, Serialize};

use super::remote::Remote;
use super::service::{OrderError, Service};
use crate::health;
use crate::roles::{Role, Roles};
use crate::server::{self, Connections, ErrorReply};
use crate::wire::order::OrderNumber;
use crate::wire::purchase::Purchase;
use crate::wire::replication::{AppendRequest, Leadership, Nomination};

pub(super) fn configure(config: &mut ServiceConfig, service: &Arc<Service>, roles: &Roles) {
    config.app_data(Data::from(Arc::clone(service)));
    config.app_data(Data::new(Remote::new(roles, service.id)));
    health::routes(config, Role::Order(service.id), Arc::clone(service) as _);
    server::internal(config, roles.secret.as_ref(), |internal| {
        internal
            .route("/status", web::get().to(status))
            .route("/nominate", web::post().to(nominate))
            .route("/leader", web::post().to(leader))
            .route("/purchase", web::post().to(purchase))
            .route("/order/{number}", web::get().to(order))
            .route("/append", web::post().to(append))
            .route("/rows/{from}", web::get().to(rows));
    });
}

async fn status(service: Data<Service>) -> HttpResponse {
    server::data(service.status())
}

async fn nominate(
    service: Data<Service>,
    remote: Connections<Remote>,
    nomination: Json<Nomination>,
) -> HttpResponse {
    server::data(service.nominate(&remote, nomination.into_inner()).await)
}

async fn leader(service: Data<Service>, leadership: Json<Leadership>) -> HttpResponse {
    service.learn(leadership.into_inner());
    server::data(())
}

async fn purchase(
    service: Data<Service>,
    purchase: Json<Purchase>,
    attempt: Query<Attempt>,
) -> HttpResponse {
    let time_limit = attempt.within_ms.map(Duration::from_millis);
    render(service.purchase(purchase.into_inner(), time_limit).await)
}

/// How long the asking front-end will wait, in milliseconds.
#[derive(Deserialize)]
struct Attempt {
    within_ms: Option<u64>,
}

async fn order(
    service: Data<Service>,
    remote: Connections<Remote>,
    number: Path<u64>,
) -> HttpResponse {
    render(service.order(&remote, OrderNumber(number.into_inner())).await)
}

async fn append(service: Data<Service>, request: Json<AppendRequest>) -> HttpResponse {
    render(service.append(request.into_inner()).await)
}

async fn rows(service: Data<Service>, from: Path<u64>) -> HttpResponse {
    render(service.rows(from.into_inner()).await)
}

fn render<T: Serialize>(outcome: Result<T, OrderError>) -> HttpResponse {
    match outcome {
        Ok(answer) => server::data(answer),
        Err(error) => ErrorReply::Unavailable(error.to_string()).into_response(),
    }
}
