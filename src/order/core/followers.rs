//! The leader's view of its followers: whose acknowledgements an order waits for.
//!
//! A follower is *live* while it keeps up. One that owes an acknowledgement for too long leaves the
//! live set, and nobody waits for it until it has caught up. The set is soft state: a new leader
//! begins with an empty one. That no order is lost rests on the journal, not on it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::wire::replication::ReplicaId;

/// A follower that has owed an acknowledgement for so long leaves the live set. Well above what an
/// fsync takes on a disk that is well, well below what a client would event.
pub const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_millis(300);
/// A follower that is at most so many orders behind may join the live set: one message brings it
/// up, and under load it would never be seen with every last order.
const NEARLY: u64 = 256;

/// All followers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Followers {
    by_id: BTreeMap<ReplicaId, Follower>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Follower {
    /// The length that it has acknowledged, once it has said anything.
    length: Option<u64>,
    state: State,
    /// When it was sent the message that it has yet to answer.
    sent: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Acknowledgements wait for it. `owes_since` is when it was sent what it has not acknowledged.
    Live { owes_since: Option<Instant> },
    /// Away, or catching up; nobody waits for it.
    Behind,
}

impl Followers {
    /// Followers of which nothing is known yet.
    #[must_use]
    pub fn new(ids: impl IntoIterator<Item = ReplicaId>) -> Self {
        let new = Follower { length: None, state: State::Behind, sent: None };
        Self { by_id: ids.into_iter().map(|id| (id, new.clone())).collect() }
    }

    /// The length that a follower has acknowledged, if it has said anything. `None` if there is no
    /// such follower.
    #[must_use]
    pub fn length_of(&self, id: ReplicaId) -> Option<Option<u64>> {
        self.by_id.get(&id).map(|follower| follower.length)
    }

    /// Notes that a follower's log has this length, while the leader's on disk has `durable`.
    pub fn has(&mut self, id: ReplicaId, length: u64, durable: u64, now: Instant) {
        let Some(follower) = self.by_id.get_mut(&id) else { return };
        follower.length = Some(length);
        let was_prompt =
            follower.sent.take().is_some_and(|sent| now < sent + ACKNOWLEDGEMENT_TIMEOUT);
        let has_all = length >= durable;
        follower.state = match follower.state {
            State::Live { .. } => State::Live { owes_since: (!has_all).then_some(now) },
            // One that was too slow comes back only by being quick.
            State::Behind if was_prompt && length + NEARLY >= durable => {
                State::Live { owes_since: (!has_all).then_some(now) }
            }
            State::Behind => State::Behind,
        };
    }

    /// Notes that a follower's log ends at this length, before the rows that it was sent. It has
    /// written nothing, and is not waited for until it has.
    pub fn lacks(&mut self, id: ReplicaId, length: u64) {
        let Some(follower) = self.by_id.get_mut(&id) else { return };
        *follower = Follower { length: Some(length), state: State::Behind, sent: None };
    }

    /// Notes that a follower is sent a message, for which it owes an acknowledgement from now on.
    pub fn owes(&mut self, id: ReplicaId, now: Instant) {
        let Some(follower) = self.by_id.get_mut(&id) else { return };
        follower.sent = Some(now);
        if let State::Live { owes_since: owes_since @ None } = &mut follower.state {
            *owes_since = Some(now);
        }
    }

    /// Notes that a follower did not answer. True if it was live until now.
    pub fn lost(&mut self, id: ReplicaId) -> bool {
        let Some(follower) = self.by_id.get_mut(&id) else { return false };
        follower.length = None;
        std::mem::replace(&mut follower.state, State::Behind) != State::Behind
    }

    /// Takes those out of the live set that have owed an acknowledgement for too long.
    pub fn drop_slow(&mut self, now: Instant) -> Vec<ReplicaId> {
        let mut dropped = Vec::new();
        for (id, follower) in &mut self.by_id {
            if let State::Live { owes_since: Some(since) } = follower.state
                && now >= since + ACKNOWLEDGEMENT_TIMEOUT
            {
                follower.state = State::Behind;
                dropped.push(*id);
            }
        }
        dropped
    }

    /// Those that acknowledgements wait for.
    pub fn live(&self) -> impl Iterator<Item = ReplicaId> {
        let live = self.by_id.iter().filter(|(_, one)| one.state != State::Behind);
        live.map(|(id, _)| *id)
    }

    /// The length that all live followers have. `None` if none is live.
    #[must_use]
    pub fn least_length(&self) -> Option<u64> {
        let live = self.by_id.values().filter(|follower| follower.state != State::Behind);
        live.filter_map(|follower| follower.length).min()
    }
}
