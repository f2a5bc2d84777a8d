//! Watches the network: the trace's lines, and the rare paths of the protocol.

use std::rc::Rc;
use std::time::Duration;

use toystore::transport::{CallError, MISDIRECTED, Message};
use toystore::wire::calls::{Buy, GetJournal, GetRows};
use toystore::wire::lease::{FillRequest, Invalidation, RenewalReply};
use toystore::wire::order::Rows;
use toystore::wire::purchase::{CommitReply, CommitRequest, Decision, PurchaseReply, Verdict};
use toystore::wire::replication::{
    AcquisitionReply, AppendReply, AppendRequest, CatalogReport, Epoch, Nomination,
    NominationReply, OrderReply, ReplicaId,
};

use super::cluster::{Cluster, has_many_replicas};
use super::message::{Node, ShowToy, Shown};

type Reply = Result<Rc<dyn Message>, CallError>;

/// Sees all messages.
pub(crate) trait Observer {
    /// A call leaves its sender.
    fn sent(&self, from: Node, to: Node, call: &dyn Message);
    /// A call arrives, maybe for the second time.
    fn arrived(&self, from: Node, to: Node, call: &dyn Message);
    /// A call is answered, so long after it arrived.
    fn answered(&self, from: Node, to: Node, call: &dyn Message, reply: &Reply, took: Duration);
    /// An answer that was held up arrives.
    fn held(&self, from: Node, to: Node, answer: &dyn Message);
    /// The caller has the answer, or waits no longer.
    fn received(&self, from: Node, to: Node, call: &dyn Message, reply: &Reply);
}

impl Observer for Cluster {
    fn sent(&self, from: Node, to: Node, call: &dyn Message) {
        self.world.trace(from, || format!("-> {to}: {call:?}"));
        self.transcript.message(&self.world, from, to, call);
        if is::<GetJournal>(call)
            && let Node::Replica(id) = from
        {
            match self.replica(id, |core| (core.has_acquired(), core.leads())) {
                Some((true, None)) => self.world.reached("a leader began by fetching"),
                Some((true, Some(_))) => self.world.reached("a leader fetched what it lacked"),
                Some((false, _)) | None => {}
            }
        }
        if let Some(buy) = cast::<Buy>(call) {
            let key = buy.purchase.key.clone();
            self.first_asked.borrow_mut().entry(key).or_insert(to);
        }
        if let Some(invalidation) = cast::<Invalidation>(call)
            && self.is_repeated(invalidation)
        {
            self.world.reached("an invalidation was sent again");
        }
    }

    fn arrived(&self, from: Node, to: Node, call: &dyn Message) {
        self.transcript.arrival(from, to, call);
        if let (Node::Replica(id), Some(append)) = (to, cast::<AppendRequest>(call)) {
            let accepted = self.replica(id, |core| core.accepted().length).unwrap_or_default();
            if !append.rows.orders.is_empty() && append.rows.after.length < accepted {
                self.world.reached("rows came that were there already");
            }
        }
    }

    fn held(&self, from: Node, to: Node, answer: &dyn Message) {
        self.transcript.note(&self.world, to, || format!("the answer of the {from} arrives"));
        self.transcript.released(&self.world, from, to, answer);
    }

    fn answered(&self, from: Node, to: Node, call: &dyn Message, reply: &Reply, took: Duration) {
        let Ok(reply) = reply else { return };
        let (world, reply) = (&self.world, &**reply);
        self.transcript.answer(world, (from, to), call, reply);
        if is::<Buy>(call)
            && let Node::Replica(id) = to
        {
            match cast::<PurchaseReply>(reply) {
                Some(PurchaseReply::Decided(decision)) => {
                    self.judge.leader_answers(self, ReplicaId(id), *decision);
                }
                Some(PurchaseReply::NotLeader(_)) if took > Duration::ZERO => {
                    world.reached("a leader's waiters were sent to the next one");
                }
                Some(PurchaseReply::NotLeader(_)) | None => {}
            }
        }
        if let (Some(ShowToy(name)), Some(shown)) = (cast(call), cast::<Shown>(reply))
            && !shown.is_hit
        {
            let mut fills = self.fills.borrow_mut();
            let answered = fills.entry((to, name.clone())).or_default();
            *answered += 1;
            if *answered == 2 {
                world.reached("a miss was shared");
            }
        }
        if let Some(NominationReply::Won(leadership)) = cast(reply) {
            if took == Duration::ZERO {
                world.reached("a nominee led already");
            } else if leadership.epoch > Epoch(1) && has_many_replicas(world) {
                world.reached("a leader of many replicas was replaced");
            }
        }
        if let Some(CommitReply::Decided { verdicts, rows }) = cast(reply) {
            if verdicts.contains(&Verdict::Wait) {
                world.reached("a purchase waited for a front-end");
            }
            let batch = cast::<CommitRequest>(call).expect("the question to this answer");
            let new = |verdict: &&Verdict| {
                let Verdict::Decided(Decision::Granted(number)) = verdict else { return false };
                number.0 >= batch.log.length
            };
            if rows.orders.len() > verdicts.iter().filter(new).count() {
                world.reached("a batch was answered with rows of the journal");
            }
        }
        if let (Some(AcquisitionReply::Lost(status)), Node::Replica(id)) = (cast(reply), from) {
            let leader = status.leadership.leader.map(|leader| leader.0);
            world.reached(if leader == Some(id) {
                "an acquisition that was won before was taken up"
            } else {
                "an acquisition was lost"
            });
        }
        if let Some(RenewalReply::Expired) = cast(reply) {
            world.reached("a session ran out");
        }
    }

    fn received(&self, from: Node, to: Node, call: &dyn Message, reply: &Reply) {
        let world = &self.world;
        let reply = match reply {
            Ok(reply) => &**reply,
            Err(error) => {
                world.trace(from, || format!("<- {to}: {error}, asked {call:?}"));
                self.transcript.failure(world, (from, to), call, error);
                if is::<CommitRequest>(call) {
                    world.reached("a batch was in doubt and was asked again");
                }
                if matches!(error, CallError::Refused { status: MISDIRECTED, .. }) {
                    world.reached(if is::<Invalidation>(call) {
                        "an invalidation reached a process that does not hold the session"
                    } else {
                        "a call reached another process than it was meant for"
                    });
                }
                if is::<Nomination>(call) {
                    world.reached("a nominee could not lead");
                }
                return;
            }
        };
        world.trace(from, || format!("<- {to}: {reply:?}"));
        self.transcript.reply(from, to, call);
        match cast(reply) {
            Some(CommitReply::Deposed(_)) => {
                world.reached("a batch of a deposed leader was refused");
            }
            Some(CommitReply::Decided { .. }) => {
                let batch = cast::<CommitRequest>(call).expect("the question to this answer");
                let leads = self.replica(batch.leader.0, |core| core.leads()).flatten();
                if leads != Some(batch.epoch) {
                    world.reached("a batch's answer found its leader deposed");
                }
            }
            None => {}
        }
        if let (Some(buy), Some(PurchaseReply::Decided(_))) = (cast::<Buy>(call), cast(reply)) {
            let first = self.first_asked.borrow_mut().remove(&buy.purchase.key);
            if first.is_some_and(|first| first != to) {
                let path = "a purchase was answered by another leader than it was asked of first";
                world.reached(path);
            }
        }
        if let Some(fill) = cast::<FillRequest>(call) {
            self.fills.borrow_mut().insert((from, fill.name.clone()), 0);
        }
        if let Some(CatalogReport { stopped: Some(_), .. }) = cast(reply) {
            world.reached("sales waited for replicas to be heard");
        }
        if let Some(NominationReply::Unable(_)) = cast(reply) {
            world.reached("a nominee could not lead");
        }
        match cast(reply) {
            Some(AppendReply::Gap { .. }) => world.reached("a follower had a gap"),
            Some(AppendReply::Stale(_)) => {
                world.reached("a leader heard of its end from a follower");
            }
            Some(AppendReply::Diverged) => {
                // A leader that has all of a restored journal, and less than its follower.
                assert!(self.is_behind(), "{from} and {to} diverged");
            }
            Some(AppendReply::Synced { .. }) | None => {}
        }
        if let (Some(OrderReply::Unknown), Node::Catalog | Node::Candidate(_)) = (cast(reply), to) {
            world.reached("an order was confirmed not to be there");
        }
        if let (Some(rows), Node::Replica(id)) = (cast::<Rows>(reply), from) {
            if !rows.orders.is_empty() {
                world.reached(if is::<GetRows>(call) {
                    "a replica caught up from a peer"
                } else {
                    "a replica caught up from the journal"
                });
            }
            let accepted = self.replica(id, |core| core.accepted().length).unwrap_or_default();
            if rows.after.length > accepted {
                world.reached("fetched rows were overtaken");
            }
        }
    }
}

/// Rare paths that the services name in their logs: what is logged, and the path.
const LOGGED: [(&str, &str); 7] = [
    ("the lease ended while the cache was read", "a lease ended between look-up and answer"),
    ("an invalidation overtook the answer", "an answer was overtaken by its invalidation"),
    ("is slow to acknowledge an invalidation", "a front-end was late with an acknowledgement"),
    ("a restock waits for front-ends", "a restock had to wait"),
    ("ends: another replica leads", "an attempt ended because another replica leads"),
    ("does not answer; ", "a follower was lost"),
    ("is slow; ", "a follower was slow"),
];

impl Cluster {
    /// Takes a line that a service logs.
    pub(crate) fn logged(&self, line: &str) {
        for (text, path) in LOGGED {
            if line.contains(text) {
                self.world.reached(path);
            }
        }
    }
}

/// A text that no service logs any more would only be noticed by the path that no seed reached.
#[test]
fn every_text_that_a_rare_path_is_known_by_is_in_the_sources() {
    let sources = [
        include_str!("../../src/catalog/tasks.rs"),
        include_str!("../../src/frontend/leader.rs"),
        include_str!("../../src/frontend/service.rs"),
        include_str!("../../src/order/core/effects.rs"),
    ];
    for (text, path) in LOGGED {
        assert!(sources.iter().any(|source| source.contains(text)), "{path}: {text}");
    }
}

fn cast<T: 'static>(message: &dyn Message) -> Option<&T> {
    message.as_any().downcast_ref()
}

fn is<T: 'static>(message: &dyn Message) -> bool {
    message.as_any().is::<T>()
}
