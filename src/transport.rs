//! One call to another role: its answer, [`CallError::Unreachable`] or [`CallError::Refused`].
//!
//! Only this file decides that a peer is unreachable. Each worker thread has a [`Peer`] of its own
//! for each of the other roles: awc's permits are per client, so a peer that hangs cannot use up
//! the connections to those that answer.

use std::any::Any;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use actix_web::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use awc::error::{ConnectError, SendRequestError};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

use crate::roles::{Address, Secret};
use crate::wire::calls::{Call, Method};
use crate::wire::reply::{Data, Failure};

/// The header by which one request is followed through all roles.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Connecting takes a round trip; a machine that has not answered by then is taken to be away.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);
/// How long an unused connection is kept. Servers keep theirs longer (see `server/`), so that a
/// request is never sent into a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Calls in flight at once to one peer from one thread; further ones wait for a permit, within
/// their own time limit.
const MOST_CALLS: usize = 512;
/// The largest message, but for answers whose size `roles.toml` decides
/// ([`Peer::call_for_list`]): [`crate::wire::replication::MOST_ROWS`] rows with the longest names.
pub const LARGEST_MESSAGE: usize = 4 << 20;

/// Another role, as one thread reaches it.
#[derive(Clone)]
pub struct Peer {
    link: Link,
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
    /// A peer at `address`, to be made and used on one thread.
    #[must_use]
    pub fn new(address: &Address, secret: Option<&Secret>) -> Self {
        Self { link: Link::Http(Http::new(address, secret)), request_id: None }
    }

    /// A peer on a simulated network.
    #[must_use]
    pub fn simulated(network: Rc<dyn Network>) -> Self {
        Self { link: Link::Simulated(network), request_id: None }
    }

    /// The same peer, for calls on behalf of the client's request with this `X-Request-Id`.
    #[must_use]
    pub fn on_behalf_of(&self, request_id: &str) -> Self {
        Self { link: self.link.clone(), request_id: Some(request_id.into()) }
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
        match &self.link {
            Link::Http(http) => {
                let largest = largest.max(LARGEST_MESSAGE);
                http.call(call, time_limit, largest, self.request_id.as_deref()).await
            }
            Link::Simulated(network) => {
                let answer = network.call(Rc::new(call.clone()), time_limit).await?;
                let answer = answer.as_any().downcast_ref::<C::Answer>();
                Ok(answer.expect("a network brings the answer to the call").clone())
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
        let connector = awc::Connector::new()
            .timeout(CONNECT_TIMEOUT)
            .conn_keep_alive(IDLE_TIMEOUT)
            .limit(MOST_CALLS);
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
        let request = self.request(awc::http::Method::GET, path, time_limit, None);
        finish(request.send(), time_limit, LARGEST_MESSAGE).await
    }

    async fn call<C: Call>(
        &self,
        call: &C,
        time_limit: Duration,
        largest: usize,
        request_id: Option<&str>,
    ) -> Result<C::Answer, CallError> {
        let path = format!("/internal{}", call.path());
        let sending = match C::METHOD {
            Method::Get => {
                self.request(awc::http::Method::GET, &path, time_limit, request_id).send()
            }
            Method::Post => {
                let method = awc::http::Method::POST;
                self.request(method, &path, time_limit, request_id).send_json(call)
            }
        };
        finish(sending, time_limit, largest).await
    }

    fn request(
        &self,
        method: awc::http::Method,
        path: &str,
        time_limit: Duration,
        request_id: Option<&str>,
    ) -> awc::ClientRequest {
        let url = format!("http://{}{path}", self.address);
        let mut request = self.client.request(method, url).timeout(time_limit);
        if let Some(authorization) = &self.authorization {
            request = request.insert_header((AUTHORIZATION, authorization.clone()));
        }
        if let Some(id) = request_id {
            request = request.insert_header((REQUEST_ID, id));
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
            CallError::Unreachable(Unreachable::Broken(format!("reading the answer: {error}")))
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
        Unreachable::Broken(error.to_string())
    })
}

fn refusal(status: u16, body: &[u8]) -> CallError {
    let message = match serde_json::from_slice::<Failure>(body) {
        Ok(failure) => failure.error.message,
        Err(_not_ours) => String::from_utf8_lossy(body).chars().take(200).collect(),
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
