//! The lessons about the choice of a leader: why there is one that works.

use super::super::lessons::{Asked, Lesson, Text, Topic};
use super::*;

const SELECTION: &str = "src/frontend/core/selection.rs";
const HEALTH: &str = "src/frontend/core/health.rs";
const LEADERSHIP: &str = "src/order/core/leadership.rs";
const STOCK: &str = "src/catalog/core/stock.rs";

const MISSES: Text = Text {
    id: "misses-are-forgiven",
    topic: Topic::Leadership,
    title: "One lost health check proves nothing",
    rule: "A front-end takes a replica for dead when its connection is refused, or after three \
           health checks in a row without an answer.",
    wrong: "One health check is lost. The front-end takes a leader that works for dead, nominates \
            another replica, and all purchases under way have to be sent again.",
    why: "A message that is lost and a process that hangs look alike for a moment. Three misses \
          take about a third of a second; until then the leader keeps its place, and an answer \
          to any other request counts as well.",
    question: "Replica 2 leads and works. One health check of front-end 1 is lost. What does \
               front-end 1 do next?",
    asked: Asked::BeforeTheDivergence,
    choices: &["It nominates replica 1", "It waits for the next check", "It asks front-end 2"],
    broken: "A leader that works is replaced, because one message was lost.",
    instead: "Replica 2 is doubtful, and stays the leader.",
    code: &[(HEALTH, "MOST_MISSES"), (SELECTION, "nominee")],
};

const BELIEVED: Text = Text {
    id: "only-the-catalog-is-believed",
    topic: Topic::Leadership,
    title: "A rumour about who leads",
    rule: "What a replica is told of the leadership makes it ask the catalog. It believes only the \
           catalog's answer.",
    wrong: "One message names an epoch that was never given. The replica believes it, and from \
            then on takes every true epoch for an old one.",
    why: "Epochs only grow, so a wrong one that is large enough can never be outdone. The catalog \
          gives them, so the catalog is the one to ask; a rumour costs one question.",
    question: "A stray message tells a replica that epoch 9,007,199,… has begun. What does the \
               replica do?",
    asked: Asked::BeforeTheEnd,
    choices: &["It believes that", "It asks the catalog", "It asks the other replicas"],
    broken: "A replica believes in an epoch that was never given, and will believe in no other.",
    instead: "It asks the catalog, which knows of no newer epoch. Nothing changes.",
    code: &[(LEADERSHIP, "hinted"), (LEADERSHIP, "recorded")],
};

const COUNTED_BY_ONE: Text = Text {
    id: "epochs-grow-by-one",
    topic: Topic::Leadership,
    title: "Epochs are counted, not claimed",
    rule: "The catalog gives a new epoch only to one that names the present one, and the new epoch \
           is the next number.",
    wrong: "A stray message asks for the leadership and names an epoch far ahead. The catalog \
            jumps there, and soon the numbers have run out.",
    why: "The compare-and-set names the epoch to end. One that is not the present one ends \
          nothing, whether it is too old or has never been given.",
    question: "A message asks for the leadership, to end epoch 9,007,199,…; the present one is 0. \
               What does the catalog answer?",
    asked: Asked::BeforeTheEnd,
    choices: &["It gives the next epoch", "Not won", "It gives epoch 1"],
    broken: "The epoch is now so large that no later one can be given.",
    instead: "That epoch is not the present one: the catalog changes nothing.",
    code: &[(STOCK, "plan_acquisition"), (STOCK, "adopt_leadership")],
};

const RECORD: Text = Text {
    id: "the-record-counts",
    topic: Topic::Leadership,
    title: "When the catalog has forgotten an epoch",
    rule: "The catalog's record of the leadership counts, also when it is older than what a role \
           has heard.",
    wrong: "The catalog's database is restored from a backup, and its record says that none leads. \
            The front-ends have heard of a newer epoch and keep to it; every batch is refused.",
    why: "Whose record decides over batches must decide over the leadership. A role that hears an \
          older record from the catalog takes it over, and the leader steps down.",
    question: "The catalog was restored and knows of no leader. The roles know that replica 2 \
               leads in epoch 1. What follows?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "No purchase is answered, for good",
        "Replica 2 goes on selling in epoch 1",
        "A replica is nominated anew",
    ],
    broken: "All believe in a leader whom the catalog does not know. No nomination comes, and none \
             would be won.",
    instead: "The roles take the record over: none leads. A replica is nominated, and sells.",
    code: &[(SELECTION, "recorded"), (LEADERSHIP, "recorded")],
};

const IDLE: Text = Text {
    id: "idle-leaders-are-replaced",
    topic: Topic::Leadership,
    title: "A leader that has forgotten that it leads",
    rule: "A leader that answers without leading is replaced: at once if it was not nominated \
           since it started, else after three health checks in a row.",
    wrong: "The leader crashes and is started again before a health check misses it. Its process \
            is new and does not lead; the front-ends go on sending it all purchases.",
    why: "That a process answers does not say that it leads. A new process takes no leadership \
          up by itself, since another replica may lead by then. So the front-end looks at what \
          the answer says, and nominates a replica, which may be the same one.",
    question: "Replica 2 led. It crashed, and was started again so soon that no health check was \
               missed. What follows?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "No purchase is answered, for good",
        "Replica 2 leads again by itself",
        "A replica is nominated",
    ],
    broken: "Both front-ends keep to a replica that answers and does not lead.",
    instead: "Its answer says that it does not lead, and that it was not nominated since it \
              started. A replica is nominated at once.",
    code: &[(SELECTION, "leader_condition"), (SELECTION, "checked")],
};

const SILENT: Text = Text {
    id: "silent-leaders-are-replaced",
    topic: Topic::Leadership,
    title: "A leader that is not heard any more",
    rule: "A leader that misses three health checks in a row is replaced, also if it may live.",
    wrong: "A front-end cannot reach the leader any more. It keeps to the last answer that it got, \
            and its clients' purchases come to nothing.",
    why: "Whether the leader is dead or only out of reach cannot be told from here, and need not \
          be: the next leader has a new epoch, and the catalog refuses the batches of the old \
          one.",
    question: "The network between front-end 1 and replica 2, the leader, is cut. Replica 2 works. \
               What does front-end 1 do?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "It keeps to replica 2, for good",
        "It nominates replica 1 after three misses",
        "It sends purchases through front-end 2",
    ],
    broken: "Front-end 1 waits for a leader that it cannot reach, though another could lead.",
    instead: "It misses three checks and nominates replica 1, which both front-ends reach.",
    code: &[(HEALTH, "MOST_MISSES"), (SELECTION, "nominee")],
};

const YIELDING: Text = Text {
    id: "replaced-choices-yield",
    topic: Topic::Leadership,
    title: "Two front-ends that depose each other's leader",
    rule: "A front-end whose choice was replaced while it reached it well does not nominate it \
           again for the next 100 health checks.",
    wrong: "Front-end 1 does not reach replica 3, and front-end 2 does not reach replica 2. Each \
            nominates the highest replica that it reaches, and deposes the other's leader in \
            turns.",
    why: "A leader that works and was replaced all the same is out of another front-end's reach. \
          One that yields takes the next lower id, so both come to a replica that both reach.",
    question: "Front-end 2 had replica 3 lead; front-end 1, which does not reach it, had it \
               replaced by replica 2. Front-end 2 does not reach replica 2. Which replica does it \
               nominate?",
    asked: Asked::BeforeTheDivergence,
    choices: &["Replica 3, again", "Replica 1", "None: it adopts replica 2"],
    broken: "Replica 3 leads again. Front-end 1 does not reach it, and so it goes on, in turns.",
    instead: "Its choice was replaced while it worked: replica 3 yields, and replica 1 is \
              nominated, which both reach.",
    code: &[(SELECTION, "YIELD_CHECKS"), (SELECTION, "highest_that_may_lead")],
};

/// What a schedule may have, for a rule.
type May = fn(&State, &Step) -> bool;

/// Only front-end 1 acts, so that the schedule is about one thing; both count at its end.
fn one_front_end(_: &State, step: &Step) -> bool {
    !matches!(
        step,
        Step::CheckAll(1)
            | Step::Nominate(1)
            | Step::Arrive(1)
            | Step::Hear(1)
            | Step::Report(1)
            | Step::Cut(1, _)
            | Step::LoseCheck(1, _)
    )
}

/// The same, once there is a leader that front-end 1 has heard of.
fn after_a_choice(state: &State, step: &Step) -> bool {
    let is_fault =
        matches!(step, Step::Crash(_) | Step::Cut(..) | Step::Restore | Step::LoseCheck(..));
    let is_chosen = state.frontends[0].nominating.is_none()
        && state.frontends[0].selection.leader() == Some(ReplicaId(2));
    one_front_end(state, step) && (!is_fault || is_chosen)
}

/// The same, and what fails is the leader or the way to it.
fn at_the_leader(state: &State, step: &Step) -> bool {
    let concerns_another = matches!(
        step,
        Step::Crash(ReplicaId(1)) | Step::Cut(_, ReplicaId(1)) | Step::LoseCheck(_, ReplicaId(1))
    );
    after_a_choice(state, step) && !concerns_another
}

/// Each front-end is cut off from another replica, before anything else happens.
fn cut_from_different_replicas(state: &State, step: &Step) -> bool {
    match step {
        Step::Cut(number, id) => {
            state.frontends.iter().all(|one| one.checks == state.left.checks)
                && [(0, ReplicaId(3)), (1, ReplicaId(2))].contains(&(*number, *id))
        }
        Step::CheckAll(_)
        | Step::Nominate(_)
        | Step::Arrive(_)
        | Step::Hear(_)
        | Step::Watch(_)
        | Step::Crash(_)
        | Step::Restart(_)
        | Step::LoseCheck(..)
        | Step::Mislead(_)
        | Step::Acquire(_)
        | Step::Restore
        | Step::Report(_) => true,
    }
}

/// The rules, in the order in which they are best read, each in a world that is just large enough.
fn rules() -> Vec<(Text, Rule, Size, &'static str, May)> {
    const NOTHING: Left =
        Left { checks: 6, crashes: 0, restarts: 0, cuts: 0, losses: 0, strays: 0, restores: 0 };
    let two = |left| Size { replicas: 2, left };
    let loss = two(Left { losses: 1, ..NOTHING });
    let restart = two(Left { crashes: 1, restarts: 1, ..NOTHING });
    let cut = two(Left { cuts: 1, ..NOTHING });
    let cuts = Size { replicas: 3, left: Left { checks: 4, cuts: 2, ..NOTHING } };
    let stray = two(Left { strays: 1, ..NOTHING });
    let restore = two(Left { restores: 1, ..NOTHING });
    vec![
        (MISSES, Rule::MissesAreForgiven, loss, CALM, at_the_leader),
        (SILENT, Rule::SilentLeadersAreReplaced, cut, RESTS, at_the_leader),
        (IDLE, Rule::IdleLeadersAreReplaced, restart, RESTS, at_the_leader),
        (YIELDING, Rule::ReplacedChoicesYield, cuts, SETTLED, cut_from_different_replicas),
        (BELIEVED, Rule::OnlyTheCatalogIsBelieved, stray, GIVEN, one_front_end),
        (COUNTED_BY_ONE, Rule::EpochsGrowByOne, stray, COUNTED, one_front_end),
        (RECORD, Rule::TheRecordCounts, restore, RESTS, after_a_choice),
    ]
}

pub(in super::super) fn texts() -> Vec<Text> {
    rules().into_iter().map(|(text, ..)| text).collect()
}

#[test]
fn lessons_are_what_the_model_shows() {
    for (text, rule, size, property, may) in rules() {
        let lesson = Lesson {
            text,
            without: Choosing::new(size, Some(rule)),
            with: Choosing::new(size, None),
            property,
            may,
        };
        lesson.check("selection");
    }
}
