//! An accepted socket, shared by the task that waits for its requests, the dispatcher that answers
//! them (through [`Connection`](super::connection)), and the clock that ends it (see
//! [`slots`](super::slots)).
//!
//! A dispatcher has buffers of 16 KiB, even while its client is silent. So a socket has one only
//! while there is something to do; in between it is *parked*, and costs a kilobyte.
//!
//! ```text
//!           a head is whole, and there is a turn
//!   parked ─────────────────────────────────────► served by a dispatcher
//!      ▲   idle for a second, or others wait          │
//!      └──────────────────────────────────────────────┘
//! ```
//!
//! The dispatcher is handed whole heads only, and bodies as they come; what it does not get yet is
//! held here. It gets no further request while it has one to answer or while the client does not
//! read, so that it never holds more than one answer of one client.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::Notify;

use super::intake::{Intake, Parking};
use super::limits::{PeerHost, SLOW_AFTER};
use super::lines::Standing;
use super::stream::Stream;
use super::tick_clock::TickClock;
use super::unserved::Unserved;

/// One accepted socket.
pub(super) struct Socket {
    /// Whom it is shared out to.
    pub(super) host: PeerHost,
    pub(super) intake: RefCell<Intake>,
    /// Whether other roles reach this one by TLS only.
    needs_tls: bool,
    /// Where it is among its thread's sockets.
    pub(super) index: Cell<usize>,
    pub(super) peer_kind: Cell<PeerKind>,
    pub(super) holder: Cell<Holder>,
    /// How it was at the last tick of the clock.
    pub(super) seen: Cell<Glimpse>,
    ending: Cell<Option<Ending>>,
    /// Whether it is the server that keeps it waiting, whatever stage it is in.
    pub(super) stands_in_line: Cell<bool>,
    /// Requests that were handed to the dispatcher and have no whole answer yet.
    pub(super) under_way: Cell<u32>,
    /// Requests so far, and what else shows that a socket is not stuck.
    pub(super) requests: Cell<u32>,
    /// Bytes held for it, apart from a dispatcher's usual buffers.
    weight: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    pub(super) load: Rc<Load>,
}

/// What is known of the process at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerKind {
    /// Nothing.
    Stranger,
    /// There was no place for it; one more request is read, in case it is a role's.
    Surplus,
    /// It has sent the store's secret.
    Role,
}

/// Who has the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The task that reads heads.
    Parked,
    /// The queue for a dispatcher.
    Queue,
    /// A dispatcher.
    Dispatcher,
    /// The task that serves frames, while it does not know the caller.
    Greeting,
    /// The task that serves frames.
    Frames,
}

/// How a socket is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Close,
    Answer(Unserved),
}

/// What a socket waits for. Those that come first are ended first when there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The first bytes of its first request.
    New,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
    /// The client, who does not read its answer.
    Unread,
    /// A turn.
    Queued,
    /// A further request.
    Idle,
    /// The service, or the rest of a large answer, which its client reads.
    Served,
    /// The client, who has its last answer.
    Closing,
}

/// A socket at a tick of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glimpse {
    pub(super) stage: Stage,
    pub(super) requests: u32,
    /// The tick at which it was first seen so, later by the time in line.
    pub(super) since: u32,
    /// The tick at which it was last looked at.
    looked: u32,
}

/// What the sockets of one thread take of it.
#[derive(Default)]
pub(super) struct Load {
    /// Sockets that have a place.
    pub(super) places: Cell<usize>,
    /// Sockets that wait for a turn.
    pub(super) queued: Cell<usize>,
    /// Bytes held for clients.
    pub(super) weight: Cell<usize>,
    /// The weight beyond which the clock is called at once.
    pub(super) most: Cell<usize>,
    pub(super) alarm: Notify,
    pub(super) clock: TickClock,
}

impl Socket {
    pub(super) fn new(stream: Stream, host: PeerHost, load: Rc<Load>) -> Self {
        let now = load.clock.now();
        Self {
            host,
            needs_tls: stream.is_new(),
            intake: RefCell::new(Intake::new(stream)),
            index: Cell::new(0),
            peer_kind: Cell::new(PeerKind::Stranger),
            holder: Cell::new(Holder::Parked),
            seen: Cell::new(Glimpse { stage: Stage::New, requests: 0, since: now, looked: now }),
            ending: Cell::new(None),
            stands_in_line: Cell::new(false),
            under_way: Cell::new(0),
            requests: Cell::new(0),
            weight: Cell::new(0),
            waker: RefCell::new(None),
            load,
        }
    }

    /// Notes the task that has the socket. There is only one.
    pub(super) fn note_task(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// How it is to end, once that is decided.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.ending.get()
    }

    /// Ends it, so that its place is free from now on. What was decided first counts; only the last
    /// answer can still be cut off.
    pub(super) fn end(&self, ending: Ending) {
        match (self.ending.get(), ending) {
            (None, _) => {
                if self.peer_kind.get() != PeerKind::Surplus {
                    self.load.places.set(self.load.places.get() - 1);
                }
                self.forget_weight();
            }
            (Some(Ending::Answer(_)), Ending::Close) => {}
            (Some(_), _) => return,
        }
        self.ending.set(Some(ending));
        self.load.clock.rouse();
        self.wake();
    }

    /// Has the dispatcher give it back.
    pub(super) fn park(&self) {
        let mut intake = self.intake.borrow_mut();
        if intake.parking == Parking::No {
            intake.parking = Parking::Wanted;
            drop(intake);
            self.wake();
        }
    }

    /// Whether it lives without a place.
    pub(super) fn is_surplus(&self) -> bool {
        self.peer_kind.get() == PeerKind::Surplus && self.ending().is_none()
    }

    /// Whether calls between roles are refused, as they came over a network that others may read.
    pub(super) fn refuses_calls(&self) -> bool {
        self.needs_tls && !self.intake.borrow().stream.is_tls()
    }

    /// Notes that the client has sent the store's secret, so that it is another role.
    pub(super) fn note_role(&self) {
        if self.peer_kind.replace(PeerKind::Role) == PeerKind::Surplus && self.ending().is_none() {
            self.load.places.set(self.load.places.get() + 1);
        }
    }

    /// Notes that a frame was read, or some of what is written: the socket's stage begins anew.
    pub(super) fn moved(&self) {
        self.requests.set(self.requests.get().wrapping_add(1));
    }

    /// Notes that an answer is complete, or that there will be none.
    pub(super) fn answered(&self) {
        self.under_way.set(self.under_way.get().saturating_sub(1));
    }

    /// Whether everything that was handed on is answered, and the answers have left.
    pub(super) fn is_idle(&self, intake: &Intake) -> bool {
        self.under_way.get() == 0 && intake.unread == 0 && intake.ready == 0 && intake.is_whole()
    }

    /// Whether others need the dispatcher's place or memory, or it is to end.
    pub(super) fn should_park(&self, intake: &Intake) -> bool {
        intake.has_grown || self.load.queued.get() > 0 || self.load.clock.is_stopping()
    }

    pub(super) fn stage(&self) -> Stage {
        let intake = self.intake.borrow();
        if intake.last.is_some() {
            return Stage::Closing;
        }
        match self.holder.get() {
            Holder::Queue => Stage::Queued,
            Holder::Dispatcher if intake.rest.is_read() => Stage::Served,
            Holder::Dispatcher | Holder::Frames if intake.unread > 0 || intake.rest.is_some() => {
                Stage::Unread
            }
            Holder::Dispatcher if !intake.is_whole() => Stage::Body,
            Holder::Dispatcher if !self.is_idle(&intake) => Stage::Served,
            Holder::Greeting => Stage::Head,
            Holder::Frames if intake.body > 0 => Stage::Body,
            Holder::Frames if self.under_way.get() > 0 => Stage::Served,
            Holder::Frames => Stage::Idle,
            Holder::Dispatcher | Holder::Parked => match intake.held.is_empty() {
                false => Stage::Head,
                true if self.requests.get() == 0 => Stage::New,
                true => Stage::Idle,
            },
        }
    }

    /// In which line its connection stands, if in any: not one over which a role makes calls, nor
    /// one that is to end.
    pub(super) fn standing(&self) -> Option<Standing> {
        match self.holder.get() {
            _ if self.peer_kind.get() == PeerKind::Role || self.ending().is_some() => None,
            Holder::Frames => None,
            Holder::Greeting => Some(Standing::Unheard),
            Holder::Parked if self.requests.get() == 0 => Some(Standing::Unheard),
            Holder::Parked | Holder::Queue | Holder::Dispatcher => Some(Standing::Stranger),
        }
    }

    /// For how many ticks it has been as it is, as far as the clock has seen.
    pub(super) fn age(&self) -> u32 {
        let Glimpse { stage, requests, since, .. } = self.seen.get();
        let is_unchanged = (stage, requests) == (self.stage(), self.requests.get());
        if is_unchanged { self.load.clock.now().wrapping_sub(since) } else { 0 }
    }

    /// Looks at it, at a tick of the clock. Returns for how many ticks it has been as it is.
    pub(super) fn look(&self) -> (Stage, u32) {
        let now = self.load.clock.now();
        let mut intake = self.intake.borrow_mut();
        let has_read_nothing = intake.rest.look(now);
        if intake.rest.is_some() {
            self.weigh(&intake);
        }
        drop(intake);
        let (stage, requests) = (self.stage(), self.requests.get());
        let mut seen = self.seen.get();
        if (seen.stage, seen.requests) != (stage, requests) {
            // A client that is found to read nothing of a large answer has done so for a second.
            let has_kept_waiting = has_read_nothing && !self.stands_in_line.get();
            let since = now.wrapping_sub(if has_kept_waiting { SLOW_AFTER } else { 0 });
            seen = Glimpse { stage, requests, since, looked: now };
        } else if self.stands_in_line.get() {
            seen.since = seen.since.wrapping_add(now.wrapping_sub(seen.looked));
        }
        seen.looked = now;
        self.seen.set(seen);
        (stage, now.wrapping_sub(seen.since))
    }

    /// Whether the clock need not look at it before long: what it does next [rouses](TickClock) the
    /// clock, unless it rests or is served.
    pub(super) fn rests(&self, stage: Stage) -> bool {
        matches!(self.holder.get(), Holder::Parked | Holder::Frames)
            && matches!(stage, Stage::Idle | Stage::Served)
            && self.ending().is_none()
    }

    /// Bytes held for it, apart from a dispatcher's usual buffers.
    pub(super) fn weight(&self) -> usize {
        self.weight.get()
    }

    fn forget_weight(&self) {
        self.load.weight.set(self.load.weight.get() - self.weight.take());
    }

    /// Notes what it weighs now.
    pub(super) fn weigh(&self, intake: &Intake) {
        let is_ending = self.ending.get().is_some();
        let kept = intake.held.len() + intake.unread + intake.body + intake.rest.kept();
        let weight = if is_ending { 0 } else { kept };
        let before = self.weight.replace(weight);
        if weight > before {
            self.load.clock.rouse();
        }
        if weight != before {
            let all = self.load.weight.get() - before + weight;
            self.load.weight.set(all);
            if weight > before && all > self.load.most.get() {
                self.load.alarm.notify_one();
            }
        }
    }

    /// Whether the request that waits is for a path between roles.
    pub(super) fn asks_for(&self, path: &str) -> bool {
        let intake = self.intake.borrow();
        let mut words = intake.held.splitn(3, |byte| *byte == b' ');
        words.nth(1).is_some_and(|target| target.starts_with(path.as_bytes()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.forget_weight();
    }
}
