//! What the steps of the model mean, for the [lessons](super::lessons).

use std::collections::BTreeMap;

use super::super::lessons::Told;
use super::super::lessons::scene::{Facts, Scene, capital};
use super::*;

const FRONTEND: &str = "frontend";
const CATALOGS: [&str; 2] = ["catalog-1", "catalog-2"];
const DATABASE: &str = "database";

/// The catalog that rules, as the front-end has heard from it.
#[derive(Default)]
pub(super) struct Memory {
    ruler: Option<usize>,
    /// What happened in the last half second.
    last: Vec<String>,
}

fn name(which: usize) -> String {
    format!("catalog {}", which + 1)
}

fn rules(catalog: &Catalog) -> bool {
    matches!(catalog.duty, Duty::Rules { .. })
}

impl Audiences {
    /// The front-end's question to a catalog, which rules or does not.
    fn tell_question(
        memory: &mut Memory,
        catalog: &Catalog,
        (which, rules): (usize, bool),
        (s, said): (&mut Scene, &mut Vec<String>),
    ) {
        let link = catalog.link;
        let last = if catalog.was_answered { "" } else { " (again)" };
        let question = s.send(FRONTEND, CATALOGS[which], format!("do you rule?{last}"));
        if link == Link::Cut {
            s.lose(&question);
            said.push(format!("No answer comes from {}.", name(which)));
        } else {
            s.receive(&question);
            let says = if rules { "I rule" } else { "I stand by" };
            let answer = s.send(CATALOGS[which], FRONTEND, says);
            if link == Link::Open {
                s.receive(&answer);
                said.push(format!("{} answers: {says}.", capital(&name(which))));
                if rules {
                    memory.ruler = Some(which);
                } else if memory.ruler == Some(which) {
                    memory.ruler = None;
                }
                return;
            }
            s.lose(&answer);
            let last =
                if catalog.was_answered { "" } else { " and that the last was not answered," };
            said.push(format!(
                "{} hears the question,{last} and its answer is lost.",
                capital(&name(which))
            ));
        }
        if memory.ruler == Some(which) {
            memory.ruler = None;
        }
    }

    fn tell_turn(
        states: (&State, &State),
        which: usize,
        (s, said): (&mut Scene, &mut Vec<String>),
    ) {
        let (before, after) = states;
        let (one, node) = (&before.catalogs[which], CATALOGS[which]);
        let who = capital(&name(which));
        match (rules(one), rules(&after.catalogs[which])) {
            (true, true) => s.deliver(node, DATABASE, "beat"),
            (true, false) => {
                s.deliver(node, DATABASE, format!("leave term {}", before.beat.term));
                said.push(format!("{who} leaves its term, since no front-end reaches it."));
            }
            (false, true) => {
                s.deliver(node, DATABASE, format!("claim term {}", after.beat.term));
                said.push(format!("{who} claims term {} and rules.", after.beat.term));
            }
            (false, false) => {}
        }
    }

    fn tell_tick(
        memory: &mut Memory,
        states: (&State, &State),
        (first, turns): (usize, [Turn; 2]),
        s: &mut Scene,
    ) {
        let (before, after) = states;
        let mut said = Vec::new();
        for which in [first, 1 - first] {
            let catalog = &before.catalogs[which];
            if turns[which] == Turn::BeforeQuestion {
                Self::tell_turn(states, which, (s, &mut said));
                let ruled = rules(&after.catalogs[which]);
                Self::tell_question(memory, catalog, (which, ruled), (s, &mut said));
            } else {
                Self::tell_question(memory, catalog, (which, rules(catalog)), (s, &mut said));
                Self::tell_turn(states, which, (s, &mut said));
            }
        }
        if memory.last == said {
            s.say("Half a second passes; the answers are the same.");
        } else {
            s.say("Half a second passes; the front-end asks both catalogs.");
            for sentence in &said {
                s.say(sentence);
            }
        }
        memory.last = said;
    }
}

impl Told for Audiences {
    type Memory = Memory;

    const NODES: &'static [(&'static str, &'static str)] = &[
        (FRONTEND, "front-end"),
        (CATALOGS[0], "catalog 1"),
        (CATALOGS[1], "catalog 2"),
        (DATABASE, "database"),
    ];

    fn tell(&self, memory: &mut Memory, step: &Step, states: (&State, &State), s: &mut Scene) {
        match *step {
            Step::Tick(first, turns) => Self::tell_tick(memory, states, (first, turns), s),
            Step::Change(which, link) => {
                let whom = name(which);
                let (event, text) = match link {
                    Link::Open => (
                        format!("link to {whom} mended"),
                        format!("The network between the front-end and {whom} is mended."),
                    ),
                    Link::Cut => (
                        format!("link to {whom} cut"),
                        format!("The network between the front-end and {whom} is cut."),
                    ),
                    Link::LosesAnswers => (
                        format!("answers of {whom} are lost"),
                        format!(
                            "From now on, questions of the front-end reach {whom}, and the \
                             answers are lost."
                        ),
                    ),
                };
                s.local(FRONTEND, event);
                s.say(text);
            }
        }
    }

    fn facts(&self, memory: &Memory, state: &State) -> Facts {
        let mut facts = Facts::new();
        for (one, node) in state.catalogs.iter().zip(CATALOGS) {
            let duty = if rules(one) {
                format!("rules term {}", state.beat.term)
            } else {
                "stands by".into()
            };
            let hears = if one.audience.is_here(self.now(state)) { "yes" } else { "no" };
            facts.insert(
                node,
                BTreeMap::from([("duty", duty), ("hears front-ends", hears.to_owned())]),
            );
        }
        let holder = state.holder.map_or("left".into(), name);
        let row = format!("term {}: {holder}", state.beat.term);
        facts.insert(DATABASE, BTreeMap::from([("row", row)]));
        let ruler = memory.ruler.map_or("no catalog that rules".into(), name);
        facts.insert(FRONTEND, BTreeMap::from([("reaches", ruler)]));
        facts
    }

    fn are_alike(_: &Step, _: &Step) -> bool {
        false
    }

    fn is_at_rest(&self, state: &State) -> bool {
        state.holder.is_some_and(|which| state.catalogs[which].is_reached())
    }

    fn goes_on(step: &Step) -> bool {
        matches!(step, Step::Tick(..))
    }
}
