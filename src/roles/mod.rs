//! `roles.toml`: which roles there are, where each runs, and the settings.
//!
//! The file is parsed once, at start. A [`Roles`] is valid by construction: an unknown key, two
//! roles with one address or a negative price is an error that names the line, the key and what is
//! allowed.

mod collector;
mod database;
mod engine;
mod file;
mod links;
mod role;
mod run_secret;
mod tls;

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use self::collector::Collector;
pub use self::database::{
    CatalogProcess, CatalogRole, DatabaseTls, DatabaseUrl, Engine, PostgresSettings,
};
pub use self::links::LINKS;
pub use self::role::Role;
pub use self::tls::{Access, Tls};
use crate::wire::replication::ReplicaId;
use crate::wire::toy::{Price, ToyName};

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Roles {
    /// The folder of the file.
    pub folder: PathBuf,
    /// The folder of databases, logs and pid files.
    pub data_dir: PathBuf,
    /// The front-ends, in the file's order.
    pub frontends: Vec<FrontendRole>,
    /// The catalog.
    pub catalog: CatalogRole,
    /// The order replicas, by ascending id.
    pub orders: Vec<OrderRole>,
    /// The front-ends' caches.
    pub cache: CacheSettings,
    /// What each role records of what it does.
    pub trace: TraceSettings,
    /// The secret that guards the calls between roles.
    pub secret: Option<Secret>,
    /// TLS between roles.
    pub tls: Option<Tls>,
    /// How often one host may ask a front-end; unlimited without it.
    pub rate_limit: Option<RateLimit>,
    /// Hosts that requests may name besides the address that they reach: those that a reverse
    /// proxy passes on.
    pub hosts: Vec<Host>,
    /// Where this process reaches other roles, if not at their addresses: a laboratory's links.
    pub links: Vec<(Role, Address)>,
}

/// A front-end's settings.
#[derive(Clone, Debug)]
pub struct FrontendRole {
    /// Its id: what the file says or, where it says nothing, its place in the file, from 1 on.
    pub id: u32,
    /// Where it listens.
    pub address: Address,
}

/// A toy in the catalog.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToyRole {
    /// Its name.
    pub name: ToyName,
    /// Its price.
    pub price: Price,
}

/// An order replica's settings.
#[derive(Clone, Debug)]
pub struct OrderRole {
    /// Its id.
    pub id: ReplicaId,
    /// Its address.
    pub address: Address,
}

/// The settings of the front-ends' caches.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// Whether to cache at all.
    #[serde(default = "file::yes")]
    pub enabled: bool,
    /// How many toys a cache holds at most; the least recently used is evicted first.
    #[serde(default = "file::default_capacity")]
    pub capacity: usize,
}

/// What a role records of what it does.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// How many events of clients' requests are kept in memory, or fewer if they are large; the
    /// oldest leave first.
    pub events: usize,
    /// Where front-ends send the spans of requests, if anywhere.
    pub otlp: Option<Collector>,
}

/// How often one host may ask each front-end.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests per second, in the long run.
    pub requests_per_second: NonZeroU32,
    /// Requests at once, after a pause; as many as in a second if the file says nothing.
    pub burst: Option<NonZeroU32>,
}

/// A host and a port, such as `127.0.0.1:8080`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Address(String);

/// A host without a port, as a URL has it: a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Host(String);

/// The secret of the store. Its `Debug` output does not contain it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret {
    text: String,
    origin: SecretOrigin,
}

/// Where a secret is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretOrigin {
    /// From `roles.toml`.
    File,
    /// Made for this run, in the data folder.
    Run,
}

/// What is wrong with `roles.toml`. The message names the file, the line, the key and what is
/// allowed.
#[derive(Debug)]
pub struct RolesError {
    path: PathBuf,
    problem: String,
}

impl Roles {
    /// Reads the file at `path`. A relative `data_dir` is relative to the file's folder.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is invalid.
    pub fn read(path: &Path) -> Result<Self, RolesError> {
        let text = std::fs::read_to_string(path).map_err(|cause| {
            let problem = format!(
                "{cause}; name the file with --config or in the environment variable ROLES, or run \
                 this in the folder that has roles.toml"
            );
            RolesError { path: path.to_owned(), problem }
        })?;
        Self::parse(&text, path)
    }

    /// Parses the text of the file at `path`.
    ///
    /// # Errors
    ///
    /// If it is invalid.
    pub fn parse(text: &str, path: &Path) -> Result<Self, RolesError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        file::parse(text, folder).map_err(|problem| RolesError { path: path.to_owned(), problem })
    }

    /// Returns all roles, in the order in which the store starts them.
    #[must_use]
    pub fn in_start_order(&self) -> Vec<Role> {
        let orders = self.orders.iter().map(|order| Role::Order(order.id));
        let frontends = self.frontends.iter().map(|frontend| Role::Frontend(frontend.id));
        self.catalog.roles().into_iter().chain(orders).chain(frontends).collect()
    }

    /// Returns a role's address. `None` if the file has no such role.
    #[must_use]
    pub fn address_of(&self, role: Role) -> Option<&Address> {
        match role {
            Role::Catalog | Role::CatalogProcess(_) => self.catalog.address_of(role),
            Role::Order(id) => {
                self.orders.iter().find(|order| order.id == id).map(|order| &order.address)
            }
            Role::Frontend(id) => {
                self.frontends.iter().find(|role| role.id == id).map(|role| &role.address)
            }
        }
    }

    /// Returns where the front-ends listen.
    #[must_use]
    pub fn frontend_addresses(&self) -> Vec<Address> {
        self.frontends.iter().map(|frontend| frontend.address.clone()).collect()
    }

    /// Returns the hosts that requests to a role may name: that of its address, and `hosts`.
    #[must_use]
    pub fn hosts_of(&self, role: Role) -> Vec<Host> {
        let own = self.address_of(role).map(Address::host);
        own.into_iter().chain(self.hosts.iter().cloned()).collect()
    }

    /// Returns the path of a role's file in the data folder, such as `order-1.db`.
    #[must_use]
    pub fn file_of(&self, role: Role, extension: &str) -> PathBuf {
        self.data_dir.join(format!("{role}.{extension}"))
    }
}

impl Address {
    /// Returns the address as text, `host:port`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the address's host.
    ///
    /// # Panics
    ///
    /// Never: an address has a port, and the host before it.
    #[must_use]
    pub fn host(&self) -> Host {
        Host(self.split().0.to_owned())
    }

    /// Returns the address's port.
    ///
    /// # Panics
    ///
    /// Never: an address has a port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.split().1.parse().expect("it was parsed as host:port")
    }

    /// Its host and its port, as they are written.
    pub(crate) fn split(&self) -> (&str, &str) {
        self.0.rsplit_once(':').expect("it was parsed as host:port")
    }
}

impl Host {
    /// Returns the host as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Host {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_host(&text) {
            return Ok(Self(text));
        }
        Err(format!("{text:?} is not a host; write its name alone, such as shop.example.org"))
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.rsplit_once(':').filter(|(host, port)| {
            // If 080 and 80 were both allowed, two roles could share an address unnoticed.
            let number = port.parse::<u16>().ok().filter(|number| *number != 0);
            is_host(host) && number.is_some_and(|number| number.to_string() == *port)
        });
        if parsed.is_none() {
            return Err(format!(
                "{text:?} is not an address; write host:port, such as 127.0.0.1:8080"
            ));
        }
        Ok(Self(text))
    }
}

/// Returns whether a URL can have this host: a name, an IPv4 address, or an IPv6 address in
/// brackets.
fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        // It is parsed only, to check it; `transport/` connects to the text.
        let ip = rest.strip_suffix(']').map(str::parse::<core::net::Ipv6Addr>);
        return matches!(ip, Some(Ok(_)));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !host.is_empty() && host.bytes().all(plain)
}

impl Secret {
    /// Returns the secret itself, for a header or a comparison and never for a log.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Returns where the secret is from.
    #[must_use]
    pub fn origin(&self) -> SecretOrigin {
        self.origin
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self { text, origin: SecretOrigin::File }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RolesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem.trim_end())
    }
}

impl std::error::Error for RolesError {}
