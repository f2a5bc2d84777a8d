//! Calls that arrive as frames (see [`frame`]).
//!
//! A connection's calls are carried out side by side, as the [`CallTable`] says, and what is
//! answered at the same time leaves in one write.
//!
//! A socket with frames keeps its place like any other, and its stages have the same limits of time
//! (see [`limits`](super::limits)); until its caller has shown the secret, it is a stranger that
//! sends a head. It needs no dispatcher, and so no turn.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures_util::future::join;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, poll};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::sync::Notify;
use tokio_util::codec::{Decoder as _, LengthDelimitedCodec};

use super::call_table::{CallTable, FramedAnswer};
use super::intake::{Intake, Parking};
use super::is_debugged;
use super::metrics::Stopwatch;
use super::reply::ErrorReply;
use super::slots::Slots;
use super::socket::{Holder, Socket};
use crate::transport::LARGEST_MESSAGE;
use crate::wire::calls::Caller;
use crate::wire::frame::{self, AnswerHead, CallHead, Hello, LARGEST_HELLO, PREFACE, Welcome};

/// Calls of one connection that are carried out at once: as many as one thread of a role makes at
/// most. Further ones wait in the socket.
const MOST_CALLS: usize = 512;
/// Bytes of answers that may wait for a caller that does not read before no further call is read.
const MOST_WAITING: usize = LARGEST_MESSAGE;
/// What is read at once: some hundred purchases.
const READ_SIZE: usize = 16 << 10;

/// Serves a connection that has begun with the preface, until its caller closes it, it sends what
/// is no frame, or the server stops and what was accepted is answered.
pub(super) async fn serve(socket: &Rc<Socket>, slots: &Slots, table: &Rc<CallTable>) {
    let answers = Rc::new(Answers::new(Rc::clone(socket)));
    let accepting = async {
        if let Some(frames) = greet(socket, slots, table, &answers).await {
            accept(frames, table, &answers).await;
        }
        answers.end();
    };
    // In this order: what is answered in one turn is written in the same one.
    let ((), written) = join(accepting, answers.write()).await;
    if let Err(error) = written {
        log::debug!("a connection from another role broke: {error}");
    }
}

/// Hears who the caller is. Returns the frames that follow, if it may make calls.
async fn greet(
    socket: &Rc<Socket>,
    slots: &Slots,
    table: &CallTable,
    answers: &Answers,
) -> Option<Incoming> {
    let mut frames = Incoming::behind_the_preface(socket);
    let first = frames.next().await?;
    let (hello, _) = frame::read::<Hello<'_>>(&first).ok()?;
    let mut welcome = table.greet(&hello, socket.refuses_calls());
    if welcome == Welcome::Accepted {
        if table.secret.is_some() {
            socket.note_role();
        } else if !slots.take_place(socket) {
            let message = super::unserved(503).to_owned();
            welcome = Welcome::Refused { status: 503, message };
        }
    }
    answers.push(|buffer| frame::write(buffer, &welcome, |_| {}));
    (welcome == Welcome::Accepted).then(|| {
        socket.holder.set(Holder::Frames);
        frames.codec = frame::codec(LARGEST_MESSAGE);
        frames
    })
}

/// Reads calls and carries them out, until no more can come and all are answered.
async fn accept(mut frames: Incoming, table: &Rc<CallTable>, answers: &Rc<Answers>) {
    let mut calls = FuturesUnordered::new();
    loop {
        let next = async {
            answers.room().await;
            frames.next().await
        };
        let frame = tokio::select! {
            // In this order: a caller that never pauses does not hold up what is under way.
            biased;
            Some(()) = calls.next() => continue,
            frame = next, if calls.len() < MOST_CALLS => frame,
        };
        let Some(frame) = frame else { break };
        let Ok((head, body)) = frame::read::<CallHead<'_>>(&frame) else { break };
        let mut caller = head.caller();
        caller.origin.trace = caller.origin.trace.map(|parent| parent.child(rand::random()));
        let Some((route, answerer)) = table.calls.get(&*head.path) else {
            answers.answer(head.id, &FramedAnswer::refusal(&ErrorReply::NotFound("no such call")));
            continue;
        };
        let under_way = CallInFlight::new(head.id, *route, table, answers, &caller);
        let mut answering = answerer(body, caller);
        // Most calls await nothing.
        if let Poll::Ready(answer) = poll!(&mut answering) {
            under_way.answer(&answer);
        } else {
            calls.push(async move { under_way.answer(&answering.await) });
        }
    }
    while calls.next().await.is_some() {}
}

/// A call that is being carried out.
struct CallInFlight {
    id: u64,
    stopwatch: Stopwatch,
    table: Rc<CallTable>,
    answers: Rc<Answers>,
    /// The request that it is made for, if that is logged.
    request_id: Option<String>,
}

impl CallInFlight {
    fn new(
        id: u64,
        route: usize,
        table: &Rc<CallTable>,
        answers: &Rc<Answers>,
        caller: &Caller,
    ) -> Self {
        let socket = &answers.socket;
        socket.under_way.set(socket.under_way.get() + 1);
        Self {
            id,
            stopwatch: Stopwatch::of_route(route),
            table: Rc::clone(table),
            answers: Rc::clone(answers),
            request_id: is_debugged().then(|| caller.origin.to_string()),
        }
    }

    fn answer(&self, answer: &FramedAnswer) {
        self.stopwatch.stop(&self.table.requests, answer.status);
        if let Some(request) = &self.request_id {
            log::debug!("{request} is answered {}", answer.status);
        }
        self.answers.answer(self.id, answer);
    }
}

impl Drop for CallInFlight {
    fn drop(&mut self) {
        self.answers.socket.answered();
    }
}

/// The frames that come in on a socket.
struct Incoming {
    socket: Rc<Socket>,
    codec: LengthDelimitedCodec,
    /// What was read and is not yet a whole frame.
    read: BytesMut,
}

impl Incoming {
    fn behind_the_preface(socket: &Rc<Socket>) -> Self {
        let mut intake = socket.intake.borrow_mut();
        let held = std::mem::take(&mut intake.held);
        let read = BytesMut::from(&held[PREFACE.len()..]);
        socket.weigh(&intake);
        drop(intake);
        socket.holder.set(Holder::Greeting);
        Self { socket: Rc::clone(socket), codec: frame::codec(LARGEST_HELLO), read }
    }

    /// Returns the next frame; `None` if there is none to come.
    async fn next(&mut self) -> Option<BytesMut> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<BytesMut>> {
        loop {
            match self.codec.decode(&mut self.read) {
                Ok(Some(frame)) => {
                    self.socket.moved();
                    self.note_part(0);
                    return Poll::Ready(Some(frame));
                }
                Err(_too_long) => return Poll::Ready(None),
                Ok(None) => self.note_part(self.read.len()),
            }
            let mut intake = self.socket.intake.borrow_mut();
            if intake.parking == Parking::Wanted {
                // The server stops, and does not wait for the rest of a frame.
                intake.body = 0;
                self.socket.weigh(&intake);
                return Poll::Ready(None);
            }
            let mut space = [MaybeUninit::uninit(); READ_SIZE];
            let mut buffer = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut intake.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    self.read.extend_from_slice(buffer.filled());
                }
                Ok(()) | Err(_) => return Poll::Ready(None),
            }
        }
    }

    /// Notes in the socket how much there is of a frame that is not whole. Whole ones are taken as
    /// soon as there is room for their answers; to note the few that wait would rouse the clock for
    /// each that comes with another.
    fn note_part(&self, length: usize) {
        let mut intake = self.socket.intake.borrow_mut();
        if intake.body != length {
            intake.body = length;
            self.socket.weigh(&intake);
        }
    }
}

/// What is to be written on one connection.
struct Answers {
    socket: Rc<Socket>,
    outgoing: RefCell<BytesMut>,
    /// Bytes that are being written, and that the caller has not taken.
    writing: Cell<usize>,
    has_ended: Cell<bool>,
    grown: Notify,
    shrunk: Notify,
}

impl Answers {
    fn new(socket: Rc<Socket>) -> Self {
        Self {
            socket,
            outgoing: RefCell::default(),
            writing: Cell::new(0),
            has_ended: Cell::new(false),
            grown: Notify::new(),
            shrunk: Notify::new(),
        }
    }

    fn answer(&self, id: u64, answer: &FramedAnswer) {
        let FramedAnswer { status, body, timing } = answer;
        let head = AnswerHead { id, status: *status, timing: *timing };
        self.push(|buffer| {
            frame::write(buffer, &head, |buffer| buffer.extend_from_slice(body));
        });
    }

    fn push(&self, write: impl FnOnce(&mut BytesMut)) {
        write(&mut self.outgoing.borrow_mut());
        if self.writing.get() > 0 {
            self.note(&mut self.socket.intake.borrow_mut());
        }
        self.grown.notify_one();
    }

    fn end(&self) {
        self.has_ended.set(true);
        self.grown.notify_one();
    }

    /// Waits until the caller has read enough.
    async fn room(&self) {
        while self.outgoing.borrow().len() > MOST_WAITING {
            self.shrunk.notified().await;
        }
    }

    /// Writes answers until there are no more to come.
    async fn write(&self) -> io::Result<()> {
        let mut gathered = BytesMut::new();
        loop {
            frame::reuse(&mut gathered);
            std::mem::swap(&mut gathered, &mut *self.outgoing.borrow_mut());
            if !gathered.is_empty() {
                let mut rest = &gathered[..];
                poll_fn(|cx| self.poll_write(&mut rest, cx)).await?;
                self.shrunk.notify_one();
            } else if self.has_ended.get() {
                let intake = &self.socket.intake;
                let shut = |cx: &mut Context<'_>| {
                    Pin::new(&mut intake.borrow_mut().stream).poll_shutdown(cx)
                };
                return poll_fn(shut).await;
            } else {
                self.grown.notified().await;
            }
        }
    }

    fn poll_write(&self, rest: &mut &[u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut intake = self.socket.intake.borrow_mut();
        while !rest.is_empty() {
            let written = Pin::new(&mut intake.stream).poll_write(cx, rest);
            if let Poll::Ready(Ok(written)) = written {
                *rest = &rest[written..];
                self.socket.moved();
            }
            self.writing.set(rest.len());
            self.note(&mut intake);
            if ready!(written)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Pin::new(&mut intake.stream).poll_flush(cx)
    }

    /// Notes in the socket how much waits for a caller that does not read.
    fn note(&self, intake: &mut Intake) {
        let unread = match self.writing.get() {
            0 => 0,
            writing => writing + self.outgoing.borrow().len(),
        };
        if intake.unread != unread {
            intake.unread = unread;
            self.socket.weigh(intake);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::metrics::Metrics;
    use crate::server::limits::PeerHost;
    use crate::server::slots::Supply;
    use crate::server::stream::Stream;
    use crate::wire::calls::{Call, EndSession, Endpoints as _};
    use crate::wire::lease::SessionId;
    use crate::wire::replication::Leadership;

    /// Calls that come after the one that ends the first call's wait.
    const FURTHER: u64 = 300;

    #[actix_web::test]
    async fn a_call_that_need_not_wait_any_more_is_answered_before_further_ones_are_read() {
        let mut table = CallTable::new(Metrics::new("order", &[]).requests.of_thread());
        let told = Rc::new(Notify::new());
        table.on(&told, async |told: Rc<Notify>, Leadership { .. }, _| {
            told.notified().await;
            Ok(())
        });
        table.on(&told, async |told: Rc<Notify>, EndSession { .. }, _| {
            told.notify_one();
            Ok(())
        });
        let mut burst = BytesMut::new();
        frame::write(&mut burst, &Hello { secret: None }, |_| {});
        let own = Caller::default();
        let mut send = |id, path, body: String| {
            let head = CallHead::new(id, path, &own);
            frame::write(&mut burst, &head, |to| to.extend_from_slice(body.as_bytes()));
        };
        let waits = serde_json::to_string(&Leadership::default()).unwrap();
        send(0, Leadership::PATH, waits);
        for id in 1..=FURTHER {
            let tells = EndSession { session: SessionId::FORGOTTEN };
            send(id, EndSession::PATH, serde_json::to_string(&tells).unwrap());
        }

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        caller.write_all(&burst).await.unwrap();
        caller.shutdown().await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let slots = Slots::new(Supply::new(100, 1));
        let socket = slots.admit(Stream::new(stream, None), PeerHost::from(peer.ip()));
        socket.intake.borrow_mut().held.extend_from_slice(PREFACE);
        serve(&socket, &slots, &Rc::new(table)).await;
        slots.leave(&socket);
        drop(socket);

        let mut answers = BytesMut::new();
        caller.read_buf(&mut answers).await.unwrap();
        while caller.read_buf(&mut answers).await.unwrap() > 0 {}
        let mut codec = frame::codec(LARGEST_MESSAGE);
        codec.decode(&mut answers).unwrap().expect("the welcome");
        let mut order = Vec::new();
        while let Some(answer) = codec.decode(&mut answers).unwrap() {
            order.push(frame::read::<AnswerHead>(&answer).unwrap().0.id);
        }
        assert_eq!(order.len() as u64, 1 + FURTHER);
        assert_eq!(order[..3], [1, 0, 2], "the first call's answer was held up");
    }
}
