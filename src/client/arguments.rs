//! What a run is asked to do: the arguments, and the settings that follow from them.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::client::core::schedule::{End, Pace, Rate, RunTime};
use crate::client::core::shopper::Probability;
use crate::client::report::thresholds::Gate;
use crate::roles::Address;
use crate::wire::quantity::Quantity;

/// More clients than this are better spread over several processes.
const MOST_CLIENTS: i64 = 1_000;

/// The client's arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Each iteration queries a random toy and, if it is in stock, orders it with the given probability. \
At the end every order is fetched and compared with what was ordered.

Exit status: 0, also if single requests failed (the report counts them); 1 if the store did not \
open, the check of an order failed, all queries or all orders ended in errors, or a file could not \
be read or written; 2 for arguments that make no sense; 3 if all that went well and a condition of \
--fail-if held; 130 after a second Ctrl-C. The first Ctrl-C (or SIGTERM) ends the shopping; orders \
are checked and the report is written all the same.

docs/client.md has the fields of JSON and CSV and the metrics of --fail-if.")]
pub struct Arguments {
    /// How many clients shop at once.
    #[arg(short, long, default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=MOST_CLIENTS))]
    pub(super) clients: u32,
    /// Iterations of each client.
    #[arg(short = 'n', long, default_value_t = 100, conflicts_with = "duration",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) iterations: u64,
    /// How long to shop instead: seconds, or like 500ms, 30s, 2m, 1h.
    #[arg(short, long)]
    pub(super) duration: Option<RunTime>,
    /// The probability of an order after a query that showed stock, from 0 to 1.
    #[arg(short, long, default_value = "0.2", allow_negative_numbers = true)]
    pub(super) probability: Probability,
    /// How many toys an order buys.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) quantity: u64,
    /// The same seed makes the same queries and the same choices to buy; drawn if absent, and
    /// printed.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// A front-end to use, host:port; repeat it for several. Without it, all those of
    /// roles.toml, which is read only then. The clients are spread over them, and go on to the next
    /// one when theirs does not answer.
    #[arg(long = "frontend", value_name = "ADDRESS", value_parser = parse_address)]
    pub(super) frontends: Vec<Address>,
    /// Open loop: iterations are due at fixed times, so many per second, all clients together. A
    /// client that is behind makes them one right after the other, and latencies count from when
    /// each was due. Without it the loop is closed: a client's next iteration begins when its last
    /// has ended.
    #[arg(long, allow_negative_numbers = true)]
    pub(super) rate: Option<Rate>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// A folder for report.json, latencies.csv, histograms.csv, statuses.csv and orders.csv.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Write a time series as well, a row for each type of request every so often: seconds, or like
    /// 500ms, 30s, 2m. It goes to series.csv in the --out folder, else in this one.
    #[arg(long, value_name = "TIME")]
    pub(super) interval: Option<RunTime>,
    /// Fail the run if this holds of it, such as 'order.p99>50ms' or 'errors>0'; repeat it for
    /// several, and quote it for the shell. A figure without samples fails, too.
    #[arg(long, value_name = "CONDITION")]
    pub(super) fail_if: Vec<Gate>,
}

impl Arguments {
    /// Whether they say where the store is, so that no `roles.toml` is needed.
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
    /// When visits begin.
    pub pace: Pace,
    /// How likely an order is.
    pub probability: Probability,
    /// How much an order buys.
    pub quantity: Quantity,
    /// What the random choices come from.
    pub seed: u64,
    /// The front-ends, at least one.
    pub frontends: Vec<Address>,
}

impl Settings {
    /// What the arguments ask for. If they name no front-end, it is to be the `known` ones; if they
    /// name no seed, one is drawn.
    ///
    /// # Panics
    ///
    /// If the arguments did not come out of their own parser.
    #[must_use]
    pub fn new(arguments: &Arguments, known: &[Address]) -> Self {
        let given = &arguments.frontends;
        Self {
            clients: arguments.clients,
            end: arguments.duration.map_or(End::Visits(arguments.iterations), End::Time),
            pace: arguments.rate.map_or(Pace::Closed, Pace::Open),
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
