//! The transcripts as lessons of the page: what goes between the roles, message by message.
//!
//! A step is a line of the transcript. Its events are those since the line before: a message that
//! arrives belongs to the line after it, since a role answers when it has been asked. The comments
//! of a script are the notes of the steps that follow. `UPDATE_GOLDENFILES=1 cargo test --test
//! simulator transcript` writes the files anew, after the transcripts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::message::Node;

/// A transcript's title, what it shows, and where that is in the sources.
pub(crate) struct Talk {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) about: &'static str,
    pub(crate) code: &'static [(&'static str, &'static str)],
}

/// The scripts, in the order in which they are best read.
pub(crate) const TALKS: [Talk; 8] = [
    Talk {
        name: "1-purchase",
        title: "A purchase",
        about: "The catalog commits, then the replicas write, then the client is answered.",
        code: &[("src/catalog/tasks.rs", "write_batch"), ("src/order/tasks.rs", "sell_batch")],
    },
    Talk {
        name: "2-cached-read",
        title: "A cached read",
        about: "A miss makes the front-end a holder of the toy; the next read is a hit.",
        code: &[("src/frontend/service.rs", "toy"), ("src/catalog/service.rs", "toy")],
    },
    Talk {
        name: "3-invalidation",
        title: "An invalidation",
        about: "A toy is dropped from every cache before it changes.",
        code: &[("src/catalog/tasks.rs", "clear"), ("src/frontend/service.rs", "invalidate")],
    },
    Talk {
        name: "4-overtaken-fill",
        title: "A fill that an invalidation overtakes",
        about: "An answer that is older than an invalidation is shown and not stored.",
        code: &[("src/frontend/core/cache.rs", "store")],
    },
    Talk {
        name: "5-retry-under-a-key",
        title: "A retry under a key",
        about: "A leader dies before it answers; the retry finds the decision.",
        code: &[
            ("src/catalog/core/batch.rs", "decide"),
            ("src/frontend/core/selection.rs", "nominee"),
        ],
    },
    Talk {
        name: "6-leader-killed-in-a-batch",
        title: "A leader that is killed in the middle of a batch",
        about: "One order is sold once, although the leader died while it was being written.",
        code: &[("src/order/core/leadership.rs", "become_leader")],
    },
    Talk {
        name: "7-hung-leader",
        title: "A leader that hangs",
        about: "Only a timeout shows a stopped leader; when it wakes up it can sell nothing.",
        code: &[
            ("src/frontend/tasks.rs", "check_health"),
            ("src/frontend/core/health.rs", "MOST_MISSES"),
        ],
    },
    Talk {
        name: "8-catching-up",
        title: "A replica that catches up",
        about: "A replica that was away asks the others, and then the catalog, for what it missed.",
        code: &[("src/order/tasks.rs", "catch_up"), ("src/order/core/log.rs", "take")],
    },
];

/// The steps of a transcript, as they are heard.
#[derive(Default)]
pub(crate) struct Conversation {
    steps: Vec<Value>,
    /// What has happened since the last step.
    events: Vec<Value>,
    nodes: BTreeSet<Node>,
    messages: u32,
    /// What is under way: sender, receiver, the call that it is or answers, and its number.
    under_way: Vec<(Node, Node, String, u32)>,
}

impl Conversation {
    /// A message leaves; `about` is the call that it is or answers.
    pub(crate) fn sent(&mut self, from: Node, to: Node, about: &str, text: &str) {
        self.nodes.extend([from, to]);
        self.messages += 1;
        self.under_way.push((from, to, about.to_owned(), self.messages));
        let id = format!("m{}", self.messages);
        self.events.push(json!(["send", id, node(from), node(to), text]));
        self.step(format!("{} to {to}: {text}", capital(from)));
    }

    /// A message arrives.
    pub(crate) fn arrived(&mut self, from: Node, to: Node, about: &str) {
        if let Some(number) = self.take(from, to, about) {
            self.events.push(json!(["recv", format!("m{number}")]));
        }
    }

    /// A message that was held up goes on; it was sent before.
    pub(crate) fn released(&mut self, from: Node, to: Node, text: &str) {
        self.step(format!("{} to {to}, late: {text}", capital(from)));
    }

    /// A call has no answer: it is lost, or its answer is, or no process listens.
    pub(crate) fn failed(&mut self, from: Node, to: Node, about: &str, why: &str) {
        for (one, other) in [(from, to), (to, from)] {
            if let Some(number) = self.take(one, other, about) {
                self.events.push(json!(["drop", format!("m{number}")]));
            }
        }
        self.nodes.insert(from);
        self.events.push(json!(["timer", node(from), why]));
        self.step(format!("{} has no answer from {to}: {why}", capital(from)));
    }

    /// Something happens at a node.
    pub(crate) fn noted(&mut self, at: Node, text: &str) {
        self.nodes.insert(at);
        let kind = match text {
            "killed" => "crash",
            "started" => "start",
            _ => "local",
        };
        self.events.push(json!([kind, node(at), text]));
        self.step(format!("{}: {text}", capital(at)));
    }

    fn take(&mut self, from: Node, to: Node, about: &str) -> Option<u32> {
        let is_it =
            |one: &(Node, Node, String, u32)| (one.0, one.1, one.2.as_str()) == (from, to, about);
        let place = self.under_way.iter().position(is_it)?;
        Some(self.under_way.remove(place).3)
    }

    fn step(&mut self, mut text: String) {
        if !text.ends_with('?') {
            text.push('.');
        }
        let events = std::mem::take(&mut self.events);
        self.steps.push(json!({ "text": text, "events": events }));
    }

    /// Compares the lesson with its file, or writes that.
    pub(crate) fn check(mut self, talk: &Talk) {
        if let Some(last) = self.steps.last_mut() {
            let events = last["events"].as_array_mut().expect("a list");
            events.append(&mut self.events);
        }
        self.add_notes(talk);
        let mut nodes: Vec<Node> = self.nodes.iter().copied().collect();
        nodes.sort_by_key(|node| lane(*node));
        let nodes: Vec<Value> =
            nodes.iter().map(|one| json!([node(*one), one.to_string()])).collect();
        let id = format!("conversation-{}", talk.name);
        let head = [
            ("id", json!(id)),
            ("topic", json!("conversations")),
            ("title", json!(talk.title)),
            ("rule", json!(talk.about)),
            ("code", json!(talk.code)),
            ("model", json!("simulator")),
            ("nodes", json!(nodes)),
            ("start", json!({})),
            ("both", json!([])),
        ];
        let mut lines: Vec<String> =
            head.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let steps: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        lines.push(format!("\"with\":[\n{}\n]", steps.join(",\n")));
        let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/frontend/page/lessons")
            .join(format!("{id}.json"));
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            fs::write(&path, text).expect("the file can be written");
            return;
        }
        let known = fs::read_to_string(&path).unwrap_or_default();
        assert!(known == text, "{} is not what the services say today", path.display());
    }

    /// Each step begins with the comment above its line, if there is one.
    fn add_notes(&mut self, talk: &Talk) {
        let path = format!("tests/simulator/transcripts/{}.txt", talk.name);
        let script = fs::read_to_string(path).expect("the transcript can be read");
        let mut note = Vec::new();
        let mut steps = self.steps.iter_mut();
        for line in script.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                note.push(comment);
            } else if line.contains(" ms  ") {
                let Some(step) = steps.next() else { break };
                if !note.is_empty() {
                    step["note"] = json!(note.join(" "));
                    note.clear();
                }
            }
        }
        assert!(steps.next().is_none(), "{}: a step for each line", talk.name);
    }
}

/// Where a node's lane is: clients at the left, the catalog at the right.
fn lane(node: Node) -> (u8, u32) {
    match node {
        Node::Client(number) => (0, number),
        Node::Frontend(number) => (1, number),
        Node::Replica(id) => (2, id),
        Node::Catalog | Node::World => (3, 0),
        Node::Candidate(id) => (3, id),
        Node::Database => (4, 0),
    }
}

/// A node's name in events.
fn node(node: Node) -> String {
    match node {
        Node::Catalog => "catalog".into(),
        Node::Candidate(id) => format!("catalog-{id}"),
        Node::Database => "database".into(),
        Node::Replica(id) => format!("order-{id}"),
        Node::Frontend(1) => "frontend".into(),
        Node::Frontend(number) => format!("frontend-{number}"),
        Node::Client(number) => format!("client-{number}"),
        Node::World => unreachable!("it says nothing"),
    }
}

fn capital(node: Node) -> String {
    let name = node.to_string();
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
