//! What the steps of the model mean, for the [lessons](super::lessons).

use std::collections::BTreeMap;

use super::super::lessons::Told;
use super::super::lessons::scene::{Facts, Message, Scene, capital};
use super::*;

const READER: &str = "reader";
const BUYER: &str = "buyer";
const FRONTEND: &str = "frontend";
const CATALOGS: [&str; 2] = ["catalog-1", "catalog-2"];
const DATABASE: &str = "database";
const STANDBY: &str = "standby";
/// What is left of the toy before the first purchase.
const STOCK: u8 = 100;

/// Whether the kernel of its machine runs the first catalog.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kernel {
    #[default]
    Runs,
    Pauses,
    RunsAgain,
}

/// Which messages are under way, and what people were told.
#[derive(Default)]
pub(super) struct Memory {
    /// Catalog 2's look at the database.
    look: Option<Message>,
    /// Each write's request or answer, in the order of the state's writes.
    writes: Vec<Option<Message>>,
    /// The write that the standby is sent.
    copy: Option<Message>,
    read: Option<String>,
    bought: Option<&'static str>,
    first: Kernel,
}

impl Memory {
    /// A catalog does something: if it was paused, it is no more.
    fn wakes(&mut self, by: usize, s: &mut Scene) {
        if by == 0 && self.first == Kernel::Pauses {
            self.first = Kernel::RunsAgain;
            s.say("Catalog 1 goes on.");
        }
    }
}

fn name(catalog: usize) -> String {
    format!("catalog {}", catalog + 1)
}

fn left(number: u8) -> u8 {
    STOCK - number
}

/// A write as a message.
fn text(kind: Kind) -> String {
    match kind {
        Kind::Claim(beat) => format!("claim term {} at write {}", beat.term.next(), beat.count),
        Kind::Commit(term, number) => format!("Tux: {} left, in term {term}", left(number)),
        Kind::Beat(term) => format!("beat in term {term}"),
    }
}

/// A write in a sentence.
fn what(write: &Write) -> String {
    let kind = match write.kind {
        Kind::Claim(_) => "claim",
        Kind::Commit(..) => "order",
        Kind::Beat(_) => "beat",
    };
    format!("the {kind} of {}", name(write.by))
}

fn row(Beat { term, count }: Beat) -> String {
    format!("term {term}, write {count}")
}

impl Terms {
    fn tell_tick(&self, memory: &mut Memory, states: (&State, &State), s: &mut Scene) {
        let (before, after) = states;
        s.say("A quarter of a second passes.");
        for (catalog, node) in CATALOGS.into_iter().enumerate() {
            let rules = |state: &State| match &state.catalogs[catalog] {
                Catalog::Rules(ruling) => ruling.lease.rules(self.now(state, catalog)),
                Catalog::StandsBy(..) => false,
            };
            let has_write = before.writes.iter().any(|write| write.by == catalog);
            let is_first = matches!(&before.catalogs[0], Catalog::Rules(_)) && catalog == 0;
            let is_busy = has_write || before.left.fills > 0 || memory.first == Kernel::Pauses;
            if is_first && !is_busy && rules(before) {
                let again = if memory.first == Kernel::RunsAgain { " again" } else { "" };
                memory.first = Kernel::Pauses;
                s.say(format!("Catalog 1 is paused{again} by its machine, and sends no beat."));
            }
            if rules(before) && !rules(after) {
                s.timer(node, "lease is over");
                s.say(format!("The lease of {} is over.", name(catalog)));
            }
        }
        let is_cached =
            |state: &State| state.cached.is_some_and(|(_, _, end)| self.exact(state) < end);
        if is_cached(before) && !is_cached(after) {
            s.timer(FRONTEND, "lease is over");
            s.say("The front-end's lease is over, and it serves nothing from its cache.");
        }
        for (catalog, node) in CATALOGS.into_iter().enumerate() {
            let barrier = |state: &State| match &state.catalogs[catalog] {
                Catalog::Rules(ruling) => self.now(state, catalog) < ruling.barrier,
                Catalog::StandsBy(..) => false,
            };
            if barrier(before) && !barrier(after) {
                s.timer(node, "earlier sessions are over");
                s.say(format!("{} may change toys from now on.", capital(&name(catalog))));
            }
        }
        s.timer(DATABASE, "0.25 s");
    }

    fn tell_decision(memory: &mut Memory, states: (&State, &State), by: usize, s: &mut Scene) {
        let (before, after) = states;
        if let Some(answer) = memory.look.take() {
            s.receive(&answer);
        }
        let Catalog::StandsBy(succession, Some(poll)) = &before.catalogs[by] else { return };
        let Some(beat) = poll.answer else { return };
        let seen = row(beat);
        if let Some(write) = after.writes.get(before.writes.len()) {
            memory.writes.push(Some(s.send(CATALOGS[by], DATABASE, text(write.kind))));
            s.say(format!(
                "{} reads {seen}, as before: it takes the term for over, and claims the next one.",
                capital(&name(by))
            ));
        } else if *succession == Succession::new(1) {
            s.local(CATALOGS[by], "waits a lease and a margin");
            s.say(format!(
                "{} reads {seen}. It waits for a lease and a margin, 1 s, and looks again.",
                capital(&name(by))
            ));
        } else {
            s.local(CATALOGS[by], "waits");
            s.say(format!(
                "{} reads {seen}. It has not waited long enough to claim the next term.",
                capital(&name(by))
            ));
        }
    }

    fn tell_write(memory: &mut Memory, states: (&State, &State), by: usize, s: &mut Scene) {
        let (before, after) = states;
        let Some(write) = after.writes.last() else { return };
        let who = capital(&name(by));
        memory.wakes(by, s);
        match write.kind {
            Kind::Commit(term, _) => {
                memory.bought = Some("under way");
                s.deliver(BUYER, CATALOGS[by], "buy 1 Tux");
                s.say(format!("A purchase reaches {}.", name(by)));
                if before.cached.is_some() && after.cached.is_none() {
                    s.deliver(CATALOGS[by], FRONTEND, "drop Tux");
                    s.say("The front-end drops Tux from its cache.");
                }
                s.say(format!("{who} writes the order and the new stock, in term {term}."));
            }
            Kind::Beat(_) => {
                s.say(format!("{who} has nothing to write, and sends a beat: it still rules."));
            }
            Kind::Claim(_) => {}
        }
        memory.writes.push(Some(s.send(CATALOGS[by], DATABASE, text(write.kind))));
    }

    fn tell_applied(memory: &mut Memory, after: &State, place: usize, s: &mut Scene) {
        let Some(write) = after.writes.get(place) else { return };
        if let Some(message) = memory.writes[place].take() {
            s.receive(&message);
        }
        if write.outcome == Outcome::Refused {
            s.local(DATABASE, "refuse");
            let why = match write.kind {
                Kind::Claim(_) => "it names a write that is not the last one any more",
                Kind::Commit(..) | Kind::Beat(_) => "its term is not the present one",
            };
            s.say(format!("The database refuses {}: {why}.", what(write)));
            memory.writes[place] = Some(s.send(DATABASE, CATALOGS[write.by], "refused"));
        } else {
            s.local(DATABASE, "write");
            memory.copy = Some(s.send(DATABASE, STANDBY, text(write.kind)));
            s.say(format!(
                "The database writes {}. It shows that only once its standby has it, too.",
                what(write)
            ));
        }
    }

    fn tell_stored(memory: &mut Memory, states: (&State, &State), is_copied: bool, s: &mut Scene) {
        let (before, after) = states;
        let Some((_, place)) = before.pending else { return };
        if let Some(copy) = memory.copy.take() {
            if is_copied {
                s.receive(&copy);
                s.deliver(STANDBY, DATABASE, "stored");
                let what = what(&before.writes[place]);
                s.say(format!("The standby stores {what}. From now on the database shows it."));
            } else {
                s.lose(&copy);
                s.say(
                    "The standby does not answer, and the database stops waiting for it. It shows \
                     what it wrote, and warns that the standby may not have it.",
                );
            }
        }
        let name = if is_copied { "stored" } else { "stored here, not replicated" };
        let whom = CATALOGS[after.writes[place].by];
        memory.writes[place] = Some(s.send(DATABASE, whom, name));
    }

    fn tell_answer(&self, memory: &mut Memory, states: (&State, &State), at: usize, s: &mut Scene) {
        let (before, after) = states;
        let write = before.writes[at];
        if let Some(answer) = memory.writes.remove(at) {
            s.receive(&answer);
        }
        let who = capital(&name(write.by));
        let rules = |state: &State| matches!(state.catalogs[write.by], Catalog::Rules(_));
        match (write.kind, rules(before), rules(after)) {
            (Kind::Claim(beat), _, true) => {
                let term = beat.term.next();
                let stock = left(after.visible.number);
                s.local(CATALOGS[write.by], format!("rules term {term}"));
                s.say(format!("{who} rules in term {term}. It reads the stock: {stock} left."));
                if before.has_session && self.keeps(Rule::BarrierOfSessions) {
                    s.say("It changes nothing before the sessions of earlier terms are over.");
                }
            }
            (Kind::Claim(_), ..) => {
                s.say(format!("{who} goes on standing by."));
            }
            (Kind::Commit(_, number), _, true) => {
                memory.bought = Some("done");
                if write.outcome == Outcome::Unreplicated {
                    s.say(format!("{who} ignores the warning."));
                }
                s.deliver(CATALOGS[write.by], BUYER, "sold");
                let left = left(number);
                s.say(format!("{who} answers: the buyer has the order, and {left} are left."));
            }
            (Kind::Beat(_), _, true) => {
                s.say(format!("{who} rules for another 800 ms from when it sent the beat."));
            }
            (_, true, false) => {
                s.local(CATALOGS[write.by], "ends its term");
                s.say(format!("{who} ends its term and stands by; it answers nothing."));
                if matches!(write.kind, Kind::Commit(..)) {
                    memory.bought = Some("no answer");
                    s.say("The buyer has no answer yet, and will send the purchase again.");
                }
            }
            (_, false, false) => s.say(format!("{who} does not rule any more.")),
        }
    }

    fn tell_read(&self, memory: &mut Memory, before: &State, by: usize, s: &mut Scene) {
        s.deliver(READER, CATALOGS[by], "Tux?");
        let who = capital(&name(by));
        memory.wakes(by, s);
        s.say(format!("A reader asks {} for Tux.", name(by)));
        let answers = |catalog| self.rules(before, catalog);
        if let Some(ruling) = answers(by) {
            let told = format!("{} left", left(ruling.number));
            s.deliver(CATALOGS[by], READER, told.clone());
            s.say(format!("{who} answers from memory: {told}."));
            memory.read = Some(told);
        } else {
            s.deliver(CATALOGS[by], READER, "I do not rule");
            s.say(format!("{who} sees that its lease is over, and does not answer."));
            if let Some(ruling) = answers(1 - by) {
                let told = format!("{} left", left(ruling.number));
                s.deliver(READER, CATALOGS[1 - by], "Tux?");
                s.deliver(CATALOGS[1 - by], READER, told.clone());
                s.say(format!("{}, which rules, is asked: {told}.", capital(&name(1 - by))));
                memory.read = Some(told);
            }
        }
    }

    fn tell_fill(&self, memory: &mut Memory, before: &State, by: usize, s: &mut Scene) {
        let Some(ruling) = self.rules(before, by) else { return };
        let told = format!("{} left", left(ruling.number));
        s.deliver(READER, FRONTEND, "Tux?");
        s.deliver(FRONTEND, CATALOGS[by], "Tux?");
        s.deliver(CATALOGS[by], FRONTEND, told.clone());
        s.deliver(FRONTEND, READER, told.clone());
        s.say(format!(
            "A reader asks the front-end for Tux, and the front-end asks {}: {told}. It caches \
             that, under a lease of 1 s.",
            name(by)
        ));
        memory.read = Some(told);
    }

    fn facts_of_catalog(&self, state: &State, catalog: usize) -> BTreeMap<&'static str, String> {
        let mut facts = BTreeMap::new();
        if self.size.speeds[0] != self.size.speeds[1] {
            let passed = self.now(state, catalog) - self.base;
            facts.insert("clock", format!("{:.3} s", passed.as_secs_f64()));
        }
        match &state.catalogs[catalog] {
            Catalog::StandsBy(..) => facts.insert("duty", "stands by".into()),
            Catalog::Rules(ruling) => {
                let runs = ruling.lease.rules(self.now(state, catalog));
                facts.insert("shows", format!("Tux: {}", left(ruling.number)));
                facts.insert("lease", if runs { "runs" } else { "over" }.into());
                facts.insert("duty", format!("rules term {}", ruling.term))
            }
        };
        facts
    }
}

impl Told for Terms {
    type Memory = Memory;

    const NODES: &'static [(&'static str, &'static str)] = &[
        (BUYER, "buyer"),
        (READER, "reader"),
        (FRONTEND, "front-end"),
        (CATALOGS[0], "catalog 1"),
        (CATALOGS[1], "catalog 2"),
        (DATABASE, "database"),
        (STANDBY, "standby"),
    ];

    fn tell(&self, memory: &mut Memory, step: &Step, states: (&State, &State), s: &mut Scene) {
        let (before, after) = states;
        match *step {
            Step::Tick => self.tell_tick(memory, states, s),
            Step::Ask(by) => {
                memory.look = Some(s.send(CATALOGS[by], DATABASE, "who rules?"));
                s.say(format!("{} asks the database who rules.", capital(&name(by))));
            }
            Step::Look(by) => {
                if let Some(question) = memory.look.take() {
                    s.receive(&question);
                }
                let seen = row(before.visible.beat);
                s.say(format!("The database answers with its row: {seen}."));
                memory.look = Some(s.send(DATABASE, CATALOGS[by], seen));
            }
            Step::Decide(by) => Self::tell_decision(memory, states, by, s),
            Step::Commit(by) | Step::Beat(by) => Self::tell_write(memory, states, by, s),
            Step::Apply(place) => Self::tell_applied(memory, after, place, s),
            Step::Replicate => Self::tell_stored(memory, states, true, s),
            Step::Cancel => Self::tell_stored(memory, states, false, s),
            Step::Answer(place) => self.tell_answer(memory, states, place, s),
            Step::Read(by) => self.tell_read(memory, before, by, s),
            Step::Fill(by) => self.tell_fill(memory, before, by, s),
            Step::Hit => {
                let Some((number, ..)) = before.cached else { return };
                let told = format!("{} left", left(number));
                s.deliver(READER, FRONTEND, "Tux?");
                s.deliver(FRONTEND, READER, told.clone());
                s.say(format!(
                    "A reader asks the front-end, which answers from its cache: {told}."
                ));
                memory.read = Some(told);
            }
            Step::GiveUp(place) => {
                let by = before.writes[place].by;
                s.timer(CATALOGS[by], "gives up");
                s.say(format!("{} waits no longer for an answer.", capital(&name(by))));
            }
            Step::Failover => s.say("The standby becomes the primary."),
        }
    }

    fn facts(&self, memory: &Memory, state: &State) -> Facts {
        let stock = |row: Row| format!("Tux: {}", left(row.number));
        let mut facts = Facts::new();
        for (catalog, node) in CATALOGS.into_iter().enumerate() {
            facts.insert(node, self.facts_of_catalog(state, catalog));
        }
        let Row { beat, .. } = state.visible;
        facts.insert(
            DATABASE,
            BTreeMap::from([("stock", stock(state.visible)), ("row", row(beat))]),
        );
        facts.insert(STANDBY, BTreeMap::from([("stock", stock(state.durable))]));
        let cached = state.cached.filter(|(_, _, end)| self.exact(state) < *end);
        let cached =
            cached.map_or("nothing".into(), |(number, ..)| format!("Tux: {}", left(number)));
        facts.insert(FRONTEND, BTreeMap::from([("cache", cached)]));
        if let Some(told) = &memory.read {
            facts.insert(READER, BTreeMap::from([("was told", told.clone())]));
        }
        if let Some(bought) = memory.bought {
            facts.insert(BUYER, BTreeMap::from([("purchase", bought.to_owned())]));
        }
        facts
    }

    fn are_alike(_: &Step, _: &Step) -> bool {
        false
    }

    fn is_at_rest(&self, state: &State) -> bool {
        let rules = |catalog: &Catalog| matches!(catalog, Catalog::Rules(_));
        let asks = |catalog: &Catalog| matches!(catalog, Catalog::StandsBy(_, Some(_)));
        let is_sold = state.left.commits == 0;
        let may_claim = state.left.claims > 0 || rules(&state.catalogs[1]);
        state.writes.is_empty()
            && state.pending.is_none()
            && !state.catalogs.iter().any(asks)
            && state.catalogs.iter().any(rules)
            && (is_sold || !may_claim)
    }

    fn goes_on(step: &Step) -> bool {
        match step {
            Step::Tick
            | Step::Ask(_)
            | Step::Look(_)
            | Step::Decide(_)
            | Step::Apply(_)
            | Step::Replicate
            | Step::Answer(_) => true,
            // The first catalog is paused, or its term has ended.
            Step::Commit(by) | Step::Beat(by) => *by == 1,
            Step::Cancel
            | Step::Failover
            | Step::GiveUp(_)
            | Step::Read(_)
            | Step::Fill(_)
            | Step::Hit => false,
        }
    }
}
