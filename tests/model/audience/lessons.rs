//! The lessons about a catalog that front-ends do not reach: why another one rules then.

use super::super::lessons::{Asked, Lesson, Text, Topic};
use super::*;

const TERM: &str = "src/catalog/core/term.rs";
const RUNNING: &str = "src/catalog/running_term.rs";

const SILENCE: Text = Text {
    id: "silence-ends-a-term",
    topic: Topic::Catalogs,
    title: "A catalog that rules over nothing",
    rule: "A catalog leaves its term when front-ends have reached it and none has for 700 ms.",
    wrong: "The network between the front-end and catalog 1 is cut. Catalog 1 reaches the \
            database, and so keeps its term for ever; catalog 2 could sell, and may not.",
    why: "That a catalog lives and reaches the database says nothing about whether it is of use. \
          The front-ends' questions do: each asks every catalog ten times a second whether it \
          rules.",
    question: "Catalog 1 rules and reaches the database. The front-end cannot reach catalog 1 any \
               more. Catalog 2 is reached by all. What does catalog 1 do?",
    asked: Asked::BeforeTheDivergence,
    choices: &["It keeps its term", "It leaves its term", "It passes calls on to catalog 2"],
    broken: "Nothing has been sold for over five seconds, though catalog 2 could.",
    instead: "Catalog 1 has not been asked for 700 ms, and leaves its term. Catalog 2 claims the \
              next one.",
    code: &[(TERM, "is_gone"), (TERM, "LONGEST_SILENCE"), (RUNNING, "unreached")],
};

const UNANSWERED: Text = Text {
    id: "unanswered-questions-do-not-count",
    topic: Topic::Catalogs,
    title: "Heard, but not answered",
    rule: "A front-end says with each question whether the last one was answered. A question after \
           one without an answer keeps no term.",
    wrong: "The front-end's questions reach catalog 1, and the answers are lost. Catalog 1 hears \
            from the front-end all the time, believes that it is of use, and stays.",
    why: "A network can fail in one direction only. A catalog cannot see whether its answers \
          arrive; the one that asked can, and says so in the next question.",
    question: "Catalog 1 rules. It hears the front-end's questions, but its answers are lost. What \
               does catalog 1 do?",
    asked: Asked::BeforeTheDivergence,
    choices: &["It keeps its term", "It leaves its term", "It sends each answer twice"],
    broken: "Nothing has been sold for over five seconds, though catalog 2 could.",
    instead: "The questions say that the last one was not answered. Catalog 1 leaves its term.",
    code: &[(TERM, "asked"), (TERM, "is_gone")],
};

const NEED: Text = Text {
    id: "terms-need-an-audience",
    topic: Topic::Catalogs,
    title: "A term that began without front-ends",
    rule: "A catalog that no front-end has reached in its term leaves it after 3 s.",
    wrong: "Front-ends reach none of the catalogs, and catalog 2 comes to rule. Then the network \
            to catalog 1 is mended. Catalog 2 waits for front-ends, for ever.",
    why: "A silence can only begin after a question. In a term without any question there is none, \
          so such a term has a limit of its own. It is longer, since a store that starts has no \
          front-ends yet.",
    question: "Catalog 2 has begun a term, and no front-end has reached it since. The front-end \
               reaches catalog 1. What does catalog 2 do?",
    asked: Asked::BeforeTheDivergence,
    choices: &["It keeps its term", "It leaves its term", "It asks catalog 1"],
    broken: "Nothing has been sold for over five seconds, though catalog 1 could.",
    instead: "No front-end was there for 3 s. Catalog 2 leaves its term, and catalog 1, which is \
              reached, claims the next one.",
    code: &[(TERM, "is_gone"), (TERM, "UNREACHED_TERM")],
};

const FIRST: Text = Text {
    id: "reached-catalogs-go-first",
    topic: Topic::Catalogs,
    title: "Who follows a catalog that left",
    rule: "A term that was left is claimed at once by a catalog that front-ends reach. Another one \
           waits as long as if the last had died.",
    wrong: "Catalog 1 leaves its term, because no front-end reaches it. Then it looks at the \
            database, finds a term that is free, and claims it.",
    why: "Without a difference in waiting, the two race, and the one that just left may win again \
          and again. One second is several looks at the database, so the catalog that is reached \
          comes first.",
    question: "Catalog 1 has left its term, because no front-end reaches it. Both catalogs look at \
               the database and find the term free. Which one claims the next term?",
    asked: Asked::BeforeTheDivergence,
    choices: &["Catalog 1, again", "Catalog 2", "Neither: a person has to decide"],
    broken: "Nothing has been sold for most of five seconds: catalog 1 rules again, and is not \
             reached.",
    instead: "Catalog 1 is not reached, and waits for a second. Catalog 2 is, and claims at once.",
    code: &[(TERM, "sighted"), (TERM, "is_here")],
};

/// What a schedule may have, for a rule.
type May = fn(&State, &Step) -> bool;

/// Ticks in one order, so that the schedule is about one thing, and one link that fails then.
fn in_order(state: &State, step: &Step) -> bool {
    match step {
        Step::Tick(first, turns) => *first == 0 && *turns == [Turn::AfterQuestion; 2],
        Step::Change(which, _) => *which == 0 && state.tick == 1,
    }
}

/// The same, and the catalog that left a term looks at the database before the other one.
fn one_that_left_looks_first(state: &State, step: &Step) -> bool {
    match step {
        Step::Tick(first, turns) => {
            *first == usize::from(state.holder.is_some()) && *turns == [Turn::AfterQuestion; 2]
        }
        Step::Change(..) => in_order(state, step),
    }
}

/// The links fail in turn, the one to the catalog that rules last; then the same one is mended.
fn in_turn(state: &State, step: &Step) -> bool {
    match step {
        // The catalog that stands by has the first turn.
        Step::Tick(first, turns) => *first == 1 && *turns == [Turn::AfterQuestion; 2],
        Step::Change(which, Link::Cut) => {
            state.tick == 1 && *which == usize::from(state.changes == 3)
        }
        Step::Change(which, Link::Open) => *which == 0 && state.holder == Some(1),
        Step::Change(_, Link::LosesAnswers) => false,
    }
}

/// The rules, in the order in which they are best read, each in a world that is just large enough.
fn rules() -> Vec<(Text, Rule, Size, May)> {
    let one = |links| Size { changes: 1, links };
    let cut = one(&[Link::Cut]);
    let unanswered = one(&[Link::LosesAnswers]);
    let turns = Size { changes: 3, links: &[Link::Open, Link::Cut] };
    vec![
        (SILENCE, Rule::SilenceEndsATerm, cut, in_order),
        (UNANSWERED, Rule::UnansweredQuestionsDoNotCount, unanswered, in_order),
        (FIRST, Rule::ReachedCatalogsGoFirst, cut, one_that_left_looks_first),
        (NEED, Rule::TermsNeedAnAudience, turns, in_turn),
    ]
}

pub(in super::super) fn texts() -> Vec<Text> {
    rules().into_iter().map(|(text, ..)| text).collect()
}

#[test]
fn lessons_are_what_the_model_shows() {
    for (text, rule, size, may) in rules() {
        let world = |without| Audiences::new(size, without);
        let (without, with) = (world(Some(rule)), world(None));
        Lesson { text, without, with, property: REACHED, may }.check("audience");
    }
}
