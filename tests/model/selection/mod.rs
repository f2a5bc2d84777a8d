//! Leadership: front-ends select, replicas become leader, and it comes to rest.
//!
//! # What is modelled
//!
//! Two front-ends: the production's `Selection`, with the steps of `frontend/tasks.rs`. Two or
//! three replicas: the production's `Core`, with the steps of `order/service.rs`. The catalog's
//! part: the production's `Stock`, of which only the leadership is used.
//!
//! ```text
//! front-end   check all│─►│nominate│─►│        │─►│hear·inform all│
//! replica                            │acquire·become leader│         watch│
//! ```
//!
//! Each `│step│` is one action; between any two anything else may happen: steps of the other
//! front-end, a replica's crash and its restart, the cut of a link between a front-end and a
//! replica, for good; the loss of a health check; a stranger's message with an epoch that was never
//! given, to a replica or to the catalog; a restore of the catalog's database. Else a front-end
//! checks all replicas in one step, a few times.
//!
//! In each state the model asks how it would end if nothing more went wrong: it lets all processes
//! take their steps in turn, and both front-ends must come to rest with a leader that works and
//! that both reach, if there is one.
//!
//! # What is not
//!
//! Replicas that are unfit, the rows that a nominee misses (`purchases` has them). With crashes the
//! changes of leader are not counted: a nomination that fails long after it was sent makes a
//! front-end pass over a replica that is back by then, so there can be one more than need be.
//!
//! # Rules that nothing here rests on
//!
//! That a front-end whose nomination loses adopts the winner at once, and that a nominee that
//! cannot be reached is passed over at once: both are only sooner than the health checks, which
//! tell as much.

pub(super) mod lessons;
mod runs;
mod story;

use std::collections::BTreeSet;
use std::time::Instant;

use stateright::{Model, Property};
use toystore::catalog::core::stock::Stock;
use toystore::frontend::core::health::HealthCheck;
use toystore::frontend::core::selection::{Nominee, Selection, YIELD_CHECKS};
use toystore::order::core::Core;
use toystore::order::core::leadership::Candidacy;
use toystore::wire::count::LARGEST;
use toystore::wire::order::Position;
use toystore::wire::replication::{
    Acquisition, AcquisitionReply, CatalogStatus, Epoch, Leadership, Nomination, NominationReply,
    ReplicaId, ReplicaState, ReplicaStatus,
};

use super::Sights;

const RESTS: &str = "the front-ends come to rest with a leader that works and both reach";
const HIGHEST: &str = "the first leader is the highest of all";
/// An epoch that no run comes to.
const NEVER_GIVEN: Epoch = Epoch(LARGEST);
const COUNTED: &str = "epochs are counted";
const GIVEN: &str = "no process believes in an epoch that was never given";
const CALM: &str = "a leader is not replaced for a health check or two that are lost";
const SETTLED: &str = "after two changes, the leader is one that both front-ends reach";

/// A rule of the protocol that a run can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    MissesAreForgiven,
    LosersAdoptTheWinner,
    ReplacedChoicesYield,
    IdleLeadersAreReplaced,
    SilentLeadersAreReplaced,
    DeclinedNomineesArePassedOver,
    OnlyTheCatalogIsBelieved,
    EpochsGrowByOne,
    TheRecordCounts,
}

/// The size of the world: its replicas, and what may happen so many times.
#[derive(Clone, Copy, Debug)]
struct Size {
    replicas: u32,
    left: Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    /// Of each front-end.
    checks: u8,
    crashes: u8,
    restarts: u8,
    cuts: u8,
    /// Single health checks.
    losses: u8,
    /// Messages of a stranger, which name an epoch that was never given.
    strays: u8,
    /// The catalog's database is restored from a backup.
    restores: u8,
}

struct Choosing {
    without: Option<Rule>,
    size: Size,
    base: Instant,
    sights: Sights,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    stock: Stock,
    /// By id, less one. Nothing for one that is down.
    replicas: Vec<Option<Core<()>>>,
    frontends: Vec<FrontEnd>,
    /// Front-end and replica that do not reach each other.
    cuts: BTreeSet<(usize, ReplicaId)>,
    left: Left,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FrontEnd {
    selection: Selection,
    checks: u8,
    nominating: Option<(Nominee, Nominated)>,
}

/// The outcome of a nomination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Nominated {
    OnItsWay,
    Won(Leadership),
    Lost(Leadership),
    Unanswered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    CheckAll(usize),
    Nominate(usize),
    Arrive(usize),
    Hear(usize),
    Watch(ReplicaId),
    Crash(ReplicaId),
    Restart(ReplicaId),
    Cut(usize, ReplicaId),
    LoseCheck(usize, ReplicaId),
    Mislead(ReplicaId),
    Acquire(ReplicaId),
    Restore,
    Report(usize),
}

impl Choosing {
    fn new(size: Size, without: Option<Rule>) -> Self {
        Self { without, size, base: toystore::clock::now(), sights: Sights::default() }
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn ids(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        (1..=self.size.replicas).map(ReplicaId)
    }

    fn new_process(&self, id: ReplicaId) -> Core<()> {
        let others = self.ids().filter(|other| *other != id).collect();
        let mut replica = Core::new(id, others, Position::START);
        let status = CatalogStatus { leadership: Leadership::default(), journal: Position::START };
        replica.disk_answered(self.base);
        replica.heard_from_catalog((status, None), self.base, replica.known());
        replica.caught_up();
        replica
    }

    fn check_all(&self, state: &mut State, number: usize) {
        for id in self.ids() {
            let check = self.check(state, number, id);
            state.frontends[number].selection.checked(id, check);
        }
    }

    fn check(&self, state: &State, number: usize, id: ReplicaId) -> HealthCheck {
        if state.cuts.contains(&(number, id)) {
            let known = state.frontends[number].selection.statuses();
            let before = known.filter_map(|(_, status)| status).find(|status| status.id == id);
            return match before {
                Some(before) if !self.keeps(Rule::SilentLeadersAreReplaced) => {
                    HealthCheck::Answered(before)
                }
                _ => HealthCheck::Missed,
            };
        }
        let Some(replica) = state.replicas[place(id)].as_ref() else { return HealthCheck::Gone };
        let status = replica.status(self.base);
        let state = match status.state {
            ReplicaState::Follower if !self.keeps(Rule::IdleLeadersAreReplaced) => {
                ReplicaState::Leader
            }
            told @ (ReplicaState::Leader | ReplicaState::Follower | ReplicaState::Syncing) => told,
        };
        HealthCheck::Answered(ReplicaStatus { state, ..status })
    }

    fn nominate(state: &mut State, number: usize) {
        let frontend = &mut state.frontends[number];
        if let Some(nominee) = frontend.selection.nominee() {
            frontend.nominating = Some((nominee, Nominated::OnItsWay));
        }
    }

    /// A nomination arrives, and the nominee acquires leadership.
    fn arrive(&self, state: &mut State, number: usize) {
        let Some((nominee, _)) = state.frontends[number].nominating else { return };
        let cut = state.cuts.contains(&(number, nominee.id));
        let replica = state.replicas[place(nominee.id)].as_mut().filter(|_| !cut);
        let outcome = match replica {
            Some(replica) => self.acquire(&mut state.stock, replica, nominee),
            None => Nominated::Unanswered,
        };
        state.frontends[number].nominating = Some((nominee, outcome));
    }

    fn acquire(&self, stock: &mut Stock, replica: &mut Core<()>, nominee: Nominee) -> Nominated {
        let reply = match replica.nominated(Nomination { seen: nominee.seen }) {
            Candidacy::Answer(reply) => {
                self.sights.note("a nominee leads already");
                reply
            }
            Candidacy::Acquire(request) => {
                let reply = stock.plan_acquisition(&request, Some(Position::START));
                let before = replica.leadership();
                if let AcquisitionReply::Won { leadership, .. } = reply {
                    stock.adopt_leadership(leadership);
                }
                let reply = replica.acquisition_answered(&request, before, reply);
                replica.try_to_lead();
                replica.take_effects();
                reply
            }
        };
        match reply {
            NominationReply::Won(leadership) => Nominated::Won(leadership),
            NominationReply::Lost(leadership) => {
                self.sights.note("a nomination loses");
                Nominated::Lost(leadership)
            }
            NominationReply::Unable(problem) => unreachable!("all logs are empty: {problem}"),
        }
    }

    fn hear(&self, state: &mut State, number: usize) {
        let frontend = &mut state.frontends[number];
        let Some((nominee, outcome)) = frontend.nominating.take() else { return };
        let selection = &mut frontend.selection;
        match outcome {
            Nominated::Won(leadership) if self.keeps(Rule::ReplacedChoicesYield) => {
                selection.won(leadership);
            }
            Nominated::Won(leadership) => {
                selection.learn(leadership);
            }
            Nominated::Lost(leadership) if self.keeps(Rule::LosersAdoptTheWinner) => {
                let lost = NominationReply::Lost(leadership);
                selection.nominated(nominee.id, selection.leadership(), Some(&lost));
            }
            Nominated::Unanswered if self.keeps(Rule::DeclinedNomineesArePassedOver) => {
                self.sights.note("a nominee cannot be reached");
                selection.nominated(nominee.id, selection.leadership(), None);
            }
            Nominated::Lost(_) | Nominated::Unanswered | Nominated::OnItsWay => {}
        }
        let leadership = selection.leadership();
        for id in selection.uninformed() {
            let cut = state.cuts.contains(&(number, id));
            if let Some(replica) = state.replicas[place(id)].as_mut().filter(|_| !cut) {
                self.hint(&state.stock, replica, leadership);
                selection.told(id, leadership);
            }
        }
    }

    /// A replica is told of a leadership. It asks the catalog whether there is a newer one.
    fn hint(&self, stock: &Stock, replica: &mut Core<()>, leadership: Leadership) {
        if !self.keeps(Rule::OnlyTheCatalogIsBelieved) {
            replica.recorded(leadership, replica.leadership());
            replica.take_effects();
            return;
        }
        replica.hinted(leadership);
        if replica.take_effects().ask_catalog {
            self.watch(stock, replica);
        }
    }

    /// The catalog's answer to a replica's report arrives.
    fn watch(&self, stock: &Stock, replica: &mut Core<()>) {
        let (record, known) = (stock.status().leadership, replica.leadership());
        if record.epoch > known.epoch || self.keeps(Rule::TheRecordCounts) {
            replica.recorded(record, known);
        }
        replica.take_effects();
    }

    /// The catalog's answer to a front-end's report arrives.
    fn report(&self, state: &mut State, number: usize) {
        let selection = &mut state.frontends[number].selection;
        if self.keeps(Rule::TheRecordCounts) {
            selection.recorded(state.stock.status().leadership, selection.leadership());
        }
    }

    /// What would come of a state if no more went wrong.
    fn comes_to_rest(&self, last: &State) -> bool {
        let reached = |state: &State, id| (0..2).all(|number| !state.cuts.contains(&(number, id)));
        let works = |state: &State, id| reached(state, id) && state.replicas[place(id)].is_some();
        if !self.ids().any(|id| works(last, id)) {
            return true;
        }
        let mut state = last.clone();
        let mut rested = 0;
        for _ in 0..YIELD_CHECKS + 20 {
            let before = state.stock.status().leadership;
            for replica in state.replicas.iter_mut().flatten() {
                self.watch(&state.stock, replica);
            }
            for number in 0..2 {
                self.report(&mut state, number);
                self.check_all(&mut state, number);
                Self::nominate(&mut state, number);
                self.arrive(&mut state, number);
                self.hear(&mut state, number);
            }
            let after = state.stock.status().leadership;
            rested = if before == after { rested + 1 } else { 0 };
            if rested >= 6 && after.leader.is_some_and(|leader| works(&state, leader)) {
                return agree(&state, after);
            }
        }
        false
    }
}

/// Whether both front-ends send their clients to a leader that sells.
fn agree(state: &State, leadership: Leadership) -> bool {
    let Some(leader) = leadership.leader else { return false };
    let replica = state.replicas[place(leader)].as_ref();
    let sells = replica.is_some_and(|replica| replica.leads() == Some(leadership.epoch));
    sells && state.frontends.iter().all(|one| one.selection.leader() == Some(leader))
}

/// A catalog that has given no epoch yet.
fn new_stock() -> Stock {
    Stock::new(Vec::new(), 1, Position::START, Leadership::default())
}

fn place(id: ReplicaId) -> usize {
    usize::try_from(id.0 - 1).expect("a small number")
}

impl Model for Choosing {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let selection = Selection::new(self.ids());
        let checks = self.size.left.checks;
        vec![State {
            stock: new_stock(),
            replicas: self.ids().map(|id| Some(self.new_process(id))).collect(),
            frontends: vec![FrontEnd { selection, checks, nominating: None }; 2],
            cuts: BTreeSet::new(),
            left: self.size.left,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let left = &state.left;
        for (number, frontend) in state.frontends.iter().enumerate() {
            if frontend.checks > 0 {
                steps.push(Step::CheckAll(number));
            }
            match frontend.nominating {
                Some((_, Nominated::OnItsWay)) => steps.push(Step::Arrive(number)),
                Some(_) => steps.push(Step::Hear(number)),
                None if frontend.selection.nominee().is_some() => {
                    steps.push(Step::Nominate(number));
                }
                None => {}
            }
            let record = state.stock.status().leadership;
            let known = frontend.selection.leadership();
            if record != known && record.epoch <= known.epoch {
                steps.push(Step::Report(number));
            }
            if left.losses > 0 {
                steps.extend(self.ids().map(|id| Step::LoseCheck(number, id)));
            }
            if left.cuts > 0 {
                steps.extend(self.ids().map(|id| Step::Cut(number, id)));
            }
        }
        if left.restores > 0 && state.stock.status().leadership.epoch > Epoch(0) {
            steps.push(Step::Restore);
        }
        for (id, replica) in self.ids().zip(&state.replicas) {
            match replica {
                Some(replica) => {
                    steps.extend((left.crashes > 0).then_some(Step::Crash(id)));
                    if replica.leadership() != state.stock.status().leadership {
                        steps.push(Step::Watch(id));
                    }
                    if left.strays > 0 {
                        steps.extend([Step::Mislead(id), Step::Acquire(id)]);
                    }
                }
                None => steps.extend((left.restarts > 0).then_some(Step::Restart(id))),
            }
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::CheckAll(number) => {
                state.frontends[number].checks -= 1;
                self.check_all(&mut state, number);
            }
            Step::Nominate(number) => Self::nominate(&mut state, number),
            Step::Arrive(number) => self.arrive(&mut state, number),
            Step::Hear(number) => self.hear(&mut state, number),
            Step::Watch(id) => {
                let replica = state.replicas[place(id)].as_mut()?;
                self.watch(&state.stock, replica);
            }
            Step::Mislead(id) => {
                state.left.strays -= 1;
                self.sights.note("a replica is told of an epoch that was never given");
                let other = ReplicaId(id.0 % self.size.replicas + 1);
                let leadership = Leadership { epoch: NEVER_GIVEN, leader: Some(other) };
                let replica = state.replicas[place(id)].as_mut()?;
                self.hint(&state.stock, replica, leadership);
            }
            Step::Acquire(nominee) => {
                state.left.strays -= 1;
                self.sights.note("an acquisition names an epoch that was never given");
                let request = Acquisition { nominee, seen: NEVER_GIVEN, log: Position::START };
                let won = state.stock.plan_acquisition(&request, Some(Position::START));
                if let AcquisitionReply::Won { leadership, .. } = won {
                    state.stock.adopt_leadership(leadership);
                } else if !self.keeps(Rule::EpochsGrowByOne)
                    && state.stock.status().leadership.epoch < NEVER_GIVEN
                {
                    let leadership =
                        Leadership { epoch: NEVER_GIVEN.next(), leader: Some(nominee) };
                    state.stock.adopt_leadership(leadership);
                }
            }
            Step::Restore => {
                state.left.restores -= 1;
                self.sights.note("the catalog's database goes back in time");
                state.stock = new_stock();
            }
            Step::Report(number) => self.report(&mut state, number),
            Step::Crash(id) => {
                state.left.crashes -= 1;
                state.replicas[place(id)] = None;
            }
            Step::Restart(id) => {
                state.left.restarts -= 1;
                self.sights.note("a replica comes back");
                state.replicas[place(id)] = Some(self.new_process(id));
            }
            Step::Cut(number, id) => {
                state.left.cuts -= 1;
                state.cuts.insert((number, id));
            }
            Step::LoseCheck(number, id) => {
                state.left.losses -= 1;
                let forgiven = self.keeps(Rule::MissesAreForgiven);
                let check = if forgiven { HealthCheck::Missed } else { HealthCheck::Gone };
                state.frontends[number].selection.checked(id, check);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(RESTS, |model: &Self, state: &State| model.comes_to_rest(state)),
            Property::always(HIGHEST, |model: &Self, state: &State| {
                let Leadership { epoch, leader } = state.stock.status().leadership;
                state.left != model.size.left
                    || epoch != Epoch(1)
                    || leader == Some(ReplicaId(model.size.replicas))
            }),
            Property::always(COUNTED, |_, state: &State| {
                state.stock.status().leadership.epoch < NEVER_GIVEN
            }),
            Property::always(GIVEN, |_, state: &State| {
                let replicas = state.replicas.iter().flatten().map(|it| it.leadership().epoch);
                let frontends = state.frontends.iter().map(|it| it.selection.leadership().epoch);
                replicas.chain(frontends).all(|epoch| epoch < NEVER_GIVEN)
            }),
            Property::always(CALM, |model: &Self, state: &State| {
                let Left { losses, strays, .. } = model.size.left;
                let all_well = Left { losses, strays, ..state.left };
                all_well != model.size.left || state.stock.status().leadership.epoch <= Epoch(1)
            }),
            Property::always(SETTLED, |model: &Self, state: &State| {
                let Leadership { epoch, leader } = state.stock.status().leadership;
                let is_cut = |leader| (0..2).any(|number| state.cuts.contains(&(number, leader)));
                let only_cuts = Left { cuts: state.left.cuts, ..model.size.left };
                only_cuts != state.left || epoch <= Epoch(2) || !leader.is_some_and(is_cut)
            }),
        ]
    }
}
