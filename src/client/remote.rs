//! HTTP out: the front-ends as a client reaches them.
//!
//! Unlike the calls between roles, a client looks at the status and at `X-Cache`. Each client has
//! its own awc client, and so its own connections: clients never wait for one another.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use actix_web::web::Bytes;
use awc::error::{ConnectError, SendRequestError};
use awc::http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::core::retry::ATTEMPT_LIMIT;
use super::core::stats::{NoAnswer, RequestType};
use crate::roles::Address;
use crate::wire::order::OrderNumber;
use crate::wire::purchase::PurchaseBody;
use crate::wire::quantity::Quantity;
use crate::wire::reply::{Data, Failure};
use crate::wire::timing::ServerTiming;
use crate::wire::toy::{Toy, ToyName};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The characters of a name that a URL may not have as they are. A toy called ".." is encoded, too.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');
/// Connecting takes a round trip; the client may be further from the store than the roles are from
/// one another.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long an unused connection is kept. Front-ends keep theirs longer (see `server/`), so that
/// a request is never sent into a connection that is being closed.
const IDLE_LIMIT: Duration = Duration::from_secs(15);
/// Characters that are quoted of an answer that is no front-end's.
const LONGEST_QUOTE: usize = 200;
/// The largest answer but a list of toys: far more than a toy or an order takes.
const LARGEST_ANSWER: usize = 64 << 10;
/// The largest list: 100,000 toys, with the longest names in JSON, where a quotation mark takes two
/// bytes.
const LARGEST_LIST: usize = 100_000 * (2 * ToyName::LONGEST + 100);

/// The store's toys and front-ends.
#[derive(Debug)]
pub(crate) struct Store {
    /// The addresses of the front-ends.
    pub(crate) frontends: Vec<Address>,
    /// The names of the toys.
    pub(crate) toys: Vec<ToyName>,
    /// How many of a toy a purchase buys.
    pub(crate) quantity: Quantity,
}

/// The store could not be opened: the addresses that were tried, and what happened at each.
#[derive(Debug)]
pub struct StoreClosed {
    attempts: Vec<(Address, String)>,
}

/// The front-ends as one client reaches them.
pub(crate) struct Remote {
    /// The store.
    pub(crate) store: Rc<Store>,
    http: awc::Client,
    /// The front-end in use.
    at: usize,
}

/// A request to the store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    /// A query of a toy.
    Toy(&'a ToyName),
    /// A purchase under this idempotency key.
    Purchase(&'a PurchaseBody, &'a str),
    /// A query of the order with this number.
    Order(OrderNumber),
}

/// The store's answer.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The type of query that `X-Cache` makes it; `None` where there is no cache.
    pub(crate) cached: Option<RequestType>,
    /// Where the store says that its time went.
    pub(crate) timing: ServerTiming,
    body: Bytes,
}

impl Store {
    /// Asks the front-ends in turn for the list of toys; one of them has to answer with at least
    /// one toy. Purchases will buy `quantity` of a toy.
    pub(crate) async fn open(
        addresses: &[Address],
        quantity: Quantity,
    ) -> Result<Self, StoreClosed> {
        let mut attempts = Vec::new();
        for address in addresses {
            match list_toys(address).await {
                Ok(toys) => return Ok(Self { frontends: addresses.to_vec(), toys, quantity }),
                Err(problem) => attempts.push((address.clone(), problem)),
            }
        }
        Err(StoreClosed { attempts })
    }
}

impl Remote {
    /// The front-ends of `store`, beginning at number `first` in turn. To be used on one thread.
    pub(crate) fn new(store: Rc<Store>, first: usize) -> Self {
        let at = first % store.frontends.len();
        Self { store, http: new_http(), at }
    }

    /// The address of the front-end in use.
    pub(crate) fn address(&self) -> &Address {
        &self.store.frontends[self.at]
    }

    /// Uses the next front-end from now on.
    pub(crate) fn move_on(&mut self) {
        self.at = (self.at + 1) % self.store.frontends.len();
    }

    /// Sends a request to the front-end in use and awaits the whole answer, for at most
    /// `time_limit`.
    pub(crate) async fn send(
        &self,
        request: Request<'_>,
        time_limit: Duration,
    ) -> Result<HttpAnswer, NoAnswer> {
        let sending = match request {
            Request::Toy(name) => self.http.get(toy_url(self.address(), name)).send(),
            Request::Purchase(body, key) => {
                let request = self.http.post(format!("http://{}/orders", self.address()));
                request.insert_header((IDEMPOTENCY_KEY, key)).send_json(body)
            }
            Request::Order(number) => {
                self.http.get(format!("http://{}/orders/{number}", self.address())).send()
            }
        };
        receive(sending, time_limit, LARGEST_ANSWER).await
    }
}

impl HttpAnswer {
    /// The `data` of an answer 200, or what is wrong with the answer.
    pub(crate) fn data<T: DeserializeOwned>(&self) -> Result<T, String> {
        if self.status != 200 {
            return Err(format!("it answered {}: {}", self.status, self.message()));
        }
        serde_json::from_slice::<Data<T>>(&self.body)
            .map(|reply| reply.data)
            .map_err(|error| format!("invalid answer: {error}"))
    }

    fn message(&self) -> String {
        match serde_json::from_slice::<Failure>(&self.body) {
            Ok(failure) => failure.error.message,
            Err(_not_ours) => {
                String::from_utf8_lossy(&self.body).escape_debug().take(LONGEST_QUOTE).collect()
            }
        }
    }
}

fn toy_url(address: &Address, name: &ToyName) -> String {
    format!("http://{address}/products/{}", utf8_percent_encode(name.as_str(), ENCODED))
}

/// One client's connections. A connection is never too old to be used: replacing it would lengthen
/// the latency of a request.
fn new_http() -> awc::Client {
    let connector = awc::Connector::new()
        .timeout(CONNECT_LIMIT)
        .conn_keep_alive(IDLE_LIMIT)
        .conn_lifetime(Duration::MAX);
    // `receive` limits the time: awc's own limit ends at the head of the answer.
    let http = awc::Client::builder().connector(connector).disable_timeout();
    http.disable_redirects().no_default_headers().finish()
}

async fn list_toys(address: &Address) -> Result<Vec<ToyName>, String> {
    let answer = new_http().get(format!("http://{address}/products")).send();
    let answer = receive(answer, ATTEMPT_LIMIT, LARGEST_LIST).await;
    let toys: Vec<Toy> = answer.map_err(|error| error.to_string())?.data()?;
    if toys.is_empty() {
        return Err("it has no toys".into());
    }
    Ok(toys.into_iter().map(|toy| toy.name).collect())
}

async fn receive(
    sending: awc::SendClientRequest,
    time_limit: Duration,
    largest: usize,
) -> Result<HttpAnswer, NoAnswer> {
    let answer = async {
        let mut response = sending.await.map_err(|error| classify(&error))?;
        let body = response.body().limit(largest).await;
        let body = body.map_err(|e| NoAnswer::Broken(format!("cannot read the answer: {e}")))?;
        // awc takes the end of the connection for the end of the body.
        let length =
            response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| body.len() < length) {
            return Err(NoAnswer::Broken("the answer broke off".into()));
        }
        let cached = match response.headers().get(X_CACHE).map(HeaderValue::as_bytes) {
            Some(b"hit") => Some(RequestType::QueryHit),
            Some(b"miss") => Some(RequestType::QueryMiss),
            Some(_) | None => None,
        };
        let timing = response.headers().get(SERVER_TIMING).and_then(|told| told.to_str().ok());
        let timing = timing.map(ServerTiming::parse).unwrap_or_default();
        Ok(HttpAnswer { status: response.status().as_u16(), cached, timing, body })
    };
    actix_web::rt::time::timeout(time_limit, answer).await.unwrap_or(Err(NoAnswer::TimedOut))
}

fn classify(error: &SendRequestError) -> NoAnswer {
    if let SendRequestError::Connect(ConnectError::Io(cause)) = error
        && cause.kind() == io::ErrorKind::ConnectionRefused
    {
        return NoAnswer::Refused;
    }
    let timed_out = matches!(
        error,
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout)
    );
    if timed_out { NoAnswer::TimedOut } else { NoAnswer::Broken(error.to_string()) }
}

impl fmt::Display for StoreClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store does not answer; tried ")?;
        for (index, (address, problem)) in self.attempts.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{address} ({problem})")?;
        }
        f.write_str("; start the store with ./run.sh, or name its address with --frontend")
    }
}

impl std::error::Error for StoreClosed {}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        Address::try_from("127.0.0.1:8080".to_owned()).unwrap()
    }

    #[test]
    fn names_are_percent_encoded() {
        let toys = ["Rubik's Cube", "Play-Doh", "a/b?c#d%", "Ünö", ".."].map(ToyName::from);
        let urls = toys.map(|name| toy_url(&address(), &name));
        let names = ["Rubik%27s%20Cube", "Play-Doh", "a%2Fb%3Fc%23d%25", "%C3%9Cn%C3%B6", "%2E%2E"];
        assert_eq!(urls, names.map(|name| format!("http://127.0.0.1:8080/products/{name}")));
    }

    #[test]
    fn a_store_that_is_closed_says_where_it_was_tried_and_how_to_start_it() {
        let attempts = vec![(address(), "the connection was refused".into())];
        let text = StoreClosed { attempts }.to_string();
        assert!(text.contains("127.0.0.1:8080 (the connection was refused)"), "{text}");
        assert!(text.contains("./run.sh"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn an_answer_that_is_not_200_tells_its_status_and_message() {
        let body = Bytes::from_static(br#"{"error":{"code":503,"message":"no leader"}}"#);
        let answer =
            HttpAnswer { status: 503, cached: None, timing: ServerTiming::default(), body };
        assert_eq!(answer.data::<Toy>().unwrap_err(), "it answered 503: no leader");
    }
}
