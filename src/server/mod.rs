//! A role's HTTP server: what all roles do alike before a request reaches their routes.
//!
//! Every answer is `{"data": …}` or `{"error": …}`, also for an unknown path, a wrong method or a
//! body that is too large, and carries an `X-Request-Id`. Calls between roles have paths under
//! `/internal` and carry the cluster's secret, if it has one.
//!
//! ```text
//! socket ─► slots ─► connection ─► actix ─► expect ─► service ─► routes
//!           a turn   whole heads   parses   413       path and id
//!             └────► frames ────────────────────────────────────► calls between roles
//! ```
//!
//! Where a role works on the thread that serves, each step of a client's connection first stands in
//! line (`lines.rs`).

mod answer;
mod body;
mod call_table;
mod connection;
mod dispatchers;
mod frames;
mod framing;
mod intake;
mod internal;
mod limits;
mod lines;
mod methods;
pub mod metrics;
mod origin;
mod paths;
mod queue;
mod rate;
mod ration;
mod repeated;
mod reply;
mod request_id;
mod serving;
mod site;
mod slots;
mod socket;
mod stream;
mod threads;
mod tick_clock;
mod unserved;

use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpServiceBuilder, KeepAlive, Request, Response};
use actix_service::{
    IntoServiceFactory as _, ServiceFactoryExt as _, fn_factory, fn_service, map_config,
};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Service, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::error::JsonPayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderValue;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, Error, HttpMessage as _};
use futures_util::FutureExt as _;
use futures_util::future::Either;
use tokio_util::sync::CancellationToken;

use self::answer::AnswerBody;
pub use self::body::{IDEMPOTENCY_KEY, LARGEST_BODY, read_json};
pub use self::call_table::CallTable;
use self::connection::Connection;
use self::dispatchers::Dispatchers;
use self::internal::INTERNAL;
pub use self::internal::{InternalEndpoints, internal};
pub use self::methods::Allow;
use self::metrics::Stopwatch;
pub use self::metrics::metrics;
use self::origin::{Asked, DrawnId};
pub use self::origin::{Connections, OnBehalf};
pub use self::paths::below;
use self::rate::RequestLimit;
pub use self::rate::is_counted;
pub use self::ration::Ration;
pub use self::reply::{ErrorReply, data, json, timed};
pub use self::request_id::{log_level, log_query};
use self::serving::{Serving, Terms};
use self::site::KnownHosts;
pub use self::site::refuse_other_sites;
use self::slots::Supply;
use self::socket::Socket;
use self::threads::ServerEnd;
pub use self::unserved::unserved;
use crate::descriptors::Threads;
use crate::metrics::{Metrics, RequestsOfThread};
use crate::roles::{Host, RateLimit, Role, Roles};
use crate::tls::TlsServer;
use crate::transport::{LARGEST_MESSAGE, REQUEST_ID};
use crate::wire::trace::RequestOrigin;

/// How long a connection that is to close, because its request's body is unread, waits for its
/// client to read the answer.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// From how many bytes on a dispatcher writes, before it asks for more of an answer.
const WRITE_BUFFER: usize = 4 << 10;
/// The most characters of a path that are logged: more than the longest of `/products` usually has.
const LONGEST_LOGGED_PATH: usize = 200;

/// Whom a server answers, and on which threads.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// On a loopback address only requests to that address or to one of these are answered.
    hosts: Vec<Host>,
    /// How often one client may ask.
    limit: Option<RateLimit>,
    /// Clients may use TLS, and calls between roles must.
    tls: Option<TlsServer>,
    threads: Threads,
}

impl Admission {
    /// Returns what `roles.toml` says of a role. Only front-ends have clients to limit.
    #[must_use]
    pub fn of(roles: &Roles, role: Role) -> Self {
        let limit = roles.rate_limit.filter(|_| matches!(role, Role::Frontend(_)));
        let (hosts, tls) = (roles.hosts_of(role), roles.tls_server().cloned());
        Self { hosts, limit, tls, threads: Threads::of(role) }
    }
}

/// Serves `routes` on `listener` until `stop` is cancelled, then finishes what was accepted, and
/// counts it in `metrics`.
///
/// # Errors
///
/// If the listener cannot be used.
pub async fn serve<F>(
    listener: TcpListener,
    Admission { hosts, limit, tls, threads }: Admission,
    routes: F,
    metrics: &Metrics,
    stop: CancellationToken,
) -> io::Result<()>
where
    F: Fn(&mut ServiceConfig, &mut CallTable) + Clone + Send + 'static,
{
    let address = listener.local_addr()?;
    let hosts = KnownHosts::new(address, &hosts);
    let descriptors = threads.descriptors();
    let draining = CancellationToken::new();
    let connections = metrics.connections.clone();
    let terms = Terms {
        supply: Supply::new(descriptors.connections, descriptors.workers),
        limit: limit.map(|limit| Arc::new(RequestLimit::new(limit))),
        connections: connections.clone(),
        stop: stop.clone(),
        tls,
        threads,
    };
    let end = ServerEnd { stop, draining: draining.clone(), connections };
    // As actix-web's `HttpServer` does it, but for the connection and for `expect`.
    let requests = metrics.requests.clone();
    let thread = move || {
        let (draining, terms) = (draining.clone(), terms.clone());
        let checks = Checks { hosts: hosts.clone(), limit: terms.limit.clone() };
        let requests = requests.of_thread();
        let mut calls = CallTable::new(Arc::clone(&requests));
        let app = app(checks, &mut |config| routes(config, &mut calls), requests)
            .into_factory()
            .map_err(|error| error.error_response());
        let app = map_config(app, |()| AppConfig::default());
        let calls = Rc::new(calls);
        fn_factory(move || {
            let (app, calls, terms) = (app.new_service(()), Rc::clone(&calls), terms.clone());
            let draining = draining.clone();
            async move {
                let app = Rc::new(app.await?);
                let http = move || maker(address, draining.clone(), Rc::clone(&app));
                Ok::<_, ()>(Serving::new(Dispatchers::new(http), calls, terms))
            }
        })
    };
    threads::serve(threads, listener, thread, end).await
}

/// Builds what makes dispatchers, which pass requests on to `app` and answer on `address` until the
/// server is `draining`.
fn maker<S, B>(
    address: SocketAddr,
    draining: CancellationToken,
    app: S,
) -> impl Service<(Connection, Option<SocketAddr>), Response = ()> + use<S, B>
where
    S: Service<Request, Response = ServiceResponse<B>> + Clone + 'static,
    S::Error: Into<Response<BoxBody>>,
    B: MessageBody + 'static,
{
    // Their own limits of time would cost a timer per request; see `limits`.
    HttpServiceBuilder::default()
        .graceful_shutdown_signal(move || {
            let draining = draining.clone();
            async move { draining.cancelled().await }
        })
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(CLOSE_LIMIT)
        .h1_write_buffer_size(WRITE_BUFFER)
        .local_addr(address)
        .on_connect_ext(|connection: &Connection, data| {
            let _no_other_socket_before = data.insert(Rc::clone(&connection.0));
        })
        .expect(fn_service(body::expect))
        .h1(fn_factory(move || ready(Ok::<_, ()>(app.clone()))))
        .new_service(())
        .now_or_never()
        .and_then(Result::ok)
        .expect("all that it consists of is there")
}

/// What is checked of every request before a service sees it.
#[derive(Clone)]
struct Checks {
    hosts: KnownHosts,
    limit: Option<Arc<RequestLimit>>,
}

impl Checks {
    fn check(&self, request: &ServiceRequest) -> Result<(), ErrorReply> {
        self.hosts.check(request)?;
        self.limit.as_ref().map_or(Ok(()), |limit| limit.check(request))
    }
}

/// The service of one thread.
fn app(
    checks: Checks,
    routes: &mut dyn FnMut(&mut ServiceConfig),
    requests: Arc<RequestsOfThread>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = Error,
        InitError = (),
    > + use<>,
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
            let socket = request.conn_data::<Rc<Socket>>().cloned();
            let sent = request_id::sent(request.headers()).cloned();
            let named = sent.as_ref().and_then(|id| Named::of(&request, id));
            if let Err(error) = checks.check(&request) {
                let response =
                    body::refusal(request.method(), request.path(), request.headers(), error);
                if let Some(named) = &named {
                    named.say(None, response.status());
                }
                stopwatch.stop(&requests, response.status().as_u16());
                let response = response.map_body(|_, body| AnswerBody::new(body, socket));
                return Either::Left(ready(Ok(request.into_response(response))));
            }
            let requests = Arc::clone(&requests);
            let answered = service.call(request);
            Either::Right(answered.map(move |answer| {
                if let (Err(_), Some(socket)) = (&answer, &socket) {
                    socket.answered();
                }
                answer.map(|mut response| {
                    let status = response.status();
                    stopwatch.stop(&requests, status.as_u16());
                    // What is answered from memory was recorded under the id that its answer has.
                    if !response.headers().contains_key(REQUEST_ID) {
                        // A request without an id that caused calls has drawn one for them.
                        let drawn = || response.request().extensions_mut().remove::<DrawnId>();
                        let id = sent.or_else(|| drawn().map(|DrawnId(id)| id));
                        let id = id.unwrap_or_else(request_id::draw_header);
                        response.headers_mut().insert(REQUEST_ID, id);
                    }
                    if let Some(named) = &named {
                        let asked = response.request().extensions_mut().remove::<Asked>();
                        named.say(asked, status);
                    } else if is_debugged() {
                        let id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
                        log::debug!("request {} is answered {status}", id.unwrap_or("?"));
                    }
                    response.map_body(|_, body| AnswerBody::new(body, socket))
                })
            }))
        })
        .configure(routes)
        .default_service(web::to(async || ErrorReply::NotFound("no such path").into_response()))
}

/// A request whose client sent an id, to be logged with its answer.
struct Named {
    origin: RequestOrigin,
    /// The method and the path.
    line: String,
}

impl Named {
    /// The request whose client sent this id. (A call between roles is logged by what it asks.)
    fn of(request: &ServiceRequest, id: &HeaderValue) -> Option<Self> {
        let id = id.to_str().ok()?;
        let path = request.path();
        if path.starts_with(INTERNAL) || !log::log_enabled!(log::Level::Info) {
            return None;
        }
        let path: String = path.escape_debug().take(LONGEST_LOGGED_PATH).collect();
        let request_id = Some(id.to_owned());
        Some(Self {
            origin: RequestOrigin { request_id, ..RequestOrigin::default() },
            line: format!("{} {path}", request.method()),
        })
    }

    fn say(&self, asked: Option<Asked>, status: StatusCode) {
        let Self { origin, line } = self;
        let asked = asked.map_or_else(String::new, |Asked(asked)| format!(" ({asked})"));
        log::info!("{origin}: {line}{asked} is answered {}", status.as_u16());
    }
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
