//! The catalog's storage, opened on either engine.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::sync::Arc;

use toystore::catalog::core::stock::{Change, RecordedDecision, Shelf};
use toystore::catalog::journal::{Journal, Loaded};
use toystore::catalog::postgres::Database;
use toystore::catalog::shared::{SharedDatabase as _, Tenure};
use toystore::catalog::storage::Storage;
use toystore::roles::{DatabaseUrl, PostgresSettings, ToyRole};
use toystore::wire::order::{Order, OrderNumber, Position};
use toystore::wire::purchase::IdempotencyKey;
use toystore::wire::quantity::Quantity;
use toystore::wire::term::CatalogId;
use toystore::wire::toy::{Price, Toy};

use crate::postgres::{self, Servers};

/// The quantity of each toy at first.
pub(crate) const INITIAL: u64 = 100;

/// Where a storage is.
pub(crate) enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(&'static Servers, String),
}

/// A storage that is open.
pub(crate) struct Opened {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) loaded: Loaded,
    /// Given up at the end, so that the next one need not wait.
    tenure: Option<Arc<dyn Tenure>>,
    _database: Option<Database>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    /// An empty database on the shared servers, with the tables. `None` if there is no PostgreSQL.
    pub(crate) async fn postgres() -> Option<Self> {
        if postgres::missing().is_some() {
            return None;
        }
        let servers = postgres::shared().await;
        let name = servers.new_database(0);
        database(servers, &name, 1).migrate().await.unwrap();
        Some(Self::Postgres(servers, name))
    }

    pub(crate) async fn open(&self, toys: &[ToyRole]) -> Opened {
        match self {
            Self::Sqlite(folder) => {
                let path = folder.path().join("catalog.db");
                let (journal, loaded) = Journal::open(&path, toys, INITIAL).unwrap();
                Opened { storage: Arc::new(journal), loaded, tenure: None, _database: None }
            }
            Self::Postgres(servers, name) => {
                let settings = settings(servers, name, 1);
                let database = Database::new(&settings, CatalogId(1), toys, INITIAL).unwrap();
                let seen = database.observe().await.unwrap();
                let tenure = database.claim(seen.beat).await.unwrap().expect("no one else claims");
                let loaded = tenure.load().await.unwrap();
                let storage = Arc::clone(&tenure) as Arc<dyn Storage>;
                Opened { storage, loaded, tenure: Some(tenure), _database: Some(database) }
            }
        }
    }
}

impl Opened {
    /// Ends in order.
    pub(crate) async fn close(self) {
        if let Some(tenure) = &self.tenure {
            tenure.leave().await.unwrap();
        }
    }
}

/// The change in which each of `keys` buys one of `shelf`'s toy, and the position after it.
pub(crate) fn sale(after: Position, shelf: &Shelf, keys: &[&str]) -> (Change, Position) {
    let orders: Vec<Order> = (after.length..)
        .zip(keys)
        .map(|(number, key)| Order {
            number: OrderNumber(number),
            name: shelf.toy.name.clone(),
            quantity: Quantity::ONE,
            key: Some(IdempotencyKey::from((*key).to_owned())),
        })
        .collect();
    let sold = orders.len() as u64;
    let mut left = shelf.clone();
    left.sold += sold;
    left.toy.quantity -= sold;
    left.version = left.version.next();
    let decisions = orders.iter().zip(keys).map(|(order, key)| {
        let decision = decided(order.name.as_str(), Some(order.number.0));
        (IdempotencyKey::from((*key).to_owned()), decision)
    });
    let end = orders.iter().fold(after, Position::continued_by);
    let decisions = decisions.collect();
    (Change { shelves: vec![left], after, orders, decisions }, end)
}

pub(crate) fn decided(name: &str, number: Option<u64>) -> RecordedDecision {
    let number = number.map(OrderNumber);
    RecordedDecision { name: name.into(), quantity: Quantity::ONE, number }
}

pub(crate) fn toys(names: &[&str]) -> Vec<ToyRole> {
    let toy = |name: &&str| ToyRole { name: (*name).into(), price: Price::from_cents(1599) };
    names.iter().map(toy).collect()
}

pub(crate) fn toy(name: &str, cents: u64, quantity: u64) -> Toy {
    Toy { name: name.into(), price: Price::from_cents(cents), quantity }
}

/// The database `name`, as the catalog with this id uses it.
pub(crate) fn database(servers: &Servers, name: &str, id: u32) -> Database {
    let settings = settings(servers, name, 1);
    Database::new(&settings, CatalogId(id), &toys(&["Tux", "Uno"]), INITIAL).unwrap()
}

pub(crate) fn settings(servers: &Servers, name: &str, standbys: u32) -> PostgresSettings {
    let database = DatabaseUrl::try_from(servers.url(name)).unwrap();
    PostgresSettings { database, standbys, processes: Vec::new() }
}
