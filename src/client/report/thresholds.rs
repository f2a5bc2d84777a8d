//! Thresholds: the conditions of `--fail-if`, each a path into `report.json` compared with a
//! number.
//!
//! `requests.order.p99_ms>50` fails the run if that field is above 50. A field that is null (the
//! median of no orders) fails the run, too: a run that measured nothing must not pass.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Report;

const FORM: &str = "a condition is a field of report.json, one of > >= < <=, and a number, such as \
                    requests.order.p99_ms>50 or errors>0";

/// A condition under which a run fails.
#[derive(Clone, Debug)]
pub(crate) struct Threshold {
    condition: String,
    path: String,
    holds: Comparison,
    bound: f64,
}

/// Whether a value and a bound fulfil the condition.
type Comparison = fn(&f64, &f64) -> bool;

/// The longer signs first, as each begins with a shorter one.
const COMPARISONS: [(&str, Comparison); 4] =
    [(">=", f64::ge), ("<=", f64::le), (">", f64::gt), ("<", f64::lt)];

/// The result of a threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// The condition, as it was given.
    #[serde(rename = "gate")]
    pub condition: String,
    /// The field's value; null if it has none in this run.
    pub value: Option<f64>,
    /// The value's unit: `ms`, `s`, `per_second`, `ratio` or `count`.
    pub unit: &'static str,
    /// Whether the run passes.
    pub outcome: ThresholdOutcome,
}

/// Whether a run passes a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdOutcome {
    /// The condition does not hold.
    Passed,
    /// The condition holds.
    Failed,
    /// The field has no value, which fails the run, too.
    NoSamples,
}

impl Threshold {
    /// Compares the field in a report with the bound.
    pub(crate) fn judge(&self, report: &Value) -> Judgement {
        let value = number_at(report, &self.path).expect("every report has the same fields");
        let outcome = match value {
            None => ThresholdOutcome::NoSamples,
            Some(value) if (self.holds)(&value, &self.bound) => ThresholdOutcome::Failed,
            Some(_) => ThresholdOutcome::Passed,
        };
        let (condition, unit) = (self.condition.clone(), unit_of(&self.path));
        Judgement { condition, value, unit, outcome }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(condition: &str) -> Result<Self, String> {
        let (path, rest) = condition.split_at(condition.find(['<', '>']).ok_or(FORM)?);
        let path = path.trim();
        number_at(&Report::empty().to_json(), path)?;
        let mut comparisons = COMPARISONS.into_iter();
        let compared =
            comparisons.find_map(|(sign, holds)| Some((holds, rest.strip_prefix(sign)?)));
        let (holds, bound) = compared.ok_or(FORM)?;
        // Rust reads "inf" and "NaN" as numbers, too; no value is above either.
        let is_bound = |bound: &f64| bound.is_finite() && *bound >= 0.0;
        let number = bound.trim().parse().ok().filter(is_bound).ok_or_else(|| {
            format!("'{bound}' is not a bound; write a number of at least 0, without a unit")
        })?;
        Ok(Self { condition: condition.to_owned(), path: path.to_owned(), holds, bound: number })
    }
}

/// The number in the field that `path` leads to; `None` if the field is null.
fn number_at(report: &Value, path: &str) -> Result<Option<f64>, String> {
    let (mut value, mut fields) = (report, report.as_object());
    for name in path.split('.') {
        if let Some(inside) = value.as_object() {
            fields = Some(inside);
        }
        value = match value.get(name) {
            Some(value) => value,
            // `statuses` has only the statuses that occurred.
            None if path.ends_with(&format!("statuses.{name}")) && is_status(name) => {
                return Ok(Some(0.0));
            }
            None => {
                let problem = format!("report.json has no field '{path}'");
                return Err(format!("{problem}; {}", choice(path, fields)));
            }
        };
    }
    if value.is_null() || value.is_number() {
        return Ok(value.as_f64());
    }
    let fields = value.as_object().or(fields);
    Err(format!("'{path}' is not a number; {}", choice(path, fields)))
}

fn is_status(name: &str) -> bool {
    name.parse().is_ok_and(|status: u16| (100..600).contains(&status))
}

/// The fields to choose from: those that are numbers or have such fields.
fn choice(path: &str, fields: Option<&Map<String, Value>>) -> String {
    let names = fields.into_iter().flatten().filter(|(name, value)| {
        let leads_on = value.as_object().is_some_and(|inside| !inside.is_empty());
        value.is_number() || value.is_null() || leads_on || *name == "statuses"
    });
    let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    match names.as_slice() {
        [] if path.contains("statuses") => "name a status, such as statuses.503".into(),
        [] => "no field there is a number".into(),
        names => format!("there are {}", names.join(", ")),
    }
}

/// The unit that a field's name tells.
fn unit_of(path: &str) -> &'static str {
    let ends = [
        ("_ms", "ms"),
        ("per_second", "per_second"),
        ("run.rate", "per_second"),
        ("_ratio", "ratio"),
        ("_s", "s"),
    ];
    ends.into_iter().find(|(end, _)| path.ends_with(end)).map_or("count", |(_, unit)| unit)
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            "ms" => " ms",
            "s" => " s",
            "per_second" => "/s",
            _ => "",
        };
        let Some(value) = self.value else {
            return write!(f, "{}: failed, there are no samples", self.condition);
        };
        let outcome = if self.outcome == ThresholdOutcome::Passed { "passed" } else { "failed" };
        let value = format!("{value:.3}");
        let value = value.trim_end_matches('0').trim_end_matches('.');
        write!(f, "{}: {outcome}, it is {value}{unit}", self.condition)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn threshold(text: &str) -> Threshold {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The judgement of a run in which the condition's field has this value.
    fn judged(text: &str, value: Option<f64>) -> Judgement {
        let threshold = threshold(text);
        let mut report = Report::empty().to_json();
        let pointer = format!("/{}", threshold.path.replace('.', "/"));
        *report.pointer_mut(&pointer).expect("the field exists") = json!(value);
        threshold.judge(&report)
    }

    #[test]
    fn a_run_fails_when_the_condition_holds() {
        for (text, fails, passes) in [
            ("requests.order.p99_ms>50", 50.001, 50.0),
            ("requests.order.p99_ms >= 50", 50.0, 49.999),
            ("iterations_per_second<100", 99.9, 100.0),
            (" hit_ratio<=1e-1", 0.1, 0.11),
        ] {
            assert_eq!(judged(text, Some(fails)).outcome, ThresholdOutcome::Failed, "{text}");
            assert_eq!(judged(text, Some(passes)).outcome, ThresholdOutcome::Passed, "{text}");
        }
    }

    #[test]
    fn without_samples_no_threshold_is_passed() {
        for text in ["requests.order.p99_ms>50", "requests.order.p99_ms<50", "hit_ratio<0.5"] {
            let judgement = judged(text, None);
            assert_eq!(judgement.outcome, ThresholdOutcome::NoSamples);
            assert_eq!(judgement.to_string(), format!("{text}: failed, there are no samples"));
        }
    }

    #[test]
    fn every_number_of_a_report_can_be_named() {
        let mut values = vec![(String::new(), Report::empty().to_json())];
        let mut named = 0;
        while let Some((path, value)) = values.pop() {
            if value.is_number() || value.is_null() {
                threshold(&format!("{path}>0"));
                named += 1;
            }
            for (name, inside) in value.as_object().into_iter().flatten() {
                let dot = if path.is_empty() { "" } else { "." };
                values.push((format!("{path}{dot}{name}"), inside.clone()));
            }
        }
        assert!(named > 100, "{named} numbers");
    }

    #[test]
    fn a_status_that_did_not_occur_occurred_0_times() {
        let mut report = Report::empty().to_json();
        report["statuses"] = json!({"503": 2});
        let of = |text: &str| threshold(text).judge(&report).value;
        assert_eq!(of("statuses.503>0"), Some(2.0));
        assert_eq!(of("statuses.500>0"), Some(0.0));
        assert_eq!(of("requests.order.statuses.503>0"), Some(0.0));
    }

    #[test]
    fn an_invalid_condition_is_refused_with_a_hint() {
        for (text, hint) in [
            ("", "such as requests.order.p99_ms>50"),
            ("errors", "such as requests.order.p99_ms>50"),
            ("errors=0", "such as requests.order.p99_ms>50"),
            (">5", "no field ''; there are check, checking_s, "),
            ("slow>5", "no field 'slow'; there are check, checking_s, "),
            (
                "requests.order.p98_ms>50",
                "p95_ms, p999_ms, p99_ms, per_second, refusals, retries, statuses, ",
            ),
            ("requests.buy.p99_ms>50", "order, order_query, order_refused, query, query_hit, "),
            ("requests.order>5", "not a number; there are count, errors, max_ms, mean_ms, "),
            ("errors.all>5", "no field 'errors.all'; there are check, "),
            ("run.loop>5", "'run.loop' is not a number; there are clients, duration_s, "),
            ("interrupted>0", "'interrupted' is not a number"),
            ("clients>0", "'clients' is not a number"),
            ("complaints.order>0", "no field there is a number"),
            ("statuses.5xx>0", "name a status, such as statuses.503"),
            ("requests.order.p99_ms>50ms", "without a unit"),
            ("hit_ratio<90%", "without a unit"),
            ("errors>-1", "at least 0"),
            ("errors>NaN", "write a number"),
            ("errors>", "write a number"),
            ("errors=>5", "'errors='"),
        ] {
            let error = text.parse::<Threshold>().expect_err(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn a_judgement_tells_the_value_and_its_unit() {
        for (text, value, end) in [
            ("requests.order.p99_ms>50", 73.25, "failed, it is 73.25 ms"),
            ("errors>0", 0.0, "passed, it is 0"),
            ("requests.query.per_second<10", 100.0, "passed, it is 100/s"),
            ("hit_ratio<0.9", 0.5, "failed, it is 0.5"),
            ("checking_s>1", 2.5, "failed, it is 2.5 s"),
        ] {
            assert_eq!(judged(text, Some(value)).to_string(), format!("{text}: {end}"));
        }
    }
}
