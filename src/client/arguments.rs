//! A run's arguments, and the settings that follow from them.

use std::path::PathBuf;

use clap::ValueEnum;

use super::core::schedule::{End, Rate, RunTime, Schedule};
use super::core::shopper::Probability;
use super::report::thresholds::Threshold;
use crate::roles::Address;
use crate::wire::quantity::Quantity;

/// One process has one thread for all its clients; more of them should be spread over processes.
const MOST_CLIENTS: i64 = 1_000;

/// The client's arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Each iteration queries a random toy and, if it is in stock, orders it with the given probability. \
At the end every order is fetched and compared with what was ordered.

Exit status: 0 if the run succeeded, even if single requests failed (the report counts them); 1 \
if the store did not answer, the check of an order failed, all queries or all orders failed, or a \
file could not be read or written; 2 for invalid arguments; 3 if only a condition of --fail-if \
held; 130 after a second Ctrl-C. The first Ctrl-C (or SIGTERM) ends the shopping; the orders are \
still checked and the report is still written.

A condition of --fail-if is a path into report.json, one of > >= < <=, and a number, such as \
'requests.order.p99_ms>50'. docs/client.md describes the fields of JSON and CSV.")]
pub struct Arguments {
    /// Clients that shop at once.
    #[arg(short, long, default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=MOST_CLIENTS))]
    pub(super) clients: u32,
    /// Iterations of each client.
    #[arg(short = 'n', long, default_value_t = 100, conflicts_with = "duration",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) iterations: u64,
    /// How long to shop instead of --iterations: seconds, or like 500ms, 30s, 2m, 1h.
    #[arg(short, long)]
    pub(super) duration: Option<RunTime>,
    /// The probability of an order after a query that showed stock, from 0 to 1.
    #[arg(short, long, default_value = "0.2", allow_negative_numbers = true)]
    pub(super) probability: Probability,
    /// How many of a toy an order buys.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) quantity: u64,
    /// The seed of the random choices: the same seed makes the same queries and the same choices to
    /// buy. Without it, one is drawn and printed.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// A front-end to use, host:port; repeat the option for several. Without it, roles.toml is read
    /// and all its front-ends are used. The clients are spread over the front-ends; a client whose
    /// front-end does not answer goes on to the next one.
    #[arg(long = "frontend", value_name = "ADDRESS", value_parser = parse_address)]
    pub(super) frontends: Vec<Address>,
    /// Open loop: iterations are due at fixed times, at this rate per second for all clients
    /// together. A client that is behind makes them one right after the other, and latencies count
    /// from when each was due. Without it the loop is closed: a client's next iteration begins when
    /// its last one has ended.
    #[arg(long, allow_negative_numbers = true)]
    pub(super) rate: Option<Rate>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// A folder for report.json, latencies.csv, histograms.csv, statuses.csv and orders.csv.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Write a time series, too: a row for each type of request at this interval (seconds, or like
    /// 500ms, 30s, 2m), to series.csv in the --out folder or, without one, in the current folder.
    #[arg(long, value_name = "TIME")]
    pub(super) interval: Option<RunTime>,
    /// Fail the run if a number in report.json is beyond a bound, such as 'errors>0'. Quote the
    /// condition for the shell; repeat the option for several. A field without a value fails the
    /// run, too.
    #[arg(long, value_name = "CONDITION")]
    pub(super) fail_if: Vec<Threshold>,
}

impl Arguments {
    /// Whether they name front-ends, so that `roles.toml` is not needed.
    #[must_use]
    pub fn names_frontends(&self) -> bool {
        !self.frontends.is_empty()
    }
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// Everything, as one object.
    Json,
    /// The figures, as a table.
    Csv,
}

/// A run's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many clients there are.
    pub clients: u32,
    /// When the run ends.
    pub end: End,
    /// When iterations begin.
    pub schedule: Schedule,
    /// The probability of an order after a query that showed stock.
    pub probability: Probability,
    /// How many of a toy an order buys.
    pub quantity: Quantity,
    /// The seed of the random choices.
    pub seed: u64,
    /// The front-ends, at least one.
    pub frontends: Vec<Address>,
}

impl Settings {
    /// The settings of `arguments`. Without a front-end they have the `known` ones; without a seed,
    /// one is drawn.
    ///
    /// # Panics
    ///
    /// If the arguments did not come from their parser.
    #[must_use]
    pub fn new(arguments: &Arguments, known: &[Address]) -> Self {
        let given = &arguments.frontends;
        Self {
            clients: arguments.clients,
            end: arguments.duration.map_or(End::Iterations(arguments.iterations), End::Time),
            schedule: arguments.rate.map_or(Schedule::ClosedLoop, Schedule::OpenLoop),
            probability: arguments.probability,
            quantity: Quantity::new(arguments.quantity)
                .expect("the arguments' parser takes no quantity below 1"),
            // 32 bits are enough to differ and short enough to be typed again.
            seed: arguments.seed.unwrap_or_else(|| rand::random::<u32>().into()),
            frontends: if given.is_empty() { known.to_vec() } else { given.clone() },
        }
    }
}

/// An address, also as it is copied from a browser: `http://host:port/`.
fn parse_address(text: &str) -> Result<Address, String> {
    let address = text.strip_prefix("http://").unwrap_or(text);
    Address::try_from(address.strip_suffix('/').unwrap_or(address).to_owned())
}
