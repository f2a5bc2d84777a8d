//! The text of `roles.toml`: what may stand in it, and what is wrong with it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{Address, CacheSettings, CatalogRole, OrderRole, Roles, Secret, ToyRole};
use crate::wire::complaint;
use crate::wire::replication::ReplicaId;
use crate::wire::toy::ToyName;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "default_data_dir")]
    data_dir: Spanned<String>,
    secret: Option<Spanned<Secret>>,
    frontend: Spanned<Vec<FrontendTable>>,
    catalog: CatalogTable,
    order: Spanned<Vec<OrderTable>>,
    #[serde(default = "default_cache")]
    cache: CacheSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontendTable {
    address: Spanned<Address>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogTable {
    address: Spanned<Address>,
    #[serde(default = "default_restock_interval_ms")]
    restock_interval_ms: Spanned<u64>,
    #[serde(default = "default_initial_stock")]
    initial_stock: Spanned<u64>,
    toys: Spanned<Vec<Spanned<ToyRole>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderTable {
    id: Spanned<u32>,
    address: Spanned<Address>,
}

/// The largest stock; far beyond any toy store's shelf, and far within every integer used.
const LARGEST_STOCK: u64 = 1_000_000_000;
/// The longest restock interval: a year.
const LONGEST_INTERVAL_MS: u64 = 365 * 24 * 3_600_000;

/// Parses and checks the text of a file in `folder`. The error names the line and what is allowed.
pub(super) fn parse(text: &str, folder: &Path) -> Result<Roles, String> {
    let check = Check { text };
    let file: File = toml::from_str(text).map_err(|error| {
        let line = check.line_at(error.span().map_or(0, |span| span.start));
        format!("line {line}: {}", complaint::in_plain_words(&error.message(), "a table"))
    })?;
    check.data_dir(&file.data_dir)?;
    check.addresses(&file)?;
    check.toys(&file.catalog.toys)?;
    check.range("restock_interval_ms", &file.catalog.restock_interval_ms, LONGEST_INTERVAL_MS)?;
    check.range("initial_stock", &file.catalog.initial_stock, LARGEST_STOCK)?;
    check.replicas(&file.order)?;
    if let Some(secret) = &file.secret {
        check.secret(secret)?;
    }

    let mut orders: Vec<OrderRole> = file
        .order
        .into_inner()
        .into_iter()
        .map(|order| OrderRole {
            id: ReplicaId(order.id.into_inner()),
            address: order.address.into_inner(),
        })
        .collect();
    orders.sort_by_key(|order| order.id);
    Ok(Roles {
        data_dir: folder.join(file.data_dir.into_inner()),
        frontends: file
            .frontend
            .into_inner()
            .into_iter()
            .map(|frontend| frontend.address.into_inner())
            .collect(),
        catalog: CatalogRole {
            address: file.catalog.address.into_inner(),
            restock_interval: Duration::from_millis(file.catalog.restock_interval_ms.into_inner()),
            initial_stock: file.catalog.initial_stock.into_inner(),
            toys: file.catalog.toys.into_inner().into_iter().map(Spanned::into_inner).collect(),
        },
        orders,
        cache: file.cache,
        secret: file.secret.map(Spanned::into_inner),
    })
}

/// Finds what the parser cannot: values that are well-formed and wrong all the same.
struct Check<'a> {
    text: &'a str,
}

impl Check<'_> {
    fn line<T>(&self, value: &Spanned<T>) -> usize {
        self.line_at(value.span().start)
    }

    fn line_at(&self, place: usize) -> usize {
        self.text.bytes().take(place).filter(|byte| *byte == b'\n').count() + 1
    }

    fn fail<T, R>(&self, value: &Spanned<T>, problem: impl fmt::Display) -> Result<R, String> {
        Err(format!("line {}: {problem}", self.line(value)))
    }

    fn data_dir(&self, folder: &Spanned<String>) -> Result<(), String> {
        let name = folder.get_ref();
        if name.is_empty() || name.contains(char::is_control) {
            return self.fail(folder, "data_dir names a folder, without control characters");
        }
        if name == "~" || name.starts_with("~/") {
            let problem = "`~` in data_dir is not your home folder: only a shell expands it; write \
                           the whole path, such as /home/name/data";
            return self.fail(folder, problem);
        }
        Ok(())
    }

    fn addresses(&self, file: &File) -> Result<(), String> {
        let frontends = file.frontend.get_ref().iter().map(|frontend| &frontend.address);
        let orders = file.order.get_ref().iter().map(|order| &order.address);
        let mut taken = HashMap::new();
        for address in std::iter::once(&file.catalog.address).chain(orders).chain(frontends) {
            let line = self.line(address);
            if let Some(first) = taken.insert(address.get_ref(), line) {
                let problem = format!(
                    "address {} is taken by the role on line {first}; each role needs its own",
                    address.get_ref()
                );
                return self.fail(address, problem);
            }
        }
        if file.frontend.get_ref().is_empty() {
            return self.fail(&file.frontend, "at least one [[frontend]] is needed");
        }
        Ok(())
    }

    fn replicas(&self, orders: &Spanned<Vec<OrderTable>>) -> Result<(), String> {
        let mut ids = HashSet::new();
        for order in orders.get_ref() {
            let id = *order.id.get_ref();
            if id == 0 {
                return self.fail(&order.id, "an order replica's id is a whole number from 1 on");
            }
            if !ids.insert(id) {
                let problem =
                    format!("id {id} stands twice; each [[order]] needs an id of its own");
                return self.fail(&order.id, problem);
            }
        }
        if ids.is_empty() {
            return self.fail(orders, "at least one [[order]] is needed");
        }
        Ok(())
    }

    fn toys(&self, toys: &Spanned<Vec<Spanned<ToyRole>>>) -> Result<(), String> {
        let mut names = HashSet::new();
        for toy in toys.get_ref() {
            let name = &toy.get_ref().name;
            let length = name.as_str().len();
            if length == 0 || length > ToyName::LONGEST || name.as_str().contains(char::is_control)
            {
                let problem = format!(
                    "a toy's name has 1 to {} bytes and no control characters",
                    ToyName::LONGEST
                );
                return self.fail(toy, problem);
            }
            if !names.insert(name) {
                return self.fail(toy, format!("toy \"{name}\" stands twice"));
            }
        }
        if names.is_empty() {
            return self.fail(toys, "at least one toy is needed");
        }
        Ok(())
    }

    fn range(&self, key: &str, value: &Spanned<u64>, most: u64) -> Result<(), String> {
        if (1..=most).contains(value.get_ref()) {
            return Ok(());
        }
        let problem = format!("{key} is {}; it must be from 1 to {most}", value.get_ref());
        self.fail(value, problem)
    }

    fn secret(&self, secret: &Spanned<Secret>) -> Result<(), String> {
        let Secret(text) = secret.get_ref();
        if text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(());
        }
        self.fail(secret, "secret needs at least 16 characters, all of them visible ASCII")
    }
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn default_capacity() -> usize {
    1_000
}

fn default_cache() -> CacheSettings {
    CacheSettings { enabled: yes(), capacity: default_capacity() }
}

fn default_data_dir() -> Spanned<String> {
    Spanned::new(0..0, "data".into())
}

fn default_restock_interval_ms() -> Spanned<u64> {
    Spanned::new(0..0, 10_000)
}

fn default_initial_stock() -> Spanned<u64> {
    Spanned::new(0..0, 100)
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    const SHIPPED: &str = include_str!("../../roles.toml");

    fn problem_of(from: &str, to: &str) -> String {
        assert!(SHIPPED.contains(from), "roles.toml has no {from:?}");
        parse(&SHIPPED.replacen(from, to, 1), Path::new("/store")).unwrap_err()
    }

    #[test]
    fn the_shipped_file_is_right() {
        let roles = parse(SHIPPED, Path::new("/store")).unwrap();
        assert_eq!(roles.data_dir, Path::new("/store/data"));
        assert!(roles.catalog.toys.len() >= 12);
        let names: Vec<String> = roles.in_start_order().iter().map(Role::to_string).collect();
        assert_eq!(names, ["catalog", "order-1", "order-2", "order-3", "frontend"]);
    }

    #[test]
    fn the_settings_that_scripts_edit_stand_once_on_lines_of_their_own() {
        for key in ["data_dir", "restock_interval_ms", "initial_stock", "enabled", "capacity"] {
            let starts = |line: &&str| line.starts_with(&format!("{key} = "));
            assert_eq!(SHIPPED.lines().filter(starts).count(), 1, "{key}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_allowed_ones() {
        let problem = problem_of("capacity = 1000", "capacty = 1000");
        for part in ["line ", "capacty", "`enabled`", "`capacity`"] {
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn two_roles_cannot_share_an_address_or_an_id() {
        assert!(problem_of("127.0.0.1:8092", "127.0.0.1:8091").contains("taken by the role on"));
        assert!(problem_of("id = 2", "id = 1").contains("id 1 stands twice"));
        assert!(problem_of("id = 1", "id = 0").contains("from 1 on"));
    }

    #[test]
    fn bad_values_are_refused_with_their_line() {
        for (from, to) in [
            ("initial_stock = 100", "initial_stock = 0"),
            ("initial_stock = 100", "initial_stock = -1"),
            ("restock_interval_ms = 10000", "restock_interval_ms = 0"),
            ("127.0.0.1:8081", "127.0.0.1"),
            ("127.0.0.1:8081", "127.0.0.1:0"),
            ("\"Tux\"", "\"\""),
            ("\"Yo-Yo\"", "\"Tux\""),
            ("capacity = 1000", "capacity = -1"),
            ("enabled = true", "enabled = 1"),
            ("data_dir = \"data\"", "data_dir = \"\""),
            ("data_dir = \"data\"", "data_dir = \"a\\nb\""),
            ("data_dir = \"data\"", "data_dir = 7"),
            ("data_dir = \"data\"", "data_dir = \"~/toys\""),
            ("data_dir = \"data\"", "data_dir = \"~\""),
            ("15.99", "0.000000001"),
        ] {
            let problem = problem_of(from, to);
            let line = 1 + SHIPPED[..SHIPPED.find(from).unwrap()].matches('\n').count();
            assert!(problem.starts_with(&format!("line {line}: ")), "{to}: {problem}");
            assert!(!problem.contains('\n'), "{to}: {problem}");
        }
    }

    #[test]
    fn what_is_no_table_or_no_number_is_refused_in_plain_words() {
        for (from, to, plain) in [
            ("initial_stock = 100", "initial_stock = \"many\"", "expected a whole number"),
            ("capacity = 1000", "capacity = 1.5", "expected a whole number"),
            ("price = 15.99", "price = true", "expected a number"),
            ("{ name = \"Tux\", price = 15.99 }", "\"Tux\"", "expected a table"),
            ("enabled = true", "enabled = ", "line "),
            ("[cache]", "[cache", "line "),
        ] {
            let problem = problem_of(from, to);
            assert!(problem.contains(plain), "{to}: {problem}");
            assert!(!problem.contains('\n'), "{to}: {problem}");
        }
    }

    #[test]
    fn an_address_has_a_host_that_a_url_can_have_and_a_port_as_it_is_written() {
        for address in ["localhost:80", "shop-1.example.org:65535", "[::1]:8081", "[fe80::1]:9"] {
            let text = SHIPPED.replacen("127.0.0.1:8081", address, 1);
            assert!(parse(&text, Path::new("")).is_ok(), "{address}");
        }
        for address in [
            "",
            ":80",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+80",
            "host:080",
            "::1:80",
            "a b:80",
            "a\\tb:80",
            "a/b:80",
            "a@b:80",
            "a?b:80",
            "a#b:80",
            "[:80",
            "[::1:80",
            "[x]:80",
            "[]:80",
            "tüx:80",
        ] {
            let problem = problem_of("127.0.0.1:8081", address);
            assert!(problem.contains("write host:port"), "{address}: {problem}");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let text = format!("secret = \"correct-horse-battery\"\n{SHIPPED}");
        let roles = parse(&text, Path::new("")).unwrap();
        assert!(!format!("{roles:?}").contains("horse"));
        let short = format!("secret = \"short\"\n{SHIPPED}");
        assert!(parse(&short, Path::new("")).unwrap_err().contains("16 characters"));
    }
}
