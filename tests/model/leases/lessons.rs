//! The lessons about the cache: why no read is stale.

use super::super::lessons::{Asked, Lesson, Text, Topic};
use super::*;

/// One toy, one purchase, two readers; no time passes.
const WORLD: Size = Size {
    toys: 1,
    stock: 100,
    purchases: &[0],
    reads: 2,
    readers: 1,
    ticks: 0,
    begun: 1,
    sessions: 0,
    renewals: 0,
    catalog_crashes: 0,
    frontend_crashes: 0,
    restocks: 0,
    sweeps: false,
};

const BROKEN: &str =
    "The buyer had order 0 before reader 2 asked: this answer is older, the read is stale.";

const SESSIONS: &str = "src/catalog/core/sessions.rs";
const CACHE: &str = "src/frontend/core/cache.rs";
const STEPS: &str = "src/catalog/core/steps.rs";

const ACKNOWLEDGED_FIRST: Text = Text {
    id: "acknowledged-before-commit",
    topic: Topic::Cache,
    title: "Invalidate first, then commit",
    rule: "The catalog changes a toy only when every front-end that holds it has acknowledged the \
           invalidation, or its lease is over.",
    wrong: "The purchase is committed and acknowledged while front-end 1 still has the old \
            quantity. Its next reader is shown a Tux that has been sold: a stale read.",
    why: "An acknowledgement says that the front-end has dropped its copy. Once all holders have \
          acknowledged, no cache can show the old quantity, and the new one may become visible.",
    question: "The buyer has been told: order 0. Now reader 2 asks front-end 1 for Tux. What does \
               reader 2 see?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left, from the cache", "99 left, from the catalog", "An error"],
    broken: BROKEN,
    instead: "A holder has not acknowledged. The catalog changes nothing yet; the purchase waits.",
    code: &[(SESSIONS, "is_clear"), (STEPS, "PlannedBatch")],
};

const FLOOR: Text = Text {
    id: "floor-of-fills",
    topic: Topic::Cache,
    title: "An answer that an invalidation has overtaken",
    rule: "An invalidation leaves a floor behind: the version that the toy is about to have. A \
           front-end stores no answer below the floor.",
    wrong: "The catalog's answer is slow, and the invalidation overtakes it. The front-end has \
            nothing to drop yet; then it stores the old answer, which is never invalidated again.",
    why: "The floor remembers the invalidation. The late answer has version 0, the floor is \
          version 1: it is shown to the reader who asked before the purchase, and not stored.",
    question: "Front-end 1 acknowledged the invalidation before it stored the late answer. Now \
               reader 2 asks for Tux. What does reader 2 see?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left, from the cache", "99 left, from the catalog", "An error"],
    broken: BROKEN,
    instead: "Version 0 is below the floor, version 1. Reader 1 sees the answer, which it asked \
              for before the purchase; the cache does not store it.",
    code: &[(CACHE, "store"), (CACHE, "invalidate")],
};

const DROP_FIRST: Text = Text {
    id: "drop-before-acknowledgement",
    topic: Topic::Cache,
    title: "Acknowledge what is done, not what is planned",
    rule: "A front-end drops the toy before it acknowledges the invalidation.",
    wrong: "The front-end acknowledges and keeps its copy for a moment. The catalog takes the \
            acknowledgement at its word and commits; a reader in that moment gets a stale hit.",
    why: "The catalog knows nothing about a cache but its acknowledgements. If the drop comes \
          first, \"acknowledged\" implies \"dropped\", and that is what the commit relies on.",
    question: "The catalog has front-end 1's acknowledgement and has committed. What does reader 2 \
               see at front-end 1?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left, from the cache", "99 left, from the catalog", "An error"],
    broken: BROKEN,
    instead: "The front-end drops Tux, and only then acknowledges.",
    code: &[(CACHE, "invalidate"), ("src/frontend/service.rs", "invalidate")],
};

const UNTIL_COMMITTED: Text = Text {
    id: "locked-until-committed",
    topic: Topic::Cache,
    title: "A lock lasts until the commit",
    rule: "While a toy is about to change it stays locked: a front-end that asks for it gets the \
           old quantity, and may not cache it.",
    wrong: "All holders have dropped Tux, and the catalog unlocks it before it commits. A \
            front-end caches the old quantity in between, and no invalidation reaches it.",
    why: "Invalidations go to those who held the toy when it was locked. The lock sees to it that \
          there are no new holders between that moment and the change.",
    question: "Front-end 1 asked the catalog just before the commit. The buyer has order 0. What \
               does reader 2 see?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left, from the cache", "99 left, from the catalog", "An error"],
    broken: BROKEN,
    instead: "Tux is still locked. The catalog answers 100, not to be cached.",
    code: &[(SESSIONS, "hold"), (SESSIONS, "lock")],
};

const UNTIL_PUBLISHED: Text = Text {
    id: "locked-until-published",
    topic: Topic::Cache,
    title: "A lock lasts until the change is visible",
    rule: "A toy is unlocked only when the new quantity is published to readers, not as soon as it \
           is on disk.",
    wrong: "The order is on disk, but readers are still answered from the old quantity in memory. \
            Unlocked in this gap, Tux is cached with the old quantity after its invalidation.",
    why: "Commit, publish, unlock, in this order: an answer that may be cached has the new \
          quantity.",
    question: "Front-end 1 asked the catalog between commit and publication. What does reader 2 \
               see afterwards?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left, from the cache", "99 left, from the catalog", "An error"],
    broken: BROKEN,
    instead: "Tux stays locked until 99 is published. The answer 100 may not be cached.",
    code: &[("src/catalog/tasks.rs", "write_batch"), (SESSIONS, "unlock")],
};

const HOLDERS: Text = Text {
    id: "holders-only",
    topic: Topic::Cache,
    title: "Only a holder may cache",
    rule: "A front-end stores an answer only if the catalog says so. By saying so, the catalog \
           counts the front-end among the toy's holders, in the same step.",
    wrong: "Tux is locked for a purchase when a front-end asks for it. The catalog answers without \
            making it a holder, so no invalidation was sent to it. It stores the answer all the \
            same, and keeps it after the purchase.",
    why: "Who is cached and who is told must be one list. The catalog keeps that list, so the \
          catalog decides what may be stored.",
    question: "Front-end 1 stored an answer that the catalog did not allow it to cache. What does \
               reader 2 see?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left, from the cache", "99 left, from the catalog", "An error"],
    broken: BROKEN,
    instead: "The answer says \"not cacheable\", so the front-end shows it and does not store it.",
    code: &[(SESSIONS, "hold"), (CACHE, "filled")],
};

const WITHIN_LEASE: Text = Text {
    id: "hits-within-the-lease",
    topic: Topic::Cache,
    title: "A hit counts only under a lease",
    rule: "A front-end answers from its cache only while its lease runs. Without a lease it asks \
           the catalog.",
    wrong: "The front-end does not hear the invalidation. The catalog waits for the lease to run \
            out and then sells; the front-end goes on serving its copy without a lease.",
    why: "A purchase cannot wait for ever for a front-end that is cut off. The lease bounds the \
          wait, because both sides agree that after it the cache does not count.",
    question: "The lease is over, so the catalog did not wait for front-end 1. Reader 2 asks \
               there. What does reader 2 see?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left, from the cache", "99 left, from the catalog", "An error"],
    broken: BROKEN,
    instead: "The lease is over: the entry does not count, and the front-end asks the catalog.",
    code: &[(CACHE, "look_up"), (CACHE, "confirmed")],
};

const FROM_SENDING: Text = Text {
    id: "lease-from-sending",
    topic: Topic::Cache,
    title: "Whose clock does a lease start on?",
    rule: "A front-end counts its lease from when it sent the renewal; the catalog counts it from \
           when it answered, and adds a margin.",
    wrong: "The catalog's answer is on its way for more than a second. The front-end counts the \
            lease from when the answer arrives, when the catalog's count is over: the catalog \
            sells, and the front-end believes that it has a lease.",
    why: "Neither side knows how long a message took. Sending comes before answering, so the lease \
          that is counted from sending ends first, however slow the network is.",
    question: "The catalog's count of the lease is over, and Tux was sold. Front-end 1 heard of \
               its renewal a moment ago. What does reader 2 see there?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left, from the cache", "99 left, from the catalog", "An error"],
    broken: BROKEN,
    instead: "The front-end counts from when it asked. That was too long ago: no lease, so no hit.",
    code: &[(CACHE, "renew_session"), (SESSIONS, "renew")],
};

const SESSION_OF_FILLS: Text = Text {
    id: "session-of-fills",
    topic: Topic::Cache,
    title: "A late answer to an earlier session",
    rule: "An answer that was asked for under an earlier session is not stored.",
    wrong: "A front-end asks for Tux, loses its session and begins a new one with an empty cache. \
            Then the old answer arrives and is stored under the new session, in which the catalog \
            does not count the front-end as a holder of Tux.",
    why: "A session is the catalog's list of what a front-end may have. What is not on the list of \
          the current session is never invalidated, so it must not be in the cache.",
    question: "Front-end 1 has a new session, under which the catalog has given it nothing. Tux \
               was sold. What does reader 2 see?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left, from the cache", "99 left, from the catalog", "An error"],
    broken: BROKEN,
    instead: "The answer belongs to the session that has ended. It is shown and not stored.",
    code: &[(CACHE, "store"), (CACHE, "end_session")],
};

const RESTART: Text = Text {
    id: "restart-waits-for-sessions",
    topic: Topic::Cache,
    title: "A catalog that restarts has forgotten who caches what",
    rule: "A catalog that was restarted changes no toy until every session from before has \
           registered anew, or a lease has passed.",
    wrong: "The catalog crashes. Its new process knows of no holder and sells at once; front-end 1 \
            still has Tux in its cache, under a lease that runs.",
    why: "Who holds what is kept in memory only, because it changes with every miss. The sessions' \
          ids are on disk, so a new process knows for whom to wait; after a lease, no entry of \
          before counts.",
    question: "The catalog was restarted and has sold a Tux. Front-end 1 noticed nothing. What \
               does reader 2 see there?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left, from the cache", "99 left, from the catalog", "An error"],
    broken: BROKEN,
    instead: "A session from before the restart may still be served, so the purchase waits.",
    code: &[(SESSIONS, "may_change"), (SESSIONS, "new")],
};

const SESSION_ON_DISK: Text = Text {
    id: "session-on-disk-first",
    topic: Topic::Cache,
    title: "A session is on disk before it is used",
    rule: "The catalog writes a session's id to its disk before it tells the front-end.",
    wrong: "A front-end begins to cache under a session that is in the catalog's memory only. The \
            catalog crashes; its new process finds no session on disk, waits for none, and sells.",
    why: "After a restart the catalog waits for the sessions that it finds on its disk. So a \
          session that is used must be there.",
    question: "The restarted catalog found no session to wait for and sold a Tux. What does reader \
               2 see at front-end 1?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left, from the cache", "99 left, from the catalog", "An error"],
    broken: BROKEN,
    instead: "The session is being written. The front-end has no answer yet, and caches nothing.",
    code: &[("src/catalog/service.rs", "register"), (SESSIONS, "register")],
};

const ON_DISK_BEFORE_VISIBLE: Text = Text {
    id: "on-disk-before-visible",
    topic: Topic::Cache,
    title: "Nothing is visible before it is on disk",
    rule: "The catalog shows a new quantity to readers only when its transaction is on disk.",
    wrong: "Reader 1 sees 99 while the transaction is still being written. The catalog crashes, \
            the transaction is gone, and reader 2 sees 100: the stock went back.",
    why: "What a reader has seen cannot be taken back. A crash may undo only what no one was \
          shown, so the write to disk comes first.",
    question: "Reader 1 saw 99. The catalog crashed before it had written the order, and is back. \
               What does reader 2 see?",
    asked: Asked::BeforeTheEnd,
    choices: &["100 left", "99 left", "An error"],
    broken: "Reader 1 has seen 99 before reader 2 asked: this answer is older, the read is stale.",
    instead: "The plan is not visible. Readers get the old quantity until the commit.",
    code: &[(STEPS, "PlannedBatch"), ("src/catalog/tasks.rs", "write_batch")],
};

/// What a schedule may have, for a rule.
type May = fn(&State, &Step) -> bool;

fn anything(_: &State, step: &Step) -> bool {
    // The other front-end would only do the same.
    !matches!(step, Step::Ask(1) | Step::Read { frontend: 1, .. })
}

fn no_crash(state: &State, step: &Step) -> bool {
    anything(state, step) && *step != Step::CrashCatalog
}

/// Time passes only when front-end 1 has cached Tux.
fn cached_first(state: &State, step: &Step) -> bool {
    let is_cached = !state.frontends[0].cache.names().is_empty();
    anything(state, step) && (is_cached || *step != Step::Tick)
}

/// Time passes only while the catalog waits for a holder.
fn waiting(state: &State, step: &Step) -> bool {
    let waits = matches!(state.catalog.writer, Writer::Clearing(..));
    anything(state, step) && (waits || *step != Step::Tick)
}

/// The purchase comes when the renewal is answered.
fn renewed_first(state: &State, step: &Step) -> bool {
    let is_open = state.frontends[0].call.is_some() || state.left.renewals > 0;
    cached_first(state, step) && !(is_open && matches!(step, Step::Begin(_)))
}

/// The rules, in the order in which they are best read, each in a world that is just large enough.
fn rules() -> Vec<(Text, Rule, Size, May)> {
    let late = Size { ticks: 4, ..WORLD };
    let anew = Size { ticks: 3, sessions: 1, renewals: 1, ..WORLD };
    let restart = Size { ticks: 3, catalog_crashes: 1, ..WORLD };
    let registering = Size { begun: 0, sessions: 1, ..restart };
    vec![
        (ACKNOWLEDGED_FIRST, Rule::AcknowledgementsBeforeCommit, WORLD, anything),
        (FLOOR, Rule::FloorOfFills, WORLD, anything),
        (DROP_FIRST, Rule::DropBeforeAcknowledgement, WORLD, anything),
        (HOLDERS, Rule::HoldersOnly, WORLD, anything),
        (UNTIL_COMMITTED, Rule::LockedUntilCommitted, WORLD, anything),
        (UNTIL_PUBLISHED, Rule::LockedUntilPublished, restart, no_crash),
        (WITHIN_LEASE, Rule::HitsWithinLease, late, waiting),
        (FROM_SENDING, Rule::LeaseFromSending, Size { renewals: 1, ..late }, renewed_first),
        (SESSION_OF_FILLS, Rule::SessionOfFills, anew, anything),
        (RESTART, Rule::RestartWaitsForSessions, restart, anything),
        (SESSION_ON_DISK, Rule::SessionDurableBeforeAnswer, registering, anything),
        (
            ON_DISK_BEFORE_VISIBLE,
            Rule::DurableBeforeVisible,
            Size { begun: 0, ..restart },
            anything,
        ),
    ]
}

pub(in super::super) fn texts() -> Vec<Text> {
    rules().into_iter().map(|(text, ..)| text).collect()
}

#[test]
fn lessons_are_what_the_model_shows() {
    for (text, rule, size, may) in rules() {
        let lesson = Lesson {
            text,
            without: Leases::new(size, Some(rule)),
            with: Leases::new(size, None),
            property: STALE,
            may,
        };
        lesson.check("leases");
    }
}
