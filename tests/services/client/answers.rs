//! Answers as bytes: which ones the client can read, from a store or from a proxy before it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use super::program::{stderr, toystore};

const LIST: &str = r#"{"data":[{"name":"Tux","price":15.99,"quantity":100}]}"#;

/// A server that answers every connection's first request with these bytes, in two pieces, and
/// closes it. Returns its address.
fn serve(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("a listener has an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that closes the connection early is part of some tests.
            answer_one(stream, &answer).ok();
        }
    });
    address
}

fn answer_one(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut request = BufReader::new(stream.try_clone()?).lines();
    while request.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let (start, rest) = answer.as_bytes().split_at(answer.len() / 2);
    stream.write_all(start)?;
    stream.write_all(rest)
}

/// What the client says of a store that answers everything with these bytes.
async fn said_of(answer: String) -> String {
    let address = serve(answer);
    let output = toystore(&["--frontend", &address, "-c", "1", "-n", "1"]).await;
    assert_eq!(output.status.code(), Some(1));
    stderr(&output).to_owned()
}

#[actix_web::test]
async fn a_list_of_toys_is_read_in_every_framing_of_http() {
    let (length, half) = (LIST.len(), LIST.len() / 2);
    let (start, rest) = LIST.split_at(half);
    for answer in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{LIST}"),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             {half:x}\r\n{start}\r\n{:x};note=1\r\n{rest}\r\n0\r\n\r\n",
            length - half
        ),
        format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{LIST}"),
    ] {
        // The store is open, and the list is not a toy.
        let said = said_of(answer.clone()).await;
        assert!(said.contains("no query succeeded"), "{answer}: {said}");
    }
}

#[actix_web::test]
async fn a_list_of_as_many_toys_as_a_store_may_have_is_read() {
    let toys = (0..100_000).map(|number| {
        format!(
            r#"{{"name":"A toy with a name of its own, {number:06}","price":15.99,"quantity":1}}"#
        )
    });
    let list = format!(r#"{{"data":[{}]}}"#, toys.collect::<Vec<_>>().join(","));
    assert!(list.len() > 4 << 20);
    let said = said_of(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{list}", list.len()));
    let said = said.await;
    // The store is open, and the list is not a toy.
    assert!(said.contains("no query succeeded"), "{said}");
}

#[actix_web::test]
async fn bytes_that_are_not_an_answer_are_refused() {
    for answer in [
        "SSH-2.0-OpenSSH_9.6\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{LIST}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{LIST}", LIST.len() + 1),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{LIST}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n36\r\n{}", &LIST[..9]),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n".to_owned(),
    ] {
        let said = said_of(answer.clone()).await;
        assert!(said.contains("the store does not answer"), "{answer}: {said}");
    }
}
