//! The store in the foreground: all roles are started, their logs are shown, and the end of this
//! process stops them.
//!
//! ```text
//! start every role ──► show the logs ──┬─ Ctrl-C, SIGTERM, SIGHUP, closed output ──► down
//!                                      └─ no role runs any more ───────────────────► say so
//! ```

use std::future::pending;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::logs::Logs;
use super::processes;
use super::start::{POLL_INTERVAL, start_ready};
use super::terminal::{complain, say};
use super::{Cluster, VerbError, VerbResult, stop};
use crate::clock;
use crate::roles::Role;

/// How often to look whether roles run: a person should learn within a second or two that another
/// terminal has stopped the store.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Runs the store until a signal ends it, or until another terminal has stopped every role.
pub(super) async fn run(cluster: &Cluster) -> VerbResult {
    cluster.refuse_if_running()?;
    let mut signals = EndingSignals::receive()?;
    let mut logs = Logs::of(cluster);
    let mut roles = StartedRoles::default();
    let started = tokio::select! {
        biased; // Ctrl-C may have ended a role that had not yet left this session.
        () = signals.next() => return end(cluster, &mut logs).await,
        started = roles.start_all(cluster) => started,
    };
    if let Err(failure) = started {
        // What runs is stopped; the failure was reported before.
        end(cluster, &mut logs).await?;
        return Err(failure);
    }
    invite(cluster);
    tokio::select! {
        result = show_until_all_ended(cluster, &mut logs, &mut roles) => match result {
            Ok(()) => roles.verdict(),
            Err(_closed) => end(cluster, &mut logs).await,
        },
        () = signals.next() => end(cluster, &mut logs).await,
    }
}

/// Stops every role, also one that another terminal has started again, and shows how they end. Even
/// if the output is closed, they must end.
async fn end(cluster: &Cluster, logs: &mut Logs) -> VerbResult {
    let mut down = Box::pin(stop::down(cluster));
    loop {
        let ended = tokio::time::timeout(POLL_INTERVAL, &mut down).await;
        let _closed = logs.show();
        if let Ok(outcome) = ended {
            return outcome;
        }
    }
}

async fn show_until_all_ended(
    cluster: &Cluster,
    logs: &mut Logs,
    roles: &mut StartedRoles,
) -> io::Result<()> {
    let mut next_look = clock::now() + WATCH_INTERVAL;
    loop {
        logs.show()?;
        if clock::now() >= next_look {
            next_look = clock::now() + WATCH_INTERVAL;
            roles.report_ended(cluster);
            if processes::survey(&cluster.config, &cluster.roles).is_empty() {
                return logs.show();
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn invite(cluster: &Cluster) {
    let url = cluster.url();
    let client = cluster.invocation.client("-c 5 -n 200 -p 0.5");
    let last = cluster.roles.orders.last().map(|order| Role::Order(order.id));
    let kill = last.map(|role| cluster.invocation.verb(&format!("kill {role}")));
    say(format_args!(
        "\nThe store is open at {url} and Ctrl-C closes it. Try, in another terminal:\n\n  \
         curl {url}products\n  \
         curl -d '{{\"name\":\"{}\",\"quantity\":1}}' {url}orders\n  \
         {client}\n  \
         {}\n",
        cluster.roles.catalog.toys[0].name,
        kill.unwrap_or_default()
    ));
}

/// The processes that the foreground started and that have not ended.
#[derive(Default)]
struct StartedRoles {
    running: Vec<(Role, Child)>,
    /// The last role that ended otherwise than in order.
    crashed: Option<Role>,
}

impl StartedRoles {
    async fn start_all(&mut self, cluster: &Cluster) -> VerbResult {
        for role in cluster.roles.in_start_order() {
            if let Some(child) = start_ready(cluster, role).await? {
                self.running.push((role, child));
            }
        }
        Ok(())
    }

    /// Says which roles have ended, and collects their exit statuses.
    fn report_ended(&mut self, cluster: &Cluster) {
        let crashed = &mut self.crashed;
        self.running.retain_mut(|(role, child)| match child.try_wait() {
            Ok(Some(status)) => {
                if !status.success() {
                    let start = cluster.invocation.verb(&format!("start {role}"));
                    complain(format_args!(
                        "{role} has ended ({}); restart: {start}",
                        manner(status)
                    ));
                    *crashed = Some(*role);
                }
                false
            }
            Ok(None) => true,
            Err(_no_child) => false,
        });
    }

    /// How the store ended, if another process ended it.
    fn verdict(&self) -> VerbResult {
        match self.crashed {
            None => {
                say("another command has stopped every role, so this one ends, too");
                Ok(())
            }
            Some(_) => Err(VerbError::Problem(
                "no role is running any more; see above how they ended".to_owned(),
            )),
        }
    }
}

fn manner(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("exit status {code}"),
        (None, None) => "reason unknown".to_owned(),
    }
}

/// Signals that end the store. One that was ignored when the process started, as SIGHUP under
/// `nohup`, stays ignored.
pub(super) struct EndingSignals(Vec<Signal>);

impl EndingSignals {
    pub(super) fn receive() -> Result<Self, VerbError> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let ignored = ignored_signals();
        let heeded = kinds.into_iter().filter(|kind| ignored & signal_bit(*kind) == 0);
        let signals: io::Result<Vec<Signal>> = heeded.map(signal).collect();
        signals
            .map(Self)
            .map_err(|error| VerbError::Problem(format!("cannot receive signals: {error}")))
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) {
        if self.0.is_empty() {
            return pending().await;
        }
        let waits = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        let _first = futures_util::future::select_all(waits).await;
    }
}

/// The signals that this process ignores, a bit for each.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

fn signal_bit(kind: SignalKind) -> u64 {
    1 << (kind.as_raw_value() - 1)
}
