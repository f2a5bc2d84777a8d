//! Clients' bodies: JSON of a limited size, whatever their `Content-Type`.

use std::future::{Ready, ready};
use std::rc::Rc;
use std::time::Duration;

use actix_http::{HttpMessage as _, Request};
use actix_web::body::BoxBody;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;

use super::answer::AnswerBody;
use super::internal::INTERNAL;
use super::repeated::{self, is_purchase};
use super::reply::ErrorReply;
use super::request_id;
use super::socket::Socket;
use crate::transport::{LARGEST_MESSAGE, REQUEST_ID};
use crate::wire::parse_error;

/// The header by which a purchase is sent again, and is still one.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The largest body that a client may send.
pub const LARGEST_BODY: usize = 16 << 10;
/// What is wrong with a body that does not arrive whole.
pub(super) const BROKEN: &str = "the request body breaks off, or its chunks are not valid";
/// How long a client may take to send a body; as long as actix gives it for the head.
const BODY_LIMIT: Duration = Duration::from_secs(5);

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
    if announced(request.headers()).is_some_and(|length| length > LARGEST_BODY as u64) {
        return Err(ErrorReply::TooLarge(LARGEST_BODY));
    }
    match actix_web::rt::time::timeout(BODY_LIMIT, read_body(payload)).await {
        Ok(body) => parse_json(&body?),
        Err(_elapsed) => Err(ErrorReply::BadRequest("the body did not arrive in time".into())),
    }
}

/// Decides whether a client that sent `Expect: 100-continue` is told to go on and send its body.
/// One that is too large is refused before it is sent.
pub(super) fn expect(request: Request) -> Ready<Result<Request, HttpResponse>> {
    let headers = request.headers();
    let is_internal = request.path().starts_with(INTERNAL);
    let largest = if is_internal { LARGEST_MESSAGE } else { LARGEST_BODY };
    if announced(headers).is_none_or(|length| length <= largest as u64) {
        return ready(Ok(request));
    }
    let response =
        refusal(request.method(), request.path(), headers, ErrorReply::TooLarge(largest));
    let socket = request.conn_data::<Rc<Socket>>().cloned();
    ready(Err(response.map_body(|_, body| BoxBody::new(AnswerBody::new(body, socket)))))
}

/// The reply to a request that no service is to see. It has what every reply has: the request's id,
/// and a purchase's key.
pub(super) fn refusal(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    error: ErrorReply,
) -> HttpResponse {
    let mut response = error.into_response();
    let replied = response.headers_mut();
    let id = request_id::sent(headers).cloned();
    replied.insert(REQUEST_ID, id.unwrap_or_else(request_id::draw_header));
    let sent = headers.get(IDEMPOTENCY_KEY).map(HeaderValue::as_bytes);
    if let Some(key) = repeated::key(is_purchase(method.as_str(), path), sent) {
        let key = HeaderValue::from_str(key.as_sent()).expect("a key is visible ASCII characters");
        replied.insert(IDEMPOTENCY_KEY, key);
    }
    response
}

/// What is wrong with a body that was read, in plain words.
pub(super) fn invalid(error: &serde_json::Error) -> String {
    format!("invalid request body: {}", parse_error::in_plain_words(error, "an object"))
}

/// The length of the body, if the head says it.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).map(HeaderValue::to_str)?.ok()?.parse().ok()
}

async fn read_body(mut payload: web::Payload) -> Result<Bytes, ErrorReply> {
    let mut body = web::BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| {
            log::debug!("reading a request body failed: {error}");
            ErrorReply::BadRequest(BROKEN.into())
        })?;
        if body.len() + chunk.len() > LARGEST_BODY {
            return Err(ErrorReply::TooLarge(LARGEST_BODY));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn parse_json<T: DeserializeOwned>(body: &Bytes) -> Result<T, ErrorReply> {
    // Serde would take an array of the fields' values for a struct, too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(ErrorReply::BadRequest("the request body must be a JSON object".into()));
    }
    serde_json::from_slice(body).map_err(|error| ErrorReply::BadRequest(invalid(&error)))
}
