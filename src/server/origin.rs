//! The client's request that a handler works for: its `X-Request-Id` and its `traceparent`.
//!
//! Both go along with every call that is made for it. What the client did not send is drawn when
//! the first call is made; a request that is answered from memory needs none.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::ops::Deref;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};

use super::request_id;
use crate::clock;
use crate::transport::{NAMED_BY_CLIENT, TRACEPARENT};
use crate::wire::trace::{RequestOrigin, TraceContext};

/// A role's connections to its neighbours, which can make calls for a client's request.
pub trait OnBehalf: Sized + 'static {
    /// The same connections, for a client's request.
    #[must_use]
    fn on_behalf_of(&self, origin: &Rc<RequestOrigin>) -> Self;
}

/// A handler's connections: the worker thread's, which make calls for the handler's request.
pub struct Connections<R> {
    shared: Data<R>,
    request: HttpRequest,
    origin: OnceCell<Rc<RequestOrigin>>,
    /// The connections, and since when they are used.
    own: OnceCell<(R, Instant)>,
}

/// What a request asks for, besides its path.
pub(super) struct Asked(pub(super) String);

/// The id that was drawn for a request without a usable one, for its reply.
pub(super) struct DrawnId(pub(super) HeaderValue);

impl<R> Connections<R> {
    /// Returns the request that calls are made for, with what was drawn if the client sent nothing.
    pub fn origin(&self) -> &Rc<RequestOrigin> {
        self.origin.get_or_init(|| {
            let mut origin = sent(self.request.headers());
            origin.is_named_by_client = origin.request_id.is_some();
            if origin.request_id.is_none() {
                let id = request_id::draw_header();
                origin.request_id = id.to_str().ok().map(str::to_owned);
                self.request.extensions_mut().insert(DrawnId(id));
            }
            if origin.trace.is_none() {
                origin.trace = Some(TraceContext::from_random(rand::random(), rand::random()));
            }
            Rc::new(origin)
        })
    }
}

impl<R> Connections<R> {
    /// Notes what the request asks for, to be logged with its answer if the client sent an id.
    pub fn note(&self, asked: impl FnOnce() -> String) {
        if self.origin().is_named_by_client {
            self.request.extensions_mut().insert(Asked(asked()));
        }
    }

    /// Returns how long ago the first call was made; `None` if none was.
    pub fn in_use(&self) -> Option<Duration> {
        self.own.get().map(|(_, since)| clock::now() - *since)
    }

    /// Returns the id for the reply to a request for which no call is made: the client's or,
    /// without a usable one, a fresh one.
    #[must_use]
    pub fn reply_id(&self) -> HeaderValue {
        let sent = request_id::sent(self.request.headers());
        sent.cloned().unwrap_or_else(request_id::draw_header)
    }

    /// Returns the trace that the client sent, with the client's own span, if it sent one.
    #[must_use]
    pub fn sent_context(&self) -> Option<TraceContext> {
        parent(self.request.headers())
    }
}

/// What the headers of a call say of the request that it is made for, in a span of its own.
pub(super) fn passed_on(headers: &HeaderMap) -> RequestOrigin {
    let mut origin = sent(headers);
    origin.is_named_by_client =
        origin.request_id.is_some() && headers.contains_key(NAMED_BY_CLIENT);
    origin
}

/// What a request's headers say of where it comes from, in a span of its own.
fn sent(headers: &HeaderMap) -> RequestOrigin {
    let id = request_id::sent(headers).and_then(|id| id.to_str().ok());
    RequestOrigin {
        request_id: id.map(str::to_owned),
        is_named_by_client: false,
        trace: parent(headers).map(|parent| parent.child(rand::random())),
    }
}

/// The `traceparent` of a request. One that is not valid says nothing, nor do two of them (W3C
/// Trace Context, 3.2).
fn parent(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all(TRACEPARENT);
    match (parents.next(), parents.next()) {
        (Some(parent), None) => parent.to_str().ok().and_then(TraceContext::parse),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

impl<R: OnBehalf> FromRequest for Connections<R> {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let shared = request.app_data::<Data<R>>().expect("a role's routes add its neighbours");
        ready(Ok(Self {
            shared: shared.clone(),
            request: request.clone(),
            origin: OnceCell::new(),
            own: OnceCell::new(),
        }))
    }
}

/// The connections are made ready when they are first used.
impl<R: OnBehalf> Deref for Connections<R> {
    type Target = R;

    fn deref(&self) -> &R {
        let own = || (self.shared.on_behalf_of(self.origin()), clock::now());
        &self.own.get_or_init(own).0
    }
}
