//! Lessons: what each rule of the protocol prevents, as the page shows it.
//!
//! A lesson is two runs of a model, step by step. The first leaves a rule out: the shortest
//! schedule after which a promise is broken, found breadth-first. The second keeps the rule and
//! follows the same schedule as far as it can; what it cannot do it skips, and then it goes on
//! until nothing waits any more. Where the two runs differ for the first time is the divergence.
//!
//! ```text
//! both       ├─ step ─ step ─ step ─┐
//! without                           ├─ step ─ … ─ broken
//! with                              └─ step ─ … ─ at rest
//! ```
//!
//! Each model says what its steps mean: the [events](scene::Event) that happen, a sentence for
//! people, and what each node knows afterwards. The texts say what is at stake; a test checks that
//! the lines of `src` that they point to exist. The lessons are in `src/frontend/page/lessons/`.
//! `UPDATE_GOLDENFILES=1 cargo test --test model lessons` writes them anew; read the difference.

pub(crate) mod scene;
mod schedule;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::hash::Hash;
use std::path::{Path, PathBuf};

use serde::Serialize;
use stateright::Model;

use self::scene::{Facts, Scene, Step};

/// What a lesson says.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Text {
    /// Its address, and the name of its file.
    pub(crate) id: &'static str,
    pub(crate) topic: Topic,
    pub(crate) title: &'static str,
    /// The rule, in a sentence.
    pub(crate) rule: &'static str,
    /// What goes wrong without it.
    pub(crate) wrong: &'static str,
    /// Why the rule prevents that.
    pub(crate) why: &'static str,
    pub(crate) question: &'static str,
    #[serde(skip)]
    pub(crate) asked: Asked,
    /// The answers to choose from. The first is what happens without the rule; the page shuffles.
    pub(crate) choices: &'static [&'static str],
    /// Which promise is broken, said at the last step without the rule.
    pub(crate) broken: &'static str,
    /// What the rule makes happen instead, at the first divergence.
    pub(crate) instead: &'static str,
    /// Where the rule is: files, each with an item in it.
    pub(crate) code: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Topic {
    Cache,
    Purchases,
    Leadership,
    History,
    Catalogs,
}

/// Before which step the question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Before the last one without the rule, which breaks the promise.
    BeforeTheEnd,
    /// Before the first in which the runs differ: what follows from it is clear.
    BeforeTheDivergence,
}

/// A model that can say what happens in it.
pub(crate) trait Told: Model {
    /// What a storyteller remembers: who asked what, which messages are under way.
    type Memory: Default;

    /// The nodes, in the order of their lanes: name in the events, and name for people.
    const NODES: &'static [(&'static str, &'static str)];

    /// Says what happens in a step.
    fn tell(
        &self,
        memory: &mut Self::Memory,
        step: &Self::Action,
        states: (&Self::State, &Self::State),
        scene: &mut Scene,
    );

    /// What each node knows in a state.
    fn facts(&self, memory: &Self::Memory, state: &Self::State) -> Facts;

    /// Whether two steps are the same but for what a rule makes different.
    fn are_alike(one: &Self::Action, other: &Self::Action) -> bool;

    /// Whether nothing waits any more.
    fn is_at_rest(&self, state: &Self::State) -> bool;

    /// Whether a step brings things to rest: it is neither a fault nor a new request.
    fn goes_on(step: &Self::Action) -> bool;
}

/// A rule in a small world.
pub(crate) struct Lesson<M: Model> {
    pub(crate) text: Text,
    pub(crate) without: M,
    pub(crate) with: M,
    /// The promise that is broken without the rule: the name of a property.
    pub(crate) property: &'static str,
    /// The steps that the schedule may have: what belongs to another lesson is left out.
    pub(crate) may: fn(&M::State, &M::Action) -> bool,
}

/// A lesson as it is written to its file.
#[derive(Serialize)]
struct Written {
    #[serde(flatten)]
    text: Text,
    model: &'static str,
    property: &'static str,
    /// How many steps are done when the question is asked.
    asks: usize,
    nodes: Vec<(&'static str, &'static str)>,
    start: Facts,
    both: Vec<Step>,
    without: Vec<Step>,
    with: Vec<Step>,
}

impl<M> Lesson<M>
where
    M: Told,
    M::State: Clone + Debug + PartialEq + Hash,
    M::Action: Clone + Debug + PartialEq,
{
    /// Generates the lesson, and compares it with its file, or writes that.
    pub(crate) fn check(&self, model: &'static str) {
        let id = self.text.id;
        let broken = |state: &M::State| is_broken(&self.without, self.property, state);
        let found =
            schedule::shortest(&self.without, broken, |state, step| (self.may)(state, step));
        assert!(found.is_some(), "{id}: nothing is broken without the rule");
        let found = found.expect("it was looked for");
        let without = tell_all(&self.without, &found);
        let kept = schedule::follow(&self.with, &found);
        let holds = |state: &M::State| !is_broken(&self.with, self.property, state);
        assert!(kept.iter().all(|(state, _)| holds(state)), "{id}: broken with the rule");
        let with = tell_all(&self.with, &kept);
        let same = without.1.iter().zip(&with.1).take_while(|(one, other)| one == other).count();
        let nodes = M::NODES.iter().copied();
        let is_used = |node: &str| {
            let mut steps = without.1.iter().chain(&with.1);
            steps.any(|step| step.events.iter().any(|event| event.node() == node))
        };
        let nodes: Vec<_> = nodes.filter(|(node, _)| is_used(node)).collect();
        let mut start = without.0;
        start.retain(|node, _| nodes.iter().any(|(used, _)| used == node));
        let (both, rest) = without.1.split_at(same);
        let mut without = rest.to_vec();
        if without.is_empty() {
            // All that differs is that nothing more happens without the rule.
            assert!(same < with.1.len(), "{id}: the rule makes no difference");
            without.push(scene::nothing());
        }
        let asks = match self.text.asked {
            Asked::BeforeTheEnd => same + without.len() - 1,
            Asked::BeforeTheDivergence => same,
        };
        let written = Written {
            text: self.text,
            asks,
            model,
            property: self.property,
            nodes,
            start,
            both: both.to_vec(),
            without,
            with: with.1[same..].to_vec(),
        };
        compare(&format!("{id}.json"), &laid_out(&written));
    }
}

fn is_broken<M: Model>(model: &M, property: &str, state: &M::State) -> bool {
    let property = model.properties().into_iter().find(|one| one.name == property);
    !(property.expect("a property of the model").condition)(model, state)
}

/// The facts at the start, and the steps of a run. Each step has the facts that it changes.
fn tell_all<M>(model: &M, run: &[(M::State, Option<M::Action>)]) -> (Facts, Vec<Step>)
where
    M: Told,
    M::State: Clone,
{
    let mut memory = M::Memory::default();
    let mut scene = Scene::default();
    let start = model.facts(&memory, &run[0].0);
    let mut last = start.clone();
    let mut steps = Vec::new();
    for pair in run.windows(2) {
        let (before, Some(step)) = &pair[0] else { continue };
        let after = &pair[1].0;
        model.tell(&mut memory, step, (before, after), &mut scene);
        let facts = model.facts(&memory, after);
        steps.push(scene.take(scene::changes(&last, &facts)));
        last = facts;
    }
    (start, steps)
}

/// JSON with a line for each step, so that a difference can be read.
fn laid_out(written: &Written) -> String {
    let whole = serde_json::to_value(written).expect("text and maps");
    let fields = whole.as_object().expect("a struct");
    // In the order of the struct.
    let order = [
        "id", "topic", "title", "rule", "wrong", "why", "question", "choices", "broken", "instead",
        "code", "model", "property", "asks", "nodes", "start", "both", "without", "with",
    ];
    let steps_of = ["both", "without", "with"];
    assert_eq!(fields.len(), order.len(), "each field has its place");
    let mut lines = Vec::new();
    for name in order {
        let mut value = fields[name].to_string();
        if let Some(steps) = fields[name].as_array().filter(|_| steps_of.contains(&name)) {
            let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
            value = format!("[\n{}\n]", steps.join(",\n"));
        }
        lines.push(format!("\"{name}\":{value}"));
    }
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/frontend/page/lessons")
}

fn compare(file: &str, text: &str) {
    let path = folder().join(file);
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::create_dir_all(folder()).expect("a folder");
        fs::write(&path, text).expect("the file can be written");
        return;
    }
    let known = fs::read_to_string(&path).unwrap_or_default();
    let differs = known.lines().zip(text.lines()).position(|(old, new)| old != new);
    assert!(
        known == text,
        "{} is not what the model shows today (line {}); if the change is meant, \
         UPDATE_GOLDENFILES=1 cargo test --test model lessons",
        path.display(),
        differs.map_or(0, |line| line + 1)
    );
}

/// All texts, in the order in which they are best read.
fn texts() -> Vec<Text> {
    [
        super::leases::lessons::texts(),
        super::purchases::lessons::texts(),
        super::selection::lessons::texts(),
        super::histories::lessons::texts(),
        super::terms::lessons::texts(),
        super::audience::lessons::texts(),
    ]
    .concat()
}

#[test]
fn lessons_point_to_code_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(folder()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let lesson = fs::read_to_string(&path).expect("text");
        let lesson: serde_json::Value = serde_json::from_str(&lesson).expect("JSON");
        for place in lesson["code"].as_array().into_iter().flatten() {
            let part = |place: &serde_json::Value| place.as_str().expect("a name").to_owned();
            let (file, item) = (part(&place[0]), part(&place[1]));
            let source = fs::read_to_string(root.join(&file)).expect("a file of the repository");
            assert!(declares(&source, &item), "{}: {file} has no {item}", path.display());
        }
    }
}

fn declares(source: &str, item: &str) -> bool {
    ["fn ", "struct ", "enum ", "const "].iter().any(|kind| {
        let declared = format!("{kind}{item}");
        source.match_indices(&declared).any(|(at, _)| {
            let rest = &source[at + declared.len()..];
            !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        })
    })
}

#[test]
fn the_list_of_lessons_names_each_file() {
    let texts = texts();
    let mut by_id: BTreeMap<&str, &Text> = BTreeMap::new();
    for text in &texts {
        assert!(by_id.insert(text.id, text).is_none(), "two lessons are called {}", text.id);
        assert!(text.choices.len() >= 2, "{} has nothing to choose from", text.id);
    }
    let mut lines: Vec<String> = texts
        .iter()
        .map(|text| {
            let line = serde_json::json!({
                "id": text.id, "topic": text.topic, "title": text.title, "rule": text.rule,
            });
            line.to_string()
        })
        .collect();
    let mut talks = Vec::new();
    for entry in fs::read_dir(folder()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let id = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if id.starts_with("conversation-") {
            talks.push(path);
        } else {
            let is_known = id == "index" || by_id.contains_key(id.as_str());
            assert!(is_known, "{id}.json belongs to no lesson");
        }
    }
    talks.sort();
    lines.extend(talks.iter().map(|path| {
        let talk = fs::read_to_string(path).expect("text");
        let talk: serde_json::Value = serde_json::from_str(&talk).expect("JSON");
        let line = serde_json::json!({
            "id": talk["id"], "topic": talk["topic"], "title": talk["title"], "rule": talk["rule"],
        });
        line.to_string()
    }));
    compare("index.json", &format!("[\n{}\n]\n", lines.join(",\n")));
}
