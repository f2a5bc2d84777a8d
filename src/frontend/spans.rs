//! Sends the spans of clients' requests to a collector, by OTLP over HTTP: `otlp` in `roles.toml`.
//!
//! ```text
//! each second: the requests that were answered since ─► their events, of all roles
//!              ─► spans ─► POST /v1/traces
//! ```
//!
//! The front-end that a client asked sends the whole request, what the other roles did for it
//! included, so that they need no collector. At most [`MOST`] requests are sent each second: of a
//! busy store a sample. What cannot be sent is not sent later.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::remote::Remote;
use super::service::Service;
use super::traces;
use crate::clock;
use crate::events::otlp;
use crate::repeats::Repeats;
use crate::roles::{Access, Collector, Roles};
use crate::shutdown::Shutdown;
use crate::transport::Http;
use crate::wire::calls::Caller;
use crate::wire::event::{EventKind, EventLog};
use crate::wire::recording::AskedRequest;
use crate::wire::trace::TraceId;

/// How often spans are sent.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most requests that are sent together: collecting them costs each role some milliseconds.
const MOST: usize = 50;
/// How long a collector may take.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Starts to send spans, if `roles.toml` says where.
pub(super) fn start(
    service: &Arc<Service>,
    remote: &Rc<Remote>,
    roles: &Roles,
    shutdown: &Shutdown,
) {
    let Some(collector) = roles.trace.otlp.clone() else { return };
    let (service, remote, roles) = (Arc::clone(service), Rc::clone(remote), roles.clone());
    shutdown.spawn("the export of spans", async move {
        send_all(&service, &remote, &roles, &collector).await;
    });
}

/// Sends what was answered, for ever.
async fn send_all(
    service: &Arc<Service>,
    remote: &Remote,
    roles: &Roles,
    Collector { address, path }: &Collector,
) {
    let http = Http::new(address, Access::default());
    let failures = Repeats::default();
    let mut sent: HashSet<TraceId> = HashSet::new();
    loop {
        service.runtime.sleep(INTERVAL).await;
        let (now, last) = (clock::time_of_day(), service.identity.recorder().last_asked(MOST));
        let is_new = |one: &&AskedRequest| one.status.is_some() && !sent.contains(&one.trace);
        let fresh: Vec<AskedRequest> = last.iter().filter(is_new).cloned().collect();
        if fresh.is_empty() {
            continue;
        }
        // Other traces are being collected: those of this second are sent with the next.
        let Ok(mut log) = traces::collect(service, remote, roles, &fresh).await else { continue };
        // Only what is asked for again has to be known.
        sent.retain(|trace| last.iter().any(|one| one.trace == *trace));
        sent.extend(fresh.iter().map(|one| one.trace));
        keep(&mut log, &fresh);
        let beginning = now.saturating_sub(before(&log, &fresh));
        let body = otlp::write(&log, beginning);
        let answer = http.exchange(path, Some(body), TIME_LIMIT, &Caller::default()).await;
        let problem = match answer {
            Ok((200..300, _)) => None,
            Ok((status, _)) => Some(format!("it answers with status {status}")),
            Err(error) => Some(error.to_string()),
        };
        match (problem, service.runtime.now()) {
            (Some(why), now) if failures.happened(&why, now) => {
                log::warn!("spans cannot be sent to http://{address}{path}: {why}");
            }
            (Some(_), _) => {}
            (None, now) => {
                if let Some(lasted) = failures.over(now) {
                    log::info!("spans are sent again, after {lasted}");
                }
            }
        }
    }
}

/// Keeps what these requests caused, and what was recorded: a client's own events are assumed.
fn keep(log: &mut EventLog, asked: &[AskedRequest]) {
    let traces: HashSet<String> = asked.iter().map(|one| one.trace.to_string()).collect();
    let roles = &log.header.roles;
    log.events.retain(|event| {
        event.detail("assumed").is_none()
            && roles.contains(&event.node)
            && event.trace.as_ref().is_some_and(|trace| traces.contains(trace))
    });
}

/// How long before the requests' ages were taken the log's times begin.
fn before(log: &EventLog, asked: &[AskedRequest]) -> Duration {
    let begins = asked.iter().find_map(|one| {
        let trace = one.trace.to_string();
        let came = log.events.iter().find(|event| {
            event.kind == EventKind::Recv && event.trace.as_deref() == Some(&*trace)
        })?;
        Some(one.age_us + came.time_us)
    });
    Duration::from_micros(begins.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::event::{EventSource, EventsHeader, TraceEvent};

    fn asked(trace: u128, age_us: u64) -> AskedRequest {
        let (name, text) = ("POST /orders".to_owned(), "1 Tux".to_owned());
        let trace = TraceId::from_random(trace);
        AskedRequest { trace, name, text, age_us, took_us: Some(10), status: Some(200) }
    }

    fn event(trace: Option<u128>, node: &str, time_us: u64) -> TraceEvent {
        let trace = trace.map(|trace| TraceId::from_random(trace).to_string());
        TraceEvent { trace, ..TraceEvent::new(node, EventKind::Recv, "POST /orders", time_us) }
    }

    #[test]
    fn what_is_sent_is_what_was_recorded_for_the_requests_at_its_time_of_day() {
        let header = EventsHeader::new(EventSource::Live, vec!["client".into(), "frontend".into()]);
        let events = vec![
            event(None, "frontend", 0),
            event(Some(1), "client", 100).with("assumed", true),
            event(Some(1), "frontend", 100),
            event(Some(2), "frontend", 400),
        ];
        let mut log = EventLog { header, events };
        let requests = [asked(1, 5_000)];
        keep(&mut log, &requests);
        assert_eq!(log.events.len(), 1);
        // It came 5 ms before it was listed, and 0.1 ms after the log begins.
        assert_eq!(before(&log, &requests), Duration::from_micros(5_100));
    }
}
