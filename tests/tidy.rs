//! The house rules as a test: who may use whom, how large a file may be, which names there are.
//!
//! `docs/design.md` explains the structure; this is what keeps it true.

use std::fs;
use std::path::{Path, PathBuf};

/// For each part of `src`, the crate's modules that it may use. What is not listed may use all.
///
/// Services never use one another. A core knows no socket, clock, disk or log: it uses what
/// crosses the wire, its own neighbours among the cores, and `std`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("wire/", &["wire"]),
    ("catalog/stock.rs", &["wire"]),
    ("catalog/batch.rs", &["wire"]),
    ("catalog/sessions.rs", &["wire"]),
    ("catalog/core.rs", &["wire"]),
    ("catalog/steps.rs", &["wire"]),
    ("order/replica.rs", &["wire"]),
    ("order/followers.rs", &["wire"]),
    ("order/queue.rs", &["wire"]),
    ("order/tail.rs", &["wire"]),
    ("order/core.rs", &["wire"]),
    ("order/outbox.rs", &["wire"]),
    ("order/reign.rs", &["wire"]),
    ("order/trade.rs", &["wire"]),
    ("frontend/cache.rs", &["wire"]),
    ("frontend/tenancy.rs", &["wire"]),
    ("frontend/recency.rs", &["wire"]),
    ("frontend/flights.rs", &["wire"]),
    ("frontend/selection.rs", &["wire"]),
    ("frontend/retry.rs", &["wire"]),
    ("client/core/", &["wire"]),
    ("clock.rs", &[]),
    ("failpoint.rs", &[]),
    ("roles/", &["wire"]),
    ("transport.rs", &["wire", "roles"]),
    ("storage/", &["wire", "roles", "storage", "catalog::stock", "failpoint"]),
    ("neighbours.rs", &["wire", "roles", "transport"]),
    ("server.rs", &["wire", "roles", "transport"]),
    ("health.rs", &["wire", "roles", "transport", "server", "clock"]),
    ("catalog/", &SERVICE),
    ("order/", &SERVICE),
];

const SERVICE: [&str; 10] = [
    "wire",
    "roles",
    "storage",
    "transport",
    "neighbours",
    "server",
    "health",
    "process",
    "clock",
    "failpoint",
];

/// Words that would make a core impure.
const IMPURE: [&str; 6] = ["clock::now", "Instant::now", "log::", "tokio::", "actix", "std::net"];

/// Lines that a file may have before its tests. A reader should see the whole of it in a few
/// screens.
const MOST_LINES: usize = 370;
const MOST_COLUMNS: usize = 100;

#[test]
fn every_part_uses_only_what_it_may() {
    for (path, text) in sources("src") {
        let code = before_tests(&text);
        let Some((part, allowed)) = MAY_USE.iter().find(|(part, _)| path.starts_with(part)) else {
            continue;
        };
        for used in crate_paths(code) {
            let own = part.strip_suffix('/').is_some_and(|own| used.starts_with(own));
            let may = own || allowed.iter().any(|module| used.starts_with(module));
            assert!(may, "src/{path} uses {used}; it may use {allowed:?}");
        }
    }
}

#[test]
fn services_do_not_use_one_another() {
    const SERVICES: [&str; 4] = ["catalog", "order", "frontend", "client"];
    for (path, text) in sources("src") {
        let Some(service) = SERVICES.iter().find(|s| path.starts_with(&format!("{s}/"))) else {
            continue;
        };
        for used in crate_paths(before_tests(&text)) {
            let other = SERVICES.iter().find(|other| used.split(':').next() == Some(other));
            assert!(other.is_none_or(|other| other == service), "src/{path} uses {used}");
        }
    }
}

#[test]
fn a_core_knows_no_socket_clock_disk_or_log() {
    let cores =
        MAY_USE.iter().filter(|(part, allowed)| part.contains('/') && **allowed == ["wire"]);
    for (part, _) in cores {
        for (path, text) in sources("src").into_iter().filter(|(path, _)| path.starts_with(part)) {
            for word in IMPURE {
                let found = before_tests(&text)
                    .lines()
                    .find(|line| line.contains(word) && !line.trim_start().starts_with("//"));
                assert!(found.is_none(), "src/{path} is a core and says {word}: {found:?}");
            }
        }
    }
}

#[test]
fn only_storage_speaks_sql() {
    for (path, text) in sources("src") {
        let speaks = before_tests(&text).contains("rusqlite");
        assert!(!speaks || path.starts_with("storage/"), "src/{path} uses rusqlite");
    }
}

#[test]
fn every_file_says_what_it_owns_and_is_of_a_readable_size() {
    for folder in ["src", "tests"] {
        for (path, text) in sources(folder) {
            assert!(text.starts_with("//! "), "{folder}/{path} does not say what it owns");
            let lines = before_tests(&text).lines().count();
            let most = if folder == "src" { MOST_LINES } else { 2 * MOST_LINES };
            assert!(lines <= most, "{folder}/{path} has {lines} lines; split it");
            for (number, line) in (1..).zip(text.lines()) {
                let columns = line.chars().count();
                let is_table = line.starts_with("//! |");
                assert!(is_table || columns <= MOST_COLUMNS, "{folder}/{path}:{number}: {columns}");
            }
        }
    }
}

#[test]
fn there_is_no_drawer_for_odds_and_ends() {
    for (path, _) in sources("src") {
        for name in ["util", "common", "helper", "types", "model", "misc"] {
            let file = Path::new(&path).file_stem().unwrap().to_string_lossy().into_owned();
            assert!(!file.starts_with(name), "src/{path}: name it for what it is");
        }
    }
}

/// The Rust files below a folder of the repository: path within it, and text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .expect("below the root")
                    .to_string_lossy()
                    .into_owned();
                found.push((name, fs::read_to_string(path).expect("text")));
            }
        }
    }
    assert!(!found.is_empty(), "there are sources in {folder}");
    found
}

fn before_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\n").next().expect("a first part")
}

/// What a file names of its own crate: `crate::wire::order::Order` gives `wire::order::Order`, and
/// a `use crate::{a, b}` gives `a` and `b`.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split(';').next().expect("a first part");
                paths.extend(list.split([',', '}']).map(|item| item.trim().to_owned()));
            }
            None => paths.push(rest[..end.unwrap_or(rest.len())].to_owned()),
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}
