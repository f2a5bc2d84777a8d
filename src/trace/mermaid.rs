//! Events as a sequence diagram in [Mermaid](https://mermaid.js.org/syntax/sequenceDiagram.html),
//! which documents can hold. A message is one arrow, at the time at which it was received.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::TraceError;
use crate::events::spans::is_heartbeat;
use crate::wire::event::{EventKind, EventLog, TraceEvent};

/// The most events in a diagram: some pages of a document.
const MOST_EVENTS: usize = 300;

/// Writes the events, heartbeats left out.
pub(super) fn write(log: &EventLog) -> Result<String, TraceError> {
    let events: Vec<&TraceEvent> = log.events.iter().filter(|event| !is_heartbeat(event)).collect();
    if events.len() > MOST_EVENTS {
        return Err(TraceError::TooMany { events: events.len(), most: MOST_EVENTS });
    }
    let of_kind = |kind| {
        let of_kind = events.iter().filter(move |event: &&&TraceEvent| event.kind == kind);
        of_kind.filter_map(|event| event.message.as_deref()).collect::<HashSet<&str>>()
    };
    let (sent, received) = (of_kind(EventKind::Send), of_kind(EventKind::Recv));
    let mut text = "sequenceDiagram\n".to_owned();
    let is_shown = |role: &&String| {
        events.iter().any(|event| {
            let ends = [Some(&event.node), event.from.as_ref(), event.to.as_ref()];
            ends.contains(&Some(*role))
        })
    };
    for role in log.header.roles.iter().filter(is_shown) {
        line(&mut text, &format!("participant {} as {}", alias(role), plain(role)));
    }
    for event in events {
        if let Some(told) = told(event, &sent, &received) {
            line(&mut text, &told);
        }
    }
    Ok(text)
}

fn told(event: &TraceEvent, sent: &HashSet<&str>, received: &HashSet<&str>) -> Option<String> {
    let node = alias(&event.node);
    let said = event.detail("text").and_then(|text| text.as_str()).unwrap_or_default();
    let name = plain(&event.name);
    let words = if said.is_empty() { name } else { format!("{name}, {}", plain(said)) };
    let message = event.message.as_deref();
    let arrow = |event: &TraceEvent, arrow: &str| {
        let end =
            |name: &Option<String>| name.as_deref().filter(|name| !name.is_empty()).map(alias);
        Some(format!("{}{arrow}{}: {words}", end(&event.from)?, end(&event.to)?))
    };
    let dashes = if event.name.ends_with(".answer") { "--" } else { "-" };
    match event.kind {
        EventKind::Recv => arrow(event, &format!("{dashes}>>")),
        EventKind::Send if message.is_some_and(|message| received.contains(message)) => None,
        EventKind::Drop if message.is_some_and(|message| sent.contains(message)) => None,
        // No receipt was recorded: it is lost, or its receiver's events are.
        EventKind::Send | EventKind::Drop => arrow(event, &format!("{dashes}x")),
        EventKind::Local | EventKind::Timer | EventKind::Start => {
            Some(format!("Note over {node}: {words}"))
        }
        EventKind::Crash => Some(format!("Note over {node}: crash")),
    }
}

fn line(text: &mut String, line: &str) {
    let _never_fails = writeln!(text, "    {line}");
}

/// A participant's name: a word without hyphens, which are part of arrows. `end` is a keyword.
fn alias(role: &str) -> String {
    let word: String = role.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    if word == "end" { "end_".to_owned() } else { word }
}

/// A text without what Mermaid would read as syntax.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '#' | ';' | ':' | '%' | '<' | '>' | '{' | '}' => ' ',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect::<String>()
        .trim()
        .to_owned()
}
