//! What has changed in the store, put together from what each role recorded: the page's feed.
//!
//! Each role keeps its own changes. The feed has a place in those of each role, up to which it was
//! told them; it gives each a number in the order in which it heard of them, by which a page that
//! was cut off goes on where it was:
//!
//! ```text
//! order-3   0 starts ─ 1 caught up 118 orders ─┐
//! catalog   0 starts ─ 1 restocked Slinky ─────┼─► 0, 1, 2, … by when it was heard
//! frontend  0 starts ─ 1 selected leader 2 ────┘   (the page shows them by when they were)
//! ```
//!
//! It keeps the newest [`MOST_EVENTS`], and tells how many are missing.

use std::collections::BTreeMap;

use crate::wire::cluster::{FeedEvent, FeedKind};
use crate::wire::recording::{ChangesQuery, RecordedEvent, RoleChanges};
use crate::wire::toy::ToyName;

/// The events that are kept: some minutes of a store in which much fails.
pub const MOST_EVENTS: usize = 512;
/// The toys that one event names.
const MOST_NAMES: usize = 4;
/// The toys whose invalidations are counted one by one until they are told.
const MOST_COUNTED: usize = 256;

/// The feed.
#[derive(Debug, Default)]
pub struct Feed {
    /// By ascending number.
    events: Vec<FeedEvent>,
    /// The number of the next event.
    next: u64,
    /// Where each role is to go on.
    places: BTreeMap<String, ChangesQuery>,
    /// The invalidations that were not told yet.
    invalidated: BTreeMap<ToyName, u64>,
    /// Invalidations of further toys.
    others: u64,
}

/// What a role answered.
#[derive(Clone, Debug)]
pub struct TimedChanges {
    /// The answer.
    pub from: RoleChanges,
    /// When the role's clock showed the answer's time: microseconds since 1970.
    pub at_us: u64,
}

impl Feed {
    /// Returns what `role` is to be asked.
    #[must_use]
    pub fn query(&self, role: &str) -> ChangesQuery {
        self.places.get(role).copied().unwrap_or_default()
    }

    /// Takes what roles answered.
    pub fn take(&mut self, answers: Vec<TimedChanges>) {
        let mut news: Vec<(u64, FeedEvent)> = Vec::new();
        for TimedChanges { from: answer, at_us } in answers {
            // A role that records nothing has no run.
            if answer.run == 0 {
                continue;
            }
            let count = answer.changes.len() as u64;
            let place = ChangesQuery { run: answer.run, from: answer.first.saturating_add(count) };
            self.places.insert(answer.role.clone(), place);
            let time = |us: u64| at_us.saturating_sub(answer.now_us.saturating_sub(us));
            let oldest = answer.changes.first().map_or(answer.now_us, |oldest| oldest.time_us);
            if answer.dropped > 0 {
                news.push((time(oldest), missing(&answer, time(oldest))));
            }
            for (number, change) in (answer.first..).zip(&answer.changes) {
                let at = time(change.time_us);
                news.push((at, told(&answer, number, change, at)));
            }
        }
        news.sort_by_key(|(at, _)| *at);
        for (_, event) in news {
            self.push(event);
        }
    }

    /// Notes that the catalog invalidated a toy, to be told by [`Feed::tell_invalidations`].
    pub fn invalidated(&mut self, toy: &ToyName) {
        if let Some(times) = self.invalidated.get_mut(toy.as_str()) {
            *times += 1;
        } else if self.invalidated.len() < MOST_COUNTED {
            self.invalidated.insert(toy.clone(), 1);
        } else {
            self.others += 1;
        }
    }

    /// Tells in one event of `role` which toys were invalidated since the last such event, if any
    /// were: there may be hundreds in a second.
    pub fn tell_invalidations(&mut self, role: &str, at_ms: u64) {
        let counted = std::mem::take(&mut self.invalidated);
        let further = counted.iter().skip(MOST_NAMES).map(|(_, times)| times).sum::<u64>();
        let further = further + std::mem::take(&mut self.others);
        let mut names: Vec<String> = counted
            .iter()
            .take(MOST_NAMES)
            .map(|(toy, times)| match times {
                1 => toy.as_str().to_owned(),
                times => format!("{} ({times} times)", toy.as_str()),
            })
            .collect();
        if further > 0 {
            names.push(format!("others ({further} times)"));
        }
        if !names.is_empty() {
            let text = format!("invalidated {}", names.join(", "));
            self.push(event(role, "cache.invalidate", text, at_ms));
        }
    }

    /// Forgets invalidations that no page waits for.
    pub fn forget_invalidations(&mut self) {
        self.invalidated.clear();
        self.others = 0;
    }

    /// Returns the events from this number on that are kept.
    pub fn since(&self, number: u64) -> impl Iterator<Item = &FeedEvent> {
        self.events.iter().filter(move |event| event.number >= number)
    }

    /// Returns how many events from this number on are kept no more.
    #[must_use]
    pub fn missing_since(&self, number: u64) -> u64 {
        self.next.saturating_sub(number) - self.since(number).count() as u64
    }

    /// Returns the number that the next event will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Adds an event. If there is no more room, the oldest one leaves: not the one that was heard
    /// first, since a role may answer late.
    fn push(&mut self, event: FeedEvent) {
        self.events.push(FeedEvent { number: self.next, ..event });
        self.next += 1;
        if self.events.len() > MOST_EVENTS {
            let oldest = self.events.iter().enumerate().min_by_key(|(_, event)| event.at_ms);
            let (oldest, _) = oldest.expect("there are events");
            self.events.remove(oldest);
        }
    }
}

/// A change as it is told.
fn told(answer: &RoleChanges, number: u64, change: &RecordedEvent, at_us: u64) -> FeedEvent {
    let text = change.detail.as_ref().and_then(|detail| detail.get("text")?.as_str());
    let text = text.unwrap_or(&change.name);
    // It is told beside the role's name.
    let text = text.strip_prefix(&format!("{} ", answer.role)).unwrap_or(text).to_owned();
    let key = format!("{}/{:016x}/{number}", answer.role, answer.run);
    FeedEvent { key: Some(key), ..event(&answer.role, &change.name, text, at_us / 1_000) }
}

/// That changes of a role are kept no more.
fn missing(answer: &RoleChanges, at_us: u64) -> FeedEvent {
    let plural = if answer.dropped == 1 { " is" } else { "s are" };
    let text = format!("{} earlier change{plural} not kept any more", answer.dropped);
    FeedEvent {
        key: Some(format!("{}/{:016x}/before-{}", answer.role, answer.run, answer.first)),
        dropped: answer.dropped,
        ..event(&answer.role, "dropped", text, at_us / 1_000)
    }
}

fn event(role: &str, name: &str, text: String, at_ms: u64) -> FeedEvent {
    FeedEvent {
        number: 0,
        at_ms,
        role: role.to_owned(),
        key: None,
        name: name.to_owned(),
        kind: kind_of(role, name),
        text,
        dropped: 0,
    }
}

/// What an event of this name, which `role` recorded, is about.
fn kind_of(role: &str, name: &str) -> FeedKind {
    let (topic, part) = name.split_once('.').unwrap_or((name, ""));
    match (topic, part) {
        ("selection" | "leader" | "leadership", _) => FeedKind::Leader,
        ("catalog" | "term" | "restock", _) => FeedKind::Catalog,
        ("lease" | "cache", _) => FeedKind::Cache,
        ("frontend", _) => FeedKind::Frontend,
        ("sales", _) => FeedKind::Store,
        ("replica" | "follower" | "log" | "caught_up", _) => FeedKind::Replica,
        _ if role.starts_with("catalog") => FeedKind::Catalog,
        _ if role.starts_with("order") => FeedKind::Replica,
        _ => FeedKind::Frontend,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::event::EventKind;

    const DAY_US: u64 = 1_000_000_000;

    fn change(time_us: u64, name: &str, text: &str) -> RecordedEvent {
        let detail = serde_json::Map::from_iter([("text".to_owned(), text.into())]);
        RecordedEvent {
            time_us,
            kind: EventKind::Local,
            name: name.into(),
            message: None,
            traces: Vec::new(),
            span: None,
            detail: Some(detail),
        }
    }

    /// The changes of a role from number `first` on, whose clock shows `now_us`.
    fn of(role: &str, first: u64, now_us: u64, changes: Vec<RecordedEvent>) -> TimedChanges {
        let role = role.to_owned();
        let from = RoleChanges { role, run: 7, first, dropped: 0, now_us, changes };
        TimedChanges { from, at_us: DAY_US }
    }

    fn told(feed: &Feed, from: u64) -> Vec<&str> {
        feed.since(from).map(|event| event.text.as_str()).collect()
    }

    #[test]
    fn changes_of_all_roles_are_told_in_the_order_of_their_times_whatever_their_clocks_show() {
        let mut feed = Feed::default();
        feed.take(vec![
            of("order-3", 0, 9_000_000, vec![change(8_990_000, "caught_up", "caught up")]),
            of(
                "frontend",
                0,
                50_000,
                vec![
                    change(20_000, "selection", "frontend selected"),
                    change(49_000, "lease.end", "frontend-2 is another"),
                ],
            ),
        ]);
        // Whose change it is stands beside it.
        assert_eq!(told(&feed, 0), ["selected", "caught up", "frontend-2 is another"]);
        let all: Vec<_> =
            feed.since(0).map(|event| (event.role.as_str(), event.kind, event.at_ms)).collect();
        let expected = [
            ("frontend", FeedKind::Leader, 1_000_000 - 30),
            ("order-3", FeedKind::Replica, 1_000_000 - 10),
            ("frontend", FeedKind::Cache, 1_000_000 - 1),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_role_is_asked_for_what_follows_what_it_told() {
        let mut feed = Feed::default();
        assert_eq!(feed.query("catalog"), ChangesQuery::default());
        let restock = || change(1, "restock.commit", "restocked Tux");
        feed.take(vec![of("catalog", 4, 9, vec![restock(), restock()])]);
        assert_eq!(feed.query("catalog"), ChangesQuery { run: 7, from: 6 });
        assert_eq!(feed.query("order-1"), ChangesQuery::default());
        let keys: Vec<_> = feed.since(0).filter_map(|event| event.key.as_deref()).collect();
        assert_eq!(keys, ["catalog/0000000000000007/4", "catalog/0000000000000007/5"]);
        feed.take(vec![TimedChanges { from: RoleChanges::default(), at_us: DAY_US }]);
        assert_eq!(feed.next(), 2, "a role that records nothing changes nothing");
    }

    #[test]
    fn changes_that_a_role_does_not_keep_any_more_are_told_with_their_number() {
        let mut feed = Feed::default();
        let mut answer = of("order-1", 12, 9, vec![change(5, "log.behind", "behind")]);
        answer.from.dropped = 12;
        feed.take(vec![answer]);
        assert_eq!(told(&feed, 0), ["12 earlier changes are not kept any more", "behind"]);
        assert_eq!(feed.since(0).map(|event| event.dropped).collect::<Vec<_>>(), [12, 0]);
    }

    #[test]
    fn the_newest_events_are_kept_and_the_others_counted() {
        let mut feed = Feed::default();
        let times =
            |of: std::ops::Range<u64>| of.map(|us| change(us * 1_000, "start", "s")).collect();
        let most = MOST_EVENTS as u64;
        feed.take(vec![of("order-1", 0, 2_000_000, times(1_000..1_000 + most))]);
        // What another role tells now was earlier.
        feed.take(vec![of("order-2", 0, 2_000_000, times(10..13))]);
        assert_eq!((feed.since(0).count(), feed.missing_since(0)), (MOST_EVENTS, 3));
        assert!(feed.since(0).all(|event| event.role == "order-1"), "the newest are kept");
        assert_eq!((feed.since(most).count(), feed.missing_since(most)), (0, 3));
        assert_eq!((feed.missing_since(most + 1), feed.missing_since(feed.next())), (2, 0));
    }

    #[test]
    fn invalidations_are_told_together() {
        let mut feed = Feed::default();
        feed.tell_invalidations("frontend", 0);
        for toy in ["Slinky", "Tux", "Slinky", "Uno", "A", "B", "C"] {
            feed.invalidated(&toy.into());
        }
        feed.tell_invalidations("frontend", 1);
        feed.invalidated(&"Tux".into());
        feed.forget_invalidations();
        feed.tell_invalidations("frontend", 2);
        assert_eq!(told(&feed, 0), ["invalidated A, B, C, Slinky (2 times), others (2 times)"]);
    }
}
