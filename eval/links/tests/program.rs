//! The program `links`: its arguments, and that it ends with its input.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

fn links(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_links"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn it_passes_connections_on_and_ends_with_its_input() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    // An address of its own, so that the port is free there, too.
    let listen = format!("127.0.0.2:{}", server.local_addr().unwrap().port());
    let mut program = links(&["1000", &format!("{listen}={}", server.local_addr().unwrap())]);
    let mut said = String::new();
    BufReader::new(program.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "ready\n");
    let mut client = TcpStream::connect(&listen).unwrap();
    client.write_all(b"?").unwrap();
    let mut byte = [0];
    server.accept().unwrap().0.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"?");
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
}

#[test]
fn wrong_arguments_are_refused_with_the_usage() {
    for arguments in [&[][..], &["soon"], &["500", "127.0.0.1:1"]] {
        let output = links(arguments).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, "links: usage: links DELAY_US LISTEN=TARGET…\n", "{arguments:?}");
    }
}
