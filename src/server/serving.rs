//! One client's connection from its acceptance to its end, and the clock that watches over all of a
//! thread's connections.

use std::future::{Future, poll_fn};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_service::Service;
use actix_web::rt;
use futures_util::future::LocalBoxFuture;
use prometheus::IntGauge;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::call_table::CallTable;
use super::connection::Connection;
use super::dispatchers::Dispatchers;
use super::frames;
use super::intake::{Intake, Parking};
use super::internal::INTERNAL;
use super::limits::PeerHost;
use super::lines::Lines;
use super::metrics::Open;
use super::rate::{FORGET_INTERVAL, RequestLimit};
use super::slots::{Slots, Supply};
use super::socket::{Ending, Holder, Socket};
use super::stream::Stream;
use super::unserved::{LastAnswer, Unserved};
use crate::descriptors::Threads;
use crate::tls::TlsServer;
use crate::wire::frame::PREFACE;

/// Headers that the parser takes.
const MOST_HEADERS: usize = 96;

/// Serves the connections of one thread by the dispatchers that `http` makes, and those with frames
/// by `calls`.
pub(super) struct Serving<H> {
    http: Rc<Dispatchers<H>>,
    calls: Rc<CallTable>,
    slots: Rc<Slots>,
    connections: IntGauge,
    tls: Option<TlsServer>,
    /// Where connections stand in line, if the thread also does the role's work.
    lines: Option<Rc<Lines>>,
}

/// What a server's threads have in common.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) supply: Supply,
    pub(super) limit: Option<Arc<RequestLimit>>,
    pub(super) connections: IntGauge,
    pub(super) stop: CancellationToken,
    pub(super) tls: Option<TlsServer>,
    pub(super) threads: Threads,
}

/// A connection that is served. Dropping it frees what it has.
struct Served {
    _open: Open,
    slots: Rc<Slots>,
    socket: Rc<Socket>,
}

/// What is next on a parked socket.
enum Gathered {
    /// A dispatcher is needed.
    Request,
    /// Calls follow as frames.
    Frames,
    /// It has ended.
    Closed,
}

impl<H: 'static> Serving<H> {
    /// Starts the clock, too, which goes on until the thread ends.
    pub(super) fn new(http: Dispatchers<H>, calls: Rc<CallTable>, terms: Terms) -> Self {
        let (http, slots) = (Rc::new(http), Rc::new(Slots::new(terms.supply)));
        let (connections, tls) = (terms.connections.clone(), terms.tls.clone());
        let lines = (terms.threads == Threads::Main).then(|| Rc::new(Lines::new()));
        rt::spawn(watch(Rc::clone(&slots), Rc::clone(&http), terms));
        Self { http, calls, slots, connections, tls, lines }
    }
}

async fn watch<H>(slots: Rc<Slots>, http: Rc<Dispatchers<H>>, Terms { limit, stop, .. }: Terms) {
    let mut forgetting = rt::time::interval(FORGET_INTERVAL);
    loop {
        tokio::select! {
            () = slots.load.clock.due() => {
                slots.tick();
                if slots.load.clock.rests() {
                    http.rest();
                }
            }
            _ = forgetting.tick(), if limit.is_some() => limit.iter().for_each(|it| it.forget()),
            () = slots.load.alarm.notified() => slots.shed_weight(),
            () = stop.cancelled(), if !slots.stops() => slots.stop(),
        }
    }
}

impl<H> Service<TcpStream> for Serving<H>
where
    H: Service<(Connection, Option<SocketAddr>), Response = ()> + 'static,
{
    type Response = ();
    type Error = H::Error;
    type Future = LocalBoxFuture<'static, Result<(), H::Error>>;

    /// It always is: as many connections are accepted as there are places, and each waits its turn.
    fn poll_ready(&self, _cx: &mut Context<'_>) -> Poll<Result<(), H::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, stream: TcpStream) -> Self::Future {
        // A reply leaves in one write, which is not to wait for an acknowledgement.
        let peer = stream.set_nodelay(true).and_then(|()| stream.peer_addr());
        let (http, slots) = (Rc::clone(&self.http), Rc::clone(&self.slots));
        let (calls, lines) = (Rc::clone(&self.calls), self.lines.clone());
        let open = Open::new(&self.connections);
        let stream = Stream::new(stream, self.tls.as_ref());
        Box::pin(async move {
            if let Ok(peer) = peer {
                let socket = slots.admit(stream, PeerHost::from(peer.ip()));
                let served = Served { _open: open, slots, socket };
                // Pinned, so that it is not in the future twice.
                let serving = pin!(serve(&http, &calls, &served, peer));
                match lines {
                    Some(lines) => {
                        let in_line = &served.socket.stands_in_line;
                        lines.stand(|| served.socket.standing(), in_line, serving).await;
                    }
                    None => serving.await,
                }
            }
            Ok(())
        })
    }
}

async fn serve<H>(http: &Dispatchers<H>, calls: &Rc<CallTable>, served: &Served, peer: SocketAddr)
where
    H: Service<(Connection, Option<SocketAddr>), Response = ()>,
{
    let Served { slots, socket, .. } = served;
    loop {
        match poll_fn(|cx| poll_gather(socket, calls, cx)).await {
            Gathered::Request => {}
            Gathered::Frames => {
                let mut frames = std::pin::pin!(frames::serve(socket, slots, calls));
                return poll_fn(|cx| poll_served(socket, frames.as_mut(), cx)).await;
            }
            Gathered::Closed => return,
        }
        let is_between_roles = socket.asks_for(INTERNAL);
        if !is_between_roles && !slots.take_place(socket) {
            socket.end(Ending::Answer(Unserved::Busy));
        } else if !slots.ask_for_turn(socket, is_between_roles) {
            poll_fn(|cx| poll_turn(socket, cx)).await;
        }
        if socket.holder.get() == Holder::Dispatcher {
            let maker = http.maker();
            let mut dispatcher = Box::pin(maker.call((Connection(Rc::clone(socket)), Some(peer))));
            poll_fn(|cx| poll_served(socket, dispatcher.as_mut(), cx)).await;
            drop(dispatcher);
            slots.end_turn(socket);
        }
        let parking = std::mem::replace(&mut socket.intake.borrow_mut().parking, Parking::No);
        if socket.ending().is_none() && (parking != Parking::Done || slots.stops()) {
            return;
        }
    }
}

/// Waits until a dispatcher is needed: for a whole head, for what the parser is to refuse, or for
/// the end of a request that breaks off; or until frames are announced, of which a connection has
/// nothing else.
fn poll_gather(socket: &Socket, calls: &CallTable, cx: &mut Context<'_>) -> Poll<Gathered> {
    socket.note_task(cx);
    let mut intake = socket.intake.borrow_mut();
    if let Some(ending) = socket.ending() {
        return poll_last(&mut intake, ending, cx);
    }
    loop {
        let is_new = socket.requests.get() == 0;
        if is_new && intake.held.starts_with(PREFACE) && calls.has_calls() {
            return Poll::Ready(Gathered::Frames);
        }
        let before = intake.followed;
        socket.follow_held(&mut intake);
        if intake.ready > 0 {
            return Poll::Ready(Gathered::Request);
        }
        if intake.has_large_head() {
            let has_line = intake.held.contains(&b'\n');
            let why = if has_line { Unserved::LargeHead } else { Unserved::LongTarget };
            socket.end(Ending::Answer(why));
            return poll_last(&mut intake, Ending::Answer(why), cx);
        }
        if intake.held[before..].contains(&b'\n') && cannot_be_read(&intake.held) {
            intake.framing.lose();
            intake.ready = intake.held.len();
            return Poll::Ready(Gathered::Request);
        }
        let mut space = [MaybeUninit::uninit(); 4_096];
        let mut buffer = ReadBuf::uninit(&mut space);
        match ready!(Pin::new(&mut intake.stream).poll_read(cx, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() => intake.held.extend_from_slice(buffer.filled()),
            Ok(()) if !intake.held.is_empty() => {
                intake.end_input();
                return Poll::Ready(Gathered::Request);
            }
            Ok(()) | Err(_) => return Poll::Ready(Gathered::Closed),
        }
        socket.weigh(&intake);
    }
}

/// Writes the answer with which a socket ends, if there is one.
fn poll_last(intake: &mut Intake, ending: Ending, cx: &mut Context<'_>) -> Poll<Gathered> {
    if let Ending::Answer(why) = ending {
        let Intake { last, held, stream, .. } = intake;
        let last = last.get_or_insert_with(|| LastAnswer::to(held, why));
        let _it_is_closed_either_way = ready!(last.poll(cx, Pin::new(stream)));
    }
    Poll::Ready(Gathered::Closed)
}

/// Whether no further bytes can make a head of this.
fn cannot_be_read(held: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    httparse::Request::new(&mut headers).parse(held).is_err()
}

/// Waits for a turn.
fn poll_turn(socket: &Socket, cx: &mut Context<'_>) -> Poll<()> {
    socket.note_task(cx);
    let waits = socket.holder.get() == Holder::Queue && socket.ending().is_none();
    if waits { Poll::Pending } else { Poll::Ready(()) }
}

/// Lets the dispatcher or the frames go on, until they or the socket have ended.
fn poll_served<D: Future>(socket: &Socket, served: Pin<&mut D>, cx: &mut Context<'_>) -> Poll<()> {
    if socket.ending().is_some() {
        return Poll::Ready(());
    }
    socket.note_task(cx);
    served.poll(cx).map(drop)
}

impl Drop for Served {
    fn drop(&mut self) {
        self.slots.leave(&self.socket);
    }
}
