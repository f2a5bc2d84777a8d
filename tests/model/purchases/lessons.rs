//! The lessons about purchases, leaders and logs.

use super::super::lessons::{Asked, Lesson, Text, Topic};
use super::properties::{
    ANSWERED, DURABLE, FOUND, HELD, ONE_LEADER, ORDERED, PREFIXES, REFUSED, SOLD_ONCE,
};
use super::*;

const BATCH: &str = "src/catalog/core/batch.rs";
const STOCK: &str = "src/catalog/core/stock.rs";
const BATCHES: &str = "src/order/core/batches.rs";
const FOLLOWERS: &str = "src/order/core/followers.rs";
const LEADERSHIP: &str = "src/order/core/leadership.rs";
const LOG: &str = "src/order/core/log.rs";

const KEYS: Text = Text {
    id: "key-looked-up",
    topic: Topic::Purchases,
    title: "A purchase that is sent twice is sold once",
    rule: "The catalog records its decision under the purchase's key, and looks the key up before \
           it decides.",
    wrong: "The answer to a batch is lost, and the leader sends the batch again. The catalog \
            takes it for a new purchase: the client asked for one Tux, and two are sold.",
    why: "No sender can tell a lost request from a lost answer, so it has to send again. The key \
          tells the catalog that it is the same purchase; the recorded decision is repeated.",
    question: "The catalog committed order 0, and the leader does not know it. The same batch \
               arrives once more. What does the catalog do?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "It sells a second Tux, as order 1",
        "It answers order 0 again",
        "It refuses the purchase",
    ],
    broken: "Client 1 made one purchase, and two orders are in the journal.",
    instead: "The key is in the catalog's record: it repeats order 0 and changes nothing.",
    code: &[(BATCH, "repeat_for"), (BATCH, "decide")],
};

const RETRY: Text = Text {
    id: "retry-keeps-its-key",
    topic: Topic::Purchases,
    title: "A retry needs the same key",
    rule: "Every attempt at a purchase carries the same key.",
    wrong: "The client has no answer and tries again, with a new key. For the store these are two \
            purchases, and it sells both.",
    why: "Only the client knows that both attempts mean the same purchase, and the key is how it \
          says so. Without an Idempotency-Key, a client that lost its connection cannot retry \
          safely.",
    question: "Both attempts are in one batch, under two keys. What does the catalog do?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "It sells two Tux",
        "It sells one Tux and answers both attempts with it",
        "It refuses the second attempt",
    ],
    broken: "Client 1 wanted one Tux, and two are sold.",
    instead: "The retry carries key a, like the first attempt. The leader lets it wait for the \
              same answer.",
    code: &[("src/frontend/leader.rs", "ask_leader"), ("src/order/core/in_flight.rs", "admit")],
};

const TRANSACTION: Text = Text {
    id: "one-transaction",
    topic: Topic::Purchases,
    title: "One transaction: stock, order and key",
    rule: "One transaction takes the stock, appends the order to the journal and records the \
           decision under the key.",
    wrong: "Stock and order are written first, and the key's decision after that. The catalog \
            crashes in between; the retry finds no decision under the key and buys a second time.",
    why: "After a crash there is all of a purchase or nothing of it. A retry then needs no \
          repair: either it finds the decision, or it is the first.",
    question: "The catalog crashed between its two transactions. The leader sends the batch \
               again. What does the catalog do?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "It sells a second Tux, as order 1",
        "It answers order 0 again",
        "It finds half a purchase, and stops",
    ],
    broken: "One purchase, two orders: the retry could not know of the first.",
    instead: "Order 0 and the decision on key a are on disk together.",
    code: &[(STOCK, "Change"), ("src/catalog/journal/mod.rs", "commit")],
};

const REFUSALS: Text = Text {
    id: "refusal-recorded",
    topic: Topic::Purchases,
    title: "A refusal is a decision, too",
    rule: "The catalog records a refusal under its key, like an order.",
    wrong: "Client 2 is told \"not enough stock\". Tux is restocked, and an old copy of the batch \
            arrives at last: now there is stock, and the refused purchase is sold.",
    why: "A client that was refused acts on it: it buys elsewhere, or gives up. The first \
          decision on a key is final, whatever copies of the request are still on their way.",
    question: "Client 2 was refused; then Tux was restocked. Now a delayed copy of the batch \
               arrives. What happens to client 2's purchase?",
    asked: Asked::BeforeTheEnd,
    choices: &["It is sold after all, as order 1", "It is refused again", "It waits for an answer"],
    broken: "Client 2 was told that nothing was sold to it. Now it has an order that it does not \
             know of.",
    instead: "The refusal is recorded under key b, in the same transaction as order 0.",
    code: &[(BATCH, "decide"), (STOCK, "RecordedDecision")],
};

const BODIES: Text = Text {
    id: "body-compared",
    topic: Topic::Purchases,
    title: "A key belongs to one purchase",
    rule: "The catalog records toy and quantity with the key. The same key with another purchase \
           is refused (422).",
    wrong: "A client uses a key again by mistake, for another quantity. It is answered with the \
            first order, and believes that it bought two Tux.",
    why: "The answer to a key is the first decision. A client that asks for something else under \
          that key must hear so, or it takes another purchase's order for its own.",
    question: "Key a bought one Tux. Now the same key asks for two. What is the client told about \
               the second purchase?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "Order 0, though that is an order of one Tux",
        "The key belongs to another purchase",
        "Order 1, of two Tux",
    ],
    broken: "The client asked for two Tux and was told: order 0. Order 0 is one Tux.",
    instead: "The recorded quantity differs: the second purchase is refused, and the first is \
              unharmed.",
    code: &[(BATCH, "repeat_for")],
};

const LOST_BATCH: Text = Text {
    id: "batch-in-doubt",
    topic: Topic::Purchases,
    title: "A batch without an answer is sent again",
    rule: "A leader that has no answer to its batch puts it back at the head of its queue and \
           sends it again.",
    wrong: "The batch is lost, or its answer is. The leader has nothing left to do, and client 1 \
            waits until it gives up.",
    why: "Sending again is safe, because each purchase has a key. So the leader need not know \
          what happened; it asks until it is told.",
    question: "The leader does not know whether its batch was decided. What happens now?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "Nothing more: client 1 waits in vain",
        "The leader sends the batch again",
        "The leader tells client 1 that it failed",
    ],
    broken: "Client 1 waits at a leader that will never answer.",
    instead: "The batch goes out again.",
    code: &[(BATCHES, "batch_answered"), (BATCHES, "BatchOutcome")],
};

const ABSENCE: Text = Text {
    id: "absence-confirmed",
    topic: Topic::Purchases,
    title: "\"There is no such order\" needs a proof",
    rule: "A replica that lacks an order asks the catalog before it answers 404.",
    wrong: "An order is committed and on its way to the replicas. A replica that has not got it \
            yet says that it does not exist.",
    why: "What a replica has is a prefix of the journal. So it can show that an order exists, and \
          never that one does not; only the journal can tell that.",
    question: "Order 0 is in the journal, and replica 1 has not got it yet. A reader asks replica \
               1 for order 0. What does the reader see?",
    asked: Asked::BeforeTheEnd,
    choices: &["404: no such order", "Order 0", "Nothing, until replica 1 has caught up"],
    broken: "Order 0 exists: it is committed, and the reader is told that it does not exist.",
    instead: "Replica 1 does not have the order, and asks the catalog, which has it.",
    code: &[("src/order/service.rs", "order"), ("src/order/core/mod.rs", "JournalCheck")],
};

const LEADERS_DISK: Text = Text {
    id: "on-disk-before-acknowledged",
    topic: Topic::Purchases,
    title: "The leader's disk comes before the answer",
    rule: "The leader answers a purchase only when the order is on its own disk.",
    wrong: "The leader answers as soon as the catalog has decided. Its disk does not have the \
            order yet; after a crash, an acknowledged order stands on the catalog's disk alone.",
    why: "\"Acknowledged\" promises that the order stands on the disks of the catalog, of the \
          leader and of every live follower. So the answer comes last.",
    question: "The catalog has decided, and the leader's disk is still writing. What does client \
               1 have?",
    asked: Asked::BeforeTheEnd,
    choices: &["An answer: order 0", "No answer yet", "A refusal"],
    broken: "Client 1 has been told of order 0, and the leader's disk does not have it.",
    instead: "The order is being written; client 1 waits until the disk has it.",
    code: &[(BATCHES, "acknowledge"), (LOG, "written")],
};

const LIVE: Text = Text {
    id: "live-followers-first",
    topic: Topic::Purchases,
    title: "Wait for every live follower",
    rule: "An order is acknowledged when every follower in the live set has it on disk.",
    wrong: "The leader does not wait for its followers. Replica 1 answers heartbeats, so it \
            counts as live, and lacks an acknowledged order.",
    why: "If each live follower has all acknowledged orders, one disk can fail and no order is \
          lost with it. A follower that is slow or dead leaves the live set, so no order waits \
          for it for long.",
    question: "Replica 1 is live, and does not have order 0. The leader's disk has it. What does \
               client 1 have?",
    asked: Asked::BeforeTheEnd,
    choices: &["An answer: order 0", "No answer yet", "A refusal"],
    broken: "Client 1 has been told of order 0, and replica 1, which is live, does not have it.",
    instead: "The leader has the order on its disk, and waits for replica 1.",
    code: &[(BATCHES, "acknowledged_length"), (FOLLOWERS, "live_followers")],
};

const FOLLOWER_WRITES: Text = Text {
    id: "followers-write-first",
    topic: Topic::Purchases,
    title: "A follower acknowledges what is on its disk",
    rule: "A follower answers with the number of orders on its disk, not with the number that it \
           has received.",
    wrong: "Replica 1 has order 0 in memory and says that it has one order. The leader counts \
            that as a copy on a disk. If replica 1 crashes now, the copy is gone.",
    why: "Memory does not survive a crash. An acknowledgement is a promise about the time after a \
          crash, so only the disk counts.",
    question: "Replica 1 has acknowledged order 0, and its disk is still writing. The leader's \
               disk has it. What does client 1 have?",
    asked: Asked::BeforeTheEnd,
    choices: &["An answer: order 0", "No answer yet", "A refusal"],
    broken: "Client 1 has been told of order 0. Replica 1 is live, and has it in memory only.",
    instead: "Replica 1 writes order 0 to its disk, and only then acknowledges.",
    code: &[(FOLLOWERS, "appended"), ("src/order/service.rs", "append")],
};

const LOST_FOLLOWER: Text = Text {
    id: "lost-followers-not-awaited",
    topic: Topic::Purchases,
    title: "Do not wait for a follower that is gone",
    rule: "A follower that does not acknowledge in time leaves the live set; no order waits for \
           it.",
    wrong: "Replica 1 was live and stops answering. The leader waits for its acknowledgement, and \
            client 1 waits with it.",
    why: "The live set bounds the wait: 300 ms. A follower that comes back catches up and joins \
          again.",
    question: "Replica 1 has not answered in time. Now order 0 is on the leader's disk. \
               What does client 1 get?",
    asked: Asked::BeforeTheEnd,
    choices: &["No answer, ever", "Order 0", "A refusal"],
    broken: "Client 1 waits for a follower that will not answer.",
    instead: "Replica 1 is not in the live set any more, so the leader's own disk is enough.",
    code: &[(FOLLOWERS, "drop_slow_followers"), (FOLLOWERS, "ACKNOWLEDGEMENT_TIMEOUT")],
};

const BEHIND: Text = Text {
    id: "leaders-behind-fetch",
    topic: Topic::Purchases,
    title: "A leader that lost rows fetches them",
    rule: "A leader whose log is behind the journal fetches what it lacks before it goes on \
           selling.",
    wrong: "The leader's disk was full when order 0 came. The order is in the journal and not in \
            the leader's log; the leader does nothing about it, and client 1 waits.",
    why: "The journal decides; a log is a copy. What the copy lacks can always be fetched, and \
          then the purchases that wait for it are answered.",
    question: "Order 0 is committed, and the write to the leader's disk failed. What happens now?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "Nothing more: client 1 waits in vain",
        "The leader fetches order 0 from the catalog",
        "The catalog takes order 0 back",
    ],
    broken: "Client 1 waits for order 0, which is in the journal.",
    instead: "The leader sees that it is behind the journal, and fetches order 0.",
    code: &[(BATCHES, "next_step"), (LOG, "not_written")],
};

const EPOCH: Text = Text {
    id: "epoch-of-batches",
    topic: Topic::Leadership,
    title: "A leader that was deposed can sell nothing",
    rule: "A batch names its leader's epoch, and the catalog refuses a batch of an epoch that has \
           ended (a fencing token).",
    wrong: "Replica 2 leads, and its batch is slow. Replica 1 becomes leader meanwhile. The old \
            batch arrives and is committed, and replica 2 answers its client: the new leader \
            lacks an order that was acknowledged.",
    why: "A leader that was paused does not know that it was. The catalog has to tell old leaders \
          from new ones, and the epoch, checked in the same transaction, does that.",
    question: "Replica 1 leads in epoch 2. Now the batch of replica 2 arrives, from epoch 1. What \
               does the catalog do?",
    asked: Asked::BeforeTheDivergence,
    choices: &[
        "It commits order 0",
        "It refuses the batch: epoch 1 has ended",
        "It asks replica 1",
    ],
    broken: "Order 0 is acknowledged, and the leader of epoch 2 does not have it.",
    instead: "The batch is from epoch 1, and epoch 2 has begun: the catalog refuses it. Replica 2 \
              learns who leads.",
    code: &[(BATCH, "plan_batch"), (LEADERSHIP, "recorded")],
};

const FETCH_FIRST: Text = Text {
    id: "nominee-fetches-first",
    topic: Topic::Leadership,
    title: "A new leader catches up before it sells",
    rule: "A nominee fetches the orders that its log lacks, up to the journal's length when it \
           won, and only then leads.",
    wrong: "Replica 1 becomes leader without order 0, which was acknowledged. The leader's copy, \
            which an acknowledgement promises, does not exist.",
    why: "Any replica may be nominated, however long it was away. What it lacks is in the \
          journal, whose length is part of the answer to the acquisition.",
    question: "Replica 1 has won epoch 2 and its log is empty. Order 0 was acknowledged by \
               replica 2. What does replica 1 do next?",
    asked: Asked::BeforeTheEnd,
    choices: &["It sells", "It fetches order 0", "It steps down"],
    broken: "Replica 1 leads, and does not have order 0, which was acknowledged.",
    instead: "Replica 1 has won, and does not lead yet: it fetches order 0 first.",
    code: &[(LEADERSHIP, "try_to_lead"), (LEADERSHIP, "acquisition_answered")],
};

const EPOCH_ON_DISK: Text = Text {
    id: "epoch-on-disk-first",
    topic: Topic::Leadership,
    title: "An epoch is on disk before it is told",
    rule: "The catalog writes a new epoch and its leader to disk before it answers.",
    wrong: "The catalog tells others that replica 1 leads in epoch 2, and crashes before it has \
            written that. It starts again in epoch 1 and gives epoch 2 away once more, to replica \
            2.",
    why: "An epoch has one leader, because its number is never given away twice. A number that a \
          crash can take back can be given away twice.",
    question: "The catalog has crashed before epoch 2 was on disk. Replica 2 asks for the \
               leadership. What does the catalog answer?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "Replica 2 leads in epoch 2",
        "Replica 1 leads in epoch 2",
        "Replica 2 leads in epoch 3",
    ],
    broken: "Replica 2 was told that replica 1 leads in epoch 2, and now that it leads itself. \
             Epoch 2 has two leaders.",
    instead: "Epoch 2 is on disk before it is told, and survives the crash.",
    code: &[(STOCK, "plan_acquisition"), (STOCK, "adopt_leadership")],
};

const DEPOSED: Text = Text {
    id: "deposed-leaders-redirect",
    topic: Topic::Leadership,
    title: "A deposed leader sends its clients on",
    rule: "A replica that learns of a newer epoch answers all purchases that wait with \"not the \
           leader\".",
    wrong: "Replica 2 learns that it leads no more, and keeps silent. The purchases that wait \
            there are answered by no replica.",
    why: "The front-end retries under the same key at the new leader. So \"not the leader\" is a \
          complete answer: it commits to nothing, and it ends the wait.",
    question: "Replica 2 now learns that replica 1 leads. Client 1's purchase waits at \
               replica 2. What does client 1 hear?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "Nothing: it waits in vain",
        "Replica 2 answers: not the leader",
        "Replica 1 answers: order 0",
    ],
    broken: "Client 1 waits at a replica that does not lead.",
    instead: "Replica 2 answers: not the leader. The front-end goes to replica 1, with the same \
              key.",
    code: &[(LEADERSHIP, "recorded"), ("src/order/core/effects.rs", "Effects")],
};

const ROWS: Text = Text {
    id: "rows-continue-the-log",
    topic: Topic::History,
    title: "Rows must continue the log",
    rule: "A replica takes rows only if they continue its log or repeat what it has; else it \
           reports a gap.",
    wrong: "Rows arrive twice, and the replica appends them to whatever it has: order 0 stands in \
            its log as order 0 and as order 1.",
    why: "Each message with rows names the position that they follow: length and hash of the log \
          so far. With that check, repeats and gaps do no harm, and every log is a prefix of the \
          journal.",
    question: "Replica 1 has fetched order 0. Now the leader's copy of order 0 arrives, too. What \
               does replica 1 have then?",
    asked: Asked::BeforeTheEnd,
    choices: &[
        "Order 0 twice, as orders 0 and 1",
        "Order 0 once",
        "Nothing: it puts its log aside",
    ],
    broken: "The log of replica 1 says that there is an order 1. The journal has none.",
    instead: "The rows that the leader names begin beyond this log: replica 1 reports a gap, and \
              takes nothing.",
    code: &[(LOG, "take"), ("src/wire/order.rs", "continued_by")],
};

const FOREIGN: Text = Text {
    id: "foreign-logs-cannot-lead",
    topic: Topic::History,
    title: "Whose log is this?",
    rule: "A nominee's log must be a prefix of the journal, else the catalog refuses it the \
           leadership.",
    wrong: "Replica 1 has the disk of another store: its log has an order that this journal never \
            had. As leader, it would answer queries from that log.",
    why: "Length and hash of a log fit in a few bytes and tell whether it is a prefix of the \
          journal. A log that is none is put aside, and fetched anew.",
    question: "Replica 1 has an order 0 that the journal does not know. It is nominated. What \
               does the catalog answer?",
    asked: Asked::BeforeTheDivergence,
    choices: &[
        "Replica 1 leads in epoch 2",
        "It refuses: the log is foreign",
        "It adds the order to the journal",
    ],
    broken: "Replica 1 leads with an order 0 that was never sold here.",
    instead: "The hash of replica 1's log is not that of any prefix of the journal. It cannot \
              lead.",
    code: &[(STOCK, "plan_acquisition"), ("src/wire/order.rs", "Position")],
};

/// What a schedule may have, for a rule.
type May = fn(&State, &Step) -> bool;

fn anything(_: &State, _: &Step) -> bool {
    true
}

/// A batch that was given up is lost, and does not arrive later.
fn no_late_batch(_: &State, step: &Step) -> bool {
    !matches!(step, Step::ArriveLate(_))
}

/// The rules, in the order in which they are best read, each in a world that is just large enough.
fn rules() -> Vec<(Text, Rule, Size, &'static str, May)> {
    const NOTHING: Left = Left {
        tries: 1,
        queries: 0,
        nominations: 0,
        crashes: 0,
        catalog_crashes: 0,
        doubts: 0,
        waits: 0,
        restocks: 0,
        full_disks: 0,
        appends: 0,
    };
    const WORLD: Size =
        Size { replicas: 2, stock: 1, wants: &[1], rises: 0, foreign: false, left: NOTHING };
    let with = |left| Size { left, ..WORLD };
    let doubt = Left { doubts: 1, ..NOTHING };
    let twice = Left { tries: 2, ..NOTHING };
    let crash = Left { catalog_crashes: 1, ..NOTHING };
    let query = Left { queries: 1, ..NOTHING };
    let full = Left { full_disks: 1, ..NOTHING };
    let appends = with(Left { appends: 2, ..NOTHING });
    let nomination = with(Left { nominations: 1, ..NOTHING });
    let refused = Size { wants: &[1, 1], ..with(Left { restocks: 1, ..doubt }) };
    let another_body = Size { stock: 3, rises: 1, ..with(twice) };
    let two_elections = with(Left { nominations: 2, ..crash });
    let copied = Size { stock: 3, ..with(Left { appends: 3, ..NOTHING }) };
    let foreign = Size { foreign: true, ..nomination };
    let two = |size| Size { stock: 2, ..size };
    vec![
        (KEYS, Rule::KeysAreLookedUp, two(with(doubt)), SOLD_ONCE, no_late_batch),
        (RETRY, Rule::RetriesKeepTheirKey, two(with(twice)), SOLD_ONCE, anything),
        (TRANSACTION, Rule::OneTransaction, two(with(crash)), SOLD_ONCE, anything),
        (REFUSALS, Rule::RefusalsAreRecorded, refused, REFUSED, anything),
        (BODIES, Rule::BodiesAreCompared, another_body, ORDERED, anything),
        (LOST_BATCH, Rule::LostBatchesAreAskedAgain, with(doubt), ANSWERED, anything),
        (LEADERS_DISK, Rule::DurableBeforeAcknowledgement, WORLD, DURABLE, anything),
        (LIVE, Rule::LiveFollowersBeforeAcknowledgement, appends, DURABLE, anything),
        (FOLLOWER_WRITES, Rule::FollowersWriteBeforeAcknowledgement, appends, DURABLE, anything),
        (LOST_FOLLOWER, Rule::LostFollowersAreNotAwaited, appends, ANSWERED, anything),
        (BEHIND, Rule::LeadersBehindFetch, with(full), ANSWERED, anything),
        (ABSENCE, Rule::AbsenceIsConfirmed, with(query), FOUND, anything),
        (EPOCH, Rule::EpochOfBatches, nomination, HELD, anything),
        (FETCH_FIRST, Rule::NomineesFetchFirst, nomination, HELD, anything),
        (EPOCH_ON_DISK, Rule::EpochDurableBeforeAnswer, two_elections, ONE_LEADER, anything),
        (DEPOSED, Rule::DeposedLeadersRedirectWaiters, nomination, ANSWERED, anything),
        (ROWS, Rule::RowsContinueTheLog, copied, PREFIXES, anything),
        (FOREIGN, Rule::ForeignLogsCannotLead, foreign, PREFIXES, anything),
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
            without: Purchases::new(size, Some(rule)),
            with: Purchases::new(size, None),
            property,
            may,
        };
        lesson.check("purchases");
    }
}
