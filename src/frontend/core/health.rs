//! The health of an order replica as one front-end sees it: ready, doubtful, unfit or gone.
//!
//! # When a replica is gone
//!
//! A front-end checks each replica's health every 100 ms, and those less often that follow a leader
//! which works, if there are several. The address of a process that was killed refuses
//! connections: the replica is gone at once. A process that was paused accepts connections and
//! never answers: the replica is gone after [`MOST_MISSES`] checks in a row without an answer. In
//! between it is *doubtful*: it may be busy, so it keeps its leadership, but is not nominated. An
//! answer to any other request counts as an answer to a health check.
//!
//! ```text
//! check      answer  miss      miss      miss      answer
//! condition  ready   doubtful  doubtful  gone      ready
//! ```
//!
//! How long a check waits for its answer follows from how long the last ones took, as TCP's
//! retransmission timeout does (RFC 6298): a replica that usually answers within a few milliseconds
//! is missed after [`SHORTEST_LIMIT`], and one that is busy or far away gets up to
//! [`LONGEST_LIMIT`]. A miss is checked again at once. So a leader that hangs is replaced after
//! about a third of a second. One that is gone gets [`LIMIT_IF_GONE`], or it would stay gone after
//! its link has become slow:
//!
//! ```text
//! an answer takes    2 ms    100 ms  100 ms  100 ms  100 ms  100 ms
//! the limit          250     80      80      80      1,000   250
//! check              answer  miss    miss    miss    answer  answer
//! condition          ready   doubtful        gone    ready
//! ```
//!
//! # When a front-end has just started
//!
//! It checks often, since roles that start together are there within some milliseconds of each
//! other. The first "ready" counts at once, and all else at the usual pace ([`EarlyChecks`]): what
//! is counted in checks lasts as long as ever, and a lower id does not lead because it was a little
//! faster than one that is not there yet.
//!
//! ```text
//! check, every 10 ms    1        2        3      4      5
//! replica 3             refused  refused  unfit  unfit  ready
//! replica 2             refused  ready    ready  ready  ready
//! nominated                                             replica 3
//! ```
//!
//! # When a replica is unfit
//!
//! A replica that answers may say that it could not lead now, because its disk or its connection
//! to the catalog hangs. After [`MOST_MISSES`] such answers in a row it is *unfit*.

use std::time::{Duration, Instant};

use crate::wire::replication::{Fitness, ReplicaStatus};

/// Health checks in a row without an answer after which a replica is gone.
pub const MOST_MISSES: u32 = 3;
/// The least time that a health check waits. On two busy cores, threads were seen to wait half as
/// long for a processor.
pub const SHORTEST_LIMIT: Duration = Duration::from_millis(80);
/// The most time that a health check waits: longer than the way around the earth and back.
pub const LONGEST_LIMIT: Duration = Duration::from_millis(250);
/// How long a check of a replica that is gone waits: nothing depends on it, and to connect anew on
/// a slow link takes three times as long as an answer.
pub const LIMIT_IF_GONE: Duration = Duration::from_secs(1);
/// When a catalog becomes silent for a leader and a follower, so many milliseconds usually lie
/// between what it answered last to either, at most: the leader asks every 200 ms, and the health
/// checks that tell of it are 100 ms apart.
const SAME_SILENCE_MS: u64 = 400;
/// How late a timer may have been when the last check began.
const LATENESS: Duration = Duration::from_millis(5);
/// A check waits so many times as long as the slowest of the last answers took.
const ALLOWANCE: u32 = 4;

/// The outcome of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheck {
    /// The replica answered.
    Answered(ReplicaStatus),
    /// It did not answer in time.
    Missed,
    /// The connection was refused: no process listens at its address.
    Gone,
}

/// Which checks of a replica count while a front-end that has just started checks often.
#[derive(Clone, Copy, Debug)]
pub struct EarlyChecks {
    last_counted: Instant,
    was_ready: bool,
    interval: Duration,
}

impl EarlyChecks {
    /// A front-end that starts now, and usually checks every `interval`.
    #[must_use]
    pub fn new(now: Instant, interval: Duration) -> Self {
        Self { last_counted: now, was_ready: false, interval }
    }

    /// Returns whether the outcome of a check that began at `asked` counts.
    pub fn counts(&mut self, check: &HealthCheck, asked: Instant) -> bool {
        let is_ready =
            matches!(check, HealthCheck::Answered(status) if status.fitness == Fitness::Ready);
        // A miss has taken time already.
        let counts = (is_ready && !self.was_ready)
            || *check == HealthCheck::Missed
            || asked + LATENESS >= self.last_counted + self.interval;
        if counts {
            (self.last_counted, self.was_ready) = (asked, is_ready);
        }
        counts
    }
}

/// How long a health check of one replica waits, which follows from the last ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckLimit {
    /// How long the slowest of the last answers took; it counts less with each further one. `None`
    /// before the first.
    slowest: Option<Duration>,
    /// Checks in a row that waited in vain.
    misses: u32,
}

impl CheckLimit {
    /// Returns how long the next check waits.
    #[must_use]
    pub fn get(&self) -> Duration {
        if self.misses == MOST_MISSES {
            return LIMIT_IF_GONE;
        }
        let limit = self.slowest.map_or(LONGEST_LIMIT, |slowest| slowest * ALLOWANCE);
        limit.clamp(SHORTEST_LIMIT, LONGEST_LIMIT)
    }

    /// Notes how long an answer took.
    pub fn answered(&mut self, took: Duration) {
        let earlier = self.slowest.unwrap_or_default();
        *self = Self { slowest: Some(took.max(earlier / 8 * 7)), misses: 0 };
    }

    /// Notes that there was no answer in time. Returns whether to check again at once: silence has
    /// taken time already, and the next check is to tell what it means.
    pub fn missed(&mut self) -> bool {
        self.misses = one_more(self.misses);
        self.misses < MOST_MISSES
    }
}

/// What the health checks say about a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It answers, and could lead.
    Ready,
    /// Not checked yet, or checked with mixed results.
    Doubtful,
    /// It answers, but could not lead.
    Unfit,
    /// It does not answer.
    Gone,
}

/// The health checks of one replica, counted. No count exceeds [`MOST_MISSES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ReplicaHealth {
    /// Checks missed since the last answer; `None` before the first check.
    misses: Option<u32>,
    /// Checks in a row that were answered "unfit".
    unfit: u32,
    /// Checks in a row that were answered "ready".
    ready: u32,
    /// The last answer.
    status: Option<ReplicaStatus>,
}

impl ReplicaHealth {
    /// Notes the outcome of a health check.
    pub(super) fn checked(&mut self, check: HealthCheck) {
        match check {
            HealthCheck::Answered(status) => {
                self.misses = Some(0);
                self.status = Some(status);
                (self.ready, self.unfit) = match status.fitness {
                    Fitness::Ready => (one_more(self.ready), 0),
                    Fitness::Unfit | Fitness::CannotWrite(_) => (0, one_more(self.unfit)),
                };
            }
            HealthCheck::Missed => self.misses = Some(one_more(self.misses.unwrap_or(0))),
            HealthCheck::Gone => self.misses = Some(MOST_MISSES),
        }
    }

    /// Notes an answer to another request than a health check. A replica that is gone or was never
    /// checked stays so until a health check says otherwise.
    pub(super) fn heard_from(&mut self) {
        if self.misses.is_some_and(|misses| misses < MOST_MISSES) {
            self.misses = Some(0);
        }
    }

    /// Gives a new leader the benefit of the doubt: its misses are counted from 0.
    pub(super) fn count_anew(&mut self) {
        self.misses = Some(0);
        self.unfit = 0;
    }

    /// Returns the replica's condition.
    pub(super) fn condition(&self) -> Condition {
        match self.misses {
            Some(misses) if misses >= MOST_MISSES => Condition::Gone,
            Some(0) if self.unfit >= MOST_MISSES => Condition::Unfit,
            Some(0) if self.unfit == 0 => Condition::Ready,
            Some(_) | None => Condition::Doubtful,
        }
    }

    /// Returns whether the last [`MOST_MISSES`] answers said "ready", and counted.
    pub(super) fn is_steadily_ready(&self) -> bool {
        self.condition() == Condition::Ready && self.ready == MOST_MISSES
    }

    /// Compares the last answer with that of the leader. If the leader is unfit because its disk or
    /// the catalog is silent, this replica is ready only if it was answered well after the leader.
    pub(super) fn compare_with(&mut self, leader: Option<ReplicaStatus>) {
        let silent = leader.filter(|leader| leader.fitness == Fitness::Unfit);
        let heard = |status: ReplicaStatus| status.heard_ms;
        if let (Some(own), Some(leaders)) = (self.status.and_then(heard), silent.and_then(heard))
            && own.saturating_add(SAME_SILENCE_MS) >= leaders
        {
            self.ready = 0;
        }
    }

    /// Returns the last answer, unless the replica is gone or was never checked.
    pub(super) fn status(&self) -> Option<ReplicaStatus> {
        self.status.filter(|_| self.misses.is_some_and(|misses| misses < MOST_MISSES))
    }
}

/// Counts one more, up to [`MOST_MISSES`].
pub(super) fn one_more(count: u32) -> u32 {
    (count + 1).min(MOST_MISSES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::order::Position;
    use crate::wire::replication::{Leadership, ReplicaId, ReplicaState};

    fn answered(fitness: Fitness) -> HealthCheck {
        HealthCheck::Answered(ReplicaStatus {
            id: ReplicaId(1),
            state: ReplicaState::Follower,
            fitness,
            heard_ms: Some(0),
            leadership: Leadership::default(),
            awaits_nomination: false,
            log: Position::START,
        })
    }

    fn conditions(checks: &[HealthCheck]) -> Vec<Condition> {
        let mut health = ReplicaHealth::default();
        let condition = |check: &HealthCheck| {
            health.checked(*check);
            health.condition()
        };
        checks.iter().map(condition).collect()
    }

    #[test]
    fn at_the_start_all_but_the_first_ready_counts_at_the_usual_pace() {
        let start = crate::clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut early = EarlyChecks::new(start, Duration::from_millis(100));
        let (ready, unfit) = (answered(Fitness::Ready), answered(Fitness::Unfit));
        assert!(!early.counts(&HealthCheck::Gone, at(10)));
        assert!(!early.counts(&unfit, at(94)));
        assert!(early.counts(&unfit, at(99)), "the timer was late at the start");
        assert!(early.counts(&HealthCheck::Missed, at(110)), "it has waited");
        assert!(early.counts(&ready, at(120)));
        assert!(!early.counts(&ready, at(130)));
        assert!(!early.counts(&unfit, at(200)));
        assert!(early.counts(&unfit, at(220)));
        assert!(early.counts(&ready, at(230)));
    }

    #[test]
    fn a_replica_that_was_not_checked_yet_is_doubtful() {
        assert_eq!(ReplicaHealth::default().condition(), Condition::Doubtful);
    }

    #[test]
    fn a_replica_is_gone_after_three_misses_or_one_refused_connection() {
        use Condition::{Doubtful, Gone, Ready};
        use HealthCheck::Missed;
        let ready = answered(Fitness::Ready);
        assert_eq!(
            conditions(&[ready, Missed, Missed, Missed, ready]),
            [Ready, Doubtful, Doubtful, Gone, Ready]
        );
        assert_eq!(conditions(&[ready, HealthCheck::Gone, ready]), [Ready, Gone, Ready]);
    }

    #[test]
    fn a_replica_is_unfit_after_three_such_answers() {
        let (ready, unfit) = (answered(Fitness::Ready), answered(Fitness::Unfit));
        assert_eq!(
            conditions(&[unfit, unfit, unfit, ready]),
            [Condition::Doubtful, Condition::Doubtful, Condition::Unfit, Condition::Ready]
        );
    }

    #[test]
    fn a_check_waits_as_long_as_the_last_answers_let_expect() {
        let ms = Duration::from_millis;
        let mut limit = CheckLimit::default();
        assert_eq!(limit.get(), LONGEST_LIMIT, "the first connects, too");
        limit.answered(ms(2));
        assert_eq!(limit.get(), SHORTEST_LIMIT);
        limit.answered(ms(40));
        assert_eq!(limit.get(), ms(160));
        limit.answered(ms(2));
        assert_eq!(limit.get(), ms(140), "one fast answer does not make it fast");
        limit.answered(ms(240));
        assert_eq!(limit.get(), LONGEST_LIMIT);
        for _ in 0..30 {
            limit.answered(ms(2));
        }
        assert_eq!(limit.get(), SHORTEST_LIMIT);
    }

    #[test]
    fn a_replica_whose_link_has_become_slow_is_checked_for_longer_once_it_is_gone() {
        let mut limit = CheckLimit::default();
        limit.answered(Duration::from_millis(2));
        for _ in 1..MOST_MISSES {
            assert!(limit.missed());
            assert_eq!(limit.get(), SHORTEST_LIMIT, "a leader that hangs is replaced soon");
        }
        assert!(!limit.missed());
        assert!(!limit.missed(), "one that stays away is not checked without a pause");
        assert_eq!(limit.get(), LIMIT_IF_GONE);
        limit.answered(Duration::from_millis(100));
        assert_eq!(limit.get(), LONGEST_LIMIT);
    }

    #[test]
    fn a_replica_that_is_gone_has_no_status() {
        let mut health = ReplicaHealth::default();
        health.checked(answered(Fitness::Ready));
        assert!(health.status().is_some());
        health.checked(HealthCheck::Gone);
        health.heard_from();
        assert!(health.status().is_none(), "only a health check brings it back");
    }
}
