//! The house rules as a test: who may use whom, how large a file may be, which names there are.
//!
//! `docs/architecture.md` explains the structure; this is what keeps it true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// For each part of `src`, the crate's modules that it may use, the first line that fits its path
/// deciding. What is not listed may use all.
///
/// Services never use one another. A `core` folder knows no socket, clock, disk or log: it uses
/// what crosses the wire, its own files, and what [only computes](PURE).
const MAY_USE: &[(&str, &[&str])] = &[
    ("wire/", &[]),
    ("catalog/core/", &["wire"]),
    ("order/core/", &["wire"]),
    ("frontend/core/", &["wire"]),
    ("client/core/", &["wire"]),
    ("clock.rs", &[]),
    ("failpoint.rs", &[]),
    ("tls.rs", &[]),
    ("roles/", &["wire", "tls"]),
    ("descriptors.rs", &["roles"]),
    ("events/", &["wire", "roles", "runtime", "clock"]),
    ("rulers.rs", &["wire"]),
    ("identity.rs", &["wire", "roles", "events", "rulers"]),
    ("transport/", &["wire", "roles", "tls", "identity", "events", "clock"]),
    ("agreement.rs", &["wire", "roles", "identity", "transport", "shutdown"]),
    ("metrics/", &[]),
    ("storage/", &["wire", "failpoint", "clock", "metrics"]),
    ("catalogs.rs", &["wire", "roles", "identity", "transport", "runtime", "rulers"]),
    ("neighbours.rs", &["wire", "roles", "identity", "transport", "descriptors", "catalogs"]),
    ("alarm.rs", &["clock"]),
    ("runtime.rs", &["alarm", "clock"]),
    ("repeats.rs", &[]),
    ("shutdown.rs", &["process", "runtime"]),
    (
        "server/",
        &["wire", "roles", "tls", "transport", "descriptors", "clock", "metrics", "repeats"],
    ),
    ("health.rs", &["wire", "roles", "transport", "server", "clock"]),
    ("backup/", &BACKUP),
    ("catalog/journal/", &["wire", "roles", "storage", "metrics", "catalog::core"]),
    (
        "catalog/postgres/",
        &[
            "wire",
            "roles",
            "storage",
            "catalog::core",
            "catalog::journal",
            "catalog::shared",
            "catalog::storage",
        ],
    ),
    ("order/order_log.rs", &["wire", "storage"]),
    ("catalog/", &SERVICE),
    ("order/", &SERVICE),
    ("frontend/", &SERVICE),
];

/// What a backup may use.
const BACKUP: [&str; 8] =
    ["wire", "roles", "storage", "pid_lock", "process", "clock", "failpoint", "catalog::journal"];

/// What a service may use besides its own files.
const SERVICE: [&str; 18] = [
    "wire",
    "roles",
    "events",
    "storage",
    "identity",
    "agreement",
    "transport",
    "catalogs",
    "neighbours",
    "server",
    "health",
    "metrics",
    "process",
    "runtime",
    "shutdown",
    "clock",
    "failpoint",
    "repeats",
];

/// The services, which never use one another.
const SERVICES: [&str; 4] = ["catalog", "order", "frontend", "client"];

/// What a core may use of `std` and of libraries: it computes, and does nothing else. (An `Instant`
/// is a value that a core is given; `clippy` names lints.)
const PURE: [&str; 16] = [
    "clippy",
    "hashlink",
    "hdrhistogram",
    "rand",
    "rand_chacha",
    "serde",
    "std::cell",
    "std::cmp",
    "std::collections",
    "std::fmt",
    "std::hash",
    "std::mem",
    "std::num",
    "std::ops",
    "std::str",
    "std::time",
];

/// The only files that may speak SQL: what databases share, and one database per service.
const DATABASES: [&str; 4] =
    ["storage/", "catalog/journal/", "catalog/postgres/", "order/order_log.rs"];

/// What reaches the world all the same: a clock, the system's random numbers, the terminal, and
/// other names for a library.
const IMPURE: [&str; 8] = [
    "Instant::now",
    "SystemTime",
    "rand::rng",
    "rand::random",
    "print",
    "dbg!",
    "extern crate",
    " as std;",
];

/// Type names that several files define on purpose, and why.
const SHARED_NAMES: [(&str, &str); 4] = [
    ("Core", "each service's decisions; the path says which service's"),
    ("Service", "each service's use cases; the path says which service's"),
    ("Remote", "each service's calls to others; the path says which service's"),
    ("Storage", "what each service asks of its database; the path says which service's"),
];

/// Lines that a file may have before its tests. A reader should see the whole of it in a few
/// screens.
const MOST_LINES: usize = 370;
const MOST_COLUMNS: usize = 100;

#[test]
fn every_part_uses_only_what_it_may() {
    for (path, text) in sources("src") {
        let Some((part, allowed)) = MAY_USE.iter().find(|(part, _)| path.starts_with(part)) else {
            continue;
        };
        let own = part.trim_end_matches(".rs").trim_end_matches('/').replace('/', "::");
        for used in crate_paths(&path, before_tests(&text)) {
            let may = allowed.iter().copied().chain([own.as_str()]).any(|it| is_within(&used, it));
            assert!(may, "src/{path} uses {used}; it may use {allowed:?} and its own files");
        }
    }
}

#[test]
fn the_table_of_rooms_has_what_each_may_use() {
    let mut compared = 0;
    for (rooms, told) in rooms() {
        let parts = MAY_USE.iter().filter(|(part, _)| rooms.iter().any(|room| room == part));
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() {
            continue;
        }
        let is_own = |name: &str| {
            parts.iter().any(|(part, _)| part.trim_end_matches(".rs").trim_end_matches('/') == name)
        };
        let allowed = parts.iter().flat_map(|(_, allowed)| allowed.iter().copied());
        let allowed: BTreeSet<_> = allowed.filter(|name| !is_own(name)).collect();
        let told: BTreeSet<_> = told.iter().map(String::as_str).collect();
        assert_eq!(told, allowed, "docs/architecture.md says what {rooms:?} may use");
        compared += parts.len();
    }
    assert!(compared >= 12, "{compared} rooms are in the table");
    for file in ["routes.rs", "remote.rs"] {
        let (_, told) = rooms()
            .into_iter()
            .find(|(rooms, _)| rooms.contains(&format!("catalog/{file}")))
            .expect("it is in the table");
        for service in SERVICES {
            let path = format!("{service}/{file}");
            let Some((_, text)) = sources("src").into_iter().find(|(one, _)| *one == path) else {
                continue;
            };
            for used in crate_paths(&path, before_tests(&text)) {
                let may = is_within(&used, service) || told.iter().any(|it| is_within(&used, it));
                assert!(may, "src/{path} uses {used}; docs/architecture.md has {told:?}");
            }
        }
    }
}

#[test]
fn services_do_not_use_one_another() {
    for (path, text) in sources("src") {
        let Some(service) = SERVICES.iter().find(|s| path.starts_with(&format!("{s}/"))) else {
            continue;
        };
        for used in crate_paths(&path, before_tests(&text)) {
            let other = SERVICES.iter().find(|other| is_within(&used, other));
            assert!(other.is_none_or(|other| other == service), "src/{path} uses {used}");
        }
    }
}

#[test]
fn a_core_knows_no_socket_clock_disk_or_log() {
    let cores: Vec<_> =
        sources("src").into_iter().filter(|(path, _)| path.contains("/core/")).collect();
    assert!(cores.len() > 10, "there are cores");
    for (path, text) in cores {
        let impure = impurities(before_tests(&text));
        assert!(impure.is_empty(), "src/{path} is a core and uses {impure:?}");
    }
}

#[test]
fn a_core_that_reaches_the_world_is_found() {
    let reaches = [
        "let now = Instant::now();",
        "let time = std::time::SystemTime::now();",
        "let name = rand::random::<u64>();",
        "let file = std::fs::read(path);",
        "let home = std::env::var(name);",
        "std::thread::sleep(pause);",
        "tokio::spawn(task);",
        "actix_web::rt::spawn(task);",
        "log::warn!(\"text\");",
        "println!(\"text\");",
        "dbg!(value);",
        "use std::{fs, fmt};",
        "use std::net::TcpStream;",
        "use tokio::time;\nlet x = time::sleep(pause);",
        "let socket = ::std::net::TcpStream::connect(address);",
        "use tokio as std;",
        "extern crate libc;",
    ];
    for code in reaches {
        assert!(!impurities(code).is_empty(), "{code}");
    }
    let computes = "use std::fmt;\n#[expect(clippy::x)]\n// log::info!\n\
                    fn f(m: &mut fmt::F, l: self::log::L) {\n\
                    super::log::g(u64::MAX, Vec::new(), std::mem::take(m), m.parse::<u64>()) }";
    assert!(impurities(computes).is_empty(), "{:?}", impurities(computes));
}

#[test]
fn only_databases_speak_sql() {
    for (path, text) in sources("src") {
        let speaks =
            ["rusqlite", "tokio_postgres"].iter().any(|it| before_tests(&text).contains(it));
        let may = DATABASES.iter().any(|place| path.starts_with(place));
        assert!(!speaks || may, "src/{path} speaks SQL");
    }
}

#[test]
fn relative_paths_are_followed_to_what_they_name() {
    let used = |file: &str, code: &str| crate_paths(file, code);
    assert_eq!(used("order/core/log.rs", "use super::super::remote::X;"), ["order::remote::X"]);
    assert_eq!(used("order/core/mod.rs", "use super::remote::X;"), ["order::remote::X"]);
    assert_eq!(used("order/core/mod.rs", "use self::log::X;"), ["order::core::log::X"]);
    assert_eq!(used("order/core/log.rs", "use super::Core;"), ["order::core::Core"]);
    assert_eq!(used("lib.rs", "use crate::{wire, storage};"), ["wire", "storage"]);
    assert_eq!(used("a/b.rs", "// super::c\nlet x = crate::clock::now();"), ["clock::now"]);
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
fn a_type_name_means_one_thing() {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources("src") {
        for name in type_names(before_tests(&text)) {
            files.entry(name).or_default().insert(path.clone());
        }
    }
    assert!(files.len() > 100, "there are types");
    for (name, reason) in SHARED_NAMES {
        let shared = files.remove(name).is_some_and(|files| files.len() > 1);
        assert!(shared, "{name} is not shared any more ({reason}): take it off the list");
    }
    for (name, files) in files {
        assert!(files.len() <= 1, "{name} is defined in {files:?}: name each for what it is");
    }
}

#[test]
fn type_names_are_found_however_they_are_declared() {
    let code = "pub struct A;\npub(super) enum B {\nstruct C<T>(T);\npub(in crate::x) trait D {}\n\
                type E = u8;\n    type Err = u8;\nfn f() {}\n// struct G\npub use x::H;";
    assert_eq!(type_names(code), ["A", "B", "C", "D", "E"]);
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

/// What `code` uses that is neither its own crate's nor [pure](PURE): beginnings of paths, and
/// [words](IMPURE).
fn impurities(code: &str) -> Vec<String> {
    const OWN: [&str; 3] = ["crate", "self", "super"];
    const PRIMITIVES: [&str; 8] = ["u8", "u16", "u32", "u64", "usize", "i64", "f64", "str"];
    let code: Vec<&str> =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut found: Vec<String> =
        IMPURE.iter().filter(|word| code.contains(**word)).map(ToString::to_string).collect();
    for (middle, _) in code.match_indices("::") {
        let before = &code[..middle];
        let first = before.rsplit(|c: char| !is_of_name(c)).next().unwrap_or_default();
        let is_type = first.starts_with(|c: char| !c.is_lowercase());
        let goes_on = before[..middle - first.len()].ends_with("::")
            && before[..middle - first.len() - 2].ends_with(|c: char| is_of_name(c) || c == '>');
        let is_method = before[..middle - first.len()].ends_with('.');
        let is_imported = code.contains(&format!("::{first};"));
        if is_type
            || goes_on
            || is_method
            || is_imported
            || OWN.contains(&first)
            || PRIMITIVES.contains(&first)
        {
            continue;
        }
        let end = code[middle + 2..].find(|c: char| !is_of_name(c)).unwrap_or_default();
        let path = &code[middle - first.len()..middle + 2 + end];
        if !PURE.iter().any(|pure| is_within(path, pure)) {
            found.push(path.to_owned());
        }
    }
    found
}

/// The rows of the table of rooms in `docs/architecture.md`: what each is about, `<service>`
/// standing for each service, and which modules of the crate it may use.
fn rooms() -> Vec<(Vec<String>, Vec<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let page = fs::read_to_string(page).expect("the document is there");
    let rows = page.lines().skip_while(|line| !line.starts_with("| room |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [about, _, may_use] = cells.as_slice() else { unreachable!("three cells: {row}") };
        let quoted = |cell: &str| -> Vec<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let about = quoted(about).into_iter().flat_map(|place| {
            let of = |service: &&str| place.replace("<service>", service);
            SERVICES.iter().map(of).collect::<BTreeSet<_>>()
        });
        (about.collect(), quoted(may_use).into_iter().filter(|name| name != "std").collect())
    });
    rows.collect()
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

/// The names of the types that `code` declares at its top level.
fn type_names(code: &str) -> Vec<String> {
    let name = |line: &str| {
        let item = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
            Some(rest) => rest.trim_start(),
            None => line,
        };
        let (kind, rest) = item.split_once(' ')?;
        let name = rest.split(|c: char| !is_of_name(c)).next()?;
        ["struct", "enum", "trait", "type", "union"].contains(&kind).then(|| name.to_owned())
    };
    code.lines().filter_map(name).collect()
}

/// Whether `path` is `module` or something in it.
fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What the file at `path` names of its own crate, from the crate's root on:
/// `crate::wire::order::Order` gives `wire::order::Order`, `use crate::{a, b}` gives `a` and `b`,
/// and `super` and `self` are followed from where the file stands. Comments do not count.
fn crate_paths(path: &str, code: &str) -> Vec<String> {
    let module: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let module = match module.as_slice() {
        [folders @ .., "mod" | "lib" | "main"] => folders,
        whole => whole,
    };
    let code: Vec<&str> =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut paths = Vec::new();
    for (start, _) in code.match_indices("::") {
        let first = code[..start].rsplit(|c: char| !is_of_name(c)).next().unwrap_or_default();
        // Only where a path begins: in `super::super::x` the second `super` is not its own.
        let begins = !code[..start - first.len()].ends_with("::");
        if !begins || !["crate", "self", "super"].contains(&first) {
            continue;
        }
        let mut rest = &code[start + 2..];
        let mut base = if first == "crate" { &[] } else { module };
        if first == "super" {
            base = &base[..base.len().saturating_sub(1)];
        }
        while let Some(further) = rest.strip_prefix("super::") {
            base = &base[..base.len().saturating_sub(1)];
            rest = further;
        }
        let end = rest.find(|c: char| !is_of_name(c) && c != ':').unwrap_or(rest.len());
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split(';').next().unwrap_or_default();
                list.split([',', '}']).map(str::trim).collect()
            }
            None => vec![&rest[..end]],
        };
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            paths.push(base.iter().copied().chain([name]).collect::<Vec<_>>().join("::"));
        }
    }
    paths
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
