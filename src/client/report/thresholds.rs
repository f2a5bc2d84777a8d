//! Gates: conditions under which a run counts as failed, such as `order.p99>50ms`.
//!
//! A gate names a figure of the report and says when it is bad. A figure that does not exist (the
//! median of no orders, a rate over no time) fails its gate as well: a run that measured nothing
//! must not pass for a good one.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::client::core::stats::RequestType;

/// A condition under which a run fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    text: String,
    /// What it looks at.
    pub metric: Metric,
    comparison: Comparison,
    /// In the metric's [`Unit`].
    bound: f64,
}

/// A figure of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Of the whole run.
    Run(Total),
    /// Of one type of request.
    Request(RequestType, Statistic),
}

/// What all types of requests come to together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// Requests that ended in an error.
    Errors,
    /// The share of such requests.
    ErrorRatio,
    /// Orders that were refused for lack of stock.
    Refusals,
    /// Attempts after a request's first.
    Retries,
    /// Attempts without an answer.
    Unanswered,
    /// Iterations per second.
    Rate,
    /// Iterations.
    Iterations,
    /// Iterations that were due and not made, in an open loop.
    Missed,
    /// Orders that were granted.
    Orders,
    /// Orders that may have been made without an answer.
    OrdersInDoubt,
    /// The cache's hits among the queries that passed it.
    HitRatio,
}

/// What is asked of one type of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// The shortest latency.
    Min,
    /// The mean latency.
    Mean,
    /// The median latency.
    P50,
    /// 90 % took at most this long.
    P90,
    /// 95 % took at most this long.
    P95,
    /// 99 % took at most this long.
    P99,
    /// 99.9 % took at most this long.
    P999,
    /// The longest latency.
    Max,
    /// Requests that were answered as hoped.
    Count,
    /// Requests that ended in an error.
    Errors,
    /// Attempts after a request's first.
    Retries,
    /// Requests per second that were answered as hoped.
    Rate,
}

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// A number of things.
    Count,
    /// Things per second.
    PerSecond,
    /// A share, from 0 to 1.
    Ratio,
}

/// What became of a gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// The gate, as it was given.
    pub gate: String,
    /// What its figure was; null if there is no such figure in this run.
    pub value: Option<f64>,
    /// What the value is counted in.
    pub unit: Unit,
    /// Whether the run may pass.
    pub outcome: Outcome,
}

/// Whether a run may pass a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It may.
    Passed,
    /// The figure is bad.
    Failed,
    /// There is no such figure, for want of samples; this fails the run, too.
    NoSamples,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Gate {
    /// Holds the gate's figure against its bound.
    #[must_use]
    pub fn judge(&self, value: Option<f64>) -> Judgement {
        let outcome = match value {
            None => Outcome::NoSamples,
            Some(value) if self.comparison.holds(value, self.bound) => Outcome::Failed,
            Some(_) => Outcome::Passed,
        };
        Judgement { gate: self.text.clone(), value, unit: self.metric.unit(), outcome }
    }
}

impl Metric {
    /// What it is counted in.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::Run(Total::Rate) | Self::Request(_, Statistic::Rate) => Unit::PerSecond,
            Self::Run(Total::ErrorRatio | Total::HitRatio) => Unit::Ratio,
            Self::Run(_)
            | Self::Request(_, Statistic::Count | Statistic::Errors | Statistic::Retries) => {
                Unit::Count
            }
            Self::Request(_, _) => Unit::Ms,
        }
    }
}

impl Total {
    const NAMES: [(&str, Self); 11] = [
        ("errors", Self::Errors),
        ("error_ratio", Self::ErrorRatio),
        ("refusals", Self::Refusals),
        ("retries", Self::Retries),
        ("unanswered", Self::Unanswered),
        ("rate", Self::Rate),
        ("iterations", Self::Iterations),
        ("missed", Self::Missed),
        ("orders", Self::Orders),
        ("orders_in_doubt", Self::OrdersInDoubt),
        ("hit_ratio", Self::HitRatio),
    ];
}

impl Statistic {
    const NAMES: [(&str, Self); 12] = [
        ("min", Self::Min),
        ("mean", Self::Mean),
        ("p50", Self::P50),
        ("p90", Self::P90),
        ("p95", Self::P95),
        ("p99", Self::P99),
        ("p999", Self::P999),
        ("max", Self::Max),
        ("count", Self::Count),
        ("errors", Self::Errors),
        ("retries", Self::Retries),
        ("rate", Self::Rate),
    ];
}

impl Comparison {
    /// The longer ones first, as the shorter are their beginnings.
    const NAMES: [(&str, Self); 4] =
        [(">=", Self::AtLeast), ("<=", Self::AtMost), (">", Self::Above), ("<", Self::Below)];

    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Above => value > bound,
            Self::AtLeast => value >= bound,
            Self::Below => value < bound,
            Self::AtMost => value <= bound,
        }
    }
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "a gate is a metric, one of > >= < <=, and a bound, such as \
                            order.p99>50ms or errors>0";
        let at = text.find(['<', '>']).ok_or(FORM)?;
        let (metric, rest) = text.split_at(at);
        let compared = Comparison::NAMES
            .iter()
            .find_map(|(sign, comparison)| Some((*comparison, rest.strip_prefix(sign)?)));
        let (comparison, bound) = compared.ok_or(FORM)?;
        let metric: Metric = metric.trim().parse()?;
        let bound = metric.unit().read(bound.trim()).ok_or_else(|| {
            format!("the bound of {} is {}", metric_name(text), metric.unit().described())
        })?;
        Ok(Self { text: text.to_owned(), metric, comparison, bound })
    }
}

fn metric_name(gate: &str) -> &str {
    gate.split(['<', '>']).next().unwrap_or_default().trim()
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = match name.split_once('.') {
            None => named(&Total::NAMES, name).map(Self::Run),
            Some((request, statistic)) => RequestType::ALL
                .into_iter()
                .find(|known| known.name() == request)
                .zip(named(&Statistic::NAMES, statistic))
                .map(|(request, statistic)| Self::Request(request, statistic)),
        };
        found.ok_or_else(|| {
            format!(
                "there is no metric '{name}'; there are {}; and TYPE.STATISTIC, where TYPE is {} \
                 and STATISTIC is {}",
                list(Total::NAMES.map(|(name, _)| name)),
                list(RequestType::ALL.map(RequestType::name)),
                list(Statistic::NAMES.map(|(name, _)| name)),
            )
        })
    }
}

impl Unit {
    /// Reads a figure of this unit. `None` if the text is none, or below 0.
    fn read(self, text: &str) -> Option<f64> {
        let (number, factor) = match self {
            Self::Ms => {
                let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                let factor = match &text[digits.len()..] {
                    "us" => 0.001,
                    "ms" => 1.0,
                    "s" => 1_000.0,
                    _ => return None,
                };
                (digits.trim_end(), factor)
            }
            Self::Ratio => match text.strip_suffix('%') {
                Some(percent) => (percent.trim_end(), 0.01),
                None => (text, 1.0),
            },
            Self::Count | Self::PerSecond => (text, 1.0),
        };
        // Rust reads "inf" and "NaN" as numbers, too; nothing is above the one or the other.
        let number = number.parse::<f64>().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number * factor)
    }

    fn described(self) -> &'static str {
        match self {
            Self::Ms => "a time: a number with us, ms or s, such as 50ms",
            Self::Count => "a count: a number without a unit, such as 0",
            Self::PerSecond => "a number per second, without a unit, such as 100",
            Self::Ratio => "a share: a number such as 0.01, or 1%",
        }
    }
}

fn named<T: Copy>(names: &[(&str, T)], name: &str) -> Option<T> {
    names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn list<const N: usize>(names: [&str; N]) -> String {
    names.join(", ")
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Ms => " ms",
            Unit::PerSecond => "/s",
            Unit::Count | Unit::Ratio => "",
        };
        match (self.outcome, self.value) {
            (Outcome::NoSamples, _) | (_, None) => {
                write!(f, "{}: failed, there are no samples", self.gate)
            }
            (Outcome::Passed, Some(value)) => {
                write!(f, "{}: passed, it is {}{unit}", self.gate, Short(value))
            }
            (Outcome::Failed, Some(value)) => {
                write!(f, "{}: failed, it is {}{unit}", self.gate, Short(value))
            }
        }
    }
}

/// A number with at most three decimals.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.3}", self.0);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(text: &str) -> Gate {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn outcome(text: &str, value: f64) -> Outcome {
        gate(text).judge(Some(value)).outcome
    }

    #[test]
    fn a_gate_fails_when_its_condition_holds() {
        for (text, fails, passes) in [
            ("order.p99>50ms", 50.001, 50.0),
            ("order.p99>=50ms", 50.0, 49.999),
            ("rate<100", 99.9, 100.0),
            ("rate<=100", 100.0, 100.1),
        ] {
            assert_eq!(outcome(text, fails), Outcome::Failed, "{text}");
            assert_eq!(outcome(text, passes), Outcome::Passed, "{text}");
        }
    }

    #[test]
    fn bounds_have_the_units_of_their_figures() {
        for (text, bound) in [
            ("query_hit.p50>250us", 0.25),
            ("order_query.max > 1.5s", 1_500.0),
            ("query.mean>1e1 ms", 10.0),
            ("order_refused.count<1", 1.0),
            ("hit_ratio<90%", 0.9),
            ("error_ratio>0.01", 0.01),
            ("query_miss.rate<5", 5.0),
        ] {
            assert!((gate(text).bound - bound).abs() < 1e-9, "{text}: {}", gate(text).bound);
        }
    }

    #[test]
    fn without_samples_no_gate_is_passed() {
        for text in ["order.p99>50ms", "order.p99<50ms", "rate<1", "hit_ratio<0.5"] {
            let judgement = gate(text).judge(None);
            assert_eq!(judgement.outcome, Outcome::NoSamples);
            assert_eq!(judgement.to_string(), format!("{text}: failed, there are no samples"));
        }
    }

    #[test]
    fn every_metric_can_be_named() {
        for request in RequestType::ALL {
            for (name, statistic) in Statistic::NAMES {
                let metric = format!("{}.{name}", request.name()).parse();
                assert_eq!(metric, Ok(Metric::Request(request, statistic)));
            }
        }
        for (name, total) in Total::NAMES {
            assert_eq!(name.parse(), Ok(Metric::Run(total)));
        }
    }

    #[test]
    fn what_is_no_gate_is_told_what_would_be_one() {
        for (text, hint) in [
            ("", "order.p99>50ms"),
            ("errors", "order.p99>50ms"),
            ("errors=0", "order.p99>50ms"),
            ("order.p98>50ms", "p50, p90, p95, p99, p999, max, count, errors"),
            ("buy.p99>50ms", "query, query_hit, query_miss, order, order_refused, order_query"),
            ("order>5", "errors, error_ratio, refusals, retries"),
            ("order.p99>50", "us, ms or s"),
            ("order.p99>50m", "us, ms or s"),
            ("order.p99>ms", "us, ms or s"),
            ("order.p99>-1ms", "us, ms or s"),
            ("errors>5ms", "without a unit"),
            ("errors>NaN", "without a unit"),
            ("errors>", "without a unit"),
            ("errors=>5", "'errors='"),
            ("hit_ratio<9x", "1%"),
        ] {
            let error = text.parse::<Gate>().expect_err(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn a_judgement_tells_the_figure() {
        let judged = |text: &str, value| gate(text).judge(Some(value)).to_string();
        assert_eq!(judged("order.p99>50ms", 73.25), "order.p99>50ms: failed, it is 73.25 ms");
        assert_eq!(judged("errors>0", 0.0), "errors>0: passed, it is 0");
        assert_eq!(judged("rate<10", 100.0), "rate<10: passed, it is 100/s");
    }
}
