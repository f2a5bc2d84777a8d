//! Takes the wish for another protocol out of requests, before the HTTP parser sees them.
//!
//! Java's `HttpClient` sends `Connection: Upgrade, HTTP2-Settings` and `Upgrade: h2c` with every
//! request. This server speaks HTTP/1 only, so an upgrade is to be ignored (RFC 9110, 7.8): an
//! ordinary reply, on a connection that stays open. The parser instead closes the connection after
//! `Connection: Upgrade`, and reads a body without end after `Upgrade: websocket`.
//!
//! The filter follows the framing of requests byte by byte, so that it works however they are cut
//! into reads. It overwrites letters and never moves any:
//!
//! ```text
//! Connection: Upgrade, HTTP2-Settings   ──►   Connection: xpgrade, HTTP2-Settings
//! Upgrade: websocket                    ──►   Upgrade: xebsocket
//! ```
//!
//! (Of the options of `Connection` that the parser knows, `upgrade` alone has a `u`.) Bodies are
//! skipped by their length or chunk by chunk, and left as they are. Where the framing is not valid,
//! the parser refuses the request and ends the connection; the filter stops there.

/// The longest name of a header that the filter looks for: `transfer-encoding`.
const LONGEST_NAME: usize = 17;

/// The filter of one connection.
#[derive(Debug, Default)]
pub(super) struct UpgradeFilter {
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

impl UpgradeFilter {
    /// Filters the next bytes of the connection.
    pub(super) fn filter(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let passed = match self.place {
                Place::OtherLine => self.skip_line(rest, Place::Line),
                Place::TrailerLine => self.skip_line(rest, Place::Trailer),
                Place::ChunkExtension(size) => self.skip_line(rest, Self::after_size(size)),
                Place::Body(left) => self.skip(rest, left, Place::Body, Place::Start),
                Place::Chunk(left) => self.skip(rest, left, Place::Chunk, Place::ChunkEnd),
                Place::Lost => return,
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
        }
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

    /// What becomes of a text, which has to be the same however it is cut into two reads.
    fn filtered(text: &str) -> String {
        let mut whole = text.as_bytes().to_vec();
        UpgradeFilter::default().filter(&mut whole);
        for cut in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            let (first, second) = bytes.split_at_mut(cut);
            let mut filter = UpgradeFilter::default();
            filter.filter(first);
            filter.filter(second);
            assert_eq!(bytes, whole, "cut at {cut}");
        }
        String::from_utf8(whole).unwrap()
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
