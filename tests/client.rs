//! The client, played against a store that is one small server on a port of its own: it keeps real
//! books, and misbehaves exactly as each test asks.

use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use toystore::client::pace::{End, Pace};
use toystore::client::receipts::Finding;
use toystore::client::report::{Report, Verdict};
use toystore::client::tally::RequestType;
use toystore::client::{Settings, open_and_shop};
use toystore::roles::Address;
use toystore::wire::quantity::Quantity;

const TOYS: [&str; 4] = ["Tux", "Rubik's Cube", "Play-Doh", "Ünö, \"quoted\""];
const PATIENCE: Duration = Duration::from_secs(60);

/// How the store misbehaves.
#[derive(Clone, Copy, Default)]
struct Manners {
    /// So many purchases are answered 503 before they are looked at.
    unavailable: u32,
    /// So many purchases are decided, and then the answer breaks off.
    broken: u32,
    /// This order's content is told wrong.
    lies_about: Option<usize>,
    /// This order is not known any more.
    forgets: Option<usize>,
    /// Every order gets number 0.
    repeats_numbers: bool,
    /// Queries are answered 500.
    fails_queries: bool,
    /// The stock of each toy.
    stock: Option<u64>,
}

struct Books {
    manners: Manners,
    stock: HashMap<String, u64>,
    orders: Vec<(String, u64)>,
    decisions: HashMap<String, (u16, Value)>,
    /// The toys that were asked for, and those that were bought (marked by a `+`), in sequence.
    log: Vec<String>,
    /// The keys of all purchases, also of those that were repeated.
    keys: Vec<String>,
}

struct Store {
    address: Address,
    books: Data<Mutex<Books>>,
    queries: watch::Receiver<u64>,
}

impl Store {
    fn open(manners: Manners) -> Self {
        let stock = manners.stock.unwrap_or(1_000_000);
        let books = Data::new(Mutex::new(Books {
            manners,
            stock: TOYS.iter().map(|name| ((*name).to_owned(), stock)).collect(),
            orders: Vec::new(),
            decisions: HashMap::new(),
            log: Vec::new(),
            keys: Vec::new(),
        }));
        let (counter, queries) = watch::channel(0);
        let (data, counter) = (books.clone(), Data::from(Arc::new(counter)));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
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
        let address = Address::try_from(address).expect("a socket's address is host:port");
        Self { address, books, queries }
    }

    fn read<T>(&self, read: impl FnOnce(&Books) -> T) -> T {
        read(&self.books.lock().expect("no handler panics"))
    }
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
    name: web::Path<String>,
    books: Data<Mutex<Books>>,
    counter: Data<watch::Sender<u64>>,
) -> HttpResponse {
    let mut books = books.lock().expect("no handler panics");
    counter.send_modify(|count| *count += 1);
    if books.manners.fails_queries {
        return error(500, "a bug");
    }
    let Some(quantity) = books.stock.get(name.as_str()).copied() else {
        return error(404, "product not found");
    };
    let seen_before = books.log.contains(&name);
    books.log.push(name.clone());
    let mut response = data(&json!({ "name": *name, "price": 15.99, "quantity": quantity }));
    let mark = if seen_before { "hit" } else { "miss" };
    let mark = actix_web::http::header::HeaderValue::from_static(mark);
    response
        .headers_mut()
        .insert(actix_web::http::header::HeaderName::from_static("x-cache"), mark);
    response
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
    if books.manners.unavailable > 0 {
        books.manners.unavailable -= 1;
        return error(503, "no leader");
    }
    let (status, body) = books.decide(key, &body);
    if books.manners.broken > 0 {
        books.manners.broken -= 1;
        let chunks = [Ok(Bytes::from_static(b"{\"da")), Err(std::io::Error::other("cut"))];
        return HttpResponse::Ok().streaming(futures_util::stream::iter(chunks));
    }
    if status == 200 { data(&body) } else { error(status, "not enough stock") }
}

impl Books {
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
            let number = if self.manners.repeats_numbers { 0 } else { self.orders.len() - 1 };
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
    let known = books.orders.get(*number).filter(|_| books.manners.forgets != Some(*number));
    let Some((name, quantity)) = known else { return error(404, "order not found") };
    let quantity = quantity + u64::from(books.manners.lies_about == Some(*number));
    data(&json!({ "number": *number, "name": name, "quantity": quantity }))
}

/// Three clients of ten visits each that buy whatever they see.
fn settings(frontends: &[&Address]) -> Settings {
    Settings {
        clients: 3,
        end: End::Visits(10),
        pace: Pace::Closed,
        probability: "1".parse().expect("1 is a probability"),
        quantity: Quantity::ONE,
        seed: 7,
        frontends: frontends.iter().map(|address| (*address).clone()).collect(),
    }
}

async fn shop(settings: &Settings) -> Report {
    open_and_shop(settings, &CancellationToken::new()).await.expect("the store is open")
}

/// An address where nobody listens.
fn closed_address() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("a listener has an address");
    Address::try_from(address.to_string()).expect("a socket's address is host:port")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("roles.toml");
    command.arg("--config").arg(roles).arg("client").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the executable's client to its end.
async fn toystore(arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    finish(move || command.output().expect("the executable can be run")).await
}

async fn finish<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let working = actix_web::rt::time::timeout(PATIENCE, web::block(work));
    working.await.expect("the executable ends in time").expect("the work does not panic")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("reports are UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("complaints are UTF-8")
}

#[actix_web::test]
async fn whoever_buys_everything_has_an_order_for_every_visit() {
    let store = Store::open(Manners::default());
    let report = shop(&settings(&[&store.address])).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!((report.iterations, report.orders, report.units), (30, 30, 30));
    assert_eq!((report.check.checked, report.check.matching), (30, 30));
    for (request, count) in [
        (RequestType::Query, 30),
        (RequestType::QueryHit, 30 - TOYS.len() as u64),
        (RequestType::QueryMiss, TOYS.len() as u64),
        (RequestType::Order, 30),
        (RequestType::OrderRefused, 0),
        (RequestType::OrderQuery, 30),
    ] {
        let row = report.requests.of(request);
        assert_eq!((row.count, row.errors, row.retries), (count, 0, 0), "{}", request.name());
        assert_eq!(row.latency.p50_ms.is_some(), count > 0);
    }
    assert_eq!(report.statuses, [(200, 90)].into());
    assert_eq!(store.read(|books| books.orders.len()), 30);
}

#[actix_web::test]
async fn every_purchase_has_a_key_of_its_own_in_every_run() {
    let store = Store::open(Manners::default());
    shop(&settings(&[&store.address])).await;
    shop(&settings(&[&store.address])).await;
    let keys = store.read(|books| books.keys.clone());
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 60);
    assert!(keys.iter().all(|key| key.len() == 32));
}

#[actix_web::test]
async fn the_same_seed_asks_for_the_same_toys_and_buys_the_same() {
    let mut logs = Vec::new();
    for seed in [7, 7, 8] {
        let store = Store::open(Manners::default());
        let probability = "0.4".parse().unwrap();
        let settings = settings(&[&store.address]);
        shop(&Settings { clients: 1, end: End::Visits(50), seed, probability, ..settings }).await;
        logs.push(store.read(|books| books.log.clone()));
    }
    assert_eq!(logs[0], logs[1]);
    assert_ne!(logs[0], logs[2]);
    assert!((5..40).contains(&logs[0].iter().filter(|toy| toy.starts_with('+')).count()));
}

#[actix_web::test]
async fn an_order_that_the_store_tells_wrong_or_not_at_all_fails_the_check() {
    for (manners, number, finding) in [
        (Manners { lies_about: Some(4), ..Manners::default() }, 4, Finding::Different),
        (Manners { forgets: Some(5), ..Manners::default() }, 5, Finding::Missing),
    ] {
        let store = Store::open(manners);
        let report = shop(&settings(&[&store.address])).await;
        assert_eq!(report.verdict(), Verdict::CheckFailed);
        assert_eq!((report.check.failed, report.check.matching), (1, 29));
        let failure = &report.check.failures[0];
        assert_eq!((failure.number.0, failure.finding), (number, finding));
    }
}

#[actix_web::test]
async fn a_number_that_is_given_out_twice_fails_the_check() {
    let store = Store::open(Manners { repeats_numbers: true, ..Manners::default() });
    let report = shop(&Settings { end: End::Visits(1), ..settings(&[&store.address]) }).await;
    assert_eq!(report.verdict(), Verdict::CheckFailed);
    let repeated = report.check.failures.iter().filter(|f| f.finding == Finding::Repeated);
    assert_eq!(repeated.count(), 2);
}

#[actix_web::test]
async fn an_order_answered_503_is_tried_again_with_the_same_key() {
    let store = Store::open(Manners { unavailable: 1, ..Manners::default() });
    let one = Settings { clients: 1, end: End::Visits(1), ..settings(&[&store.address]) };
    let report = shop(&one).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!((report.orders, report.check.matching), (1, 1));
    let row = report.requests.of(RequestType::Order);
    assert_eq!((row.count, row.retries, row.errors), (1, 1, 0));
    assert_eq!(report.statuses, [(200, 3), (503, 1)].into());
    let keys = store.read(|books| books.keys.clone());
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[actix_web::test]
async fn an_order_whose_answer_broke_off_is_found_and_not_bought_again() {
    let store = Store::open(Manners { broken: 1, ..Manners::default() });
    let one = Settings { clients: 1, end: End::Visits(1), ..settings(&[&store.address]) };
    let report = shop(&one).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!((report.orders, report.requests.of(RequestType::Order).retries), (1, 1));
    assert_eq!((report.unanswered.broken, report.orders_in_doubt), (1, 0));
    assert_eq!(store.read(|books| (books.orders.len(), books.keys.len())), (1, 2));
}

#[actix_web::test]
async fn a_purchase_refused_for_lack_of_stock_is_no_error() {
    let store = Store::open(Manners { stock: Some(2), ..Manners::default() });
    let quantity = Quantity::new(3).unwrap();
    let report = shop(&Settings { quantity, ..settings(&[&store.address]) }).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!(report.orders, 0);
    let row = report.requests.of(RequestType::Order);
    assert_eq!((row.count, row.refusals, row.errors, row.retries), (0, 30, 0, 0));
    assert_eq!(row.latency.mean_ms, None);
    assert_eq!(report.requests.of(RequestType::OrderRefused).count, 30);
}

#[actix_web::test]
async fn a_toy_that_is_sold_out_is_not_ordered() {
    let store = Store::open(Manners { stock: Some(0), ..Manners::default() });
    let report = shop(&settings(&[&store.address])).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!(store.read(|books| books.keys.len()), 0);
}

#[actix_web::test]
async fn clients_of_a_frontend_that_is_down_go_on_to_the_next() {
    let store = Store::open(Manners::default());
    let report = shop(&settings(&[&closed_address(), &store.address])).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert_eq!((report.orders, report.check.matching), (30, 30));
    // The first and the third client begin at the front-end that is down, and leave it for good.
    assert_eq!(report.requests.of(RequestType::Query).retries, 2);
    assert_eq!(report.unanswered.nobody_listens, 2);
    assert!(report.clients.iter().all(|client| client.frontend == store.address.as_str()));
}

#[actix_web::test]
async fn errors_are_counted_by_reason_and_never_measured() {
    let store = Store::open(Manners { fails_queries: true, ..Manners::default() });
    let report = shop(&settings(&[&store.address])).await;
    assert_eq!(report.verdict(), Verdict::NothingWorked);
    let row = report.requests.of(RequestType::Query);
    assert_eq!((row.count, row.errors, row.latency.mean_ms), (0, 30, None));
    assert_eq!(report.complaints, [("query: it answered 500: a bug".to_owned(), 30)].into());
}

#[actix_web::test]
async fn an_open_loop_makes_its_visits_and_ends_in_time() {
    let store = Store::open(Manners::default());
    let pace = Pace::Open("1000".parse().unwrap());
    let end = End::Time("0.1".parse().unwrap());
    let report = shop(&Settings { pace, end, ..settings(&[&store.address]) }).await;
    assert_eq!(report.verdict(), Verdict::Passed);
    assert!((1..=100).contains(&report.iterations), "{} iterations", report.iterations);
    assert_eq!(report.run.pace, "open");
    assert_eq!(report.iterations_due, Some(100));
}

#[actix_web::test]
async fn a_store_that_is_closed_is_one_clear_line_and_status_1() {
    let address = closed_address();
    let output = toystore(&["--frontend", address.as_str()]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let complaint = stderr(&output);
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.contains(address.as_str()) && complaint.contains("./run.sh"), "{complaint}");
}

#[actix_web::test]
async fn the_text_report_begins_with_the_loop_and_the_seed_and_ends_with_the_check() {
    let store = Store::open(Manners::default());
    let address = store.address.as_str();
    let output = toystore(&["-c", "2", "-n", "5", "-p", "1", "--frontend", address]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let text = stdout(&output);
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("closed loop: 2 clients, 5 iterations each, p = 1, "), "{first}");
    assert!(first.split(' ').next_back().unwrap().parse::<u32>().is_ok(), "{first}");
    assert!(text.ends_with("\nfinal check: checked 10 of 10 orders: all match\n"), "{text}");
    let refused = text.lines().find(|line| line.starts_with("order refused")).unwrap();
    let cells: Vec<&str> = refused.split_whitespace().skip(2).collect();
    assert_eq!(cells, ["0", "0", "0", "0", "-", "-", "-", "-", "-", "-", "-", "-"]);
    assert!(!text.contains("NaN") && !text.contains('\u{1b}'), "{text}");
}

#[actix_web::test]
async fn a_failed_check_is_printed_and_status_1() {
    let store = Store::open(Manners { lies_about: Some(0), ..Manners::default() });
    let address = store.address.as_str();
    let output = toystore(&["-c", "1", "-n", "2", "-p", "1", "--frontend", address]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(
        text.contains("checked 2 of 2 orders: 1 check failed\n  order 0 of client 1"),
        "{text}"
    );
    assert!(stderr(&output).contains("final check"), "{}", stderr(&output));
}

#[actix_web::test]
async fn json_and_csv_can_be_read_back() {
    let store = Store::open(Manners::default());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/folder");
    let base = ["--frontend", store.address.as_str(), "-n", "8", "-p", "1", "--seed", "42"];
    let of = |more: &[&'static str]| [&base[..], more].concat();

    let mut arguments = of(&["--format", "json", "--out"]);
    let out_text = out.to_str().unwrap();
    arguments.push(out_text);
    let output = toystore(&arguments).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["run"]["seed"], 42);
    assert_eq!(report["run"]["loop"], "closed");
    assert_eq!(report["requests"]["query"]["count"], 40);
    assert!(report["requests"]["order"]["p99_ms"].is_f64());
    assert!(report["requests"]["order_refused"]["p99_ms"].is_null());
    assert_eq!(report["check"]["matching"], 40);
    assert_eq!(report["clients"].as_array().unwrap().len(), 5);
    let written = std::fs::read(out.join("report.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), report);

    let output = toystore(&of(&["--format", "csv"])).await;
    let csv = stdout(&output).to_owned();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 1 + 6 * 6);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    assert_eq!(rows[1][..3], ["all", "query", "40"]);
    let refused = rows.iter().find(|row| row[1] == "order_refused").unwrap();
    assert!(refused[6..].iter().all(|cell| cell.is_empty()), "{refused:?}");
    let written = std::fs::read_to_string(out.join("latencies.csv")).unwrap();
    assert_eq!(written.lines().next(), csv.lines().next());

    let orders = std::fs::read_to_string(out.join("orders.csv")).unwrap();
    assert_eq!(orders.lines().count(), 41);
    assert!(orders.lines().skip(1).all(|line| line.ends_with(",1,match")), "{orders}");
    assert!(orders.contains(",\"Ünö, \"\"quoted\"\"\",1,match"), "{orders}");
}

#[actix_web::test]
async fn ctrl_c_ends_the_shopping_and_orders_are_checked_all_the_same() {
    let mut store = Store::open(Manners::default());
    let address = store.address.to_string();
    let mut command = command(&["--frontend", &address, "-d", "1h", "-p", "1", "--format", "json"]);
    let child = command.spawn().unwrap();
    let pid = child.id().to_string();
    let shopping = store.queries.wait_for(|queries| *queries >= 20);
    actix_web::rt::time::timeout(PATIENCE, shopping).await.unwrap().unwrap();
    let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
    let output = finish(move || child.wait_with_output().unwrap()).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true);
    let orders = store.read(|books| books.orders.len());
    assert_eq!((&report["orders"], &report["check"]["matching"]), (&json!(orders), &json!(orders)));
}

#[actix_web::test]
async fn arguments_that_make_no_sense_are_refused_with_what_would_do() {
    for (arguments, hint) in [
        (&["-p", "1.5"][..], "from 0 to 1"),
        (&["-p", "-0.1"], "from 0 to 1"),
        (&["-p", "NaN"], "from 0 to 1"),
        (&["-q", "0"], "0 is not in 1.."),
        (&["-c", "0"], "0 is not in 1.."),
        (&["-n", "0"], "0 is not in 1.."),
        (&["-n", "5", "-d", "5"], "cannot be used with"),
        (&["-d", "soon"], "30s"),
        (&["--rate", "0"], "above 0"),
        (&["--frontend", "localhost"], "host:port"),
    ] {
        let output = toystore(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(hint), "{arguments:?}: {}", stderr(&output));
    }
}
