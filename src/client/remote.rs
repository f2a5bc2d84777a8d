//! HTTP out: the front-ends as a client reaches them.
//!
//! Unlike the calls between roles, a client looks at the status and at `X-Cache`. Each client has
//! connections of its own, which are kept alive. What does not change of a request (all of a query,
//! a purchase's body) is made once, when the store is opened.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::connection::Connection;
use super::http::{CacheMark, Reuse};
use crate::client::core::retry::REQUEST_LIMIT;
use crate::roles::Address;
use crate::transport::Unreachable;
use crate::wire::order::OrderNumber;
use crate::wire::purchase::PurchaseBody;
use crate::wire::quantity::Quantity;
use crate::wire::reply::{Data, Failure};
use crate::wire::toy::{Toy, ToyName};

/// What a name may keep in a URL. All else is encoded, the dots of a toy called ".." included.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// What the store sells and where, ready to be asked for.
#[derive(Debug)]
pub struct Store {
    frontends: Vec<Frontend>,
    toys: Vec<ToyName>,
    quantity: Quantity,
    /// The body of a purchase of each toy.
    purchases: Vec<String>,
}

#[derive(Debug)]
struct Frontend {
    address: Address,
    /// The request for each toy.
    queries: Vec<String>,
}

/// The store could not be opened: where that was tried, and what happened.
#[derive(Debug)]
pub struct StoreClosed {
    attempts: Vec<(Address, String)>,
}

/// The front-ends as one client reaches them.
#[derive(Debug)]
pub struct Remote {
    store: Rc<Store>,
    /// A connection to each front-end, unless it has to be made first.
    connections: Vec<Option<Connection>>,
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
    body: Vec<u8>,
}

impl Store {
    /// Asks the front-ends in turn what the store sells, to buy so many of each toy at a time.
    ///
    /// # Errors
    ///
    /// If none of them answers with at least one toy.
    pub async fn open(addresses: &[Address], quantity: Quantity) -> Result<Self, StoreClosed> {
        let mut attempts = Vec::new();
        for address in addresses {
            match list_toys(address).await {
                Ok(toys) => return Ok(Self::new(addresses, toys, quantity)),
                Err(problem) => attempts.push((address.clone(), problem)),
            }
        }
        Err(StoreClosed { attempts })
    }

    fn new(addresses: &[Address], toys: Vec<ToyName>, quantity: Quantity) -> Self {
        let purchase = |name: &ToyName| {
            let body = PurchaseBody { name: name.clone(), quantity };
            serde_json::to_string(&body).expect("a purchase has nothing that JSON cannot say")
        };
        Self {
            frontends: addresses.iter().map(|address| Frontend::new(address, &toys)).collect(),
            purchases: toys.iter().map(purchase).collect(),
            toys,
            quantity,
        }
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
    fn new(address: &Address, toys: &[ToyName]) -> Self {
        let query = |name: &ToyName| {
            let name = utf8_percent_encode(name.as_str(), ENCODED);
            get(address, &format!("/products/{name}"))
        };
        Self { address: address.clone(), queries: toys.iter().map(query).collect() }
    }

    fn purchase(&self, body: &str, key: &str) -> String {
        format!(
            "POST /orders HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nIdempotency-Key: {key}\r\n\r\n{body}",
            self.address,
            body.len()
        )
    }
}

impl Remote {
    /// The front-ends of `store`, beginning at the one that is `first` in turn. To be used on one
    /// thread.
    #[must_use]
    pub fn new(store: Rc<Store>, first: usize) -> Self {
        let at = first % store.frontends.len();
        let connections = store.frontends.iter().map(|_| None).collect();
        Self { store, connections, at }
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
        &mut self,
        request: Request<'_>,
        time_limit: Duration,
    ) -> Result<Answer, Unreachable> {
        let frontend = &self.store.frontends[self.at];
        let made;
        let request = match request {
            Request::Toy(toy) => &frontend.queries[toy],
            Request::Purchase(toy, key) => {
                made = frontend.purchase(&self.store.purchases[toy], key);
                &made
            }
            Request::Order(number) => {
                made = get(&frontend.address, &format!("/orders/{number}"));
                &made
            }
        };
        let connection = &mut self.connections[self.at];
        let exchange = exchange(&frontend.address, connection, request.as_bytes());
        in_time(time_limit, exchange).await
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

fn get(address: &Address, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")
}

async fn list_toys(address: &Address) -> Result<Vec<ToyName>, String> {
    let request = get(address, "/products");
    let mut connection = None;
    let exchange = exchange(address, &mut connection, request.as_bytes());
    let answer = in_time(REQUEST_LIMIT, exchange).await.map_err(|how| how.to_string())?;
    let toys: Vec<Toy> = answer.data()?;
    if toys.is_empty() {
        return Err("it sells nothing".into());
    }
    Ok(toys.into_iter().map(|toy| toy.name).collect())
}

/// Sends a request over the connection that there is, or over a new one, and keeps the connection
/// if it can be used again. (It is taken out meanwhile: whatever ends this early ends it too.)
async fn exchange(
    address: &Address,
    kept: &mut Option<Connection>,
    request: &[u8],
) -> Result<Answer, Unreachable> {
    let mut connection = match kept.take().filter(Connection::is_quiet) {
        Some(connection) => connection,
        None => Connection::open(address).await?,
    };
    let message = connection.exchange(request).await?;
    if message.reuse == Reuse::KeepAlive {
        *kept = Some(connection);
    }
    Ok(Answer { status: message.status, cache: message.cache, body: message.body })
}

async fn in_time(
    limit: Duration,
    exchange: impl Future<Output = Result<Answer, Unreachable>>,
) -> Result<Answer, Unreachable> {
    let in_time = actix_web::rt::time::timeout(limit, exchange).await;
    in_time.unwrap_or(Err(Unreachable::Silent))
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
        let frontend = Frontend::new(&address(), &toys);
        let path = |query: &String| query.split(' ').nth(1).unwrap().to_owned();
        let paths: Vec<String> = frontend.queries.iter().map(path).collect();
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
        let body = br#"{"error":{"code":503,"message":"no leader"}}"#.to_vec();
        let answer = Answer { status: 503, cache: CacheMark::Unmarked, body };
        assert_eq!(answer.data::<Toy>().unwrap_err(), "it answered 503: no leader");
    }
}
