//! Replies: `{"data": …}` or `{"error": …}`, and the one place that turns an error into HTTP.

use std::fmt::{self, Write as _};

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use super::methods::Allow;
use crate::transport::SERVER_TIMING;
use crate::wire::calls::Refusal;
use crate::wire::reply::{self, Failure, Problem};
use crate::wire::term::WhoRules;
use crate::wire::timing::ServerTiming;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// What is told of stock and orders may be another in a moment, so that nothing between server and
/// client may keep a reply (RFC 9111, 4.2.2 lets it, else).
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// About as many bytes as the header has that says where a purchase's time went.
const USUAL_TIMING: usize = 96;

/// An error on its way to a client.
#[derive(Debug)]
pub enum ErrorReply {
    /// 400, and what is wrong with the request.
    BadRequest(String),
    /// 403: a call between roles without the right secret.
    Forbidden,
    /// 403: a call between roles without TLS, where roles have it.
    NeedsTls,
    /// 403: the request was sent by a web page of another site.
    OtherSite,
    /// 421: the request's `Host` is no name of this role.
    OtherHost,
    /// 404, and what was not found.
    NotFound(&'static str),
    /// 405, and the methods that the path has.
    MethodNotAllowed(Allow),
    /// 409: the stock does not suffice.
    OutOfStock,
    /// 413: the body exceeds this many bytes.
    TooLarge(usize),
    /// 421: a call between roles that is meant for another process, and which process this is.
    Misdirected(String),
    /// 421: one of several catalogs does not rule, and who does.
    NotRuling(WhoRules),
    /// 422: the idempotency key belongs to another purchase.
    KeyReused,
    /// 429: the host asks more often than it may; it may come again in this many seconds.
    TooOften(u64),
    /// 503, and what is missing. Trying again later may help.
    Unavailable(String),
}

/// Returns the reply `{"data": …}`.
///
/// # Panics
///
/// If `data` cannot be written as JSON, which no type of `wire` is.
#[must_use]
pub fn data<T: Serialize>(data: T) -> HttpResponse {
    json(StatusCode::OK, reply::Data { data }.to_body())
}

/// Returns a reply with this body, which is JSON.
#[must_use]
pub fn json(status: StatusCode, body: Bytes) -> HttpResponse {
    let mut response = HttpResponse::with_body(status, BoxBody::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// Returns the reply with a header that says where its time went, if that was measured.
///
/// # Panics
///
/// Never: names and digits fit in a header.
#[must_use]
pub fn timed(mut response: HttpResponse, timing: ServerTiming) -> HttpResponse {
    if !timing.is_empty() {
        let mut text = String::with_capacity(USUAL_TIMING);
        write!(text, "{timing}").expect("memory takes what is written");
        let value = HeaderValue::from_str(&text);
        let value = value.expect("names and digits fit in a header");
        response.headers_mut().insert(SERVER_TIMING, value);
    }
    response
}

impl From<Refusal> for ErrorReply {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable(why) => Self::Unavailable(why),
            Refusal::Misdirected(why) => Self::Misdirected(why),
            Refusal::NotRuling(who_rules) => Self::NotRuling(who_rules),
        }
    }
}

impl ErrorReply {
    /// Returns the reply `{"error": …}`.
    #[must_use]
    pub fn into_response(self) -> HttpResponse {
        self.error_response()
    }

    /// Returns the body `{"error": …}`.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let (code, message) = (self.status_code().as_u16(), self.to_string());
        let who_rules = if let Self::NotRuling(who_rules) = self { Some(*who_rules) } else { None };
        let body = serde_json::to_vec(&Failure { error: Problem { code, message, who_rules } });
        body.expect("an error can be written as JSON")
    }
}

impl ResponseError for ErrorReply {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden | Self::NeedsTls | Self::OtherSite => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::OutOfStock => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Misdirected(_) | Self::NotRuling(_) | Self::OtherHost => {
                StatusCode::MISDIRECTED_REQUEST
            }
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = json(self.status_code(), self.to_json().into());
        if let Self::MethodNotAllowed(allow) = self {
            response.headers_mut().insert(header::ALLOW, allow.header());
        }
        if let Self::TooOften(seconds) = self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
        }
        if let Self::Unavailable(_) = self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest(problem) | Self::Unavailable(problem) | Self::Misdirected(problem) => {
                f.write_str(problem)
            }
            Self::NotRuling(who_rules) => who_rules.fmt(f),
            Self::Forbidden => f.write_str(
                "calls between roles carry the store's secret: give every role the same roles.toml \
                 and data_dir; a person can make this call with `toystore call ROLE PATH`",
            ),
            Self::NeedsTls => f.write_str(
                "calls between roles use TLS here: give every role a roles.toml with [tls]",
            ),
            Self::OtherSite => f.write_str(
                "a web page of another site sent this request; only pages of this address may \
                 change anything",
            ),
            Self::OtherHost => f.write_str(
                "the request's Host is no name of this role; use its address in roles.toml, or add \
                 the name to `hosts` there",
            ),
            Self::NotFound(what) => f.write_str(what),
            Self::MethodNotAllowed(allow) => write!(f, "this path allows {allow} only"),
            Self::OutOfStock => f.write_str("not enough stock"),
            Self::TooLarge(most) => write!(f, "the body is larger than {most} bytes"),
            Self::TooOften(_) => f.write_str(
                "this address sends more requests than rate_limit in roles.toml allows; wait as \
                 long as Retry-After says",
            ),
            Self::KeyReused => {
                f.write_str("this Idempotency-Key was used for a different purchase")
            }
        }
    }
}
