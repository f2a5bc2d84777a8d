//! A role's HTTP server: what all roles do alike before a request reaches their routes.
//!
//! Every answer is `{"data": …}` or `{"error": …}`, also for an unknown path, a wrong method or a
//! body that is too large; this is the one place that turns an error into HTTP. Calls between roles
//! have paths under `/internal` and carry the cluster's secret, if it has one.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::net::TcpListener;
use std::ops::Deref;
use std::time::Duration;

use actix_web::dev::{Payload, Service as _};
use actix_web::guard::{self, GuardContext};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, AUTHORIZATION, ContentType, HeaderMap, HeaderValue};
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{App, FromRequest, HttpRequest, HttpResponse, HttpServer, ResponseError, Route};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use crate::roles::Secret;
use crate::transport::{LARGEST_MESSAGE, MEANT_FOR_ROLE, MEANT_FOR_STORE, REQUEST_ID};
use crate::wire::calls::{Call, Caller, Endpoints, Method, Refusal};
use crate::wire::identity::{Addressee, StoreId};
use crate::wire::parse_error;
use crate::wire::reply::{self, Failure, Problem};

/// Longer than any client here keeps an idle connection (15 s, `transport.rs`) and than common
/// load balancers do (60 s), so that it is the client who closes.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Connections of one worker thread at once; further ones wait to be accepted.
const MOST_CONNECTIONS: usize = 4_096;
/// How long a stopping server waits for what it has accepted: a little more than the front-end's
/// deadline for a purchase.
const DRAIN_SECONDS: u64 = 12;
/// The longest `X-Request-Id` that is passed along; a longer one is only returned.
const LONGEST_REQUEST_ID: usize = 255;
/// How long a client may take to send a body; as long as actix gives it for the head.
const BODY_LIMIT: Duration = Duration::from_secs(5);
/// The largest body that a client may send.
pub const LARGEST_BODY: usize = 16 << 10;

/// An error on its way to a client.
#[derive(Debug)]
pub enum ErrorReply {
    /// 400, and what is wrong with the request.
    BadRequest(String),
    /// 403: a call between roles without the right secret.
    Forbidden,
    /// 404, and what was not found.
    NotFound(&'static str),
    /// 405, and the methods that would do.
    MethodNotAllowed(&'static str),
    /// 409: the stock does not suffice.
    OutOfStock,
    /// 413: the body exceeds [`LARGEST_BODY`].
    TooLarge,
    /// 421: a call between roles that is meant for another process, and which process this is.
    Misdirected(String),
    /// 422: the idempotency key belongs to another purchase.
    KeyReused,
    /// 503, and what is missing. Trying again later may help.
    Unavailable(String),
}

/// Serves `routes` on `listener` until `stop` is cancelled, then finishes what was accepted.
///
/// # Errors
///
/// If the listener cannot be used.
pub async fn serve<F>(listener: TcpListener, routes: F, stop: CancellationToken) -> io::Result<()>
where
    F: Fn(&mut ServiceConfig) + Clone + Send + 'static,
{
    HttpServer::new(move || {
        App::new()
            .app_data(
                web::JsonConfig::default()
                    .limit(LARGEST_MESSAGE)
                    .error_handler(|error, _request| ErrorReply::BadRequest(plain(&error)).into()),
            )
            .app_data(
                web::QueryConfig::default()
                    .error_handler(|error, _request| ErrorReply::BadRequest(plain(&error)).into()),
            )
            // A path whose number is none is a path that does not exist.
            .app_data(
                web::PathConfig::default()
                    .error_handler(|_error, _request| ErrorReply::NotFound("no such path").into()),
            )
            .wrap_fn(|request, service| {
                // The request's id comes back with the answer, whatever the answer is.
                let id = request.headers().get(REQUEST_ID).cloned();
                service.call(request).map(move |answer| {
                    answer.map(|mut response| {
                        if let Some(id) = id {
                            let name = id.to_str().unwrap_or("(not text)");
                            log::debug!("request {name} is answered {}", response.status());
                            response.headers_mut().insert(REQUEST_ID, id);
                        }
                        response
                    })
                })
            })
            .configure(routes.clone())
            .default_service(web::to(async || ErrorReply::NotFound("no such path").into_response()))
    })
    .max_connections(MOST_CONNECTIONS)
    .keep_alive(KEEP_ALIVE)
    .tcp_nodelay(true)
    .disable_signals()
    .shutdown_signal(stop.cancelled_owned())
    .shutdown_timeout(DRAIN_SECONDS)
    .listen(listener)?
    .run()
    .await
}

/// The paths between roles: `register` adds calls, which are answered under `/internal` to callers
/// with the secret, and 403 to others.
pub fn internal(
    config: &mut ServiceConfig,
    secret: Option<&Secret>,
    register: impl FnOnce(&mut HttpEndpoints<'_>),
) {
    let expected = secret.map(|secret| format!("Bearer {}", secret.reveal()));
    config.service(
        web::scope("/internal")
            .guard(guard::fn_guard(move |context| is_trusted(context, expected.as_deref())))
            .configure(|config| register(&mut HttpEndpoints(config))),
    );
    config.service(
        web::scope("/internal")
            .default_service(web::to(async || ErrorReply::Forbidden.into_response())),
    );
}

/// Answers calls over HTTP.
pub struct HttpEndpoints<'a>(&'a mut ServiceConfig);

impl Endpoints for HttpEndpoints<'_> {
    fn on<C: Call, S, F>(&mut self, state: &S, answer: impl Fn(S, C, Caller) -> F + Clone + 'static)
    where
        S: Clone + 'static,
        F: Future<Output = Result<C::Answer, Refusal>> + 'static,
    {
        let state = state.clone();
        let respond = move |request: HttpRequest, call: C| {
            let request_id = request_id(request.headers()).map(str::to_owned);
            let meant_for = meant_for(request.headers());
            let answered = answer(state.clone(), call, Caller { request_id, meant_for });
            async move {
                match answered.await {
                    Ok(answer) => data(answer),
                    Err(Refusal::Unavailable(why)) => ErrorReply::Unavailable(why).into_response(),
                    Err(Refusal::Misdirected(why)) => ErrorReply::Misdirected(why).into_response(),
                }
            }
        };
        let route = match C::METHOD {
            Method::Get => web::get()
                .to(move |request, call: web::Path<C>| respond(request, call.into_inner())),
            Method::Post => web::post()
                .to(move |request, call: web::Json<C>| respond(request, call.into_inner())),
        };
        self.0.route(C::PATH, route);
    }
}

/// Compares in constant time, so that the time an answer takes tells nothing of the secret.
fn is_trusted(context: &GuardContext<'_>, expected: Option<&str>) -> bool {
    let Some(expected) = expected else { return true };
    let given = context.head().headers().get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    given.ct_eq(expected.as_bytes()).into()
}

/// A role's connections to its neighbours, which can carry a client's `X-Request-Id` along.
pub trait OnBehalf: Sized + 'static {
    /// The same connections, for the client's request with this id.
    #[must_use]
    fn on_behalf_of(&self, request_id: &str) -> Self;
}

/// A handler's connections: the worker thread's, carrying along the request's id if it has one.
#[derive(Debug)]
pub struct Connections<R>(Data<R>);

impl<R: OnBehalf> FromRequest for Connections<R> {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let shared = request.app_data::<Data<R>>().expect("a role's routes add its neighbours");
        ready(Ok(Self(match request_id(request.headers()) {
            Some(id) => Data::new(shared.on_behalf_of(id)),
            None => shared.clone(),
        })))
    }
}

impl<R> Deref for Connections<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.0
    }
}

/// The client's `X-Request-Id`, if it is text and short enough to travel with a purchase.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    (id.len() <= LONGEST_REQUEST_ID).then_some(id)
}

/// Whom a call between roles says it is meant for.
fn meant_for(headers: &HeaderMap) -> Option<Addressee> {
    let role = headers.get(MEANT_FOR_ROLE)?.to_str().ok()?.to_owned();
    let store = headers.get(MEANT_FOR_STORE).and_then(|store| StoreId::parse(store.to_str().ok()?));
    Some(Addressee { role, store })
}

/// A route for GET, and for HEAD as HTTP asks of every resource that has GET (RFC 9110, 9.3.2).
#[must_use]
pub fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A route for every method that a resource does not have.
#[must_use]
pub fn only(methods: &'static str) -> Route {
    web::to(move || async move { ErrorReply::MethodNotAllowed(methods).into_response() })
}

/// The answer `{"data": …}`.
#[must_use]
pub fn data<T: Serialize>(data: T) -> HttpResponse {
    HttpResponse::Ok().json(reply::Data { data })
}

/// Reads a client's body as JSON, whatever its `Content-Type` says or omits.
///
/// # Errors
///
/// 413 if it is larger than [`LARGEST_BODY`]; 400 if it breaks off or is not a JSON object of the
/// right shape.
pub async fn read_json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, ErrorReply> {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced: Option<u64> = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length| length > LARGEST_BODY as u64) {
        return Err(ErrorReply::TooLarge);
    }
    match actix_web::rt::time::timeout(BODY_LIMIT, read_body(payload)).await {
        Ok(body) => parse_json(&body?),
        Err(_elapsed) => Err(ErrorReply::BadRequest("the body did not arrive in time".into())),
    }
}

async fn read_body(mut payload: web::Payload) -> Result<Bytes, ErrorReply> {
    let mut body = web::BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| ErrorReply::BadRequest(format!("the body: {error}")))?;
        if body.len() + chunk.len() > LARGEST_BODY {
            return Err(ErrorReply::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn parse_json<T: DeserializeOwned>(body: &Bytes) -> Result<T, ErrorReply> {
    // Serde would take an array of the fields' values for a struct, too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(ErrorReply::BadRequest("the body must be a JSON object".into()));
    }
    serde_json::from_slice(body)
        .map_err(|error| ErrorReply::BadRequest(format!("the body does not do: {}", plain(&error))))
}

fn plain(error: &impl fmt::Display) -> String {
    parse_error::in_plain_words(error, "an object")
}

impl ErrorReply {
    /// The answer `{"error": …}`.
    #[must_use]
    pub fn into_response(self) -> HttpResponse {
        self.error_response()
    }
}

impl ResponseError for ErrorReply {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::OutOfStock => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Misdirected(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        response.insert_header(ContentType::json());
        if let Self::MethodNotAllowed(methods) = self {
            response.insert_header((header::ALLOW, *methods));
        }
        if let Self::Unavailable(_) = self {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        let error = Problem { code: status.as_u16(), message: self.to_string() };
        response.json(Failure { error })
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest(problem) | Self::Unavailable(problem) | Self::Misdirected(problem) => {
                f.write_str(problem)
            }
            Self::Forbidden => f.write_str(
                "calls between roles carry the cluster's secret; is `secret` the same in every \
                 role's roles.toml?",
            ),
            Self::NotFound(what) => f.write_str(what),
            Self::MethodNotAllowed(methods) => write!(f, "this path takes {methods} only"),
            Self::OutOfStock => f.write_str("not enough stock"),
            Self::TooLarge => write!(f, "the body is larger than {LARGEST_BODY} bytes"),
            Self::KeyReused => {
                f.write_str("this Idempotency-Key was used for a different purchase")
            }
        }
    }
}
