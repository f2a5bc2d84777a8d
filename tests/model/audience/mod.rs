//! The audience: of the catalogs that share a database, one that front-ends reach ends up ruling.
//!
//! # What is modelled
//!
//! The production's `Audience` and `Succession` of two catalogs, a database that both reach, and a
//! front-end that asks both of them whether they rule. A link between the front-end and a catalog
//! is open, is cut, or loses answers.
//!
//! ```text
//! front-end  ask catalog 1, ask catalog 2
//! catalog    look, claim   or   leave, beat     │each once within a tick, in any order│
//! link       │cut│ │lose answers│ │mend│          between two ticks
//! ```
//!
//! That something happens in the end is a promise about time. So here, unlike in the model of
//! terms, no process is slower than a tick, and the promise has a deadline: some ticks after the
//! last link changed, a catalog that the front-end reaches rules, if there is one. That is checked
//! in each state. (The checker's own "eventually" does not tell two paths apart that come to one
//! state, and may miss a counterexample.)
//!
//! # What is not
//!
//! Writes that are late or lost, clocks and leases, which are the subject of the model of terms: in
//! any order of those no answer is old, however a term ends.

pub(super) mod lessons;
mod runs;
mod story;

use std::time::{Duration, Instant};

use stateright::{Model, Property};
use toystore::catalog::core::term::{Audience, Beat, ClaimDecision, Sighting, Succession};
use toystore::wire::calls::{Asker, TermQuery};
use toystore::wire::term::{CatalogId, Term};

use super::Sights;

/// Half a second: several looks at the database and questions, fewer than make a silence.
const TICK: Duration = Duration::from_millis(500);
/// A term in which no front-end was seen (6), the wait of a catalog that is not reached (2), and
/// one tick for each of the steps in between.
const DEADLINE: u32 = 11;

const REACHED: &str = "a catalog that the front-end reaches rules";
const CALM: &str = "a catalog that the front-end reaches keeps its term";

/// A rule of the protocol that a run can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A term ends when front-ends have reached its catalog and none does any more.
    SilenceEndsATerm,
    /// A term ends in which no front-end has reached its catalog.
    TermsNeedAnAudience,
    /// A term that was left is claimed at once by a catalog that front-ends reach, and later by
    /// another one.
    ReachedCatalogsGoFirst,
    /// A question counts only if the one before was answered.
    UnansweredQuestionsDoNotCount,
    /// A question counts that front-ends ask while the catalog rules.
    QuestionsKeepATerm,
}

/// The size of the world.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// How many times a link changes.
    changes: u8,
    /// What it changes to.
    links: &'static [Link],
}

struct Audiences {
    without: Option<Rule>,
    size: Size,
    base: Instant,
    sights: Sights,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    tick: u32,
    /// When a link last changed.
    quiet_since: u32,
    changes: u8,
    /// The row in the database.
    beat: Beat,
    holder: Option<usize>,
    catalogs: [Catalog; 2],
    /// A reached catalog has left its term.
    restless: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Catalog {
    duty: Duty,
    audience: Audience,
    link: Link,
    /// When the link last changed.
    changed: u32,
    /// Whether the front-end's last question was answered.
    was_answered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Duty {
    StandsBy(Succession),
    Rules { begun: Instant, was_reached: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Link {
    Open,
    Cut,
    LosesAnswers,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Within a tick, this catalog takes its turn before the other one; and each of them takes it
    /// before or after the front-end's question.
    Tick(usize, [Turn; 2]),
    Change(usize, Link),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    BeforeQuestion,
    AfterQuestion,
}

const TURNS: [Turn; 2] = [Turn::BeforeQuestion, Turn::AfterQuestion];

impl Catalog {
    fn is_reached(&self) -> bool {
        self.link == Link::Open
    }
}

impl Audiences {
    fn new(size: Size, without: Option<Rule>) -> Self {
        Self { without, size, base: toystore::clock::now(), sights: Sights::default() }
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn now(&self, state: &State) -> Instant {
        self.base + TICK * state.tick
    }

    /// The front-end asks a catalog, which answers at once.
    fn ask(&self, state: &mut State, which: usize) {
        let now = self.now(state);
        let catalog = &mut state.catalogs[which];
        if catalog.link != Link::Cut {
            let counts = !self.keeps(Rule::UnansweredQuestionsDoNotCount);
            let query =
                TermQuery { asker: Asker::Frontend, was_answered: catalog.was_answered || counts };
            if self.keeps(Rule::QuestionsKeepATerm) || matches!(catalog.duty, Duty::StandsBy(_)) {
                catalog.audience.asked(query, now);
            }
            if let Duty::Rules { was_reached, .. } = &mut catalog.duty {
                *was_reached |= query.was_answered;
            }
        }
        catalog.was_answered = catalog.is_reached();
    }

    /// A catalog looks at the database, and claims a term if it may; or beats, or leaves its term.
    fn take_turn(&self, state: &mut State, which: usize) {
        let (now, beat, holder) = (self.now(state), state.beat, state.holder);
        let catalog = &mut state.catalogs[which];
        match &mut catalog.duty {
            Duty::StandsBy(succession) => {
                let holder = holder.map(|_| CatalogId(9));
                let sighting = Sighting { beat, holder, standbys: 1 };
                let mut audience = catalog.audience.clone();
                if !self.keeps(Rule::ReachedCatalogsGoFirst) {
                    let query = TermQuery { asker: Asker::Frontend, was_answered: true };
                    audience.asked(query, now);
                }
                let decision = succession.sighted(sighting, (now, now), &audience);
                if decision == ClaimDecision::Claim(beat) {
                    catalog.duty = Duty::Rules { begun: now, was_reached: false };
                    state.beat = Beat { term: beat.term.next(), count: state.tick.into() };
                    state.holder = Some(which);
                    self.sights.note("a term is claimed");
                }
            }
            Duty::Rules { begun, was_reached } => {
                let rule =
                    if *was_reached { Rule::SilenceEndsATerm } else { Rule::TermsNeedAnAudience };
                if self.keeps(rule) && catalog.audience.is_gone(*begun, now) {
                    self.sights.note(if *was_reached {
                        "a term ends in silence"
                    } else {
                        "a term ends that had no audience"
                    });
                    // It is asked in each tick, and a question after a failed one does not count.
                    state.restless |= catalog.is_reached() && state.tick > catalog.changed + 2;
                    catalog.duty = Duty::StandsBy(Succession::new(1));
                    state.holder = None;
                }
                // It grows; the time is as good a number as any.
                state.beat.count = state.tick.into();
            }
        }
    }
}

impl Model for Audiences {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let catalog = |duty| Catalog {
            duty,
            audience: Audience::default(),
            link: Link::Open,
            changed: 0,
            was_answered: true,
        };
        vec![State {
            tick: 0,
            quiet_since: 0,
            changes: self.size.changes,
            beat: Beat { term: Term(1), count: 0 },
            holder: Some(0),
            catalogs: [
                catalog(Duty::Rules { begun: self.base, was_reached: false }),
                catalog(Duty::StandsBy(Succession::new(1))),
            ],
            restless: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.tick < state.quiet_since + DEADLINE {
            for first in 0..2 {
                for one in TURNS {
                    steps.extend(TURNS.map(|other| Step::Tick(first, [one, other])));
                }
            }
        }
        if state.changes > 0 {
            for (which, catalog) in state.catalogs.iter().enumerate() {
                let others = self.size.links.iter().filter(|link| **link != catalog.link);
                steps.extend(others.map(|link| Step::Change(which, *link)));
            }
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Tick(first, turns) => {
                for which in [first, 1 - first] {
                    match turns[which] {
                        Turn::BeforeQuestion => {
                            self.take_turn(&mut state, which);
                            self.ask(&mut state, which);
                        }
                        Turn::AfterQuestion => {
                            self.ask(&mut state, which);
                            self.take_turn(&mut state, which);
                        }
                    }
                }
                state.tick += 1;
            }
            Step::Change(which, link) => {
                let tick = state.tick;
                let catalog = &mut state.catalogs[which];
                (catalog.link, catalog.changed) = (link, tick);
                state.quiet_since = tick;
                state.changes -= 1;
                if state.catalogs.iter().all(|catalog| !catalog.is_reached()) {
                    self.sights.note("no catalog is reached");
                }
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(REACHED, |_, state: &State| {
                let is_due = state.tick >= state.quiet_since + DEADLINE;
                let can_be = state.catalogs.iter().any(Catalog::is_reached);
                let rules = state.holder.is_some_and(|which| state.catalogs[which].is_reached());
                !is_due || !can_be || rules
            }),
            Property::always(CALM, |_, state: &State| !state.restless),
        ]
    }
}
