//! One call to another role: its answer, [`CallError::Unreachable`] or [`CallError::Refused`].
//!
//! Only this file decides that a peer is unreachable. Each worker thread has a [`Peer`] of its own
//! for each of the other roles: awc's permits are per client, so a peer that hangs cannot use up
//! the connections to those that answer.

use std::any::Any;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use awc::error::{ConnectError, PayloadError, SendRequestError};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

use crate::identity::Identity;
use crate::roles::{Address, Role, Secret};
use crate::wire::calls::{Call, Caller, Method};
use crate::wire::reply::{Data, Failure};

/// The header by which one request is followed through all roles.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header that names the role that a call is meant for.
pub const MEANT_FOR_ROLE: HeaderName = HeaderName::from_static("toystore-role");
/// The header that names the store that a call is meant for, if its caller knows it.
pub const MEANT_FOR_STORE: HeaderName = HeaderName::from_static("toystore-store");

/// Connecting takes a round trip; a machine that has not answered by then is taken to be away.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);
/// How long an unused connection is kept. Servers keep theirs longer (see `server/`), so that a
/// request is never sent into a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Calls in flight at once to a server that is no neighbour.
const MOST_CALLS: usize = 512;
/// The largest message, but for answers whose size `roles.toml` decides
/// ([`Peer::call_for_list`]): [`crate::wire::replication::MOST_ROWS`] rows with the longest names.
pub const LARGEST_MESSAGE: usize = 4 << 20;

/// Characters that are quoted of an answer that is no role's.
const LONGEST_QUOTE: usize = 200;

/// The HTTP status of a call that reached another process than it was meant for.
pub const MISDIRECTED: u16 = 421;

/// Another role, as one thread reaches it.
#[derive(Clone)]
pub struct Peer {
    role: Role,
    link: Link,
    own: Arc<Identity>,
    request_id: Option<Rc<str>>,
}

/// How a peer is reached.
#[derive(Clone)]
enum Link {
    Http(Http),
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

/// An HTTP server, as one thread reaches it.
#[derive(Clone)]
pub struct Http {
    address: Address,
    client: awc::Client,
    authorization: Option<HeaderValue>,
}

/// Why a call brought no answer.
#[derive(Debug)]
pub enum CallError {
    /// Whether the call had an effect is unknown: the peer is down, cut off or too slow.
    Unreachable(Unreachable),
    /// The peer answered that it will not.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The peer's sentence.
        message: String,
    },
}

/// How a peer failed to answer.
#[derive(Debug)]
pub enum Unreachable {
    /// The connection was refused: the process is down, and the call certainly had no effect.
    ConnectionRefused,
    /// It did not answer in time.
    Silent,
    /// The connection broke, or the answer made no sense.
    Broken(String),
}

impl Peer {
    /// The peer that runs `role`, over HTTP; to be made and used on one thread of the process that
    /// is `own`.
    #[must_use]
    pub fn new(role: Role, http: Http, own: &Arc<Identity>) -> Self {
        Self { role, link: Link::Http(http), own: Arc::clone(own), request_id: None }
    }

    /// The peer that runs `role`, on a simulated network.
    #[must_use]
    pub fn simulated(role: Role, network: Rc<dyn Network>, own: &Arc<Identity>) -> Self {
        Self { role, link: Link::Simulated(network), own: Arc::clone(own), request_id: None }
    }

    /// The same peer, for calls on behalf of the client's request with this `X-Request-Id`.
    #[must_use]
    pub fn on_behalf_of(&self, request_id: &str) -> Self {
        Self { request_id: Some(request_id.into()), ..self.clone() }
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
        self.call_for_list(call, time_limit, LARGEST_MESSAGE).await
    }

    /// Makes a call whose answer has up to `largest` bytes, where that is more than
    /// [`LARGEST_MESSAGE`].
    ///
    /// # Errors
    ///
    /// If no answer came within `time_limit`, or the peer refused.
    ///
    /// # Panics
    ///
    /// If a simulated network brings an answer of another type than the call has.
    pub async fn call_for_list<C: Call>(
        &self,
        call: &C,
        time_limit: Duration,
        largest: usize,
    ) -> Result<C::Answer, CallError> {
        let caller = Caller {
            request_id: self.request_id.as_deref().map(str::to_owned),
            meant_for: Some(self.own.addressee(self.role)),
        };
        let answer = match &self.link {
            Link::Http(http) => {
                http.call(call, time_limit, largest.max(LARGEST_MESSAGE), &caller).await
            }
            Link::Simulated(network) => {
                network.call(Rc::new(call.clone()), caller, time_limit).await.map(|answer| {
                    let answer = answer.as_any().downcast_ref::<C::Answer>();
                    answer.expect("a network brings the answer to the call").clone()
                })
            }
        };
        self.recognize(answer.as_ref().err());
        answer
    }

    /// Says once, and not with each call, that another process is at the peer's address.
    fn recognize(&self, error: Option<&CallError>) {
        match error {
            Some(CallError::Refused { status: MISDIRECTED, message }) => {
                if self.own.is_stranger(self.role, message) {
                    log::error!(
                        "another process answers at the address of {}: {message}; give all roles \
                         the same roles.toml, and end processes that it does not name",
                        self.role
                    );
                }
            }
            Some(CallError::Unreachable(_)) => {}
            Some(CallError::Refused { .. }) | None => {
                if self.own.is_found(self.role) {
                    log::info!("{} itself answers again at its address", self.role);
                }
            }
        }
    }
}

impl Http {
    /// A server at `address`, to be asked with the secret if there is one.
    ///
    /// # Panics
    ///
    /// Never: that a secret fits a header is checked when `roles.toml` is read.
    #[must_use]
    pub fn new(address: &Address, secret: Option<&Secret>) -> Self {
        Self::with_limit(address, secret, MOST_CALLS)
    }

    /// A server at `address`, of which one thread asks at most `most_calls` at once; further calls
    /// wait, within their own time limit.
    ///
    /// # Panics
    ///
    /// Never, as above.
    #[must_use]
    pub fn with_limit(address: &Address, secret: Option<&Secret>, most_calls: usize) -> Self {
        let connector = awc::Connector::new()
            .timeout(CONNECT_TIMEOUT)
            .conn_keep_alive(IDLE_TIMEOUT)
            .limit(most_calls);
        let client = awc::Client::builder()
            .connector(connector)
            .disable_redirects()
            .no_default_headers()
            .finish();
        let authorization = secret.map(|secret| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.reveal()))
                .expect("a secret is visible ASCII, which roles.rs checks");
            value.set_sensitive(true);
            value
        });
        Self { address: address.clone(), client, authorization }
    }

    /// Asks for `path`; returns the answer's `data`.
    ///
    /// # Errors
    ///
    /// If no answer came within `time_limit`, or the answer was an error.
    pub async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        time_limit: Duration,
    ) -> Result<A, CallError> {
        let request = self.request(awc::http::Method::GET, path, time_limit, &Caller::default());
        finish(request.send(), time_limit, LARGEST_MESSAGE).await
    }

    async fn call<C: Call>(
        &self,
        call: &C,
        time_limit: Duration,
        largest: usize,
        caller: &Caller,
    ) -> Result<C::Answer, CallError> {
        let path = format!("/internal{}", call.path());
        let sending = match C::METHOD {
            Method::Get => self.request(awc::http::Method::GET, &path, time_limit, caller).send(),
            Method::Post => {
                let method = awc::http::Method::POST;
                self.request(method, &path, time_limit, caller).send_json(call)
            }
        };
        finish(sending, time_limit, largest).await
    }

    fn request(
        &self,
        method: awc::http::Method,
        path: &str,
        time_limit: Duration,
        caller: &Caller,
    ) -> awc::ClientRequest {
        let url = format!("http://{}{path}", self.address);
        let mut request = self.client.request(method, url).timeout(time_limit);
        if let Some(authorization) = &self.authorization {
            request = request.insert_header((AUTHORIZATION, authorization.clone()));
        }
        if let Some(id) = &caller.request_id {
            request = request.insert_header((REQUEST_ID, id.as_str()));
        }
        if let Some(meant) = &caller.meant_for {
            request = request.insert_header((MEANT_FOR_ROLE, meant.role.as_str()));
            if let Some(store) = meant.store {
                request = request.insert_header((MEANT_FOR_STORE, store.to_string()));
            }
        }
        request
    }
}

/// Awaits the head and the body of an answer within `time_limit`. (awc's own limit ends with the
/// head, so that a peer that is stopped in the middle of its body would hold a call for ever.)
async fn finish<A: DeserializeOwned>(
    sending: awc::SendClientRequest,
    time_limit: Duration,
    largest: usize,
) -> Result<A, CallError> {
    let answer = async {
        let mut response = sending.await.map_err(|error| classify(&error))?;
        let body = response.body().limit(largest).await.map_err(|error| {
            let problem = if let PayloadError::Overflow = error {
                format!("the answer has more than {largest} bytes")
            } else {
                "the answer broke off".to_owned()
            };
            CallError::Unreachable(Unreachable::Broken(problem))
        })?;
        if !response.status().is_success() {
            return Err(refusal(response.status().as_u16(), &body));
        }
        serde_json::from_slice::<Data<A>>(&body).map(|reply| reply.data).map_err(|error| {
            CallError::Unreachable(Unreachable::Broken(format!("the answer is unclear: {error}")))
        })
    };
    match actix_web::rt::time::timeout(time_limit, answer).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(CallError::Unreachable(Unreachable::Silent)),
    }
}

fn classify(error: &SendRequestError) -> CallError {
    if let SendRequestError::Connect(ConnectError::Io(cause)) = error
        && cause.kind() == io::ErrorKind::ConnectionRefused
    {
        return CallError::Unreachable(Unreachable::ConnectionRefused);
    }
    let timed_out = matches!(
        error,
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout)
    );
    CallError::Unreachable(if timed_out {
        Unreachable::Silent
    } else {
        Unreachable::Broken(in_words(error))
    })
}

/// Says how a call failed. The library's own words are about its inner parts.
#[expect(clippy::wildcard_enum_match_arm, reason = "the rest does not happen on a plain socket")]
fn in_words(error: &SendRequestError) -> String {
    match error {
        SendRequestError::Connect(ConnectError::Disconnected) => {
            "it closed the connection before it answered".into()
        }
        SendRequestError::Connect(ConnectError::Resolver(cause)) => {
            format!("its host name cannot be resolved: {cause}")
        }
        SendRequestError::Connect(ConnectError::NoRecords | ConnectError::Unresolved) => {
            "its host name has no address".into()
        }
        SendRequestError::Connect(ConnectError::Io(cause)) => {
            format!("it cannot be connected to: {cause}")
        }
        SendRequestError::Send(cause) => format!("the connection broke: {cause}"),
        SendRequestError::Response(_) => "its answer is not valid HTTP".into(),
        _ => "the call could not be sent".into(),
    }
}

fn refusal(status: u16, body: &[u8]) -> CallError {
    let message = match serde_json::from_slice::<Failure>(body) {
        Ok(failure) => failure.error.message,
        // It may be logged, so it gets no line of its own.
        Err(_not_ours) => {
            String::from_utf8_lossy(body).escape_debug().take(LONGEST_QUOTE).collect()
        }
    };
    CallError::Refused { status, message }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(how) => how.fmt(f),
            Self::Refused { status, message } => write!(f, "it answered {status}: {message}"),
        }
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionRefused => f.write_str("the connection was refused"),
            Self::Silent => f.write_str("it did not answer in time"),
            Self::Broken(how) => f.write_str(how),
        }
    }
}

impl std::error::Error for CallError {}
