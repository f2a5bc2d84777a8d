//! The lessons about journals that went back in time.

use super::super::lessons::{Asked, Lesson, Text, Topic};
use super::*;

const HISTORY: &str = "src/catalog/core/history.rs";

const MARKER: Text = Text {
    id: "marker-tells",
    topic: Topic::History,
    title: "How does a catalog know that it went back in time?",
    rule: "A file beside the database holds a token that the database holds, too, drawn anew at \
           each start. If the two disagree, the database was restored, copied or exchanged.",
    wrong: "The catalog's database is restored from a backup. It starts as if nothing had \
            happened and gives number 0 away once more; order 0 of purchase A, which was \
            acknowledged, is lost.",
    why: "A restored database is valid and looks like any other. Only something outside of it can \
          tell that it is older than it should be.",
    question: "The journal was restored from before order 0. Now purchase B arrives. What does \
               the catalog do?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "It sells B as order 0",
        "It refuses: it has not heard every replica",
        "It sells B as order 1",
    ],
    broken: "Two clients were told that their purchase is order 0.",
    instead: "The marker does not agree with the restored database. The catalog sells nothing \
              before it has heard every replica.",
    code: &[("src/catalog/journal/marker.rs", "Marker"), (HISTORY, "in_doubt")],
};

const ALL: Text = Text {
    id: "all-are-heard",
    topic: Topic::History,
    title: "The replica that is away may hold the proof",
    rule: "A journal that is in doubt waits for every replica, also for one that is down.",
    wrong: "After the restore the catalog hears the replicas that are up, which have nothing. The \
            one that has order 0 is down. Number 0 is given away once more.",
    why: "An order may be on one replica only, the leader that acknowledged it. So no number of \
          other replicas can show that nothing is missing.",
    question: "Replica 1, which has order 0, is down. The catalog was restored and has asked the \
               others. Purchase B arrives. What does the catalog do?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "It sells B as order 0",
        "It refuses: it waits for replica 1, too",
        "It sells B as order 1",
    ],
    broken: "Two clients were told that their purchase is order 0.",
    instead: "Replica 1 is down and was not heard: the catalog sells nothing before it was.",
    code: &[(HISTORY, "in_doubt"), (HISTORY, "may_sell")],
};

const EVIDENCE: Text = Text {
    id: "evidence-stops",
    topic: Topic::History,
    title: "A longer log stops all sales",
    rule: "A replica whose log is longer than the journal, or different, proves that the journal \
           went back. All sales stop until a person acts.",
    wrong: "The catalog hears from replica 1 that it has an order which the journal lacks, and \
            goes on. Number 0 is given away once more.",
    why: "A log holds nothing that was not in the journal first. A longer log cannot be explained \
          otherwise, so selling on can only make it worse; the replica keeps its log, and with it \
          the orders can be brought back.",
    question: "Replica 1 has reported one order; the journal has none. Purchase B arrives. What \
               does the catalog do?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "It sells B as order 0",
        "It refuses until a person acts",
        "It takes the order from replica 1",
    ],
    broken: "Two clients were told that their purchase is order 0.",
    instead: "The log of replica 1 contradicts the journal: sales stop.",
    code: &[(HISTORY, "hear"), (HISTORY, "may_sell")],
};

const LEADERS: Text = Text {
    id: "leaders-are-heard",
    topic: Topic::History,
    title: "A batch says how long its leader's log is",
    rule: "Each batch names the position of its leader's log, and the catalog compares that with \
           the journal before it sells.",
    wrong: "A machine is set back as a whole, marker included, so the catalog suspects nothing. \
            The leader's own log shows that order 0 was sold already, and nothing is asked of it.",
    why: "The leader sells, so its log is the one that the next order has to continue. Its \
          position comes with each batch and costs nothing; it is the last line of defence where \
          no marker can help.",
    question: "The leader's log has order 0, and the journal is empty. The leader sends a batch. \
               What does the catalog do?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "It sells B as order 0",
        "It refuses: that log is longer than the journal",
        "It sells B as order 1",
    ],
    broken: "The catalog sold to a leader whose log it contradicts: order 0 exists twice.",
    instead: "The batch says that the leader's log has one order, and the journal has none: sales \
              stop.",
    code: &[(HISTORY, "hear"), ("src/catalog/core/batch.rs", "plan_batch")],
};

/// The rules, in the order in which they are best read, each in a world that is just large enough.
fn rules() -> Vec<(Text, Rule, Left, &'static str)> {
    let restored = Left { sales: 2, backups: 0, restores: 1, rollbacks: 0, starts: 1, outages: 2 };
    let rolled_back = Left { restores: 0, rollbacks: 1, outages: 0, ..restored };
    vec![
        (MARKER, Rule::MarkersTell, restored, ONCE),
        (ALL, Rule::AllAreHeard, restored, ONCE),
        (EVIDENCE, Rule::EvidenceStops, restored, ONCE),
        (LEADERS, Rule::LeadersAreHeard, rolled_back, HELD),
    ]
}

pub(in super::super) fn texts() -> Vec<Text> {
    rules().into_iter().map(|(text, ..)| text).collect()
}

#[test]
fn lessons_are_what_the_model_shows() {
    for (text, rule, left, property) in rules() {
        let lesson = Lesson {
            text,
            without: Histories::new(left, Some(rule)),
            with: Histories::new(left, None),
            property,
            // Replica 1 sells first.
            may: |state, step| {
                !matches!(step, Step::Sell { leader: 1 | 2, .. })
                    || !state.journal.is_empty()
                    || !state.acknowledged.is_empty()
            },
        };
        lesson.check("histories");
    }
}
