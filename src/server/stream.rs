//! A socket's bytes, in plain or in TLS.
//!
//! Where a role speaks TLS, its clients may, and other roles must. A connection tells which it is
//! by its first byte: a TLS handshake begins with 22, and no HTTP request does.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::tls::TlsServer;

/// The type of a TLS record that belongs to a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// A client's bytes.
pub(super) enum Stream {
    Plain(TcpStream),
    /// Nothing has arrived yet.
    New(TcpStream, TlsAcceptor),
    Handshake(Box<Accept<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
    /// The handshake has failed.
    Failed,
}

impl Stream {
    pub(super) fn new(socket: TcpStream, tls: Option<&TlsServer>) -> Self {
        match tls {
            None => Self::Plain(socket),
            Some(TlsServer(config)) => Self::New(socket, TlsAcceptor::from(config.clone())),
        }
    }

    /// Whether the client may still choose TLS.
    pub(super) fn is_new(&self) -> bool {
        matches!(self, Self::New(..))
    }

    /// Whether what was read came over TLS.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Goes on until it is known how the client speaks.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self {
                Self::Plain(_) | Self::Tls(_) => return Poll::Ready(Ok(())),
                Self::New(socket, _) => {
                    let mut space = [MaybeUninit::uninit(); 1];
                    let mut first = ReadBuf::uninit(&mut space);
                    ready!(socket.poll_peek(cx, &mut first))?;
                    let is_tls = first.filled() == [HANDSHAKE];
                    let Self::New(socket, acceptor) = std::mem::replace(self, Self::Failed) else {
                        unreachable!("it was new a moment ago");
                    };
                    *self = if is_tls {
                        Self::Handshake(Box::new(acceptor.accept(socket)))
                    } else {
                        Self::Plain(socket)
                    };
                }
                Self::Handshake(accept) => {
                    let outcome = ready!(Pin::new(&mut **accept).poll(cx));
                    *self = outcome.map_or(Self::Failed, |stream| Self::Tls(Box::new(stream)));
                }
                Self::Failed => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_begin(cx))?;
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
            Self::New(..) | Self::Handshake(_) | Self::Failed => unreachable!("it has begun"),
        }
    }
}

impl AsyncWrite for Stream {
    /// A client that has not said how it speaks is answered in plain.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) | Self::New(socket, _) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
            Self::Handshake(_) | Self::Failed => {
                Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            // The kernel sends what a plain socket has taken.
            Self::Plain(_) | Self::New(..) | Self::Handshake(_) | Self::Failed => {
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) | Self::New(socket, _) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Handshake(_) | Self::Failed => Poll::Ready(Ok(())),
        }
    }
}
