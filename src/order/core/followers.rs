//! The leader's followers: what each is sent, and which of them an acknowledgement waits for.
//!
//! # The idea
//!
//! An order is acknowledged once it is on the leader's disk and on that of every *live* follower. A
//! follower is live while it keeps up (as in Kafka's set of in-sync replicas): it leaves the live
//! set when a message to it fails or it has not acknowledged one for [`ACKNOWLEDGEMENT_TIMEOUT`],
//! and joins by acknowledging one within that time.
//!
//! ```text
//! leader                                   follower
//!   | append 7 ----------------------------->| (hangs)
//!   |  order 7 waits                         |
//!   |  300 ms: it is not live any more       |
//!   |  order 7 is acknowledged without it    |
//!   | append 7, again ---------------------->| wakes up
//!   |<------------------------- synced to 7 -| answered in time: live again
//! ```
//!
//! A follower answers a message once its rows are on disk. One whose log ends before them answers
//! with a *gap*, which says where to continue and acknowledges nothing. A message without rows is a
//! heartbeat, and must be acknowledged in time like any other: so a follower that hangs is noticed
//! before the next purchase has to wait for it.
//!
//! # What is left out
//!
//! A quorum, and any record of the live set: a new leader begins with an empty one. That no order
//! is lost rests on the journal; the live set makes the next leader's log complete, so that it can
//! sell at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Core;
use super::effects::Event;
use super::leadership::Mode;
use super::log::NotTaken;
use crate::wire::order::Rows;
use crate::wire::replication::{AppendReply, AppendRequest, Leadership, ReplicaId};

/// A follower that has not acknowledged a message for this long leaves the live set. Well above the
/// time of an fsync on a disk that works, well below what a client would notice.
pub const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_millis(300);
/// How often an idle leader sends its only follower a heartbeat, and one that is not live. Each of
/// several gets one less often: of two every half second, of eight or more every two seconds.
/// Together with the timeout above, a follower that hangs in an idle store of three replicas has
/// left the live set in less than a second.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait before a follower that did not answer is sent the next message: a few attempts
/// a second, so that a follower that comes back is live again soon.
pub const ABSENCE_PAUSE: Duration = Duration::from_millis(100);
/// A follower that is at most this many orders behind may join the live set: one message brings it
/// up, and under load it would never be seen with every last order.
const MOST_BEHIND: u64 = 256;

/// When a follower may be sent the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAppend {
    /// As soon as there is one.
    AtOnce,
    /// After [`ABSENCE_PAUSE`]: it did not answer, it named another leadership, or its log has
    /// diverged.
    AfterPause,
}

/// Why a replica takes no rows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAppended {
    /// The sender does not lead any more; this is the newest leadership.
    Stale(Leadership),
    /// This replica leads itself, as far as it knows: it asks the catalog first.
    Leads,
}

/// All followers of a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Followers {
    by_id: BTreeMap<ReplicaId, Follower>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Follower {
    /// The length of its log in its last answer. `None` before the first, and after it was lost.
    length: Option<u64>,
    liveness: Liveness,
    /// When it was sent the message that it has yet to answer.
    sent: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Liveness {
    /// Acknowledgements wait for it. It was sent something at `unacknowledged_since` that it has
    /// not acknowledged.
    Live { unacknowledged_since: Option<Instant> },
    /// Down, slow or catching up: acknowledgements do not wait for it.
    Behind,
}

impl<W> Core<W> {
    /// Returns the number of the first row that a follower is to be sent; `None` unless this
    /// replica leads.
    #[must_use]
    pub fn cursor_of(&self, follower: ReplicaId) -> Option<u64> {
        let length = self.followers()?.by_id.get(&follower)?.length;
        // A follower that has not answered yet is sent a message without rows, to learn its length.
        Some(length.unwrap_or(self.accepted().length))
    }

    /// Returns whether there are rows that a follower lacks, as far as this replica knows: it is
    /// sent a message now. Else a heartbeat will do.
    #[must_use]
    pub fn has_rows_for(&self, follower: ReplicaId) -> bool {
        self.cursor_of(follower).is_some_and(|cursor| cursor < self.accepted().length)
    }

    /// Returns the message that carries `rows` to a follower, which must acknowledge it in time
    /// from `now` on; `None` if this replica does not lead any more.
    pub fn append_to(
        &mut self,
        follower: ReplicaId,
        rows: Rows,
        now: Instant,
    ) -> Option<AppendRequest> {
        self.followers_mut()?.sent(follower, now);
        let origins = self.origins(&rows);
        let leader_length = self.accepted().length;
        Some(AppendRequest { leadership: self.leadership, rows, leader_length, origins })
    }

    /// Handles the leader's message: its rows are to be [taken](Core::take) next.
    ///
    /// # Errors
    ///
    /// If the sender does not lead any more, or this replica leads as far as it knows.
    pub fn append(&mut self, request: &AppendRequest) -> Result<(), NotAppended> {
        self.hinted(request.leadership);
        let (own, theirs) = (self.leadership.epoch, request.leadership.epoch);
        if own > theirs || (own == theirs && self.has_acquired()) {
            return Err(NotAppended::Stale(self.leadership));
        }
        if self.has_acquired() {
            return Err(NotAppended::Leads);
        }
        self.heard_of(request.leader_length);
        Ok(())
    }

    /// Returns the answer to the leader, once its rows are on disk or were not taken. `None` if
    /// they could not be written: the leader must not take any answer for an acknowledgement.
    pub fn appended(&mut self, taken: Result<(), NotTaken>) -> Option<AppendReply> {
        match taken {
            Ok(()) => {
                self.note_caught_up();
                Some(AppendReply::Synced { length: self.durable().length })
            }
            Err(NotTaken::Gap(length)) => Some(AppendReply::Gap { length }),
            Err(NotTaken::Diverged) => {
                self.doubt_log();
                Some(AppendReply::Diverged)
            }
            Err(NotTaken::NotWritten) => None,
        }
    }

    /// Handles a follower's answer; `None` if there was none.
    pub fn append_answered(
        &mut self,
        follower: ReplicaId,
        reply: Option<AppendReply>,
        now: Instant,
    ) -> NextAppend {
        let durable = self.durable().length;
        let is_lost = matches!(reply, Some(AppendReply::Diverged) | None);
        let next = match reply {
            Some(AppendReply::Synced { length }) => {
                if let Some(followers) = self.followers_mut()
                    && followers.acknowledged(follower, length, durable, now)
                {
                    self.effects.events.push(Event::FollowerLive(follower));
                }
                NextAppend::AtOnce
            }
            Some(AppendReply::Gap { length }) => {
                if let Some(followers) = self.followers_mut() {
                    followers.note_gap(follower, length);
                }
                NextAppend::AtOnce
            }
            Some(AppendReply::Stale(leadership)) => {
                self.hinted(leadership);
                // It may be a while until the catalog says whether that is so.
                NextAppend::AfterPause
            }
            Some(AppendReply::Diverged) => {
                self.effects.events.push(Event::FollowerDiverged(follower));
                NextAppend::AfterPause
            }
            None => NextAppend::AfterPause,
        };
        if is_lost && self.followers_mut().is_some_and(|followers| followers.lost(follower)) {
            self.effects.events.push(Event::FollowerLost(follower));
        }
        self.acknowledge(now);
        next
    }

    /// Takes followers out of the live set that have not acknowledged a message in time.
    pub fn drop_slow_followers(&mut self, now: Instant) {
        let slow = self.followers_mut().map(|followers| followers.drop_slow(now));
        self.effects.events.extend(slow.into_iter().flatten().map(Event::FollowerSlow));
        self.acknowledge(now);
    }

    /// Returns whether a live follower has yet to acknowledge a message.
    #[must_use]
    pub fn awaits_acknowledgements(&self) -> bool {
        let mut all = self.followers().into_iter().flat_map(|followers| followers.by_id.values());
        all.any(|one| matches!(one.liveness, Liveness::Live { unacknowledged_since: Some(_) }))
    }

    /// Returns the followers that acknowledgements wait for; none unless this replica leads.
    pub fn live_followers(&self) -> impl Iterator<Item = ReplicaId> {
        let all = self.followers().into_iter().flat_map(|followers| &followers.by_id);
        all.filter(|(_, one)| one.liveness != Liveness::Behind).map(|(id, _)| *id)
    }

    /// Returns the length that all live followers have acknowledged; `None` if none is live.
    pub(super) fn least_live_length(&self) -> Option<u64> {
        let all = self.followers().into_iter().flat_map(|followers| followers.by_id.values());
        let live = all.filter(|one| one.liveness != Liveness::Behind);
        live.filter_map(|one| one.length).min()
    }

    fn followers(&self) -> Option<&Followers> {
        match &self.mode {
            Mode::Leading(followers) => Some(followers),
            Mode::Following | Mode::Activating => None,
        }
    }

    fn followers_mut(&mut self) -> Option<&mut Followers> {
        match &mut self.mode {
            Mode::Leading(followers) => Some(followers),
            Mode::Following | Mode::Activating => None,
        }
    }
}

impl Followers {
    /// Followers that have not answered yet.
    pub(super) fn new(ids: impl IntoIterator<Item = ReplicaId>) -> Self {
        let new = Follower { length: None, liveness: Liveness::Behind, sent: None };
        Self { by_id: ids.into_iter().map(|id| (id, new.clone())).collect() }
    }

    /// Notes that a follower is sent a message.
    fn sent(&mut self, id: ReplicaId, now: Instant) {
        let Some(follower) = self.by_id.get_mut(&id) else { return };
        follower.sent = Some(now);
        if let Liveness::Live { unacknowledged_since: since @ None } = &mut follower.liveness {
            *since = Some(now);
        }
    }

    /// Notes that a follower's log has this length on disk, while the leader's has `durable`.
    /// Returns whether it is live from now on.
    fn acknowledged(&mut self, id: ReplicaId, length: u64, durable: u64, now: Instant) -> bool {
        let Some(follower) = self.by_id.get_mut(&id) else { return false };
        follower.length = Some(length);
        let in_time = follower.sent.take().is_some_and(|sent| now < sent + ACKNOWLEDGEMENT_TIMEOUT);
        let was_live = follower.liveness != Liveness::Behind;
        if was_live || (in_time && length + MOST_BEHIND >= durable) {
            let unacknowledged_since = (length < durable).then_some(now);
            follower.liveness = Liveness::Live { unacknowledged_since };
            return !was_live;
        }
        false
    }

    /// Notes that a follower's log ends at this length, before the rows that it was sent. It has
    /// written nothing, so acknowledgements do not wait for it until it has.
    fn note_gap(&mut self, id: ReplicaId, length: u64) {
        let Some(follower) = self.by_id.get_mut(&id) else { return };
        *follower = Follower { length: Some(length), liveness: Liveness::Behind, sent: None };
    }

    /// Notes that a follower did not answer. Returns whether it was live until now.
    fn lost(&mut self, id: ReplicaId) -> bool {
        let Some(follower) = self.by_id.get_mut(&id) else { return false };
        follower.length = None;
        std::mem::replace(&mut follower.liveness, Liveness::Behind) != Liveness::Behind
    }

    /// Takes those out of the live set that have not acknowledged a message in time.
    fn drop_slow(&mut self, now: Instant) -> Vec<ReplicaId> {
        let mut dropped = Vec::new();
        for (id, follower) in &mut self.by_id {
            if let Liveness::Live { unacknowledged_since: Some(since) } = follower.liveness
                && now >= since + ACKNOWLEDGEMENT_TIMEOUT
            {
                follower.liveness = Liveness::Behind;
                dropped.push(*id);
            }
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use super::*;

    /// The follower is sent a message.
    fn send(core: &mut Core<u32>, now: Instant) {
        let rows = Rows::none(core.durable());
        assert!(core.append_to(OTHER, rows, now).is_some());
    }

    /// The follower answers that its log has this length.
    fn synced(core: &mut Core<u32>, length: u64, now: Instant) {
        let reply = Some(AppendReply::Synced { length });
        assert_eq!(core.append_answered(OTHER, reply, now), NextAppend::AtOnce);
    }

    /// The follower is sent a message and answers it at once.
    fn send_and_synced(core: &mut Core<u32>, length: u64, now: Instant) {
        send(core, now);
        synced(core, length, now);
    }

    #[test]
    fn a_leader_awaits_live_followers_only_and_until_they_acknowledge() {
        let (mut core, now) = (leader(0), crate::clock::now());
        send(&mut core, now);
        assert!(!core.awaits_acknowledgements(), "it is not live yet");
        synced(&mut core, 0, now);
        assert!(!core.awaits_acknowledgements());
        send(&mut core, now);
        assert!(core.awaits_acknowledgements());
        synced(&mut core, 0, now);
        assert!(!core.awaits_acknowledgements());
        send(&mut core, now);
        assert!(lose(&mut core, now));
        assert!(!core.awaits_acknowledgements(), "it is not live any more");
    }

    /// The follower does not answer. Returns whether it was live until now.
    fn lose(core: &mut Core<u32>, now: Instant) -> bool {
        core.take_effects();
        assert_eq!(core.append_answered(OTHER, None, now), NextAppend::AfterPause);
        core.take_effects().events == [Event::FollowerLost(OTHER)]
    }

    fn drop_slow(core: &mut Core<u32>, now: Instant) -> Vec<Event> {
        core.take_effects();
        core.drop_slow_followers(now);
        core.take_effects().events
    }

    #[test]
    fn acknowledgements_do_not_wait_for_a_follower_that_never_answered() {
        let mut core = leader(0);
        let write = core.take(&stretch(0, 3)).unwrap();
        assert_eq!(core.acknowledged_length(), Some(0));
        core.written(write.log, end_of(&journal(3)), crate::clock::now());
        assert_eq!(core.acknowledged_length(), Some(3));
    }

    #[test]
    fn acknowledgements_wait_for_a_live_follower_but_not_beyond_the_timeout() {
        let now = crate::clock::now();
        let mut core = leader(0);
        send_and_synced(&mut core, 0, now);
        take_and_write(&mut core, &stretch(0, 3));
        send(&mut core, now);
        assert_eq!(core.acknowledged_length(), Some(0));
        synced(&mut core, 2, now);
        assert_eq!(core.acknowledged_length(), Some(2));
        assert_eq!(drop_slow(&mut core, now), []);
        let late = now + ACKNOWLEDGEMENT_TIMEOUT;
        assert_eq!(drop_slow(&mut core, late), [Event::FollowerSlow(OTHER)]);
        assert_eq!(core.acknowledged_length(), Some(3));
    }

    #[test]
    fn a_follower_that_was_too_slow_comes_back_only_by_being_quick() {
        let now = crate::clock::now();
        let late = now + ACKNOWLEDGEMENT_TIMEOUT;
        let mut core = leader(3);
        send_and_synced(&mut core, 3, now);
        send(&mut core, now);
        assert_eq!(drop_slow(&mut core, late), [Event::FollowerSlow(OTHER)]);
        synced(&mut core, 3, late);
        assert!(!lose(&mut core, late), "its answer was late");
        send_and_synced(&mut core, 3, late);
        assert!(lose(&mut core, late), "it was live again");
    }

    #[test]
    fn acknowledgements_do_not_wait_for_a_follower_that_wrote_nothing() {
        let now = crate::clock::now();
        let mut core = leader(3);
        send_and_synced(&mut core, 3, now);
        let gap = Some(AppendReply::Gap { length: 2 });
        assert_eq!(core.append_answered(OTHER, gap, now), NextAppend::AtOnce);
        assert_eq!(core.acknowledged_length(), Some(3));
        assert_eq!(core.cursor_of(OTHER), Some(2));
    }

    #[test]
    fn acknowledgements_wait_again_for_a_follower_that_caught_up() {
        let now = crate::clock::now();
        let mut core = leader(3);
        send_and_synced(&mut core, 3, now);
        assert!(lose(&mut core, now));
        assert!(!lose(&mut core, now));
        take_and_write(&mut core, &stretch(3, 4));
        assert_eq!(core.acknowledged_length(), Some(4));
        send_and_synced(&mut core, 4, now);
        take_and_write(&mut core, &stretch(4, 5));
        assert_eq!(core.acknowledged_length(), Some(4));
        assert!(core.has_rows_for(OTHER));
    }
}
