//! `toystore trace`: what a store did for its clients, as events or for the viewers that people
//! have.
//!
//! A front-end collects the events of a request from all roles (`GET /trace`); this command writes
//! them down, in a [format](ViewerFormat) that another program reads. `docs/events.md` says how to
//! open each.

mod chrome;
mod mermaid;
mod shiviz;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::SystemRunner;
use clap::{Args, ValueEnum};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::clock;
use crate::events::otlp;
use crate::process::{self, fail};
use crate::roles::{Access, Roles, RolesError};
use crate::transport::{CallError, Http};
use crate::wire::event::{EventLog, EventSource, EventsError, EventsHeader, TraceEvent};

/// When a run in simulated time begins: 2000-01-01, so that a seed is written the same each time.
const SIMULATED_BEGINNING: Duration = Duration::from_secs(946_684_800);
/// How long a front-end may take to collect: it waits for its turn, and then for the roles.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Arguments of `toystore trace`.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct TraceArguments {
    /// The request with this X-Request-Id, or of this trace (32 hexadecimal digits).
    #[arg(long, value_name = "ID", group = "what")]
    request: Option<String>,
    /// The last N requests that a front-end was asked, from 1 to 50.
    #[arg(long, value_name = "N", group = "what")]
    last: Option<u32>,
    /// What happens in the simulator with this seed: the services of a store in simulated time,
    /// while messages are lost, machines crash and disks fail. Needs no running store.
    #[arg(long, value_name = "SEED", group = "what")]
    simulate: Option<u64>,
    /// The events in this file, which this command wrote as `events` before.
    #[arg(long, value_name = "FILE", group = "what")]
    read: Option<PathBuf>,
    /// How to write them.
    #[arg(long, value_enum, default_value_t = ViewerFormat::Events)]
    format: ViewerFormat,
}

/// What reads the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ViewerFormat {
    /// JSON lines, as docs/events.md describes them.
    Events,
    /// ShiViz, which draws space-time diagrams of vector clocks.
    Shiviz,
    /// OpenTelemetry's JSON, which Jaeger and others read.
    Otlp,
    /// Chrome's trace events, which Perfetto reads.
    Chrome,
    /// A sequence diagram in Mermaid, for documents.
    Mermaid,
}

/// Why there are no events to write.
#[derive(Debug)]
pub enum TraceError {
    /// `roles.toml` cannot be read.
    Roles(RolesError),
    /// No front-end has them.
    Front(String),
    /// The file cannot be read.
    File(PathBuf, std::io::Error),
    /// The file is no file of events.
    Events(PathBuf, EventsError),
    /// There are more than the format is for.
    TooMany {
        /// How many there are.
        events: usize,
        /// How many the format is for.
        most: usize,
    },
}

#[derive(Deserialize)]
struct Answer {
    header: EventsHeader,
    events: Vec<TraceEvent>,
}

/// Runs the simulator with a seed, and returns what happened. It uses the services and is no part
/// of this library.
pub type Simulator = fn(u64) -> EventLog;

/// Gets the events that the arguments name, and writes them on standard output.
#[must_use]
pub fn run(
    arguments: &TraceArguments,
    config: &Path,
    system: &SystemRunner,
    simulate: Simulator,
) -> ExitCode {
    let got = match arguments.simulate {
        // It schedules its tasks itself. Inside of the system's scheduler, Tokio would hold them up
        // to give others a turn.
        Some(seed) => Ok(simulate(seed)),
        None => system.block_on(get(arguments, config)),
    };
    let written = got.and_then(|log| write(&log, arguments.format, beginning(&log)));
    match written.map(|text| process::print(text.as_bytes())) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error),
        Err(error) => fail(&error),
    }
}

/// The time of day of a log's first event, for formats that want one.
fn beginning(log: &EventLog) -> Duration {
    match log.header.source {
        EventSource::Live => clock::time_of_day(),
        EventSource::Simulator | EventSource::Model => SIMULATED_BEGINNING,
    }
}

async fn get(arguments: &TraceArguments, config: &Path) -> Result<EventLog, TraceError> {
    if let Some(path) = &arguments.read {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| TraceError::File(path.clone(), error))?;
        return EventLog::parse(&text).map_err(|error| TraceError::Events(path.clone(), error));
    }
    let roles = Roles::read(config).map_err(TraceError::Roles)?;
    fetch(arguments, &roles).await
}

/// Asks the front-ends one after the other, until one has the events.
async fn fetch(arguments: &TraceArguments, roles: &Roles) -> Result<EventLog, TraceError> {
    let path = match (&arguments.request, arguments.last) {
        (Some(id), _) => format!("/trace/{}", utf8_percent_encode(id, NON_ALPHANUMERIC)),
        (None, Some(last)) => format!("/trace?last={last}"),
        (None, None) => unreachable!("clap requires one of them"),
    };
    let mut problems = Vec::new();
    for frontend in &roles.frontends {
        let http = Http::new(&frontend.address, Access::default());
        match http.get::<Answer>(&path, TIME_LIMIT).await {
            Ok(answer) => return Ok(EventLog { header: answer.header, events: answer.events }),
            Err(CallError::Refused { message, .. }) => problems.push(message),
            Err(error) => {
                problems.push(format!("the front-end at {}: {error}", frontend.address));
            }
        }
    }
    problems.dedup();
    Err(TraceError::Front(problems.join("; ")))
}

/// Writes events as a format has them. `beginning` is the time of day of the first one, where a
/// format wants one.
///
/// # Errors
///
/// If they are too many for the format.
pub fn write(
    log: &EventLog,
    format: ViewerFormat,
    beginning: Duration,
) -> Result<String, TraceError> {
    match format {
        ViewerFormat::Events => Ok(log.to_lines()),
        ViewerFormat::Shiviz => Ok(shiviz::write(log)),
        ViewerFormat::Otlp => Ok(otlp::write(log, beginning)),
        ViewerFormat::Chrome => Ok(chrome::write(log)),
        ViewerFormat::Mermaid => mermaid::write(log),
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Roles(error) => error.fmt(f),
            Self::Front(problem) => f.write_str(problem),
            Self::File(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Events(path, error) => {
                write!(f, "{} is not a file of events: {error}", path.display())
            }
            Self::TooMany { events, most } => write!(
                f,
                "a Mermaid diagram is for {most} events, and there are {events}; ask for one \
                 request, or use --format shiviz"
            ),
        }
    }
}

impl std::error::Error for TraceError {}

#[cfg(test)]
pub(crate) mod tests;
