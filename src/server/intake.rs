//! What has come in on a socket and is not yet with its dispatcher, and what has yet to go out.
//!
//! The dispatcher is handed whole heads only, and bodies as they come. It gets no further request
//! while it has one to answer, or while the client does not read. So it never holds more than a
//! request and an answer of one client, and the rest stays in the kernel's buffers, where it makes
//! the client wait.

use std::cell::RefMut;

use super::answer::Rest;
use super::framing::Framing;
use super::socket::Socket;
use super::stream::Stream;
use super::unserved::LastAnswer;

/// The largest head: several times what browsers and proxies send.
const LARGEST_HEAD: usize = 32 << 10;

/// A socket, and what was read from it.
pub(super) struct Intake {
    pub(super) stream: Stream,
    pub(super) framing: Framing,
    /// What was read and is not handed on.
    pub(super) held: Vec<u8>,
    /// How much of it the framing has followed, and how much the dispatcher may have.
    pub(super) followed: usize,
    pub(super) ready: usize,
    /// Whether the client has closed its side.
    pub(super) has_ended: bool,
    /// Bytes handed on since the dispatcher last wrote all it had.
    pub(super) handed: usize,
    /// Bytes of the body that is arriving.
    pub(super) body: usize,
    /// Bytes of answers that the client does not take.
    pub(super) unread: usize,
    /// What the dispatcher has not been handed of an answer.
    pub(super) rest: Rest,
    /// Whether the dispatcher was refused bytes, and has to be woken to ask again.
    pub(super) is_gated: bool,
    /// Whether the dispatcher's buffers have grown.
    pub(super) has_grown: bool,
    pub(super) parking: Parking,
    /// The answer that replaces a bare one, once there is one.
    pub(super) last: Option<LastAnswer>,
}

/// How far a dispatcher is in giving the socket back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parking {
    No,
    Wanted,
    Done,
}

impl Intake {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            framing: Framing::default(),
            held: Vec::new(),
            followed: 0,
            ready: 0,
            has_ended: false,
            handed: 0,
            body: 0,
            unread: 0,
            rest: Rest::default(),
            is_gated: false,
            has_grown: false,
            parking: Parking::No,
            last: None,
        }
    }

    /// Whether all bodies are whole whose heads are.
    pub(super) fn is_whole(&self) -> bool {
        self.framing.is_between_requests() || self.framing.is_in_head()
    }

    /// Whether the head that arrives is larger than any may be.
    pub(super) fn has_large_head(&self) -> bool {
        self.framing.is_in_head() && self.held.len() > LARGEST_HEAD
    }

    /// Notes that the client has closed its side. The parser is to judge what it has left.
    pub(super) fn end_input(&mut self) {
        self.has_ended = true;
        self.ready = self.followed;
    }
}

impl Socket {
    /// Follows bytes from `followed` on, as far as they may be handed on. Returns up to where that
    /// is, from the beginning of `bytes` on.
    pub(super) fn follow(
        &self,
        intake: &mut Intake,
        bytes: &mut [u8],
        followed: &mut usize,
    ) -> usize {
        let mut ready = if intake.framing.is_in_head() { 0 } else { *followed };
        while *followed < bytes.len() && self.may_begin(intake) {
            let (passed, is_head) = intake.framing.follow(&mut bytes[*followed..]);
            *followed += passed;
            if is_head {
                self.requests.set(self.requests.get().wrapping_add(1));
                self.under_way.set(self.under_way.get() + 1);
                intake.body = 0;
            } else if intake.framing.is_between_requests() {
                intake.body = 0;
            } else if !intake.framing.is_in_head() {
                intake.body += passed;
            }
            if !intake.framing.is_in_head() {
                ready = *followed;
            }
        }
        ready
    }

    /// Whether a further request may be handed on, if that is what comes next: only when the one
    /// before is answered. actix writes an answer by the method, the version and the `Connection`
    /// of the request that it has read last, whichever one it answers.
    pub(super) fn may_begin(&self, intake: &Intake) -> bool {
        self.under_way.get() == 0 || !intake.framing.is_between_requests()
    }

    /// Follows what is held, as far as it may be handed on.
    pub(super) fn follow_held(&self, intake: &mut RefMut<'_, Intake>) {
        if intake.followed < intake.held.len() {
            let (mut held, mut followed) = (std::mem::take(&mut intake.held), intake.followed);
            let ready = self.follow(intake, &mut held, &mut followed);
            intake.ready = intake.ready.max(ready);
            (intake.held, intake.followed) = (held, followed);
        }
    }
}
