//! One client's connection, as the HTTP dispatcher reads and writes it.
//!
//! This is a thin layer between the socket and actix, for two things that actix does not let a
//! service decide. Requests lose their wish for an upgrade (see [`upgrade`](super::upgrade)). And a
//! request that the parser cannot read (without `Host`, with a space in its path, with too many
//! headers) never reaches a service: actix answers it with a status and an empty body, and closes.
//! Such a bare answer, which is always the last on its connection, is replaced by one with the
//! body that every error has. The connection then stays open for a moment, in which the rest of the
//! request is read and dropped: closing a socket with unread data discards what was written to it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::rt::time::{Sleep, sleep};
use actix_web::web::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::metrics::Open;
use super::upgrade::UpgradeFilter;
use super::{CLOSE_LIMIT, request_id};
use crate::wire::reply::{Failure, Problem};

/// The most bytes of a head that actix writes for an answer without a body: a status line,
/// `content-length`, `connection` and `date` have about 120.
const LONGEST_BARE_HEAD: usize = 256;
/// What ends a head.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// What says that there is no body.
const NO_BODY: &str = "\r\ncontent-length: 0\r\n";

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    requests: UpgradeFilter,
    /// The answer that replaces a bare one, once there is one.
    last: Option<LastAnswer>,
    _open: Open,
}

/// The answer that replaces a bare one.
#[derive(Debug)]
struct LastAnswer {
    /// What is left to write.
    rest: Bytes,
    /// When the connection is closed, whether or not the client has read the answer.
    close: Pin<Box<Sleep>>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, open: Open) -> Self {
        Self { stream, requests: UpgradeFilter::default(), last: None, _open: open }
    }

    /// Writes the answer that replaces the bare one `head`, and waits for the client to read it and
    /// to close. Until then, the bare one stays with the dispatcher, which comes again with it.
    fn poll_last(&mut self, cx: &mut Context<'_>, head: &str) -> Poll<io::Result<usize>> {
        let last = self.last.get_or_insert_with(|| LastAnswer {
            rest: with_body(head),
            close: Box::pin(sleep(CLOSE_LIMIT)),
        });
        let mut stream = Pin::new(&mut self.stream);
        if last.close.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(head.len()));
        }
        while !last.rest.is_empty() {
            match ready!(stream.as_mut().poll_write(cx, &last.rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => last.rest.advance(written),
            }
        }
        ready!(stream.as_mut().poll_shutdown(cx))?;
        let mut dropped = [MaybeUninit::uninit(); 4_096];
        loop {
            let mut buffer = ReadBuf::uninit(&mut dropped);
            ready!(stream.as_mut().poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(head.len()));
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.requests.filter(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match bare_error(bytes) {
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
            Some((0, head)) => self.poll_last(cx, head),
            // Answers to earlier requests go first.
            Some((start, _)) => Pin::new(&mut self.stream).poll_write(cx, &bytes[..start]),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Finds an error without a body at the end of what is written, and where it starts. Answers with a
/// body do not end like a head, so that most writes are told apart by their last four bytes.
fn bare_error(bytes: &[u8]) -> Option<(usize, &str)> {
    if !bytes.ends_with(END_OF_HEAD) {
        return None;
    }
    let tail = bytes.len().saturating_sub(LONGEST_BARE_HEAD);
    let mark = b"HTTP/1.";
    let start = tail + bytes[tail..].windows(mark.len()).rposition(|window| window == mark)?;
    let head = std::str::from_utf8(&bytes[start..]).ok()?;
    (status_of(head)? >= 400 && head.contains(NO_BODY)).then_some((start, head))
}

fn status_of(head: &str) -> Option<u16> {
    head.split(' ').nth(1)?.parse().ok()
}

fn with_body(head: &str) -> Bytes {
    let code = status_of(head).expect("a bare error has a status");
    let error = Problem { code, message: unreadable(code).to_owned() };
    let body = serde_json::to_string(&Failure { error }).expect("an error can be written as JSON");
    let headers = format!(
        "\r\ncontent-length: {}\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
         x-request-id: {}\r\nconnection: close\r\n",
        body.len(),
        request_id::draw()
    );
    let head = head.replace("\r\nconnection: close\r\n", "\r\n").replace(NO_BODY, &headers);
    Bytes::from(head + &body)
}

/// What is wrong with a request that the parser cannot read, by the status that it is answered.
#[must_use]
pub fn unreadable(code: u16) -> &'static str {
    match code {
        400 => {
            "the request is not valid HTTP/1.1: send one Host header, a target of at most 65534 \
             ASCII characters without spaces, and one valid Content-Length or chunks"
        }
        408 => "the request did not arrive in time",
        431 => "the request has more than 96 headers, or more than 128 KiB of them",
        _ => "the request failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\
                        date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";

    #[test]
    fn an_error_without_a_body_is_found_behind_other_answers() {
        assert_eq!(bare_error(BARE.as_bytes()), Some((0, BARE)));
        let first = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let both = format!("{first}{BARE}");
        assert_eq!(bare_error(both.as_bytes()), Some((first.len(), BARE)));
    }

    #[test]
    fn other_answers_are_left_as_they_are() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 51\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nx-request-id: HTTP/1.1 400\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "",
        ] {
            assert_eq!(bare_error(answer.as_bytes()), None, "{answer}");
        }
    }

    #[test]
    fn the_replacement_keeps_the_head_and_says_how_long_its_body_is() {
        let answer = String::from_utf8(with_body(BARE).to_vec()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        assert!(head.ends_with("\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT"), "{head}");
        assert_eq!(head.matches("connection: close").count(), 1, "{head}");
        assert!(body.starts_with(r#"{"error":{"code":400,"message":"#), "{body}");
    }
}
