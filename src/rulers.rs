//! Which of several catalogs rules, as this process has heard.
//!
//! A term has one catalog, and a higher term rules out the lower ones. So the highest term that was
//! heard of counts, and calls go to its catalog alone. A call that is under way when a higher one
//! is heard of ends, for its caller to try again there.
//!
//! A term that its catalog has not confirmed for a while is forgotten. Else a database that an
//! operator brought back from a backup, where terms are lower, would never be used again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::wire::term::{CatalogId, Duty, Term, TermReport, WhoRules};

/// How long a term counts that its catalog does not confirm: several times as long as any catalog
/// may rule without the database.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);

/// What this process has heard of the catalogs, shared by all of its threads.
#[derive(Debug, Default)]
pub struct Rulers {
    known: Mutex<Heard>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Heard {
    ruler: Option<Ruler>,
    /// What each catalog said last that it does; none if it did not answer.
    duties: BTreeMap<CatalogId, Option<Duty>>,
}

/// The catalog that rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ruler {
    term: Term,
    id: CatalogId,
    /// When it last said so itself.
    confirmed: Option<Instant>,
}

impl Rulers {
    /// Returns the catalog that rules, and its term.
    #[must_use]
    pub fn ruler(&self) -> Option<(Term, CatalogId)> {
        self.known().ruler.map(|ruler| (ruler.term, ruler.id))
    }

    /// Returns what a catalog does; none if it does not answer.
    #[must_use]
    pub fn duty(&self, id: CatalogId) -> Option<Duty> {
        self.known().duties.get(&id).copied().flatten()
    }

    /// Notes what a catalog said of itself. Returns whether another one rules since.
    pub fn heard(&self, report: &TermReport, now: Instant) -> bool {
        let mut known = self.known();
        known.duties.insert(report.id, Some(report.duty));
        if report.duty == Duty::Standby {
            return false;
        }
        let ruler = Ruler { term: report.term, id: report.id, confirmed: Some(now) };
        let is_forgotten = |before: Ruler| {
            before.confirmed.is_none_or(|confirmed| now >= confirmed + FORGOTTEN_AFTER)
        };
        match known.ruler {
            Some(before) if ruler.term < before.term && !is_forgotten(before) => false,
            before => {
                known.ruler = Some(ruler);
                self.changes(known, before)
            }
        }
    }

    /// Notes that a catalog did not answer.
    pub fn unheard(&self, id: CatalogId) {
        self.known().duties.insert(id, None);
    }

    /// Notes what a catalog that does not rule said of the one that does.
    pub fn told(&self, WhoRules { term, holder }: WhoRules) {
        let Some(id) = holder else { return };
        let mut known = self.known();
        let Some(before) = known.ruler.filter(|before| term > before.term) else { return };
        // It has some time to confirm it itself.
        known.ruler = Some(Ruler { term, id, confirmed: before.confirmed });
        self.changes(known, Some(before));
    }

    /// Ends when the catalog of another term than `term` rules.
    pub async fn superseded(&self, term: Term) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.ruler().is_none_or(|(now, _)| now != term) {
                return;
            }
            changed.await;
        }
    }

    fn changes(&self, known: MutexGuard<'_, Heard>, before: Option<Ruler>) -> bool {
        let after = known.ruler;
        drop(known);
        let view = |ruler: Option<Ruler>| ruler.map(|ruler| (ruler.term, ruler.id));
        let is_news = view(before) != view(after);
        if is_news {
            self.changed.notify_waiters();
        }
        is_news
    }

    fn known(&self) -> MutexGuard<'_, Heard> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(id: u32, duty: Duty, term: u64) -> TermReport {
        TermReport { id: CatalogId(id), duty, term: Term(term) }
    }

    #[test]
    fn the_highest_term_that_rules_counts() {
        let (rulers, now) = (Rulers::default(), crate::clock::now());
        assert!(!rulers.heard(&report(1, Duty::Standby, 3), now));
        assert_eq!(rulers.ruler(), None, "a catalog that stands by rules nothing");
        assert!(rulers.heard(&report(1, Duty::Active, 3), now));
        assert!(rulers.heard(&report(2, Duty::Active, 4), now));
        assert!(!rulers.heard(&report(1, Duty::Active, 3), now), "it has not heard of its end");
        assert_eq!(rulers.ruler(), Some((Term(4), CatalogId(2))));
        assert_eq!(rulers.duty(CatalogId(1)), Some(Duty::Active));
        rulers.unheard(CatalogId(1));
        assert_eq!(rulers.duty(CatalogId(1)), None);
    }

    #[test]
    fn a_catalog_that_stands_by_tells_who_rules() {
        let (rulers, now) = (Rulers::default(), crate::clock::now());
        rulers.heard(&report(1, Duty::Active, 3), now);
        rulers.told(WhoRules { term: Term(4), holder: None });
        rulers.told(WhoRules { term: Term(2), holder: Some(CatalogId(3)) });
        assert_eq!(rulers.ruler(), Some((Term(3), CatalogId(1))));
        rulers.told(WhoRules { term: Term(4), holder: Some(CatalogId(2)) });
        assert_eq!(rulers.ruler(), Some((Term(4), CatalogId(2))));
    }

    #[test]
    fn a_term_that_is_not_confirmed_any_more_is_forgotten() {
        let (rulers, now) = (Rulers::default(), crate::clock::now());
        rulers.heard(&report(1, Duty::Active, 9), now);
        let late = now + FORGOTTEN_AFTER;
        assert!(!rulers.heard(&report(2, Duty::Active, 1), now));
        assert!(rulers.heard(&report(2, Duty::Active, 1), late));
    }

    #[test]
    fn a_call_ends_when_another_catalog_rules() {
        use futures_util::FutureExt as _;
        let (rulers, now) = (Rulers::default(), crate::clock::now());
        rulers.heard(&report(1, Duty::Active, 3), now);
        let mut ended = Box::pin(rulers.superseded(Term(3)));
        assert!(ended.as_mut().now_or_never().is_none());
        rulers.heard(&report(1, Duty::Active, 3), now);
        assert!(ended.as_mut().now_or_never().is_none());
        rulers.heard(&report(2, Duty::Active, 4), now);
        assert!(ended.now_or_never().is_some());
    }
}
