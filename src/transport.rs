//! One call to another role: an answer, [`CallError::Unreachable`] or [`CallError::Refused`].
//!
//! Only this file decides that a peer is unreachable. Each worker thread has a [`Peer`] of its own
//! for each neighbour: awc's permits are per client, so a peer that hangs cannot use up the
//! connections to those that are well.

use std::fmt;
use std::io;
use std::time::Duration;

use actix_web::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use awc::error::{ConnectError, SendRequestError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::roles::{Address, Secret};
use crate::wire::reply::{Data, Failure};

/// The header by which one request is followed through all roles.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Connecting takes a round trip; on a machine that does not answer, this long is enough to know.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);
/// How long an unused connection is kept. Servers keep theirs longer (see `server.rs`), so that a
/// request is never sent into a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Calls under way at once to one peer from one thread; further ones wait for a permit, within
/// their own time limit.
const MOST_CALLS: usize = 512;
/// The largest answer: [`crate::wire::replication::MOST_ROWS`] rows with the longest names.
pub const LARGEST_MESSAGE: usize = 4 << 20;

/// Another role, as one thread reaches it.
#[derive(Clone)]
pub struct Peer {
    address: Address,
    client: awc::Client,
    authorization: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
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
    /// Nothing listens there: the process is down, and the call certainly had no effect.
    NobodyListens,
    /// It did not answer in time.
    Silent,
    /// The connection broke, or the answer made no sense.
    Broken(String),
}

impl Peer {
    /// A peer at `address`. To be made and used on one thread.
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
        Self { address: address.clone(), client, authorization, request_id: None }
    }

    /// The same peer, for calls on behalf of the client's request with this `X-Request-Id`.
    #[must_use]
    pub fn on_behalf_of(&self, request_id: &str) -> Self {
        Self { request_id: HeaderValue::from_str(request_id).ok(), ..self.clone() }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Asks for `path`; the answer's `data`.
    ///
    /// # Errors
    ///
    /// If no answer came within `time_limit`, or the answer was an error.
    pub async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        time_limit: Duration,
    ) -> Result<A, CallError> {
        let request = self.request(awc::http::Method::GET, path, time_limit);
        finish(request.send(), time_limit).await
    }

    /// Sends `body` to `path`; the answer's `data`.
    ///
    /// # Errors
    ///
    /// If no answer came within `time_limit`, or the answer was an error.
    pub async fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
        time_limit: Duration,
    ) -> Result<A, CallError> {
        let request = self.request(awc::http::Method::POST, path, time_limit);
        finish(request.send_json(body), time_limit).await
    }

    fn request(
        &self,
        method: awc::http::Method,
        path: &str,
        time_limit: Duration,
    ) -> awc::ClientRequest {
        let url = format!("http://{}{path}", self.address);
        let mut request = self.client.request(method, url).timeout(time_limit);
        if let Some(authorization) = &self.authorization {
            request = request.insert_header((AUTHORIZATION, authorization.clone()));
        }
        if let Some(id) = &self.request_id {
            request = request.insert_header((REQUEST_ID, id.clone()));
        }
        request
    }
}

/// Awaits the head and the body of an answer within `time_limit`. (awc's own limit ends with the
/// head, so a peer that is stopped in the middle of its body would hold a call for ever.)
async fn finish<A: DeserializeOwned>(
    sending: awc::SendClientRequest,
    time_limit: Duration,
) -> Result<A, CallError> {
    let answer = async {
        let mut response = sending.await.map_err(|error| classify(&error))?;
        let body = response.body().limit(LARGEST_MESSAGE).await.map_err(|error| {
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
        return CallError::Unreachable(Unreachable::NobodyListens);
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
            Self::NobodyListens => f.write_str("nobody listens there"),
            Self::Silent => f.write_str("it did not answer in time"),
            Self::Broken(how) => f.write_str(how),
        }
    }
}

impl std::error::Error for CallError {}
