//! The text of `roles.toml`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;
use toystore::roles::{
    Address, CatalogProcess, CatalogRole, Engine, PostgresSettings, Roles, Secret,
};

use super::{is_clear, words};

/// Where the file would be.
const PLACE: &str = "/store/roles.toml";

/// A text that is refused is refused with the line and in plain words; one that is accepted is
/// right, and says the same once it was printed from what was read.
pub(crate) fn text(text: &str) -> Result<Roles, String> {
    match read(text) {
        Ok(roles) => {
            is_right(&roles);
            let printed = print(&roles);
            let again = read(&printed).unwrap_or_else(|problem| {
                unreachable!("{problem}: {printed}");
            });
            assert_eq!(shown(&roles), shown(&again), "{printed}");
            Ok(roles)
        }
        Err(problem) => {
            is_clear(&problem);
            let line = problem.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
            let number = line.and_then(|(number, _)| number.parse::<usize>().ok());
            let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
            assert!(number.is_some_and(|line| (1..=lines).contains(&line)), "no line: {problem}");
            Err(problem)
        }
    }
}

fn read(text: &str) -> Result<Roles, String> {
    let place = format!("{PLACE}: ");
    Roles::parse(text, Path::new(PLACE)).map_err(|error| {
        let said = error.to_string();
        said.strip_prefix(&place).expect("the file is named").to_owned()
    })
}

fn is_right(roles: &Roles) {
    let catalog = &roles.catalog;
    let orders = roles.orders.iter().map(|order| &order.address);
    let frontends = roles.frontends.iter().map(|frontend| &frontend.address);
    let addresses: Vec<_> =
        catalog_addresses(roles).into_iter().chain(frontends).chain(orders).collect();
    let different: HashSet<_> = addresses.iter().collect();
    assert_eq!(different.len(), addresses.len(), "{addresses:?}");
    for address in addresses {
        words::address(address.as_str());
    }
    assert!(!roles.frontends.is_empty() && !roles.orders.is_empty());
    assert!(roles.orders.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert!(roles.orders.iter().all(|order| order.id.0 >= 1));
    assert!((1..=1_000_000_000).contains(&catalog.initial_stock));
    assert!((1..=365 * 24 * 3_600_000).contains(&catalog.restock_interval.as_millis()));
    let names: HashSet<_> = catalog.toys.iter().map(|toy| &toy.name).collect();
    assert!(!names.is_empty() && names.len() == catalog.toys.len());
    for toy in &catalog.toys {
        let name = toy.name.as_str();
        assert!((1..=1_000).contains(&name.len()) && !name.contains(char::is_control), "{name:?}");
        words::price(toy.price.as_decimal());
        assert!(toy.price.cents() >= 1);
    }
    if let Some(secret) = &roles.secret {
        assert!(secret.reveal().len() >= 16);
        assert!(secret.reveal().bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

fn catalog_addresses(roles: &Roles) -> Vec<&Address> {
    let listed = roles.catalog.roles().into_iter().map(|role| roles.address_of(role));
    listed.map(|address| address.expect("each catalog has one")).collect()
}

/// The keys of `[catalog]` that depend on the engine.
fn engine(catalog: &CatalogRole) -> String {
    let settings = match &catalog.engine {
        Engine::Sqlite { address } => return format!("address = \"{address}\""),
        Engine::Postgres(settings) => settings,
    };
    let PostgresSettings { database, standbys, processes } = settings;
    let processes: Vec<String> = processes
        .iter()
        .map(|CatalogProcess { id, address }| format!("{{ id = {id}, address = \"{address}\" }}"))
        .collect();
    let processes = processes.join(", ");
    let database = json!(database.to_string());
    format!("database = {database}\nstandbys = {standbys}\nprocess = [{processes}]")
}

/// Everything that was read, the secret included.
fn shown(roles: &Roles) -> (String, Option<&str>) {
    (format!("{roles:?}"), roles.secret.as_ref().map(Secret::reveal))
}

/// The text that says what was read. (A TOML string may be written as a JSON one, but for DEL.)
fn print(roles: &Roles) -> String {
    let quoted = |text: &str| json!(text).to_string().replace('\u{7f}', "\\u007f");
    let mut text = format!("data_dir = {}\n", quoted(&roles.data_dir.to_string_lossy()));
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        text.write_fmt(arguments).and_then(|()| text.write_char('\n')).expect("memory");
    };
    if let Some(secret) = &roles.secret {
        line(format_args!("secret = {}", quoted(secret.reveal())));
    }
    let hosts: Vec<String> = roles.hosts.iter().map(|host| quoted(host.as_str())).collect();
    line(format_args!("hosts = [{}]", hosts.join(", ")));
    for frontend in &roles.frontends {
        line(format_args!(
            "[[frontend]]\nid = {}\naddress = \"{}\"",
            frontend.id, frontend.address
        ));
    }
    for order in &roles.orders {
        line(format_args!("[[order]]\nid = {}\naddress = \"{}\"", order.id, order.address));
    }
    let catalog = &roles.catalog;
    let toys = catalog.toys.iter().map(|toy| {
        let name = quoted(toy.name.as_str());
        format!("{{ name = {name}, price = {:?} }}", toy.price.as_decimal())
    });
    let toys: Vec<String> = toys.collect();
    line(format_args!(
        "[catalog]\n{}\nrestock_interval_ms = {}\ninitial_stock = {}\ntoys = [{}]",
        engine(catalog),
        catalog.restock_interval.as_millis(),
        catalog.initial_stock,
        toys.join(", "),
    ));
    let cache = roles.cache;
    line(format_args!("[cache]\nenabled = {}\ncapacity = {}", cache.enabled, cache.capacity));
    line(format_args!("[trace]\nevents = {}", roles.trace.events));
    if let Some(limit) = roles.rate_limit {
        line(format_args!("[rate_limit]\nrequests_per_second = {}", limit.requests_per_second));
        if let Some(burst) = limit.burst {
            line(format_args!("burst = {burst}"));
        }
    }
    text
}
