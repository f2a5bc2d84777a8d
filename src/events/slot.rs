//! What is kept of an event: as little as can be written down without rendering anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::micros;
use crate::roles::Role;
use crate::wire::calls::{Call, Purpose};
use crate::wire::event::EventKind;
use crate::wire::recording::AskedRequest;
use crate::wire::replication::ReplicaId;
use crate::wire::term::CatalogId;
use crate::wire::trace::{RequestOrigin, SpanId, TraceContext, TraceId};

/// The traces of the requests that something was done for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Traces {
    /// It was done for no request.
    #[default]
    None,
    /// For one.
    One(TraceId),
    /// For several: a batch.
    Many(Arc<[TraceId]>),
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Happening<'a> {
    /// What kind of thing.
    pub kind: EventKind,
    /// What a message asks (its path) or what happened.
    pub name: &'a str,
    /// The message, if it is about one.
    pub(super) message: Option<MessageEnd>,
    /// For which requests.
    pub traces: Traces,
    /// In which span of the role.
    pub span: Option<SpanId>,
    /// The client's own span, of which its request is a part.
    pub(super) caller: Option<SpanId>,
    /// The hash of a client's request id.
    pub(super) request: Option<u64>,
    /// How long it took.
    pub took: Option<Duration>,
    /// The status of an answer.
    pub status: Option<u16>,
    /// In words.
    pub text: Option<&'a str>,
    /// The message as it was sent.
    pub body: Option<&'a str>,
}

/// A message as one of its ends sees it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct MessageEnd {
    pub(super) id: u64,
    pub(super) part: Part,
    pub(super) peer: OtherEnd,
}

/// Which half of a call a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Part {
    Call,
    Answer,
}

/// The other end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum OtherEnd {
    Role(#[serde(with = "PackedRole")] Role),
    Client,
    Unknown,
}

/// How a [`Role`] is written; in messages it is its name.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Role")]
enum PackedRole {
    Catalog,
    CatalogProcess(CatalogId),
    Order(ReplicaId),
    Frontend(u32),
}

/// A call and its answer, as one of the ends records them.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The call's id.
    pub(super) id: u64,
    pub(super) purpose: Purpose,
    /// The hash of a client's request id.
    pub(super) request: Option<u64>,
    name: &'static str,
    peer: OtherEnd,
    traces: Traces,
    span: Option<SpanId>,
}

/// An event in a ring.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Slot<'a> {
    /// When, since the process began to record.
    pub(super) time: Duration,
    /// Its place among all that the process recorded: several things may happen at one time.
    pub(super) place: u64,
    #[serde(borrow)]
    pub(super) entry: Happening<'a>,
}

/// A read from the cache: a request, its look-up and its answer.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    pub(super) began: Instant,
    pub(super) trace: TraceId,
    pub(super) request: u64,
    caller: Option<SpanId>,
    id: u64,
    toy: String,
}

/// The name of a request for a toy.
const GET_PRODUCT: &str = "GET /products";

impl Traces {
    /// The traces of these ids.
    #[must_use]
    pub fn of(mut ids: Vec<TraceId>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        match ids.as_slice() {
            [] => Self::None,
            [one] => Self::One(*one),
            _ => Self::Many(ids.into()),
        }
    }

    /// The trace of a request, if it has one.
    #[must_use]
    pub fn of_origin(origin: &RequestOrigin) -> Self {
        origin.trace.map_or(Self::None, |context| Self::One(context.trace))
    }

    /// Returns the ids.
    #[must_use]
    pub fn ids(&self) -> &[TraceId] {
        match self {
            Self::None => &[],
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn has_any(&self, ids: &[TraceId]) -> bool {
        self.ids().iter().any(|id| ids.contains(id))
    }
}

impl<'a> Happening<'a> {
    /// An event of this kind and name, about nothing.
    pub(super) fn new(kind: EventKind, name: &'a str) -> Self {
        Self {
            kind,
            name,
            message: None,
            traces: Traces::None,
            span: None,
            caller: None,
            request: None,
            took: None,
            status: None,
            text: None,
            body: None,
        }
    }

    /// Returns the id of the call that a client made, if it is about one.
    pub(super) fn client_message(&self) -> Option<u64> {
        self.message.filter(|message| message.peer == OtherEnd::Client).map(|message| message.id)
    }
}

impl Exchange {
    /// A call for a request of this origin, and for those that it carries.
    pub(super) fn of<C: Call>(
        call: &C,
        id: u64,
        peer: Option<Role>,
        origin: &RequestOrigin,
    ) -> Self {
        let mut traces = call.traces();
        let traces = if traces.is_empty() {
            Traces::of_origin(origin)
        } else {
            traces.extend(origin.trace.map(|context| context.trace));
            Traces::of(traces)
        };
        Self {
            id,
            purpose: call.purpose(),
            request: None,
            name: C::PATH,
            peer: peer.map_or(OtherEnd::Unknown, OtherEnd::Role),
            traces,
            span: origin.trace.map(|context| context.span),
        }
    }

    /// A client's request.
    pub(super) fn of_client(name: &'static str, id: u64, origin: &RequestOrigin) -> Self {
        Self {
            id,
            purpose: Purpose::Work,
            request: None,
            name,
            peer: OtherEnd::Client,
            traces: Traces::of_origin(origin),
            span: origin.trace.map(|context| context.span),
        }
    }

    /// Returns the traces that it belongs to.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    pub(super) fn entry(&self, kind: EventKind) -> Happening<'_> {
        self.part(kind, Part::Call)
    }

    pub(super) fn answer(&self, kind: EventKind) -> Happening<'_> {
        self.part(kind, Part::Answer)
    }

    fn part(&self, kind: EventKind, part: Part) -> Happening<'_> {
        Happening {
            message: Some(MessageEnd { id: self.id, part, peer: self.peer }),
            traces: self.traces.clone(),
            span: self.span,
            request: self.request,
            ..Happening::new(kind, self.name)
        }
    }
}

impl Slot<'_> {
    /// The request that came with this event, `now` being a time like the event's. `None` if it has
    /// no trace, as no request has.
    pub(super) fn asked(
        &self,
        now: Duration,
        answer: Option<&(Duration, Option<u16>)>,
    ) -> Option<AskedRequest> {
        let took = |(time, _): &(Duration, _)| micros(time.saturating_sub(self.time));
        Some(AskedRequest {
            trace: self.entry.traces.ids().first().copied()?,
            name: self.entry.name.to_owned(),
            text: self.entry.text.unwrap_or_default().to_owned(),
            age_us: micros(now.saturating_sub(self.time)),
            took_us: answer.map(took),
            status: answer.and_then(|(_, status)| *status),
        })
    }
}

impl Hit {
    /// A read of `toy` by a request whose id has this hash, in the memory of an earlier one, if
    /// there is one. A client that sent no trace gets one that is made of the message's id.
    pub(super) fn new(
        earlier: Option<Self>,
        toy: &str,
        sent: Option<TraceContext>,
        request: u64,
        id: u64,
        began: Instant,
    ) -> Self {
        let made = || TraceId::from_random(u128::from(request) << 64 | u128::from(id));
        let trace = sent.map_or_else(made, |sent| sent.trace);
        let mut name = earlier.map_or_else(String::new, |earlier| earlier.toy);
        name.clear();
        name.push_str(toy);
        Self { began, trace, caller: sent.map(|sent| sent.span), request, id, toy: name }
    }

    pub(super) fn asked(&self, now: Instant) -> AskedRequest {
        AskedRequest {
            trace: self.trace,
            name: GET_PRODUCT.to_owned(),
            text: format!("{}, from the cache", self.toy),
            age_us: micros(now.saturating_duration_since(self.began)),
            took_us: None,
            status: Some(200),
        }
    }

    /// The events that the slot stands for. They have one time: they are microseconds apart.
    pub(super) fn slots(&self, time: Duration) -> [Slot<'_>; 3] {
        let message = |part| Some(MessageEnd { id: self.id, part, peer: OtherEnd::Client });
        let entry = |kind, name, message| {
            let traces = Traces::One(self.trace);
            let text = Some(self.toy.as_str());
            let entry = Happening { message, traces, text, ..Happening::new(kind, name) };
            Slot { time, place: 0, entry }
        };
        let mut slots = [
            entry(EventKind::Recv, GET_PRODUCT, message(Part::Call)),
            entry(EventKind::Local, "cache.hit", None),
            entry(EventKind::Send, GET_PRODUCT, message(Part::Answer)),
        ];
        slots[0].entry.caller = self.caller;
        slots[2].entry.status = Some(200);
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::{PackedRing, written};
    use super::*;

    /// An event with all that one may have.
    fn happening(peer: OtherEnd, traces: Traces) -> Happening<'static> {
        Happening {
            kind: EventKind::Timer,
            name: "/rows/{from}",
            message: Some(MessageEnd { id: u64::MAX, part: Part::Answer, peer }),
            traces,
            span: Some(SpanId::from_random(u64::MAX)),
            caller: Some(SpanId::from_random(1)),
            request: Some(u64::MAX),
            took: Some(Duration::MAX),
            status: Some(u16::MAX),
            text: Some("a toy's name"),
            body: Some(r#"{"data":"ä"}"#),
        }
    }

    #[test]
    fn an_event_is_read_as_it_was_recorded() {
        let role = OtherEnd::Role;
        let largest = TraceId::from_random(u128::MAX);
        let each = [
            happening(role(Role::Catalog), Traces::None),
            happening(role(Role::CatalogProcess(CatalogId(2))), Traces::One(largest)),
            happening(
                role(Role::Order(ReplicaId(u32::MAX))),
                Traces::of(vec![largest, TraceId::from_random(1)]),
            ),
            happening(role(Role::Frontend(1)), Traces::One(TraceId::from_random(7))),
            happening(OtherEnd::Client, Traces::None),
            Happening::new(EventKind::Local, ""),
        ];
        let mut ring = PackedRing::new(each.len());
        for entry in &each {
            ring.push(&[
                &written(&(Duration::MAX, u64::MAX), Vec::new()),
                &written(entry, Vec::new()),
            ]);
        }
        let copy = ring.copy();
        assert_eq!(copy.iter::<Slot<'_>>().count(), each.len());
        for (slot, entry) in copy.iter::<Slot<'_>>().zip(&each) {
            assert_eq!((slot.time, slot.place), (Duration::MAX, u64::MAX));
            assert_eq!(format!("{:?}", slot.entry), format!("{entry:?}"));
        }
    }
}
