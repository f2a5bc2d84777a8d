//! Terms: which of the catalogs that share a database rules, and for how long it may answer.
//!
//! # The idea
//!
//! A catalog answers reads from memory, so it must know that no other catalog has changed anything
//! since. It may rule for a *lease* after it sent the last write that the database acknowledged; a
//! commit is such a write, and without one a *beat* is sent. Another catalog counts the lease and a
//! margin from when it first received that write's number, which is later. Only if a poll that it
//! asks after that still shows the same number does it claim the next term:
//!
//! ```text
//! catalog 1 (rules)          database (term 1)            catalog 2 (stands by)
//!   | beat 7 ------------------->| beat 7                       |
//!   |<------------------ stored -|                              |
//!   |                            |------ beat 7 --------------->| received: a lease and
//!   :  a lease from when beat 7  |                              : a margin from now on
//!   :  was sent                  |                              :
//!   ×  catalog 1 answers no more |                              :
//!                                |<----------- who rules? ------| asked after that
//!                                |------ beat 7 --------------->| unchanged
//!                                |<-- claim term 2 at beat 7 ---|
//! ```
//!
//! The claim changes the term, and every write of catalog 1 names its own: what is still on its way
//! is refused. So the lease protects reads only, and the term protects the database, at any speed
//! of any clock.
//!
//! # Why both numbers?
//!
//! *No lease.* Catalog 1 is stopped by the kernel and wakes up after catalog 2 has sold a toy: it
//! answers a read with the old quantity. *No margin.* The clock of catalog 2 is a tenth faster than
//! that of catalog 1, and it claims while catalog 1 rules. *The claim does not name the beat.* It
//! arrives late, and catalog 1 has sent another beat since.
//!
//! # A catalog that no front-end reaches
//!
//! It may reach the database, and so keep its term for ever, while nothing can be sold. So it
//! leaves its term in order once no front-end has reached it for a while. Front-ends ask the
//! catalogs that stand by as well, and one that they reach claims a term that was left at once. One
//! that they do not reach waits as long as if the other had died, so that it does not come first:
//!
//! ```text
//! 1 ─×─ front-ends ─── 2       1 leaves its term, and 2 claims the next one
//! 1 ─×─ front-ends ─×─ 2       2 leaves, too; then short terms of the two alternate
//! 1 ─── front-ends ─×─ 2       2, if it rules, leaves the term; 1 claims, and stays
//! ```
//!
//! A term in which no front-end was seen yet lasts longer, since a store may be starting. With no
//! front-end at all, short terms of the catalogs alternate. That harms nothing: nothing can be
//! sold, and so nothing needs a restock, whose interval begins anew with each term.
//!
//! # What is left out
//!
//! A catalog never learns the outcome of a write that was not acknowledged in time. It ends the
//! term and stands by, and never connects again within a term. The next term is either after that
//! write or has fenced it, and a purchase that is sent again finds its key.

use std::time::{Duration, Instant};

use crate::wire::calls::{Asker, TermQuery};
use crate::wire::term::{CatalogId, Term};

/// How long a catalog may answer after it sent the last write that was acknowledged.
pub const RULE_LEASE: Duration = Duration::from_millis(800);
/// How much longer another one waits: a quarter, far more than two clocks differ in speed.
pub const CLAIM_MARGIN: Duration = Duration::from_millis(200);
/// When a beat is sent after the last write: three may be late.
pub const BEAT_INTERVAL: Duration = Duration::from_millis(200);
/// How often a catalog that stands by looks at the database.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a catalog goes on ruling after the last front-end reached it; each front-end asks ten
/// times a second.
pub const LONGEST_SILENCE: Duration = Duration::from_millis(700);
/// How long a catalog rules that no front-end has reached in its term. A store that starts has
/// front-ends by then, and a purchase waits longer.
pub const UNREACHED_TERM: Duration = Duration::from_secs(3);

/// The number of the ruling catalog's last write; each commit and each beat adds one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Beat {
    /// The term.
    pub term: Term,
    /// How many writes there were; it never falls within a term.
    pub count: u64,
}

/// What a catalog that stands by read in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sighting {
    /// The newest write.
    pub beat: Beat,
    /// The catalog that rules; `None` if it has left in order, or none has ruled yet.
    pub holder: Option<CatalogId>,
    /// How many synchronous standbys the database has.
    pub standbys: u32,
}

/// A catalog that stands by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Succession {
    /// How many synchronous standbys there must be.
    standbys: u32,
    /// The newest write that was seen, and when it was first received.
    seen: Option<(Beat, Instant)>,
}

/// What a catalog that stands by does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimDecision {
    /// It looks again.
    Wait,
    /// It claims the term after this write's.
    Claim(Beat),
}

/// For how long a catalog may answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lease {
    /// No other catalog shares its database.
    Alone,
    /// It rules a term, until this time.
    Until(Instant),
    /// Its term has ended, for good.
    Over,
}

/// Whether front-ends reach a catalog, and its answers reach them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Audience {
    /// When one of them last was there, if any was.
    last: Option<Instant>,
}

impl Audience {
    /// Notes that a role asked. One whose last question was not answered may be cut off from the
    /// answers.
    pub fn asked(&mut self, query: TermQuery, now: Instant) {
        if query.asker == Asker::Frontend && query.was_answered {
            self.last = Some(now);
        }
    }

    /// Returns whether front-ends reach the catalog at present.
    #[must_use]
    pub fn is_here(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now < last + LONGEST_SILENCE)
    }

    /// Returns whether a term that began then has to be left, because no front-end reaches the
    /// catalog.
    #[must_use]
    pub fn is_gone(&self, begun: Instant, now: Instant) -> bool {
        match self.last {
            Some(last) if last >= begun => now >= last + LONGEST_SILENCE,
            Some(_) | None => now >= begun + UNREACHED_TERM,
        }
    }
}

impl Succession {
    /// A catalog that stands by, and rules only with so many synchronous standbys.
    #[must_use]
    pub fn new(standbys: u32) -> Self {
        Self { standbys, seen: None }
    }

    /// Notes what was asked for at `asked` and received at `received`.
    pub fn sighted(
        &mut self,
        sighting: Sighting,
        (asked, received): (Instant, Instant),
        audience: &Audience,
    ) -> ClaimDecision {
        let Sighting { beat, holder, standbys } = sighting;
        let first = match self.seen {
            Some((known, first)) if known == beat => first,
            Some(_) | None => {
                self.seen = Some((beat, received));
                received
            }
        };
        let is_offered = holder.is_none() && audience.is_here(received);
        let is_free = is_offered || asked >= first + RULE_LEASE + CLAIM_MARGIN;
        if is_free && standbys >= self.standbys {
            ClaimDecision::Claim(beat)
        } else {
            ClaimDecision::Wait
        }
    }
}

impl Lease {
    /// The lease of a term whose claim was sent at `sent` and acknowledged.
    #[must_use]
    pub fn claimed(sent: Instant) -> Self {
        Self::Until(sent + RULE_LEASE)
    }

    /// Returns whether the catalog may answer.
    #[must_use]
    pub fn rules(&self, now: Instant) -> bool {
        match self {
            Self::Alone => true,
            Self::Until(end) => now < *end,
            Self::Over => false,
        }
    }

    /// Notes that a write which was sent at `sent` was acknowledged.
    pub fn acknowledged(&mut self, sent: Instant) {
        if let Self::Until(end) = self {
            *end = (*end).max(sent + RULE_LEASE);
        }
    }

    /// Returns when the next beat is due.
    #[must_use]
    pub fn beat_due(&self, now: Instant) -> Instant {
        match self {
            // The last write was sent a lease before the end.
            Self::Until(end) => (*end + BEAT_INTERVAL).checked_sub(RULE_LEASE).unwrap_or(now),
            Self::Alone | Self::Over => now + BEAT_INTERVAL,
        }
    }

    /// Ends the term: nothing is answered any more, whatever is acknowledged later.
    pub fn end(&mut self) {
        *self = Self::Over;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<CatalogId> = Some(CatalogId(1));
    const NONE: Audience = Audience { last: None };

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn beat(count: u64) -> Beat {
        Beat { term: Term(1), count }
    }

    fn sighting(count: u64, holder: Option<CatalogId>) -> Sighting {
        Sighting { beat: beat(count), holder, standbys: 1 }
    }

    #[test]
    fn a_write_that_stays_the_last_for_a_lease_and_a_margin_ends_a_term() {
        let (mut succession, now) = (Succession::new(1), crate::clock::now());
        assert_eq!(
            succession.sighted(sighting(7, ONE), (now, now + ms(50)), &NONE),
            ClaimDecision::Wait
        );
        assert_eq!(
            succession.sighted(sighting(7, ONE), (now + ms(1_049), now), &NONE),
            ClaimDecision::Wait
        );
        let claim = ClaimDecision::Claim(beat(7));
        assert_eq!(succession.sighted(sighting(7, ONE), (now + ms(1_050), now), &NONE), claim);
    }

    #[test]
    fn an_answer_that_was_asked_for_too_early_ends_no_term() {
        let (mut succession, now) = (Succession::new(1), crate::clock::now());
        succession.sighted(sighting(7, ONE), (now, now), &NONE);
        let late = succession.sighted(sighting(7, ONE), (now + ms(999), now + ms(5_000)), &NONE);
        assert_eq!(
            late,
            ClaimDecision::Wait,
            "the catalog may have written since it was asked for"
        );
    }

    #[test]
    fn each_write_begins_the_wait_anew() {
        let (mut succession, now) = (Succession::new(1), crate::clock::now());
        for count in 0..9 {
            let time = now + ms(900) * u32::try_from(count).unwrap();
            assert_eq!(
                succession.sighted(sighting(count, ONE), (time, time), &NONE),
                ClaimDecision::Wait
            );
        }
    }

    #[test]
    fn a_term_that_was_left_in_order_is_followed_at_once_by_a_catalog_that_is_reached() {
        let (mut succession, now) = (Succession::new(1), crate::clock::now());
        let (left, here) = (sighting(7, None), Audience { last: Some(now) });
        assert_eq!(succession.sighted(left, (now, now), &NONE), ClaimDecision::Wait);
        assert_eq!(succession.sighted(left, (now, now), &here), ClaimDecision::Claim(beat(7)));
        // Another one waits as if the first had died.
        let late = now + ms(1_000);
        assert_eq!(succession.sighted(left, (now + ms(999), late), &here), ClaimDecision::Wait);
        assert_eq!(succession.sighted(left, (late, late), &here), ClaimDecision::Claim(beat(7)));
    }

    #[test]
    fn without_its_standbys_the_database_is_not_claimed() {
        let (mut succession, now) = (Succession::new(2), crate::clock::now());
        let here = Audience { last: Some(now) };
        assert_eq!(succession.sighted(sighting(7, None), (now, now), &here), ClaimDecision::Wait);
        let both = Sighting { standbys: 2, ..sighting(7, None) };
        assert_eq!(succession.sighted(both, (now, now), &here), ClaimDecision::Claim(beat(7)));
    }

    #[test]
    fn a_lease_counts_from_when_a_write_was_sent() {
        let now = crate::clock::now();
        let mut lease = Lease::claimed(now);
        assert!(lease.rules(now + ms(799)) && !lease.rules(now + ms(800)));
        assert_eq!(lease.beat_due(now), now + ms(200));
        lease.acknowledged(now + ms(300));
        lease.acknowledged(now + ms(100));
        assert!(lease.rules(now + ms(1_099)) && !lease.rules(now + ms(1_100)));
        assert_eq!(lease.beat_due(now), now + ms(500));
    }

    #[test]
    fn a_term_that_has_ended_stays_so() {
        let now = crate::clock::now();
        let mut lease = Lease::claimed(now);
        lease.end();
        lease.acknowledged(now + ms(100));
        assert!(!lease.rules(now));
    }

    #[test]
    fn a_catalog_that_front_ends_reached_and_none_reaches_any_more_leaves_its_term() {
        let (mut audience, begun) = (Audience::default(), crate::clock::now());
        let query = |asker, was_answered| TermQuery { asker, was_answered };
        audience.asked(query(Asker::Frontend, true), begun);
        audience.asked(query(Asker::Frontend, false), begun + ms(300));
        audience.asked(query(Asker::Replica, true), begun + ms(300));
        assert!(audience.is_here(begun + ms(699)) && !audience.is_gone(begun, begun + ms(699)));
        assert!(!audience.is_here(begun + ms(700)) && audience.is_gone(begun, begun + ms(700)));
        audience.asked(query(Asker::Frontend, true), begun + ms(700));
        assert!(!audience.is_gone(begun, begun + ms(700)));
    }

    #[test]
    fn a_term_in_which_no_front_end_was_seen_yet_lasts_for_a_while() {
        let (mut audience, now) = (Audience::default(), crate::clock::now());
        let begun = now + ms(500);
        for _before_and_after_one_was_seen_earlier in 0..2 {
            assert!(!audience.is_gone(begun, begun + ms(2_999)));
            assert!(audience.is_gone(begun, begun + ms(3_000)));
            audience.asked(TermQuery { asker: Asker::Frontend, was_answered: true }, now);
        }
    }

    #[test]
    fn a_catalog_that_shares_nothing_always_rules() {
        let now = crate::clock::now();
        let mut lease = Lease::Alone;
        lease.acknowledged(now);
        assert!(lease.rules(now + ms(1_000_000)));
    }

    #[test]
    fn the_slowest_clock_that_rules_is_over_before_the_fastest_one_claims() {
        // Both clocks are a tenth off. The write is received the moment it is sent.
        let slow = RULE_LEASE.mul_f64(1.0 / 0.9);
        let fast = (RULE_LEASE + CLAIM_MARGIN).mul_f64(1.0 / 1.1);
        assert!(slow < fast, "{slow:?} {fast:?}");
    }
}
