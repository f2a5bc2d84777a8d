//! What lets a service be played alone: a store with a door for every role, the role under test
//! behind one of them, and neighbours behind the others that say what the test has them say.
//!
//! ```text
//! test ──HTTP──► the role under test ──HTTP──► neighbours, who write down what they hear
//!  └─────────────── scripts ────────────────────────┘
//! ```
//!
//! All ports are the kernel's choice and bound before `roles.toml` is written, so that tests never
//! meet. Nothing waits by the clock: what takes time is polled for, see [`eventually`].

#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod backstage;
mod neighbour;

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use toystore::clock;
use toystore::process::RoleError;
use toystore::roles::Roles;
use toystore::wire::order::{Order, OrderNumber, Position, Rows};
use toystore::wire::purchase::Purchase;
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::ReplicaId;

#[allow(unused_imports, reason = "as above")]
pub(crate) use self::neighbour::{Fate, Heard, Neighbour, Reply};

/// How long [`eventually`] waits. Far more than anything takes; a machine may be busy.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Looks until there is something to see, or fails saying what there should have been.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = clock::now() + ACKNOWLEDGEMENT_TIMEOUT;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(clock::now() < deadline, "never happened: {what}");
        actix_web::rt::time::sleep(LOOK_INTERVAL).await;
    }
}

/// A `roles.toml` and a data folder, with a door for each role. What is `pub` may be changed
/// between two runs of a role.
pub(crate) struct Store {
    /// Removed with the store and the last role that runs in it.
    pub(crate) folder: Rc<TempDir>,
    pub(crate) catalog: Door,
    /// Replicas 1, 2 and 3.
    pub(crate) orders: [Door; 3],
    pub(crate) frontends: [Door; 2],
    pub(crate) toys: Vec<(&'static str, &'static str)>,
    pub(crate) initial_stock: u64,
    pub(crate) restock_interval_ms: u64,
    pub(crate) cache_enabled: bool,
    pub(crate) capacity: usize,
    pub(crate) secret: Option<&'static str>,
}

/// A port that is kept for a role, whether or not it listens there. While it does not, connections
/// are refused, as those to a process that was killed.
pub(crate) struct Door {
    address: SocketAddr,
    kept: Cell<Option<TcpSocket>>,
}

/// A role under test.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    end: Option<oneshot::Receiver<Result<(), RoleError>>>,
    client: awc::Client,
    secret: Option<&'static str>,
    _folder: Rc<TempDir>,
}

/// What a role answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Store {
    /// A store with three toys, a hundred of each, that are not restocked while a test runs.
    pub(crate) fn new() -> Self {
        Self {
            folder: Rc::new(tempfile::tempdir().expect("a temporary folder")),
            catalog: Door::new(),
            orders: [Door::new(), Door::new(), Door::new()],
            frontends: [Door::new(), Door::new()],
            toys: vec![("Tux", "15.99"), ("Uno", "9.99"), ("Yo-Yo", "8.40")],
            initial_stock: 100,
            restock_interval_ms: 3_600_000,
            cache_enabled: true,
            capacity: 1_000,
            secret: None,
        }
    }

    /// Writes `roles.toml` as the settings are now, and reads it.
    pub(crate) fn roles(&self) -> Roles {
        let mut text = String::from("data_dir = \"data\"\n");
        let secret = self.secret.map(|secret| format!("secret = \"{secret}\"\n"));
        text.push_str(&secret.unwrap_or_default());
        for door in &self.frontends {
            write!(text, "[[frontend]]\naddress = \"{}\"\n", door.address).expect("memory");
        }
        for (id, door) in (1..).zip(&self.orders) {
            write!(text, "[[order]]\nid = {id}\naddress = \"{}\"\n", door.address).expect("memory");
        }
        let toys = self.toys.iter().map(|(name, price)| {
            format!("{{ name = {}, price = {price} }}", serde_json::json!(name))
        });
        write!(
            text,
            "[catalog]\naddress = \"{}\"\nrestock_interval_ms = {}\ninitial_stock = {}\n\
             toys = [{}]\n[cache]\nenabled = {}\ncapacity = {}\n",
            self.catalog.address,
            self.restock_interval_ms,
            self.initial_stock,
            toys.collect::<Vec<_>>().join(", "),
            self.cache_enabled,
            self.capacity
        )
        .expect("memory");
        let path = self.folder.path().join("roles.toml");
        std::fs::write(&path, text).expect("the folder can be written");
        std::fs::create_dir_all(self.folder.path().join("data")).expect("so can this");
        Roles::read(&path).expect("the file is right")
    }

    /// A role's database.
    pub(crate) fn database(&self, role: &str) -> PathBuf {
        self.folder.path().join("data").join(format!("{role}.db"))
    }

    /// Changes a role's database behind its back.
    pub(crate) fn tamper(&self, role: &str, sql: &str) {
        let connection = rusqlite::Connection::open(self.database(role)).expect("it opens");
        connection.execute_batch(sql).expect("the statement is right");
    }

    pub(crate) fn run_catalog(&self) -> Running {
        self.run(&self.catalog, async |listener, roles, stop| {
            toystore::catalog::run(listener, &roles, stop).await
        })
    }

    pub(crate) fn run_order(&self, id: u32) -> Running {
        let door = &self.orders[id as usize - 1];
        self.run(door, async move |listener, roles, stop| {
            toystore::order::run(listener, &roles, ReplicaId(id), stop).await
        })
    }

    pub(crate) fn run_frontend(&self) -> Running {
        self.run(&self.frontends[0], async |listener, roles, stop| {
            toystore::frontend::run(listener, &roles, 1, stop).await
        })
    }

    /// Runs a role on a thread of its own, as in a process of its own: when its server ends, actix
    /// stops all other servers of the same `System` with it.
    fn run(
        &self,
        door: &Door,
        role: impl AsyncFnOnce(TcpListener, Roles, CancellationToken) -> Result<(), RoleError>
        + Send
        + 'static,
    ) -> Running {
        let stop = CancellationToken::new();
        let (listener, roles, token) = (door.listen(), self.roles(), stop.clone());
        let (ended, end) = oneshot::channel();
        std::thread::spawn(move || {
            let end = actix_web::rt::System::new().block_on(role(listener, roles, token));
            // A test that is over does not care.
            let _unheard = ended.send(end);
        });
        let client = awc::Client::builder().timeout(Duration::from_secs(30)).finish();
        Running {
            address: door.address,
            stop,
            end: Some(end),
            client,
            secret: self.secret,
            _folder: Rc::clone(&self.folder),
        }
    }
}

impl Door {
    fn new() -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = Self::bind(any_port).expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        Self { address, kept: Cell::new(Some(socket)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        // Whoever listened here before may have left connections in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address).map(|()| socket)
    }

    /// Opens the door; also again, after whoever listened has ended.
    pub(crate) fn listen(&self) -> TcpListener {
        let socket = self.kept.take().map_or_else(|| Self::bind(self.address), Ok);
        let listener = socket.and_then(|socket| socket.listen(1_024)).expect("the door is free");
        listener.into_std().expect("it is a listener")
    }

    /// Keeps the port closed, after whoever listened has ended.
    fn close(&self) {
        self.kept.set(Some(Self::bind(self.address).expect("the door is free")));
    }
}

impl Running {
    pub(crate) fn get(&self, path: &str) -> impl Future<Output = Answer> + use<> {
        finish(self.request("GET", path).send())
    }

    pub(crate) fn post<B: Serialize>(
        &self,
        path: &str,
        body: B,
    ) -> impl Future<Output = Answer> + use<B> {
        finish(self.request("POST", path).send_json(&body))
    }

    /// A request of any kind, not sent yet; [`finish`] gets its answer.
    pub(crate) fn request(&self, method: &str, path: &str) -> awc::ClientRequest {
        let method = method.parse().expect("a method");
        // Closed after each request, so that a role that stops need not wait for the client.
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        let secret = self.secret.map(|secret| ("authorization", format!("Bearer {secret}")));
        let request = request.force_close();
        match secret {
            Some(secret) => request.insert_header(secret),
            None => request,
        }
    }

    /// Waits until the role says that it can serve.
    pub(crate) async fn ready(self) -> Self {
        eventually("the role is ready", async || {
            (self.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        self
    }

    /// Ends the role in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ended().await.expect("the role ends in order");
    }

    /// Waits for the role to end by itself.
    pub(crate) async fn ended(mut self) -> Result<(), RoleError> {
        let end = self.end.take().expect("a role ends once");
        let end = actix_web::rt::time::timeout(ACKNOWLEDGEMENT_TIMEOUT, end);
        end.await.expect("the role ends").expect("it does not panic")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Awaits an answer, the body included.
pub(crate) async fn finish(sending: awc::SendClientRequest) -> Answer {
    let mut response = sending.await.expect("the role answers");
    let body = response.body().await.expect("the answer is whole");
    Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
}

impl Answer {
    /// The answer's `data`; it must have gone well.
    pub(crate) fn data<T: DeserializeOwned>(self) -> T {
        assert_eq!(self.status, 200, "{:?}", self.body);
        let data = self.json()["data"].take();
        serde_json::from_value(data).expect("the data are what the contract says")
    }

    /// The answer's `error`, whose code is the status and whose message says something.
    pub(crate) fn error(&self) -> (u16, String) {
        let json = self.json();
        assert_eq!(json["error"]["code"], self.status, "{json}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{json}");
        let message = json["error"]["message"].as_str().expect("an error has a message");
        assert!(!message.is_empty());
        (self.status, message.to_owned())
    }

    pub(crate) fn json(&self) -> Value {
        let json = serde_json::from_slice(&self.body);
        json.unwrap_or_else(|error| unreachable!("{error}: {:?}, {}", self.body, self.status))
    }

    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        let value = self.headers.get(HeaderName::from_static(name)).map(HeaderValue::to_str)?;
        Some(value.expect("headers are ASCII"))
    }
}

pub(crate) fn purchase(key: &str, name: &str, quantity: u64) -> Purchase {
    let quantity = Quantity::new(quantity).expect("a quantity is at least 1");
    Purchase {
        key: key.to_owned().into(),
        name: name.into(),
        quantity,
        request_id: None,
        boot: None,
    }
}

/// Orders 0, 1, 2 … of one piece each.
pub(crate) fn orders(names: &[&str]) -> Vec<Order> {
    let order = |(number, name): (u64, &&str)| Order {
        number: OrderNumber(number),
        name: (*name).into(),
        quantity: Quantity::ONE,
    };
    (0..).zip(names).map(order).collect()
}

/// Where a log with these orders ends.
pub(crate) fn end_of(orders: &[Order]) -> Position {
    orders.iter().fold(Position::START, Position::continued_by)
}

/// What a log with these orders has from number `from` on.
pub(crate) fn rows_from(orders: &[Order], from: u64) -> Rows {
    let from = usize::try_from(from).map_or(orders.len(), |from| from.min(orders.len()));
    Rows { after: end_of(&orders[..from]), orders: orders[from..].to_vec() }
}
