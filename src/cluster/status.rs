//! A line for each role: its address, process id and state.

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

/// Prints the table. Succeeds if every role is ready.
pub(super) async fn status(cluster: &Cluster) -> VerbResult {
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
    let lines = join_all(rows.map(|(role, process)| line(cluster, role, process))).await;
    print(&lines);
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

fn print(lines: &[Line]) {
    let palette = Palette::of_stdout();
    let cells = |line: &Line| [line.role.to_string(), line.address.clone(), line.pid.clone()];
    let mut widths = LEAST_WIDTHS;
    for cell_widths in lines.iter().map(|line| cells(line).map(|cell| cell.chars().count())) {
        for (width, cell) in widths.iter_mut().zip(cell_widths) {
            *width = (*width).max(cell);
        }
    }
    for line in lines {
        let [role, address, pid] = cells(line);
        let state = line.state.text(palette);
        let [first, second, third] = widths;
        say(format_args!("{role:<first$} {address:<second$} {pid:<third$} {state}"));
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
