//! The lessons about several catalogs: why one of them answers at a time.

use super::super::lessons::{Asked, Lesson, Text, Topic};
use super::runs::SMALL;
use super::*;

const TERM: &str = "src/catalog/core/term.rs";
const RULING: &str = "src/catalog/core/ruling.rs";
const RUNNING: &str = "src/catalog/running_term.rs";
const SESSIONS: &str = "src/catalog/core/sessions.rs";
const STATEMENTS: &str = "src/catalog/postgres/statements.rs";

const LEASE_OF_READS: Text = Text {
    id: "lease-of-reads",
    topic: Topic::Catalogs,
    title: "A catalog that wakes up in another's term",
    rule: "A catalog answers from memory only for 800 ms after it sent the last write that the \
           database acknowledged.",
    wrong: "Catalog 1 is paused for a second. Catalog 2 claims the next term and sells a Tux. Then \
            catalog 1 goes on, and answers a reader with what it remembers.",
    why: "A catalog that was paused cannot know what happened meanwhile, but it can look at its \
          clock. Catalog 2 waits for longer than the lease before it claims, so when it sells \
          anything, catalog 1 knows that it may not answer any more.",
    question: "Catalog 2 rules and has sold a Tux: the buyer was told so. Catalog 1 was paused \
               since before that, and now goes on. What does it tell a reader who asks for Tux?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left", "99 left", "That it does not rule"],
    broken: "The buyer had a Tux before this reader asked: the answer is older, the read is stale.",
    instead: "Catalog 1 looks at its clock. Its lease is over, so it says that it does not rule, \
              and the reader is answered by catalog 2.",
    code: &[(RULING, "ruling"), (TERM, "rules"), (TERM, "RULE_LEASE")],
};

const CLAIM_AFTER_MARGIN: Text = Text {
    id: "claim-after-margin",
    topic: Topic::Catalogs,
    title: "Two clocks that differ",
    rule: "A catalog that stands by waits for a margin of 200 ms on top of the lease of 800 ms \
           before it claims the next term.",
    wrong: "Catalog 1's clock is a tenth slow and catalog 2's a tenth fast. Catalog 2 has counted \
            800 ms and claims the next term, when catalog 1 has counted less than 700 ms and \
            still answers.",
    why: "Each catalog counts the lease on its own clock. The margin is a quarter of the lease, so \
          the one that waits is later than the one that rules, as long as their clocks' speeds \
          differ by no more than that.",
    question: "By the clock of catalog 2, which is fast, the lease of catalog 1 is over. Does \
               catalog 2 claim the next term?",
    asked: Asked::BeforeTheDivergence,
    choices: &["Yes, now", "No, 200 ms later", "No, it asks catalog 1 first"],
    broken: "The buyer had a Tux before this reader asked. \
             By its own clock, catalog 1 still rules.",
    instead: "Catalog 2 waits for the margin, too. By then catalog 1's lease is over, also on the \
              slow clock.",
    code: &[(TERM, "CLAIM_MARGIN"), (TERM, "sighted")],
};

const CLAIM_NAMES_THE_BEAT: Text = Text {
    id: "claim-names-the-beat",
    topic: Topic::Catalogs,
    title: "A beat that comes before the claim",
    rule: "A claim names the last write that its catalog has seen. The database refuses it if \
           there was another one since.",
    wrong: "Catalog 1 was paused, goes on, and sends a beat. The beat is stored just before \
            the claim of catalog 2. Catalog 1 rules for another 800 ms, and so does catalog 2.",
    why: "Catalog 2 saw that nothing was written for a second. That was true when it looked. The \
          claim is a compare-and-set on the number of the last write, so it holds only if that is \
          still true.",
    question: "Catalog 2 has sent its claim. A beat of catalog 1 is stored before the claim \
               arrives. What does the database do with the claim?",
    asked: Asked::BeforeTheDivergence,
    choices: &["It stores the claim", "It refuses the claim", "It undoes the beat"],
    broken: "The buyer had a Tux before this reader asked. Both catalogs have a lease.",
    instead: "The claim names a write that is not the last one any more. It is refused, and \
              catalog 1 goes on ruling.",
    code: &[(STATEMENTS, "CLAIM"), (TERM, "sighted")],
};

const FENCED_WRITES: Text = Text {
    id: "fenced-writes",
    topic: Topic::Catalogs,
    title: "A write from an earlier term",
    rule: "Every write names the term of its catalog. The database refuses it in any other term.",
    wrong: "Catalog 1's commit is on its way for more than a second. Meanwhile catalog 2 claims \
            the next term and reads the stock. Then the commit arrives and is stored, and catalog \
            2 does not know of it.",
    why: "No lease helps here, since a lease is about when a write is sent, and this one arrives \
          late. The term in the row does: after a claim, nothing that an earlier catalog sent \
          can be stored.",
    question: "Catalog 1 sent a commit long ago, in term 1. It arrives now, in term 2. What does \
               the database do?",
    asked: Asked::BeforeTheDivergence,
    choices: &["It stores the order", "It refuses the write", "It asks catalog 2"],
    broken: "The buyer had a Tux before this reader asked. Catalog 2 rules, and has never heard of \
             that order.",
    instead: "The write names term 1, and this is term 2: it is refused. Catalog 1 stands by, and \
              the buyer sends the purchase again, to catalog 2.",
    code: &[(STATEMENTS, "COMMIT"), ("src/catalog/postgres/tenure.rs", "fenced")],
};

const BARRIER: Text = Text {
    id: "barrier-of-sessions",
    topic: Topic::Catalogs,
    title: "What the last catalog's readers still have",
    rule: "A catalog that begins to rule changes no toy until the caching leases that earlier \
           catalogs granted have run out.",
    wrong: "A front-end caches Tux under a lease that catalog 1 granted. Catalog 2 does not know \
            of it: it sells a Tux and sends no invalidation, and the front-end goes on answering \
            from its cache.",
    why: "Who caches what is kept in a catalog's memory and is lost with its term. But no lease is \
          longer than a second, so after 1.25 s none of that term can be in use.",
    question: "Catalog 2 has just begun to rule. The front-end holds Tux under a lease that \
               catalog 1 granted. A purchase of a Tux reaches catalog 2. What does it do?",
    asked: Asked::BeforeTheDivergence,
    choices: &["It sells at once", "It lets the purchase wait", "It tells the front-end first"],
    broken: "The buyer had a Tux before this reader asked: the cached answer is stale.",
    instead: "Catalog 2 lets the purchase wait for 1.25 s. By then the front-end's lease is over.",
    code: &[(SESSIONS, "may_change"), (SESSIONS, "LEASE")],
};

const END_AT_DOUBT: Text = Text {
    id: "end-at-doubt",
    topic: Topic::Catalogs,
    title: "Stored, but perhaps only here",
    rule: "A catalog ends its term at any doubt about a write: an error, a late answer, or a \
           warning that the standby may not have it.",
    wrong: "The database stops waiting for its standby, and says so in a warning. Catalog 1 takes \
            that for a success and tells the buyer that the Tux is sold.",
    why: "What is acknowledged must be on two disks. A catalog that is in doubt need not find out \
          whether its write lasts: it ends its term, and the next catalog reads the database, with \
          the write or without it. The purchase is sent again under its key.",
    question: "The database says: stored here, but the standby may not have it. What does catalog \
               1 tell the buyer?",
    asked: Asked::BeforeTheEnd,
    choices: &["That the Tux is sold", "Nothing: it ends its term", "That the Tux is not sold"],
    broken: "The buyer was told so, and the standby does not have the order. If the database's \
             disk fails now, the order is lost.",
    instead: "Catalog 1 ends its term and answers nothing. Catalog 2 claims the next term, which \
              the standby stores together with the order.",
    code: &[(RUNNING, "rule_term"), (RUNNING, "within"), (TERM, "end")],
};

/// What a schedule may have, for a rule.
type May = fn(&State, &Step) -> bool;

/// Each write is awaited until it is answered.
fn anything_but_giving_up(_: &State, step: &Step) -> bool {
    !matches!(step, Step::GiveUp(_))
}

/// The same, and the first catalog's order is on its way until another one rules.
fn late(state: &State, step: &Step) -> bool {
    let is_early = |place: usize| state.writes[place].by == 0 && !second_rules(state);
    anything_but_giving_up(state, step) && !matches!(step, Step::Apply(place) if is_early(*place))
}

/// The same, and the first catalog is paused until the second one rules, but for an early fill.
fn paused(state: &State, step: &Step) -> bool {
    let is_paused = matches!(step, Step::Read(0)) && !second_rules(state)
        || matches!(step, Step::Fill(_)) && state.tick != 1
        || matches!(step, Step::Commit(0) | Step::Beat(0));
    anything_but_giving_up(state, step) && !is_paused
}

/// The same, but for the first catalog's beat, which is stored before a claim that is under way.
fn paused_until_a_claim(state: &State, step: &Step) -> bool {
    let is_claim = |write: &Write| matches!(write.kind, Kind::Claim(_));
    if *step == Step::Beat(0) {
        return state.writes.iter().any(is_claim);
    }
    let is_beaten = state.left.beats == 0 && state.writes.len() < 2;
    let is_early = |place: usize| is_claim(&state.writes[place]) && !is_beaten;
    paused(state, step) && !matches!(step, Step::Apply(place) if is_early(*place))
}

fn second_rules(state: &State) -> bool {
    matches!(state.catalogs[1], Catalog::Rules(_))
}

/// The rules, in the order in which they are best read, each in a world that is just large enough.
fn rules() -> Vec<(Text, Rule, Size, &'static str, May)> {
    let skewed = Size { speeds: [90, 110], ..SMALL };
    let beats = Size { beats: 1, ..SMALL };
    let cached = Size { fills: 1, beats: 1, ticks: 10, ..SMALL };
    let cancelled = Size { cancels: 1, ..SMALL };
    vec![
        (LEASE_OF_READS, Rule::LeaseOfReads, SMALL, STALE, paused),
        (CLAIM_AFTER_MARGIN, Rule::ClaimAfterMargin, skewed, STALE, paused),
        (CLAIM_NAMES_THE_BEAT, Rule::ClaimNamesTheBeat, beats, STALE, paused_until_a_claim),
        (FENCED_WRITES, Rule::FencedWrites, SMALL, STALE, late),
        (BARRIER, Rule::BarrierOfSessions, cached, STALE, paused),
        (END_AT_DOUBT, Rule::EndAtDoubt, cancelled, LOST, anything_but_giving_up),
    ]
}

pub(in super::super) fn texts() -> Vec<Text> {
    rules().into_iter().map(|(text, ..)| text).collect()
}

#[test]
fn lessons_are_what_the_model_shows() {
    for (text, rule, size, property, may) in rules() {
        let world = |without| Terms { for_lesson: true, ..Terms::new(size, without) };
        let lesson = Lesson { text, without: world(Some(rule)), with: world(None), property, may };
        lesson.check("terms");
    }
}
