//! Follows the framing of a connection's requests, before the HTTP parser sees them.
//!
//! It says where each head and each body ends, so that requests can be handed to the parser one by
//! one (see [`socket`](super::socket)). And it takes the wish for another protocol out of them:
//! Java's `HttpClient` sends `Connection: Upgrade, HTTP2-Settings` and `Upgrade: h2c` with every
//! request. This server speaks HTTP/1 only, so an upgrade is to be ignored (RFC 9110, 7.8): an
//! ordinary reply, on a connection that stays open. The parser instead closes the connection after
//! `Connection: Upgrade`, and reads a body without end after `Upgrade: websocket`.
//!
//! Requests are followed byte by byte, so that it works however they are cut into reads. Letters
//! are overwritten, and none is moved:
//!
//! ```text
//! Connection: Upgrade, HTTP2-Settings   ──►   Connection: xpgrade, HTTP2-Settings
//! Upgrade: websocket                    ──►   Upgrade: xebsocket
//! ```
//!
//! (Of the options of `Connection` that the parser knows, `upgrade` alone has a `u`.) Bodies are
//! skipped by their length or chunk by chunk, and left as they are. Where the framing is not valid,
//! the parser refuses the request and ends the connection; nothing is followed from there on.

/// The longest name of a header that matters: `transfer-encoding`.
const LONGEST_NAME: usize = 17;

/// Where in its requests a connection is.
#[derive(Debug, Default)]
pub(super) struct Framing {
    place: Place,
    /// The beginning of the header's name, in lower case.
    name: [u8; LONGEST_NAME],
    /// What the request's headers have said so far of its body.
    length: u64,
    is_chunked: bool,
}

/// Where in the stream of requests the next byte is.
#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// Before a request line.
    #[default]
    Start,
    /// Before a line of a head.
    Line,
    /// In the name of a header, of which this many bytes were read.
    Name(usize),
    /// In the value of this header.
    Value(Header),
    /// In a line of a head that does not matter.
    OtherLine,
    /// In a body of which this many bytes are left.
    Body(u64),
    /// In a chunk's size line, with the size that its digits have given so far.
    ChunkSize(u64),
    /// Behind the size in a chunk's size line.
    ChunkExtension(u64),
    /// In a chunk of which this many bytes are left.
    Chunk(u64),
    /// Behind a chunk.
    ChunkEnd,
    /// Before a line of a chunked body's trailer.
    Trailer,
    /// In a line of a trailer.
    TrailerLine,
    /// Behind something that is not valid.
    Lost,
}

/// A header that matters.
#[derive(Clone, Copy, Debug)]
enum Header {
    Connection,
    Upgrade,
    ContentLength,
    TransferEncoding,
}

impl Framing {
    /// Follows the next bytes of the connection up to the end of a head or to the beginning of
    /// another one, if they have it. Returns how many bytes that is, and whether a head ends there.
    pub(super) fn follow(&mut self, bytes: &mut [u8]) -> (usize, bool) {
        let whole = bytes.len();
        let mut rest = bytes;
        while !rest.is_empty() {
            let was_in_head = self.is_in_head();
            let begins = self.is_between_requests() && !matches!(rest[0], b'\r' | b'\n');
            if begins && rest.len() < whole {
                return (whole - rest.len(), false);
            }
            let passed = match self.place {
                Place::OtherLine => self.skip_line(rest, Place::Line),
                Place::TrailerLine => self.skip_line(rest, Place::Trailer),
                Place::ChunkExtension(size) => self.skip_line(rest, Self::after_size(size)),
                Place::Body(left) => self.skip(rest, left, Place::Body, Place::Start),
                Place::Chunk(left) => self.skip(rest, left, Place::Chunk, Place::ChunkEnd),
                Place::Lost => return (whole, false),
                Place::Start
                | Place::Line
                | Place::Name(_)
                | Place::Value(_)
                | Place::ChunkSize(_)
                | Place::ChunkEnd
                | Place::Trailer => {
                    self.place = self.step(&mut rest[0]);
                    1
                }
            };
            rest = &mut rest[passed..];
            if was_in_head && !self.is_in_head() && !self.is_lost() {
                return (whole - rest.len(), true);
            }
        }
        (whole, false)
    }

    /// Whether the next byte belongs to a head of which some is there.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.place, Place::OtherLine | Place::Line | Place::Name(_) | Place::Value(_))
    }

    /// Whether the next byte is the first of a request.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(self.place, Place::Start)
    }

    /// Whether the framing is not valid.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.place, Place::Lost)
    }

    /// Gives up: the parser is to refuse what comes.
    pub(super) fn lose(&mut self) {
        self.place = Place::Lost;
    }

    /// Passes one byte, and returns where the next one is.
    fn step(&mut self, byte: &mut u8) -> Place {
        match (self.place, *byte) {
            (Place::Start | Place::Line | Place::Trailer | Place::ChunkEnd, b'\r') => self.place,
            (Place::Start | Place::Trailer, b'\n') => Place::Start,
            (Place::Start, _) => {
                (self.length, self.is_chunked) = (0, false);
                Place::OtherLine
            }
            (Place::Line, b'\n') => self.after_head(),
            (Place::Line, b'c' | b'C' | b'u' | b'U' | b't' | b'T') => self.in_name(0, *byte),
            (Place::Line, _) => Place::OtherLine,
            (Place::Name(_) | Place::Value(_), b'\n') => Place::Line,
            (Place::Name(length), b':') => Self::header(&self.name[..length]),
            (Place::Name(length), _) => self.in_name(length, *byte),
            (Place::Value(header), _) => self.in_value(header, byte),
            (Place::ChunkSize(size), b'\n') => Self::after_size(size),
            (Place::ChunkSize(size), digit) => match char::from(digit).to_digit(16) {
                // The parser refuses a chunk as large as 2^64.
                Some(digit) => Place::ChunkSize((size << 4) | u64::from(digit)),
                None => Place::ChunkExtension(size),
            },
            (Place::ChunkEnd, b'\n') => Place::ChunkSize(0),
            (Place::Trailer, _) => Place::TrailerLine,
            (place, _) => place,
        }
    }

    fn in_name(&mut self, length: usize, byte: u8) -> Place {
        let Some(place) = self.name.get_mut(length) else { return Place::OtherLine };
        *place = byte.to_ascii_lowercase();
        Place::Name(length + 1)
    }

    fn header(name: &[u8]) -> Place {
        match name {
            b"connection" => Place::Value(Header::Connection),
            b"upgrade" => Place::Value(Header::Upgrade),
            b"content-length" => Place::Value(Header::ContentLength),
            b"transfer-encoding" => Place::Value(Header::TransferEncoding),
            _ => Place::OtherLine,
        }
    }

    fn in_value(&mut self, header: Header, byte: &mut u8) -> Place {
        match (header, *byte) {
            (Header::Connection, b'u' | b'U') | (Header::Upgrade, b'w' | b'W') => *byte = b'x',
            (Header::ContentLength, digit @ b'0'..=b'9') => {
                let longer = self.length.checked_mul(10);
                let longer = longer.and_then(|tens| tens.checked_add(u64::from(digit - b'0')));
                let Some(longer) = longer else { return Place::Lost };
                self.length = longer;
            }
            (Header::ContentLength, byte) if !b" \t\r".contains(&byte) => return Place::Lost,
            // The parser refuses every other encoding than `chunked`.
            (Header::TransferEncoding, _) => self.is_chunked = true,
            (Header::Connection | Header::Upgrade | Header::ContentLength, _) => {}
        }
        Place::Value(header)
    }

    fn after_head(&self) -> Place {
        match (self.is_chunked, self.length) {
            (true, _) => Place::ChunkSize(0),
            (false, 0) => Place::Start,
            (false, length) => Place::Body(length),
        }
    }

    fn after_size(size: u64) -> Place {
        if size == 0 { Place::Trailer } else { Place::Chunk(size) }
    }

    /// Passes the rest of a line, and returns how many bytes that is.
    fn skip_line(&mut self, bytes: &[u8], next: Place) -> usize {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return bytes.len() };
        self.place = next;
        end + 1
    }

    /// Passes up to `left` bytes, and returns how many.
    fn skip(
        &mut self,
        bytes: &[u8],
        left: u64,
        place: impl Fn(u64) -> Place,
        next: Place,
    ) -> usize {
        let passed = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let left = left - passed as u64;
        self.place = if left == 0 { next } else { place(left) };
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows a text, which has to come out the same however it is cut into two reads.
    fn filtered(text: &str) -> String {
        let mut whole = text.as_bytes().to_vec();
        let ends = heads(&mut Framing::default(), &mut whole);
        for cut in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            let (first, second) = bytes.split_at_mut(cut);
            let mut framing = Framing::default();
            let mut found = heads(&mut framing, first);
            found.extend(heads(&mut framing, second).iter().map(|end| cut + end));
            assert_eq!((bytes, found), (whole.clone(), ends.clone()), "cut at {cut}");
        }
        String::from_utf8(whole).unwrap()
    }

    /// Where heads end.
    fn heads(framing: &mut Framing, bytes: &mut [u8]) -> Vec<usize> {
        let (mut followed, mut ends) = (0, Vec::new());
        while followed < bytes.len() {
            let (passed, is_end) = framing.follow(&mut bytes[followed..]);
            followed += passed;
            if is_end {
                ends.push(followed);
            }
        }
        ends
    }

    #[test]
    fn the_end_of_each_head_is_found() {
        let get = "GET / HTTP/1.1\r\nHost: s\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let text = format!("{get}\r\n{post}\r\n\r\n{chunked}1\r\nx\r\n0\r\n\r\n{get}");
        let (get, post, chunked) = (get.len(), post.len(), chunked.len());
        let mut bytes = text.into_bytes();
        let mut framing = Framing::default();
        let ends = heads(&mut framing, &mut bytes);
        let second = get + 2 + post;
        let third = second + 4 + chunked;
        assert_eq!(ends, [get, second, third, third + 11 + get]);
        assert!(framing.is_between_requests() && !framing.is_in_head());
        heads(&mut framing, &mut b"GET / HT".to_vec());
        assert!(framing.is_in_head());
    }

    const JAVA: &str = "GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: s\r\n\
                        HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\
                        Upgrade: h2c\r\nUser-Agent: Java-http-client\r\n\r\n";

    #[test]
    fn upgrades_are_taken_out_of_every_request_of_a_connection() {
        let expected = JAVA.replace("Upgrade, H", "xpgrade, H");
        assert_eq!(filtered(&JAVA.repeat(3)), expected.repeat(3));
        assert_eq!(
            filtered("GET / HTTP/1.1\r\nUPGRADE: WebSocket\r\nconnection:close,UPGRADE\r\n\r\n"),
            "GET / HTTP/1.1\r\nUPGRADE: xebSocket\r\nconnection:close,xPGRADE\r\n\r\n"
        );
    }

    #[test]
    fn bodies_are_left_as_they_are_and_requests_behind_them_are_filtered() {
        let upgrade = "\nUpgrade: websocket\nConnection: Upgrade\n\n";
        let head = "POST / HTTP/1.1\r\nContent-Length:";
        let length = upgrade.len();
        let expected = JAVA.replace("Upgrade, H", "xpgrade, H");
        let told = format!("{head} {length}\r\nHost: s\r\n\r\n{upgrade}");
        assert_eq!(filtered(&format!("{told}{JAVA}")), format!("{told}{expected}"));
        let chunked = format!(
            "POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n{length:X};a=\"b\"\r\n{upgrade}\
             \r\n{length:x}\r\n{upgrade}\r\n0\r\nTrailer: x\r\n\r\n"
        );
        assert_eq!(filtered(&format!("{chunked}{JAVA}")), format!("{chunked}{expected}"));
    }

    #[test]
    fn other_headers_are_left_as_they_are() {
        for text in [
            "GET /upgrade HTTP/1.1\r\nHost: w\r\nX-Upgrade: websocket\r\nUpgrade-It: websocket\r\n\
             Connections: upgrade\r\nTransfer-Encodings: u\r\nCookie: Upgrade: w\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: close, keep-alive\r\nUpgrade: h2c\r\n\r\n",
            "GET / HTTP/1.1\nHost: s\n\n\r\n\r\nGET / HTTP/1.1\nHost: s\n\n",
        ] {
            assert_eq!(filtered(text), text);
        }
    }

    #[test]
    fn nothing_is_changed_behind_a_length_that_is_not_valid() {
        for length in ["1x", "-1", "99999999999999999999"] {
            let text = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{JAVA}");
            assert_eq!(filtered(&text), text, "{length}");
        }
    }
}
