//! What the steps of the model mean, for the [lessons](super::lessons).

use std::collections::BTreeMap;

use toystore::catalog::core::history::Stopped;

use super::super::lessons::Told;
use super::super::lessons::scene::{Facts, Scene, capital};
use super::*;

const CATALOG: &str = "catalog";
const CLIENT: &str = "client";
const NODES: [&str; REPLICAS] = ["order-1", "order-2", "order-3"];

fn person(replica: usize) -> String {
    format!("replica {}", replica + 1)
}

fn count(orders: usize) -> String {
    match orders {
        0 => "no order".into(),
        1 => "one order".into(),
        _ => format!("{orders} orders"),
    }
}

/// A purchase, by its letter.
fn letter(label: Label) -> char {
    char::from(b'A' + label)
}

fn orders(journal: &[Label]) -> String {
    if journal.is_empty() {
        return "empty".into();
    }
    let one = |(number, label): (usize, &Label)| format!("order {number}: {}", letter(*label));
    journal.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
}

/// What keeps the catalog from selling, in short.
fn reason(history: Option<&History>) -> String {
    match history.map(History::may_sell) {
        None => "it is down".into(),
        Some(Ok(())) => "yes".into(),
        Some(Err(Stopped::Contradicted { replica, .. })) => {
            format!("no: replica {} has more", replica.0)
        }
        Some(Err(Stopped::Suspected(replica))) => {
            format!("no: replica {} is said to have more", replica.0)
        }
        Some(Err(Stopped::Unheard(replicas))) => {
            let names: Vec<String> = replicas.iter().map(|id| id.0.to_string()).collect();
            format!("no: not heard from {}", names.join(", "))
        }
        Some(Err(Stopped::CannotWrite(_))) => "no: it cannot write".into(),
    }
}

impl Histories {
    fn tell_sell(states: (&State, &State), at: (usize, [bool; REPLICAS]), s: &mut Scene) {
        let (before, after) = states;
        let (leader, followers) = at;
        let (node, who) = (NODES[leader], person(leader));
        let purchase = letter(before.next);
        s.deliver(CLIENT, node, format!("buy, {purchase}"));
        let length = before.replicas[leader].log.len();
        s.deliver(node, CATALOG, format!("batch {purchase}; log: {length}"));
        s.say(format!(
            "A client sends purchase {purchase} to {who}, which leads and sends the catalog a \
             batch. Its log has {}.",
            count(length)
        ));
        if after.journal.len() == before.journal.len() {
            s.local(CATALOG, "refuse");
            s.deliver(CATALOG, node, "refused");
            s.deliver(node, CLIENT, "503");
            s.say("The catalog does not sell, and says why. The client is told: 503.");
            return;
        }
        let number = before.journal.len();
        s.local(CATALOG, format!("commit order {number}"));
        s.deliver(CATALOG, node, format!("order {number}"));
        s.say(format!("The catalog commits it as order {number}."));
        if after.replicas[leader].log == before.replicas[leader].log {
            s.say(format!("{} has an order {number} already, and takes none.", capital(&who)));
            return;
        }
        for (follower, takes) in followers.into_iter().enumerate() {
            if takes && after.replicas[follower].log != before.replicas[follower].log {
                s.deliver(node, NODES[follower], format!("append order {number}"));
                s.say(format!("{} has it, too.", capital(&person(follower))));
            }
        }
        s.deliver(node, CLIENT, format!("order {number}"));
        s.say(format!("The client is told: {purchase} is order {number}."));
    }

    fn tell_report(states: (&State, &State), replica: usize, s: &mut Scene) {
        let (before, after) = states;
        let length = before.replicas[replica].log.len();
        s.deliver(NODES[replica], CATALOG, format!("my log has {length}"));
        let log = count(length);
        s.say(format!("{} reports that its log has {log}.", capital(&person(replica))));
        if length > after.journal.len() {
            s.say(format!("The journal has {}.", count(after.journal.len())));
        }
        let (old, new) = (reason(before.history.as_ref()), reason(after.history.as_ref()));
        if old != new {
            s.local(CATALOG, format!("sells: {new}"));
        }
    }

    fn tell_start(&self, after: &State, s: &mut Scene) {
        s.start(CATALOG);
        s.say("The catalog starts.");
        s.say(match reason(after.history.as_ref()).as_str() {
            "yes" if after.in_doubt && !self.keeps(Rule::MarkersTell) => {
                "It does not look whether its database is the one that it left."
            }
            "yes" if after.in_doubt => "It waits for no replica that is down.",
            "yes" => "Its marker agrees with its database, so it sells at once.",
            _ => {
                "Its marker does not agree with its database: it sells nothing before it has heard \
                 every replica."
            }
        });
    }
}

impl Told for Histories {
    type Memory = ();

    const NODES: &'static [(&'static str, &'static str)] = &[
        (CLIENT, "client"),
        (NODES[0], "replica 1"),
        (NODES[1], "replica 2"),
        (NODES[2], "replica 3"),
        (CATALOG, "catalog"),
    ];

    fn tell(&self, (): &mut (), step: &Step, states: (&State, &State), s: &mut Scene) {
        let after = states.1;
        match *step {
            Step::Sell { leader, followers } => Self::tell_sell(states, (leader, followers), s),
            Step::Report(replica) => Self::tell_report(states, replica, s),
            Step::StopCatalog => {
                s.local(CATALOG, "stop");
                s.say("The catalog stops.");
            }
            Step::StartCatalog => self.tell_start(after, s),
            Step::BackUp => {
                s.local(CATALOG, "back up");
                s.say("A person backs up the catalog's database.");
            }
            Step::Restore => {
                s.local(CATALOG, "restore");
                s.say(format!(
                    "A person restores its database from a backup. The journal is {}.",
                    orders(&after.journal)
                ));
            }
            Step::RollBack => {
                s.local(CATALOG, "roll back");
                s.say(format!(
                    "Its whole machine is set back to an earlier day, database and marker alike. \
                     The journal is {}.",
                    orders(&after.journal)
                ));
            }
            Step::StopReplica(replica) => {
                s.local(NODES[replica], "stop");
                s.say(format!("{} stops.", capital(&person(replica))));
            }
            Step::StartReplica(replica) => {
                s.start(NODES[replica]);
                s.say(format!("{} starts.", capital(&person(replica))));
            }
        }
    }

    fn facts(&self, (): &(), state: &State) -> Facts {
        let catalog = BTreeMap::from([
            ("journal", orders(&state.journal)),
            ("sells", reason(state.history.as_ref())),
        ]);
        let told: Vec<String> = state
            .acknowledged
            .iter()
            .map(|(number, label)| format!("{} is order {number}", letter(*label)))
            .collect();
        let mut facts = Facts::from([(CATALOG, catalog)]);
        if !told.is_empty() {
            facts.insert(CLIENT, BTreeMap::from([("was told", told.join("; "))]));
        }
        for (node, replica) in NODES.into_iter().zip(&state.replicas) {
            let log = orders(&replica.log);
            let log = if replica.is_up { log } else { format!("{log} (down)") };
            facts.insert(node, BTreeMap::from([("log", log)]));
        }
        facts
    }

    fn are_alike(_: &Step, _: &Step) -> bool {
        false
    }

    fn is_at_rest(&self, _: &State) -> bool {
        true
    }

    fn goes_on(_: &Step) -> bool {
        false
    }
}
