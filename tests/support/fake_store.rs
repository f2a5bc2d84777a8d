//! A fake store for the client's tests: one server on a free port, which decides purchases as the
//! real one does and has the faults that each test asks for.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use serde_json::{Value, json};
use tokio::sync::watch;
use toystore::roles::Address;

pub(crate) const TOYS: [&str; 4] = ["Tux", "Rubik's Cube", "Play-Doh", "Ünö, \"quoted\""];

/// The store's faults.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    /// This many purchases are answered 503 and not decided.
    pub(crate) unavailable: u32,
    /// This many purchases are decided, but their answer breaks off.
    pub(crate) broken: u32,
    /// This order is returned with another quantity.
    pub(crate) lies_about: Option<usize>,
    /// This order is answered with 404.
    pub(crate) forgets: Option<usize>,
    /// Every order gets number 0.
    pub(crate) repeats_numbers: bool,
    /// Requests that are answered 500.
    pub(crate) fails: Fails,
    /// The query with this number, from 0 on, is answered this much later.
    pub(crate) stalls: Option<(u64, Duration)>,
    /// Queries with this number and later ones are never answered.
    pub(crate) hangs_from: Option<u64>,
    /// Answers have no `X-Cache`.
    pub(crate) without_cache: bool,
    /// Whether a connection is kept after an answer.
    pub(crate) connections: Connections,
    /// The stock of each toy.
    pub(crate) stock: Option<u64>,
}

/// Requests that are answered with an error.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fails {
    #[default]
    Nothing,
    Queries,
    Purchases,
}

/// Whether a connection is kept after an answer.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Connections {
    #[default]
    Kept,
    Ended,
}

pub(crate) struct Books {
    faults: Faults,
    stock: HashMap<String, u64>,
    pub(crate) orders: Vec<(String, u64)>,
    decisions: HashMap<String, (u16, Value)>,
    /// The toys that were queried, and those that were bought (marked by a `+`), in sequence.
    pub(crate) log: Vec<String>,
    /// The keys of all purchases, retries included.
    pub(crate) keys: Vec<String>,
    /// How many queries were sent to which `Host`.
    pub(crate) hosts: HashMap<String, u64>,
}

pub(crate) struct Store {
    pub(crate) address: Address,
    books: Data<Mutex<Books>>,
    counter: Data<watch::Sender<u64>>,
    pub(crate) queries: watch::Receiver<u64>,
}

impl Store {
    pub(crate) fn open(faults: Faults) -> Self {
        let stock = faults.stock.unwrap_or(1_000_000);
        let books = Data::new(Mutex::new(Books {
            faults,
            stock: TOYS.iter().map(|name| ((*name).to_owned(), stock)).collect(),
            orders: Vec::new(),
            decisions: HashMap::new(),
            log: Vec::new(),
            keys: Vec::new(),
            hosts: HashMap::new(),
        }));
        let (counter, queries) = watch::channel(0);
        let counter = Data::from(Arc::new(counter));
        let address = serve(books.clone(), counter.clone());
        Self { address, books, counter, queries }
    }

    /// A further front-end of the same store.
    pub(crate) fn another_frontend(&self) -> Address {
        serve(self.books.clone(), self.counter.clone())
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Books) -> T) -> T {
        read(&self.books.lock().expect("no handler panics"))
    }
}

fn serve(books: Data<Mutex<Books>>, counter: Data<watch::Sender<u64>>) -> Address {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(books.clone())
            .app_data(counter.clone())
            .route("/products", web::get().to(list))
            .route("/products/{name}", web::get().to(query))
            .route("/orders", web::post().to(purchase))
            .route("/orders/{number}", web::get().to(order))
    })
    .workers(1)
    .disable_signals();
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("a listener has an address").to_string();
    let server = server.listen(listener).expect("the listener is a fresh one").run();
    actix_web::rt::spawn(server);
    Address::try_from(address).expect("a socket's address is host:port")
}

fn data(data: &Value) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "data": data }))
}

fn error(status: u16, message: &str) -> HttpResponse {
    let status = status.try_into().expect("the tests use statuses that exist");
    let code = actix_web::http::StatusCode::as_u16(&status);
    HttpResponse::build(status).json(json!({ "error": { "code": code, "message": message } }))
}

async fn list(books: Data<Mutex<Books>>) -> HttpResponse {
    let books = books.lock().expect("no handler panics");
    let toy = |name| json!({ "name": name, "price": 15.99, "quantity": books.stock[name] });
    data(&TOYS.map(toy).into())
}

async fn query(
    request: HttpRequest,
    name: web::Path<String>,
    books: Data<Mutex<Books>>,
    counter: Data<watch::Sender<u64>>,
) -> HttpResponse {
    let mut number = 0;
    counter.send_modify(|count| {
        number = *count;
        *count += 1;
    });
    let faults = books.lock().expect("no handler panics").faults;
    if let Some((_, time)) = faults.stalls.filter(|(stalled, _)| *stalled == number) {
        actix_web::rt::time::sleep(time).await;
    }
    if faults.hangs_from.is_some_and(|from| number >= from) {
        std::future::pending::<()>().await;
    }
    books.lock().expect("no handler panics").answer(&request, &name)
}

async fn purchase(
    request: HttpRequest,
    body: web::Json<Value>,
    books: Data<Mutex<Books>>,
) -> HttpResponse {
    let mut books = books.lock().expect("no handler panics");
    let key = request.headers().get("idempotency-key").expect("every purchase has a key");
    let key = key.to_str().expect("a key is ASCII").to_owned();
    books.keys.push(key.clone());
    if books.faults.fails == Fails::Purchases {
        return error(500, "a bug");
    }
    if books.faults.unavailable > 0 {
        books.faults.unavailable -= 1;
        return error(503, "no leader");
    }
    let (status, body) = books.decide(key, &body);
    if books.faults.broken > 0 {
        books.faults.broken -= 1;
        let chunks = [Ok(Bytes::from_static(b"{\"da")), Err(std::io::Error::other("cut"))];
        return HttpResponse::Ok().streaming(futures_util::stream::iter(chunks));
    }
    if status == 200 { data(&body) } else { error(status, "not enough stock") }
}

impl Books {
    fn answer(&mut self, request: &HttpRequest, name: &str) -> HttpResponse {
        let host = request.headers().get("host").expect("every request names its host");
        let host = host.to_str().expect("an address is ASCII").to_owned();
        *self.hosts.entry(host).or_default() += 1;
        if self.faults.fails == Fails::Queries {
            return error(500, "a bug");
        }
        let Some(quantity) = self.stock.get(name).copied() else {
            return error(404, "product not found");
        };
        let mark = if self.log.iter().any(|seen| seen == name) { "hit" } else { "miss" };
        self.log.push(name.to_owned());
        let mut response = HttpResponse::Ok();
        if !self.faults.without_cache {
            response.insert_header(("x-cache", mark));
        }
        if self.faults.connections == Connections::Ended {
            response.force_close();
        }
        let toy = json!({ "name": name, "price": 15.99, "quantity": quantity });
        response.json(json!({ "data": toy }))
    }

    fn decide(&mut self, key: String, body: &Value) -> (u16, Value) {
        if let Some(decision) = self.decisions.get(&key) {
            return decision.clone();
        }
        let name = body["name"].as_str().expect("a purchase has a name").to_owned();
        let quantity = body["quantity"].as_u64().expect("a purchase has a quantity");
        let stock = self.stock.get_mut(&name).expect("the client buys what was listed");
        let decision = if let Some(rest) = stock.checked_sub(quantity) {
            *stock = rest;
            self.log.push(format!("+{name}"));
            self.orders.push((name, quantity));
            let number = if self.faults.repeats_numbers { 0 } else { self.orders.len() - 1 };
            (200, json!({ "order_number": number }))
        } else {
            (409, Value::Null)
        };
        self.decisions.insert(key, decision.clone());
        decision
    }
}

async fn order(number: web::Path<usize>, books: Data<Mutex<Books>>) -> HttpResponse {
    let books = books.lock().expect("no handler panics");
    let known = books.orders.get(*number).filter(|_| books.faults.forgets != Some(*number));
    let Some((name, quantity)) = known else { return error(404, "order not found") };
    let quantity = quantity + u64::from(books.faults.lies_about == Some(*number));
    data(&json!({ "number": *number, "name": name, "quantity": quantity }))
}
