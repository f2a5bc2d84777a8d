//! `/metrics`, which every role has, and what a server counts for it.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use prometheus::IntGauge;

use super::methods::Allow;
use super::ration::Ration;
use crate::clock;
use crate::metrics::{self, RequestsOfThread, Scraped};
use crate::wire::reply::Failure;

/// Adds `/metrics`, which all threads of the role answer within `ration`.
pub fn metrics(config: &mut ServiceConfig, role: Arc<dyn Scraped>, ration: Ration) {
    let answer = move || {
        let (role, ration) = (Arc::clone(&role), ration.clone());
        async move { ration.spend(|| metrics_text(&*role)).await }
    };
    config.service(
        web::resource("/metrics")
            .route(Allow::Get.route().to(answer))
            .default_service(Allow::Get.others()),
    );
}

/// Shows what the role counts and measures, in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses(
        (status = 200, description = "The metrics.", body = String, content_type = "text/plain"),
        (status = 503, description = "Too many ask.", body = Failure)
    )
)]
pub fn metrics_text(role: &dyn Scraped) -> HttpResponse {
    let mut response = HttpResponse::Ok().body(role.scrape().to_text());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A request that is being answered.
pub(super) struct Stopwatch {
    route: usize,
    began: std::time::Instant,
}

impl Stopwatch {
    /// Begins with a request's path, decoded as the router sees it.
    pub(super) fn start(requests: &RequestsOfThread, path: &str) -> Self {
        Self::of_route(requests.route_of(path))
    }

    /// Begins with a request whose route is known.
    pub(super) fn of_route(route: usize) -> Self {
        Self { route, began: clock::now() }
    }

    /// Counts the answer.
    pub(super) fn stop(&self, requests: &RequestsOfThread, status: u16) {
        let took: Duration = clock::now() - self.began;
        requests.answered(self.route, status, took);
    }
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
pub(super) struct Open(IntGauge);

impl Open {
    pub(super) fn new(connections: &IntGauge) -> Self {
        connections.inc();
        Self(connections.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
