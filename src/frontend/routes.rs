//! The front-end's endpoints.
//!
//! | request | answer |
//! |---|---|
//! | `GET /products/<name>` | one toy |
//! | `GET /products` | all toys |
//! | `POST /orders` | a purchase: the order's number |
//! | `GET /orders/<number>` | one order |
//! | `GET /cluster` | the state of everything |
//! | `GET /healthz`, `GET /readyz` | whether it lives, can serve |
//! | `POST /internal/invalidate` | the catalog: toys to drop |

use std::sync::Arc;

use actix_web::http::header::{ContentType, HeaderMap, HeaderName};
use actix_web::web::{self, Bytes, Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::percent_decode_str;

use super::answers::{FrontendError, Source, ToyAnswer};
use super::remote::Remote;
use super::service::Service;
use crate::health;
use crate::identity::Guarded;
use crate::neighbours::over_http;
use crate::roles::{Role, Roles};
use crate::server::{self, Connections, ErrorReply};
use crate::wire::calls::Endpoints;
use crate::wire::cluster::{
    CacheView, CatalogState, CatalogView, ClusterView, ReplicaView, ReplicaViewState,
};
use crate::wire::lease::Invalidation;
use crate::wire::order::OrderNumber;
use crate::wire::purchase::{Decision, IdempotencyKey, Purchase, PurchaseBody};
use crate::wire::replication::{ReplicaId, ReplicaState, ReplicaStatus};
use crate::wire::reply::Receipt;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CACHE: HeaderName = HeaderName::from_static("x-cache");

pub(super) fn configure(config: &mut ServiceConfig, service: &Arc<Service>, roles: &Roles) {
    config.app_data(Data::from(Arc::clone(service)));
    config.app_data(Data::new(Remote::new(roles, over_http(roles, &service.identity))));
    config.app_data(Data::new(roles.clone()));
    config
        .service(
            web::resource("/products")
                .route(server::get().to(products))
                .default_service(server::only("GET")),
        )
        .service(
            web::resource("/products/{name:.*}")
                .route(server::get().to(product))
                .default_service(server::only("GET")),
        )
        .service(
            web::resource("/orders")
                .route(web::post().to(purchase))
                .default_service(server::only("POST")),
        )
        .service(
            web::resource("/orders/{number:.*}")
                .route(server::get().to(order))
                .default_service(server::only("GET")),
        )
        .service(
            web::resource("/cluster")
                .route(server::get().to(cluster))
                .default_service(server::only("GET")),
        );
    health::routes(config, Role::Frontend(service.number), Arc::clone(service) as _);
    server::internal(config, roles.secret.as_ref(), |endpoints| internal(endpoints, service));
}

/// Registers the answers to other roles' calls.
pub fn internal(endpoints: &mut impl Endpoints, service: &Arc<Service>) {
    let endpoints = &mut Guarded::new(endpoints, &service.identity);
    endpoints.on(service, async |service, call: Invalidation, _| {
        service.invalidate(call.session, &call.toys)
    });
}

async fn product(
    request: HttpRequest,
    service: Data<Service>,
    remote: Connections<Remote>,
) -> Result<HttpResponse, ErrorReply> {
    let name = rest_of_path(&request);
    let name = percent_decode_str(name).decode_utf8().map_err(|_not_text| {
        ErrorReply::BadRequest("the name is not UTF-8 once percent-decoded".into())
    })?;
    match service.toy(&remote, &name).await? {
        ToyAnswer::Found(toy, Source::Cache) => Ok(render_toy(toy.body, "hit")),
        ToyAnswer::Found(toy, Source::Catalog) => Ok(render_toy(toy.body, "miss")),
        ToyAnswer::Unknown => Err(ErrorReply::NotFound("product not found")),
    }
}

async fn products(
    service: Data<Service>,
    remote: Connections<Remote>,
) -> Result<HttpResponse, ErrorReply> {
    Ok(server::data(service.toys(&remote).await?))
}

async fn purchase(
    request: HttpRequest,
    payload: Payload,
    service: Data<Service>,
    remote: Connections<Remote>,
) -> Result<HttpResponse, ErrorReply> {
    let key = idempotency_key(request.headers())?;
    let PurchaseBody { name, quantity } = server::read_json(&request, payload).await?;
    let request_id = server::request_id(request.headers()).map(str::to_owned);
    if let Some(id) = &request_id {
        log::debug!("request {id} buys {quantity} {name}");
    }
    let purchase = Purchase { key, name, quantity, request_id, boot: None };
    match service.purchase(&remote, &purchase).await? {
        Decision::Granted(order_number) => Ok(server::data(Receipt { order_number })),
        Decision::OutOfStock => Err(ErrorReply::OutOfStock),
        Decision::UnknownToy => Err(ErrorReply::NotFound("product not found")),
        Decision::KeyReused => Err(ErrorReply::KeyReused),
        Decision::OtherCatalog => Err(FrontendError::OtherCatalog.into()),
    }
}

async fn order(
    request: HttpRequest,
    service: Data<Service>,
    remote: Connections<Remote>,
) -> Result<HttpResponse, ErrorReply> {
    let text = rest_of_path(&request);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ErrorReply::BadRequest("an order's number is a whole number from 0 on".into()));
    }
    let not_found = ErrorReply::NotFound("order not found");
    // A number with more digits than any counter has is still a number, and no order's.
    let Ok(number) = text.parse() else { return Err(not_found) };
    let order = service.order(&remote, OrderNumber(number)).await?;
    order.map(server::data).ok_or(not_found)
}

async fn cluster(service: Data<Service>, roles: Data<Roles>) -> HttpResponse {
    let catalog = service.catalog();
    let cache = service.cached(|cache| {
        let (items, counts) = (cache.names(), cache.counts());
        CacheView {
            enabled: service.settings.enabled,
            capacity: service.settings.capacity,
            entries: items.len(),
            items,
            hits: counts.hits,
            misses: counts.misses,
            invalidations: counts.invalidations,
        }
    });
    let (leadership, leader, statuses) = service.select(|selection| {
        let statuses: Vec<_> = selection.statuses().collect();
        (selection.leadership(), selection.leader(), statuses)
    });
    let replicas = statuses.into_iter().map(|(id, status)| view(&roles, id, status, leader));
    server::data(ClusterView {
        epoch: leadership.epoch,
        leader,
        catalog: CatalogView {
            address: roles.catalog.address.to_string(),
            state: if catalog.is_some() { CatalogState::Up } else { CatalogState::Down },
            last_order: catalog.and_then(|report| report.status.journal.last()),
        },
        replicas: replicas.collect(),
        cache,
    })
}

fn render_toy(answer: Bytes, cache: &'static str) -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).insert_header((CACHE, cache)).body(answer)
}

fn view(
    roles: &Roles,
    id: ReplicaId,
    status: Option<ReplicaStatus>,
    leader: Option<ReplicaId>,
) -> ReplicaView {
    let state = match status.map(|status| status.state) {
        None => ReplicaViewState::Down,
        Some(_) if leader == Some(id) => ReplicaViewState::Leader,
        Some(ReplicaState::Follower) => ReplicaViewState::Follower,
        // A leader that is not this front-end's has been deposed and does not know it yet.
        Some(ReplicaState::Syncing | ReplicaState::Leader) => ReplicaViewState::Syncing,
    };
    let address = roles.address_of(Role::Order(id)).map(ToString::to_string).unwrap_or_default();
    ReplicaView { id, address, state, last_order: status.and_then(|status| status.log.last()) }
}

/// The path behind its first part, as it was sent: the router's own decoding would make a slash of
/// `%2F`. (Of the first part the router knows what it is, however it was encoded.)
fn rest_of_path(request: &HttpRequest) -> &str {
    let path = request.uri().path();
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split_once('/').map_or("", |(_known, rest)| rest)
}

fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, ErrorReply> {
    let mut sent = headers.get_all(IDEMPOTENCY_KEY);
    match (sent.next(), sent.next()) {
        (None, _) => Ok(IdempotencyKey::from_random(rand::random())),
        (Some(key), None) => IdempotencyKey::from_client(key.as_bytes()).ok_or_else(|| {
            ErrorReply::BadRequest("Idempotency-Key is 1 to 255 visible ASCII characters".into())
        }),
        (Some(_), Some(_)) => {
            Err(ErrorReply::BadRequest("there may be one Idempotency-Key only".into()))
        }
    }
}

impl From<FrontendError> for ErrorReply {
    fn from(error: FrontendError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
