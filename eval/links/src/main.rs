//! Makes connections on one machine as slow as those between machines.
//!
//! `links DELAY_US LISTEN=TARGET…` listens at each LISTEN address and passes connections on to its
//! TARGET; every byte arrives so many microseconds later, in both directions, however many are on
//! the way. It ends when its standard input does, so that it cannot outlive who started it.
//!
//! An asynchronous timer counts milliseconds, which is more than the delay between two machines of
//! one data centre; a sleeping thread is woken within a tenth of one. So each direction of each
//! connection has two threads: one reads, and one waits and writes. What this adds by itself is the
//! copying, two wake-ups, and that a sleep is some 50 µs longer than it should be (Linux' timer
//! slack): in all about a tenth of a millisecond each way, as the cached queries of
//! `eval/sweep/data` show, with the proxy and without it.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Reads that may be on the way in one direction of one connection.
const MOST_ON_THE_WAY: usize = 1_024;
const READ_BYTES: usize = 16 << 10;

/// Some bytes, and when they are due at the other end. No bytes at all are the end.
type Piece = (Instant, Vec<u8>);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("links: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    const USAGE: &str = "usage: links DELAY_US LISTEN=TARGET…";
    let mut arguments = std::env::args().skip(1);
    let delay_us = arguments.next().and_then(|delay| delay.parse().ok()).ok_or(USAGE)?;
    for link in arguments {
        let (listen, target) = link.split_once('=').ok_or(USAGE)?;
        let listener = TcpListener::bind(listen)
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        let target = target.to_owned();
        thread::spawn(move || serve(&listener, &target, Duration::from_micros(delay_us)));
    }
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new()).map_err(|error| error.to_string())?;
    Ok(())
}

fn serve(listener: &TcpListener, target: &str, delay: Duration) {
    for client in listener.incoming().flatten() {
        let target = target.to_owned();
        thread::spawn(move || {
            // Between machines, a connection takes a round trip to be made or to be refused.
            thread::sleep(2 * delay);
            // If nobody listens there, the client's connection ends without a word.
            if let Ok(server) = TcpStream::connect(target) {
                let _either_has_ended = relay(&client, &server, delay);
            }
        });
    }
}

fn relay(client: &TcpStream, server: &TcpStream, delay: Duration) -> io::Result<()> {
    for (from, to) in [(client, server), (server, client)] {
        from.set_nodelay(true)?;
        let (sender, receiver) = sync_channel(MOST_ON_THE_WAY);
        let (from, into) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || take_in(from, &sender, delay));
        thread::spawn(move || hand_out(into, &receiver));
    }
    Ok(())
}

fn take_in(mut from: TcpStream, sender: &SyncSender<Piece>, delay: Duration) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        // A connection that broke ends like one that was ended.
        let length = from.read(&mut buffer).unwrap_or(0);
        let piece = (Instant::now() + delay, buffer[..length].to_vec());
        if sender.send(piece).is_err() || length == 0 {
            return;
        }
    }
}

fn hand_out(mut to: TcpStream, receiver: &Receiver<Piece>) {
    while let Ok((due, bytes)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if bytes.is_empty() || to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ended_already = to.shutdown(Shutdown::Write);
}
