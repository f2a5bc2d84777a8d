//! The text of `roles.toml`: which keys and values are allowed, and what is wrong with a file.
//!
//! Errors come from two sources: the TOML parser finds unknown keys and values of the wrong type;
//! the [`Validator`] finds values that are well-formed and wrong, such as two roles with one
//! address. Both name the line, the key and what is allowed.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::engine::CatalogTable;
use super::tls::TlsTable;
use super::{
    Address, CacheSettings, CatalogRole, Collector, FrontendRole, Host, OrderRole, RateLimit,
    Roles, Secret, ToyRole, TraceSettings,
};
use crate::wire::parse_error;
use crate::wire::replication::ReplicaId;
use crate::wire::toy::ToyName;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "default_data_dir")]
    data_dir: Spanned<String>,
    secret: Option<Spanned<Secret>>,
    #[serde(default)]
    hosts: Vec<Host>,
    frontend: Spanned<Vec<FrontendTable>>,
    catalog: Spanned<CatalogTable>,
    order: Spanned<Vec<OrderTable>>,
    #[serde(default = "default_cache")]
    cache: CacheSettings,
    rate_limit: Option<RateLimit>,
    tls: Option<TlsTable>,
    #[serde(default = "default_trace")]
    trace: TraceTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceTable {
    #[serde(default = "default_events")]
    events: Spanned<usize>,
    otlp: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontendTable {
    id: Option<Spanned<u32>>,
    address: Spanned<Address>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderTable {
    id: Spanned<u32>,
    address: Spanned<Address>,
}

/// The largest stock: far more than a toy store needs, and far within every integer used.
const LARGEST_STOCK: u64 = 1_000_000_000;
/// The longest restock interval: a year.
const LONGEST_INTERVAL_MS: u64 = 365 * 24 * 3_600_000;
/// The most events that a role keeps: half a gigabyte.
const MOST_EVENTS: usize = 1_000_000;
/// The shortest secret, in characters: too long to be guessed.
const SHORTEST_SECRET: usize = 16;

/// Parses and validates the text of a file in `folder`.
pub(super) fn parse(text: &str, folder: &Path) -> Result<Roles, String> {
    let validator = Validator { text };
    let file: File = toml::from_str(text).map_err(|error| validator.explain(&error))?;
    validator.data_dir(&file.data_dir)?;
    validator.addresses(&file)?;
    let catalog = file.catalog.get_ref();
    validator.toys(&catalog.toys)?;
    let interval = &catalog.restock_interval_ms;
    validator.range("restock_interval_ms", interval, LONGEST_INTERVAL_MS)?;
    validator.range("initial_stock", &catalog.initial_stock, LARGEST_STOCK)?;
    let ids = file.order.get_ref().iter().map(|order| &order.id);
    validator.ids("[[order]]", &file.order, ids)?;
    if let Some(secret) = &file.secret {
        validator.secret(secret)?;
    }

    let trace = validator.trace(file.trace)?;
    let frontends = validator.frontends(file.frontend.into_inner())?;
    let at = file.catalog.span().start;
    let catalog = file.catalog.into_inner();
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
        folder: folder.to_owned(),
        data_dir: folder.join(file.data_dir.into_inner()),
        frontends,
        catalog: CatalogRole {
            engine: validator.engine(at, &catalog, folder)?,
            restock_interval: Duration::from_millis(catalog.restock_interval_ms.into_inner()),
            initial_stock: catalog.initial_stock.into_inner(),
            toys: catalog.toys.into_inner().into_iter().map(Spanned::into_inner).collect(),
        },
        orders,
        cache: file.cache,
        trace,
        secret: file.secret.map(Spanned::into_inner),
        hosts: file.hosts,
        tls: file.tls.map(|tls| tls.in_folder(folder)),
        rate_limit: file.rate_limit,
        links: Vec::new(),
    })
}

/// Finds what is wrong with a file.
pub(super) struct Validator<'a> {
    text: &'a str,
}

impl Validator<'_> {
    /// Gives each front-end its id: the one that is written or, without one, its place in the file.
    fn frontends(&self, tables: Vec<FrontendTable>) -> Result<Vec<FrontendRole>, String> {
        let mut frontends: Vec<FrontendRole> = Vec::new();
        for (place, table) in (1..).zip(tables) {
            let written = table.id.as_ref().unwrap_or(&Spanned::new(0..0, place)).clone();
            let at = table.id.as_ref().map_or(table.address.span().start, |id| id.span().start);
            let line = self.line_at(at);
            let id = written.into_inner();
            if id == 0 {
                return Err(format!("line {line}: id: a front-end's id is 1 or more"));
            }
            if frontends.iter().any(|other| other.id == id) {
                return Err(format!(
                    "line {line}: two front-ends have the id {id}; give each [[frontend]] an id of \
                     its own (without one, its place in the file counts)"
                ));
            }
            frontends.push(FrontendRole { id, address: table.address.into_inner() });
        }
        Ok(frontends)
    }

    /// Explains an error of the TOML parser: the line, the key if the error is about a value, and
    /// what is allowed.
    fn explain(&self, error: &toml::de::Error) -> String {
        let place = error.span().map_or(0, |span| span.start);
        let number = self.line_at(place);
        // [order] before another [[order]] is reported as a duplicate key, at the second of them.
        let is_duplicate = error.message().starts_with("duplicate key");
        let mut headers =
            (1..).zip(self.text.lines()).filter(|(n, _)| is_duplicate || *n == number);
        if let Some((number, hint)) = headers.find_map(|(n, l)| Some((n, brackets(l)?))) {
            return format!("line {number}: {hint}");
        }
        let message = parse_error::in_plain_words(&error.message(), "a table");
        let message = match message.strip_prefix("unknown field ") {
            Some(rest) => {
                let rest = rest.replacen("expected one of", "allowed:", 1);
                format!("unknown key {}", rest.replacen("expected", "allowed:", 1))
            }
            None => message.replacen("missing field", "missing key", 1),
        };
        match key_before(self.text.get(..place).unwrap_or_default()) {
            Some(key) => format!("line {number}: {key}: {message}"),
            None => format!("line {number}: {message}"),
        }
    }

    fn line<T>(&self, value: &Spanned<T>) -> usize {
        self.line_at(value.span().start)
    }

    pub(super) fn line_at(&self, place: usize) -> usize {
        self.text.bytes().take(place).filter(|byte| *byte == b'\n').count() + 1
    }

    pub(super) fn fail<T, R>(
        &self,
        value: &Spanned<T>,
        problem: impl fmt::Display,
    ) -> Result<R, String> {
        Err(format!("line {}: {problem}", self.line(value)))
    }

    fn data_dir(&self, folder: &Spanned<String>) -> Result<(), String> {
        let name = folder.get_ref();
        if name.is_empty() || name.contains(char::is_control) {
            return self.fail(folder, "data_dir must name a folder, without control characters");
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
        let mut lines = HashMap::new();
        let CatalogTable { address, process, .. } = file.catalog.get_ref();
        let processes = process.iter().flat_map(Spanned::get_ref);
        let catalogs = address.iter().chain(processes.map(|process| &process.address));
        for address in catalogs.chain(orders).chain(frontends) {
            let line = self.line(address);
            if let Some(first) = lines.insert(address.get_ref(), line) {
                let problem = format!(
                    "address {} is used on line {first} already; each role needs its own",
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

    /// Checks the ids of the tables with this header, of which there must be one.
    pub(super) fn ids<'a, T>(
        &self,
        header: &str,
        tables: &Spanned<T>,
        ids: impl Iterator<Item = &'a Spanned<u32>>,
    ) -> Result<(), String> {
        let mut lines = HashMap::new();
        for spanned in ids {
            let id = *spanned.get_ref();
            if id == 0 {
                return self.fail(spanned, "id is 0; it must be a whole number, 1 or more");
            }
            if let Some(first) = lines.insert(id, self.line(spanned)) {
                let problem =
                    format!("id {id} is used on line {first} already; each {header} needs its own");
                return self.fail(spanned, problem);
            }
        }
        if lines.is_empty() {
            return self.fail(tables, format!("at least one {header} is needed"));
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
                    "the toy's name must have 1 to {} bytes, and no control characters",
                    ToyName::LONGEST
                );
                return self.fail(toy, problem);
            }
            if !names.insert(name) {
                let problem = format!("toy \"{name}\" is listed twice; each name must be unique");
                return self.fail(toy, problem);
            }
        }
        if names.is_empty() {
            return self.fail(toys, "toys must list at least one toy");
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

    fn trace(&self, TraceTable { events, otlp }: TraceTable) -> Result<TraceSettings, String> {
        if *events.get_ref() > MOST_EVENTS {
            let given = events.get_ref();
            let problem = format!("events is {given}; it must be from 0 to {MOST_EVENTS}");
            return self.fail(&events, problem);
        }
        let collector = |otlp: Spanned<String>| {
            let parsed = Collector::try_from(otlp.get_ref().clone());
            parsed.or_else(|problem| self.fail(&otlp, format!("otlp: {problem}")))
        };
        let otlp = otlp.map(collector).transpose()?;
        Ok(TraceSettings { events: events.into_inner(), otlp })
    }

    fn secret(&self, secret: &Spanned<Secret>) -> Result<(), String> {
        let text = secret.get_ref().reveal();
        if text.len() >= SHORTEST_SECRET && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(());
        }
        let problem =
            format!("secret must have at least {SHORTEST_SECRET} characters, all visible ASCII");
        self.fail(secret, problem)
    }
}

/// Returns what to write if `line` is a table's header with the wrong number of brackets.
fn brackets(line: &str) -> Option<&'static str> {
    match line.split('#').next().unwrap_or_default().trim() {
        "[frontend]" => Some("write [[frontend]], even if there is only one"),
        "[order]" => Some("write [[order]], once for each replica"),
        "[catalog.process]" => Some("write [[catalog.process]], once for each catalog"),
        "[[catalog]]" => Some("write [catalog]; there can be only one"),
        "[[rate_limit]]" => Some("write [rate_limit]; there can be only one"),
        "[[cache]]" => Some("write [cache]; there can be only one"),
        "[[tls]]" => Some("write [tls]; there can be only one"),
        "[[trace]]" => Some("write [trace]; there can be only one"),
        _ => None,
    }
}

/// Returns the key whose value begins where `text` ends, if one does.
fn key_before(text: &str) -> Option<&str> {
    let before = text.trim_end_matches(' ').strip_suffix('=')?.trim_end_matches(' ');
    before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().filter(|k| !k.is_empty())
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

fn default_trace() -> TraceTable {
    TraceTable { events: default_events(), otlp: None }
}

/// Some seconds of a busy store, in about 2 MB.
fn default_events() -> Spanned<usize> {
    Spanned::new(0..0, 8_192)
}

fn default_data_dir() -> Spanned<String> {
    Spanned::new(0..0, "data".into())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::{Engine, Role};
    use super::*;
    use crate::wire::term::CatalogId;

    const SHIPPED: &str = include_str!("../../roles.toml");

    fn problem_of(from: &str, to: &str) -> String {
        assert!(SHIPPED.contains(from), "roles.toml has no {from:?}");
        parse(&SHIPPED.replacen(from, to, 1), Path::new("/store")).unwrap_err()
    }

    #[test]
    fn a_rate_limit_is_off_unless_it_is_written_and_is_1_or_more() {
        let with = |text: &str| {
            parse(&SHIPPED.replacen("[cache]", text, 1), Path::new("/store"))
                .map(|roles| roles.rate_limit.map(|it| (it.requests_per_second, it.burst)))
        };
        assert_eq!(with("[cache]").unwrap(), None);
        let few = NonZeroU32::new(5).unwrap();
        let both = with("[rate_limit]\nrequests_per_second = 5\nburst = 5\n[cache]");
        assert_eq!(both.unwrap(), Some((few, Some(few))));
        let without_burst = with("[rate_limit]\nrequests_per_second = 5\n[cache]");
        assert_eq!(without_burst.unwrap(), Some((few, None)));
        for (written, problem) in [
            ("requests_per_second = 0", "a whole number from 1 to 4294967295"),
            ("burst = 5", "missing key `requests_per_second`"),
            ("per_second = 5", "unknown key `per_second`, allowed: `requests_per_second`"),
        ] {
            let error = with(&format!("[rate_limit]\n{written}\n[cache]")).unwrap_err();
            assert!(error.starts_with("line ") && error.contains(problem), "{error}");
        }
    }

    #[test]
    fn the_shipped_file_is_valid() {
        let roles = parse(SHIPPED, Path::new("/store")).unwrap();
        assert_eq!(roles.data_dir, Path::new("/store/data"));
        assert!(roles.catalog.toys.len() >= 12);
        let names: Vec<String> = roles.in_start_order().iter().map(Role::to_string).collect();
        assert_eq!(names, ["catalog", "order-1", "order-2", "order-3", "frontend"]);
    }

    #[test]
    fn each_setting_that_scripts_edit_is_once_in_the_shipped_file_on_its_own_line() {
        for key in ["data_dir", "restock_interval_ms", "initial_stock", "enabled", "capacity"] {
            let starts = |line: &&str| line.starts_with(&format!("{key} = "));
            assert_eq!(SHIPPED.lines().filter(starts).count(), 1, "{key}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_allowed_ones() {
        let problem = problem_of("capacity = 1000", "capacty = 1000");
        for part in ["line ", "unknown key `capacty`", "allowed: `enabled` or `capacity`"] {
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn a_table_with_the_wrong_number_of_brackets_is_refused_with_the_right_one() {
        for (from, to, right) in [
            ("[[frontend]]", "[frontend]", "write [[frontend]]"),
            ("[[order]]", "[order]", "write [[order]]"),
            ("[catalog]", "[[catalog]]", "write [catalog]"),
            ("[cache]", "[[cache]]", "write [cache]"),
        ] {
            let problem = problem_of(from, to);
            assert!(problem.starts_with("line ") && problem.contains(right), "{to}: {problem}");
        }
    }

    #[test]
    fn two_roles_cannot_share_an_address_or_an_id() {
        assert!(problem_of("127.0.0.1:8092", "127.0.0.1:8091").contains("is used on line"));
        assert!(problem_of("id = 2", "id = 1").contains("id 1 is used on line"));
        assert!(problem_of("id = 1", "id = 0").contains("1 or more"));
    }

    const PROCESSES: &str = "database = \"postgres://toystore@db/toys\"
        process = [{ id = 2, address = \"c2:80\" }, { id = 1, address = \"c1:80\" }]";

    #[test]
    fn several_catalogs_share_a_database() {
        let text = SHIPPED.replacen("address = \"127.0.0.1:8081\"", PROCESSES, 1);
        let roles = parse(&text, Path::new("/store")).unwrap();
        let names: Vec<String> = roles.in_start_order().iter().map(Role::to_string).collect();
        assert_eq!(names, ["catalog-1", "catalog-2", "order-1", "order-2", "order-3", "frontend"]);
        let address = roles.address_of(Role::CatalogProcess(CatalogId(1)));
        assert_eq!(address.unwrap().as_str(), "c1:80");
        assert!(roles.address_of(Role::Catalog).is_none());
        let Engine::Postgres(settings) = roles.catalog.engine else { unreachable!() };
        assert_eq!(settings.standbys, 1);
        assert_eq!(settings.database.to_string(), "postgres://toystore@db:5432/toys");
    }

    #[test]
    fn what_contradicts_the_engine_is_refused_with_the_line_and_the_allowed_keys() {
        let address = "address = \"127.0.0.1:8081\"";
        let line = 1 + SHIPPED[..SHIPPED.find(address).unwrap()].matches('\n').count();
        let with = |text: &str| problem_of(address, text);
        for (text, problem) in [
            (format!("standbys = 1\n{address}"), "standbys: only with `database`; allowed"),
            (format!("process = []\n{address}"), "[[catalog.process]]: only with `database`"),
            (format!("{address}\n{PROCESSES}"), "address: not with `database`"),
            (PROCESSES.replace("id = 2", "id = 1"), "id 1 is used on line"),
            (PROCESSES.replace("c2:80", "c1:80"), "address c1:80 is used on line"),
            ("database = \"postgres://a@b/c\"".into(), "at least one [[catalog.process]]"),
            ("database = \"postgres://a:b@b/c\"".into(), "PGPASSWORD"),
            (format!("standbys = 17\n{PROCESSES}"), "standbys is 17; it must be from 0 to 16"),
            (format!("standby = 1\n{PROCESSES}"), "unknown key `standby`, allowed: `address`"),
        ] {
            let said = with(&text);
            assert!(said.starts_with("line ") && said.contains(problem), "{text}: {said}");
            let place = said.trim_start_matches("line ").split(':').next().unwrap();
            assert!(place.parse::<usize>().unwrap() >= line, "{said}");
        }
        let missing = with("");
        assert!(missing.contains("missing key `address`"), "{missing}");
        let text = format!("{SHIPPED}\n[catalog.process]\nid = 1\naddress = \"c:80\"");
        let brackets = parse(&text, Path::new("")).unwrap_err();
        assert!(brackets.contains("write [[catalog.process]]"), "{brackets}");
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
            ("data_dir = \"data\"", "hosts = [\"shop.example.org:80\"]"),
            ("data_dir = \"data\"", "hosts = [\"\"]"),
            ("data_dir = \"data\"", "hosts = \"shop.example.org\""),
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
    fn values_of_the_wrong_type_are_refused_in_plain_english() {
        for (from, to, plain) in [
            ("initial_stock = 100", "initial_stock = \"many\"", "initial_stock: invalid type"),
            ("initial_stock = 100", "initial_stock = \"many\"", "expected a whole number"),
            ("capacity = 1000", "capacity = 1.5", "capacity: invalid type"),
            ("capacity = 1000", "capacity = 1.5", "expected a whole number"),
            ("price = 15.99", "price = true", "price: invalid type"),
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
    fn what_is_recorded_is_bounded() {
        let text = SHIPPED.replacen("events = 8192", "events = 1000000", 1);
        assert_eq!(parse(&text, Path::new("")).unwrap().trace.events, 1_000_000);
        let problem = problem_of("events = 8192", "events = 1000001");
        assert!(problem.contains("events is 1000001; it must be from 0 to 1000000"), "{problem}");
        let without = SHIPPED.replacen("events = 8192", "otlp = \"http://h:1\"", 1);
        assert_eq!(parse(&without, Path::new("")).unwrap().trace.events, 8_192);
        let problem = problem_of("events = 8192", "events = 8192\notlp = \"h:1\"");
        assert!(problem.contains("otlp: ") && problem.starts_with("line "), "{problem}");
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
