//! Purchases: each is decided once, sold at most once, and on disk when it is acknowledged.
//!
//! # What is modelled
//!
//! One catalog: the production's `Stock`, with its database (journal, decisions, leadership). Two
//! or three replicas: the production's `Core`, with the steps of `order/tasks.rs` and
//! `order/service.rs`. Clients that retry under the same key, as often as they like, whether or not
//! they were answered.
//!
//! ```text
//! client    ask│
//! leader       │admit·batch│─►│catalog: plan·commit│publish│─rows─►│settle│─►│write│ answer
//! follower                                                    ─rows─►│take·write│─ack─►│note│
//! nominee         nominated│─►│catalog: epoch + 1│publish│─►│become leader│─►│fetch·write│─►│lead│
//! ```
//!
//! Each `│step│` is one action; between any two anything else may happen. A message that is never
//! delivered is one that is lost. A batch whose sender has given it up, or crashed, may still
//! arrive at any later time, and more than once; so may rows for a follower. A nomination that is
//! delayed is like one that is made later, and may name an epoch that has ended.
//!
//! A replica that crashes keeps what is on its disk; rows that it had accepted and was writing are
//! gone. Its disk may be full. A catalog that crashes keeps what it committed, and answers no
//! request that it had. (Where a run has no such crash, what only a crash would see is one step.)
//!
//! Front-ends behave as badly as they could: any replica is nominated at any time, and purchases go
//! to any that has acquired leadership. `selection` has what they really do.
//!
//! # What is not
//!
//! Leases (`leases` has them; here a purchase may have to wait at any time), rows from peers (they
//! are the journal's, too), the bounds of queues, slow followers (they are lost instead). A
//! follower whose log is foreign counts as live until rows reach that log's end and show it: the
//! production's followers do no more, so nothing is demanded of such a follower here.
//!
//! # Rules that nothing here rests on
//!
//! Each of these was left out, too, and nothing went wrong; `runs` repeats it.
//!
//! - A follower refuses rows of an earlier epoch. They are the journal's all the same; the refusal
//!   tells a deposed leader of its successor.
//! - An acquisition names the epoch that it ends. Each epoch has one leader without it; it is there
//!   so that if two front-ends find a leader gone, the second does not depose the first's choice.
//! - A batch's answer carries the rows from the leader's position on. Without that, a leader that
//!   lacks some would fetch them; this saves the request.
//! - A retry joins the purchase in flight under its key. The catalog would answer it from its
//!   record.

mod catalog;
mod clients;
mod leader;
pub(super) mod lessons;
mod properties;
mod replica;
mod runs;
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Instant;

use stateright::{Model, Property};
use toystore::catalog::core::stock::{RecordedDecision, Shelf, Stock, ToyIndex};
use toystore::order::core::Core;
use toystore::order::core::batches::SellStep;
use toystore::wire::lease::Version;
use toystore::wire::order::{Order, OrderNumber, Position, Rows};
use toystore::wire::purchase::{
    CommitReply, CommitRequest, Decision, IdempotencyKey, Purchase, PurchaseReply,
};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::{
    Acquisition, AcquisitionReply, AppendReply, AppendRequest, Epoch, Leadership, ReplicaId,
};
use toystore::wire::toy::{Price, Toy};
use toystore::wire::trace::RequestOrigin;

use super::Sights;

const TOY: &str = "Tux";

/// A rule of the protocol that a run can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    StockSuffices,
    KeysAreLookedUp,
    RefusalsAreRecorded,
    BodiesAreCompared,
    RetriesKeepTheirKey,
    OneTransaction,
    OneWriter,
    DurableBeforeVisible,
    EpochOfBatches,
    EpochDurableBeforeAnswer,
    ForeignLogsCannotLead,
    NomineesFetchFirst,
    DurableBeforeAcknowledgement,
    LiveFollowersBeforeAcknowledgement,
    FollowersWriteBeforeAcknowledgement,
    GapsAreNoAcknowledgements,
    RowsContinueTheLog,
    UnwrittenRowsAreTakenBack,
    AbsenceIsConfirmed,
    LostBatchesAreAskedAgain,
    LostFollowersAreNotAwaited,
    DeposedLeadersRedirectWaiters,
    LeadersBehindFetch,
    StaleRowsAreRefused,
    AcquisitionsNameTheEpoch,
    AnswersCarryMissedRows,
    KeysAreJoined,
}

/// The size of the world.
#[derive(Clone, Copy, Debug)]
struct Size {
    replicas: usize,
    stock: u64,
    /// The quantity that each client buys at its first try.
    wants: &'static [u64],
    /// A client's other tries buy this many more, under the same key.
    rises: u64,
    /// Whether the first replica's log is not of this cluster.
    foreign: bool,
    left: Left,
}

/// How many times more something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    /// Attempts of each client.
    tries: u8,
    queries: u8,
    nominations: u8,
    crashes: u8,
    catalog_crashes: u8,
    /// Batches that their sender gives up.
    doubts: u8,
    waits: u8,
    restocks: u8,
    full_disks: u8,
    /// Messages to followers.
    appends: u8,
}

struct Purchases {
    without: Option<Rule>,
    size: Size,
    base: Instant,
    toy_index: ToyIndex,
    /// Per client, a key for each try; all but the first are for runs without a rule.
    keys: Vec<Vec<IdempotencyKey>>,
    sights: Sights,
    /// What replicas answered in the last step, for the lessons.
    answers: Mutex<Vec<(usize, Waiter, PurchaseReply)>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    disk: Disk,
    /// What the catalog has published.
    stock: Stock,
    writer: Option<Writing>,
    members: Vec<Member>,
    clients: Vec<Client>,
    /// Answers to acquisitions, on their way.
    /// Each with what its nominee knew when it asked.
    acquisitions: Vec<(Acquisition, Leadership, AcquisitionReply)>,
    /// Batches that their senders have given up, and that may still arrive.
    strays: Vec<CommitRequest>,
    /// Rows that their senders have given up, each with the follower that they may still reach.
    stray_rows: Vec<(usize, AppendRequest)>,
    query: Option<Query>,
    left: Left,
    broken: Option<&'static str>,
}

/// The catalog's database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Disk {
    stock: Stock,
    journal: Vec<Order>,
    /// For each order, the client whose purchase it was. Only the properties look at it.
    owners: Vec<usize>,
    decisions: BTreeMap<IdempotencyKey, RecordedDecision>,
}

/// What the catalog's writing task has still to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Writing {
    disk: Disk,
    answer: Answer,
}

/// What the writing task answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Answer {
    Batch {
        sender: Option<usize>,
        reply: CommitReply,
    },
    /// With what the nominee knew when it asked.
    Acquisition(Acquisition, Leadership, AcquisitionReply),
    None,
}

/// A client, and the number of its attempt.
type Waiter = (usize, usize);

/// A replica's process, and its disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Member {
    core: Core<Waiter>,
    /// All rows that were given to the disk; the first `on_disk` of them are on it.
    rows: Vec<Order>,
    on_disk: usize,
    /// The attempts that wait for an answer here.
    waiting: BTreeSet<Waiter>,
    selling: Option<(CommitRequest, Option<CommitReply>)>,
    /// What is on its way to each follower, and what the follower said.
    replicating_to: BTreeMap<usize, (AppendRequest, Option<AppendReply>)>,
    /// The followers that have acknowledged something in this epoch and not been lost since.
    live: BTreeSet<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    tries: usize,
    /// The answer to its first try and others for the same quantity, and to tries for another.
    answers: [Option<Decision>; 2],
}

/// A query for an order, on its way to the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Query {
    number: usize,
    /// Whether the order was visible to any client when the query was sent.
    existed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ask { client: usize, member: usize },
    Query { number: usize, member: usize },
    AnswerQuery,
    Sell(usize),
    Decide(usize),
    TellToWait(usize),
    ArriveLate(usize),
    Doubt(usize),
    Settle(usize),
    Write(usize),
    DiskIsFull(usize),
    Fetch(usize),
    Replicate { leader: usize, follower: usize },
    Take { leader: usize, follower: usize },
    TakeLate(usize),
    Note { leader: usize, follower: usize },
    Lose { leader: usize, follower: usize },
    Nominate { member: usize, seen: Epoch },
    BecomeLeader(usize),
    Lead(usize),
    Inform(usize),
    Crash(usize),
    CrashCatalog,
    FinishWriting,
    Restock,
}

impl Purchases {
    fn new(size: Size, without: Option<Rule>) -> Self {
        let key = |client: u128, attempt| IdempotencyKey::from_random(client * 16 + attempt);
        let keys = |client| (0..u128::from(size.left.tries)).map(|a| key(client, a)).collect();
        let keys = (0..).map(keys).take(size.wants.len()).collect();
        let model = Self {
            without,
            size,
            base: toystore::clock::now(),
            toy_index: ToyIndex::new(),
            keys,
            sights: Sights::default(),
            answers: Mutex::default(),
        };
        Self { toy_index: model.new_stock().toy_index(), ..model }
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// The highest id leads at first.
    fn new_stock(&self) -> Stock {
        let quantity = self.size.stock;
        let tux = Toy { name: TOY.into(), price: Price::from_cents(100), quantity };
        let only = Shelf { toy: tux, stocked: quantity, sold: 0, version: Version(0) };
        Stock::new(vec![only], quantity, Position::START, self.first_leadership())
    }

    fn first_leadership(&self) -> Leadership {
        Leadership { epoch: Epoch(1), leader: Some(id(self.size.replicas - 1)) }
    }

    /// An order that is not in the journal.
    fn foreign_order() -> Order {
        Order { number: OrderNumber(0), name: TOY.into(), quantity: quantity(99), key: None }
    }
}

/// Replicas are counted from 0 in the model.
fn id(member: usize) -> ReplicaId {
    ReplicaId(u32::try_from(member).expect("a small number"))
}

fn member_of(id: ReplicaId) -> usize {
    usize::try_from(id.0).expect("a small number")
}

fn quantity(number: u64) -> Quantity {
    Quantity::new(number).expect("at least one")
}

fn end_of(orders: &[Order]) -> Position {
    orders.iter().fold(Position::START, Position::continued_by)
}

fn length_of(position: Position) -> usize {
    usize::try_from(position.length).expect("a small number")
}

/// The rows from number `from` on.
fn rows_from(orders: &[Order], from: u64) -> Option<Rows> {
    let (before, rows) = orders.split_at_checked(usize::try_from(from).ok()?)?;
    Some(Rows { after: end_of(before), orders: rows.to_vec() })
}

impl Model for Purchases {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let foreign = |member: usize| match (self.size.foreign, member) {
            (true, 0) => vec![Self::foreign_order()],
            _ => Vec::new(),
        };
        let members = (0..self.size.replicas).map(|one| Member::new(self, one, foreign(one)));
        let mut members: Vec<Member> = members.collect();
        let leadership = self.first_leadership();
        for (member, one) in members.iter_mut().enumerate() {
            one.core.recorded(leadership, Leadership::default());
            if leadership.is_led_by(id(member)) {
                let log = one.core.durable();
                let request = Acquisition { nominee: id(member), seen: Epoch(0), log };
                let won = AcquisitionReply::Won { leadership, journal: Position::START };
                one.core.acquisition_answered(&request, leadership, won);
                assert!(one.core.try_to_lead());
            }
            one.core.take_effects();
        }
        let disk = Disk {
            stock: self.new_stock(),
            journal: Vec::new(),
            owners: Vec::new(),
            decisions: BTreeMap::new(),
        };
        vec![State {
            stock: disk.stock.clone(),
            disk,
            writer: None,
            members,
            clients: vec![Client { tries: 0, answers: [None; 2] }; self.size.wants.len()],
            acquisitions: Vec::new(),
            strays: Vec::new(),
            stray_rows: Vec::new(),
            query: None,
            left: self.size.left,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.broken.is_none() {
            self.asking(state, steps);
            for (member, one) in state.members.iter().enumerate() {
                self.selling(state, member, one, steps);
                self.replicating(state, member, one, steps);
                self.keeping_up(state, member, one, steps);
            }
            self.writing(state, steps);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        self.answers.lock().expect("nothing panics under it").clear();
        match step {
            Step::Ask { client, member } => self.ask(&mut state, client, member),
            Step::Query { number, member } => self.query(&mut state, number, member),
            Step::AnswerQuery => self.answer_query(&mut state),
            Step::Sell(member) => self.sell(&mut state, member),
            Step::Decide(member) => self.decide(&mut state, member, true),
            Step::TellToWait(member) => {
                state.left.waits -= 1;
                self.decide(&mut state, member, false);
            }
            Step::ArriveLate(place) => {
                let request = state.strays[place].clone();
                self.arrive(&mut state, None, &request, true);
            }
            Step::Doubt(member) => {
                state.left.doubts -= 1;
                self.doubt(&mut state, member);
            }
            Step::Settle(member) => self.settle(&mut state, member),
            Step::Write(member) => self.write(&mut state, member),
            Step::DiskIsFull(member) => self.fill_disk(&mut state, member),
            Step::Fetch(member) => self.fetch(&mut state, member),
            Step::Replicate { leader, follower } => self.replicate(&mut state, leader, follower),
            Step::Take { leader, follower } => {
                let (request, _) = state.members[leader].replicating_to.get(&follower)?.clone();
                let reply = self.take_rows(&mut state, follower, &request);
                let (_, answer) = state.members[leader].replicating_to.get_mut(&follower)?;
                match reply {
                    Some(_) => *answer = reply,
                    None => self.lose(&mut state, leader, follower),
                }
            }
            Step::TakeLate(place) => {
                self.sights.note("rows arrive late");
                let (follower, request) = state.stray_rows[place].clone();
                self.take_rows(&mut state, follower, &request);
            }
            Step::Note { leader, follower } => self.note(&mut state, leader, follower),
            Step::Lose { leader, follower } => self.lose(&mut state, leader, follower),
            Step::Nominate { member, seen } => self.nominate(&mut state, member, seen),
            Step::BecomeLeader(place) => self.become_leader(&mut state, place),
            Step::Lead(member) => {
                self.call(&mut state, member, Core::try_to_lead);
            }
            Step::Inform(member) => {
                let status = state.stock.status();
                self.call(&mut state, member, |core| {
                    core.heard_from_catalog((status, None), self.base, core.known())
                });
            }
            Step::Crash(member) => self.crash(&mut state, member),
            Step::CrashCatalog => self.crash_catalog(&mut state),
            Step::FinishWriting => Self::finish_writing(&mut state),
            Step::Restock => self.restock(&mut state),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
