//! A line for each role: its address, process id and state.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;

use super::processes::{self, Files, Origin, RoleProcess};
use super::start::needs_no_pid_file;
use super::terminal::{Colour, Palette, complain, say};
use super::{Cluster, VerbError, VerbResult};
use crate::health;
use crate::roles::Role;

/// The columns are as wide as their longest entry, and at least this: so the lines of two calls
/// look alike.
const LEAST_WIDTHS: [usize; 3] = [12, 22, 8];

/// How often `--watch` looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// What a terminal is told: to go to its top left, and to clear.
const HOME: &str = "\x1b[H";
const CLEAR: &str = "\x1b[H\x1b[2J";
const TO_END_OF_LINE: &str = "\x1b[K";
const TO_END_OF_SCREEN: &str = "\x1b[J";

/// Where `--watch` prints.
#[derive(Clone, Copy)]
enum Screen {
    /// In the place of the table before.
    Terminal,
    /// After the table before.
    Stream,
}

/// A line of the table.
struct Line {
    role: Role,
    address: String,
    pid: String,
    state: State,
}

/// What a role does.
enum State {
    Ready(Origin),
    /// With the role's own reason.
    NotReady(String, Origin),
    Down,
    /// It runs, but not as `roles.toml` has it now.
    Stray(&'static str),
}

/// How `status` prints the table.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Print the table again whenever it changes, until Ctrl-C; on a terminal, in its place.
    #[arg(long)]
    watch: bool,
}

/// Prints the table. Succeeds if every role is ready.
pub(super) async fn status(cluster: &Cluster, arguments: &StatusArguments) -> VerbResult {
    if arguments.watch {
        return watch(cluster).await;
    }
    let lines = lines(cluster).await;
    for row in table(&lines) {
        say(row);
    }
    if lines.iter().any(|line| matches!(line.state, State::Stray(_))) {
        let down = cluster.invocation.verb("down");
        complain(format_args!(
            "roles.toml or the data folder was changed after the store was started; stop it: {down}"
        ));
    }
    if lines.iter().all(|line| matches!(line.state, State::Ready(_))) {
        Ok(())
    } else {
        Err(VerbError::Reported)
    }
}

/// Shows the table until a signal ends this process, or its output is closed.
async fn watch(cluster: &Cluster) -> VerbResult {
    let screen = Screen::of_stdout();
    let mut shown = Vec::new();
    loop {
        let table = table(&lines(cluster).await);
        if table != shown {
            let text = screen.text(&table, shown.is_empty());
            let mut out = io::stdout().lock();
            if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                return Ok(());
            }
            shown = table;
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

/// Asks every role.
async fn lines(cluster: &Cluster) -> Vec<Line> {
    let found = processes::survey(&cluster.config, &cluster.roles);
    let in_file = cluster.roles.in_start_order();
    let of_file = in_file.iter().flat_map(|role| {
        let of_role = found.iter().filter(move |process| process.role == *role);
        let mut of_role: Vec<_> = of_role.map(Some).collect();
        if of_role.is_empty() {
            of_role.push(None);
        }
        of_role.into_iter().map(|process| (*role, process))
    });
    let strays = found.iter().filter(|process| !in_file.contains(&process.role));
    let rows = of_file.chain(strays.map(|process| (process.role, Some(process))));
    join_all(rows.map(|(role, process)| line(cluster, role, process))).await
}

async fn line(cluster: &Cluster, role: Role, process: Option<&RoleProcess>) -> Line {
    let address = cluster.roles.address_of(role);
    let state = match (process, address) {
        (None, _) => State::Down,
        (Some(_), None) => State::Stray("runs, but is no longer in roles.toml"),
        (Some(process), Some(_))
            if process.files == Files::Other && !needs_no_pid_file(cluster, process).await =>
        {
            State::Stray("runs without the pid file that roles.toml names")
        }
        (Some(process), Some(address)) => match health::probe(address).await {
            Ok(health) if health.is_of(process.pid) => State::Ready(process.origin),
            Ok(other) => State::NotReady(
                format!("{} (pid {}) answers at its address", other.role, other.pid),
                process.origin,
            ),
            Err(error) => State::NotReady(health::reason(error), process.origin),
        },
    };
    Line {
        role,
        address: address.map_or("-".to_owned(), ToString::to_string),
        pid: process.map_or("-".to_owned(), |process| process.pid.as_raw_nonzero().to_string()),
        state,
    }
}

fn table(lines: &[Line]) -> Vec<String> {
    let palette = Palette::of_stdout();
    let cells = |line: &Line| [line.role.to_string(), line.address.clone(), line.pid.clone()];
    let mut widths = LEAST_WIDTHS;
    for cell_widths in lines.iter().map(|line| cells(line).map(|cell| cell.chars().count())) {
        for (width, cell) in widths.iter_mut().zip(cell_widths) {
            *width = (*width).max(cell);
        }
    }
    let [first, second, third] = widths;
    let row = |line: &Line| {
        let [role, address, pid] = cells(line);
        let state = line.state.text(palette);
        format!("{role:<first$} {address:<second$} {pid:<third$} {state}")
    };
    lines.iter().map(row).collect()
}

impl Screen {
    fn of_stdout() -> Self {
        if io::stdout().is_terminal() { Self::Terminal } else { Self::Stream }
    }

    /// The table as it is written. On a terminal, each line overwrites the one before it, so that
    /// nothing flickers.
    fn text(self, table: &[String], is_first: bool) -> String {
        match (self, is_first) {
            (Self::Stream, true) => table.join("\n") + "\n",
            (Self::Stream, false) => format!("\n{}\n", table.join("\n")),
            (Self::Terminal, true) => format!("{CLEAR}{}\n", table.join("\n")),
            (Self::Terminal, false) => {
                let rows = table.join(&format!("{TO_END_OF_LINE}\n"));
                format!("{HOME}{rows}{TO_END_OF_LINE}\n{TO_END_OF_SCREEN}")
            }
        }
    }
}

impl State {
    fn text(&self, palette: Palette) -> String {
        let foreign = |origin: &Origin| match origin {
            Origin::Marked => "",
            Origin::Foreign => " (not started by up or start)",
        };
        match self {
            Self::Ready(origin) => palette.paint(Colour::Green, "ready") + foreign(origin),
            Self::NotReady(reason, origin) => {
                let state = palette.paint(Colour::Yellow, "alive, not ready");
                format!("{state}: {reason}{}", foreign(origin))
            }
            Self::Down => palette.paint(Colour::Red, "down"),
            Self::Stray(how) => palette.paint(Colour::Yellow, how),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_is_told_to_clear() {
        let table = ["catalog ready", "order-1 down"].map(str::to_owned);
        assert_eq!(Screen::Stream.text(&table, true), "catalog ready\norder-1 down\n");
        assert_eq!(Screen::Stream.text(&table, false), "\ncatalog ready\norder-1 down\n");
        assert!(Screen::Terminal.text(&table, true).starts_with("\x1b[H\x1b[2J"));
        assert_eq!(
            Screen::Terminal.text(&table, false),
            "\x1b[Hcatalog ready\x1b[K\norder-1 down\x1b[K\n\x1b[J"
        );
    }
}
