//! `/openapi.json`: the OpenAPI document of what clients may ask a front-end, and `/docs`, the page
//! that shows it.
//!
//! Each path is described at its handler, and the bodies at the types that the handlers send, so
//! that the document tells what the code does. What all answers have in common (their request's id,
//! the errors that any request can meet, `HEAD` and `OPTIONS`) is added to all of them here. A test
//! compares the paths with those that are registered, and another tries them out on a running
//! store.

mod errors;
mod everywhere;

use std::sync::{Arc, OnceLock};

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use serde_json::Value;
use utoipa::OpenApi;

pub(super) use self::errors::{OrderErrors, PurchaseErrors, ToyErrors, ToysErrors};
use super::{page, routes, traces};
use crate::health::{self, Health};
use crate::server::{self, Allow};
use crate::wire::reply;

/// The document as it is sent.
pub(super) struct Document(Bytes);

/// What the handlers say.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "toystore",
        description = "An online toy store: toys, orders, and the state of the cluster.\n\n\
                       Every answer but those of `/`, `/docs`, `/page/…`, `/events`, `/metrics`, \
                       and this document is `{\"data\": …}` or `{\"error\": …}`. One trailing \
                       slash changes nothing. A purchase that was sent under an \
                       `Idempotency-Key` can be sent again, through whichever front-end, and is \
                       still one."
    ),
    paths(
        routes::products,
        routes::product,
        routes::purchase,
        routes::order,
        routes::cluster,
        traces::last,
        traces::one,
        health::healthz,
        health::readyz,
        server::metrics::metrics_text,
        openapi,
        docs,
        page::index,
        page::file,
        page::events::follow
    ),
    components(schemas(reply::Failure, Health)),
    tags(
        (name = "shop", description = "What customers ask."),
        (name = "operations", description = "What operators and their tools ask."),
        (name = "pages", description = "What browsers ask.")
    )
)]
struct Handlers;

impl Document {
    /// The document, which is made once in a process.
    #[must_use]
    pub(super) fn of_this_version() -> Arc<Self> {
        static DOCUMENT: OnceLock<Arc<Document>> = OnceLock::new();
        let new = || Arc::new(Self(document().to_string().into()));
        Arc::clone(DOCUMENT.get_or_init(new))
    }
}

/// What the handlers say, and what is common to all of them.
fn document() -> Value {
    let mut document = serde_json::to_value(Handlers::openapi());
    let document = document.as_mut().expect("a document can be written as JSON");
    everywhere::add(document);
    document.take()
}

/// Adds `/openapi.json` and `/docs`.
pub(super) fn routes(config: &mut ServiceConfig, document: &Arc<Document>) {
    config.app_data(Data::from(Arc::clone(document)));
    config
        .service(
            web::resource("/openapi.json")
                .route(Allow::Get.route().to(openapi))
                .default_service(Allow::Get.others()),
        )
        .service(
            web::resource("/docs")
                .route(Allow::Get.route().to(docs))
                .default_service(Allow::Get.others()),
        );
}

/// Shows this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses((status = 200, description = "This document, as OpenAPI 3.1.", body = Object))
)]
async fn openapi(document: Data<Document>) -> HttpResponse {
    let mut response = HttpResponse::Ok().body(document.0.clone());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Shows this document as a page.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "pages",
    params(("If-None-Match" = Option<String>, Header, description = "The tag of a copy.")),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 304, description = "The copy is the same.")
    )
)]
async fn docs(
    request: actix_web::HttpRequest,
    page: Data<page::Page>,
) -> Result<HttpResponse, server::ErrorReply> {
    page.answer("docs.html", request.headers())
}
