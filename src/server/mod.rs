//! A role's HTTP server: what all roles do alike before a request reaches their routes.
//!
//! Every answer is `{"data": …}` or `{"error": …}`, also for an unknown path, a wrong method or a
//! body that is too large, and carries an `X-Request-Id`. Calls between roles have paths under
//! `/internal` and carry the cluster's secret, if it has one.
//!
//! ```text
//! socket ─► connection ─► actix ─► expect ─► service ─► routes
//!           no upgrades   parses   413       path and id
//! ```

mod body;
mod connection;
mod internal;
mod methods;
pub mod metrics;
mod origin;
mod paths;
mod reply;
mod request_id;
mod site;
mod upgrade;

use std::future::ready;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_server::Server;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Service as _, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::error::JsonPayloadError;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, Error, HttpMessage as _};
use futures_util::FutureExt as _;
use futures_util::future::Either;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

pub use self::body::{IDEMPOTENCY_KEY, LARGEST_BODY, read_json};
use self::connection::Connection;
pub use self::connection::unreadable;
pub use self::internal::{HttpEndpoints, internal};
pub use self::methods::Allow;
pub use self::metrics::metrics;
use self::metrics::{Open, Stopwatch};
use self::origin::DrawnId;
pub use self::origin::{Connections, OnBehalf};
pub use self::paths::below;
pub use self::reply::{ErrorReply, data, json};
use self::site::KnownHosts;
pub use self::site::refuse_other_sites;
use crate::descriptors::Descriptors;
use crate::metrics::{Metrics, RequestsOfThread};
use crate::roles::Host;
use crate::transport::{LARGEST_MESSAGE, REQUEST_ID};

/// Longer than any client here keeps an idle connection (15 s, `transport.rs`) and than common
/// load balancers do (60 s), so that it is the client who closes.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to send the first head on its connection.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection that is to close waits for its client to read the last answer.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// How long a stopping server waits for what it has accepted: a little more than the front-end's
/// deadline for a purchase.
const DRAIN_SECONDS: u64 = 12;

/// Serves `routes` on `listener` until `stop` is cancelled, then finishes what was accepted, and
/// counts it in `metrics`. On a loopback address only requests to that address or to one of `hosts`
/// are answered.
///
/// # Errors
///
/// If the listener cannot be used.
pub async fn serve<F>(
    listener: TcpListener,
    hosts: &[Host],
    routes: F,
    metrics: &Metrics,
    stop: CancellationToken,
) -> io::Result<()>
where
    F: Fn(&mut ServiceConfig) + Clone + Send + 'static,
{
    let address = listener.local_addr()?;
    let hosts = KnownHosts::new(address.ip(), hosts);
    let descriptors = Descriptors::of_this_process();
    let server = Server::build()
        .workers(descriptors.workers)
        .max_concurrent_connections(descriptors.connections)
        .disable_signals()
        .shutdown_signal(stop.cancelled_owned())
        .shutdown_timeout(DRAIN_SECONDS);
    let draining = server.graceful_shutdown_signal();
    // As actix-web's `HttpServer` does it, but for the connection and for `expect`.
    let (requests, connections) = (metrics.requests.clone(), metrics.connections.clone());
    let worker = move || {
        let (draining, connections) = (draining.clone(), connections.clone());
        let app = app(hosts.clone(), routes.clone(), requests.of_thread())
            .into_factory()
            .map_err(|error| error.error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let draining = draining.clone();
                async move { draining.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_LIMIT)
            .client_disconnect_timeout(CLOSE_LIMIT)
            .local_addr(address)
            .expect(fn_service(body::expect))
            .h1(map_config(app, |()| AppConfig::default()));
        fn_service(move |stream: TcpStream| {
            // A reply leaves in one write, which is not to wait for an acknowledgement.
            let peer = stream.set_nodelay(true).and_then(|()| stream.peer_addr()).ok();
            ready(Ok((Connection::new(stream, Open::new(&connections)), peer)))
        })
        .and_then(http)
    };
    server.listen("http", listener, worker)?.run().await
}

/// The service of one worker thread.
fn app(
    hosts: KnownHosts,
    routes: impl FnOnce(&mut ServiceConfig),
    requests: Arc<RequestsOfThread>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(
            web::JsonConfig::default()
                .limit(LARGEST_MESSAGE)
                .error_handler(|error, _request| unreadable_call(&error).into()),
        )
        // A path whose number is none is a path that does not exist.
        .app_data(
            web::PathConfig::default()
                .error_handler(|_error, _request| ErrorReply::NotFound("no such path").into()),
        )
        .wrap_fn(move |mut request, service| {
            paths::without_trailing_slash(&mut request);
            let stopwatch = Stopwatch::start(&requests, request.match_info().as_str());
            if let Err(error) = hosts.check(&request) {
                let response = body::refusal(request.headers(), error);
                stopwatch.stop(&requests, response.status().as_u16());
                return Either::Left(ready(Ok(request.into_response(response))));
            }
            let requests = Arc::clone(&requests);
            // The request's id comes back with the answer, whatever the answer is.
            let id = request_id::sent(request.headers()).cloned();
            Either::Right(service.call(request).map(move |answer| {
                answer.map(|mut response| {
                    let status = response.status();
                    stopwatch.stop(&requests, status.as_u16());
                    // A request without an id that caused calls has drawn one for them.
                    let drawn = || response.request().extensions_mut().remove::<DrawnId>();
                    let id = id.or_else(|| drawn().map(|DrawnId(id)| id));
                    let id = id.unwrap_or_else(request_id::draw_header);
                    if is_debugged() {
                        log::debug!("request {} is answered {status}", id.to_str().unwrap_or("?"));
                    }
                    response.headers_mut().insert(REQUEST_ID, id);
                    response
                })
            }))
        })
        .configure(routes)
        .default_service(web::to(async || ErrorReply::NotFound("no such path").into_response()))
}

/// Whether debug lines are logged, so that they cost nothing else.
fn is_debugged() -> bool {
    log::log_enabled!(log::Level::Debug)
}

/// What is wrong with a call's body.
fn unreadable_call(error: &JsonPayloadError) -> ErrorReply {
    if let JsonPayloadError::Overflow { limit }
    | JsonPayloadError::OverflowKnownLength { limit, .. } = error
    {
        return ErrorReply::TooLarge(*limit);
    }
    ErrorReply::BadRequest(if let JsonPayloadError::Deserialize(error) = error {
        body::invalid(error)
    } else if let JsonPayloadError::ContentType = error {
        "send a call between roles as Content-Type: application/json".into()
    } else {
        body::BROKEN.into()
    })
}
