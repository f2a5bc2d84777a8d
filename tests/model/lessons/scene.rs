//! What happens in a step: events in the format of the traces, and facts about each node.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use toystore::wire::event::EventKind;

/// For each node, what it knows: name and value.
pub(crate) type Facts = BTreeMap<&'static str, BTreeMap<&'static str, String>>;

/// A message that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    id: String,
    from: &'static str,
    to: &'static str,
    name: String,
}

/// An event. It is written as a short list, from which the page makes an event in the format of
/// traces: `["send", message, from, to, name]`, `["recv" | "drop", message]` about one that was
/// sent, and `["local" | "timer" | "crash" | "start", node, name]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    node: &'static str,
    kind: EventKind,
    about: Option<Message>,
    name: String,
}

impl Event {
    /// Where it happens.
    pub(super) fn node(&self) -> &'static str {
        self.node
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match (&self.about, self.kind) {
            (Some(Message { id, from, to: whom, name }), EventKind::Send) => {
                (self.kind, id, from, whom, name).serialize(to)
            }
            (Some(message), _) => (self.kind, &message.id).serialize(to),
            (None, _) => (self.kind, self.node, &self.name).serialize(to),
        }
    }
}

/// A step of a lesson.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    text: String,
    pub(crate) events: Vec<Event>,
    /// What it changed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    state: Facts,
}

/// Where a storyteller puts what happens.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    messages: u32,
    text: Vec<String>,
    events: Vec<Event>,
}

impl Scene {
    /// Adds a sentence.
    pub(crate) fn say(&mut self, sentence: impl Into<String>) {
        self.text.push(sentence.into());
    }

    /// A message leaves its sender.
    pub(crate) fn send(
        &mut self,
        from: &'static str,
        to: &'static str,
        name: impl Into<String>,
    ) -> Message {
        self.messages += 1;
        let message = Message { id: format!("m{}", self.messages), from, to, name: name.into() };
        self.passes(EventKind::Send, from, &message);
        message
    }

    /// It arrives.
    pub(crate) fn receive(&mut self, message: &Message) {
        self.passes(EventKind::Recv, message.to, message);
    }

    /// It is lost.
    pub(crate) fn lose(&mut self, message: &Message) {
        self.passes(EventKind::Drop, message.from, message);
    }

    /// A message leaves and arrives in the same step.
    pub(crate) fn deliver(
        &mut self,
        from: &'static str,
        to: &'static str,
        name: impl Into<String>,
    ) {
        let message = self.send(from, to, name);
        self.receive(&message);
    }

    /// A node does something by itself.
    pub(crate) fn local(&mut self, node: &'static str, name: impl Into<String>) {
        self.happens(EventKind::Local, node, name);
    }

    /// Time has passed for a node.
    pub(crate) fn timer(&mut self, node: &'static str, name: impl Into<String>) {
        self.happens(EventKind::Timer, node, name);
    }

    /// A process ends.
    pub(crate) fn crash(&mut self, node: &'static str) {
        self.happens(EventKind::Crash, node, "crash");
    }

    /// A process starts.
    pub(crate) fn start(&mut self, node: &'static str) {
        self.happens(EventKind::Start, node, "start");
    }

    /// The step that was told.
    pub(super) fn take(&mut self, state: Facts) -> Step {
        let text = std::mem::take(&mut self.text).join(" ");
        Step { text, events: std::mem::take(&mut self.events), state }
    }

    fn happens(&mut self, kind: EventKind, node: &'static str, name: impl Into<String>) {
        self.events.push(Event { node, kind, about: None, name: name.into() });
    }

    fn passes(&mut self, kind: EventKind, node: &'static str, message: &Message) {
        let about = Some(message.clone());
        self.events.push(Event { node, kind, about, name: String::new() });
    }
}

/// A step in which nothing happens, though a client waits.
pub(super) fn nothing() -> Step {
    Step { text: "Nothing more happens.".into(), events: Vec::new(), state: Facts::new() }
}

/// At the beginning of a sentence.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The facts that are new or different; those that are gone have no text.
pub(super) fn changes(before: &Facts, after: &Facts) -> Facts {
    let mut changed = Facts::new();
    for (node, facts) in after {
        let known = before.get(node);
        for (name, value) in facts {
            if known.and_then(|known| known.get(name)) != Some(value) {
                changed.entry(node).or_default().insert(name, value.clone());
            }
        }
    }
    for (node, facts) in before {
        let kept = after.get(node);
        for name in facts.keys().filter(|name| kept.is_none_or(|kept| !kept.contains_key(*name))) {
            changed.entry(node).or_default().insert(name, String::new());
        }
    }
    changed
}
