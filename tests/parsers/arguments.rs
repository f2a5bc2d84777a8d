//! The client's arguments.

use std::path::Path;

use clap::Parser as _;
use proptest::collection::vec;
use proptest::prelude::*;
use toystore::client::arguments::{Arguments, Settings};
use toystore::roles::Roles;

use crate::properties::words;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        (0..1_200_u32).prop_map(|number| number.to_string()),
        "[0-9.]{1,5}(ms|s|m|min|h|d)?",
        "[ -~]{0,6}",
        any::<String>(),
    ]
}

fn word() -> impl Strategy<Value = String> {
    let flags = [
        "-c",
        "-n",
        "-d",
        "-p",
        "-q",
        "--clients",
        "--iterations",
        "--duration",
        "--probability",
        "--quantity",
        "--seed",
        "--frontend",
        "--rate",
        "--format",
        "--out",
        "text",
        "json",
        "csv",
        "127.0.0.1:80",
        "--",
        "-",
    ];
    let flag = proptest::sample::select(flags.to_vec()).prop_map(str::to_owned);
    prop_oneof![2 => flag, 1 => number()]
}

proptest! {
    #[test]
    fn a_number_is_within_its_bounds_or_refused(text in number()) {
        words::arguments(&text);
    }

    #[test]
    fn whatever_is_accepted_makes_a_run_that_can_be_made(words in vec(word(), 0..8)) {
        let arguments = std::iter::once("client".to_owned()).chain(words);
        if let Ok(line) = Line::try_parse_from(arguments) {
            let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/roles.toml"));
            let roles = Roles::read(shipped).expect("it is right");
            let settings = Settings::new(&line.arguments, &roles.frontend_addresses());
            prop_assert!((1..=1_000).contains(&settings.clients));
            prop_assert!((0.0..=1.0).contains(&settings.probability.get()));
            prop_assert!(settings.quantity.get() >= 1);
            prop_assert!(!settings.frontends.is_empty());
            // When the first iterations are due, and how many there are, can be told.
            let clients = settings.clients;
            let _at_some_time = settings.schedule.due(clients - 1, clients, 1_000_000);
            let _so_many = settings.end.iterations_due(settings.schedule, settings.clients, None);
        }
    }

    #[test]
    fn each_setting_within_its_bounds_is_accepted(
        clients in 1..=1_000_u32,
        iterations in 1..=u64::MAX,
        probability in 0.0..=1.0_f64,
        quantity in 1..=u64::MAX,
        seed in any::<u64>(),
        port in 1..=u16::MAX,
    ) {
        let line = format!(
            "client -c {clients} -n {iterations} -p {probability} -q {quantity} --seed {seed} \
             --frontend localhost:{port} --rate 10"
        );
        let line = Line::try_parse_from(line.split(' '));
        let line = line.map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
        let settings = Settings::new(&line.arguments, &[]);
        prop_assert_eq!((settings.clients, settings.seed), (clients, seed));
        prop_assert_eq!(settings.quantity.get(), quantity.min(i64::MAX as u64));
    }
}
