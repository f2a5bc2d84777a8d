//! The load that the laboratory puts on the store: `toystore client`, as a process of its own, with
//! a time series that is read as it grows.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;

use actix_web::http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::Lab;
use super::roles::LabRefusal;

/// The folder, in the data folder, of what the client writes.
const FOLDER: &str = "lab";
/// How often the client writes a row: often enough to see a change of leader.
const INTERVAL: &str = "500ms";
/// A load that is forgotten ends by itself.
const LONGEST: &str = "3600s";
/// What a page may ask for: it is to show the store, not to wear out the machine.
const MOST_CLIENTS: u32 = 50;
const HIGHEST_RATE: f64 = 2_000.0;
const DEFAULT_CLIENTS: u32 = 5;
const DEFAULT_RATE: f64 = 50.0;
/// The samples that are handed out: five minutes.
const MOST_SAMPLES: usize = 600;

/// What the page asks for.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoadRequest {
    #[serde(alias = "p")]
    probability: f64,
    rate: Option<f64>,
    clients: Option<u32>,
    seed: Option<u64>,
}

/// A load that runs or has ended.
#[derive(Debug)]
pub(super) struct StartedLoad {
    client: Child,
    folder: PathBuf,
    settings: LoadSettings,
}

/// What a load was started with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct LoadSettings {
    probability: f64,
    rate: f64,
    clients: u32,
    seed: u64,
}

/// A load as the page sees it.
#[derive(Debug, Default, Serialize)]
pub(super) struct LoadView {
    running: bool,
    /// Why the client ended otherwise than in order.
    problem: Option<String>,
    #[serde(flatten)]
    settings: Option<LoadSettings>,
    #[serde(flatten)]
    figures: Figures,
}

/// What the clients have counted and measured.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Figures {
    queries: u64,
    purchases: u64,
    refused: u64,
    failed: u64,
    samples: Vec<Sample>,
}

/// Half a second. Latencies are missing where no request of that type ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Sample {
    /// Its end, counted from the start of the load.
    at_ms: u64,
    query_p50_ms: Option<f64>,
    query_p99_ms: Option<f64>,
    purchase_p50_ms: Option<f64>,
    purchase_p99_ms: Option<f64>,
    failed: u64,
}

impl Lab {
    /// Starts a load.
    pub(super) fn begin_load(&self, request: LoadRequest) -> Result<LoadView, LabRefusal> {
        let settings = request.settings()?;
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        if load.as_mut().is_some_and(StartedLoad::runs) {
            let problem = "a load is under way; end it first".to_owned();
            return Err(LabRefusal(StatusCode::CONFLICT, problem));
        }
        let folder = self.cluster.roles.data_dir.join(FOLDER);
        let client = start_client(self, settings, &folder).map_err(|error| {
            LabRefusal(
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "cannot start the client, whose results go to {}: {error}",
                    folder.display()
                ),
            )
        })?;
        Ok(load.insert(StartedLoad { client, folder, settings }).view(0))
    }

    /// Returns the load that was started last, with the samples after a time.
    pub(super) fn view_of_load(&self, after_ms: u64) -> LoadView {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        load.as_mut().map(|load| load.view(after_ms)).unwrap_or_default()
    }

    /// Returns whether a load is under way.
    pub(super) fn is_loaded(&self) -> bool {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        load.as_mut().is_some_and(StartedLoad::runs)
    }

    /// Ends the load, if one is under way: its clients check their orders, and then end.
    pub(super) fn end_load(&self) -> LoadView {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(load) = load.as_mut() else { return LoadView::default() };
        if load.runs() {
            // It is not reaped yet, so that the number is its own.
            let _ended = kill_process(Pid::from_child(&load.client), Signal::INT);
        }
        load.view(0)
    }
}

impl LoadRequest {
    fn settings(self) -> Result<LoadSettings, LabRefusal> {
        let settings = LoadSettings {
            probability: self.probability,
            rate: self.rate.unwrap_or(DEFAULT_RATE),
            clients: self.clients.unwrap_or(DEFAULT_CLIENTS),
            // 32 bits are enough to differ and short enough to be typed again.
            seed: self.seed.unwrap_or_else(|| rand::random::<u32>().into()),
        };
        let problem = if !(0.0..=1.0).contains(&settings.probability) {
            "probability is from 0 to 1".to_owned()
        } else if !(settings.rate > 0.0 && settings.rate <= HIGHEST_RATE) {
            format!("rate is above 0 and at most {HIGHEST_RATE}")
        } else if !(1..=MOST_CLIENTS).contains(&settings.clients) {
            format!("clients is from 1 to {MOST_CLIENTS}")
        } else {
            return Ok(settings);
        };
        Err(LabRefusal(StatusCode::BAD_REQUEST, problem))
    }
}

impl StartedLoad {
    fn runs(&mut self) -> bool {
        matches!(self.client.try_wait(), Ok(None))
    }

    fn view(&mut self, after_ms: u64) -> LoadView {
        let text = std::fs::read_to_string(self.folder.join("series.csv")).unwrap_or_default();
        let mut figures = Figures::of_series(&text);
        figures.samples.retain(|sample| sample.at_ms > after_ms);
        let surplus = figures.samples.len().saturating_sub(MOST_SAMPLES);
        figures.samples.drain(..surplus);
        let ended = self.client.try_wait().ok().flatten();
        let problem = ended.filter(|status| !status.success()).map(|status| {
            let log = std::fs::read_to_string(self.folder.join("client.log")).unwrap_or_default();
            log.lines().last().map_or_else(|| status.to_string(), str::to_owned)
        });
        LoadView { running: ended.is_none(), problem, settings: Some(self.settings), figures }
    }
}

impl Drop for StartedLoad {
    fn drop(&mut self) {
        let _ended = self.client.kill().and_then(|()| self.client.wait());
    }
}

fn start_client(lab: &Lab, settings: LoadSettings, folder: &Path) -> io::Result<Child> {
    std::fs::create_dir_all(folder)?;
    // Of an earlier load.
    let _missing = std::fs::remove_file(folder.join("series.csv"));
    let log = File::create(folder.join("client.log"))?;
    let LoadSettings { probability, rate, clients, seed } = settings;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["client", "--format", "json", "--interval", INTERVAL, "--duration", LONGEST]);
    for (option, value) in [
        ("--probability", probability.to_string()),
        ("--rate", rate.to_string()),
        ("--clients", clients.to_string()),
        ("--seed", seed.to_string()),
    ] {
        command.arg(option).arg(value);
    }
    for address in lab.cluster.roles.frontend_addresses() {
        command.arg("--frontend").arg(address.as_str());
    }
    command.arg("--out").arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()
}

impl Figures {
    /// Reads the client's time series. A row that is not complete yet is left out.
    fn of_series(text: &str) -> Self {
        let mut figures = Self::default();
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        let mut lines = complete.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        for line in lines {
            let row = SeriesRow { header: &header, fields: line.split(',').collect() };
            if row.field("phase") == Some("shopping") {
                figures.add(&row);
            }
        }
        figures
    }

    fn add(&mut self, row: &SeriesRow<'_>) {
        let kind = row.field("type");
        if !matches!(kind, Some("query" | "order")) {
            return;
        }
        let (count, failed) = (row.count("count"), row.count("errors"));
        let at = std::time::Duration::try_from_secs_f64(row.figure("time_s").unwrap_or_default());
        let at_ms = at.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        if self.samples.last().is_none_or(|sample| sample.at_ms != at_ms) {
            self.samples.push(Sample { at_ms, ..Sample::default() });
        }
        let sample = self.samples.last_mut().expect("one was just pushed, if there was none");
        let (p50, p99) = (row.figure("p50_ms"), row.figure("p99_ms"));
        sample.failed += failed;
        self.failed += failed;
        if kind == Some("query") {
            self.queries += count;
            (sample.query_p50_ms, sample.query_p99_ms) = (p50, p99);
        } else {
            self.purchases += count;
            self.refused += row.count("refusals");
            (sample.purchase_p50_ms, sample.purchase_p99_ms) = (p50, p99);
        }
    }
}

/// A row of the time series, with the names of its columns.
struct SeriesRow<'a> {
    header: &'a [&'a str],
    fields: Vec<&'a str>,
}

impl SeriesRow<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        let place = self.header.iter().position(|column| *column == name)?;
        self.fields.get(place).copied()
    }

    fn figure(&self, name: &str) -> Option<f64> {
        self.field(name)?.parse().ok()
    }

    fn count(&self, name: &str) -> u64 {
        self.field(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: &str = "unix_s,time_s,interval_s,phase,type,count,errors,refusals,p50_ms,p99_ms\n\
        1.5,0.5,0.5,shopping,query,10,1,0,0.331,0.659\n\
        1.5,0.5,0.5,shopping,query_hit,4,0,0,0.1,0.2\n\
        1.5,0.5,0.5,shopping,order,3,0,2,2.5,4.5\n\
        2.0,1.001,0.5,shopping,query,5,0,0,0.3,0.6\n\
        2.0,1.001,0.5,shopping,order,0,2,0,,\n\
        2.1,1.1,0.1,checking,check,3,0,0,1,1\n\
        2.5,1.5,0.5,shopping,quer";

    #[test]
    fn the_time_series_of_the_client_is_read_as_far_as_it_is_written() {
        let figures = Figures::of_series(SERIES);
        let counts = (figures.queries, figures.purchases, figures.refused, figures.failed);
        assert_eq!(counts, (15, 3, 2, 3));
        let first = Sample {
            at_ms: 500,
            query_p50_ms: Some(0.331),
            query_p99_ms: Some(0.659),
            purchase_p50_ms: Some(2.5),
            purchase_p99_ms: Some(4.5),
            failed: 1,
        };
        let second = Sample {
            at_ms: 1_001,
            query_p50_ms: Some(0.3),
            query_p99_ms: Some(0.6),
            purchase_p50_ms: None,
            purchase_p99_ms: None,
            failed: 2,
        };
        assert_eq!(figures.samples, [first, second]);
        assert_eq!(Figures::of_series(""), Figures::default());
    }

    #[test]
    fn a_load_beyond_the_limits_is_refused() {
        let request =
            |text: &str| serde_json::from_str::<LoadRequest>(text).unwrap().settings().is_ok();
        assert!(request(r#"{"probability":0.5}"#));
        assert!(request(r#"{"p":1,"rate":2000,"clients":50,"seed":7}"#));
        for text in [
            r#"{"p":1.1}"#,
            r#"{"p":-0.1}"#,
            r#"{"p":0.5,"rate":0}"#,
            r#"{"p":0.5,"rate":2001}"#,
            r#"{"p":0.5,"clients":0}"#,
            r#"{"p":0.5,"clients":51}"#,
        ] {
            assert!(!request(text), "{text}");
        }
        for text in ["{}", r#"{"p":"1"}"#, r#"{"p":1,"out":"/etc"}"#, r#"{"p":1,"seed":-1}"#] {
            assert!(serde_json::from_str::<LoadRequest>(text).is_err(), "{text}");
        }
    }
}
