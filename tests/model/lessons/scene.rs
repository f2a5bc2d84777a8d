//! What happens in a step: events in the format of the traces, and facts about each node.

use std::collections::BTreeMap;

use serde::Serialize;

/// For each node, what it knows: name and value.
pub(crate) type Facts = BTreeMap<&'static str, BTreeMap<&'static str, String>>;

/// A message that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    id: String,
    from: &'static str,
    to: &'static str,
    name: String,
}

/// An event; the page adds what a list of events has besides (a place, a clock).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    pub(crate) node: &'static str,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'static str>,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Send,
    Recv,
    Drop,
    Local,
    Timer,
    Crash,
    Start,
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
        self.passes(Kind::Send, from, &message);
        message
    }

    /// It arrives.
    pub(crate) fn receive(&mut self, message: &Message) {
        self.passes(Kind::Recv, message.to, message);
    }

    /// It is lost.
    pub(crate) fn lose(&mut self, message: &Message) {
        self.passes(Kind::Drop, message.to, message);
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
        self.happens(Kind::Local, node, name);
    }

    /// Time has passed for a node.
    pub(crate) fn timer(&mut self, node: &'static str, name: impl Into<String>) {
        self.happens(Kind::Timer, node, name);
    }

    /// A process ends.
    pub(crate) fn crash(&mut self, node: &'static str) {
        self.happens(Kind::Crash, node, "crash");
    }

    /// A process starts.
    pub(crate) fn start(&mut self, node: &'static str) {
        self.happens(Kind::Start, node, "start");
    }

    /// The step that was told.
    pub(super) fn take(&mut self, state: Facts) -> Step {
        let text = std::mem::take(&mut self.text).join(" ");
        Step { text, events: std::mem::take(&mut self.events), state }
    }

    fn happens(&mut self, kind: Kind, node: &'static str, name: impl Into<String>) {
        let name = name.into();
        self.events.push(Event { node, kind, message: None, from: None, to: None, name });
    }

    fn passes(&mut self, kind: Kind, node: &'static str, message: &Message) {
        let Message { id, from, to, name } = message.clone();
        let (message, from, to) = (Some(id), Some(from), Some(to));
        self.events.push(Event { node, kind, message, from, to, name });
    }
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
