//! HTTP out: the front-ends as a client reaches them.
//!
//! Unlike the calls between roles, a client looks at the status and at `X-Cache`. Each client has
//! connections of its own, which are kept alive. Everything that a request needs and that does not
//! change (its URL at each front-end, a purchase's body) is made once, when the store is opened.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use actix_web::http::Uri;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use awc::error::{ConnectError, SendRequestError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::patience::REQUEST_LIMIT;
use crate::roles::Address;
use crate::transport::{LARGEST_MESSAGE, Unreachable};
use crate::wire::order::OrderNumber;
use crate::wire::purchase::PurchaseBody;
use crate::wire::quantity::Quantity;
use crate::wire::reply::{Data, Failure};
use crate::wire::toy::{Toy, ToyName};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// What a name may keep in a URL. All else is encoded, the dots of a toy called ".." included.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');
/// Connecting takes a round trip; the client may be further from the store than the roles are from
/// one another.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// What the store sells and where, ready to be asked for.
#[derive(Debug)]
pub struct Store {
    frontends: Vec<Frontend>,
    toys: Vec<ToyName>,
    quantity: Quantity,
    /// The body of a purchase of each toy.
    purchases: Vec<Bytes>,
}

#[derive(Debug)]
struct Frontend {
    address: Address,
    /// `/products/<name>` of each toy.
    toys: Vec<Uri>,
    /// `/orders`.
    orders: Uri,
}

/// The store could not be opened: where that was tried, and what happened.
#[derive(Debug)]
pub struct StoreClosed {
    attempts: Vec<(Address, String)>,
}

/// The front-ends as one client reaches them.
pub struct Remote {
    store: Rc<Store>,
    client: awc::Client,
    /// The front-end in use.
    at: usize,
}

/// What can be asked of the store.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// The toy at this place of the list.
    Toy(usize),
    /// A purchase of the toy at this place of the list.
    Purchase(usize, &'a str),
    /// The order with this number.
    Order(OrderNumber),
}

/// What the store answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What it says of the cache.
    pub cache: CacheMark,
    body: Bytes,
}

/// What an answer says of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMark {
    /// It came from there.
    Hit,
    /// It was not there.
    Miss,
    /// Nothing.
    Unmarked,
}

impl Store {
    /// Asks the front-ends in turn what the store sells, to buy so many of each toy at a time.
    ///
    /// # Errors
    ///
    /// If none of them answers with at least one toy.
    pub async fn open(addresses: &[Address], quantity: Quantity) -> Result<Self, StoreClosed> {
        let client = new_client();
        let mut attempts = Vec::new();
        for address in addresses {
            match list_toys(&client, address).await {
                Ok(toys) => return Self::new(addresses, toys, quantity),
                Err(problem) => attempts.push((address.clone(), problem)),
            }
        }
        Err(StoreClosed { attempts })
    }

    fn new(
        addresses: &[Address],
        toys: Vec<ToyName>,
        quantity: Quantity,
    ) -> Result<Self, StoreClosed> {
        let frontend = |address: &Address| {
            Frontend::new(address, &toys)
                .map_err(|problem| StoreClosed { attempts: vec![(address.clone(), problem)] })
        };
        let frontends = addresses.iter().map(frontend).collect::<Result<_, _>>()?;
        let purchase = |name: &ToyName| {
            let body = PurchaseBody { name: name.clone(), quantity };
            serde_json::to_vec(&body).expect("a purchase has nothing that JSON cannot say").into()
        };
        let purchases = toys.iter().map(purchase).collect();
        Ok(Self { frontends, toys, quantity, purchases })
    }

    /// What it sells.
    #[must_use]
    pub fn toys(&self) -> &[ToyName] {
        &self.toys
    }

    /// How many of a toy a purchase buys.
    #[must_use]
    pub fn quantity(&self) -> Quantity {
        self.quantity
    }

    /// How many front-ends it has.
    #[must_use]
    pub fn frontends(&self) -> usize {
        self.frontends.len()
    }
}

impl Frontend {
    fn new(address: &Address, toys: &[ToyName]) -> Result<Self, String> {
        let toy = |name: &ToyName| {
            url(address, &format!("/products/{}", utf8_percent_encode(name.as_str(), ENCODED)))
        };
        Ok(Self {
            address: address.clone(),
            toys: toys.iter().map(toy).collect::<Result<_, _>>()?,
            orders: url(address, "/orders")?,
        })
    }
}

impl Remote {
    /// The front-ends of `store`, beginning at the one that is `first` in turn. To be made and used
    /// on one thread.
    #[must_use]
    pub fn new(store: Rc<Store>, first: usize) -> Self {
        let at = first % store.frontends.len();
        Self { store, client: new_client(), at }
    }

    /// What the store sells.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The front-end in use.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.store.frontends[self.at].address
    }

    /// Uses the next front-end from now on.
    pub fn move_on(&mut self) {
        self.at = (self.at + 1) % self.store.frontends.len();
    }

    /// Sends a request to the front-end in use and awaits the whole answer.
    ///
    /// # Errors
    ///
    /// If no answer came within `time_limit`.
    pub async fn send(
        &self,
        request: Request<'_>,
        time_limit: Duration,
    ) -> Result<Answer, Unreachable> {
        let frontend = &self.store.frontends[self.at];
        let sending = match request {
            Request::Toy(toy) => {
                self.client.get(frontend.toys[toy].clone()).timeout(time_limit).send()
            }
            Request::Purchase(toy, key) => self
                .client
                .post(frontend.orders.clone())
                .insert_header((CONTENT_TYPE, JSON))
                .insert_header((IDEMPOTENCY_KEY, key))
                .timeout(time_limit)
                .send_body(self.store.purchases[toy].clone()),
            Request::Order(number) => self
                .client
                .get(format!("http://{}/orders/{number}", frontend.address))
                .timeout(time_limit)
                .send(),
        };
        receive(sending, time_limit).await
    }
}

impl Answer {
    /// The `data` of a good answer; else why there is none.
    ///
    /// # Errors
    ///
    /// If the status is not 200 or the body is not what was to be expected.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, String> {
        if self.status != 200 {
            return Err(format!("it answered {}: {}", self.status, self.message()));
        }
        serde_json::from_slice::<Data<T>>(&self.body)
            .map(|reply| reply.data)
            .map_err(|error| format!("the answer is unclear: {error}"))
    }

    fn message(&self) -> String {
        match serde_json::from_slice::<Failure>(&self.body) {
            Ok(failure) => failure.error.message,
            Err(_not_ours) => String::from_utf8_lossy(&self.body).chars().take(200).collect(),
        }
    }
}

fn new_client() -> awc::Client {
    awc::Client::builder()
        .connector(awc::Connector::new().timeout(CONNECT_LIMIT))
        .disable_redirects()
        .no_default_headers()
        .finish()
}

fn url(address: &Address, path: &str) -> Result<Uri, String> {
    format!("http://{address}{path}").parse().map_err(|_| "this is no address in a URL".into())
}

async fn list_toys(client: &awc::Client, address: &Address) -> Result<Vec<ToyName>, String> {
    let sending = client.get(url(address, "/products")?).timeout(REQUEST_LIMIT).send();
    let answer = receive(sending, REQUEST_LIMIT).await.map_err(|how| how.to_string())?;
    let toys: Vec<Toy> = answer.data()?;
    if toys.is_empty() {
        return Err("it sells nothing".into());
    }
    Ok(toys.into_iter().map(|toy| toy.name).collect())
}

/// Awaits the head and the body of an answer within `time_limit`. (awc's own limit ends with the
/// head.)
async fn receive(
    sending: awc::SendClientRequest,
    time_limit: Duration,
) -> Result<Answer, Unreachable> {
    let answer = async {
        let mut response = sending.await.map_err(|error| classify(&error))?;
        let body = response.body().limit(LARGEST_MESSAGE).await;
        let body = body.map_err(|error| Unreachable::Broken(format!("the answer broke: {error}")));
        let cache = match response.headers().get(X_CACHE).map(HeaderValue::as_bytes) {
            Some(b"hit") => CacheMark::Hit,
            Some(b"miss") => CacheMark::Miss,
            Some(_) | None => CacheMark::Unmarked,
        };
        Ok(Answer { status: response.status().as_u16(), cache, body: body? })
    };
    match actix_web::rt::time::timeout(time_limit, answer).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(Unreachable::Silent),
    }
}

fn classify(error: &SendRequestError) -> Unreachable {
    if matches!(error, SendRequestError::Connect(ConnectError::Io(cause))
        if cause.kind() == io::ErrorKind::ConnectionRefused)
    {
        Unreachable::NobodyListens
    } else if matches!(
        error,
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout)
    ) {
        Unreachable::Silent
    } else {
        Unreachable::Broken(error.to_string())
    }
}

impl fmt::Display for StoreClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store does not answer; tried ")?;
        for (index, (address, problem)) in self.attempts.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{address} ({problem})")?;
        }
        f.write_str("; start the store with ./run.sh, or say where it is with --frontend")
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
        let frontend = Frontend::new(&address(), &toys).unwrap();
        let paths: Vec<&str> = frontend.toys.iter().map(Uri::path).collect();
        let names = ["Rubik%27s%20Cube", "Play-Doh", "a%2Fb%3Fc%23d%25", "%C3%9Cn%C3%B6", "%2E%2E"];
        assert_eq!(paths, names.map(|name| format!("/products/{name}")));
    }

    #[test]
    fn a_store_that_is_closed_says_where_it_was_tried_and_how_to_start_it() {
        let closed = StoreClosed { attempts: vec![(address(), "nobody listens there".into())] };
        let text = closed.to_string();
        assert!(text.contains("127.0.0.1:8080 (nobody listens there)"), "{text}");
        assert!(text.contains("./run.sh"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn an_answer_that_is_not_200_tells_its_status_and_message() {
        let body = Bytes::from_static(br#"{"error":{"code":503,"message":"no leader"}}"#);
        let answer = Answer { status: 503, cache: CacheMark::Unmarked, body };
        assert_eq!(answer.data::<Toy>().unwrap_err(), "it answered 503: no leader");
    }
}
