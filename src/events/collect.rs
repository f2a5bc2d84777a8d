//! Puts what roles have recorded together: one time, one order, vector clocks.
//!
//! # The idea
//!
//! Each role's times are those of its own clock. The collector knows when it asked and when it was
//! answered, and that the role's clock showed `now_us` in between. Messages say more: none arrives
//! before it was sent. So each role's clock is moved to where it breaks the fewest of both:
//!
//! ```text
//! front-end   ──ask───────────────────answer──►   now_us was between these two
//! order-3     ───────────now_us───────────────►
//!                  send m1 ≤ recv m1, and send m2 ≤ recv m2: at least this late, at most that
//! ```
//!
//! The order is that of the times, except that a message is never received before it was sent, and
//! a role's own order is kept. From it follow the [vector clocks](crate::wire::event).

use std::collections::{BTreeMap, HashMap};

use super::render::CLIENT;
use crate::wire::event::{EventKind, EventLog, EventSource, EventsHeader, TraceEvent};
use crate::wire::recording::{RecordedEvent, RoleEvents};
use crate::wire::trace::TraceId;

/// What one role answered, and when it was asked on the collector's clock, in microseconds.
#[derive(Clone, Debug)]
pub struct Collected {
    /// The answer.
    pub from: RoleEvents,
    /// When it was asked.
    pub asked_us: u64,
    /// When it answered.
    pub answered_us: u64,
}

/// Puts together what roles have recorded for `traces`, the collector's own first. The nodes are
/// `roles`, of which the `missing` did not answer.
#[must_use]
pub fn put_together(
    collected: Vec<Collected>,
    roles: Vec<String>,
    missing: Vec<String>,
    traces: &[TraceId],
) -> EventLog {
    let dropped = collected.iter().map(|one| one.from.dropped).sum();
    let mut offsets = offsets(&collected);
    // Times begin with the first event.
    let of_lane = |(one, offset): (&Collected, &i64)| {
        let first = one.from.events.iter().map(|event| signed(event.time_us)).min();
        first.map(|first| first.saturating_add(*offset))
    };
    let first = collected.iter().zip(&offsets).filter_map(of_lane).min().unwrap_or_default();
    for offset in &mut offsets {
        *offset = offset.saturating_sub(first);
    }
    let mut lanes: Vec<Lane> = collected
        .into_iter()
        .zip(offsets)
        .map(|(one, offset)| Lane::new(one.from, offset, traces))
        .collect();
    // Requests of several clients have no order among themselves.
    let client = (traces.len() == 1).then(|| client_of(&lanes)).filter(|lane| !lane.is_empty());
    let has_client = client.is_some();
    lanes.extend(client.map(|events| Lane { events, next: 0, last_us: 0 }));
    let mut events = merge(lanes);
    tell_both_ends(&mut events);
    let clients = has_client.then(|| CLIENT.to_owned()).into_iter();
    let mut header = EventsHeader::new(EventSource::Live, clients.chain(roles).collect());
    (header.dropped, header.missing) = (dropped, missing);
    let mut log = EventLog { header, events };
    log.stamp();
    log
}

/// One node's events, in its own order.
struct Lane {
    events: Vec<TraceEvent>,
    next: usize,
    /// The time of the last event that was taken.
    last_us: u64,
}

impl Lane {
    fn new(from: RoleEvents, offset: i64, traces: &[TraceId]) -> Self {
        let events = from.events.into_iter();
        let events = events.map(|event| shaped(&from.role, event, offset, traces)).collect();
        Self { events, next: 0, last_us: 0 }
    }

    fn head(&self) -> Option<&TraceEvent> {
        self.events.get(self.next)
    }
}

/// What `node` recorded, in the common form.
#[must_use]
pub fn trace_event(node: &str, event: RecordedEvent) -> TraceEvent {
    shaped(node, event, 0, &[])
}

/// An event in the common form, on the collector's clock.
fn shaped(node: &str, event: RecordedEvent, offset: i64, traces: &[TraceId]) -> TraceEvent {
    let time = event.time_us.saturating_add_signed(offset);
    let mut shaped = TraceEvent::new(node, event.kind, &event.name, time);
    if let Some(message) = event.message {
        let is_own = event.kind == EventKind::Send;
        let (from, to) = if is_own { (node, &*message.peer) } else { (&*message.peer, node) };
        shaped = shaped.about(&message.id, from, to);
    }
    let meant = event.traces.iter().find(|trace| traces.contains(trace));
    shaped.trace = meant.or(event.traces.first()).map(ToString::to_string);
    shaped.span = event.span;
    shaped.detail = event.detail;
    if event.traces.len() > 1 {
        let all: Vec<String> = event.traces.iter().map(ToString::to_string).collect();
        shaped = shaped.with("traces", all);
    }
    shaped
}

/// How far each role's clock is behind the collector's, the first of `collected`.
fn offsets(collected: &[Collected]) -> Vec<i64> {
    let mut offsets: Vec<i64> = Vec::new();
    // By message: who sent it and when, who received it and when.
    let mut ends: HashMap<&str, [Option<(usize, i64)>; 2]> = HashMap::new();
    for (place, one) in collected.iter().enumerate() {
        for event in &one.from.events {
            let Some(message) = &event.message else { continue };
            let end = match event.kind {
                EventKind::Send => 0,
                EventKind::Recv => 1,
                EventKind::Drop
                | EventKind::Local
                | EventKind::Timer
                | EventKind::Crash
                | EventKind::Start => continue,
            };
            ends.entry(&message.id).or_default()[end] = Some((place, signed(event.time_us)));
        }
    }
    for (place, one) in collected.iter().enumerate() {
        let guess = signed(u64::midpoint(one.asked_us, one.answered_us)) - signed(one.from.now_us);
        let (mut least, mut most) = (i64::MIN, i64::MAX);
        for [sent, received] in ends.values() {
            let (Some((from, sent)), Some((to, received))) = (*sent, *received) else { continue };
            if to == place && from < place {
                least = least.max(sent + offsets[from] - received);
            } else if from == place && to < place {
                most = most.min(received + offsets[to] - sent);
            }
        }
        let offset =
            if least <= most { guess.clamp(least, most) } else { i64::midpoint(least, most) };
        offsets.push(offset);
    }
    offsets
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

/// What a client must have done: it sent what came from it, and received what was sent to it. This
/// is not recorded anywhere; the times are those of the other end.
fn client_of(lanes: &[Lane]) -> Vec<TraceEvent> {
    let events = lanes.iter().flat_map(|lane| &lane.events);
    let mut client: Vec<TraceEvent> = events
        .filter_map(|event| {
            let kind = match event.kind {
                EventKind::Recv if event.from.as_deref() == Some(CLIENT) => EventKind::Send,
                EventKind::Send if event.to.as_deref() == Some(CLIENT) => EventKind::Recv,
                EventKind::Send
                | EventKind::Recv
                | EventKind::Drop
                | EventKind::Local
                | EventKind::Timer
                | EventKind::Crash
                | EventKind::Start => return None,
            };
            let event = TraceEvent { node: CLIENT.into(), kind, span: None, ..event.clone() };
            Some(event.with("assumed", true))
        })
        .collect();
    client.sort_by_key(|event| event.time_us);
    client
}

/// Merges the lanes into an order in which each event comes behind its causes.
fn merge(mut lanes: Vec<Lane>) -> Vec<TraceEvent> {
    let is_sent = |event: &TraceEvent| event.kind == EventKind::Send;
    let all = lanes.iter().flat_map(|lane| &lane.events);
    let sent: Vec<String> =
        all.filter(|it| is_sent(it)).filter_map(|it| it.message.clone()).collect();
    // When each message was sent, once it was.
    let mut times: HashMap<String, Option<u64>> = sent.into_iter().map(|id| (id, None)).collect();
    let mut merged = Vec::new();
    loop {
        let waits = |event: &TraceEvent| {
            event.kind == EventKind::Recv
                && event.message.as_ref().and_then(|id| times.get(id)).is_some_and(Option::is_none)
        };
        let heads = lanes.iter().enumerate().filter_map(|(at, lane)| Some((at, lane.head()?)));
        // If all wait, what was recorded contradicts itself; it is shown all the same.
        let next = heads.min_by_key(|(at, event)| (waits(event), event.time_us, *at));
        let Some((at, _)) = next else { return merged };
        let lane = &mut lanes[at];
        let mut event = lane.events[lane.next].clone();
        lane.next += 1;
        let id = event.message.clone().unwrap_or_default();
        event.time_us = event.time_us.max(lane.last_us);
        if event.kind == EventKind::Recv
            && let Some(Some(sent)) = times.get(&id)
        {
            event.time_us = event.time_us.max(*sent);
        }
        lane.last_us = event.time_us;
        if is_sent(&event) {
            times.insert(id, Some(event.time_us));
        }
        merged.push(event);
    }
}

/// A message's words and its sender are recorded at one end; both ends tell them.
fn tell_both_ends(events: &mut [TraceEvent]) {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut senders: BTreeMap<String, String> = BTreeMap::new();
    for event in &*events {
        let Some(message) = &event.message else { continue };
        if let Some(text) = event.detail("text").and_then(|text| text.as_str()) {
            texts.entry(message.clone()).or_insert_with(|| text.to_owned());
        }
        if event.kind == EventKind::Send {
            senders.insert(message.clone(), event.node.clone());
        }
    }
    for event in events {
        let Some(message) = event.message.clone() else { continue };
        if event.detail("text").is_none()
            && event.kind != EventKind::Timer
            && let Some(text) = texts.get(&message)
        {
            event.detail.get_or_insert_default().insert("text".into(), text.clone().into());
        }
        if let (EventKind::Recv, Some(sender)) = (event.kind, senders.get(&message)) {
            event.from = Some(sender.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::recording::RecordedMessage;

    fn event(time_us: u64, kind: EventKind, message: &str, peer: &str) -> RecordedEvent {
        RecordedEvent {
            time_us,
            kind,
            name: "purchase".into(),
            message: Some(RecordedMessage { id: message.into(), peer: peer.into() }),
            traces: vec![TraceId::from_random(7)],
            span: None,
            detail: None,
        }
    }

    fn role(name: &str, now_us: u64, events: Vec<RecordedEvent>) -> RoleEvents {
        RoleEvents { role: name.into(), now_us, events, ..RoleEvents::default() }
    }

    fn put(collected: Vec<Collected>) -> EventLog {
        let roles = vec!["frontend".into(), "order-3".into()];
        put_together(collected, roles, Vec::new(), &[TraceId::from_random(7)])
    }

    fn order_of(log: &EventLog) -> Vec<(String, EventKind, u64)> {
        log.events.iter().map(|it| (it.node.clone(), it.kind, it.time_us)).collect()
    }

    /// The replica's clock is far behind, and the front-end was slow to ask.
    fn call_and_answer(now_us: u64) -> Vec<Collected> {
        use EventKind::{Recv, Send};
        let sent =
            vec![event(1_000, Send, "m", "order-3"), event(1_900, Recv, "m.answer", "order-3")];
        let received = vec![event(40, Recv, "m", ""), event(840, Send, "m.answer", "frontend")];
        vec![
            Collected { from: role("frontend", 9_000, sent), asked_us: 9_000, answered_us: 9_000 },
            Collected {
                from: role("order-3", now_us, received),
                asked_us: 9_000,
                answered_us: 12_000,
            },
        ]
    }

    #[test]
    fn a_message_is_sent_before_it_is_received_whatever_the_clocks_show() {
        use EventKind::{Recv, Send};
        // It answered in the middle, at its end, and impossibly early.
        for now_us in [9_500, 11_900, 20_000, 0] {
            let log = put(call_and_answer(now_us));
            let order = order_of(&log);
            let nodes: Vec<_> =
                order.iter().map(|(node, kind, _)| (node.as_str(), *kind)).collect();
            let expected =
                [("frontend", Send), ("order-3", Recv), ("order-3", Send), ("frontend", Recv)];
            assert_eq!(nodes, expected, "{now_us}");
            let times: Vec<u64> = order.iter().map(|(_, _, time)| *time).collect();
            assert!(times.is_sorted() && times[0] == 0 && times[3] == 900, "{times:?}");
            assert_eq!(times[2] - times[1], 800, "a role's own times stay as they are");
            assert_eq!(log.events[1].from.as_deref(), Some("frontend"), "its sender said so");
            assert!(log.events[0].is_before(&log.events[3]));
        }
    }

    #[test]
    fn what_a_role_recorded_before_another_event_stays_before_it() {
        use EventKind::{Local, Recv, Send};
        let mut collected = call_and_answer(9_500);
        let mut mark = event(400, Local, "", "");
        mark.message = None;
        collected[1].from.events.insert(1, mark);
        let kinds: Vec<EventKind> = put(collected).events.iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [Send, Recv, Local, Send, Recv]);
    }

    #[test]
    fn one_request_has_a_lane_for_its_client() {
        use EventKind::{Recv, Send};
        let mut collected = call_and_answer(9_500);
        collected[0].from.events.insert(0, event(900, Recv, "c", "client"));
        collected[0].from.events.push(event(2_000, Send, "c.answer", "client"));
        let log = put(collected.clone());
        assert_eq!(log.header.roles, ["client", "frontend", "order-3"]);
        let (first, last) = (log.events.first().unwrap(), log.events.last().unwrap());
        assert_eq!((first.node.as_str(), first.kind, first.time_us), ("client", Send, 0));
        assert_eq!((last.node.as_str(), last.kind, last.time_us), ("client", Recv, 1_100));
        assert_eq!(first.detail("assumed"), Some(&true.into()));
        assert!(first.is_before(last));
        let roles = vec!["frontend".into(), "order-3".into()];
        let both = [TraceId::from_random(7), TraceId::from_random(8)];
        let several = put_together(collected, roles, Vec::new(), &both);
        assert!(several.events.iter().all(|event| event.node != "client"));
    }

    #[test]
    fn a_message_whose_other_end_is_lost_is_kept() {
        let mut collected = call_and_answer(9_500);
        collected.pop();
        let log = put(collected);
        assert_eq!(log.events.len(), 2, "sent, and answered by a role that was not asked");
    }
}
