//! Events as [ShiViz](https://bestchai.bitbucket.io/shiviz/) reads them: two lines each, with its
//! default expression `(?<host>\S*) (?<clock>{.*})\n(?<event>.*)`.
//!
//! ShiViz refuses a clock that leaves out one of its own host's events. So the clocks are counted
//! anew, over just the events that are written: a part of a log has no gaps either. A message that
//! was lost is no event of any host, and is left out.

use std::fmt::Write as _;

use crate::events::spans::in_words;
use crate::wire::event::{EventKind, EventLog};

/// Writes the events.
pub(super) fn write(log: &EventLog) -> String {
    let mut log = log.clone();
    log.events.retain(|event| event.kind != EventKind::Drop);
    log.stamp();
    let mut text = String::new();
    for event in &log.events {
        let clock = serde_json::to_string(&event.clock).expect("a map of numbers");
        let host = event.node.replace(char::is_whitespace, "-");
        let clock = clock.replace(&format!("\"{}\":", event.node), &format!("\"{host}\":"));
        let _never_fails = writeln!(text, "{host} {clock}\n{}", in_words(event));
    }
    text
}
