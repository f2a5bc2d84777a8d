//! What a run has found, as it is written to `report.json` and by `--format json`.
//!
//! The field names below are what scripts read; they only ever get more. Times end in their unit. A
//! figure that does not exist (the mean of no samples, a rate over no time) is null.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Settings;
use super::latency::{Summary, per_second, share};
use super::pace::{End, Pace};
use super::receipts::{FailedCheck, Receipts, find_repeats};
use super::tally::{RequestType, Tally, Unanswered};

/// Failed checks that are told in full; beyond them, `orders.csv` has the finding of every order.
pub const MOST_FAILURES: usize = 20;

/// A run and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was asked for.
    pub run: Run,
    /// Whether Ctrl-C ended the shopping early.
    pub interrupted: bool,
    /// How long the clients shopped, in seconds, until the last one ended.
    pub shopping_s: f64,
    /// How long they checked their orders, in seconds.
    pub checking_s: f64,
    /// Iterations that were made, of all clients.
    pub iterations: u64,
    /// Iterations that should have been made, in an open loop. If it is more than were made, the
    /// store was too slow for the rate, and the latencies lack the worst ones.
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

/// Requests by type; an object in JSON: `{"query": {…}, "query_hit": {…}, …}`. `query` is all
/// queries, `query_hit` and `query_miss` those of them with such an `X-Cache`; `order` are the
/// granted ones, `order_refused` those refused for lack of stock, with latencies of their own.
#[derive(Clone, Debug)]
pub struct Table(pub Vec<(RequestType, Row)>);

/// The requests of one type.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Row {
    /// Those that were answered as hoped. The latencies are theirs.
    pub count: u64,
    /// Those that ended in an error, after all attempts. (Of queries and orders as a whole.)
    pub errors: u64,
    /// Those that were refused for lack of stock, which is no error. (Of orders.)
    pub refusals: u64,
    /// Attempts after a request's first one.
    pub retries: u64,
    /// `count` per second of shopping, or of checking.
    pub per_second: Option<f64>,
    /// The latencies.
    #[serde(flatten)]
    pub latency: Summary,
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

/// How long the two parts of a run took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
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
    /// No request was ever answered as hoped.
    NothingWorked,
}

impl Report {
    /// Puts together what the clients bring home, the first one's first.
    #[must_use]
    pub fn new(
        settings: &Settings,
        interrupted: bool,
        times: Times,
        home: Vec<Homecoming>,
    ) -> Self {
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
            interrupted,
            shopping_s: times.shopping.as_secs_f64(),
            checking_s: times.checking.as_secs_f64(),
            iterations: all.visits(),
            iterations_due: settings.end.visits_due(settings.pace, settings.clients),
            requests: Table::new(&all, times),
            statuses: all.statuses().clone(),
            unanswered: all.unanswered_attempts(),
            complaints: all.complaints().clone(),
            orders,
            orders_in_doubt: all.orders_in_doubt(),
            units: receipts.iter().map(Receipts::units).sum(),
            hit_ratio: share(hits, hits + misses),
            clients,
            check: Check::new(orders, &receipts, failures),
            receipts,
        }
    }

    /// Whether the run went well.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let (mut succeeded, mut errors) = (0, 0);
        for (_, row) in &self.requests.0 {
            succeeded += row.count;
            errors += row.errors;
        }
        if self.check.failed > 0 {
            Verdict::CheckFailed
        } else if succeeded == 0 && errors > 0 {
            Verdict::NothingWorked
        } else {
            Verdict::Passed
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
            requests: Table::new(&home.tally, times),
        }
    }
}

impl Table {
    fn new(tally: &Tally, times: Times) -> Self {
        let row = |request| {
            let counts = tally.of(request);
            let elapsed = match request {
                RequestType::OrderQuery => times.checking,
                RequestType::Query
                | RequestType::QueryHit
                | RequestType::QueryMiss
                | RequestType::Order
                | RequestType::OrderRefused => times.shopping,
            };
            let refusals = if request == RequestType::Order {
                tally.of(RequestType::OrderRefused).latency.count()
            } else {
                0
            };
            let row = Row {
                count: counts.latency.count(),
                errors: counts.errors,
                refusals,
                retries: counts.retries,
                per_second: per_second(counts.latency.count(), elapsed),
                latency: counts.latency.summary(),
            };
            (request, row)
        };
        Self(RequestType::ALL.map(row).to_vec())
    }

    /// The requests of one type.
    #[must_use]
    pub fn of(&self, request: RequestType) -> &Row {
        &self.0[request as usize].1
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

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(request, row)| (request, row)))
    }
}
