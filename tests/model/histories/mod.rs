//! The journal goes back in time: no order number is given away twice.
//!
//! # What is modelled
//!
//! The catalog's decision whether it may sell, the production's `History`, with the steps of
//! `catalog/service.rs` and `catalog/tasks.rs`; and three replicas, as far as their logs go. The
//! catalog's database is restored from a backup or emptied (which is a backup from before the first
//! order). Replicas are down, or up and behind: a sale reaches any of the followers.
//!
//! ```text
//! catalog   start│─►│hear a replica│─►│hear the leader, sell│
//! disk      back up │ restore (catalog down, the marker does not match)
//! machine   back up │ roll back (the marker goes back, too, and tells nothing)
//! ```
//!
//! # What is not
//!
//! The keys of purchases, epochs, and rows that are under way ([`purchases`](super::purchases) has
//! them). Replicas whose databases are restored: a log that lost orders can prove nothing about
//! them, so with a journal from before them, their numbers are given away again. Where the whole
//! machine is rolled back, that can happen, too, until the first longer log is heard; so there only
//! the second property is checked (`docs/protocol.md` states this limit).

pub(super) mod lessons;
mod runs;
mod story;

use std::collections::BTreeSet;

use stateright::{Model, Property};
use toystore::catalog::core::history::{Hearing, History};
use toystore::wire::order::{Order, OrderNumber, Position};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::ReplicaId;

use super::Sights;

const REPLICAS: usize = 3;

const ONCE: &str = "no number is acknowledged for two orders";
const HELD: &str = "nothing is sold to a leader whose log contradicts the journal";

/// A rule of the protocol that a run can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A database that was restored or emptied is told from one that goes on.
    MarkersTell,
    /// A journal in doubt waits for the replicas that are down, too.
    AllAreHeard,
    /// A log that contradicts the journal stops sales.
    EvidenceStops,
    /// A batch says where the leader's log ends, and that is heard before anything is sold.
    LeadersAreHeard,
}

/// What may happen so many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    sales: u8,
    backups: u8,
    restores: u8,
    rollbacks: u8,
    starts: u8,
    outages: u8,
}

struct Histories {
    without: Option<Rule>,
    left: Left,
    sights: Sights,
}

/// An order, by the purchase that it came from.
type Label = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    journal: Vec<Label>,
    backup: Vec<Label>,
    /// What the marker, or the database itself, says of the journal's past.
    in_doubt: bool,
    /// Nothing while the catalog is down.
    history: Option<History>,
    replicas: [Replica; REPLICAS],
    /// Number and order, as clients heard them.
    acknowledged: Vec<(usize, Label)>,
    sold_to_a_longer_log: bool,
    next: Label,
    left: Left,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Replica {
    log: Vec<Label>,
    is_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The replica leads, and its batch with one purchase is decided; the followers in the set
    /// take the order before the client is answered.
    Sell {
        leader: usize,
        followers: [bool; REPLICAS],
    },
    Report(usize),
    StopCatalog,
    StartCatalog,
    BackUp,
    Restore,
    RollBack,
    StopReplica(usize),
    StartReplica(usize),
}

impl Histories {
    fn new(left: Left, without: Option<Rule>) -> Self {
        Self { without, left, sights: Sights::default() }
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn hear(&self, state: &mut State, replica: usize) {
        let journal = end_of(&state.journal);
        let mut log = end_of(&state.replicas[replica].log);
        let contradicts = log.length > journal.length;
        if contradicts && !self.keeps(Rule::EvidenceStops) {
            log = journal;
        }
        let Some(history) = &mut state.history else { return };
        match history.hear(id(replica), log, journal) {
            Hearing::Known => {}
            Hearing::Suspicion => unreachable!("a replica answers for itself"),
            Hearing::Complete => {
                self.sights.note("a journal in doubt has heard every replica");
                state.in_doubt = false;
            }
            Hearing::Contradiction => {
                self.sights.note("a log contradicts the journal");
                state.in_doubt = true;
            }
        }
    }

    fn start(&self, state: &mut State) {
        let heard_first =
            |(_, replica): &(usize, &Replica)| replica.is_up || self.keeps(Rule::AllAreHeard);
        let unheard: Vec<ReplicaId> =
            state.replicas.iter().enumerate().filter(heard_first).map(|(it, _)| id(it)).collect();
        state.history = Some(if state.in_doubt && self.keeps(Rule::MarkersTell) {
            History::in_doubt(unheard)
        } else {
            self.sights.note("a normal restart waits for no replica");
            History::continued()
        });
    }

    fn sell(&self, state: &mut State, leader: usize, followers: [bool; REPLICAS]) {
        if self.keeps(Rule::LeadersAreHeard) {
            self.hear(state, leader);
        }
        if state.history.as_ref().is_none_or(|history| history.may_sell().is_err()) {
            self.sights.note("a purchase is refused");
            return;
        }
        let number = state.journal.len();
        if !state.journal.starts_with(&state.replicas[leader].log) {
            state.sold_to_a_longer_log = true;
        }
        state.journal.push(state.next);
        for (replica, takes) in state.replicas.iter_mut().zip(followers) {
            // Rows that do not continue a log are refused, so a longer one keeps its orders.
            if takes && state.journal.starts_with(&replica.log) {
                replica.log.clone_from(&state.journal);
            }
        }
        if state.journal.starts_with(&state.replicas[leader].log) {
            state.replicas[leader].log.clone_from(&state.journal);
            state.acknowledged.push((number, state.next));
        }
        state.next += 1;
        state.left.sales -= 1;
    }
}

impl Model for Histories {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let replica = Replica { log: Vec::new(), is_up: true };
        vec![State {
            journal: Vec::new(),
            backup: Vec::new(),
            in_doubt: false,
            history: Some(History::continued()),
            replicas: [replica.clone(), replica.clone(), replica],
            acknowledged: Vec::new(),
            sold_to_a_longer_log: false,
            next: 0,
            left: self.left,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let left = state.left;
        let is_up = |replica: usize| state.replicas[replica].is_up;
        if state.history.is_some() {
            steps.push(Step::StopCatalog);
            for replica in (0..REPLICAS).filter(|it| is_up(*it)) {
                steps.push(Step::Report(replica));
                if left.sales > 0 {
                    let others = subsets().filter(|set| {
                        !set[replica] && (0..REPLICAS).all(|it| !set[it] || is_up(it))
                    });
                    steps.extend(others.map(|followers| Step::Sell { leader: replica, followers }));
                }
            }
        } else {
            steps.extend((left.starts > 0).then_some(Step::StartCatalog));
            steps.extend((left.restores > 0).then_some(Step::Restore));
            steps.extend((left.rollbacks > 0).then_some(Step::RollBack));
        }
        if left.backups > 0 {
            steps.push(Step::BackUp);
        }
        for replica in 0..REPLICAS {
            if !is_up(replica) {
                steps.push(Step::StartReplica(replica));
            } else if left.outages > 0 {
                steps.push(Step::StopReplica(replica));
            }
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Sell { leader, followers } => self.sell(&mut state, leader, followers),
            Step::Report(replica) => self.hear(&mut state, replica),
            Step::StopCatalog => state.history = None,
            Step::StartCatalog => {
                state.left.starts -= 1;
                self.start(&mut state);
            }
            Step::BackUp => {
                state.left.backups -= 1;
                state.backup.clone_from(&state.journal);
            }
            Step::Restore => {
                state.left.restores -= 1;
                state.journal.clone_from(&state.backup);
                state.in_doubt = true;
            }
            Step::RollBack => {
                state.left.rollbacks -= 1;
                state.journal.clone_from(&state.backup);
            }
            Step::StopReplica(replica) => {
                state.left.outages -= 1;
                state.replicas[replica].is_up = false;
            }
            Step::StartReplica(replica) => state.replicas[replica].is_up = true,
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONCE, |model: &Self, state: &State| {
                let told = &state.acknowledged;
                let numbers: BTreeSet<usize> = told.iter().map(|(number, _)| *number).collect();
                numbers.len() == told.len() || model.left.rollbacks > 0
            }),
            Property::always(HELD, |_, state: &State| !state.sold_to_a_longer_log),
        ]
    }
}

fn id(replica: usize) -> ReplicaId {
    ReplicaId(u32::try_from(replica + 1).expect("there are few"))
}

/// Where a log with these orders ends. The chain tells the orders apart.
fn end_of(orders: &[Label]) -> Position {
    orders.iter().zip(0..).fold(Position::START, |end, (label, number)| {
        let name = label.to_string().as_str().into();
        let number = OrderNumber(number);
        end.continued_by(&Order { number, name, quantity: Quantity::ONE, key: None })
    })
}

fn subsets() -> impl Iterator<Item = [bool; REPLICAS]> {
    (0..1 << REPLICAS).map(|bits| std::array::from_fn(|replica| bits & (1 << replica) != 0))
}
