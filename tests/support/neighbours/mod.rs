//! What a test of one service needs: a store with a port for every role, the role under test on one
//! of them, and fake neighbours on the others, which answer what the test says.
//!
//! ```text
//! test ──HTTP──► the role under test ──HTTP──► fake neighbours, which record what they receive
//!  └──────────── what they answer ────────────────────┘
//! ```
//!
//! The kernel chooses all ports, and they are bound before `roles.toml` is written, so that tests
//! that run at the same time never meet.
#![allow(dead_code, unused_imports, reason = "each test program uses a part of this")]

mod neighbour;
pub(crate) mod of_frontend;
pub(crate) mod of_order;
mod port;
mod running;

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::rc::Rc;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use toystore::process::RoleError;
use toystore::roles::{Role, Roles};
use toystore::wire::order::{Order, OrderNumber, Position, Rows};
use toystore::wire::purchase::Purchase;
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::{Epoch, Leadership, ReplicaId};
use toystore::wire::trace::RequestOrigin;

pub(crate) use self::neighbour::{Fault, Neighbour, Received, Reply};
pub(crate) use self::port::Port;
pub(crate) use self::running::{
    Answer, CatalogRole, FrontendRole, OrderRole, Running, Server, finish,
};

/// A `roles.toml` and a data folder, with a port for each role. What is `pub` may be changed
/// between two runs of a role.
pub(crate) struct Store {
    /// Removed with the store and the last role that runs in it.
    pub(crate) folder: Rc<TempDir>,
    pub(crate) catalog: Port,
    /// Replicas 1, 2 and 3.
    pub(crate) orders: [Port; 3],
    pub(crate) frontends: [Port; 2],
    pub(crate) toys: Vec<(&'static str, &'static str)>,
    pub(crate) initial_stock: u64,
    pub(crate) restock_interval_ms: u64,
    pub(crate) cache_enabled: bool,
    pub(crate) capacity: usize,
    pub(crate) secret: Option<&'static str>,
}

impl Store {
    /// A store with three toys, a hundred of each, that are not restocked while a test runs.
    pub(crate) fn new() -> Self {
        Self {
            folder: Rc::new(tempfile::tempdir().expect("a temporary folder")),
            catalog: Port::new(),
            orders: [Port::new(), Port::new(), Port::new()],
            frontends: [Port::new(), Port::new()],
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
        let mut text = String::from("data_dir = \"data\"\nhosts = [\"store\"]\n");
        let secret = self.secret.map(|secret| format!("secret = \"{secret}\"\n"));
        text.push_str(&secret.unwrap_or_default());
        for port in &self.frontends {
            write!(text, "[[frontend]]\naddress = \"{}\"\n", port.address()).expect("memory");
        }
        for (id, port) in (1..).zip(&self.orders) {
            write!(text, "[[order]]\nid = {id}\naddress = \"{}\"\n", port.address())
                .expect("memory");
        }
        let toys = self.toys.iter().map(|(name, price)| {
            format!("{{ name = {}, price = {price} }}", serde_json::json!(name))
        });
        write!(
            text,
            "[catalog]\naddress = \"{}\"\nrestock_interval_ms = {}\ninitial_stock = {}\n\
             toys = [{}]\n[cache]\nenabled = {}\ncapacity = {}\n",
            self.catalog.address(),
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

    /// Runs a catalog that waits for no replica.
    pub(crate) fn run_catalog(&self) -> Running<CatalogRole> {
        self.run_catalog_without(&[1, 2, 3].map(ReplicaId))
    }

    /// Runs a catalog that hears all replicas first, if it may have gone back in time.
    pub(crate) fn run_catalog_that_hears(&self) -> Running<CatalogRole> {
        self.run_catalog_without(&[])
    }

    fn run_catalog_without(&self, lost: &[ReplicaId]) -> Running<CatalogRole> {
        let lost = lost.to_vec();
        self.run(&self.catalog, async move |listener, roles, stop| {
            toystore::catalog::run(listener, &roles, Role::Catalog, &lost, stop).await
        })
    }

    pub(crate) fn run_order(&self, id: u32) -> Running<OrderRole> {
        let port = &self.orders[id as usize - 1];
        self.run(port, async move |listener, roles, stop| {
            toystore::order::run(listener, &roles, ReplicaId(id), stop).await
        })
    }

    pub(crate) fn run_frontend(&self) -> Running<FrontendRole> {
        self.run(&self.frontends[0], async |listener, roles, stop| {
            toystore::frontend::run(listener, &roles, 1, stop).await
        })
    }

    /// Runs a role on a thread of its own, as in a process of its own: when its server ends, actix
    /// stops all other servers of the same `System` with it.
    fn run<R>(
        &self,
        port: &Port,
        role: impl AsyncFnOnce(TcpListener, Roles, CancellationToken) -> Result<(), RoleError>
        + Send
        + 'static,
    ) -> Running<R> {
        let stop = CancellationToken::new();
        let (listener, roles, token) = (port.listen(), self.roles(), stop.clone());
        let (ended, end) = oneshot::channel();
        std::thread::spawn(move || {
            let end = actix_web::rt::System::new().block_on(role(listener, roles, token));
            // The test may have ended.
            let _test_has_ended = ended.send(end);
        });
        Running::new(port.address(), self.secret, stop, end, Rc::clone(&self.folder))
    }
}

pub(crate) fn purchase(key: &str, name: &str, quantity: u64) -> Purchase {
    let quantity = Quantity::new(quantity).expect("a quantity is at least 1");
    Purchase {
        key: key.to_owned().into(),
        name: name.into(),
        quantity,
        origin: RequestOrigin::default(),
        boot: None,
    }
}

/// Orders 0, 1, 2 … of one piece each.
pub(crate) fn orders(names: &[&str]) -> Vec<Order> {
    let order = |(number, name): (u64, &&str)| Order {
        number: OrderNumber(number),
        name: (*name).into(),
        quantity: Quantity::ONE,
        key: None,
    };
    (0..).zip(names).map(order).collect()
}

/// The same, each with the key of its purchase.
pub(crate) fn sold(orders: &[(&str, &str)]) -> Vec<Order> {
    let order = |(number, (name, key)): (u64, &(&str, &str))| Order {
        number: OrderNumber(number),
        name: (*name).into(),
        quantity: Quantity::ONE,
        key: Some((*key).to_owned().into()),
    };
    (0..).zip(orders).map(order).collect()
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

/// The leadership of a replica in an epoch.
pub(crate) const fn leading(epoch: u64, replica: u32) -> Leadership {
    Leadership { epoch: Epoch(epoch), leader: Some(ReplicaId(replica)) }
}
