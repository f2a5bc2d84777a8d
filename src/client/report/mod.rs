//! What a run has found, as it is written to `report.json` and by `--format json`.
//!
//! The field names below are what scripts read; they only ever get more. Times end in their unit. A
//! figure that does not exist (the mean of no samples, a rate over no time) is null.

pub mod csv;
pub mod progress;
pub mod series;
pub mod table;
pub mod text;
pub mod thresholds;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::client::Settings;
use crate::client::core::latency::{as_float, per_second, share};
use crate::client::core::receipts::{FailedCheck, Receipts, find_repeats};
use crate::client::core::schedule::{End, Pace};
use crate::client::core::stats::{RequestType, Tally, Unanswered};
use crate::client::report::table::Table;
use crate::client::report::thresholds::{Gate, Judgement, Metric, Outcome, Statistic, Total};

/// Failed checks that are told in full; beyond them, `orders.csv` has the finding of every order.
pub const MOST_FAILURES: usize = 20;

/// A run and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was asked for.
    pub run: Run,
    /// Whether Ctrl-C or SIGTERM ended the shopping early.
    pub interrupted: bool,
    /// When the run began, in seconds since 1970, by this machine's clock.
    pub started_unix_s: f64,
    /// How long the clients shopped, in seconds, until the last one ended.
    pub shopping_s: f64,
    /// How long they checked their orders, in seconds.
    pub checking_s: f64,
    /// Iterations that were made, of all clients.
    pub iterations: u64,
    /// Iterations that should have been made while they shopped, in an open loop. If it is more
    /// than were made, the store was too slow for the rate, and the latencies lack the worst ones.
    pub iterations_due: Option<u64>,
    /// All clients' requests by type.
    pub requests: Table,
    /// Attempts by HTTP status; a request that was tried again counts with each attempt.
    pub statuses: BTreeMap<u16, u64>,
    /// Attempts that got no answer.
    pub unanswered: Unanswered,
    /// Requests that ended in an error, by reason: `"order: it answered 503: …"`; the first 20.
    pub complaints: BTreeMap<String, u64>,
    /// Orders that were granted.
    pub orders: u64,
    /// Orders that ended in an error that leaves open whether they were made.
    pub orders_in_doubt: u64,
    /// Toys that were bought.
    pub units: u64,
    /// Hits among the queries that passed a cache, from 0 to 1.
    pub hit_ratio: Option<f64>,
    /// Each client, in the order of their numbers.
    pub clients: Vec<ClientReport>,
    /// The final check.
    pub check: Check,
    /// The gates that were set (`--fail-if`).
    pub gates: Vec<Judgement>,
    /// The clients' orders, for `orders.csv`.
    #[serde(skip)]
    pub receipts: Vec<Receipts>,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// `closed` or `open`.
    #[serde(rename = "loop")]
    pub pace: &'static str,
    /// Iterations per second of all clients, in an open loop.
    pub rate: Option<f64>,
    /// The number of clients.
    pub clients: u32,
    /// Iterations of each client, unless the run was limited in time.
    pub iterations: Option<u64>,
    /// The time limit in seconds, unless the iterations were limited.
    pub duration_s: Option<f64>,
    /// The probability of an order after a query that showed stock.
    pub probability: f64,
    /// The toys of one order.
    pub quantity: u64,
    /// The seed of toys and coins.
    pub seed: u64,
    /// The front-ends.
    pub frontends: Vec<String>,
}

/// One client's part.
#[derive(Clone, Debug, Serialize)]
pub struct ClientReport {
    /// Its number, from 1 on.
    pub client: u32,
    /// The front-end that it used last.
    pub frontend: String,
    /// Its iterations.
    pub iterations: u64,
    /// Its requests of all types.
    pub requests_made: u64,
    /// Its orders.
    pub orders: u64,
    /// The toys that it bought.
    pub units: u64,
    /// Its requests by type.
    pub requests: Table,
}

/// The final check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Orders to check.
    pub orders: u64,
    /// Orders of which the store said something.
    pub checked: u64,
    /// Orders that the store knows as the clients do.
    pub matching: u64,
    /// Checks that failed.
    pub failed: u64,
    /// The first of them, at most 20.
    pub failures: Vec<FailedCheck>,
}

/// What one client brings home.
#[derive(Clone, Debug)]
pub struct Homecoming {
    /// The front-end that it used last.
    pub frontend: String,
    /// What it counted.
    pub tally: Tally,
    /// Its orders.
    pub receipts: Receipts,
    /// Where they do not match.
    pub failures: Vec<FailedCheck>,
}

/// When a run began, and how long its two parts took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When the run began, as the time since 1970.
    pub started_unix: Duration,
    /// When the shopping was ended early, from its start, if it was.
    pub interrupted: Option<Duration>,
    /// The shopping.
    pub shopping: Duration,
    /// The final check.
    pub checking: Duration,
}

/// Whether a run went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did, whatever single requests came to.
    Passed,
    /// A check of an order failed.
    CheckFailed,
    /// No request of this type was ever answered as hoped, and some ended in an error.
    NoneSucceeded(RequestType),
    /// A gate was not passed.
    GateFailed,
}

impl Report {
    /// Puts together what the clients bring home, the first one's first.
    #[must_use]
    pub fn new(settings: &Settings, times: Times, home: Vec<Homecoming>) -> Self {
        let mut all = Tally::default();
        for client in &home {
            all.add(&client.tally);
        }
        let clients = (1..).zip(&home).map(|(n, home)| ClientReport::new(n, home, times)).collect();
        let (failures, mut receipts): (Vec<_>, Vec<_>) =
            home.into_iter().map(|client| (client.failures, client.receipts)).unzip();
        let mut failures: Vec<FailedCheck> = failures.into_iter().flatten().collect();
        failures.extend(find_repeats(&mut receipts));
        let orders = receipts.iter().map(|receipts| receipts.rows().len() as u64).sum();
        let hits = all.of(RequestType::QueryHit).latency.count();
        let misses = all.of(RequestType::QueryMiss).latency.count();
        Self {
            run: Run::new(settings),
            interrupted: times.interrupted.is_some(),
            started_unix_s: times.started_unix.as_secs_f64(),
            shopping_s: times.shopping.as_secs_f64(),
            checking_s: times.checking.as_secs_f64(),
            iterations: all.visits(),
            iterations_due: settings.end.visits_due(
                settings.pace,
                settings.clients,
                times.interrupted,
            ),
            requests: Table::new(&all, |request| times.of(request)),
            statuses: all.statuses(),
            unanswered: all.unanswered_attempts(),
            complaints: all.complaints().clone(),
            orders,
            orders_in_doubt: all.orders_in_doubt(),
            units: receipts.iter().map(Receipts::units).sum(),
            hit_ratio: share(hits, hits + misses),
            clients,
            check: Check::new(orders, &receipts, failures),
            gates: Vec::new(),
            receipts,
        }
    }

    /// Holds the run against gates.
    pub fn judge(&mut self, gates: &[Gate]) {
        self.gates = gates.iter().map(|gate| gate.judge(self.figure(gate.metric))).collect();
    }

    /// A figure of the report. `None` if this run has none, for want of samples.
    #[must_use]
    pub fn figure(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Run(total) => self.total(total),
            Metric::Request(request, statistic) => self.statistic(request, statistic),
        }
    }

    fn total(&self, total: Total) -> Option<f64> {
        let sum = |count: fn(&Self, RequestType) -> u64| {
            RequestType::SENT.iter().map(|sent| count(self, *sent)).sum::<u64>()
        };
        let errors = sum(|report, sent| report.requests.of(sent).errors);
        let refusals = self.requests.of(RequestType::Order).refusals;
        let count = match total {
            Total::ErrorRatio => {
                let good = sum(|report, sent| report.requests.of(sent).count);
                return share(errors, good + refusals + errors);
            }
            Total::Rate => {
                return per_second(self.iterations, Duration::from_secs_f64(self.shopping_s));
            }
            Total::HitRatio => return self.hit_ratio,
            Total::Missed => self.iterations_due?.saturating_sub(self.iterations),
            Total::Errors => errors,
            Total::Refusals => refusals,
            Total::Retries => sum(|report, sent| report.requests.of(sent).retries),
            Total::Unanswered => self.unanswered.sum(),
            Total::Iterations => self.iterations,
            Total::Orders => self.orders,
            Total::OrdersInDoubt => self.orders_in_doubt,
        };
        Some(as_float(count))
    }

    fn statistic(&self, request: RequestType, statistic: Statistic) -> Option<f64> {
        let row = self.requests.of(request);
        match statistic {
            Statistic::Min => row.latency.min_ms,
            Statistic::Mean => row.latency.mean_ms,
            Statistic::P50 => row.latency.p50_ms,
            Statistic::P90 => row.latency.p90_ms,
            Statistic::P95 => row.latency.p95_ms,
            Statistic::P99 => row.latency.p99_ms,
            Statistic::P999 => row.latency.p999_ms,
            Statistic::Max => row.latency.max_ms,
            Statistic::Count => Some(as_float(row.count)),
            Statistic::Errors => Some(as_float(row.errors)),
            Statistic::Retries => Some(as_float(row.retries)),
            Statistic::Rate => row.per_second,
        }
    }

    /// Whether the run went well. What the store did wrong goes before what it was slow at.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let none_succeeded = RequestType::SENT.into_iter().find(|sent| {
            let row = self.requests.of(*sent);
            row.errors > 0 && row.count + row.refusals == 0
        });
        if self.check.failed > 0 {
            Verdict::CheckFailed
        } else if let Some(kind) = none_succeeded {
            Verdict::NoneSucceeded(kind)
        } else if self.gates.iter().any(|gate| gate.outcome != Outcome::Passed) {
            Verdict::GateFailed
        } else {
            Verdict::Passed
        }
    }
}

impl Times {
    /// The part of the run in which such requests are made.
    fn of(self, request: RequestType) -> Duration {
        match request {
            RequestType::OrderQuery => self.checking,
            RequestType::Query
            | RequestType::QueryHit
            | RequestType::QueryMiss
            | RequestType::Order
            | RequestType::OrderRefused => self.shopping,
        }
    }
}

impl Run {
    /// What the settings ask for.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let (pace, rate) = match settings.pace {
            Pace::Closed => ("closed", None),
            Pace::Open(rate) => ("open", Some(rate.per_second())),
        };
        let (iterations, duration_s) = match settings.end {
            End::Visits(visits) => (Some(visits), None),
            End::Time(time) => (None, Some(time.get().as_secs_f64())),
        };
        Self {
            pace,
            rate,
            clients: settings.clients,
            iterations,
            duration_s,
            probability: settings.probability.get(),
            quantity: settings.quantity.get(),
            seed: settings.seed,
            frontends: settings.frontends.iter().map(ToString::to_string).collect(),
        }
    }
}

impl ClientReport {
    fn new(client: u32, home: &Homecoming, times: Times) -> Self {
        Self {
            client,
            frontend: home.frontend.clone(),
            iterations: home.tally.visits(),
            requests_made: home.tally.requests(),
            orders: home.receipts.rows().len() as u64,
            units: home.receipts.units(),
            requests: Table::new(&home.tally, |request| times.of(request)),
        }
    }
}

impl Check {
    fn new(orders: u64, receipts: &[Receipts], mut failures: Vec<FailedCheck>) -> Self {
        let failed = failures.len() as u64;
        failures.truncate(MOST_FAILURES);
        let matching = receipts.iter().map(Receipts::matching).sum();
        let checked = receipts.iter().map(Receipts::answered).sum();
        Self { orders, checked, matching, failed, failures }
    }
}
