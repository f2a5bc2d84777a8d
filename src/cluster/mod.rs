//! The verbs that run a whole store on this machine: up, down, status, start, stop, kill, demo, and
//! run, which keeps it in the foreground.
//!
//! A supervisor knows its processes by what it started, not only by today's files:
//!
//! ```text
//! launch ──► a role's process, with TOYSTORE_STARTED_BY=/path/of/roles.toml in its environment
//!                 │                                      ▲
//!                 └─ locks DATA_DIR/ROLE.pid             │ the mark: it may get a signal,
//!                        ▲                               │ even without its files
//!                        └─ the lock: it is the role     │
//! processes ─────────────┴───────────────────────────────┘
//! ```
//!
//! A process without the mark gets no signal. A number in a pid file counts for nothing without the
//! lock, since process ids are used again. `processes` tells which process is which, `handle`
//! sends signals, `launch` starts a process, `start` and `stop` do so in order.

mod call;
mod demo;
mod foreground;
mod guard;
mod handle;
mod invocation;
mod lab;
mod launch;
mod link;
mod logs;
mod processes;
mod start;
mod status;
mod stop;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::process::fail;
use crate::roles::{Role, Roles, RolesError};
use invocation::Invocation;
use lab::place::LabPlace;
pub use launch::leave_session_of_supervisor;
pub use processes::MARK;

/// The exit status for arguments that make no sense.
const USAGE: u8 = 2;

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start the store in the foreground and show its logs; Ctrl-C stops every role.
    Run,
    /// Start every role in the background; return when all are ready.
    Up(UpArguments),
    /// Stop every role that up, start, run or demo started for this roles.toml.
    ///
    /// Processes are found by a mark in their environment, so this works also after the data folder
    /// was removed or roles.toml was edited. A role that was started by other means is left alone.
    Down,
    /// Show a line for each role: its address, process id and state.
    ///
    /// The exit status is 0 if every role is ready, else 1.
    Status(status::StatusArguments),
    /// Start one role and wait until it is healthy.
    Start(RoleName),
    /// Stop one role in order (SIGTERM): it finishes the requests that it has accepted.
    Stop(RoleName),
    /// Kill one role (SIGKILL), as a crash would.
    Kill(RoleName),
    /// Ask a role for a path, as another role would: with the store's secret and its id.
    ///
    /// Prints the answer. The exit status is 0 if its HTTP status is 200 to 299, else 1. Example:
    /// toystore call order-1 /internal/status
    Call(call::CallArguments),
    /// Cut, hold, slow or mend a link between two roles, in a store that `up --lab` or demo runs.
    ///
    /// A link leads from the role that calls to the role that answers. Without arguments, lists the
    /// links. Examples: toystore link order-3 catalog cut; toystore link frontend order-3 slow
    Link(link::LinkArguments),
    /// Run the store, let five clients shop, kill the leader meanwhile and start it again.
    ///
    /// At the end the clients check every order, the replicas' databases are compared if sqlite3 is
    /// installed, and the store is stopped.
    Demo,
}

/// How to run the store.
#[derive(Debug, Args)]
pub struct UpArguments {
    /// Stay, and let the web page kill, stop and start roles, cut and slow the links between them,
    /// and put load on the store; Ctrl-C closes the store. Only on loopback addresses; the page's
    /// address is printed, with a token.
    #[arg(long)]
    lab: bool,
}

/// The role that a verb is about.
#[derive(Debug, Args)]
pub struct RoleName {
    /// The role: catalog, order-1, frontend, frontend-2, …
    role: Option<String>,
}

/// A store: its `roles.toml`, and how a person gives commands for it.
#[derive(Clone)]
struct Cluster {
    /// The canonical path of `roles.toml`: the mark of the store's processes.
    config: PathBuf,
    roles: Roles,
    invocation: Invocation,
    /// The laboratory that the roles are started in, if there is one.
    lab: Option<LabPlace>,
}

/// Why a verb did not succeed.
enum VerbError {
    /// The arguments make no sense.
    Usage(String),
    /// What happened, to what, and what to do.
    Problem(String),
    /// The messages are printed already.
    Reported,
}

type VerbResult = Result<(), VerbError>;

/// Carries out a verb for the `roles.toml` at the canonical path `config`.
pub async fn carry_out(verb: Verb, config: &Path) -> ExitCode {
    let outcome = match (Roles::read(config), verb) {
        (Ok(roles), verb) => {
            let invocation = Invocation::for_config(config);
            Cluster { config: config.to_owned(), roles, invocation, lab: None }
                .carry_out(verb)
                .await
        }
        (Err(error), Verb::Down) => stop::down_without_roles(config, &error).await,
        (Err(error), _) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(VerbError::Reported) => ExitCode::FAILURE,
        Err(VerbError::Problem(problem)) => fail(&problem),
        Err(VerbError::Usage(problem)) => {
            let _failure = fail(&problem);
            ExitCode::from(USAGE)
        }
    }
}

impl Cluster {
    async fn carry_out(&self, verb: Verb) -> VerbResult {
        match verb {
            Verb::Run => foreground::run(self).await,
            Verb::Up(UpArguments { lab: true }) => lab::run(self).await,
            Verb::Up(UpArguments { lab: false }) => start::up(self).await,
            Verb::Down => stop::down(self).await,
            Verb::Status(arguments) => status::status(self, &arguments).await,
            Verb::Start(name) => {
                let role = self.role("start", name)?;
                let cluster = Self { lab: LabPlace::find(&self.roles), ..self.clone() };
                start::start_one(&cluster, role).await
            }
            Verb::Stop(name) => stop::stop(self, self.running_role("stop", name)?).await,
            Verb::Kill(name) => stop::kill(self, self.running_role("kill", name)?).await,
            Verb::Link(arguments) => link::link(self, &arguments).await,
            Verb::Call(arguments) => call::call(self, arguments).await,
            Verb::Demo => demo::demo(self).await,
        }
    }

    /// A role of `roles.toml`.
    fn role(&self, verb: &str, name: RoleName) -> Result<Role, VerbError> {
        let role = self.parse(verb, name)?;
        if self.roles.address_of(role).is_none() {
            return Err(self.no_such_role(&role.to_string()));
        }
        Ok(role)
    }

    /// A role of `roles.toml`, or one that was in it when its process was started.
    fn running_role(&self, verb: &str, name: RoleName) -> Result<Role, VerbError> {
        let role = self.parse(verb, name)?;
        let runs = || processes::marked(&self.config).iter().any(|process| process.role == role);
        if self.roles.address_of(role).is_none() && !runs() {
            return Err(self.no_such_role(&role.to_string()));
        }
        Ok(role)
    }

    fn parse(&self, verb: &str, RoleName { role }: RoleName) -> Result<Role, VerbError> {
        let Some(name) = role else {
            return Err(VerbError::Usage(format!("{verb} needs a role: {}", self.role_names())));
        };
        name.parse().map_err(|_unknown| self.no_such_role(&name))
    }

    fn no_such_role(&self, name: &str) -> VerbError {
        VerbError::Usage(format!(
            "no role is called {name}; {} has {}",
            self.config.display(),
            self.role_names()
        ))
    }

    fn role_names(&self) -> String {
        let names = self.roles.in_start_order();
        names.iter().map(Role::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Where a role of `roles.toml` listens.
    fn address_of(&self, role: Role) -> &crate::roles::Address {
        self.roles.address_of(role).expect("the role is one of roles.toml")
    }

    /// Where clients reach the store.
    fn url(&self) -> String {
        format!("http://{}/", self.address_of(Role::Frontend(1)))
    }

    /// Fails if any role runs: what the verb starts, it is to stop at its end.
    fn refuse_if_running(&self) -> VerbResult {
        let Some(first) = processes::survey(&self.config, &self.roles).into_iter().next() else {
            return Ok(());
        };
        Err(VerbError::Problem(format!(
            "{} runs already (pid {}); stop the store first: {}",
            first.role,
            first.pid.as_raw_nonzero(),
            self.invocation.verb("down")
        )))
    }
}

impl From<RolesError> for VerbError {
    fn from(error: RolesError) -> Self {
        Self::Problem(error.to_string())
    }
}
