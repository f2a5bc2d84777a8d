//! The front-end's endpoints.
//!
//! | request | answer |
//! |---|---|
//! | `GET /products/<name>` | one toy |
//! | `GET /products` | all toys |
//! | `POST /orders` | a purchase: the order's number |
//! | `GET /orders/<number>` | one order |
//! | `GET /cluster` | the state of everything |
//! | `GET /trace`, `GET /trace/<id>` | what the store did for requests (`traces`) |
//! | `GET /healthz`, `GET /readyz` | whether it lives, can serve |
//! | `GET /metrics` | what it counts, for Prometheus |
//! | `GET /openapi.json`, `GET /docs` | the document of all this (`document`) |
//! | `GET /`, `GET /page/…` | the web page (`page`) |
//! | `GET /events` | what changes, as it does (`events`) |
//! | `POST /internal/invalidate` | the catalog: toys to drop |
//! | `GET /internal/roles` | every role, at its start: what this one's `roles.toml` says |
//! | `POST /internal/events`, `POST /internal/changes` | front-ends: what this one has recorded |
//! | `GET /internal/cache-view` | another front-end: what is in the cache |

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use percent_encoding::percent_decode_str;

use super::answers::{FrontendError, Source, ToyAnswer};
use super::document::{OrderErrors, PurchaseErrors, ToyErrors, ToysErrors};
use super::page::events::MOST_ITEMS;
use super::remote::Remote;
use super::service::Service;
use super::traces;
use crate::clock;
use crate::events::{EventRecorder, Exchange};
use crate::health;
use crate::identity::Guarded;
use crate::neighbours::over_sockets;
use crate::roles::{CacheSettings, Role, Roles};
use crate::server::{self, Allow, CallTable, Connections, ErrorReply, IDEMPOTENCY_KEY};
use crate::transport::{REQUEST_ID, SERVER_TIMING};
use crate::wire::calls::{Endpoints, GetCacheView};
use crate::wire::cluster::ClusterView;
use crate::wire::lease::Invalidation;
use crate::wire::order::{Order, OrderNumber};
use crate::wire::purchase::{Decision, IdempotencyKey, Purchase, PurchaseBody};
use crate::wire::reply::{self, Failure, Receipt};
use crate::wire::timing::{ServerTiming, TimedPart};
use crate::wire::toy::{Toy, ToyName};
use crate::wire::trace::RequestOrigin;

const CACHE: HeaderName = HeaderName::from_static("x-cache");
/// The `Server-Timing` of a query that the cache answers.
const CACHE_HIT: HeaderValue = HeaderValue::from_static("cache;desc=\"hit\"");

pub(super) fn configure(
    config: &mut ServiceConfig,
    calls: &mut CallTable,
    service: &Arc<Service>,
    roles: &Roles,
) {
    // A reference of each thread: handlers count theirs there, and not where all threads do.
    config.app_data(Data::new(Arc::clone(service)));
    config.app_data(Data::new(Remote::new(roles, over_sockets(roles, &service.identity))));
    // A path is compared with these from top to bottom.
    config
        .service(
            web::resource("/products")
                .route(Allow::Get.route().to(products))
                .default_service(Allow::Get.others()),
        )
        .service(server::below("/products", Allow::Get, web::to(product)))
        .service(
            web::resource("/orders")
                .route(Allow::Post.route().to(purchase))
                .default_service(Allow::Post.others()),
        )
        .service(server::below("/orders", Allow::Get, web::to(order)))
        .service(
            web::resource("/cluster")
                .route(Allow::Get.route().to(cluster))
                .default_service(Allow::Get.others()),
        );
    traces::configure(config, roles);
    health::routes(config, Role::Frontend(service.number), Arc::clone(service) as _);
    server::metrics(config, Arc::clone(service) as _, service.metrics.ration.clone());
    server::internal(config, calls, roles.secret.as_ref(), |endpoints| {
        internal(endpoints, service);
    });
}

/// Registers the answers to other roles' calls.
pub fn internal(endpoints: &mut impl Endpoints, service: &Arc<Service>) {
    let endpoints = &mut Guarded::new(endpoints, &service.identity);
    endpoints.on(service, async |service, call: Invalidation, _| service.invalidate(&call));
    endpoints.on(service, async |service, _: GetCacheView, _| Ok(service.cache_view(MOST_ITEMS)));
}

/// Shows a toy, from the cache if it can be.
#[utoipa::path(
    get,
    path = "/products/{name}",
    tag = "shop",
    params(("name" = ToyName, Path, description = "The toy's name, percent-encoded.")),
    responses(
        (
            status = 200,
            description = "The toy.",
            body = reply::Data<Toy>,
            example = json!({ "data": { "name": "Tux", "price": 15.99, "quantity": 100 } })
        ),
        ToyErrors
    )
)]
pub(super) async fn product(
    request: HttpRequest,
    service: Data<Arc<Service>>,
    remote: Connections<Remote>,
) -> Result<HttpResponse, ErrorReply> {
    let name = rest_of_path(&request)?;
    let (recorder, began) = (service.identity.recorder(), service.runtime.now());
    let mut asked = None;
    let asks = || asked = asked_by(recorder, "GET /products", &remote, || (*name).to_owned());
    let toy = service.toy(&remote, &name, began, asks).await;
    service.count_failure(&toy);
    let reply = toy.map_err(ErrorReply::from).and_then(|answer| match answer {
        ToyAnswer::Found(toy, source) => {
            let mut response = server::json(StatusCode::OK, toy.body);
            response.headers_mut().insert(CACHE, cache_header(source, service.settings));
            if source == Source::Catalog {
                return Ok(server::timed(response, timing(&remote, TimedPart::Catalog)));
            }
            // Its time is too short to be measured for each query.
            response.headers_mut().insert(SERVER_TIMING, CACHE_HIT);
            if recorder.is_on() {
                let id = remote.reply_id();
                recorder.hit(&name, remote.sent_context(), id.as_bytes(), began);
                response.headers_mut().insert(REQUEST_ID, id);
            }
            Ok(response)
        }
        ToyAnswer::Unknown => Err(ErrorReply::NotFound("product not found")),
    });
    recorded(&service, asked.as_ref(), reply)
}

/// Records that a client asked this.
fn asked_by(
    recorder: &EventRecorder,
    name: &'static str,
    remote: &Connections<Remote>,
    text: impl FnOnce() -> String,
) -> Option<Exchange> {
    recorder.asked(name, remote.origin(), remote.sent_context().map(|sent| sent.span), text)
}

/// Records which answer a client gets, and returns the answer.
fn recorded(
    service: &Service,
    asked: Option<&Exchange>,
    reply: Result<HttpResponse, ErrorReply>,
) -> Result<HttpResponse, ErrorReply> {
    if let Some(asked) = asked {
        let status = reply.as_ref().map_or_else(ErrorReply::status_code, HttpResponse::status);
        service.identity.recorder().replied(asked, status.as_u16());
    }
    reply
}

/// Shows all toys, in the order of the catalog.
#[utoipa::path(
    get,
    path = "/products",
    tag = "shop",
    responses((status = 200, description = "All toys.", body = reply::Data<Vec<Toy>>), ToysErrors)
)]
pub(super) async fn products(
    service: Data<Arc<Service>>,
    remote: Connections<Remote>,
) -> Result<HttpResponse, ErrorReply> {
    let recorder = service.identity.recorder();
    let asked = asked_by(recorder, "GET /products", &remote, || "all toys".to_owned());
    let toys = service.toys(&remote).await;
    service.count_failure(&toys);
    let reply = toys.map_err(ErrorReply::from).map(|toys| {
        let mut response = server::json(StatusCode::OK, toys);
        let cache = cache_header(Source::Catalog, service.settings);
        response.headers_mut().insert(CACHE, cache);
        server::timed(response, timing(&remote, TimedPart::Catalog))
    });
    recorded(&service, asked.as_ref(), reply)
}

/// Buys a toy, once under each key.
#[utoipa::path(
    post,
    path = "/orders",
    tag = "shop",
    params((
        "Idempotency-Key" = Option<String>,
        Header,
        description = "A purchase that is sent again under its key gets its first answer.",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        example = "a-present"
    )),
    request_body(content = PurchaseBody, example = json!({ "name": "Tux", "quantity": 1 })),
    responses(
        (
            status = 200,
            description = "The toy is sold.",
            body = reply::Data<Receipt>,
            example = json!({ "data": { "order_number": 0 } })
        ),
        PurchaseErrors
    )
)]
pub(super) async fn purchase(
    request: HttpRequest,
    payload: Payload,
    service: Data<Arc<Service>>,
    remote: Connections<Remote>,
) -> Result<HttpResponse, ErrorReply> {
    let key = idempotency_key(request.headers())?;
    let bought = buy(&request, payload, &service, &remote, key.clone()).await;
    let mut response = bought.unwrap_or_else(ErrorReply::into_response);
    // A client that gets an error can send its purchase again under the same key, also if it sent
    // none.
    let key = HeaderValue::from_str(key.as_sent()).expect("a key is visible ASCII characters");
    response.headers_mut().insert(IDEMPOTENCY_KEY, key);
    Ok(server::timed(response, timing(&remote, TimedPart::Leader)))
}

async fn buy(
    request: &HttpRequest,
    payload: Payload,
    service: &Service,
    remote: &Connections<Remote>,
    key: IdempotencyKey,
) -> Result<HttpResponse, ErrorReply> {
    server::refuse_other_sites(request)?;
    let PurchaseBody { name, quantity } = server::read_json(request, payload).await?;
    log::debug!("{} buys {quantity} {}", remote.origin(), name.quoted());
    remote.note(|| format!("{quantity} {}", name.quoted()));
    let recorder = service.identity.recorder();
    let asked = asked_by(recorder, "POST /orders", remote, || format!("{quantity} {name}"));
    // The call to the leader says for which request it is made.
    let purchase = Purchase { key, name, quantity, origin: RequestOrigin::default(), boot: None };
    let decision = service.purchase(remote, &purchase).await;
    service.count_purchase(&decision);
    let reply = decision.map_err(ErrorReply::from).and_then(|decision| match decision {
        Decision::Granted(order_number) => Ok(server::data(Receipt { order_number })),
        Decision::OutOfStock => Err(ErrorReply::OutOfStock),
        Decision::UnknownToy => Err(ErrorReply::NotFound("product not found")),
        Decision::KeyReused => Err(ErrorReply::KeyReused),
        Decision::OtherCatalog => Err(FrontendError::OtherCatalog.into()),
    });
    recorded(service, asked.as_ref(), reply)
}

/// Shows an order.
#[utoipa::path(
    get,
    path = "/orders/{number}",
    tag = "shop",
    params(("number" = OrderNumber, Path, description = "The order's number.", example = 0)),
    responses(
        (
            status = 200,
            description = "The order.",
            body = reply::Data<Order>,
            example = json!({ "data": { "number": 0, "name": "Tux", "quantity": 1 } })
        ),
        OrderErrors
    )
)]
pub(super) async fn order(
    request: HttpRequest,
    service: Data<Arc<Service>>,
    remote: Connections<Remote>,
) -> Result<HttpResponse, ErrorReply> {
    let text = rest_of_path(&request)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ErrorReply::BadRequest("an order's number is a whole number from 0 on".into()));
    }
    let not_found = ErrorReply::NotFound("order not found");
    // A number with more digits than any counter has is still a number, and no order's.
    let Ok(number) = text.parse() else { return Err(not_found) };
    let recorder = service.identity.recorder();
    let asked = asked_by(recorder, "GET /orders", &remote, || text.clone().into_owned());
    let order = service.order(&remote, OrderNumber(number)).await;
    service.count_failure(&order);
    let timed = |order| server::timed(server::data(order), timing(&remote, TimedPart::Leader));
    let order = order.map_err(ErrorReply::from);
    let reply = order.and_then(|order| order.map(Order::without_key).map(timed).ok_or(not_found));
    recorded(&service, asked.as_ref(), reply)
}

/// Shows who leads, how far each replica is, and what the cache holds.
#[utoipa::path(
    get,
    path = "/cluster",
    tag = "operations",
    responses(
        (
            status = 200,
            description = "The cluster, as this front-end sees it.",
            body = reply::Data<ClusterView>
        ),
        (status = 503, description = "Too many ask.", body = Failure)
    )
)]
pub(super) async fn cluster(service: Data<Arc<Service>>) -> Result<HttpResponse, ErrorReply> {
    service.views.spend(|| server::data(service.cluster_view(usize::MAX))).await
}

/// Where the time of a request went, of which the role that was asked took this part.
fn timing(remote: &Connections<Remote>, part: TimedPart) -> ServerTiming {
    let Some(took) = remote.in_use() else { return ServerTiming::default() };
    let mut timing = remote.timing();
    timing.add(part, took);
    timing
}

/// Where an answer is from, in the words of `X-Cache`.
fn cache_header(source: Source, cache: CacheSettings) -> HeaderValue {
    HeaderValue::from_static(match source {
        Source::Cache => "hit",
        Source::Catalog if cache.enabled => "miss",
        Source::Catalog => "off",
    })
}

/// The path behind its first part, percent-decoded. The router's own decoding would make a slash
/// of `%2F`. (Of the first part the router knows what it is, however it was encoded.)
pub(super) fn rest_of_path(request: &HttpRequest) -> Result<Cow<'_, str>, ErrorReply> {
    let path = request.uri().path();
    let path = path.strip_prefix('/').unwrap_or(path);
    let rest = path.split_once('/').map_or("", |(_known, rest)| rest);
    percent_decode_str(rest).decode_utf8().map_err(|_not_text| {
        ErrorReply::BadRequest("the path is not UTF-8 once percent-decoded".into())
    })
}

fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, ErrorReply> {
    let mut sent = headers.get_all(IDEMPOTENCY_KEY);
    match (sent.next(), sent.next()) {
        (None, _) => Ok(IdempotencyKey::drawn(clock::time_of_day().as_millis(), rand::random())),
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
