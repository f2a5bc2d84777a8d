//! An HTTP answer as bytes on a connection: where it ends, and what a client needs of it.
//!
//! A client that measures must cost less than what it measures, so it does without a general HTTP
//! library's maps, pools and buffers: the head is parsed where it lies, and only the body is
//! copied. What is looked at is the status, the length, `Connection` and `X-Cache`; what an answer
//! may legally look like besides (chunks, interim answers, no length at all) is understood, as a
//! proxy may stand before the store.

use httparse::{Header, Status};

/// Headers that an answer may have; more than any server or proxy sends.
const MOST_HEADERS: usize = 64;

/// What a client needs of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The HTTP status.
    pub status: u16,
    /// What it says of the cache.
    pub cache: CacheMark,
    /// The whole body.
    pub body: Vec<u8>,
    /// Whether the connection can be used again.
    pub reuse: Reuse,
    /// How many bytes the answer took.
    pub length: usize,
}

/// What an answer says of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMark {
    /// It came from there.
    Hit,
    /// It was not there.
    Miss,
    /// Nothing.
    Unmarked,
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It takes another request.
    KeepAlive,
    /// It ends.
    Close,
}

/// Whether more bytes may follow those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The server may send more.
    Open,
    /// The server has closed its side.
    Ended,
}

/// Why bytes are no answer.
pub type Malformed = &'static str;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunks,
    UntilTheEnd,
}

/// The head of an answer.
struct Head {
    status: u16,
    cache: CacheMark,
    framing: Framing,
    reuse: Reuse,
    length: usize,
}

/// Reads the answer that `bytes` begins with. `None` if some of it is still to come.
///
/// # Errors
///
/// If the bytes are no HTTP answer, whatever follows.
pub fn parse(bytes: &[u8], stream: Stream) -> Result<Option<Message>, Malformed> {
    let mut skipped = 0;
    loop {
        let Some(head) = parse_head(&bytes[skipped..])? else { return Ok(None) };
        let start = skipped + head.length;
        if (100..200).contains(&head.status) {
            // An interim answer; the one that counts follows.
            skipped = start;
            continue;
        }
        let Some((body, taken)) = take_body(head.framing, &bytes[start..], stream)? else {
            return Ok(None);
        };
        let Head { status, cache, reuse, .. } = head;
        return Ok(Some(Message { status, cache, body, reuse, length: start + taken }));
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_what) => return Err("the answer is not HTTP"),
    };
    let status = response.code.ok_or("the answer has no status")?;
    let mut head = Head {
        status,
        cache: CacheMark::Unmarked,
        framing: Framing::UntilTheEnd,
        reuse: if response.version == Some(1) { Reuse::KeepAlive } else { Reuse::Close },
        length,
    };
    for header in response.headers.iter() {
        head.note(header)?;
    }
    if matches!(status, 204 | 304) {
        head.framing = Framing::Length(0);
    }
    if head.framing == Framing::UntilTheEnd {
        head.reuse = Reuse::Close;
    }
    Ok(Some(head))
}

impl Head {
    fn note(&mut self, header: &Header<'_>) -> Result<(), Malformed> {
        let (name, value) = (header.name, header.value.trim_ascii());
        if name.eq_ignore_ascii_case("content-length") {
            let length = parse_length(value).ok_or("the answer's length is no number")?;
            match self.framing {
                Framing::Length(other) if other != length => {
                    return Err("the answer has two lengths");
                }
                // Chunks go before a length (RFC 9112, 6.3).
                Framing::Chunks => {}
                Framing::Length(_) | Framing::UntilTheEnd => {
                    self.framing = Framing::Length(length);
                }
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err("the answer has an encoding that was not asked for");
            }
            self.framing = Framing::Chunks;
        } else if name.eq_ignore_ascii_case("connection") {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"close") {
                    self.reuse = Reuse::Close;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    self.reuse = Reuse::KeepAlive;
                }
            }
        } else if name.eq_ignore_ascii_case("x-cache") {
            self.cache = match value {
                b"hit" => CacheMark::Hit,
                b"miss" => CacheMark::Miss,
                _ => CacheMark::Unmarked,
            };
        }
        Ok(())
    }
}

fn parse_length(value: &[u8]) -> Option<usize> {
    // A sign, which Rust's numbers may have, is not part of HTTP's.
    let digits = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

/// The body at the start of `bytes`, and how many bytes it took.
fn take_body(
    framing: Framing,
    bytes: &[u8],
    stream: Stream,
) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    match framing {
        Framing::Length(length) => Ok(bytes.get(..length).map(|body| (body.to_vec(), length))),
        Framing::Chunks => take_chunks(bytes),
        Framing::UntilTheEnd => {
            Ok((stream == Stream::Ended).then(|| (bytes.to_vec(), bytes.len())))
        }
    }
}

fn take_chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    const BROKEN: Malformed = "the answer's chunks are broken";
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let (line, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(Status::Complete(found)) => found,
            Ok(Status::Partial) => return Ok(None),
            Err(_what) => return Err(BROKEN),
        };
        let start = at + line;
        if size == 0 {
            let mut trailers = [httparse::EMPTY_HEADER; MOST_HEADERS];
            return match httparse::parse_headers(&bytes[start..], &mut trailers) {
                Ok(Status::Complete((length, _))) => Ok(Some((body, start + length))),
                Ok(Status::Partial) => Ok(None),
                Err(_what) => Err(BROKEN),
            };
        }
        let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
        let end = end.ok_or(BROKEN)?;
        let Some(after) = end.checked_add(2).and_then(|after| bytes.get(end..after)) else {
            return Ok(None);
        };
        if after != b"\r\n" {
            return Err(BROKEN);
        }
        body.extend_from_slice(&bytes[start..end]);
        at = end + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-Cache: hit\r\n\r\nhello";

    fn message(text: &str, stream: Stream) -> Message {
        parse(text.as_bytes(), stream).unwrap().expect("the answer is complete")
    }

    #[test]
    fn an_answer_is_read_once_it_is_all_there_however_it_comes_in_pieces() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3\r\nhel\r\n2;note=1\r\nlo\r\n0\r\nTrailer: x\r\n\r\n";
        for text in [HIT, chunked] {
            for end in 0..text.len() {
                assert_eq!(parse(&text.as_bytes()[..end], Stream::Open), Ok(None), "{end}");
            }
            let message = message(&format!("{text}HTTP/1.1 404"), Stream::Open);
            assert_eq!((message.status, message.body.as_slice()), (200, &b"hello"[..]));
            assert_eq!((message.length, message.reuse), (text.len(), Reuse::KeepAlive));
        }
    }

    #[test]
    fn an_answer_tells_whether_it_came_from_the_cache() {
        let marked = |mark: &str| message(&HIT.replace("hit", mark), Stream::Open).cache;
        assert_eq!(marked("hit"), CacheMark::Hit);
        assert_eq!(marked("miss"), CacheMark::Miss);
        assert_eq!(marked("what"), CacheMark::Unmarked);
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection() {
        let text = "HTTP/1.1 200 OK\r\n\r\nhello";
        assert_eq!(parse(text.as_bytes(), Stream::Open), Ok(None));
        let message = message(text, Stream::Ended);
        assert_eq!((message.body.as_slice(), message.reuse), (&b"hello"[..], Reuse::Close));
    }

    #[test]
    fn an_answer_that_is_cut_off_is_never_complete() {
        assert_eq!(parse(&HIT.as_bytes()[..HIT.len() - 1], Stream::Ended), Ok(None));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n";
        assert_eq!(parse(chunked, Stream::Ended), Ok(None));
    }

    #[test]
    fn an_interim_answer_is_skipped() {
        let text = format!("HTTP/1.1 100 Continue\r\n\r\n{HIT}");
        let message = message(&text, Stream::Open);
        assert_eq!((message.status, message.length), (200, text.len()));
    }

    #[test]
    fn a_status_without_a_body_needs_no_length() {
        let message = message("HTTP/1.1 204 No Content\r\n\r\n", Stream::Open);
        assert_eq!((message.body.len(), message.reuse), (0, Reuse::KeepAlive));
    }

    #[test]
    fn a_connection_is_used_again_only_if_the_server_keeps_it() {
        let reuse = |head: &str| {
            message(&format!("{head}\r\nContent-Length: 0\r\n\r\n"), Stream::Open).reuse
        };
        assert_eq!(reuse("HTTP/1.1 200 OK"), Reuse::KeepAlive);
        assert_eq!(reuse("HTTP/1.1 200 OK\r\nConnection: x, Close"), Reuse::Close);
        assert_eq!(reuse("HTTP/1.0 200 OK"), Reuse::Close);
        assert_eq!(reuse("HTTP/1.0 200 OK\r\nConnection: keep-alive"), Reuse::KeepAlive);
    }

    #[test]
    fn what_is_no_answer_is_refused_at_once() {
        for text in [
            "SSH-2.0-OpenSSH_9.6\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        ] {
            assert!(parse(text.as_bytes(), Stream::Open).is_err(), "{text} was an answer");
        }
    }
}
