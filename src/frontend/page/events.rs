//! `GET /events`: what changes in the store, told to the pages that watch as server-sent events.
//!
//! ```text
//! what each role recorded ─► feed ─┐
//!                         service ─┴─► one frame of text ─► every page that watches
//!                                       written once
//! ```
//!
//! | event | data | when |
//! |---|---|---|
//! | `feed`, with an id | a sentence about what changed ([`FeedEvent`]) | a role told it |
//! | `feed-note` | which events are not kept any more ([`FeedNote`]) | at first; when there are more |
//! | `cluster` | the state of everything, as in `/cluster` | something changed; else twice a second |
//! | `stock` | all toys, as in `/products` | something was sold; else once a second |
//!
//! A frame is written once, however many pages watch. While none does, no role is asked for what
//! changed: each keeps that itself, and the feed goes on where it was when a page opens. A page
//! that is cut off names the last id that it had, in `Last-Event-ID` or as `?after=`, and is told
//! what it missed, as far as it is kept. `?once` answers what there is now and ends: for pages
//! beyond the [most](MOST_STREAMS) that may follow. A stream ends when the front-end is to end, so
//! that it does not hold up its shutdown.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use super::super::core::feed::Feed;
use super::super::remote::Remote;
use super::super::service::Service;
use super::watch::time_of_day_us;
use crate::roles::{Role, Roles};
use crate::server::{Allow, ErrorReply};
use crate::shutdown::Shutdown;
use crate::transport::Peer;
use crate::wire::cluster::{FeedEvent, FeedNote};
use crate::wire::reply::Failure;

/// How often the feed looks.
const TICK: Duration = Duration::from_millis(100);
/// How old the state may become that a page shows: its lease counts down meanwhile.
const STATE_AGE: Duration = Duration::from_millis(500);
/// How often invalidations are told.
const INVALIDATION_INTERVAL: Duration = Duration::from_millis(500);
/// How old the stock may become, since toys are also restocked.
pub(super) const STOCK_AGE: Duration = Duration::from_secs(1);
/// How long after a page asked the state is kept up to date for its next question.
const INTEREST: Duration = Duration::from_secs(3);
/// Pages that may follow at once. Further ones ask again and again.
const MOST_STREAMS: usize = 64;
/// Frames that a page may be behind; one that reads more slowly is told the state anew.
const MOST_FRAMES: usize = 32;
/// Toys up to which the stock is sent. Pages of a larger store ask for it.
const MOST_TOYS: usize = 500;
/// The names of cached toys that are sent.
pub(crate) const MOST_ITEMS: usize = 48;
/// How soon a browser connects again.
const RETRY: &str = "retry: 500\n\n";

/// What pages are told, shared by all threads.
pub(crate) struct Events {
    pub(super) service: Arc<Service>,
    pub(super) sender: broadcast::Sender<Bytes>,
    latest: Mutex<Latest>,
    streams: Arc<Semaphore>,
    /// A page asks for what was not kept up to date.
    wanted: Notify,
    /// The stock is small enough to be sent.
    sends_stock: bool,
    /// Distinguishes this process's ids from those of an earlier one.
    boot: u32,
    stop: CancellationToken,
}

#[derive(Default)]
pub(super) struct Latest {
    cluster: Option<(Bytes, Instant)>,
    pub(super) stock: Option<(Bytes, Instant)>,
    /// When a page asked that does not follow.
    asked: Option<Instant>,
}

impl Events {
    pub(crate) fn new(service: &Arc<Service>, roles: &Roles, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            service: Arc::clone(service),
            sender: broadcast::Sender::new(MOST_FRAMES),
            latest: Mutex::default(),
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            wanted: Notify::new(),
            sends_stock: roles.catalog.toys.len() <= MOST_TOYS,
            boot: rand::random(),
            stop,
        })
    }

    /// Starts the tasks that keep pages informed. `connect` reaches the other front-ends.
    pub(crate) fn start(
        self: &Arc<Self>,
        remote: &Rc<Remote>,
        roles: &Roles,
        connect: impl Fn(Role) -> Peer,
        shutdown: &Shutdown,
    ) {
        shutdown.spawn("the watch of the others", Arc::clone(self).keep_notices());
        shutdown.spawn("the feed", Arc::clone(self).keep_feed());
        let others = roles.in_start_order().into_iter();
        let others = others.filter(|role| *role != self.service.identity.role()).collect();
        let hear = Arc::clone(self).keep_hearing(Rc::clone(remote), others);
        shutdown.spawn("the collection of changes", hear);
        if self.sends_stock {
            shutdown
                .spawn("the watch of the stock", Arc::clone(self).keep_stock(Rc::clone(remote)));
        }
        for frontend in &roles.frontends {
            let role = Role::Frontend(frontend.id);
            if role != self.service.identity.role() {
                let watch = Arc::clone(self).keep_sight(frontend.id, connect(role));
                shutdown.spawn("the watch of a front-end", watch);
            }
        }
    }

    /// Tells the pages that watch what changed, for ever.
    async fn keep_feed(self: Arc<Self>) {
        let runtime = &self.service.runtime;
        let (mut told, mut seen, mut invalidations) = (0, None, runtime.now());
        loop {
            self.until_followed(TICK).await;
            let now = runtime.now();
            self.hear_own();
            let (news, next) = self.service.watched.feed(|feed| {
                if now >= invalidations + INVALIDATION_INTERVAL {
                    invalidations = now;
                    let own = self.service.identity.role().to_string();
                    feed.tell_invalidations(&own, time_of_day_us() / 1_000);
                }
                let note = (feed.missing_since(told) > 0).then(|| self.note(feed, told));
                (note.unwrap_or_default() + &self.written(feed.since(told)), feed.next())
            });
            // Orders come all the time; they are told with the state when it is due.
            let next_seen = Some(self.service.seen());
            let is_news = next != told || seen != next_seen;
            (told, seen) = (next, next_seen);
            if !is_news && !self.is_older(STATE_AGE, now) {
                continue;
            }
            let frame = [news.as_bytes(), &self.take_state(now)].concat();
            let _none_follows = self.sender.send(frame.into());
        }
    }

    /// Waits, and then until a page watches; what only pages are told is not noted meanwhile.
    async fn until_followed(&self, pause: Duration) {
        let watched = &self.service.watched;
        if !self.is_watched(self.service.runtime.now()) {
            watched.is_followed.store(false, Ordering::Relaxed);
            watched.feed(Feed::forget_invalidations);
        }
        self.until_watched(pause).await;
        watched.is_followed.store(true, Ordering::Relaxed);
    }

    /// Waits, and then until a page watches.
    pub(super) async fn until_watched(&self, pause: Duration) {
        self.service.runtime.sleep(pause).await;
        loop {
            let wanted = self.wanted.notified();
            if self.is_watched(self.service.runtime.now()) {
                return;
            }
            wanted.await;
        }
    }

    pub(super) fn is_watched(&self, now: Instant) -> bool {
        self.sender.receiver_count() > 0
            || self.latest().asked.is_some_and(|asked| now < asked + INTEREST)
    }

    fn is_older(&self, age: Duration, now: Instant) -> bool {
        self.latest().cluster.as_ref().is_none_or(|(_, at)| now >= *at + age)
    }

    /// Writes the state as it is, for all.
    fn take_state(&self, now: Instant) -> Bytes {
        let frame: Bytes = event("cluster", &self.service.cluster_view(MOST_ITEMS)).into();
        self.latest().cluster = Some((frame.clone(), now));
        frame
    }

    /// Writes what a page is told first: the state, and what it missed.
    fn first(&self, after: u64) -> Bytes {
        let now = self.service.runtime.now();
        let news = self
            .service
            .watched
            .feed(|feed| self.note(feed, after) + &self.written(feed.since(after)));
        let latest = self.latest().cluster.clone();
        let cluster = match latest {
            Some((frame, at)) if now < at + STATE_AGE => frame,
            Some(_) | None => self.take_state(now),
        };
        let stock = self.latest().stock.clone();
        let stock = stock.filter(|(_, at)| now < *at + 2 * STOCK_AGE).map(|(frame, _)| frame);
        let parts = [RETRY.as_bytes(), news.as_bytes(), &cluster, &stock.unwrap_or_default()];
        parts.concat().into()
    }

    fn note(&self, feed: &Feed, from: u64) -> String {
        let records = self.service.identity.recorder().is_on();
        event("feed-note", &FeedNote { records, from, dropped: feed.missing_since(from) })
    }

    fn written<'a>(&self, events: impl Iterator<Item = &'a FeedEvent>) -> String {
        events
            .map(|told| format!("id: {:08x}-{}\n{}", self.boot, told.number, event("feed", told)))
            .collect::<Vec<_>>()
            .concat()
    }

    /// The number of the first event that a page misses which had this id last.
    fn missing_after(&self, id: &str) -> u64 {
        let (boot, number) = id.split_once('-').unwrap_or_default();
        let number = number.parse().ok().filter(|_| u32::from_str_radix(boot, 16) == Ok(self.boot));
        number.map_or(0, |number: u64| number.saturating_add(1))
    }

    pub(super) fn latest(&self) -> std::sync::MutexGuard<'_, Latest> {
        self.latest.lock().expect("nothing panics under this lock")
    }
}

/// Adds `/events`.
pub(super) fn routes(config: &mut ServiceConfig, events: &Arc<Events>) {
    config.app_data(Data::from(Arc::clone(events)));
    config.service(
        web::resource("/events")
            .route(Allow::Get.route().to(follow))
            .default_service(Allow::Get.others()),
    );
}

/// Tells what changes, as it does, until the page goes.
#[utoipa::path(
    get,
    path = "/events",
    tag = "pages",
    params(
        ("once" = Option<String>, Query, description = "Tell what there is now, and end."),
        ("after" = Option<String>, Query, description = "The last id that the page has."),
        ("Last-Event-ID" = Option<String>, Header, description = "The same.")
    ),
    responses(
        (status = 200, description = "Events.", body = String, content_type = "text/event-stream"),
        (status = 503, description = "Too many pages follow, or ask.", body = Failure)
    )
)]
pub(in crate::frontend) async fn follow(
    request: HttpRequest,
    events: Data<Events>,
) -> Result<HttpResponse, ErrorReply> {
    let query = request.query_string();
    let parts = || query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
    let named = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    let named = named.or_else(|| parts().find(|(name, _)| *name == "after").map(|(_, id)| id));
    let after = events.missing_after(named.unwrap_or_default());
    if parts().any(|(name, _)| name == "once") || request.method() == Method::HEAD {
        let first = || {
            events.latest().asked = Some(events.service.runtime.now());
            events.wanted.notify_waiters();
            events.first(after)
        };
        let first = events.service.views.spend(first).await?;
        return Ok(answer(HttpResponse::with_body(StatusCode::OK, first)));
    }
    let place = Arc::clone(&events.streams).try_acquire_owned().map_err(|_full| {
        ErrorReply::Unavailable(format!(
            "{MOST_STREAMS} pages follow the events already; ask for /events?once instead"
        ))
    })?;
    // What is told from here on is received, so that nothing is missed in between.
    let receiver = events.sender.subscribe();
    events.wanted.notify_waiters();
    let first = events.service.views.spend(|| events.first(after)).await?;
    let stream = frames(events.into_inner(), place, receiver, first);
    Ok(answer(HttpResponse::Ok().streaming(Box::pin(stream))))
}

/// The frames of one page, until it goes or the front-end is to end.
fn frames(
    events: Arc<Events>,
    place: OwnedSemaphorePermit,
    receiver: broadcast::Receiver<Bytes>,
    first: Bytes,
) -> impl stream::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    let state = (events, place, receiver, Some(first));
    stream::unfold(state, async |(events, place, mut receiver, first)| {
        let frame = if let Some(first) = first {
            first
        } else {
            tokio::select! {
                biased;
                () = events.stop.cancelled() => return None,
                frame = receiver.recv() => match frame {
                    Ok(frame) => frame,
                    Err(RecvError::Lagged(_)) => events.first(0),
                    Err(RecvError::Closed) => return None,
                },
            }
        };
        Some((Ok(frame), (events, place, receiver, None)))
    })
}

fn answer<B>(response: HttpResponse<B>) -> HttpResponse
where
    B: actix_web::body::MessageBody + 'static,
{
    let mut response = response.map_into_boxed_body();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(super) fn event(name: &str, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).expect("what is told can be written as JSON");
    format!("event: {name}\ndata: {data}\n\n")
}
