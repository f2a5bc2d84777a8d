//! What a front-end looks at for its pages: what it notices of the others, at all times, and what
//! only pages are told, while one watches.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;

use super::super::core::feed::TimedChanges;
use super::super::core::notices::{Seen, notices};
use super::super::remote::Remote;
use super::events::{Events, STOCK_AGE, event};
use crate::clock::{self, micros};
use crate::roles::Role;
use crate::transport::Peer;
use crate::wire::calls::GetCacheView;
use crate::wire::event::EventKind;

/// How often the front-end looks whether it notices anything, while a page watches …
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// … and while none does: what it notices is recorded, and shown later.
const REST_INTERVAL: Duration = Duration::from_millis(500);
/// How often it looks at its start whether the others answer.
const START_INTERVAL: Duration = Duration::from_millis(10);
/// How often the other roles are asked what has changed.
const CHANGES_INTERVAL: Duration = Duration::from_millis(250);
/// How often the catalog is asked for all toys, if something was sold.
const STOCK_INTERVAL: Duration = Duration::from_millis(500);
/// How often another front-end is asked about its cache.
const SIGHTING_INTERVAL: Duration = Duration::from_millis(250);
/// How long it may take to answer; then it is shown as down.
const SIGHTING_TIMEOUT: Duration = Duration::from_millis(250);

impl Events {
    /// Records what the front-end notices of the others, for ever.
    pub(super) async fn keep_notices(self: Arc<Self>) {
        let runtime = &self.service.runtime;
        let recorder = self.service.identity.recorder();
        let mut before = Seen::default();
        self.until_all_answer(REST_INTERVAL).await;
        while recorder.is_on() {
            let seen = self.service.seen();
            for notice in notices(&before, &seen) {
                recorder.change(EventKind::Local, notice.name, || notice.text);
            }
            before = seen;
            let is_watched = self.is_watched(runtime.now());
            runtime.rest(if is_watched { LOOK_INTERVAL } else { REST_INTERVAL }).await;
        }
    }

    /// Waits until the roles that start together with this one answer, but no longer than `limit`.
    /// Otherwise a role that ends soon afterwards would not be missed, and one that has not started
    /// yet would seem to come back.
    async fn until_all_answer(&self, limit: Duration) {
        let runtime = &self.service.runtime;
        let deadline = runtime.now() + limit;
        while runtime.now() < deadline && !self.service.seen().all_answer() {
            runtime.sleep(START_INTERVAL).await;
        }
    }

    /// Asks the other roles what has changed while pages watch, for ever.
    pub(super) async fn keep_hearing(self: Arc<Self>, remote: Rc<Remote>, others: Vec<Role>) {
        loop {
            self.until_watched(CHANGES_INTERVAL).await;
            let answers = others.iter().map(async |role| {
                let query = self.service.watched.feed(|feed| feed.query(&role.to_string()));
                let asked = self.service.runtime.now();
                let from = remote.changes(*role, &query).await?;
                // Its clock showed the time of its answer in between.
                let took = self.service.runtime.now().saturating_duration_since(asked);
                Some(TimedChanges {
                    from,
                    at_us: time_of_day_us().saturating_sub(micros(took / 2)),
                })
            });
            let answers = futures_util::future::join_all(answers).await;
            let answers = answers.into_iter().flatten().collect();
            self.service.watched.feed(|feed| feed.take(answers));
        }
    }

    /// Takes what has changed about this front-end itself.
    pub(super) fn hear_own(&self) {
        let own = &self.service.identity;
        self.service.watched.feed(|feed| {
            let from = own.recorder().changes(&feed.query(&own.role().to_string()));
            feed.take(vec![TimedChanges { from, at_us: time_of_day_us() }]);
        });
    }

    /// Asks the catalog for all toys while pages watch, for ever.
    pub(super) async fn keep_stock(self: Arc<Self>, remote: Rc<Remote>) {
        let runtime = &self.service.runtime;
        let mut last = None;
        loop {
            self.until_watched(STOCK_INTERVAL).await;
            let now = runtime.now();
            let journal = self.service.catalog().map(|report| report.status.journal);
            let age =
                self.latest().stock.as_ref().map(|(_, at)| now.saturating_duration_since(*at));
            if last == journal && age.is_some_and(|age| age < STOCK_AGE) {
                continue;
            }
            let Ok(toys) = remote.toys().await else { continue };
            last = journal;
            let frame: Bytes = event("stock", &toys).into();
            self.latest().stock = Some((frame.clone(), now));
            let _none_follows = self.sender.send(frame);
        }
    }

    /// Asks another front-end about its cache while pages watch, for ever.
    pub(super) async fn keep_sight(self: Arc<Self>, number: u32, peer: Peer) {
        loop {
            self.until_watched(SIGHTING_INTERVAL).await;
            let cache = peer.call(&GetCacheView {}, SIGHTING_TIMEOUT).await.ok();
            self.service.watched.sighted(number, cache, self.service.runtime.now());
        }
    }
}

/// Microseconds since 1970.
pub(super) fn time_of_day_us() -> u64 {
    micros(clock::time_of_day())
}
