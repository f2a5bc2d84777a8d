//! A socket as the HTTP dispatcher reads and writes it.
//!
//! This is a thin layer between the socket and actix, for what actix does not let a service decide:
//! how much a client may have under way (for answers, see [`answer`](super::answer)), and how a
//! request that the parser cannot read is answered (see [`unserved`](mod@super::unserved)). What
//! has been read stays in the [`Socket`] until the dispatcher may have it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::intake::{Intake, Parking};
use super::socket::Socket;
use super::unserved::{LastAnswer, bare_error};

/// What a dispatcher is handed before it has to answer or to consume it. A body that it gets faster
/// than it is read would fill its buffers.
const MOST_AT_ONCE: usize = 32 << 10;
/// An answer that makes a dispatcher's buffers grow. They are given back afterwards.
const LARGE_ANSWER: usize = 16 << 10;

/// A connection.
pub(super) struct Connection(pub(super) Rc<Socket>);

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = &*self.0;
        let mut intake = socket.intake.borrow_mut();
        loop {
            if intake.parking == Parking::Wanted || intake.has_large_head() {
                // An end of the input, on which the dispatcher ends. The socket stays open.
                if socket.is_idle(&intake) {
                    intake.parking = Parking::Done;
                    return Poll::Ready(Ok(()));
                }
                intake.parking = Parking::No;
            }
            if intake.unread > 0 || intake.has_large_head() {
                intake.is_gated = true;
                return Poll::Pending;
            }
            if intake.handed >= MOST_AT_ONCE {
                intake.handed = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            socket.follow_held(&mut intake);
            if intake.ready > 0 {
                hand_on(&mut intake, buffer);
                return Poll::Ready(Ok(()));
            }
            if intake.followed < intake.held.len() {
                intake.is_gated = true;
                return Poll::Pending;
            }
            if intake.has_ended {
                return Poll::Ready(Ok(()));
            }
            ready!(read(socket, &mut intake, cx, buffer))?;
            if !buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Moves what is ready to the dispatcher's buffer.
fn hand_on(intake: &mut Intake, buffer: &mut ReadBuf<'_>) {
    let count = intake.ready.min(buffer.remaining());
    buffer.put_slice(&intake.held[..count]);
    intake.held.drain(..count);
    intake.followed -= count;
    intake.ready -= count;
    intake.handed += count;
    if intake.held.is_empty() {
        intake.held = Vec::new();
    }
}

/// Reads from the socket. What the dispatcher may have at once, as nearly always, is left in its
/// buffer; the rest is held.
fn read(
    socket: &Socket,
    intake: &mut Intake,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let start = buffer.filled().len();
    ready!(Pin::new(&mut intake.stream).poll_read(cx, buffer))?;
    let bytes = &mut buffer.filled_mut()[start..];
    if bytes.is_empty() {
        intake.end_input();
        return Poll::Ready(Ok(()));
    }
    if !intake.held.is_empty() {
        intake.held.extend_from_slice(bytes);
        buffer.set_filled(start);
        return Poll::Ready(Ok(()));
    }
    let mut followed = 0;
    let ready = socket.follow(intake, bytes, &mut followed);
    if ready < bytes.len() {
        intake.held.extend_from_slice(&bytes[ready..]);
        intake.followed = followed - ready;
        buffer.set_filled(start + ready);
    }
    intake.handed += ready;
    Poll::Ready(Ok(()))
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = &*self.0;
        let mut intake = socket.intake.borrow_mut();
        let intake = &mut *intake;
        let mut stream = Pin::new(&mut intake.stream);
        let written = match bare_error(bytes) {
            None => stream.poll_write(cx, bytes),
            // The bare answer stays with the dispatcher, which comes again with it.
            Some((0, head)) => {
                let last = intake.last.get_or_insert_with(|| LastAnswer::instead_of(head));
                ready!(last.poll(cx, stream))?;
                return Poll::Ready(Ok(head.len()));
            }
            // Answers to earlier requests go first.
            Some((start, _)) => stream.as_mut().poll_write(cx, &bytes[..start]),
        };
        let left = match &written {
            Poll::Pending => bytes.len(),
            Poll::Ready(Ok(written)) if intake.unread > 0 => bytes.len() - written,
            Poll::Ready(_) => 0,
        };
        // What is written of a piece stays in memory until all of it is.
        if left > intake.unread {
            intake.unread = left;
            socket.weigh(intake);
        }
        intake.has_grown |= bytes.len() > LARGE_ANSWER;
        written
    }

    /// Called at the end of each turn of the dispatcher in which it could write all that it had.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &*self.0;
        let mut intake = socket.intake.borrow_mut();
        if Pin::new(&mut intake.stream).poll_flush(cx)?.is_pending() {
            // Over TLS, what was written may still be here.
            intake.unread = intake.unread.max(1);
            socket.weigh(&intake);
            return Poll::Pending;
        }
        (intake.unread, intake.handed) = (0, 0);
        socket.weigh(&intake);
        let is_idle = socket.is_idle(&intake);
        if is_idle && intake.parking == Parking::No && socket.should_park(&intake) {
            intake.has_grown = false;
            intake.parking = Parking::Wanted;
        }
        let may_read = intake.held.is_empty() || socket.may_begin(&intake);
        let may_go_on = is_idle || intake.ready > 0 || may_read;
        if intake.is_gated && may_go_on || is_idle && intake.parking == Parking::Wanted {
            intake.is_gated = false;
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut intake = self.0.intake.borrow_mut();
        match intake.parking {
            Parking::Done => Poll::Ready(Ok(())),
            Parking::No | Parking::Wanted => Pin::new(&mut intake.stream).poll_shutdown(cx),
        }
    }
}
