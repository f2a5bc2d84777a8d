//! What the steps of the model mean, for the [lessons](super::lessons).

use std::collections::BTreeMap;

use super::super::lessons::Told;
use super::super::lessons::scene::{Facts, Message, Scene, capital};
use super::*;

const CATALOG: &str = "catalog";
const STRANGER: &str = "person";
const FRONTENDS: [&str; 2] = ["frontend", "frontend-2"];
const REPLICAS: [&str; 3] = ["order-1", "order-2", "order-3"];

/// The message of a nomination that is under way, for each front-end.
#[derive(Default)]
pub(super) struct Memory([Option<Message>; 2]);

fn frontend(number: usize) -> String {
    format!("front-end {}", number + 1)
}

fn replica(id: ReplicaId) -> String {
    format!("replica {}", id.0)
}

fn node(id: ReplicaId) -> &'static str {
    REPLICAS[place(id)]
}

/// A leadership as a fact.
fn leadership(Leadership { epoch, leader }: Leadership) -> String {
    match leader {
        Some(leader) => format!("{} in epoch {}", replica(leader), number(epoch)),
        None => "none".into(),
    }
}

/// An epoch that was never given has as many digits as fit.
fn number(epoch: Epoch) -> String {
    if epoch < NEVER_GIVEN { epoch.0.to_string() } else { "9,007,199,…".into() }
}

impl Choosing {
    fn tell_check(&self, number: usize, before: &State, s: &mut Scene) {
        let (mut leads, mut follows, mut silent) = (Vec::new(), Vec::new(), Vec::new());
        for id in self.ids() {
            let call = s.send(FRONTENDS[number], node(id), "health check");
            // What it says, whether the front-end heeds it or not.
            let cut = before.cuts.contains(&(number, id));
            let Some(answers) = before.replicas[place(id)].as_ref().filter(|_| !cut) else {
                s.lose(&call);
                silent.push(replica(id));
                continue;
            };
            s.receive(&call);
            let is_leader = answers.leads().is_some();
            let name = if is_leader { "leads" } else { "follows" };
            s.deliver(node(id), FRONTENDS[number], name);
            (if is_leader { &mut leads } else { &mut follows }).push(replica(id));
        }
        s.say(format!("{} checks the health of all replicas.", capital(&frontend(number))));
        for (who, says) in
            [(leads, "that it leads"), (follows, "that it is ready to lead"), (silent, "nothing")]
        {
            for who in who {
                s.say(format!("{} answers {says}.", capital(&who)));
            }
        }
    }

    fn tell_arrival(memory: &mut Memory, number: usize, states: (&State, &State), s: &mut Scene) {
        let (before, after) = states;
        let Some((nominee, _)) = before.frontends[number].nominating else { return };
        let Some(call) = memory.0[number].take() else { return };
        let who = capital(&replica(nominee.id));
        let Some((_, outcome)) = after.frontends[number].nominating else { return };
        if outcome == Nominated::Unanswered {
            s.lose(&call);
            s.say(format!("The nomination does not reach {}.", replica(nominee.id)));
            return;
        }
        s.receive(&call);
        s.say(format!("{who} is nominated, and acquires the leadership at the catalog."));
        s.deliver(node(nominee.id), CATALOG, format!("acquire, ending epoch {}", nominee.seen));
        let record = after.stock.status().leadership;
        if before.stock.status().leadership == record {
            s.deliver(CATALOG, node(nominee.id), "not won");
            s.say("The epoch that it was to end is over already.");
        } else {
            s.local(CATALOG, format!("epoch {}", record.epoch));
            s.deliver(CATALOG, node(nominee.id), format!("won: epoch {}", record.epoch));
            s.say(format!("{who} leads in epoch {}.", record.epoch));
        }
        memory.0[number] = Some(s.send(node(nominee.id), FRONTENDS[number], "answer"));
    }

    fn tell_report(number: usize, states: (&State, &State), s: &mut Scene) {
        let record = states.1.stock.status().leadership;
        s.deliver(FRONTENDS[number], CATALOG, "who leads?");
        s.deliver(CATALOG, FRONTENDS[number], leadership(record));
        let who = capital(&frontend(number));
        s.say(format!("{who} asks the catalog, whose record says: {}.", leadership(record)));
        if states.0 == states.1 {
            s.say("It goes on as before.");
        }
    }

    fn tell_rumour(id: ReplicaId, states: (&State, &State), s: &mut Scene) {
        s.deliver(STRANGER, node(id), "a far newer epoch");
        s.say(format!(
            "A message from no role of this store tells {} of an epoch that was never given.",
            replica(id)
        ));
        let knows = |state: &State| state.replicas[place(id)].as_ref().map(Core::leadership);
        if knows(states.0) == knows(states.1) {
            s.deliver(node(id), CATALOG, "is there a newer epoch?");
            s.deliver(CATALOG, node(id), "no");
            s.say("It asks the catalog, which knows of none.");
        } else {
            s.say("It believes that.");
        }
    }

    fn tell_claim(states: (&State, &State), s: &mut Scene) {
        s.deliver(STRANGER, CATALOG, "acquire, ending a far newer epoch");
        s.say(
            "A message from no role of this store asks for the leadership. It names an epoch that \
             was never given.",
        );
        if states.0.stock == states.1.stock {
            s.local(CATALOG, "refuse");
            s.say("The catalog knows no such epoch, and changes nothing.");
        } else {
            s.local(CATALOG, "epoch 9,007,199,…");
            s.say("The catalog gives the next one.");
        }
    }
}

impl Told for Choosing {
    type Memory = Memory;

    const NODES: &'static [(&'static str, &'static str)] = &[
        (STRANGER, "a stranger"),
        (FRONTENDS[0], "front-end 1"),
        (FRONTENDS[1], "front-end 2"),
        (REPLICAS[0], "replica 1"),
        (REPLICAS[1], "replica 2"),
        (REPLICAS[2], "replica 3"),
        (CATALOG, "catalog"),
    ];

    fn tell(&self, memory: &mut Memory, step: &Step, states: (&State, &State), s: &mut Scene) {
        let (before, after) = states;
        match *step {
            Step::CheckAll(number) => self.tell_check(number, before, s),
            Step::Nominate(number) => {
                let Some((nominee, _)) = after.frontends[number].nominating else { return };
                let name = format!("lead, and end epoch {}", nominee.seen);
                memory.0[number] = Some(s.send(FRONTENDS[number], node(nominee.id), name));
                let (who, whom) = (capital(&frontend(number)), replica(nominee.id));
                s.say(format!("{who} nominates {whom}."));
            }
            Step::Arrive(number) => Self::tell_arrival(memory, number, states, s),
            Step::Hear(number) => {
                if let Some(answer) = memory.0[number].take() {
                    s.receive(&answer);
                }
                let leader = leadership(after.frontends[number].selection.leadership());
                let who = capital(&frontend(number));
                s.say(format!("{who} hears the outcome, and tells the replicas: {leader}."));
            }
            Step::Watch(id) => {
                s.deliver(node(id), CATALOG, "report");
                let record = leadership(after.stock.status().leadership);
                s.deliver(CATALOG, node(id), record.clone());
                s.say(format!("{} hears from the catalog: {record}.", capital(&replica(id))));
                if before == after {
                    s.say("It goes on as before.");
                }
            }
            Step::Crash(id) => {
                s.crash(node(id));
                s.say(format!("The process of {} is killed.", replica(id)));
            }
            Step::Restart(id) => {
                s.start(node(id));
                s.say(format!("{} is started again. It does not lead.", capital(&replica(id))));
            }
            Step::Cut(number, id) => {
                s.local(FRONTENDS[number], format!("link to {} cut", replica(id)));
                let (who, whom) = (frontend(number), replica(id));
                s.say(format!("The network between {who} and {whom} is cut."));
            }
            Step::LoseCheck(number, id) => {
                let call = s.send(FRONTENDS[number], node(id), "health check");
                s.lose(&call);
                let (who, whom) = (frontend(number), replica(id));
                s.say(format!("A health check of {who} at {whom} is lost."));
                if after.frontends[number].selection.leader()
                    == before.frontends[number].selection.leader()
                {
                    s.say("One miss is no proof: the next check will tell.");
                } else {
                    s.say(format!("{} takes {whom} for dead.", capital(&who)));
                }
            }
            Step::Restore => {
                s.local(CATALOG, "restore");
                s.say(
                    "A person restores the catalog's database from a backup. Its record of the \
                       leadership is the one of then: none.",
                );
            }
            Step::Report(number) => Self::tell_report(number, states, s),
            Step::Mislead(id) => Self::tell_rumour(id, states, s),
            Step::Acquire(_) => Self::tell_claim(states, s),
        }
    }

    fn facts(&self, _: &Memory, state: &State) -> Facts {
        let record = leadership(state.stock.status().leadership);
        let mut facts = Facts::from([(CATALOG, BTreeMap::from([("leader", record)]))]);
        for (node, one) in FRONTENDS.into_iter().zip(&state.frontends) {
            let uses = one.selection.leader();
            let uses = uses.map_or("none".into(), |_| leadership(one.selection.leadership()));
            facts.insert(node, BTreeMap::from([("leader", uses)]));
        }
        for (node, one) in REPLICAS.into_iter().zip(&state.replicas) {
            let says = match one {
                None => "down".into(),
                Some(replica) if replica.leads().is_some() => {
                    format!("itself in epoch {}", number(replica.leadership().epoch))
                }
                Some(replica) => leadership(replica.leadership()),
            };
            facts.insert(node, BTreeMap::from([("leader", says)]));
        }
        facts
    }

    fn are_alike(_: &Step, _: &Step) -> bool {
        false
    }

    fn is_at_rest(&self, state: &State) -> bool {
        let waits = |one: &FrontEnd| one.nominating.is_some();
        let record = state.stock.status().leadership;
        let is_cut = |leader| (0..2).any(|number| state.cuts.contains(&(number, leader)));
        !state.frontends.iter().any(waits)
            && agree(state, record)
            && !record.leader.is_some_and(is_cut)
    }

    fn goes_on(step: &Step) -> bool {
        matches!(
            step,
            Step::CheckAll(_)
                | Step::Nominate(_)
                | Step::Arrive(_)
                | Step::Hear(_)
                | Step::Watch(_)
                | Step::Report(_)
        )
    }
}
