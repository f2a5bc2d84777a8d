//! Terms: two catalogs share a database, and none of them shows what is older than was shown.
//!
//! # What is modelled
//!
//! The production's `Succession` and `Lease` of two catalogs, each with a clock of its own speed,
//! and a database: a primary with a standby that it waits for. The journal is a number, which each
//! commit raises by one. A front-end caches it under a lease of its own.
//!
//! ```text
//! catalog    ask─►│look│─►│decide│─claim─►…─►│load, rule│   commit, beat─►…─►│publish│   read
//! database   │apply on the primary│─►│replicate│─acknowledgement─►
//! front-end  ask─►│hold, read│─►   a hit
//! ```
//!
//! Each `│step│` is one action. Between any two of them anything else may happen: any other step; a
//! quarter of a second passes, so that a catalog may be paused for any time; a catalog gives up a
//! write, which may be made all the same; the wait for the standby is cancelled, so that a write is
//! seen that is not replicated; the standby becomes the primary, and what was not replicated is
//! gone, with all connections.
//!
//! # What is not
//!
//! Sessions, keys and batches within a term, which are the subject of the models of leases and
//! purchases. A catalog that leaves in order. More terms than two: the catalog that ruled first
//! claims none.

pub(super) mod lessons;
mod runs;
mod story;

use std::time::{Duration, Instant};

use stateright::{Model, Property};
use toystore::catalog::core::sessions::{LEASE, MARGIN};
use toystore::catalog::core::term::{
    Audience, Beat, CLAIM_MARGIN, ClaimDecision, Lease, Sighting, Succession,
};
use toystore::wire::term::{CatalogId, Term};

use super::Sights;

const TICK: Duration = Duration::from_millis(250);
const STALE: &str = "no read returns an older number than was returned before";
const LOST: &str = "what was shown or acknowledged is on the standby, too";

/// A rule of the protocol that a run can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A catalog answers within its lease only.
    LeaseOfReads,
    /// A claim waits for the margin, too.
    ClaimAfterMargin,
    /// A claim names the write that it follows: any other since refuses it.
    ClaimNamesTheBeat,
    /// A write names its term.
    FencedWrites,
    /// A new term changes nothing while a front-end may serve what it cached before.
    BarrierOfSessions,
    /// A term ends at any doubt, and no catalog connects again within it.
    EndAtDoubt,
}

/// The size of the world.
#[derive(Clone, Copy, Debug)]
struct Size {
    ticks: u32,
    /// The speeds of the two catalogs' clocks, in percent.
    speeds: [u32; 2],
    claims: u8,
    commits: u8,
    beats: u8,
    fills: u8,
    cancels: u8,
    failovers: u8,
}

struct Terms {
    without: Option<Rule>,
    size: Size,
    /// In a lesson, reads that change nothing are steps, too: those that a catalog refuses, and
    /// those of what was read before. And the second catalog is never paused, so it beats in time.
    for_lesson: bool,
    base: Instant,
    sights: Sights,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    tick: u32,
    /// What the primary shows …
    visible: Row,
    /// … and what the standby has, too.
    durable: Row,
    /// A write that is on the primary and waits for the standby.
    pending: Option<(Row, usize)>,
    /// Counts the primaries.
    primary: u8,
    catalogs: [Catalog; 2],
    writes: Vec<Write>,
    /// What the front-end has cached, under which term, and until when by an exact clock.
    cached: Option<(u8, Term, Instant)>,
    /// Whether the front-end ever had a session.
    has_session: bool,
    /// The highest number that a client has seen.
    shown: u8,
    left: Left,
    stale: bool,
}

/// The fenced row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    beat: Beat,
    number: u8,
}

/// How many times more each of these may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    claims: u8,
    commits: u8,
    beats: u8,
    fills: u8,
    cancels: u8,
    failovers: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Catalog {
    StandsBy(Succession, Option<Poll>),
    Rules(Ruling),
}

/// A look at the database: when it was asked for, and what the database answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Poll {
    asked: Instant,
    answer: Option<Beat>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ruling {
    term: Term,
    lease: Lease,
    number: u8,
    /// The primary that it is connected to.
    primary: u8,
    /// Nothing changes before.
    barrier: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Write {
    by: usize,
    kind: Kind,
    sent: Instant,
    primary: u8,
    outcome: Outcome,
    /// Whether the catalog still waits for it.
    is_awaited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Claim(Beat),
    /// A commit in this term, to this number.
    Commit(Term, u8),
    Beat(Term),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    Sent,
    Applied,
    Acknowledged,
    /// Applied on the primary, and the wait for the standby was cancelled.
    Unreplicated,
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Ask(usize),
    Look(usize),
    Decide(usize),
    Commit(usize),
    Beat(usize),
    Apply(usize),
    Replicate,
    Cancel,
    Failover,
    Answer(usize),
    GiveUp(usize),
    Read(usize),
    Fill(usize),
    Hit,
}

impl Terms {
    fn new(size: Size, without: Option<Rule>) -> Self {
        let (base, sights) = (toystore::clock::now(), Sights::default());
        Self { without, size, for_lesson: false, base, sights }
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// The time on a catalog's clock.
    fn now(&self, state: &State, catalog: usize) -> Instant {
        self.base + TICK * state.tick * self.size.speeds[catalog] / 100
    }

    fn exact(&self, state: &State) -> Instant {
        self.base + TICK * state.tick
    }

    fn send(&self, state: &mut State, by: usize, kind: Kind) {
        let primary = match &state.catalogs[by] {
            Catalog::Rules(ruling) => ruling.primary,
            Catalog::StandsBy(..) => state.primary,
        };
        let sent = self.now(state, by);
        let (outcome, is_awaited) = (Outcome::Sent, true);
        state.writes.push(Write { by, kind, sent, primary, outcome, is_awaited });
    }

    /// What a write makes of the row, if it is not refused.
    fn applied(&self, row: Row, kind: Kind) -> Option<Row> {
        let Row { beat, number } = row;
        let next = Beat { count: beat.count + 1, ..beat };
        let is_in = |term| beat.term == term || !self.keeps(Rule::FencedWrites);
        match kind {
            Kind::Claim(seen) => {
                let is_named = seen == beat || !self.keeps(Rule::ClaimNamesTheBeat);
                (is_named && seen.term == beat.term)
                    .then(|| Row { beat: Beat { term: beat.term.next(), ..next }, number })
            }
            Kind::Commit(term, to) => {
                (is_in(term) && to == number + 1).then_some(Row { beat: next, number: to })
            }
            Kind::Beat(term) => is_in(term).then_some(Row { beat: next, number }),
        }
    }

    fn decide(&self, state: &mut State, catalog: usize) -> Option<()> {
        let received = self.now(state, catalog);
        let Catalog::StandsBy(succession, poll) = &mut state.catalogs[catalog] else { return None };
        let Poll { asked, answer } = poll.take()?;
        let holder = Some(CatalogId(9));
        let sighting = Sighting { beat: answer?, holder, standbys: 1 };
        // Without the margin, the succession is told that it asked later.
        let early = if self.keeps(Rule::ClaimAfterMargin) { Duration::ZERO } else { CLAIM_MARGIN };
        let decision =
            succession.sighted(sighting, (asked + early, received), &Audience::default());
        if let ClaimDecision::Claim(beat) = decision
            && state.left.claims > 0
        {
            state.left.claims -= 1;
            self.send(state, catalog, Kind::Claim(beat));
        }
        Some(())
    }

    /// The catalog takes the answer to a write, or gives it up.
    fn take(&self, state: &mut State, write: Write) {
        let Write { by, kind, sent, .. } = write;
        let now = self.now(state, by);
        let is_acknowledged = write.outcome == Outcome::Acknowledged;
        if let (Kind::Claim(beat), true) = (kind, is_acknowledged) {
            if state.durable.beat.term != beat.term.next() || write.primary != state.primary {
                return;
            }
            self.sights.note("another catalog rules");
            let waits = state.has_session && self.keeps(Rule::BarrierOfSessions);
            state.catalogs[by] = Catalog::Rules(Ruling {
                term: beat.term.next(),
                lease: Lease::claimed(sent),
                number: state.visible.number,
                primary: write.primary,
                barrier: if waits { now + LEASE + MARGIN } else { now },
            });
            return;
        }
        let primary = state.primary;
        let Catalog::Rules(ruling) = &mut state.catalogs[by] else { return };
        let is_taken = is_acknowledged
            || (write.outcome == Outcome::Unreplicated && !self.keeps(Rule::EndAtDoubt));
        match kind {
            Kind::Commit(term, number) if is_taken && term == ruling.term => {
                ruling.number = number;
                ruling.lease.acknowledged(sent);
                state.shown = state.shown.max(number);
            }
            Kind::Beat(term) if is_taken && term == ruling.term => ruling.lease.acknowledged(sent),
            Kind::Claim(_) | Kind::Commit(..) | Kind::Beat(_) => {
                if !self.keeps(Rule::EndAtDoubt) && write.outcome != Outcome::Refused {
                    ruling.primary = primary;
                } else {
                    self.sights.note("a term ends at a doubt");
                    state.catalogs[by] = Catalog::StandsBy(Succession::new(1), None);
                }
            }
        }
    }

    /// Applies a write at the primary that it was sent to, if that still is one.
    fn apply(&self, state: &mut State, place: usize) {
        let write = state.writes[place];
        let row = self.applied(state.visible, write.kind);
        if write.primary != state.primary {
            // A connection to an earlier primary reaches nothing.
            state.writes.remove(place);
            if write.is_awaited {
                self.take(state, write);
            }
        } else if let Some(row) = row {
            state.writes[place].outcome = Outcome::Applied;
            state.pending = Some((row, place));
        } else {
            self.sights.note("a write is refused");
            state.writes[place].outcome = Outcome::Refused;
        }
    }

    fn rules(&self, state: &State, catalog: usize) -> Option<Ruling> {
        let Catalog::Rules(ruling) = &state.catalogs[catalog] else { return None };
        let rules = ruling.lease.rules(self.now(state, catalog));
        (rules || !self.keeps(Rule::LeaseOfReads)).then(|| ruling.clone())
    }

    /// Whether the second catalog rules, and would not after a tick.
    fn needs_beat(&self, state: &State) -> bool {
        let Catalog::Rules(ruling) = &state.catalogs[1] else { return false };
        !ruling.lease.rules(self.now(state, 1) + TICK)
    }

    fn show(state: &mut State, number: u8) {
        state.stale |= number < state.shown;
        state.shown = state.shown.max(number);
    }
}

impl Model for Terms {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let row = Row { beat: Beat { term: Term(1), count: 0 }, number: 0 };
        let first = Ruling {
            term: Term(1),
            lease: Lease::claimed(self.base),
            number: 0,
            primary: 0,
            barrier: self.base,
        };
        let Size { claims, commits, beats, fills, cancels, failovers, .. } = self.size;
        vec![State {
            tick: 0,
            visible: row,
            durable: row,
            pending: None,
            primary: 0,
            catalogs: [Catalog::Rules(first), Catalog::StandsBy(Succession::new(1), None)],
            writes: Vec::new(),
            cached: None,
            has_session: false,
            shown: 0,
            left: Left { claims, commits, beats, fills, cancels, failovers },
            stale: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.tick < self.size.ticks && !(self.for_lesson && self.needs_beat(state)) {
            steps.push(Step::Tick);
        }
        for catalog in 0..2 {
            let waits = state.writes.iter().any(|write| write.by == catalog && write.is_awaited);
            match &state.catalogs[catalog] {
                Catalog::StandsBy(_, None) if catalog == 1 && !waits && state.left.claims > 0 => {
                    steps.push(Step::Ask(catalog));
                }
                Catalog::StandsBy(_, Some(Poll { answer: None, .. })) => {
                    steps.push(Step::Look(catalog));
                }
                Catalog::StandsBy(_, Some(_)) => steps.push(Step::Decide(catalog)),
                Catalog::StandsBy(..) => {}
                Catalog::Rules(ruling) => {
                    let may_change = self.now(state, catalog) >= ruling.barrier;
                    if !waits && state.left.commits > 0 && may_change {
                        steps.push(Step::Commit(catalog));
                    }
                    if !waits && state.left.beats > 0 {
                        steps.push(Step::Beat(catalog));
                    }
                }
            }
            if self.for_lesson && matches!(state.catalogs[catalog], Catalog::Rules(_)) {
                steps.push(Step::Read(catalog));
            }
            if let Some(ruling) = self.rules(state, catalog) {
                if !self.for_lesson && ruling.number != state.shown {
                    steps.push(Step::Read(catalog));
                }
                if state.left.fills > 0 && !waits {
                    steps.push(Step::Fill(catalog));
                }
            }
        }
        for (place, write) in state.writes.iter().enumerate() {
            match write.outcome {
                Outcome::Sent if state.pending.is_none() => steps.push(Step::Apply(place)),
                Outcome::Sent | Outcome::Applied => {}
                Outcome::Acknowledged | Outcome::Unreplicated | Outcome::Refused => {
                    steps.push(Step::Answer(place));
                }
            }
            // A catalog gives up only after some time.
            if write.is_awaited && write.sent < self.now(state, write.by) {
                steps.push(Step::GiveUp(place));
            }
        }
        if state.pending.is_some() {
            steps.push(Step::Replicate);
            if state.left.cancels > 0 {
                steps.push(Step::Cancel);
            }
        }
        if state.left.failovers > 0 {
            steps.push(Step::Failover);
        }
        if state.cached.is_some_and(|(_, _, end)| self.exact(state) < end) {
            steps.push(Step::Hit);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Tick => state.tick += 1,
            Step::Ask(catalog) => {
                let asked = self.now(&state, catalog);
                let Catalog::StandsBy(_, poll) = &mut state.catalogs[catalog] else { return None };
                *poll = Some(Poll { asked, answer: None });
            }
            Step::Look(catalog) => {
                let seen = state.visible.beat;
                let Catalog::StandsBy(_, Some(poll)) = &mut state.catalogs[catalog] else {
                    return None;
                };
                poll.answer = Some(seen);
            }
            Step::Decide(catalog) => self.decide(&mut state, catalog)?,
            Step::Commit(catalog) => {
                let Catalog::Rules(ruling) = &state.catalogs[catalog] else { return None };
                let kind = Kind::Commit(ruling.term, ruling.number + 1);
                // What this term has filled is dropped first.
                let is_own = |(_, term, _): &(u8, Term, Instant)| *term == ruling.term;
                let other = state.cached.filter(|cached| !is_own(cached));
                state.cached = other;
                state.left.commits -= 1;
                self.send(&mut state, catalog, kind);
            }
            Step::Beat(catalog) => {
                let Catalog::Rules(ruling) = &state.catalogs[catalog] else { return None };
                let kind = Kind::Beat(ruling.term);
                state.left.beats -= 1;
                self.send(&mut state, catalog, kind);
            }
            Step::Apply(place) => self.apply(&mut state, place),
            Step::Replicate => {
                let (row, place) = state.pending.take()?;
                (state.visible, state.durable) = (row, row);
                state.writes[place].outcome = Outcome::Acknowledged;
            }
            Step::Cancel => {
                let (row, place) = state.pending.take()?;
                state.left.cancels -= 1;
                state.visible = row;
                state.writes[place].outcome = Outcome::Unreplicated;
            }
            Step::Failover => {
                self.sights.note("the primary changes");
                state.left.failovers -= 1;
                state.primary += 1;
                state.visible = state.durable;
                if let Some((_, place)) = state.pending.take() {
                    state.writes[place].outcome = Outcome::Sent;
                }
            }
            Step::Answer(place) => {
                let write = state.writes.remove(place);
                if let Some((_, pending)) = &mut state.pending
                    && *pending > place
                {
                    *pending -= 1;
                }
                if write.is_awaited {
                    self.take(&mut state, write);
                }
            }
            Step::GiveUp(place) => {
                state.writes[place].is_awaited = false;
                let write = Write { outcome: Outcome::Sent, ..state.writes[place] };
                self.take(&mut state, write);
            }
            Step::Read(catalog) => {
                let Some(ruling) = self.rules(&state, catalog) else {
                    return self.for_lesson.then_some(state);
                };
                self.sights.note("a read is answered from memory");
                Self::show(&mut state, ruling.number);
            }
            Step::Fill(catalog) => {
                let ruling = self.rules(&state, catalog)?;
                state.left.fills -= 1;
                state.has_session = true;
                state.cached = Some((ruling.number, ruling.term, self.exact(&state) + LEASE));
                Self::show(&mut state, ruling.number);
            }
            Step::Hit => {
                let (number, _, _) = state.cached?;
                self.sights.note("a hit");
                Self::show(&mut state, number);
            }
        }
        (state != *last || self.for_lesson).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(STALE, |_, state: &State| !state.stale),
            Property::always(LOST, |_, state: &State| state.shown <= state.durable.number),
        ]
    }
}
