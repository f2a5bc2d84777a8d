//! Calls as frames on a connection that lasts (see [`frame`]).
//!
//! One thread has one connection to a server, on which all of its calls are in flight at once. Two
//! tasks serve it: one writes what has gathered, the other hands answers to those that wait.
//!
//! A peer that was stopped, or a link that was cut, leaves a connection on which nothing arrives,
//! and which may stay silent when the peer is back (a router may have forgotten it). So a call that
//! gets no answer in time retires its connection unless something else has arrived since it was
//! made; the next call connects anew, and calls that still wait on the old one may yet be answered.
//! When none of them waits any more, it is closed.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify, Semaphore, oneshot};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::errors::CLOSED;
use super::http::{CONNECT_TIMEOUT, IDLE_TIMEOUT, MOST_CALLS, in_one_line, refusal};
use super::{CallError, LARGEST_MESSAGE, Unreachable};
use crate::clock;
use crate::roles::{Access, Address, Secret};
use crate::tls::{self, TlsClient};
use crate::wire::calls::Caller;
use crate::wire::frame::{self, AnswerHead, CallHead, Hello, PREFACE, Welcome};

/// How long a server that answered as HTTP is not asked again whether it knows frames.
const HTTP_ONLY_PERIOD: Duration = Duration::from_secs(10);

/// A server that may know frames, as one thread reaches it.
pub(super) struct Frames {
    address: Address,
    secret: Option<Secret>,
    tls: Option<(TlsConnector, Option<ServerName<'static>>)>,
    current: RefCell<Option<Rc<Channel>>>,
    /// Held while connecting, so that calls that begin meanwhile wait for the same connection.
    connecting: Mutex<()>,
    /// Until when the server is known to speak HTTP only.
    http_only_until: Cell<Option<Instant>>,
    /// Further calls wait, within their own time limits.
    calls: Semaphore,
}

/// Why there is no connection.
enum NotConnected {
    /// The server speaks HTTP only.
    HttpOnly,
    Failed(CallError),
}

/// One connection.
struct Channel {
    /// Frames that are to be written.
    outgoing: RefCell<BytesMut>,
    has_outgoing: Notify,
    waiting: RefCell<HashMap<u64, oneshot::Sender<(AnswerHead, Bytes)>>>,
    next_id: Cell<u64>,
    /// When the last frame arrived.
    heard: Cell<Instant>,
    used: Cell<Instant>,
    /// No further call is made here.
    is_retired: Cell<bool>,
    /// No call waits here any more, and none will.
    is_left: Notify,
}

impl Frames {
    pub(super) fn new(address: &Address, access: Access<'_>) -> Self {
        let tls = access.tls.map(|TlsClient(config)| {
            let name = tls::server_name(address.host().as_str());
            (TlsConnector::from(Arc::clone(config)), name)
        });
        Self {
            address: address.clone(),
            secret: access.secret.cloned(),
            tls,
            current: RefCell::default(),
            connecting: Mutex::default(),
            http_only_until: Cell::default(),
            calls: Semaphore::new(MOST_CALLS),
        }
    }

    /// Makes a call, whose fields are in `body`, or returns `None` if the server knows no frames.
    pub(super) async fn call(
        &self,
        path: &str,
        body: &[u8],
        time_limit: Duration,
        caller: &Caller,
    ) -> Option<Result<Bytes, CallError>> {
        if self.http_only_until.get().is_some_and(|until| clock::now() < until) {
            return None;
        }
        let sent = Cell::new(None);
        let answered = async {
            let _one_of_few = self.calls.acquire().await.expect("it is never closed");
            let channel = match self.usable() {
                Some(channel) => Ok(channel),
                None => Box::pin(self.connected()).await,
            };
            let channel = match channel {
                Ok(channel) => channel,
                Err(NotConnected::HttpOnly) => return None,
                Err(NotConnected::Failed(error)) => return Some(Err(error)),
            };
            sent.set(Some((Rc::clone(&channel), clock::now())));
            Some(channel.send(path, body, caller).answer().await)
        };
        let answer = match actix_web::rt::time::timeout(time_limit, answered).await {
            Ok(answer) => answer?,
            Err(_elapsed) => {
                if let Some((channel, since)) = sent.take() {
                    channel.retire_if_silent(since);
                }
                Err(CallError::Unreachable(Unreachable::Silent))
            }
        };
        Some(answer.and_then(|(AnswerHead { status, timing, .. }, body)| {
            caller.timing.add_all(timing);
            if status == 200 {
                return Ok(body);
            }
            Err(refusal(status, &body))
        }))
    }

    /// Connects, unless another call has done so meanwhile.
    async fn connected(&self) -> Result<Rc<Channel>, NotConnected> {
        let _connecting = self.connecting.lock().await;
        if let Some(channel) = self.usable() {
            return Ok(channel);
        }
        let stream =
            tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address.as_str()))
                .await
                .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
                .map_err(|error| NotConnected::Failed(not_connected(&error)))?;
        stream.set_nodelay(true).map_err(|error| NotConnected::Failed(broken(&error)))?;
        let channel = match &self.tls {
            None => {
                let (reader, mut writer) = stream.into_split();
                let reader = self.greet(reader, &mut writer).await?;
                Channel::open(reader, writer)
            }
            Some((connector, name)) => {
                let stream = secured(connector, name.as_ref(), stream).await?;
                let (reader, mut writer) = tokio::io::split(stream);
                let reader = self.greet(reader, &mut writer).await?;
                Channel::open(reader, writer)
            }
        };
        *self.current.borrow_mut() = Some(Rc::clone(&channel));
        Ok(channel)
    }

    fn usable(&self) -> Option<Rc<Channel>> {
        let current = self.current.borrow();
        let channel = current.as_ref().filter(|channel| {
            // The server closes one that rests for longer, perhaps at this very moment.
            !channel.is_retired.get() && clock::now() < channel.used.get() + IDLE_TIMEOUT
        })?;
        Some(Rc::clone(channel))
    }

    /// Says what follows on the connection, and waits until the server agrees.
    async fn greet<R: AsyncRead + Unpin>(
        &self,
        reader: R,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<FramedRead<R, LengthDelimitedCodec>, NotConnected> {
        let mut first = BytesMut::from(PREFACE);
        let secret = self.secret.as_ref().map(|secret| Cow::Borrowed(secret.reveal()));
        frame::write(&mut first, &Hello { secret }, |_| {});
        let sent = write(writer, &first).await;
        sent.map_err(|error| NotConnected::Failed(broken(&error)))?;
        let mut reader = FramedRead::new(reader, frame::codec(LARGEST_MESSAGE));
        let welcome = match reader.next().await {
            Some(Ok(frame)) => frame::read::<Welcome>(&frame).map(|(welcome, _)| welcome).ok(),
            Some(Err(error)) if error.kind() != io::ErrorKind::InvalidData => {
                return Err(NotConnected::Failed(broken(&error)));
            }
            Some(Err(_no_frame)) => None,
            None => return Err(NotConnected::Failed(closed())),
        };
        match welcome {
            Some(Welcome::Accepted) => Ok(reader),
            Some(Welcome::Refused { status, message }) => {
                let message = in_one_line(&message);
                Err(NotConnected::Failed(CallError::Refused { status, message }))
            }
            None => {
                self.http_only_until.set(Some(clock::now() + HTTP_ONLY_PERIOD));
                Err(NotConnected::HttpOnly)
            }
        }
    }
}

impl Channel {
    fn open(
        reader: FramedRead<impl AsyncRead + Unpin + 'static, LengthDelimitedCodec>,
        writer: impl AsyncWrite + Unpin + 'static,
    ) -> Rc<Self> {
        let now = clock::now();
        let channel = Rc::new(Self {
            outgoing: RefCell::default(),
            has_outgoing: Notify::new(),
            waiting: RefCell::default(),
            next_id: Cell::new(0),
            heard: Cell::new(now),
            used: Cell::new(now),
            is_retired: Cell::new(false),
            is_left: Notify::new(),
        });
        let served = Rc::clone(&channel);
        drop(actix_web::rt::spawn(async move {
            tokio::select! {
                () = served.write(writer) => {}
                () = served.read(reader) => {}
                () = served.is_left.notified() => {}
            }
            served.is_retired.set(true);
            // All that wait learn that no answer can come any more.
            served.waiting.borrow_mut().clear();
        }));
        channel
    }

    fn send(self: &Rc<Self>, path: &str, body: &[u8], caller: &Caller) -> Waiting {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let head = CallHead::new(id, path, caller);
        frame::write(&mut self.outgoing.borrow_mut(), &head, |buffer| {
            buffer.extend_from_slice(body);
        });
        self.has_outgoing.notify_one();
        let (answer, answered) = oneshot::channel();
        self.used.set(clock::now());
        self.waiting.borrow_mut().insert(id, answer);
        Waiting { channel: Rc::clone(self), id, answered }
    }

    /// Writes what has gathered, until the connection breaks or rests for too long.
    async fn write(&self, mut writer: impl AsyncWrite + Unpin) {
        let mut gathered = BytesMut::new();
        loop {
            frame::reuse(&mut gathered);
            std::mem::swap(&mut gathered, &mut *self.outgoing.borrow_mut());
            if gathered.is_empty() {
                let more = self.has_outgoing.notified();
                let waited = tokio::time::timeout(IDLE_TIMEOUT, more).await;
                if waited.is_err() && self.waiting.borrow().is_empty() {
                    return;
                }
            } else if write(&mut writer, &gathered).await.is_err() {
                return;
            }
        }
    }

    /// Hands out answers until the connection breaks.
    async fn read(&self, mut reader: FramedRead<impl AsyncRead + Unpin, LengthDelimitedCodec>) {
        while let Some(Ok(frame)) = reader.next().await {
            let frame = frame.freeze();
            let Ok((head, body)) = frame::read::<AnswerHead>(&frame) else { return };
            self.heard.set(clock::now());
            let waiting = self.waiting.borrow_mut().remove(&head.id);
            // A call that gave up meanwhile does not wait.
            if let Some(waiting) = waiting {
                let _gave_up = waiting.send((head, frame.slice_ref(body)));
            }
        }
    }

    /// Makes no further call on a connection on which nothing has arrived since then.
    fn retire_if_silent(&self, since: Instant) {
        if self.heard.get() <= since {
            self.is_retired.set(true);
            self.end_if_left();
        }
    }

    /// Ends the connection if no call waits and none will.
    fn end_if_left(&self) {
        if self.is_retired.get() && self.waiting.borrow().is_empty() {
            self.is_left.notify_one();
        }
    }
}

/// A call that waits for its answer.
struct Waiting {
    channel: Rc<Channel>,
    id: u64,
    answered: oneshot::Receiver<(AnswerHead, Bytes)>,
}

impl Waiting {
    async fn answer(mut self) -> Result<(AnswerHead, Bytes), CallError> {
        (&mut self.answered).await.map_err(|_closed| closed())
    }
}

impl Drop for Waiting {
    /// A call that is answered or given up makes way.
    fn drop(&mut self) {
        self.channel.waiting.borrow_mut().remove(&self.id);
        self.channel.end_if_left();
    }
}

/// Writes bytes and sees them off; TLS would keep some until more come.
async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Begins TLS, within the time that connecting may take.
async fn secured(
    connector: &TlsConnector,
    name: Option<&ServerName<'static>>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, NotConnected> {
    let failed = |why| NotConnected::Failed(CallError::Unreachable(Unreachable::Uncertified(why)));
    let Some(name) = name else {
        return Err(failed("no certificate can be for its host's name".to_owned()));
    };
    let connected = connector.connect(name.clone(), stream);
    match tokio::time::timeout(CONNECT_TIMEOUT, connected).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(failed(error.to_string()))
        }
        Ok(Err(error)) => Err(NotConnected::Failed(broken(&error))),
        Err(_elapsed) => Err(NotConnected::Failed(CallError::Unreachable(Unreachable::Silent))),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds are told in their own words")]
fn not_connected(error: &io::Error) -> CallError {
    CallError::Unreachable(match error.kind() {
        io::ErrorKind::ConnectionRefused => Unreachable::ConnectionRefused,
        io::ErrorKind::TimedOut => Unreachable::Silent,
        _ => Unreachable::Broken(format!("it cannot be connected to: {error}")),
    })
}

fn broken(error: &io::Error) -> CallError {
    CallError::broken(format!("the connection broke: {error}"))
}

fn closed() -> CallError {
    CallError::broken(CLOSED)
}
