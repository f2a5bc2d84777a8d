//! A client of the store: one connection to a front-end, kept open.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Problem;

/// An answer to a purchase is far shorter.
const LONGEST_ANSWER: usize = 16 * 1024;
/// The headers of an answer.
const MOST_HEADERS: usize = 32;

/// A connection.
pub(crate) struct Store {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

impl Store {
    /// Connects to a front-end.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Problem> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address, buffer: Vec::new() })
    }

    /// Orders one toy.
    pub(crate) async fn order(&mut self, toy: &str) -> Result<(), Problem> {
        let body = format!(r#"{{"name":"{toy}","quantity":1}}"#);
        let request = format!(
            "POST /orders HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the connection was closed".into());
            }
            if let Some(answer) = parse(&self.buffer)? {
                return answer;
            }
            if self.buffer.len() > LONGEST_ANSWER {
                return Err("an answer is too long".into());
            }
        }
    }
}

/// Reads an answer. `None` if it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<Result<(), Problem>>, Problem> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(body) = head.parse(bytes)? else { return Ok(None) };
    let status = head.code.unwrap_or_default();
    let length = head.headers.iter().find(|it| it.name.eq_ignore_ascii_case("content-length"));
    let length = length.ok_or("an answer does not say its length")?.value;
    let length: usize = std::str::from_utf8(length)?.parse()?;
    let Some(body) = bytes.get(body..body + length) else { return Ok(None) };
    let body = String::from_utf8_lossy(body);
    let is_order = status == 200 && body.starts_with(r#"{"data":{"order_number":"#);
    Ok(Some(if is_order { Ok(()) } else { Err(format!("{status}: {body}").into()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_complete() {
        let order =
            b"HTTP/1.1 200 OK\r\ncontent-length: 28\r\n\r\n{\"data\":{\"order_number\":1}}\n";
        assert!(parse(order).unwrap().is_some_and(|answer| answer.is_ok()));
        for end in 0..order.len() {
            assert!(parse(&order[..end]).unwrap().is_none(), "{end} bytes");
        }
        let refused = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}";
        assert!(parse(refused).unwrap().is_some_and(|answer| answer.is_err()));
        assert!(parse(b"no HTTP").is_err());
    }
}
