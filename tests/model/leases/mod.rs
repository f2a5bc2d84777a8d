//! Reads: no read returns an older quantity than an earlier read or purchase did.
//!
//! # What is modelled
//!
//! One catalog: the production's `Stock` and `Sessions`, with the steps of `catalog/tasks.rs`
//! (look up, plan, lock and push, plan again, commit, publish, answer) and of its registrations
//! (begin, store the id, answer). Two front-ends: the production's `Cache`, with the steps of
//! `frontend/tasks.rs`. Readers, each at any front-end. Purchases, each retried under its key until
//! it is answered.
//!
//! ```text
//! purchase  ask─►│plan·lock│─push─►…◄─ack─│plan│─►│commit│─►│publish│─answer─►      (catalog)
//! read                     look up│─ask─►│hold·read│─answer─►│store│─►            (front-end)
//! session                 register│─►│begin│─►│store id│─answer─►│begin·lease│   renew ⇄
//! ```
//!
//! Each `│step│` is one action. Between any two of them anything else may happen: any other step;
//! half a second passes; the catalog crashes (it keeps what it committed and the ids of sessions);
//! a front-end crashes (it keeps nothing). A message that is never delivered is a lost one, so
//! losses need no step of their own. A call whose caller gave up may still arrive. A lease lasts
//! two ticks at a front-end and three at the catalog, as 1 s and 1.25 s do.
//!
//! # What is not
//!
//! Single flight (each reader makes its own call), the bounded size of the cache, full disks, locks
//! that are released (after five seconds; the model's time is shorter), invalidations that arrive
//! twice, clocks of different speeds.
//!
//! # Rules that are not needed for these properties
//!
//! That a session with an unacknowledged invalidation is not renewed keeps purchases going: without
//! the rule they wait, and no read is stale. That the clock is read again after the entry is for a
//! reader that is paused between the two. Its read began before the change that it missed, so
//! either answer is linearizable.

mod catalog;
mod frontend;
pub(super) mod lessons;
mod runs;
mod story;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use stateright::{Model, Property};
use toystore::catalog::core::sessions::{LEASE_MS, Sessions};
use toystore::catalog::core::stock::{Change, RecordedDecision, Shelf, Stock, ToyIndex};
use toystore::frontend::core::cache::{Cache, Lookup};
use toystore::wire::lease::{RenewalReply, SessionId, Version};
use toystore::wire::order::Position;
use toystore::wire::purchase::{CommitRequest, Decision, IdempotencyKey, Purchase, Verdict};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::{Epoch, Leadership, ReplicaId};
use toystore::wire::toy::{Price, Toy, ToyName};
use toystore::wire::trace::RequestOrigin;

use self::catalog::push;
use self::frontend::{give_up, replace};
use super::Sights;

const TICK: Duration = Duration::from_millis(500);
const LEADER: ReplicaId = ReplicaId(1);
const STALE: &str = "no read returns an older quantity than was returned before";
const COVERED: &str = "what a lease covers is what is on disk";

/// A rule of the protocol that a run can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    AcknowledgementsBeforeCommit,
    LockedUntilCommitted,
    LockedUntilPublished,
    DurableBeforeVisible,
    RestartWaitsForSessions,
    SessionDurableBeforeAnswer,
    DropBeforeAcknowledgement,
    FloorOfFills,
    SessionOfFills,
    HoldersOnly,
    HitsWithinLease,
    LeaseFromSending,
}

/// The size of the world.
#[derive(Clone, Copy, Debug)]
struct Size {
    toys: usize,
    stock: u64,
    /// The toy that each purchase buys one of.
    purchases: &'static [usize],
    reads: u8,
    readers: usize,
    ticks: u32,
    /// Front-ends that have a session from the start.
    begun: u32,
    /// Registrations that may arrive after those.
    sessions: u8,
    renewals: u8,
    catalog_crashes: u8,
    frontend_crashes: u8,
    restocks: u8,
    /// Whether expired sessions are swept, at any time.
    sweeps: bool,
}

struct Leases {
    without: Option<Rule>,
    size: Size,
    base: Instant,
    toy_index: ToyIndex,
    sights: Sights,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    tick: u32,
    disk: Disk,
    catalog: Catalog,
    frontends: Vec<FrontEnd>,
    /// In order, so that it does not matter which reader reads what.
    reads: Vec<Read>,
    purchases: Vec<Asked>,
    /// Calls whose callers gave up, and which may still arrive.
    strays: BTreeSet<(usize, Question)>,
    /// For each toy, the newest version that any client has seen.
    shown: Vec<Version>,
    left: Left,
    stale: bool,
}

/// How many times more each of these may happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Left {
    reads: u8,
    sessions: u8,
    renewals: u8,
    catalog_crashes: u8,
    frontend_crashes: u8,
    restocks: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Disk {
    stock: Stock,
    decisions: BTreeMap<IdempotencyKey, RecordedDecision>,
    sessions: BTreeSet<SessionId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Catalog {
    boot: u64,
    stock: Stock,
    sessions: Sessions,
    writer: Writer,
    pushes: BTreeMap<SessionId, (usize, Toys, Pushed)>,
    /// Sessions that have begun, but are not on disk; each with the one that ends with it.
    storing: BTreeMap<SessionId, Option<SessionId>>,
}

type Toys = Vec<(ToyName, Version)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pushed {
    Sent,
    Taken,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Writer {
    Idle,
    Clearing(Job, Toys),
    Planned(Job, Plan),
    Committed(Job, Plan),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Job {
    Purchase(usize),
    Restock,
}

/// A plan without its orders and decisions, which follow from the job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Plan {
    verdict: Option<Verdict>,
    shelves: Vec<Shelf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FrontEnd {
    cache: Cache<Version>,
    previous: Option<SessionId>,
    call: Option<(Question, Instant, Phase)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Question {
    Register(Option<SessionId>),
    Renew(SessionId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Asked,
    Storing(SessionId),
    Registered(SessionId),
    Renewed,
    Expired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Read {
    frontend: usize,
    toy: usize,
    /// The newest version that any client had seen when it began.
    floor: Version,
    session: Option<SessionId>,
    answer: Option<(Version, Option<SessionId>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Open,
    Answered(Decision),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Read { frontend: usize, toy: usize },
    Serve(Read),
    Store(Read),
    Ask(usize),
    GiveUp(usize),
    Answer(usize),
    ArriveLate(usize, Question),
    StoreSession(SessionId),
    Hear(usize),
    Begin(Job),
    PlanAgain,
    Commit,
    Publish,
    TakePush(SessionId),
    TakeAcknowledgement(SessionId),
    Sweep,
    CrashCatalog,
    CrashFrontEnd(usize),
}

impl Leases {
    fn new(size: Size, without: Option<Rule>) -> Self {
        let model = Self {
            without,
            size,
            base: toystore::clock::now(),
            toy_index: ToyIndex::new(),
            sights: Sights::default(),
        };
        Self { toy_index: model.new_stock().toy_index(), ..model }
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn now(&self, state: &State) -> Instant {
        self.base + TICK * state.tick
    }

    fn new_stock(&self) -> Stock {
        let full = |toy| Shelf {
            toy: Toy { name: name(toy), price: Price::from_cents(100), quantity: self.size.stock },
            stocked: self.size.stock,
            sold: 0,
            version: Version(0),
        };
        let leadership = Leadership { epoch: Epoch(1), leader: Some(LEADER) };
        let shelves = (0..self.size.toys).map(full).collect();
        Stock::new(shelves, self.size.stock, Position::START, leadership)
    }
}

fn name(toy: usize) -> ToyName {
    ["Tux", "Uno"][toy].into()
}

impl Model for Leases {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let stock = self.new_stock();
        let mut sessions = Sessions::new(0, [], self.base);
        let lease_end = self.base + Duration::from_millis(LEASE_MS);
        let frontends: Vec<FrontEnd> = (0..2)
            .map(|number| {
                let mut cache = Cache::new(10);
                if number < self.size.begun {
                    let session = sessions.register(number, None, self.base);
                    cache.begin_session(session, lease_end, (0..self.size.toys).map(name));
                }
                FrontEnd { cache, previous: None, call: None }
            })
            .collect();
        let ids = frontends.iter().filter_map(|frontend| frontend.cache.session()).collect();
        vec![State {
            tick: 0,
            disk: Disk { stock: stock.clone(), decisions: BTreeMap::new(), sessions: ids },
            catalog: Catalog {
                boot: 0,
                stock,
                sessions,
                writer: Writer::Idle,
                pushes: BTreeMap::new(),
                storing: BTreeMap::new(),
            },
            frontends,
            reads: Vec::new(),
            purchases: vec![Asked::Open; self.size.purchases.len()],
            strays: BTreeSet::new(),
            shown: vec![Version(0); self.size.toys],
            left: Left {
                reads: self.size.reads,
                sessions: self.size.sessions,
                renewals: self.size.renewals,
                catalog_crashes: self.size.catalog_crashes,
                frontend_crashes: self.size.frontend_crashes,
                restocks: self.size.restocks,
            },
            stale: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.tick < self.size.ticks {
            steps.push(Step::Tick);
        }
        for (number, frontend) in state.frontends.iter().enumerate() {
            // The two front-ends are alike: the one that is read at first is the first.
            let alike = state.left.reads == self.size.reads && number > 0;
            if state.left.reads > 0 && state.reads.len() < self.size.readers && !alike {
                steps.extend((0..self.size.toys).map(|toy| Step::Read { frontend: number, toy }));
            }
            match &frontend.call {
                None if self.may_ask(state, frontend) => steps.push(Step::Ask(number)),
                Some((Question::Register(_), _, Phase::Asked)) if state.left.sessions == 0 => {}
                Some((_, _, Phase::Asked)) => steps.push(Step::Answer(number)),
                None | Some((_, _, Phase::Storing(_))) => {}
                Some(_) => steps.push(Step::Hear(number)),
            }
            // A caller gives up only after some time.
            if matches!(frontend.call, Some((_, sent, _)) if sent < self.now(state)) {
                steps.push(Step::GiveUp(number));
            }
            if state.left.frontend_crashes > 0 {
                steps.push(Step::CrashFrontEnd(number));
            }
        }
        for (number, question) in &state.strays {
            if state.left.sessions > 0 {
                steps.push(Step::ArriveLate(*number, *question));
            }
        }
        for read in &state.reads {
            let served = read.answer.is_some();
            steps.push(if served { Step::Store(*read) } else { Step::Serve(*read) });
        }
        let catalog = &state.catalog;
        steps.extend(catalog.storing.keys().map(|session| Step::StoreSession(*session)));
        steps.extend(catalog.pushes.iter().map(|(session, (_, _, pushed))| match pushed {
            Pushed::Sent => Step::TakePush(*session),
            Pushed::Taken => Step::TakeAcknowledgement(*session),
        }));
        match &catalog.writer {
            Writer::Idle => {
                let open = (0..state.purchases.len())
                    .filter(|purchase| state.purchases[*purchase] == Asked::Open);
                steps.extend(open.map(|purchase| Step::Begin(Job::Purchase(purchase))));
                if state.left.restocks > 0 && !catalog.stock.plan_restock(|_| true).is_empty() {
                    steps.push(Step::Begin(Job::Restock));
                }
            }
            Writer::Clearing(..) => steps.push(Step::PlanAgain),
            Writer::Planned(..) => steps.push(Step::Commit),
            Writer::Committed(..) => steps.push(Step::Publish),
        }
        if self.size.sweeps {
            steps.push(Step::Sweep);
        }
        if state.left.catalog_crashes > 0 {
            steps.push(Step::CrashCatalog);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        let now = self.now(&state);
        match step {
            Step::Tick => state.tick += 1,
            Step::Read { frontend, toy } => self.read(&mut state, frontend, toy),
            Step::Serve(read) => self.serve(&mut state, read),
            Step::Store(read) => self.store(&mut state, read),
            Step::Ask(number) => self.ask(&mut state, number),
            Step::GiveUp(number) => give_up(&mut state, number),
            Step::Answer(number) => {
                let (question, sent, _) = state.frontends[number].call?;
                let phase = self.arrive(&mut state, number, question);
                state.frontends[number].call = Some((question, sent, phase));
            }
            Step::ArriveLate(number, question) => {
                state.strays.remove(&(number, question));
                self.arrive(&mut state, number, question);
            }
            Step::StoreSession(session) => Self::store_session(&mut state, session),
            Step::Hear(number) => self.hear(&mut state, number),
            Step::Begin(job) => {
                if job == Job::Restock {
                    state.left.restocks -= 1;
                }
                self.begin(&mut state, job);
            }
            Step::PlanAgain => self.plan_again(&mut state),
            Step::Commit => self.commit(&mut state),
            Step::Publish => self.publish(&mut state),
            Step::TakePush(session) => {
                let (frontend, toys, pushed) = state.catalog.pushes.get_mut(&session)?;
                *pushed = Pushed::Taken;
                if self.keeps(Rule::DropBeforeAcknowledgement) {
                    state.frontends[*frontend].cache.invalidate(session, toys);
                }
            }
            Step::TakeAcknowledgement(session) => {
                let (_, toys, _) = state.catalog.pushes.remove(&session)?;
                state.catalog.sessions.acknowledged(session, &toys);
                push(&mut state.catalog, session, now);
            }
            Step::Sweep => {
                for ended in state.catalog.sessions.sweep(now) {
                    state.disk.sessions.remove(&ended);
                }
            }
            Step::CrashCatalog => self.crash_catalog(&mut state),
            Step::CrashFrontEnd(number) => Self::crash_frontend(&mut state, number),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(STALE, |_, state: &State| !state.stale),
            Property::always(COVERED, |model: &Self, state: &State| {
                let now = model.now(state);
                let current = |cache: &Cache<Version>, toy| match cache
                    .clone()
                    .look_up(name(toy).as_str(), now)
                {
                    Lookup::Hit(version, _) => version == state.disk.stock.shelves()[toy].version,
                    Lookup::Miss(_) | Lookup::Unknown(_) => true,
                };
                let all = |frontend: &FrontEnd| {
                    (0..model.size.toys).all(|toy| current(&frontend.cache, toy))
                };
                state.frontends.iter().all(all)
            }),
            Property::always("an order that a client was granted exists", |_, state: &State| {
                (0..).zip(&state.purchases).all(|(purchase, asked)| {
                    let recorded = state.disk.decisions.get(&IdempotencyKey::from_random(purchase));
                    match *asked {
                        Asked::Answered(Decision::Granted(number)) => {
                            recorded.is_some_and(|recorded| recorded.number == Some(number))
                        }
                        Asked::Answered(_) => recorded.is_some_and(|one| one.number.is_none()),
                        Asked::Open => true,
                    }
                })
            }),
        ]
    }
}
