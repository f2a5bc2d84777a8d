//! The catalog's settings, and which database its state is in: `[catalog] database`.
//!
//! The URL has no password: `roles.toml` is read by people and programs that need none. It comes
//! from the environment (see the catalog's `postgres` module).

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;

use super::{Address, Role, ToyRole};
use crate::wire::term::CatalogId;

/// PostgreSQL's own port, for hosts that are written without one.
const DEFAULT_PORT: &str = "5432";
/// The servers of one store: a primary and its standbys.
const MOST_SERVERS: usize = 16;
/// PostgreSQL cuts names off after 63 bytes.
const LONGEST_NAME: usize = 63;
/// What is written as it is in a URL's user and path.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same, with what a path of a file has.
const PLAIN_PATH: AsciiSet = PLAIN.remove(b'/');

/// The catalog's settings.
#[derive(Clone, Debug)]
pub struct CatalogRole {
    /// Where it keeps its state, and its address or, on PostgreSQL, its processes' addresses.
    pub engine: Engine,
    /// How often it restocks the toys that are sold out.
    pub restock_interval: Duration,
    /// The quantity of each toy at first and after a restock.
    pub initial_stock: u64,
    /// The toys, in catalog order.
    pub toys: Vec<ToyRole>,
}

/// Where the catalog keeps its state.
#[derive(Clone, Debug)]
pub enum Engine {
    /// An SQLite file in the data folder, of the one catalog at this address.
    Sqlite {
        /// The catalog's address.
        address: Address,
    },
    /// A PostgreSQL database that several catalogs share.
    Postgres(PostgresSettings),
}

/// The settings of catalogs on PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// The database.
    pub database: DatabaseUrl,
    /// How many synchronous standbys the active catalog must see.
    pub standbys: u32,
    /// The catalogs, by ascending id.
    pub processes: Vec<CatalogProcess>,
}

/// One of several catalogs.
#[derive(Clone, Debug)]
pub struct CatalogProcess {
    /// Its id.
    pub id: CatalogId,
    /// Its address.
    pub address: Address,
}

/// The servers of a PostgreSQL database, one of which is the primary, and how to log in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabaseUrl {
    user: String,
    servers: Vec<Address>,
    name: String,
    tls: DatabaseTls,
}

/// Whether connections to the database are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseTls {
    /// They are not.
    Disabled,
    /// They are, and the server has to show a certificate for its host name.
    VerifyFull {
        /// The file with the certificates of the authorities that are trusted; without it, those of
        /// the system.
        authorities: Option<PathBuf>,
    },
}

impl CatalogRole {
    /// Returns the catalog's role or, on PostgreSQL, those of its processes.
    #[must_use]
    pub fn roles(&self) -> Vec<Role> {
        match &self.engine {
            Engine::Sqlite { .. } => vec![Role::Catalog],
            Engine::Postgres(PostgresSettings { processes, .. }) => {
                processes.iter().map(|process| Role::CatalogProcess(process.id)).collect()
            }
        }
    }

    /// Returns the role of the one catalog, or of the first of several.
    ///
    /// # Panics
    ///
    /// Never: there is a catalog.
    #[must_use]
    pub fn first_role(&self) -> Role {
        *self.roles().first().expect("roles.toml has a catalog")
    }

    /// Returns the address of that role.
    ///
    /// # Panics
    ///
    /// Never: there is a catalog.
    #[must_use]
    pub fn first_address(&self) -> &Address {
        self.address_of(self.first_role()).expect("its role has an address")
    }

    pub(super) fn address_of(&self, role: Role) -> Option<&Address> {
        match (&self.engine, role) {
            (Engine::Sqlite { address }, Role::Catalog) => Some(address),
            (Engine::Postgres(settings), Role::CatalogProcess(id)) => {
                settings.processes.iter().find(|process| process.id == id).map(|it| &it.address)
            }
            (Engine::Sqlite { .. } | Engine::Postgres(_), _) => None,
        }
    }
}

impl DatabaseUrl {
    /// Returns who logs in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the servers, in the URL's order.
    #[must_use]
    pub fn servers(&self) -> &[Address] {
        &self.servers
    }

    /// Returns the database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how connections are encrypted.
    #[must_use]
    pub fn tls(&self) -> &DatabaseTls {
        &self.tls
    }

    /// The same, with a relative path of a file taken from `folder`.
    #[must_use]
    pub(super) fn in_folder(mut self, folder: &Path) -> Self {
        if let DatabaseTls::VerifyFull { authorities: Some(path) } = &mut self.tls {
            *path = folder.join(&path);
        }
        self
    }

    fn parse(text: &str) -> Result<Self, String> {
        let rest = ["postgres://", "postgresql://"].iter().find_map(|it| text.strip_prefix(it));
        let rest = rest.ok_or_else(|| {
            // It may have a password.
            format!("this is not a URL of PostgreSQL; {SHAPE}")
        })?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, name) =
            rest.split_once('/').ok_or(format!("the database's name is missing; {SHAPE}"))?;
        let (user, servers) =
            place.rsplit_once('@').ok_or(format!("the user's name is missing; {SHAPE}"))?;
        if user.contains(':') {
            return Err("there is a password in the URL; take it out, and give it in the \
                        environment variable PGPASSWORD or in the file that PGPASSFILE names"
                .into());
        }
        Ok(Self {
            user: decoded("user's name", user)?,
            servers: servers_of(servers)?,
            name: decoded("database's name", name)?,
            tls: DatabaseTls::parse(query)?,
        })
    }
}

/// What to write.
const SHAPE: &str = "write postgres://USER@HOST:PORT,HOST:PORT/DATABASE";

impl DatabaseTls {
    fn parse(query: &str) -> Result<Self, String> {
        let (mut mode, mut authorities) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match key {
                "sslmode" => &mut mode,
                "sslrootcert" => &mut authorities,
                _ => {
                    return Err(format!(
                        "unknown parameter `{key}` in the URL, allowed: `sslmode`, `sslrootcert`"
                    ));
                }
            };
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            if value.is_empty() || value.contains(char::is_control) {
                return Err(format!("the URL's parameter `{key}` has no value"));
            }
            if place.replace(value).is_some() {
                return Err(format!("the URL has the parameter `{key}` twice"));
            }
        }
        match (mode.as_deref(), authorities) {
            (Some("verify-full"), authorities) => {
                Ok(Self::VerifyFull { authorities: authorities.map(PathBuf::from) })
            }
            (None | Some("disable"), None) => Ok(Self::Disabled),
            (None | Some("disable"), Some(_)) => {
                Err("sslrootcert needs sslmode=verify-full in the URL".into())
            }
            (Some(other), _) => {
                Err(format!("sslmode is {other:?} in the URL, allowed: `disable`, `verify-full`"))
            }
        }
    }
}

fn decoded(what: &str, text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
    decoded
        .ok()
        .filter(|it| (1..=LONGEST_NAME).contains(&it.len()) && !it.contains(char::is_control))
        .ok_or_else(|| {
            format!(
                "the {what} must have 1 to {LONGEST_NAME} bytes, and no control characters; {SHAPE}"
            )
        })
}

fn servers_of(text: &str) -> Result<Vec<Address>, String> {
    let mut servers = Vec::new();
    for server in text.split(',') {
        let has_port = server.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let port = if has_port { String::new() } else { format!(":{DEFAULT_PORT}") };
        let address = Address::try_from(format!("{server}{port}"))?;
        if servers.contains(&address) {
            return Err(format!("the URL has the server {address} twice"));
        }
        servers.push(address);
    }
    if servers.len() > MOST_SERVERS {
        return Err(format!("the URL has {} servers; at most {MOST_SERVERS}", servers.len()));
    }
    Ok(servers)
}

impl TryFrom<String> for DatabaseUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<&str> = self.servers.iter().map(Address::as_str).collect();
        let user = utf8_percent_encode(&self.user, &PLAIN);
        let name = utf8_percent_encode(&self.name, &PLAIN);
        write!(f, "postgres://{user}@{}/{name}", servers.join(","))?;
        let DatabaseTls::VerifyFull { authorities } = &self.tls else { return Ok(()) };
        f.write_str("?sslmode=verify-full")?;
        let Some(path) = authorities else { return Ok(()) };
        let path = path.to_string_lossy();
        write!(f, "&sslrootcert={}", utf8_percent_encode(&path, &PLAIN_PATH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DatabaseUrl, String> {
        DatabaseUrl::try_from(text.to_owned())
    }

    #[test]
    fn a_url_is_displayed_as_it_was_written() {
        for text in [
            "postgres://toystore@127.0.0.1:5501,127.0.0.1:5502,127.0.0.1:5503/toystore",
            "postgres://a%20b@[::1]:5432/x%2Fy",
            "postgres://toystore@db.example.org:5432/toys?sslmode=verify-full",
            "postgres://toystore@db:5432/toys?sslmode=verify-full&sslrootcert=/etc/a%26b.pem",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        let short = parse("postgresql://toystore@db,[::1]/toys?sslmode=disable").unwrap();
        assert_eq!(short.to_string(), "postgres://toystore@db:5432,[::1]:5432/toys");
    }

    #[test]
    fn a_url_that_is_wrong_is_refused_with_what_to_write() {
        for (text, problem) in [
            ("mysql://toystore@db/toys", "not a URL of PostgreSQL"),
            ("postgres://db/toys", "the user's name is missing"),
            ("postgres://@db/toys", "the user's name must have 1 to 63 bytes"),
            ("postgres://toystore@db", "the database's name is missing"),
            ("postgres://toystore@db/", "the database's name must have"),
            ("postgres://toystore@/toys", "is not an address"),
            ("postgres://toystore@db,/toys", "is not an address"),
            ("postgres://toystore@db:0/toys", "is not an address"),
            ("postgres://toystore@db,db:5432/toys", "has the server db:5432 twice"),
            ("postgres://toystore@db/toys?sslmode=prefer", "allowed: `disable`, `verify-full`"),
            ("postgres://toystore@db/toys?ssl=1", "allowed: `sslmode`, `sslrootcert`"),
            ("postgres://toystore@db/toys?sslrootcert=a", "needs sslmode=verify-full"),
            ("postgres://toystore@db/toys?sslmode=disable&sslmode=disable", "twice"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(problem), "{text}: {said}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        let said = parse("postgres://toystore:hunter2@db/toys").unwrap_err();
        assert!(said.contains("PGPASSWORD") && !said.contains("hunter2"), "{said}");
        assert!(!parse("mysql://toystore:hunter2@db/toys").unwrap_err().contains("hunter2"));
    }
}
