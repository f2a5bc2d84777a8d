//! What a server does with what is sent to it, which need not be HTTP.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::is_clear;

/// Longer than any answer takes here.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What came back, up to the end of the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The answer is the contract's: data, or an error with the status again and a sentence.
    pub(crate) fn is_of_the_contract(&self) {
        if self.status == 204 {
            assert!(self.body.is_empty() && self.header("allow").is_some(), "{self:?}");
            return;
        }
        if self.header("content-security-policy").is_some() {
            // It is a file of the web page, which only `/` and `/page/…` are.
            assert!(self.status == 200 || self.status == 304, "{self:?}");
            return;
        }
        if self.status == 200
            && self.header("content-type").is_some_and(|it| it.starts_with("text/plain; version="))
        {
            // These are `/metrics`.
            return;
        }
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let json: Value = serde_json::from_slice(&self.body).expect("an answer is JSON");
        let answer = json.as_object().expect("an answer is an object");
        assert_eq!(answer.len(), 1, "{json}");
        if self.status == 200 {
            assert!(answer.contains_key("data"), "{json}");
            return;
        }
        let error = answer["error"].as_object().expect("an error is an object");
        assert_eq!(error.len(), 2, "{json}");
        assert_eq!(error["code"], self.status, "{json}");
        is_clear(error["message"].as_str().expect("a message is text"));
        let codes = [400, 403, 404, 405, 408, 409, 413, 421, 422, 431, 503];
        assert!(codes.contains(&self.status), "{json}");
    }
}

/// Sends bytes and nothing after them; the first answer, if there is one.
pub(crate) fn send(address: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).expect("it lives and listens");
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout");
    stream.set_write_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout");
    // A server that has heard enough hangs up.
    let sent = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut read = Vec::new();
    let ended = stream.read_to_end(&mut read);
    for outcome in [sent, ended.map(drop)] {
        let kind = outcome.err().map(|error| error.kind());
        let timed_out = [Some(io::ErrorKind::WouldBlock), Some(io::ErrorKind::TimedOut)];
        assert!(!timed_out.contains(&kind), "it hangs; it had said {read:?}");
    }
    parse(&read, bytes.starts_with(b"HEAD "))
}

/// Bytes that need not be HTTP: whatever the server makes of them, it does not fail over them.
pub(crate) fn bytes(address: SocketAddr, bytes: &[u8]) {
    if let Some(answer) = send(address, bytes) {
        assert!(answer.status < 500 || answer.status == 503, "{answer:?}");
    }
}

/// The server lives.
pub(crate) fn lives(address: SocketAddr) {
    let answer = send(address, b"GET /healthz HTTP/1.1\r\nHost: store\r\n\r\n");
    assert_eq!(answer.map(|answer| answer.status), Some(200), "it lives no longer");
}

fn parse(read: &[u8], is_head: bool) -> Option<Answer> {
    let end = read.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse().expect("a length is a number"));
    let rest = &read[end + 4..];
    if status == 100 {
        // The word that the body may come; the answer follows.
        return parse(rest, is_head);
    }
    let body = if is_head { &[] } else { rest.get(..length).expect("an answer is whole") };
    Some(Answer { status, headers, body: body.to_vec() })
}
