//! Every order of events, for a few toys, front-ends, replicas and purchases.
//!
//! A checker (stateright) drives the cores that are in production, not a copy of them: what a model
//! adds is the services' order of steps, each of which may be interrupted by anything else, and a
//! world in which messages are late or lost, processes crash and time passes. It visits all states
//! that can be reached, and looks in each for what must never be.
//!
//! A check that finds nothing may be one that cannot find anything. So each model says what it must
//! have come across (its *sights*), and for each rule of the protocol there is a run without it,
//! which must end in a counterexample.

mod audience;
mod histories;
mod leases;
mod lessons;
mod purchases;
mod selection;
mod terms;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use stateright::{Checker, HasDiscoveries, Model, Path};

/// One for each processor of the machine that the tests are written for.
const THREADS: usize = 2;

/// What happened in any of the states that were visited: a run must have reached what it is about.
#[derive(Clone, Debug, Default)]
struct Sights(Arc<Mutex<BTreeSet<&'static str>>>);

impl Sights {
    fn note(&self, sight: &'static str) {
        self.0.lock().expect("nothing panics under it").insert(sight);
    }

    fn assert_seen(&self, wanted: &[&'static str]) {
        let seen = self.0.lock().expect("nothing panics under it");
        let missing: Vec<_> = wanted.iter().filter(|sight| !seen.contains(*sight)).collect();
        assert!(missing.is_empty(), "no state was reached in which {missing:?}; but: {seen:?}");
    }
}

/// How to visit the states.
#[derive(Clone, Copy, Debug)]
enum Search {
    /// All of them, at the cost of little memory.
    Everything,
    /// Until this property does not hold, short paths first.
    Until(&'static str),
}

/// Visits the states. Returns the names of the properties that do not hold.
#[expect(clippy::print_stdout, reason = "counterexamples belong to the result")]
fn explore<M>(what: &str, model: M, search: Search) -> Vec<&'static str>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + Eq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let begun = toystore::clock::now();
    let checker = model.checker().threads(THREADS);
    let (states, depth, found) = match search {
        Search::Everything => {
            let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
            (checker.unique_state_count(), checker.max_depth(), checker.discoveries())
        }
        Search::Until(wanted) => {
            let wanted = HasDiscoveries::AnyOf(BTreeSet::from([wanted]));
            let checker = checker.finish_when(wanted).spawn_bfs().join();
            (checker.unique_state_count(), checker.max_depth(), checker.discoveries())
        }
    };
    let took = toystore::clock::now() - begun;
    // Past the capture of the test harness: the sizes belong to the result.
    let size = format!("{what}: {states} states, depth {depth}, {took:.1?}");
    writeln!(std::io::stdout(), "{size}").expect("standard output is open");
    for (name, path) in &found {
        println!("  does not hold: {name}\n{}", steps_of(path));
    }
    found.into_keys().collect()
}

/// Checks that a rule is needed: `model` goes without it, and breaks this promise.
fn assert_needed<M>(rule: impl Debug, model: M, promise: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + Eq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let found = explore(&format!("without {rule:?}"), model, Search::Until(promise));
    assert!(found.contains(&promise), "{promise:?} held without {rule:?}");
}

fn steps_of<S, A: Clone + Debug>(path: &Path<S, A>) -> String
where
    S: Clone,
{
    let actions: Vec<String> =
        path.clone().into_actions().iter().map(|action| format!("    {action:?}")).collect();
    actions.join("\n")
}
