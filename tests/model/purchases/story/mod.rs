//! What the steps of the model mean, for the [lessons](super::lessons).

mod replicas;

use toystore::wire::purchase::{PurchaseReply, Verdict};

use super::super::lessons::Told;
use super::super::lessons::scene::{Facts, Message, Scene, capital};
use super::*;

const NO_ANSWER: &str = "nothing yet";
const CATALOG: &str = "catalog";
const FRONTEND: &str = "frontend";
const READER: &str = "reader";
const CLIENTS: [&str; 2] = ["client-1", "client-2"];
const REPLICAS: [&str; 3] = ["order-1", "order-2", "order-3"];

/// Which messages are under way.
#[derive(Default)]
pub(in super::super) struct Memory {
    /// Between a leader and the catalog: its batch, or the answer.
    selling: BTreeMap<usize, Message>,
    /// Batches that were given up, in the order of the model's.
    strays: Vec<(usize, Message)>,
    /// Between a leader and a follower: rows, or the answer.
    rows: BTreeMap<(usize, usize), Message>,
    stray_rows: Vec<(usize, Message)>,
    /// Answers to acquisitions, in the order of the model's.
    acquisitions: Vec<Message>,
    query: Option<Message>,
    told: BTreeMap<&'static str, String>,
}

/// A replica, by its name for people. The model counts from 0.
fn person(member: usize) -> String {
    format!("replica {}", member + 1)
}

fn client(number: usize) -> String {
    format!("client {}", number + 1)
}

fn epoch_of(leadership: Leadership) -> String {
    match leadership.leader {
        Some(leader) => format!("epoch {}: {}", leadership.epoch.0, person(member_of(leader))),
        None => format!("epoch {}: no leader", leadership.epoch.0),
    }
}

fn orders(first: u64, count: usize) -> String {
    match count {
        0 => "nothing new".into(),
        1 => format!("order {first}"),
        _ => format!("orders {first} to {}", first + count as u64 - 1),
    }
}

fn decided(decision: Decision) -> String {
    match decision {
        Decision::Granted(number) => format!("order {}", number.0),
        Decision::OutOfStock => "not enough stock".into(),
        Decision::KeyReused => "this key is another purchase's".into(),
        Decision::UnknownToy | Decision::OtherCatalog => unreachable!("not in this model"),
    }
}

impl Purchases {
    /// The name of a key: the client's letter, and a number if it draws one for each try.
    fn key_name(&self, key: &IdempotencyKey) -> String {
        let of = |keys: &Vec<IdempotencyKey>| keys.iter().position(|known| known == key);
        let found =
            self.keys.iter().zip(["a", "b"]).find_map(|(keys, name)| Some((name, of(keys)?)));
        let (name, attempt) = found.expect("a client's key");
        if attempt == 0 { name.into() } else { format!("{name}{}", attempt + 1) }
    }

    fn batch_name(&self, request: &CommitRequest) -> String {
        let one = |purchase: &Purchase| {
            format!("{} Tux, key {}", purchase.quantity.get(), self.key_name(&purchase.key))
        };
        let purchases: Vec<String> = request.purchases.iter().map(one).collect();
        format!("epoch {}: {}", request.epoch.0, purchases.join("; "))
    }

    /// The answers that replicas give in this step.
    fn tell_answers(&self, memory: &mut Memory, before: &State, step: Step, s: &mut Scene) {
        self.answers.lock().expect("nothing panics under it").clear();
        self.next_state(before, step);
        let answers = std::mem::take(&mut *self.answers.lock().expect("nothing panics under it"));
        for (member, (number, attempt), reply) in answers {
            let mut text = match reply {
                PurchaseReply::Decided(decision) => decided(decision),
                PurchaseReply::NotLeader(_) if !self.keeps(Rule::DeposedLeadersRedirectWaiters) => {
                    s.say(format!("It does not tell {}.", client(number)));
                    continue;
                }
                PurchaseReply::NotLeader(_) => "not the leader".into(),
            };
            if self.size.rises > 0 {
                text = format!("{text} (for {} Tux)", self.wanted((number, attempt)));
            }
            s.deliver(REPLICAS[member], CLIENTS[number], text.as_str());
            s.say(format!("{} tells {}: {text}.", capital(&person(member)), client(number)));
            memory.told.insert(CLIENTS[number], text);
        }
    }

    fn tell_ask(&self, memory: &mut Memory, before: &State, at: (usize, usize), s: &mut Scene) {
        let (number, member) = at;
        let attempt = before.clients[number].tries;
        let purchase = self.purchase((number, attempt));
        let (key, quantity) = (self.key_name(&purchase.key), purchase.quantity.get());
        s.deliver(CLIENTS[number], REPLICAS[member], format!("buy {quantity} Tux, key {key}"));
        let (who, to) = (capital(&client(number)), person(member));
        let has_no_answer = memory.told.get(CLIENTS[number]).is_some_and(|it| it == NO_ANSWER);
        s.say(if attempt == 0 {
            format!("{who} sends {to} a purchase of {quantity} Tux, with key {key}.")
        } else if purchase.key != self.keys[number][0] {
            format!("{who} has no answer, and tries again with a new key, {key}.")
        } else if has_no_answer && quantity == self.size.wants[number] {
            format!("{who} has no answer, and sends the purchase again, with key {key}.")
        } else {
            format!("{who} uses key {key} again, for a purchase of {quantity} Tux.")
        });
        memory.told.entry(CLIENTS[number]).or_insert_with(|| NO_ANSWER.into());
    }

    fn tell_sell(&self, memory: &mut Memory, after: &State, member: usize, s: &mut Scene) {
        let Some((request, _)) = &after.members[member].selling else { return };
        let name = self.batch_name(request);
        let keys: Vec<String> =
            request.purchases.iter().map(|one| self.key_name(&one.key)).collect();
        let what = if keys.len() == 1 { "key" } else { "keys" };
        s.say(format!(
            "{} sends the catalog a batch, in epoch {}: {what} {}.",
            capital(&person(member)),
            request.epoch.0,
            keys.join(" and ")
        ));
        memory.selling.insert(member, s.send(REPLICAS[member], CATALOG, name));
    }

    /// What the catalog does with a batch, and its answer.
    fn tell_decided(&self, states: (&State, &State), request: &CommitRequest, s: &mut Scene) {
        let (before, after) = states;
        // What is being written is not on disk, unless it is written in two steps.
        let end = |state: &State| state.disk.journal.len();
        let planned = after.writer.as_ref().map(|writing| &writing.disk);
        let disk =
            planned.filter(|_| self.keeps(Rule::DurableBeforeVisible)).unwrap_or(&after.disk);
        let new = end(after).max(disk.journal.len()) - end(before);
        let visible = after.stock.status().journal.length > end(after) as u64;
        let mut said = Vec::new();
        for purchase in &request.purchases {
            let key = self.key_name(&purchase.key);
            if let Some(known) = before.disk.decisions.get(&purchase.key)
                && self.keeps(Rule::KeysAreLookedUp)
            {
                let what = match known.number {
                    Some(number) => format!("order {}", number.0),
                    None => "refused".into(),
                };
                said.push(format!("It finds key {key} in its record: {what}."));
            }
        }
        if new > 0 {
            let first = end(before) as u64;
            let what = orders(first, new);
            s.local(CATALOG, format!("commit {what}"));
            said.push(format!(
                "It commits {what}: {} Tux left.",
                disk.stock.shelves()[0].toy.quantity
            ));
        } else if visible {
            s.local(CATALOG, "plan order 0");
            said.push("It shows order 0 to others before the transaction is on disk.".into());
        } else if disk.decisions.len() > before.disk.decisions.len() {
            s.local(CATALOG, "commit refusal");
            said.push("There is not enough stock; it records the refusal under the key.".into());
        } else if said.is_empty() {
            s.local(CATALOG, "decide");
        }
        for sentence in said {
            s.say(sentence);
        }
        if after.writer.is_some() && !self.keeps(Rule::OneTransaction) {
            s.say(
                "Stock and order are on disk; the key's decision follows in a second transaction.",
            );
        }
    }

    fn verdicts(reply: &CommitReply) -> String {
        match reply {
            CommitReply::Deposed(leadership) => {
                format!("refused: {}", epoch_of(*leadership))
            }
            CommitReply::Decided { verdicts, .. } => {
                let one = |verdict: &Verdict| match verdict {
                    Verdict::Decided(decision) => decided(*decision),
                    Verdict::Wait => "wait".into(),
                };
                verdicts.iter().map(one).collect::<Vec<_>>().join("; ")
            }
        }
    }

    fn tell_decide(
        &self,
        memory: &mut Memory,
        states: (&State, &State),
        member: usize,
        s: &mut Scene,
    ) {
        let (before, after) = states;
        let Some((request, _)) = &before.members[member].selling else { return };
        if let Some(batch) = memory.selling.remove(&member) {
            s.receive(&batch);
        }
        s.say(format!("The batch of {} reaches the catalog.", person(member)));
        self.tell_decided(states, request, s);
        if let Some((_, Some(reply))) = &after.members[member].selling {
            let text = Self::verdicts(reply);
            if let CommitReply::Deposed(leadership) = reply {
                s.say(format!(
                    "It refuses the batch: epoch {} has ended, {} leads in epoch {}.",
                    request.epoch.0,
                    leadership.leader.map(member_of).map(person).unwrap_or_default(),
                    leadership.epoch.0
                ));
            } else if text.contains("wait") {
                s.say("The toy is not clear yet: the purchase has to wait.");
            } else if text.contains("another") {
                s.say("The key belongs to a purchase of another quantity: it refuses.");
            }
            memory.selling.insert(member, s.send(CATALOG, REPLICAS[member], text));
        }
    }

    fn tell_late(
        &self,
        memory: &mut Memory,
        states: (&State, &State),
        place: usize,
        s: &mut Scene,
    ) {
        let request = states.0.strays[place].clone();
        let (member, batch) = memory.strays[place].clone();
        s.receive(&batch);
        s.say(format!("The batch that {} gave up reaches the catalog.", person(member)));
        self.tell_decided(states, &request, s);
    }

    fn tell_doubt(memory: &mut Memory, states: (&State, &State), member: usize, s: &mut Scene) {
        let (before, after) = states;
        let Some(message) = memory.selling.remove(&member) else { return };
        s.timer(REPLICAS[member], "no answer");
        if after.strays.len() > before.strays.len() {
            memory.strays.push((member, message));
        } else {
            s.lose(&message);
        }
        s.say(format!(
            "{} has no answer in time. It cannot know whether its batch was decided.",
            capital(&person(member))
        ));
    }

    fn tell_settle(memory: &mut Memory, states: (&State, &State), member: usize, s: &mut Scene) {
        let (before, after) = states;
        if let Some(answer) = memory.selling.remove(&member) {
            s.receive(&answer);
        }
        let Some((_, Some(reply))) = &before.members[member].selling else { return };
        let who = capital(&person(member));
        let text = Self::verdicts(reply);
        s.say(format!("{who} hears from the catalog: {text}."));
        if after.members[member].rows.len() > before.members[member].rows.len() {
            s.local(REPLICAS[member], "write to disk");
            s.say("It begins to write the order to its disk.");
        }
    }

    fn tell_write(states: (&State, &State), member: usize, s: &mut Scene) {
        let (before, after) = states;
        let (from, to) = (before.members[member].on_disk, after.members[member].on_disk);
        let what = orders(from as u64, to - from);
        s.local(REPLICAS[member], format!("{what} on disk"));
        let is = if to - from > 1 { "are" } else { "is" };
        s.say(format!("{} {is} on the disk of {}.", capital(&what), person(member)));
    }

    fn tell_fetch(states: (&State, &State), member: usize, s: &mut Scene) {
        let (before, after) = states;
        let (from, to) = (before.members[member].rows.len(), after.members[member].rows.len());
        let node = REPLICAS[member];
        s.deliver(node, CATALOG, format!("orders from {from} on?"));
        let what = orders(from as u64, to.saturating_sub(from));
        s.deliver(CATALOG, node, what.as_str());
        let who = capital(&person(member));
        s.say(if to < from {
            format!(
                "{who} asks for the orders that it lacks, finds that its log is foreign, and \
                     puts it aside."
            )
        } else {
            format!("{who} asks the catalog for the orders that it lacks: {what}.")
        });
        if after.members[member].on_disk > before.members[member].on_disk {
            s.local(node, format!("{what} on disk"));
        }
    }

    fn tell_query(&self, memory: &mut Memory, before: &State, at: (usize, usize), s: &mut Scene) {
        let (number, member) = at;
        let node = REPLICAS[member];
        s.deliver(READER, node, format!("order {number}?"));
        s.say(format!("A reader asks {} for order {number}.", person(member)));
        if before.members[member].disk().get(number).is_some() {
            s.deliver(node, READER, format!("order {number}"));
            s.say("It has the order, and answers.");
            memory.told.insert(READER, format!("order {number}"));
        } else if self.keeps(Rule::AbsenceIsConfirmed) {
            s.say("It does not have it, and asks the catalog.");
            memory.query = Some(s.send(node, CATALOG, format!("order {number}?")));
        } else {
            s.deliver(node, READER, "404: no such order");
            s.say("It does not have it, and answers: there is no such order.");
            memory.told.insert(READER, "404: no such order".into());
        }
    }

    fn tell_query_answer(memory: &mut Memory, before: &State, s: &mut Scene) {
        let Some(Query { number, .. }) = before.query else { return };
        if let Some(query) = memory.query.take() {
            s.receive(&query);
            let found = number < length_of(before.stock.status().journal);
            let text = if found { format!("order {number}") } else { "404: no such order".into() };
            s.deliver(CATALOG, READER, text.as_str());
            s.say(format!("The catalog answers, and the reader is told: {text}."));
            memory.told.insert(READER, text);
        }
    }

    fn tell_catalog_crash(memory: &mut Memory, states: (&State, &State), s: &mut Scene) {
        let (before, after) = states;
        s.crash(CATALOG);
        s.start(CATALOG);
        s.say("The catalog crashes and starts again: it knows what is on its disk, and no more.");
        for (member, one) in before.members.iter().enumerate() {
            if one.selling.is_some() && after.members[member].selling.is_none() {
                memory.selling.remove(&member);
                s.timer(REPLICAS[member], "connection closed");
                s.say(format!("{} has no answer to its batch.", capital(&person(member))));
            }
        }
        if before.writer.as_ref().is_some_and(|writing| writing.disk != before.disk) {
            s.say("What was being written is lost.");
        }
    }

    fn tell_finished(memory: &mut Memory, states: (&State, &State), s: &mut Scene) {
        let (before, after) = states;
        s.local(CATALOG, "publish");
        s.say(if before.disk == after.disk {
            "The catalog publishes what it has committed, and answers."
        } else {
            "The catalog's transaction is on disk."
        });
        for (member, one) in after.members.iter().enumerate() {
            let before = &before.members[member].selling;
            if let (Some((_, None)), Some((_, Some(reply)))) = (before, &one.selling) {
                let text = Self::verdicts(reply);
                memory.selling.insert(member, s.send(CATALOG, REPLICAS[member], text));
            }
        }
        Self::tell_acquisition_answers(memory, states, s);
    }

    fn tell_crash(memory: &mut Memory, states: (&State, &State), member: usize, s: &mut Scene) {
        let (before, after) = states;
        s.crash(REPLICAS[member]);
        s.start(REPLICAS[member]);
        if let Some(message) = memory.selling.remove(&member) {
            if after.strays.len() > before.strays.len() {
                memory.strays.push((member, message));
            } else {
                s.lose(&message);
            }
        }
        s.say(format!(
            "{} crashes and starts again: it knows what is on its disk, and no more.",
            capital(&person(member))
        ));
    }

    fn facts_of_catalog(&self, state: &State) -> BTreeMap<&'static str, String> {
        let disk = &state.disk;
        let journal: Vec<String> = disk
            .journal
            .iter()
            .map(|order| format!("{}: {} Tux", order.number.0, order.quantity.get()))
            .collect();
        let keys: Vec<String> = disk
            .decisions
            .iter()
            .map(|(key, decision)| {
                let decision =
                    decision.number.map_or("refused".into(), |it| format!("order {}", it.0));
                format!("{}: {decision}", self.key_name(key))
            })
            .collect();
        BTreeMap::from([
            ("stock", format!("Tux: {}", disk.stock.shelves()[0].toy.quantity)),
            ("journal", listed(&journal)),
            ("keys", listed(&keys)),
            ("leadership", epoch_of(disk.stock.status().leadership)),
        ])
    }

    fn facts_of_replica(state: &State, member: usize) -> BTreeMap<&'static str, String> {
        let one = &state.members[member];
        let foreign = [Self::foreign_order()];
        let log: Vec<String> = one
            .disk()
            .iter()
            .map(|order| {
                let of = if foreign.contains(order) { " (foreign)" } else { "" };
                format!("{}: {} Tux{of}", order.number.0, order.quantity.get())
            })
            .collect();
        let mut facts = BTreeMap::from([("disk", listed(&log))]);
        let leads = match (one.core.leads(), one.core.has_acquired()) {
            (Some(epoch), _) => format!("epoch {}", epoch.0),
            (None, true) => "activating".into(),
            (None, false) => "no".into(),
        };
        facts.insert("leads", leads);
        if one.is_writing() || one.rows.len() > one.on_disk {
            let (from, count) = (one.on_disk as u64, one.rows.len() - one.on_disk);
            facts.insert("is writing", orders(from, count));
        }
        if !one.live.is_empty() {
            let live: Vec<String> = one.live.iter().map(|member| person(*member)).collect();
            facts.insert("waits for", live.join(", "));
        }
        facts
    }
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { "empty".into() } else { items.join("; ") }
}

impl Told for Purchases {
    type Memory = Memory;

    const NODES: &'static [(&'static str, &'static str)] = &[
        (CLIENTS[0], "client 1"),
        (CLIENTS[1], "client 2"),
        (READER, "reader"),
        (FRONTEND, "front-end"),
        (REPLICAS[0], "replica 1"),
        (REPLICAS[1], "replica 2"),
        (REPLICAS[2], "replica 3"),
        (CATALOG, "catalog"),
    ];

    fn tell(&self, memory: &mut Memory, step: &Step, states: (&State, &State), s: &mut Scene) {
        let (before, after) = states;
        match *step {
            Step::Ask { client, member } => self.tell_ask(memory, before, (client, member), s),
            Step::Query { number, member } => self.tell_query(memory, before, (number, member), s),
            Step::AnswerQuery => Self::tell_query_answer(memory, before, s),
            Step::Sell(member) => self.tell_sell(memory, after, member, s),
            Step::Decide(member) | Step::TellToWait(member) => {
                self.tell_decide(memory, states, member, s);
            }
            Step::ArriveLate(place) => self.tell_late(memory, states, place, s),
            Step::Doubt(member) => Self::tell_doubt(memory, states, member, s),
            Step::Settle(member) => Self::tell_settle(memory, states, member, s),
            Step::Write(member) => Self::tell_write(states, member, s),
            Step::DiskIsFull(member) => {
                s.local(REPLICAS[member], "disk is full");
                s.say(format!("The disk of {} is full: the write fails.", person(member)));
            }
            Step::Fetch(member) => Self::tell_fetch(states, member, s),
            Step::Replicate { leader, follower } => {
                Self::tell_replicate(memory, after, (leader, follower), s);
            }
            Step::Take { leader, follower } => {
                Self::tell_take(memory, states, (leader, follower), s);
            }
            Step::TakeLate(place) => {
                let (follower, message) = memory.stray_rows[place].clone();
                s.receive(&message);
                s.say(format!("Rows that were given up reach {}.", person(follower)));
                Self::tell_taken(states, follower, s);
            }
            Step::Note { leader, follower } => {
                Self::tell_note(memory, states, (leader, follower), s);
            }
            Step::Lose { leader, follower } => {
                Self::tell_lose(memory, states, (leader, follower), s);
            }
            Step::Nominate { member, seen } => {
                Self::tell_nominate(memory, states, (member, seen), s);
            }
            Step::BecomeLeader(place) => Self::tell_chosen(memory, states, place, s),
            Step::Lead(member) => {
                s.local(REPLICAS[member], "leads");
                s.say(format!("{} sells from now on.", capital(&person(member))));
            }
            Step::Inform(member) => {
                let leadership = after.members[member].core.leadership();
                s.deliver(CATALOG, REPLICAS[member], epoch_of(leadership));
                s.say(format!("{} hears of {}.", capital(&person(member)), epoch_of(leadership)));
            }
            Step::Crash(member) => Self::tell_crash(memory, states, member, s),
            Step::CrashCatalog => Self::tell_catalog_crash(memory, states, s),
            Step::FinishWriting => Self::tell_finished(memory, states, s),
            Step::Restock => {
                s.local(CATALOG, "restock");
                let quantity = after.disk.stock.shelves()[0].toy.quantity;
                s.say(format!("The catalog restocks: {quantity} Tux left."));
            }
        }
        self.tell_answers(memory, before, *step, s);
    }

    fn facts(&self, memory: &Memory, state: &State) -> Facts {
        let mut facts = Facts::from([(CATALOG, self.facts_of_catalog(state))]);
        for (member, node) in REPLICAS.into_iter().enumerate().take(self.size.replicas) {
            facts.insert(node, Self::facts_of_replica(state, member));
        }
        for (node, told) in &memory.told {
            facts.insert(node, BTreeMap::from([("was told", told.clone())]));
        }
        facts
    }

    fn are_alike(one: &Step, other: &Step) -> bool {
        let nominee = |step: &Step| {
            let Step::Nominate { member, .. } = *step else { return None };
            Some(member)
        };
        nominee(one).is_some() && nominee(one) == nominee(other)
    }

    fn is_at_rest(&self, state: &State) -> bool {
        let rests = |one: &Member| {
            let leads = one.core.leads().is_some() || !one.core.has_acquired();
            one.waiting.is_empty() && one.selling.is_none() && !one.is_writing() && leads
        };
        state.members.iter().all(rests)
            && state.writer.is_none()
            && state.acquisitions.is_empty()
            && state.query.is_none()
    }

    fn goes_on(step: &Step) -> bool {
        let gives_up = matches!(step, Step::Lose { .. });
        (step.goes_on() && !gives_up) || *step == Step::AnswerQuery
    }
}
