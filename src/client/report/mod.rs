//! Reporting: a run's figures as `report.json`, and their other forms.
//!
//! ```text
//! receipts, statistics ─► Report ─┬─► report.json and `--format json`
//!                                 ├─► text, csv
//!                                 └─► thresholds: whether the run passes
//! live counts ─► progress (a bar on a terminal), series (series.csv)
//! ```
//!
//! Scripts read the field names below, so fields are only ever added. A field's name ends in its
//! unit. A figure that does not exist (the mean of no samples, a rate over no time) is null.

pub(super) mod csv;
pub(super) mod files;
pub(super) mod progress;
pub(super) mod series;
pub mod table;
pub(super) mod text;
pub mod thresholds;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Settings;
use super::core::latency::{Summary, per_second, share};
use super::core::receipts::{FailedCheck, Receipts, find_repeats};
use super::core::schedule::{End, Schedule};
use super::core::shopper::Probability;
use super::core::stats::{RequestType, Stats, Unanswered};
use crate::wire::quantity::Quantity;
use table::Table;
use thresholds::{Judgement, Threshold, ThresholdOutcome};

/// Failed checks that are reported in full; `orders.csv` has the finding of every order.
pub const MOST_FAILURES: usize = 20;

/// A run's figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The settings.
    pub run: Run,
    /// Whether Ctrl-C or SIGTERM ended the shopping early.
    pub interrupted: bool,
    /// When the run began, in seconds since 1970, by this machine's clock.
    pub started_unix_s: f64,
    /// How long the clients shopped, in seconds, until the last one ended.
    pub shopping_s: f64,
    /// How long they checked their orders, in seconds.
    pub checking_s: f64,
    /// Iterations that all clients made.
    pub iterations: u64,
    /// Iterations that were due by the end of the shopping, in an open loop.
    pub iterations_due: Option<u64>,
    /// Iterations that were due and not made: the store was too slow for the rate, and the
    /// latencies lack the worst ones.
    pub iterations_missed: Option<u64>,
    /// `iterations` per second of shopping.
    pub iterations_per_second: Option<f64>,
    /// Requests that ended in an error.
    pub errors: u64,
    /// Errors among all requests, from 0 to 1.
    pub error_ratio: Option<f64>,
    /// Orders that were refused for lack of stock.
    pub refusals: u64,
    /// Attempts after a request's first.
    pub retries: u64,
    /// All clients' requests by type.
    pub requests: Table,
    /// Attempts by HTTP status.
    pub statuses: BTreeMap<u16, u64>,
    /// Attempts that got no answer.
    pub unanswered: Unanswered,
    /// Attempts that got no answer, all together.
    pub unanswered_attempts: u64,
    /// Requests that ended in an error, by reason: `"order: it answered 503: …"`; the first 20.
    #[serde(rename = "complaints")]
    pub reasons: BTreeMap<String, u64>,
    /// Orders that were granted.
    pub orders: u64,
    /// Orders that ended in an error and may have been made nevertheless.
    pub orders_in_doubt: u64,
    /// Toys in these orders.
    pub units: u64,
    /// Where the time of granted orders went, by the parts of `Server-Timing`.
    pub order_timing: BTreeMap<&'static str, Summary>,
    /// Hits among the queries that passed a cache, from 0 to 1.
    pub hit_ratio: Option<f64>,
    /// Each client, in the order of their numbers.
    pub clients: Vec<ClientReport>,
    /// The final check.
    pub check: FinalCheck,
    /// The results of `--fail-if`.
    #[serde(rename = "gates")]
    pub thresholds: Vec<Judgement>,
    /// The clients' orders, for `orders.csv`.
    #[serde(skip)]
    pub(crate) receipts: Vec<Receipts>,
}

/// The settings of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// `closed` or `open`.
    #[serde(rename = "loop")]
    pub schedule: &'static str,
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
    /// How many of a toy an order buys.
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
pub struct FinalCheck {
    /// Orders to check.
    pub orders: u64,
    /// Orders for which the store gave a usable answer.
    pub checked: u64,
    /// Orders that the store returned unchanged.
    pub matching: u64,
    /// Checks that failed.
    pub failed: u64,
    /// The first of them, at most 20.
    pub failures: Vec<FailedCheck>,
}

/// The results of one client.
#[derive(Clone, Debug)]
pub(crate) struct ClientResult {
    /// The front-end that it used last.
    pub(crate) frontend: String,
    /// Its counts.
    pub(crate) stats: Stats,
    /// Its orders.
    pub(crate) receipts: Receipts,
    /// The checks that failed.
    pub(crate) failures: Vec<FailedCheck>,
}

/// When a run began, and how long its two parts took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// When the run began, as the time since 1970.
    pub(crate) started_unix: Duration,
    /// How long after its start the shopping was interrupted, if it was.
    pub(crate) interrupted: Option<Duration>,
    /// The shopping.
    pub(crate) shopping: Duration,
    /// The final check.
    pub(crate) checking: Duration,
}

/// Whether a run succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunResult {
    /// It did, even if single requests failed.
    Passed,
    /// A check of an order failed.
    CheckFailed,
    /// No request of this type succeeded, and some ended in an error.
    NoneSucceeded(RequestType),
    /// A threshold was not passed.
    ThresholdFailed,
}

impl Report {
    /// Puts together the results of client 1, 2, ….
    pub(crate) fn new(settings: &Settings, times: Times, results: Vec<ClientResult>) -> Self {
        let mut all = Stats::default();
        for result in &results {
            all.add(&result.stats);
        }
        let clients =
            (1..).zip(&results).map(|(n, one)| ClientReport::new(n, one, times)).collect();
        let (failures, mut receipts): (Vec<_>, Vec<_>) =
            results.into_iter().map(|result| (result.failures, result.receipts)).unzip();
        let mut failures: Vec<FailedCheck> = failures.into_iter().flatten().collect();
        failures.extend(find_repeats(&mut receipts));
        let orders = receipts.iter().map(|receipts| receipts.rows.len() as u64).sum();
        let Stats { iterations, orders_in_doubt, .. } = all;
        let schedule = settings.schedule;
        let due = settings.end.iterations_due(schedule, settings.clients, times.interrupted);
        let attempts = all.of_all();
        let hits = all.of(RequestType::QueryHit).latency.count();
        let misses = all.of(RequestType::QueryMiss).latency.count();
        let timings = all.timings().map(|(part, latency)| (part.name(), latency.summary()));
        Self {
            order_timing: timings.collect(),
            run: Run::new(settings),
            interrupted: times.interrupted.is_some(),
            started_unix_s: times.started_unix.as_secs_f64(),
            shopping_s: times.shopping.as_secs_f64(),
            checking_s: times.checking.as_secs_f64(),
            iterations,
            iterations_due: due,
            iterations_missed: due.map(|due| due.saturating_sub(iterations)),
            iterations_per_second: per_second(iterations, times.shopping),
            errors: attempts.errors,
            error_ratio: share(attempts.errors, all.requests()),
            refusals: all.of(RequestType::OrderRefused).latency.count(),
            retries: attempts.retries,
            requests: Table::new(&all, |request| times.of(request)),
            statuses: attempts.statuses,
            unanswered: attempts.unanswered,
            unanswered_attempts: attempts.unanswered.sum(),
            reasons: all.reasons,
            orders,
            orders_in_doubt,
            units: receipts.iter().map(Receipts::units).sum(),
            hit_ratio: share(hits, hits + misses),
            clients,
            check: FinalCheck::new(orders, &receipts, failures),
            thresholds: Vec::new(),
            receipts,
        }
    }

    /// A report of a run without clients, which has every field that a report has.
    pub(crate) fn empty() -> Self {
        let settings = Settings {
            clients: 0,
            end: End::Iterations(0),
            schedule: Schedule::ClosedLoop,
            probability: Probability::default(),
            quantity: Quantity::ONE,
            seed: 0,
            frontends: Vec::new(),
        };
        Self::new(&settings, Times::default(), Vec::new())
    }

    /// The report as JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("the maps of a report have strings as keys")
    }

    /// Judges the run by thresholds.
    pub(crate) fn judge(&mut self, thresholds: &[Threshold]) {
        let json = self.to_json();
        self.thresholds = thresholds.iter().map(|threshold| threshold.judge(&json)).collect();
    }

    /// Whether the run succeeded. A wrong answer of the store goes before a slow one.
    #[must_use]
    pub fn result(&self) -> RunResult {
        let none_succeeded = RequestType::SENT.into_iter().find(|sent| {
            let row = self.requests.of(*sent);
            row.errors > 0 && row.count + row.refusals == 0
        });
        if self.check.failed > 0 {
            RunResult::CheckFailed
        } else if let Some(kind) = none_succeeded {
            RunResult::NoneSucceeded(kind)
        } else if self.thresholds.iter().any(|judged| judged.outcome != ThresholdOutcome::Passed) {
            RunResult::ThresholdFailed
        } else {
            RunResult::Passed
        }
    }
}

impl Times {
    /// The part of the run in which such requests are made.
    fn of(self, request: RequestType) -> Duration {
        if request == RequestType::OrderQuery { self.checking } else { self.shopping }
    }
}

impl Run {
    /// The report's form of the settings.
    pub(crate) fn new(settings: &Settings) -> Self {
        let (schedule, rate) = match settings.schedule {
            Schedule::ClosedLoop => ("closed", None),
            Schedule::OpenLoop(rate) => ("open", Some(rate.per_second())),
        };
        let (iterations, duration_s) = match settings.end {
            End::Iterations(iterations) => (Some(iterations), None),
            End::Time(time) => (None, Some(time.get().as_secs_f64())),
        };
        Self {
            schedule,
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
    fn new(client: u32, result: &ClientResult, times: Times) -> Self {
        Self {
            client,
            frontend: result.frontend.clone(),
            iterations: result.stats.iterations,
            requests_made: result.stats.requests(),
            orders: result.receipts.rows.len() as u64,
            units: result.receipts.units(),
            requests: Table::new(&result.stats, |request| times.of(request)),
        }
    }
}

impl FinalCheck {
    fn new(orders: u64, receipts: &[Receipts], mut failures: Vec<FailedCheck>) -> Self {
        let failed = failures.len() as u64;
        failures.truncate(MOST_FAILURES);
        let matching = receipts.iter().map(Receipts::matching).sum();
        let checked = receipts.iter().map(Receipts::answered).sum();
        Self { orders, checked, matching, failed, failures }
    }
}

/// The text that `write` writes.
fn written(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut text = String::new();
    write(&mut text).expect("writing to a string does not fail");
    text
}
