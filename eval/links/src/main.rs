//! Makes connections on one machine as slow as those between machines.
//!
//! `links DELAY_US LISTEN=TARGET…` listens at each LISTEN address and passes connections on to its
//! TARGET; every byte arrives that many microseconds later, in both directions. It prints `ready`
//! when it listens, and ends when its standard input does, so that it cannot outlive the script
//! that started it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its terminal")]

use std::io::{self, Read as _};
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use links::{Link, State};

const USAGE: &str = "usage: links DELAY_US LISTEN=TARGET…";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("links: {problem}");
            ExitCode::FAILURE
        }
    }
}

// One thread does it all: to hand a connection from thread to thread would take longer than to
// copy its bytes.
#[tokio::main(flavor = "current_thread")]
async fn run() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let delay_us = arguments.next().and_then(|delay| delay.parse().ok()).ok_or(USAGE)?;
    let state = State::distant(Duration::from_micros(delay_us));
    let mut links = Vec::new();
    for argument in arguments {
        let (listen, target) = argument.split_once('=').ok_or(USAGE)?;
        let listener = TcpListener::bind(listen)
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        let (link, work) = Link::new(listener, target.to_owned(), state)
            .map_err(|error| format!("cannot serve {listen}: {error}"))?;
        tokio::spawn(work);
        links.push(link);
    }
    println!("ready");
    let end = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await;
    end.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    Ok(())
}
