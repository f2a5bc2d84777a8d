//! Calls over HTTP, by awc.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use actix_web::web::Bytes;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use serde::de::DeserializeOwned;

use super::errors::CLOSED;
use super::{
    CallError, LARGEST_MESSAGE, MEANT_FOR_ROLE, MEANT_FOR_STORE, MESSAGE, NAMED_BY_CLIENT,
    REQUEST_ID, SERVER_TIMING, TRACEPARENT, Unreachable, parse,
};
use crate::roles::{Access, Address};
use crate::tls::TlsClient;
use crate::wire::calls::Caller;
use crate::wire::reply::{Data, Failure, Problem};
use crate::wire::timing::{ServerTiming, TimingNote};

/// Connecting takes a round trip; a machine that has not answered by then is taken to be away.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);
/// How long an unused connection is kept. Servers keep theirs longer (see `server/`), so that a
/// request is never sent into a connection that is just being closed.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Calls in flight at once to a server that is no neighbour, and to one that takes frames.
pub(super) const MOST_CALLS: usize = 512;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Characters that are quoted of an answer that is no role's.
const LONGEST_QUOTE: usize = 200;
/// Characters that are taken of a role's message: more than any has.
const LONGEST_MESSAGE_TEXT: usize = 2_000;

/// An HTTP server, as one thread reaches it.
#[derive(Clone)]
pub struct Http {
    scheme: &'static str,
    address: Address,
    client: awc::Client,
    authorization: Option<HeaderValue>,
}

impl Http {
    /// A server at `address`, to be asked with this access.
    ///
    /// # Panics
    ///
    /// Never: that a secret fits a header is checked when `roles.toml` is read.
    #[must_use]
    pub fn new(address: &Address, access: Access<'_>) -> Self {
        Self::with_limit(address, access, MOST_CALLS)
    }

    /// A server at `address`, of which one thread asks at most `most_calls` at once; further calls
    /// wait, within their own time limit.
    ///
    /// # Panics
    ///
    /// Never, as above.
    #[must_use]
    pub fn with_limit(address: &Address, access: Access<'_>, most_calls: usize) -> Self {
        let Access { secret, tls } = access;
        let mut connector = awc::Connector::new()
            .timeout(CONNECT_TIMEOUT)
            .conn_keep_alive(IDLE_TIMEOUT)
            .limit(most_calls);
        if let Some(TlsClient(config)) = tls {
            connector = connector.rustls_0_23(Arc::clone(config));
        }
        let client = awc::Client::builder()
            .connector(connector)
            .disable_redirects()
            .no_default_headers()
            .finish();
        let authorization = secret.map(|secret| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.reveal()))
                .expect("a secret is visible ASCII, which `roles/file.rs` checks");
            value.set_sensitive(true);
            value
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        Self { scheme, address: address.clone(), client, authorization }
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
        let timing = TimingNote::default();
        let answer = finish(request.send(), time_limit, LARGEST_MESSAGE, &timing).await;
        answer.map(|(answer, _body)| answer)
    }

    /// Makes a call: with `body` by POST, else by GET. Returns the answer, and its body.
    pub(super) async fn call<A: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<Bytes>,
        time_limit: Duration,
        largest: usize,
        caller: &Caller,
    ) -> Result<(A, Option<Bytes>), CallError> {
        let sending = match body {
            None => self.request(awc::http::Method::GET, path, time_limit, caller).send(),
            Some(body) => {
                let request = self.request(awc::http::Method::POST, path, time_limit, caller);
                request.insert_header((CONTENT_TYPE, JSON)).send_body(body)
            }
        };
        let answer = finish(sending, time_limit, largest, &caller.timing).await;
        answer.map(|(answer, body)| (answer, Some(body)))
    }

    /// Sends a request as a person makes it: to any path, as a `POST` if it has a body. Returns the
    /// answer's status and body, whatever they are.
    ///
    /// # Errors
    ///
    /// If the path is none, or no answer came within `time_limit`.
    pub async fn exchange(
        &self,
        path: &str,
        body: Option<String>,
        time_limit: Duration,
        caller: &Caller,
    ) -> Result<(u16, Bytes), CallError> {
        let sending = match body {
            Some(body) => self
                .request(awc::http::Method::POST, path, time_limit, caller)
                .content_type("application/json")
                .send_body(body),
            None => self.request(awc::http::Method::GET, path, time_limit, caller).send(),
        };
        receive(sending, time_limit, LARGEST_MESSAGE, &caller.timing).await
    }

    fn request(
        &self,
        method: awc::http::Method,
        path: &str,
        time_limit: Duration,
        caller: &Caller,
    ) -> awc::ClientRequest {
        let url = format!("{}://{}{path}", self.scheme, self.address);
        let mut request = self.client.request(method, url).timeout(time_limit);
        if let Some(authorization) = &self.authorization {
            request = request.insert_header((AUTHORIZATION, authorization.clone()));
        }
        if let Some(id) = &caller.origin.request_id {
            request = request.insert_header((REQUEST_ID, id.as_str()));
            if caller.origin.is_named_by_client {
                request = request.insert_header((NAMED_BY_CLIENT, "1"));
            }
        }
        if let Some(trace) = caller.origin.trace {
            request = request.insert_header((TRACEPARENT, trace.to_string()));
        }
        if let Some(message) = &caller.message {
            request = request.insert_header((MESSAGE, message.to_string()));
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

/// Awaits an answer and reads its `data`.
async fn finish<A: DeserializeOwned>(
    sending: awc::SendClientRequest,
    time_limit: Duration,
    largest: usize,
    timing: &TimingNote,
) -> Result<(A, Bytes), CallError> {
    let (status, body) = receive(sending, time_limit, largest, timing).await?;
    if !(200..300).contains(&status) {
        return Err(refusal(status, &body));
    }
    let reply: Data<A> = parse(&body)?;
    Ok((reply.data, body))
}

/// Awaits the head and the body of an answer within `time_limit`. (awc's own limit ends with the
/// head, so that a peer that is stopped in the middle of its body would hold a call for ever.)
async fn receive(
    sending: awc::SendClientRequest,
    time_limit: Duration,
    largest: usize,
    timing: &TimingNote,
) -> Result<(u16, Bytes), CallError> {
    let answer = async {
        let mut response = sending.await.map_err(|error| classify(&error))?;
        if let Some(told) = response.headers().get(SERVER_TIMING).and_then(|it| it.to_str().ok()) {
            timing.add_all(ServerTiming::parse(told));
        }
        let body = response.body().limit(largest).await.map_err(|error| {
            let problem = if let PayloadError::Overflow = error {
                format!("the answer has more than {largest} bytes")
            } else {
                "the answer broke off".to_owned()
            };
            CallError::broken(problem)
        })?;
        Ok((response.status().as_u16(), body))
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
    if let SendRequestError::Connect(ConnectError::Io(cause)) = error
        && cause.kind() == io::ErrorKind::InvalidData
    {
        return CallError::Unreachable(Unreachable::Uncertified(cause.to_string()));
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
        SendRequestError::Connect(ConnectError::Disconnected) => CLOSED.into(),
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

pub(super) fn refusal(status: u16, body: &[u8]) -> CallError {
    // It may be logged, so it gets no line of its own.
    let message = match serde_json::from_slice::<Failure>(body) {
        Ok(Failure { error: Problem { who_rules: Some(who_rules), .. } }) => {
            return CallError::Unreachable(Unreachable::NotRuling(who_rules));
        }
        Ok(failure) => in_one_line(&failure.error.message),
        Err(_not_ours) => {
            String::from_utf8_lossy(body).escape_debug().take(LONGEST_QUOTE).collect()
        }
    };
    CallError::Refused { status, message }
}

/// A role's message, without control characters, which no role sends, and not longer than any of
/// them is.
pub(super) fn in_one_line(message: &str) -> String {
    let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    message.chars().map(plain).take(LONGEST_MESSAGE_TEXT).collect()
}
