//! Purchases: each is decided once, sold at most once, and on disk when it is acknowledged.
//!
//! # What is modelled
//!
//! One catalog: the production's `Stock`, with its database (journal, decisions, leadership). Two
//! or three replicas: the production's `Replica` and `Queue`, with the steps of `order/leader.rs`,
//! `order/office.rs` and `order/service.rs`. Clients that ask again under the same key, as often as
//! they like to, whether or not they were answered.
//!
//! ```text
//! client    ask│
//! leader       │admit·batch│─batch─►│catalog: plan·commit│─verdicts·rows─►│settle│─►│write│ answer
//! follower                                                         ─rows─►│take·write│─ack─►│note│
//! nominee   nominated│─acquire─►│catalog: epoch + 1│─►│take office│─►│fetch│─►│write│─►│lead│
//! ```
//!
//! Each `│step│` is one action; between any two anything else may happen. A message that is never
//! delivered is one that is lost. A batch whose sender has lost patience, or crashed, is still on
//! its way and may arrive at any later time, once its sender has asked again, too; so may an
//! acquisition, and the answer to it. A replica that crashes keeps what is on its disk; rows that
//! it had accepted and was writing are gone. The disk may be full.
//!
//! The catalog's crash needs no action of its own: all that matters here is changed by one
//! transaction, so a crash before it is a batch that was lost and one after it an answer that was.
//!
//! Front-ends are what they might be at worst: any replica is nominated at any time, to end the
//! present epoch or the one before; any replica is asked.
//!
//! # What is not
//!
//! Leases (`leases` has them; here a purchase is told to wait at any time), the selection's
//! reasons, foreign and damaged logs, the rows' way from peer to peer (they are the journal's,
//! too), the bounds of queues, slow followers (they are lost, rather).
//!
//! # Rules that nothing here rests on
//!
//! That a nominee fetches what it misses before it sells: a batch's answer carries the rows from
//! the leader's position on, so nothing is lost if it does not (a run shows it); the rule is there
//! so that nobody waits at a leader that is far behind. That an acquisition names the epoch that it
//! ends keeps front-ends from duels; each epoch has one leader without it.

mod catalog;
mod replicas;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use stateright::{Model, Property};
use toystore::catalog::stock::{Directory, Recorded, Shelf, Stock};
use toystore::order::queue::Queue;
use toystore::order::replica::Replica;
use toystore::wire::lease::Version;
use toystore::wire::order::{Order, Position, Rows};
use toystore::wire::purchase::{CommitReply, CommitRequest, Decision, IdempotencyKey, Purchase};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::{
    Acquisition, AcquisitionReply, AppendReply, AppendRequest, Epoch, Leadership, ReplicaId,
};
use toystore::wire::toy::{Price, Toy};

use self::replicas::length_of;
use super::Sights;

const TOY: &str = "Tux";
const ONE_ANSWER: &str = "answers to the same purchase never differ";
const SOLD_ONCE: &str = "a purchase is sold at most once, and not after a refusal";
const DURABLE: &str = "an order is on the disks that it must be on when it is acknowledged";
const PREFIXES: &str = "logs are prefixes of the journal";
const FENCED: &str = "only the leader of the present epoch sells";
const FOUND: &str = "an order that exists is found";

/// A rule of the protocol that a run can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    EpochOfBatches,
    KeysAreLookedUp,
    RefusalsAreRecorded,
    OneTransaction,
    RetriesKeepTheirKey,
    DurableBeforeAcknowledgement,
    LiveFollowersBeforeAcknowledgement,
    GapsAreNoAcknowledgements,
    NomineesFetchFirst,
    AbsenceIsConfirmed,
}

/// The size of the world.
#[derive(Clone, Copy, Debug)]
struct Size {
    replicas: usize,
    stock: u64,
    clients: usize,
    left: Left,
}

/// What may happen so many times more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    /// Questions of each client.
    tries: u8,
    nominations: u8,
    crashes: u8,
    /// Batches whose sender loses its patience.
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
    directory: Directory,
    sights: Sights,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    stock: Stock,
    journal: Vec<Order>,
    decisions: BTreeMap<IdempotencyKey, Recorded>,
    members: Vec<Member>,
    clients: Vec<Client>,
    acquisitions: Vec<Acquiring>,
    /// Batches that nobody waits for any more, and that may arrive all the same.
    strays: Vec<CommitRequest>,
    left: Left,
    broken: Option<&'static str>,
}

/// A client's question: whose, and the how-manieth.
type Waiter = (usize, u8);

/// A replica's process, and its disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Member {
    replica: Replica,
    queue: Queue<Waiter>,
    /// All rows that were accepted; those up to `replica.durable()` are on disk.
    rows: Vec<Order>,
    selling: Option<(CommitRequest, Option<CommitReply>)>,
    /// What is on its way to each follower, and what the follower said.
    passing: BTreeMap<usize, (AppendRequest, Option<AppendReply>)>,
    /// Who has acknowledged something in this epoch and not been lost since.
    live: BTreeSet<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    tries: u8,
    answered: Option<Decision>,
}

/// An acquisition on its way, or its answer on the way back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Acquiring {
    request: Acquisition,
    answer: Option<AcquisitionReply>,
    /// Whether the nominee's process is still the one that asked.
    awaited: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Ask {
        client: usize,
        member: usize,
    },
    Sell(usize),
    /// A batch arrives at the catalog; or is told to wait.
    Decide(usize),
    TellToWait(usize),
    ArriveLate(usize),
    Doubt(usize),
    Settle(usize),
    Write(usize),
    DiskIsFull(usize),
    Fetch(usize),
    PassOn {
        leader: usize,
        follower: usize,
    },
    Take {
        leader: usize,
        follower: usize,
    },
    Note {
        leader: usize,
        follower: usize,
    },
    Lose {
        leader: usize,
        follower: usize,
    },
    Nominate {
        member: usize,
        seen: Epoch,
    },
    Acquire(usize),
    TakeOffice(usize),
    Lead(usize),
    Inform(usize),
    Crash(usize),
    Restock,
}

impl Purchases {
    fn new(size: Size, without: Option<Rule>) -> Self {
        let model = Self {
            without,
            size,
            base: toystore::clock::now(),
            directory: Directory::new(),
            sights: Sights::default(),
        };
        Self { directory: model.new_stock().directory(), ..model }
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

    fn purchase(&self, (client, attempt): Waiter) -> Purchase {
        let attempt = if self.keeps(Rule::RetriesKeepTheirKey) { 0 } else { attempt };
        Purchase {
            key: key(client, attempt),
            name: TOY.into(),
            quantity: Quantity::ONE,
            request_id: None,
        }
    }
}

/// Replicas are counted from 0 here.
fn id(member: usize) -> ReplicaId {
    ReplicaId(u32::try_from(member).expect("a small number"))
}

fn member_of(id: ReplicaId) -> usize {
    usize::try_from(id.0).expect("a small number")
}

fn key(client: usize, attempt: u8) -> IdempotencyKey {
    IdempotencyKey::from_random(client as u128 * 16 + u128::from(attempt))
}

fn end_of(orders: &[Order]) -> Position {
    orders.iter().fold(Position::START, Position::continued_by)
}

/// What there is from number `from` on.
fn rows_from(orders: &[Order], from: u64) -> Option<Rows> {
    let (before, rows) = orders.split_at_checked(usize::try_from(from).ok()?)?;
    Some(Rows { after: end_of(before), orders: rows.to_vec() })
}

impl Model for Purchases {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let members = (0..self.size.replicas).map(|member| Member::new(id(member), Vec::new()));
        let mut members: Vec<Member> = members.collect();
        for (member, one) in members.iter_mut().enumerate() {
            let leadership = self.first_leadership();
            one.replica.learn(leadership);
            if leadership.is_led_by(id(member)) {
                assert!(one.replica.acquired(leadership, 0));
                assert!(one.replica.try_to_lead((0..self.size.replicas).map(id)));
            }
        }
        vec![State {
            stock: self.new_stock(),
            journal: Vec::new(),
            decisions: BTreeMap::new(),
            members,
            clients: vec![
                Client { tries: self.size.left.tries, answered: None };
                self.size.clients
            ],
            acquisitions: Vec::new(),
            strays: Vec::new(),
            left: Left { tries: 0, ..self.size.left },
            broken: None,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let left = &state.left;
        for (client, one) in state.clients.iter().enumerate().filter(|(_, one)| one.tries > 0) {
            // Clients are alike: they begin in turn.
            let begun = one.tries < self.size.left.tries;
            if begun || state.clients[..client].iter().all(|one| one.tries < self.size.left.tries) {
                let chosen = (0..state.members.len())
                    .filter(|member| state.members[*member].replica.is_chosen());
                steps.extend(chosen.map(|member| Step::Ask { client, member }));
            }
        }
        for (member, one) in state.members.iter().enumerate() {
            self.actions_of(state, member, one, steps);
            if left.nominations > 0 {
                let epoch = state.stock.standing().leadership.epoch;
                steps.push(Step::Nominate { member, seen: epoch });
                steps.push(Step::Nominate { member, seen: Epoch(epoch.0 - 1) });
            }
            if left.crashes > 0 {
                steps.push(Step::Crash(member));
            }
        }
        steps.extend((0..state.strays.len()).map(Step::ArriveLate));
        for (place, acquiring) in state.acquisitions.iter().enumerate() {
            let answered = acquiring.answer.is_some();
            steps.push(if answered { Step::TakeOffice(place) } else { Step::Acquire(place) });
        }
        if left.restocks > 0 && !state.stock.plan_restock(|_| true).is_empty() {
            steps.push(Step::Restock);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Ask { client, member } => self.ask(&mut state, client, member),
            Step::Sell(member) => self.sell(&mut state, member),
            Step::Decide(member) => {
                let (request, _) = state.members[member].selling.clone()?;
                let answer = self.decide(&mut state, &request, true);
                state.members[member].selling = Some((request, Some(answer)));
            }
            Step::TellToWait(member) => {
                state.left.waits -= 1;
                let (request, _) = state.members[member].selling.clone()?;
                let answer = self.decide(&mut state, &request, false);
                state.members[member].selling = Some((request, Some(answer)));
            }
            Step::ArriveLate(place) => {
                let request = state.strays.remove(place);
                self.decide(&mut state, &request, true);
            }
            Step::Doubt(member) => self.doubt(&mut state, member),
            Step::Settle(member) => self.settle(&mut state, member),
            Step::Write(member) => self.write(&mut state, member),
            Step::DiskIsFull(member) => {
                state.left.full_disks -= 1;
                let one = &mut state.members[member];
                one.replica.not_written();
                one.rows.truncate(length_of(one.replica.durable()));
            }
            Step::Fetch(member) => self.fetch(&mut state, member),
            Step::PassOn { leader, follower } => self.pass_on(&mut state, leader, follower),
            Step::Take { leader, follower } => self.take_append(&mut state, leader, follower),
            Step::Note { leader, follower } => self.note(&mut state, leader, follower),
            Step::Lose { leader, follower } => self.lose(&mut state, leader, follower),
            Step::Nominate { member, seen } => Self::nominate(&mut state, member, seen),
            Step::Acquire(place) => Self::acquire(&mut state, place),
            Step::TakeOffice(place) => self.take_office(&mut state, place),
            Step::Lead(member) => self.lead(&mut state, member),
            Step::Inform(member) => {
                let standing = state.stock.standing();
                state.members[member].replica.heard_of(standing.journal.length);
                self.learn(&mut state, member, standing.leadership);
            }
            Step::Crash(member) => self.crash(&mut state, member),
            Step::Restock => {
                state.left.restocks -= 1;
                let change = state.stock.plan_restock(|_| true);
                state.stock.apply(&self.directory, &change);
                if state.clients.iter().any(|one| one.answered == Some(Decision::OutOfStock)) {
                    self.sights.note("a restock after a refusal");
                }
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_ANSWER, |_, state: &State| state.broken != Some(ONE_ANSWER)),
            Property::always(DURABLE, |_, state: &State| state.broken != Some(DURABLE)),
            Property::always(FENCED, |_, state: &State| state.broken != Some(FENCED)),
            Property::always(SOLD_ONCE, |model: &Self, state: &State| {
                let granted = state.decisions.values().filter(|one| one.number.is_some()).count();
                let sold = |client: usize| {
                    let keys = (0..model.size.left.tries).map(|attempt| key(client, attempt));
                    let granted = keys.filter(|key| {
                        state.decisions.get(key).is_some_and(|one| one.number.is_some())
                    });
                    let granted = granted.count();
                    let refused = state.clients[client].answered == Some(Decision::OutOfStock);
                    granted <= 1 && !(refused && granted > 0)
                };
                let journal = end_of(&state.journal);
                granted == state.journal.len()
                    && journal == state.stock.standing().journal
                    && state.stock.shelves()[0].sold == journal.length
                    && (0..model.size.clients).all(sold)
            }),
            Property::always(PREFIXES, |_, state: &State| {
                state.members.iter().all(|one| state.journal.starts_with(&one.rows))
            }),
            Property::always(FOUND, |model: &Self, state: &State| {
                (0..state.journal.len()).all(|number| {
                    state.members.iter().all(|one| {
                        let own = &one.rows[..length_of(one.replica.durable())];
                        let asks = model.keeps(Rule::AbsenceIsConfirmed);
                        let journal = if asks { state.journal.get(number) } else { None };
                        own.get(number).or(journal) == Some(&state.journal[number])
                    })
                })
            }),
        ]
    }
}
