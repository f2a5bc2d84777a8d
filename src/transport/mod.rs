//! One call to another role: its answer, [`CallError::Unreachable`] or [`CallError::Refused`].
//!
//! Only this folder finds out that a peer is unreachable. A caller that finds an answer
//! [impossible](CallError::broken) treats it alike, as it cannot know what was done. Each worker
//! thread has a [`Peer`] of its own for each of the other roles: awc's permits are per client, so a
//! peer that hangs cannot use up the connections to those that answer. Roles call one another by
//! [frames](crate::wire::frame), and over HTTP where a peer knows none.

mod errors;
mod frames;
mod http;

use std::any::Any;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::HeaderName;
use actix_web::web::Bytes;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

pub use self::errors::{CallError, Unreachable};
use self::frames::Frames;
pub use self::http::Http;
use crate::events::Exchange;
use crate::identity::Identity;
use crate::roles::{Access, Address, Role};
use crate::wire::calls::{Call, Caller, Method};
use crate::wire::timing::TimingNote;
use crate::wire::trace::RequestOrigin;

/// The header by which one request is followed through all roles.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header that says that the client of a request sent its id.
pub const NAMED_BY_CLIENT: HeaderName = HeaderName::from_static("toystore-named-by-client");
/// The header that says where the time of a request went.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// The header that says where a request is in its trace (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header that names the role that a call is meant for.
pub const MEANT_FOR_ROLE: HeaderName = HeaderName::from_static("toystore-role");
/// The header that names the store that a call is meant for, if its caller knows it.
pub const MEANT_FOR_STORE: HeaderName = HeaderName::from_static("toystore-store");

/// The header by which what the receiver of a call records fits what its sender recorded.
pub const MESSAGE: HeaderName = HeaderName::from_static("toystore-message");

/// The largest message, but for answers whose size `roles.toml` decides
/// ([`Peer::call_up_to`]): [`crate::wire::replication::MOST_ROWS`] rows with the longest names.
pub const LARGEST_MESSAGE: usize = 4 << 20;

/// The HTTP status of a call that reached another process than it was meant for.
pub const MISDIRECTED: u16 = 421;

/// Another role, as one thread reaches it.
#[derive(Clone)]
pub struct Peer {
    role: Role,
    link: Rc<Link>,
    own: Arc<Identity>,
    /// The client's request that calls are made for.
    origin: Rc<RequestOrigin>,
    /// Where their time went, as the peer told.
    timing: TimingNote,
}

/// How a peer is reached.
enum Link {
    Http(Http),
    /// By frames or, if the peer knows none or the answer may be larger than a frame, over HTTP.
    Framed(Rc<Frames>, Http),
    /// By a simulator, in whose world all roles run in one process.
    Simulated(Rc<dyn Network>),
}

/// A network that a simulator lays between roles.
pub trait Network {
    /// Carries a call, which is a [`Call`], and brings its answer, which is that call's
    /// [`Answer`](Call::Answer).
    fn call(
        &self,
        call: Rc<dyn Message>,
        caller: Caller,
        time_limit: Duration,
    ) -> LocalBoxFuture<'static, Result<Rc<dyn Message>, CallError>>;
}

/// A call or an answer on a simulated network.
pub trait Message: Any + fmt::Debug {
    /// Returns the message, to be cast to the type that it has.
    fn as_any(&self) -> &dyn Any;

    /// Returns the message as it would be sent.
    fn to_json(&self) -> String;
}

impl<T: Any + fmt::Debug + serde::Serialize> Message for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| error.to_string())
    }
}

impl Peer {
    /// The peer that runs `role`, over HTTP; to be made and used on one thread of the process that
    /// is `own`.
    #[must_use]
    pub fn new(role: Role, http: Http, own: &Arc<Identity>) -> Self {
        Self::linked(role, Link::Http(http), own)
    }

    /// The peer that runs `role` at `address`, by frames if it knows them, and over `http` if not;
    /// to be made and used on one thread, too.
    #[must_use]
    pub fn framed(
        role: Role,
        address: &Address,
        access: Access<'_>,
        http: Http,
        own: &Arc<Identity>,
    ) -> Self {
        Self::linked(role, Link::Framed(Rc::new(Frames::new(address, access)), http), own)
    }

    /// The peer that runs `role`, on a simulated network.
    #[must_use]
    pub fn simulated(role: Role, network: Rc<dyn Network>, own: &Arc<Identity>) -> Self {
        Self::linked(role, Link::Simulated(network), own)
    }

    fn linked(role: Role, link: Link, own: &Arc<Identity>) -> Self {
        let (origin, timing) = (Rc::default(), TimingNote::default());
        Self { role, link: Rc::new(link), own: Arc::clone(own), origin, timing }
    }

    /// The same peer, for calls on behalf of a client's request, whose time goes into `timing`.
    #[must_use]
    pub fn on_behalf_of(&self, origin: &Rc<RequestOrigin>, timing: &TimingNote) -> Self {
        Self {
            role: self.role,
            link: Rc::clone(&self.link),
            own: Arc::clone(&self.own),
            origin: Rc::clone(origin),
            timing: timing.clone(),
        }
    }

    /// Returns the process that makes the calls.
    #[must_use]
    pub fn own(&self) -> &Arc<Identity> {
        &self.own
    }

    /// Returns the client's request that calls are made for.
    #[must_use]
    pub fn origin(&self) -> &RequestOrigin {
        &self.origin
    }

    /// Makes a call.
    ///
    /// # Errors
    ///
    /// If no answer came within `time_limit`, or the peer refused.
    ///
    /// # Panics
    ///
    /// If a simulated network brings an answer of another type than the call has.
    pub async fn call<C: Call>(
        &self,
        call: &C,
        time_limit: Duration,
    ) -> Result<C::Answer, CallError> {
        self.call_up_to(call, time_limit, LARGEST_MESSAGE).await
    }

    /// Makes a call whose answer has up to `largest_bytes` bytes, where that is more than
    /// [`LARGEST_MESSAGE`].
    ///
    /// # Errors
    ///
    /// If no answer came within `time_limit`, or the peer refused.
    ///
    /// # Panics
    ///
    /// If a simulated network brings an answer of another type than the call has.
    pub async fn call_up_to<C: Call>(
        &self,
        call: &C,
        time_limit: Duration,
        largest_bytes: usize,
    ) -> Result<C::Answer, CallError> {
        let mut caller = Caller {
            origin: RequestOrigin::clone(&self.origin),
            meant_for: Some(self.own.addressee(self.role)),
            timing: self.timing.clone(),
            message: None,
        };
        let recorder = self.own.recorder();
        let body = self.body_of(call);
        let kept = body.as_deref().filter(|_| self.is_body_recorded::<C>());
        let exchange = recorder.sends(call, self.role, &caller.origin, kept);
        caller.message = exchange.as_ref().and_then(|exchange| recorder.tag(exchange));
        let answer = match &*self.link {
            Link::Http(http) => {
                over_http(http, call, body, time_limit, largest_bytes, &caller).await
            }
            Link::Framed(frames, http) => {
                let answer = match &body {
                    Some(body) if largest_bytes <= LARGEST_MESSAGE => {
                        frames.call(C::PATH, body, time_limit, &caller).await
                    }
                    Some(_) | None => None,
                };
                match answer {
                    Some(answer) => answer.and_then(|body| Ok((parse(&body)?, Some(body)))),
                    None => over_http(http, call, body, time_limit, largest_bytes, &caller).await,
                }
            }
            Link::Simulated(network) => {
                let answer = network.call(Rc::new(call.clone()), caller, time_limit).await;
                answer.map(|answer| {
                    let body = recorder.is_on().then(|| Bytes::from(answer.to_json()));
                    let answer = answer.as_any().downcast_ref::<C::Answer>();
                    (answer.expect("a network brings the answer to the call").clone(), body)
                })
            }
        };
        if let Some(exchange) = exchange {
            self.record(&exchange, &answer);
        }
        self.recognize(answer.as_ref().err());
        answer.map(|(answer, _body)| answer)
    }

    /// The call as JSON, if it is sent or recorded so.
    fn body_of<C: Call>(&self, call: &C) -> Option<Bytes> {
        let is_wanted = match *self.link {
            Link::Http(_) => C::METHOD == Method::Post,
            Link::Framed(..) => true,
            Link::Simulated(_) => self.own.recorder().is_on(),
        };
        is_wanted.then(|| serde_json::to_vec(call).expect("a call can be written as JSON").into())
    }

    /// Whether the body is recorded: what a path says as well is not, whichever way it is sent.
    fn is_body_recorded<C: Call>(&self) -> bool {
        matches!(*self.link, Link::Simulated(_)) || C::METHOD == Method::Post
    }

    fn record<A>(&self, exchange: &Exchange, answer: &Result<(A, Option<Bytes>), CallError>) {
        let recorder = self.own.recorder();
        match answer {
            Ok((_, body)) => recorder.answered(exchange, None, body.as_deref()),
            Err(CallError::Refused { status, message }) => {
                let body = serde_json::to_vec(message).ok();
                recorder.answered(exchange, Some(*status), body.as_deref());
            }
            Err(error @ CallError::Unreachable(_)) => {
                recorder.unanswered(exchange, || error.to_string());
            }
        }
    }

    fn say_stranger(&self, says: &str, advice: &str) {
        if self.own.note_stranger(self.role, says) {
            log::error!(
                "another process answers at the address of {}: {says}; {advice}, and end processes \
                 that roles.toml does not name",
                self.role
            );
        }
    }

    /// Says once, and not with each call, that another process is at the peer's address.
    fn recognize(&self, error: Option<&CallError>) {
        match error {
            Some(CallError::Refused { status: MISDIRECTED, message }) => {
                self.say_stranger(message, "give all roles the same roles.toml");
            }
            Some(CallError::Unreachable(error @ Unreachable::Uncertified(_))) => {
                self.say_stranger(&error.to_string(), "use certificates of one authority");
            }
            Some(CallError::Unreachable(_)) => {}
            Some(CallError::Refused { .. }) | None => {
                if self.own.note_found(self.role) {
                    log::info!("{} itself answers again at its address", self.role);
                }
            }
        }
    }
}

/// An answer and, if it came as JSON, its body.
type Answered<C> = Result<(<C as Call>::Answer, Option<Bytes>), CallError>;

/// In a box: the future of a call by frames is not to be as large as that of one over HTTP.
fn over_http<'a, C: Call>(
    http: &'a Http,
    call: &C,
    body: Option<Bytes>,
    time_limit: Duration,
    largest: usize,
    caller: &'a Caller,
) -> LocalBoxFuture<'a, Answered<C>> {
    let path = format!("/internal{}", call.path());
    let body = body.filter(|_| C::METHOD == Method::Post);
    let largest = largest.max(LARGEST_MESSAGE);
    Box::pin(async move { http.call::<C::Answer>(&path, body, time_limit, largest, caller).await })
}

fn parse<A: DeserializeOwned>(body: &[u8]) -> Result<A, CallError> {
    serde_json::from_slice(body)
        .map_err(|error| CallError::broken(format!("invalid answer: {error}")))
}
