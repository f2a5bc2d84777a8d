//! An answer's body, and how a dispatcher gets it.
//!
//! A dispatcher copies what it is handed, and keeps it until the client has read it. So it is
//! handed a large answer in pieces. What it has not been handed may be shared: clients that ask for
//! the list of all toys at the same time get the same bytes. It counts as kept for a client that
//! reads so slowly that others have got newer lists meanwhile.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;

use super::limits::{SLOW_AFTER, TICK_MS};
use super::socket::Socket;

/// The most of an answer that a dispatcher is handed at once. A smaller answer leaves in one write.
const PIECE: usize = 64 << 10;
/// What a client reads of a large answer in a tick, so that the rest does not count: 1 MiB/s.
const PACE: usize = (1 << 20) / (1_000 / TICK_MS as usize);

/// An answer's body. When the dispatcher drops it, it has all of the answer.
pub(super) struct AnswerBody {
    body: BoxBody,
    /// What the dispatcher is handed next.
    rest: Bytes,
    socket: Option<Rc<Socket>>,
}

/// What a dispatcher has not been handed of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rest {
    bytes: usize,
    /// What it has been handed since that tick.
    handed: usize,
    since: u32,
    counts: bool,
}

impl AnswerBody {
    pub(super) fn new(body: BoxBody, socket: Option<Rc<Socket>>) -> Self {
        Self { body, rest: Bytes::new(), socket }
    }

    fn note_rest(&self) {
        if let Some(socket) = &self.socket {
            socket.note_rest(self.rest.len());
        }
    }
}

impl MessageBody for AnswerBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let mut piece = std::mem::take(&mut self.rest);
        if piece.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_next(cx)) {
                Some(Ok(next)) => piece = next,
                end => return Poll::Ready(end),
            }
        }
        if piece.len() > PIECE {
            self.rest = piece.split_off(PIECE);
        }
        self.note_rest();
        Poll::Ready(Some(Ok(piece)))
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.rest = Bytes::new();
        self.note_rest();
        if let Some(socket) = &self.socket {
            socket.answered();
        }
    }
}

impl Rest {
    /// Notes at the tick `now` how much is left. Returns whether the client has read a piece since
    /// it was last noted.
    pub(super) fn note(&mut self, bytes: usize, now: u32) -> bool {
        let before = self.bytes;
        if before == 0 || bytes == 0 {
            *self = Self { bytes, since: now, ..Self::default() };
        } else {
            self.handed += before.saturating_sub(bytes);
            self.bytes = bytes;
        }
        bytes < before
    }

    /// Looks at the tick `now`. Whether the rest counts follows once a second from what the client
    /// has read in it.
    pub(super) fn look(&mut self, now: u32) {
        let ticks = now.wrapping_sub(self.since);
        if ticks >= SLOW_AFTER {
            self.counts = self.handed / PACE < ticks as usize;
            (self.handed, self.since) = (0, now);
        }
    }

    /// Whether there is any.
    pub(super) fn is_some(&self) -> bool {
        self.bytes > 0
    }

    /// The bytes that count as kept for the client.
    pub(super) fn kept(&self) -> usize {
        if self.counts { self.bytes } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 100 * PACE;

    #[test]
    fn the_rest_counts_for_a_client_that_is_slow_and_not_for_one_that_keeps_pace() {
        for (read_in_a_tick, counts) in [(0, true), (PACE / 2, true), (PACE, false)] {
            let mut rest = Rest::default();
            assert!(!rest.note(LARGE, 7), "nothing has been read");
            let mut left = LARGE;
            for tick in 1..=2 * SLOW_AFTER {
                left -= read_in_a_tick;
                assert_eq!(rest.note(left, 7 + tick), read_in_a_tick > 0);
                rest.look(7 + tick);
                let kept = if counts && tick >= SLOW_AFTER { left } else { 0 };
                assert_eq!(rest.kept(), kept, "tick {tick}, {read_in_a_tick}");
            }
            assert!(rest.note(0, 50) && !rest.is_some());
            rest.look(90);
            assert_eq!(rest.kept(), 0);
            assert!(!rest.note(LARGE, 99), "the next answer begins anew");
            rest.look(99);
            assert_eq!(rest.kept(), 0);
        }
    }
}
