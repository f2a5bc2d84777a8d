//! Runs one case so many times, so that its instructions can be counted: `benches NAME TIMES`.
//! `benches list` prints the names. `benches/counts.sh` calls it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its terminal")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => {
            for name in benches::names() {
                println!("{name}");
            }
            return ExitCode::SUCCESS;
        }
        [name, times] => {
            if let (Some(mut case), Ok(times)) = (benches::case(name), times.parse::<u32>()) {
                for _ in 0..times {
                    (case.run)();
                }
                return ExitCode::SUCCESS;
            }
        }
        _ => {}
    }
    eprintln!("usage: benches list, or benches NAME TIMES");
    ExitCode::FAILURE
}
