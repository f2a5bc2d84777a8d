//! `roles.toml`.

use std::fmt::Write as _;

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::json;
use toystore::wire::toy::Price;

use crate::changes::{changed, text_changes};
use crate::inputs::price;
use crate::properties::roles::text;
use crate::properties::{is_clear, is_plain};

const SHIPPED: &str = include_str!("../../roles.toml");
/// Words that mean something in the file.
const WORDS: [&str; 24] = [
    "\n",
    "=",
    "[[frontend]]\n",
    "[[order]]\n",
    "[cache]\n",
    "[catalog]\n",
    "id = 1\n",
    "data_dir = \"\"\n",
    "address = \"127.0.0.1:8080\"\n",
    "secret = \"sixteen letters!\"\n",
    "hosts = [\"shop.example.org\", \"[::1]\"]\n",
    "[[catalog.process]]\n",
    "standbys = 2\n",
    "database = \"postgres://toystore@localhost:5501/toystore\"\n",
    "true",
    "-1",
    "\"",
    "'''",
    "[",
    "]",
    "{",
    "}",
    "1e99",
    "\\u0000",
];

/// Databases, in the ways that are allowed.
const URLS: [&str; 4] = [
    "postgres://toystore@127.0.0.1:5501,127.0.0.1:5502,127.0.0.1:5503/toystore",
    "postgresql://a%20b@[::1],db/c%2Fd?sslmode=disable",
    "postgres://toystore@db.example.org/toystore?sslmode=verify-full",
    "postgres://t@db/t?sslmode=verify-full&sslrootcert=/etc/ssl/certs/the%20authority.pem",
];

/// A file with everything in it, in all the ways that are allowed.
#[derive(Clone, Debug)]
struct File {
    data_dir: String,
    secret: Option<String>,
    /// The URL's end, and how many standbys.
    database: Option<(&'static str, u32)>,
    /// The catalog's, the replicas', and then the front-ends'.
    ports: Vec<u16>,
    replicas: Vec<u32>,
    interval_ms: u64,
    stock: u64,
    toys: Vec<(String, Price)>,
    cache: Option<(bool, u32)>,
}

prop_compose! {
    fn file()(
        replicas in btree_set(1..u32::MAX, 1..4),
        frontends in 1..3_usize,
    )(
        // A file that begins with `~` is refused: only a shell knows the home folder.
        data_dir in "[^~\\p{Cc}][^\\p{Cc}]{0,19}",
        secret in option::of("[!-~]{16,40}"),
        ports in btree_set(1..u16::MAX, 1 + replicas.len() + frontends),
        replicas in Just(replicas.into_iter().collect::<Vec<_>>()).prop_shuffle(),
        interval_ms in 1..=31_536_000_000_u64,
        stock in 1..=1_000_000_000_u64,
        names in btree_set("[^\\p{Cc}]{1,30}", 1..5),
        prices in vec(price(), 5),
        cache in option::of((any::<bool>(), any::<u32>())),
        database in option::of((proptest::sample::select(&URLS[..]), 0..=16_u32)),
    ) -> File {
        let (ports, toys) = (ports.into_iter().collect(), names.into_iter().zip(prices).collect());
        File { data_dir, secret, database, ports, replicas, interval_ms, stock, toys, cache }
    }
}

impl File {
    fn print(&self) -> String {
        let mut ports = self.ports.iter();
        let mut address = || format!("address = \"localhost:{}\"", ports.next().expect("one each"));
        let mut text = format!("data_dir = {}\n", json!(self.data_dir));
        if let Some(secret) = &self.secret {
            writeln!(text, "secret = {}", json!(secret)).expect("memory");
        }
        let (address_of_catalog, interval, stock) = (address(), self.interval_ms, self.stock);
        let engine = match self.database {
            None => address_of_catalog,
            Some((url, standbys)) => {
                let process = format!("process = [{{ id = 1, {address_of_catalog} }}]");
                format!("database = {}\nstandbys = {standbys}\n{process}", json!(url))
            }
        };
        writeln!(
            text,
            "[catalog]\n{engine}\nrestock_interval_ms = {interval}\ninitial_stock = {stock}\n\
             toys = ["
        )
        .expect("memory");
        for (name, price) in &self.toys {
            let price = price.as_decimal();
            writeln!(text, "  {{ name = {}, price = {price:?} }},", json!(name)).expect("memory");
        }
        text.push_str("]\n");
        for id in &self.replicas {
            writeln!(text, "[[order]]\nid = {id}\n{}", address()).expect("memory");
        }
        for _ in self.replicas.len() + 1..self.ports.len() {
            writeln!(text, "[[frontend]]\n{}", address()).expect("memory");
        }
        if let Some((enabled, capacity)) = self.cache {
            writeln!(text, "[cache]\nenabled = {enabled}\ncapacity = {capacity}").expect("memory");
        }
        text
    }
}

proptest! {
    #[test]
    fn every_file_within_the_limits_is_accepted_and_says_what_it_says(file in file()) {
        let roles = text(&file.print()).unwrap_or_else(|problem| unreachable!("{problem}"));
        prop_assert_eq!(roles.data_dir, std::path::Path::new("/store").join(&file.data_dir));
        prop_assert_eq!(roles.secret.map(|secret| secret.reveal().to_owned()), file.secret);
        prop_assert_eq!(roles.orders.len(), file.replicas.len());
        prop_assert_eq!(roles.frontends.len(), file.ports.len() - 1 - file.replicas.len());
        prop_assert_eq!(roles.catalog.initial_stock, file.stock);
        prop_assert_eq!(roles.catalog.restock_interval.as_millis(), u128::from(file.interval_ms));
        let toys = roles.catalog.toys.iter().map(|toy| (toy.name.to_string(), toy.price));
        prop_assert_eq!(toys.collect::<Vec<_>>(), file.toys);
        let (enabled, capacity) = file.cache.unwrap_or((true, 1_000));
        prop_assert_eq!((roles.cache.enabled, roles.cache.capacity), (enabled, capacity as usize));
    }

    #[test]
    fn the_shipped_file_with_changes_is_refused_with_the_line_or_right(
        changes in text_changes(&WORDS),
    ) {
        let _either = text(&changed(SHIPPED, &changes));
    }

    #[test]
    fn any_file_with_changes_is_refused_with_the_line_or_right(
        file in file(),
        changes in text_changes(&WORDS),
    ) {
        let _either = text(&changed(&file.print(), &changes));
    }

    #[test]
    fn a_value_of_another_kind_is_refused_in_plain_words(
        line in any::<proptest::sample::Index>(),
        value in proptest::sample::select(vec![
            "\"many\"", "7", "-7", "1.5", "true", "[]", "{}", "[7]", "{ x = 1 }", "1979-05-27",
            "nan", "99999999999", "",
        ]),
    ) {
        let mut lines: Vec<String> = SHIPPED.lines().map(str::to_owned).collect();
        let settings: Vec<usize> =
            (0..lines.len()).filter(|at| lines[*at].contains(" = ")).collect();
        let at = settings[line.index(settings.len())];
        let key = lines[at].rsplit_once(" = ").expect("a setting").0.to_owned();
        let end = if lines[at].ends_with("},") { " }," } else { "" };
        lines[at] = format!("{key} = {value}{end}");
        if let Err(problem) = text(&lines.join("\n")) {
            is_plain(&problem);
        }
    }

    #[test]
    fn a_text_that_is_no_such_file_is_refused_with_the_line(anything in any::<String>()) {
        let problem = text(&anything).expect_err("it says nothing of roles");
        is_clear(&problem);
    }
}

#[test]
fn what_is_nested_beyond_reason_is_refused() {
    for (open, close) in [("[", "]"), ("{a=", "}"), ("[[", "]]")] {
        let nested = format!("a = {}{}", open.repeat(100_000), close.repeat(100_000));
        assert!(text(&nested).is_err());
    }
    assert!(text(&format!("{} = 1", vec!["a"; 50_000].join("."))).is_err());
}
