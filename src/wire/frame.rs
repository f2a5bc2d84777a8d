//! Calls between roles as frames on a connection that lasts.
//!
//! Each call may also be made as an HTTP request, by a person or by a role of an older version. But
//! an order takes some ten calls, and a head of HTTP costs more than what most of them carry. So a
//! role begins a connection to another one with a line that no HTTP request begins with; what
//! follows are frames, each with its length before it. Calls do not wait for one another, and what
//! is ready at the same time leaves in one write:
//!
//! ```text
//! order-3                                          catalog
//!   | TOYSTORE/2 CRLF, Hello { secret }               |
//!   |------------------------------------------------>|
//!   |<--------------------------- Welcome::Accepted --|
//!   | CallHead { id: 0, /commit }, body               |
//!   | CallHead { id: 1, /report }, body               |
//!   |------------------------------------------------>|
//!   |<------------- AnswerHead { id: 1, 200 }, body --|
//!   |<------------- AnswerHead { id: 0, 200 }, body --|
//! ```
//!
//! A server that knows no frames, or none of this version, answers the first line as HTTP does
//! (400), which is no frame; its peer then makes its calls as HTTP requests. Heads are in postcard,
//! bodies in JSON, as over HTTP. A browser cannot send the first line, so that frames need no
//! protection from the pages of other sites.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use serde::{Deserialize, Serialize};
use tokio_util::codec::LengthDelimitedCodec;

use super::bounds;
use super::calls::{Caller, MessageTag};
use super::identity::{Addressee, StoreId};
use super::timing::{ServerTiming, TimingNote};
use super::trace::{RequestOrigin, TraceContext};

/// What begins a connection of frames, with the version of all that follows.
pub const PREFACE: &[u8] = b"TOYSTORE/2\r\n";
/// The largest first frame of a caller, who has shown no secret yet: as large as a head of HTTP.
pub const LARGEST_HELLO: usize = 32 << 10;
/// The largest buffer that a connection keeps for frames that are to be written, of which it has
/// two. As many purchases as a batch has at most fill one.
const MOST_KEPT: usize = 64 << 10;
/// The bytes of a frame's length, which is big-endian and does not count itself.
const LENGTH_BYTES: usize = 4;

/// The first frame, from the caller.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// The cluster's secret, if the caller has one.
    #[serde(borrow)]
    pub secret: Option<Cow<'a, str>>,
}

/// The first frame in return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Calls may follow.
    Accepted,
    /// The server takes no calls from this caller, and closes the connection.
    Refused {
        /// The HTTP status that this answer would have.
        status: u16,
        /// Why.
        message: String,
    },
}

/// What stands before a call's body.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallHead<'a> {
    /// The caller's number for this call on this connection.
    pub id: u64,
    /// The call's [`PATH`](super::calls::Call::PATH); its fields are in the body.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// The role that it is meant for.
    #[serde(borrow)]
    pub role: Option<Cow<'a, str>>,
    /// The store that it is meant for, if the caller knows it.
    pub store: Option<StoreId>,
    /// The `X-Request-Id` of the client's request that it is made for.
    #[serde(borrow)]
    pub request_id: Option<Cow<'a, str>>,
    /// Whether its client sent that id.
    pub is_named_by_client: bool,
    /// Where that request is in its trace.
    pub trace: Option<TraceContext>,
    /// What the call says of itself, if its sender records events: its sender, and its id there.
    #[serde(borrow)]
    pub message: Option<(Cow<'a, str>, u64)>,
}

/// What stands before an answer's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHead {
    /// The call's number.
    pub id: u64,
    /// The HTTP status that this answer would have. The body of 200 is the answer itself, that of
    /// any other status a [`Failure`](super::reply::Failure).
    pub status: u16,
    /// Where the time of the call went, as far as it was measured.
    pub timing: ServerTiming,
}

impl<'a> CallHead<'a> {
    /// The head of a call to `path` by `caller`.
    #[must_use]
    pub fn new(id: u64, path: &'a str, caller: &'a Caller) -> Self {
        let meant_for = caller.meant_for.as_ref();
        Self {
            id,
            path: path.into(),
            role: meant_for.map(|meant| meant.role.as_str().into()),
            store: meant_for.and_then(|meant| meant.store),
            request_id: caller.origin.request_id.as_deref().map(Into::into),
            is_named_by_client: caller.origin.is_named_by_client,
            trace: caller.origin.trace,
            message: caller.message.as_ref().map(|tag| (tag.from.as_str().into(), tag.id)),
        }
    }

    /// Returns what comes with the call. A request id that no role sends says nothing.
    #[must_use]
    pub fn caller(&self) -> Caller {
        let id = self.request_id.as_deref();
        let id = id.filter(|id| bounds::is_request_id(id));
        let role = self.role.as_ref();
        let message = self.message.as_ref();
        Caller {
            origin: RequestOrigin {
                request_id: id.map(str::to_owned),
                is_named_by_client: self.is_named_by_client && id.is_some(),
                trace: self.trace,
            },
            meant_for: role.map(|role| Addressee { role: role.to_string(), store: self.store }),
            timing: TimingNote::default(),
            message: message.map(|(from, id)| MessageTag { from: from.to_string(), id: *id }),
        }
    }
}

/// A frame that cannot be read.
#[derive(Debug)]
pub struct Unreadable(postcard::Error);

/// Adds a frame to `buffer`: `head`, and the body that `write_body` writes behind it.
///
/// # Panics
///
/// If the frame has 4 GiB or more.
pub fn write<H: Serialize>(
    buffer: &mut BytesMut,
    head: &H,
    write_body: impl FnOnce(&mut BytesMut),
) {
    let start = buffer.len();
    buffer.put_bytes(0, LENGTH_BYTES);
    postcard::serialize_with_flavor(head, Appending(buffer)).expect("memory takes what is written");
    write_body(buffer);
    let length = u32::try_from(buffer.len() - start - LENGTH_BYTES);
    let length = length.expect("no message is that large").to_be_bytes();
    buffer[start..start + LENGTH_BYTES].copy_from_slice(&length);
}

/// Empties a buffer whose frames were written, to be filled again. Its memory is kept, unless that
/// is unusually much: a buffer that grew anew each time would be copied some ten times on the way.
pub fn reuse(buffer: &mut BytesMut) {
    if buffer.capacity() > MOST_KEPT {
        *buffer = BytesMut::new();
    }
    buffer.clear();
}

/// Splits a frame into its head and its body.
///
/// # Errors
///
/// If there is no such head.
pub fn read<'a, H: Deserialize<'a>>(frame: &'a [u8]) -> Result<(H, &'a [u8]), Unreadable> {
    postcard::take_from_bytes(frame).map_err(Unreadable)
}

/// Cuts a stream of bytes into frames of at most `largest` bytes.
#[must_use]
pub fn codec(largest: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_length(LENGTH_BYTES)
        .max_frame_length(largest)
        .new_codec()
}

/// Where postcard writes.
struct Appending<'a>(&'a mut BytesMut);

impl postcard::ser_flavors::Flavor for Appending<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the frame is unreadable: {}", self.0)
    }
}

impl std::error::Error for Unreadable {}

#[cfg(test)]
mod tests {
    use tokio_util::codec::Decoder as _;

    use super::*;

    fn caller() -> Caller {
        let meant_for = Addressee { role: "order-2".into(), store: StoreId::new(7) };
        let trace = Some(TraceContext::from_random(1, 2));
        let request_id = Some("a request, \"r\"".into());
        let origin = RequestOrigin { request_id, is_named_by_client: true, trace };
        let message = Some(MessageTag { from: "frontend".into(), id: 9 });
        Caller { origin, meant_for: Some(meant_for), message, timing: TimingNote::default() }
    }

    #[test]
    fn frames_that_follow_one_another_are_read_as_they_were_written() {
        let mut stream = BytesMut::new();
        for id in [0, 300] {
            write(&mut stream, &CallHead::new(id, "/append", &caller()), |body| {
                body.extend_from_slice(b"{}");
            });
        }
        let mut codec = codec(1_000);
        for id in [0, 300] {
            let frame = codec.decode(&mut stream).unwrap().unwrap();
            let (head, body): (CallHead<'_>, _) = read(&frame).unwrap();
            assert_eq!((head.id, &*head.path, body), (id, "/append", &b"{}"[..]));
            assert_eq!(head.caller(), caller());
        }
        assert!(stream.is_empty());
    }

    #[test]
    fn an_answer_of_http_is_no_frame() {
        let mut answer = BytesMut::from(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]);
        assert!(codec(4 << 20).decode(&mut answer).is_err());
    }

    #[test]
    fn a_head_that_breaks_off_is_unreadable() {
        let mut stream = BytesMut::new();
        write(&mut stream, &CallHead::new(1, "/append", &caller()), |_| {});
        for length in 0..stream.len() - LENGTH_BYTES {
            assert!(read::<CallHead<'_>>(&stream[LENGTH_BYTES..LENGTH_BYTES + length]).is_err());
        }
    }
}
