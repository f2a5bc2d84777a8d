//! The events of a simulated run: their order respects causes, and recording changes nothing.

use std::collections::HashMap;

use toystore::wire::event::EventKind::{Crash, Drop, Local, Recv, Send, Start, Timer};
use toystore::wire::event::{EventKind, EventLog, TraceEvent};

use super::runs::recorded;

/// What the runs below must have had, so that a diagram has all that it can show.
const KINDS: [&str; 8] = ["Send", "Recv", "Drop", "Local", "Timer", "Crash", "Start", "repeated"];

#[test]
fn a_run_is_the_same_whether_it_is_recorded_or_not() {
    for seed in [7, 77] {
        let mut kept = None;
        super::run(seed, true, &mut kept);
        let plain = kept.expect("a world").take_trace();
        let (log, with_events) = recorded(seed, true);
        assert!(log.events.len() > 1_000, "a run has events");
        assert_eq!(EventLog::parse(&log.to_lines()).unwrap(), log, "seed {seed}");
        for (one, other) in plain.iter().zip(&with_events) {
            assert_eq!(one, other, "seed {seed}");
        }
        assert_eq!(plain.len(), with_events.len(), "seed {seed}");
    }
}

#[test]
fn in_every_run_a_message_is_sent_before_it_is_received_and_clocks_say_so() {
    let mut kinds: HashMap<String, usize> = HashMap::new();
    // Most seeds repeat no message.
    for seed in 1..=100 {
        if seed > 8 && KINDS.iter().all(|kind| kinds.contains_key(*kind)) {
            break;
        }
        let (log, _) = recorded(seed, false);
        let mut own: HashMap<&str, u64> = HashMap::new();
        let mut sent: HashMap<&str, &TraceEvent> = HashMap::new();
        let mut received: HashMap<&str, usize> = HashMap::new();
        let mut last = 0;
        for event in &log.events {
            assert!(last <= event.time_us, "seed {seed}: time goes back at {event:?}");
            last = event.time_us;
            *kinds.entry(format!("{:?}", event.kind)).or_default() += 1;
            if event.kind == Drop {
                continue;
            }
            let count = own.entry(&event.node).or_default();
            *count += 1;
            assert_eq!(event.clock.get(&event.node), Some(&*count), "seed {seed}: {event:?}");
            let message = event.message.as_deref().unwrap_or_default();
            match event.kind {
                Send => {
                    sent.insert(message, event);
                }
                Recv => {
                    let sent = sent.get(message);
                    let sent =
                        sent.unwrap_or_else(|| panic!("seed {seed}: no sender of {event:?}"));
                    assert!(sent.is_before(event), "seed {seed}: {event:?}");
                    *received.entry(message).or_default() += 1;
                }
                Drop | Local | Timer | Crash | Start => {}
            }
        }
        let repeated = received.values().filter(|count| **count > 1).count();
        if repeated > 0 {
            *kinds.entry("repeated".into()).or_default() += repeated;
        }
    }
    for kind in KINDS {
        assert!(kinds.contains_key(kind), "no {kind} in {kinds:?}");
    }
}

#[test]
fn a_simulated_purchase_has_the_causes_that_the_protocol_gives_it() {
    let (log, _) = recorded(7, false);
    let sold = log.events.iter().filter(|event| is(event, "catalog", Local, "commit"));
    let chain = |commit: &&TraceEvent| {
        let before = |node: &str, kind, name: &str| {
            log.events.iter().any(|it| is(it, node, kind, name) && it.is_before(commit))
        };
        let after = |name: &str, kind| {
            log.events.iter().any(|it| {
                it.node.starts_with("order-")
                    && it.kind == kind
                    && it.name == name
                    && commit.is_before(it)
            })
        };
        before("catalog", Recv, "commit") && after("commit.answer", Recv) && after("sync", Local)
    };
    let sold: Vec<&TraceEvent> = sold.collect();
    assert!(sold.len() > 5, "the run sells: {}", sold.len());
    let whole = sold.iter().filter(|commit| chain(commit)).count();
    assert!(whole > sold.len() / 2, "{whole} of {} are passed on", sold.len());
}

fn is(event: &TraceEvent, node: &str, kind: EventKind, name: &str) -> bool {
    event.node == node && event.kind == kind && event.name == name
}
