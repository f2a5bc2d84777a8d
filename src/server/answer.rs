//! An answer's body, and how a dispatcher gets it.
//!
//! A dispatcher copies what it is handed, and keeps it until the client has read it. So it is
//! handed a large answer in pieces. What it has not been handed may be shared: clients that ask for
//! the list of all toys at the same time get the same bytes. It counts as kept for a client that
//! reads less than 1 MiB/s; of several such clients that share it, for the one that has most left.

use std::collections::HashMap;
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
    /// The address of its end.
    buffer: usize,
    /// What it has been handed since that tick.
    handed: usize,
    since: u32,
    is_slow: bool,
    counts: bool,
}

impl AnswerBody {
    pub(super) fn new(body: BoxBody, socket: Option<Rc<Socket>>) -> Self {
        Self { body, rest: Bytes::new(), socket }
    }

    fn note_rest(&self) {
        if let Some(socket) = &self.socket {
            // All who share a buffer have its end left.
            let buffer = self.rest.as_ptr_range().end.addr();
            socket.note_rest(self.rest.len(), buffer);
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
    /// Notes at the tick `now` how much is left, of which buffer. Returns whether the client has
    /// read a piece since it was last noted.
    fn note(&mut self, bytes: usize, buffer: usize, now: u32) -> bool {
        let before = self.bytes;
        if before == 0 || bytes == 0 {
            *self = Self { bytes, buffer, since: now, ..Self::default() };
        } else {
            self.handed += before.saturating_sub(bytes);
            self.bytes = bytes;
        }
        bytes < before
    }

    /// Looks at the tick `now`. Whether the client is slow follows once a second from what it has
    /// read in it. Returns whether it has read nothing.
    pub(super) fn look(&mut self, now: u32) -> bool {
        let ticks = now.wrapping_sub(self.since);
        if !self.is_some() || ticks < SLOW_AFTER {
            return false;
        }
        let handed = std::mem::take(&mut self.handed);
        self.is_slow = handed / PACE < ticks as usize;
        self.since = now;
        handed == 0
    }

    /// Whether there is any.
    pub(super) fn is_some(&self) -> bool {
        self.bytes > 0
    }

    /// Whether there is any, and the client reads it so fast that none of it counts.
    pub(super) fn is_read(&self) -> bool {
        self.is_some() && !self.is_slow
    }

    /// The bytes that count as kept for the client.
    pub(super) fn kept(&self) -> usize {
        if self.is_slow && self.counts { self.bytes } else { 0 }
    }
}

impl Socket {
    /// Notes how much of an answer the dispatcher has not been handed, of which buffer.
    pub(super) fn note_rest(&self, bytes: usize, buffer: usize) {
        let mut intake = self.intake.borrow_mut();
        if bytes > 0 || intake.rest.is_some() {
            if intake.rest.note(bytes, buffer, self.load.clock.now()) {
                self.moved();
            }
            self.weigh(&intake);
        }
    }
}

/// Has the rest of each buffer count once, for the slow client that has most of it left.
pub(super) fn count_rests(sockets: &[Rc<Socket>]) {
    let is_slow =
        |socket: &&Rc<Socket>| socket.ending().is_none() && socket.intake.borrow().rest.is_slow;
    let slow = || sockets.iter().filter(is_slow);
    let mut most: HashMap<usize, (usize, &Rc<Socket>)> = HashMap::new();
    for socket in slow() {
        let Rest { bytes, buffer, .. } = socket.intake.borrow().rest;
        let found = most.entry(buffer).or_insert((bytes, socket));
        if bytes > found.0 {
            *found = (bytes, socket);
        }
    }
    for socket in slow() {
        let mut intake = socket.intake.borrow_mut();
        let (_, counts) = most[&intake.rest.buffer];
        intake.rest.counts = Rc::ptr_eq(socket, counts);
        socket.weigh(&intake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 100 * PACE;

    #[test]
    fn a_client_is_slow_that_does_not_keep_pace() {
        for (read_in_a_tick, is_slow) in [(0, true), (PACE / 2, true), (PACE, false)] {
            let mut rest = Rest::default();
            assert!(!rest.note(LARGE, 1, 7), "nothing has been read");
            let mut left = LARGE;
            for tick in 1..=2 * SLOW_AFTER {
                left -= read_in_a_tick;
                assert_eq!(rest.note(left, 1, 7 + tick), read_in_a_tick > 0);
                rest.look(7 + tick);
                let found = is_slow && tick >= SLOW_AFTER;
                assert_eq!(rest.is_slow, found, "tick {tick}, {read_in_a_tick}");
                assert_eq!(rest.is_read(), !found);
            }
            assert!(rest.note(0, 1, 50) && !rest.is_some() && !rest.is_read());
            assert!(!rest.note(LARGE, 2, 99) && rest.is_read(), "the next answer begins anew");
            rest.look(99);
            assert!(rest.is_read());
        }
    }
}
