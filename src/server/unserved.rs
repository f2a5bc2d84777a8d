//! Errors that no service gives: those for requests that the parser cannot read, that do not arrive
//! in time, or for which there is no place.
//!
//! actix answers a request that it cannot read (without `Host`, with a space in its path, with too
//! many headers) with a status and an empty body, and closes. Such a bare answer, which is always
//! the last on its connection, is replaced by one with the body that every error has. The
//! connection then stays open for a moment, in which the rest of the request is read and dropped:
//! closing a socket with unread data discards what was written to it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::web::{Buf as _, Bytes};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::body::IDEMPOTENCY_KEY;
use super::repeated::Repeated;
use super::stream::Stream;
use crate::wire::reply::{Failure, Problem};

/// The most bytes of a head that actix writes for an answer without a body: a status line,
/// `content-length`, `connection` and `date` have about 120.
const LONGEST_BARE_HEAD: usize = 256;
/// What ends a head.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// What says that there is no body.
const NO_BODY: &str = "\r\ncontent-length: 0\r\n";

/// The last answer on a connection.
#[derive(Debug)]
pub(super) struct LastAnswer {
    /// What is left to write.
    rest: Bytes,
    /// Whether more of the request may come, which is to be read.
    may_go_on: bool,
}

/// Why a request is answered before a service sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unserved {
    /// 400: its first line is longer than any may be.
    LongTarget,
    /// 408: it did not arrive in time.
    Late,
    /// 431: its head is too large.
    LargeHead,
    /// 503: this process serves as many others as it can.
    Busy,
}

impl LastAnswer {
    /// The answer that replaces the bare one `head`.
    pub(super) fn instead_of(head: &str) -> Self {
        // The parser has the request, and could not read it.
        Self { rest: with_body(head, &Repeated::of(b"")), may_go_on: true }
    }

    /// The answer to a request of which this much was read.
    pub(super) fn to(request: &[u8], why: Unserved) -> Self {
        let status = match why {
            Unserved::LongTarget => "400 Bad Request",
            Unserved::Late => "408 Request Timeout",
            Unserved::LargeHead => "431 Request Header Fields Too Large",
            Unserved::Busy => "503 Service Unavailable\r\nretry-after: 1",
        };
        let head = format!("HTTP/1.1 {status}{NO_BODY}\r\n");
        // A process that is busy has no time for those that it refuses.
        let may_go_on = why != Unserved::Busy;
        Self { rest: with_body(&head, &Repeated::of(request)), may_go_on }
    }

    /// Writes the answer, and waits for the client to read it and to close.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut stream: Pin<&mut Stream>,
    ) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            match ready!(stream.as_mut().poll_write(cx, &self.rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.rest.advance(written),
            }
        }
        ready!(stream.as_mut().poll_shutdown(cx))?;
        if !self.may_go_on {
            return Poll::Ready(Ok(()));
        }
        let mut dropped = [MaybeUninit::uninit(); 4_096];
        loop {
            let mut buffer = ReadBuf::uninit(&mut dropped);
            ready!(stream.as_mut().poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Finds an error without a body at the end of what is written, and where it starts. Answers with a
/// body do not end like a head, so that most writes are told apart by their last four bytes.
pub(super) fn bare_error(bytes: &[u8]) -> Option<(usize, &str)> {
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
    head.get(9..12)?.parse().ok()
}

fn with_body(head: &str, Repeated { id, key }: &Repeated) -> Bytes {
    let code = status_of(head).expect("a bare error has a status");
    let error = Problem { code, message: unserved(code).to_owned(), who_rules: None };
    let body = serde_json::to_string(&Failure { error }).expect("an error can be written as JSON");
    let headers = format!(
        "\r\ncontent-length: {}\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
         x-request-id: {id}\r\n{}connection: close\r\n",
        body.len(),
        key.as_ref().map_or_else(String::new, |key| format!("{IDEMPOTENCY_KEY}: {key}\r\n")),
    );
    let head = head.replace("\r\nconnection: close\r\n", "\r\n").replace(NO_BODY, &headers);
    Bytes::from(head + &body)
}

/// Why a request reaches no service, by the status that it is answered.
#[must_use]
pub fn unserved(code: u16) -> &'static str {
    match code {
        400 => {
            "the request is not valid HTTP/1.1: send one Host header, a target of less than 32 KiB \
             of ASCII characters without spaces, and one valid Content-Length or chunks"
        }
        408 => "the request did not arrive in time",
        431 => "the request has more than 96 headers, or more than 32 KiB of them",
        503 => "too many requests are under way; try again",
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
        let answer = String::from_utf8(with_body(BARE, &Repeated::of(b"")).to_vec()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        assert!(head.ends_with("\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT"), "{head}");
        assert_eq!(head.matches("connection: close").count(), 1, "{head}");
        assert!(body.starts_with(r#"{"error":{"code":400,"message":"#), "{body}");
    }

    #[test]
    fn a_refusal_has_the_shape_of_every_error() {
        for (why, code) in [
            (Unserved::LongTarget, 400),
            (Unserved::Late, 408),
            (Unserved::LargeHead, 431),
            (Unserved::Busy, 503),
        ] {
            let request = b"POST /orders HTTP/1.1\r\nX-Request-Id: a\r\nIdempotency-Key: k\r\n\r\n";
            let answer = String::from_utf8(LastAnswer::to(request, why).rest.to_vec()).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{head}");
            assert!(head.ends_with("\r\nconnection: close"), "{head}");
            assert_eq!(head.contains("\r\nretry-after: 1\r\n"), code == 503, "{head}");
            assert!(head.contains("\r\nx-request-id: a\r\nidempotency-key: k\r\n"), "{head}");
            assert!(body.starts_with(&format!(r#"{{"error":{{"code":{code},"#)), "{body}");
        }
    }
}
