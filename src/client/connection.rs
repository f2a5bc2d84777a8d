//! One connection of a client to a front-end, which carries one request after another.
//!
//! A request leaves in one write; its answer is read into a buffer that stays. Dropping a request
//! that is under way leaves the connection useless, so whoever does that drops the connection too.

use std::io;
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::http::{self, Message, Reuse, Stream};
use crate::roles::Address;
use crate::transport::{LARGEST_MESSAGE, Unreachable};

/// Connecting takes a round trip; the client may be further from the store than the roles are from
/// one another.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Room for one read. The usual answer is a few hundred bytes.
const READ_BYTES: usize = 4_096;

/// A connection that waits for a request.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What has been read of the answer under way.
    received: Vec<u8>,
}

impl Connection {
    /// Connects to a front-end.
    ///
    /// # Errors
    ///
    /// If it cannot be reached within two seconds.
    pub async fn open(address: &Address) -> Result<Self, Unreachable> {
        let connecting = TcpStream::connect(address.as_str());
        let stream = match actix_web::rt::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err(Unreachable::NobodyListens);
            }
            Ok(Err(error)) => return Err(broken("it cannot be connected to", &error)),
            Err(_elapsed) => return Err(Unreachable::Silent),
        };
        stream.set_nodelay(true).map_err(|error| broken("the connection broke", &error))?;
        Ok(Self { stream, received: Vec::with_capacity(READ_BYTES) })
    }

    /// Whether nothing has come since the last answer, not even the connection's end. The runtime
    /// knows whether something has, so that the system is asked only then.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request and awaits the whole answer.
    ///
    /// # Errors
    ///
    /// If the connection breaks, or the answer is no HTTP.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Message, Unreachable> {
        let written = self.stream.write_all(request).await;
        written.map_err(|error| broken("the connection broke", &error))?;
        self.received.clear();
        loop {
            self.received.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.received).await;
            let stream = match read.map_err(|error| broken("the answer broke", &error))? {
                0 => Stream::Ended,
                _ => Stream::Open,
            };
            let message = http::parse(&self.received, stream);
            match message.map_err(|problem| Unreachable::Broken(problem.into()))? {
                // What follows an answer that nothing was asked after belongs to no request.
                Some(message) if message.length < self.received.len() => {
                    return Ok(Message { reuse: Reuse::Close, ..message });
                }
                Some(message) => return Ok(message),
                None if stream == Stream::Ended => {
                    return Err(Unreachable::Broken("the answer broke off".into()));
                }
                None if self.received.len() > LARGEST_MESSAGE => {
                    return Err(Unreachable::Broken("the answer is too long".into()));
                }
                None => {}
            }
        }
    }
}

fn broken(what: &str, error: &io::Error) -> Unreachable {
    Unreachable::Broken(format!("{what}: {error}"))
}
