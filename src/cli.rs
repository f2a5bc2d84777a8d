//! The command line: which role to run, or what to ask of a cluster.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::catalog::journal::rebuild;
#[cfg(feature = "failpoints")]
use crate::failpoint;
use crate::process::{self, Residence, RoleError, fail};
use crate::roles::{CatalogRole, Role, Roles};
use crate::wire::replication::ReplicaId;
use crate::{catalog, client, frontend, health, order};

/// An online toy store of three microservices with caching, replication and fault tolerance.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    /// The file that says who runs where. Without it, the one that the environment's ROLES names;
    /// without that, ./roles.toml.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a front-end: the store's door, with a cache of toys.
    Frontend(FrontendArguments),
    /// Run the catalog: it owns the stock and the purchase journal.
    Catalog,
    /// Run an order replica.
    Order(OrderArguments),
    /// Shop, measure, and check every order that was made.
    Client(client::Arguments),
    /// Rebuild the catalog's database, when it is lost, from an order replica's. Stop the catalog
    /// first. The idempotency keys are lost: a purchase that is asked again under an old key is a
    /// new one.
    Rebuild(RebuildArguments),
    /// List the roles in the order in which they are started: name, address, pid file and log file,
    /// separated by tabs.
    Roles,
    /// Ask a role whether it is ready; exit status 0 if it is.
    Probe(ProbeArguments),
}

#[derive(Args)]
struct FrontendArguments {
    /// Which [[frontend]] of the file, counted from 1.
    #[arg(long, default_value_t = 1)]
    id: u32,
}

#[derive(Args)]
struct OrderArguments {
    /// Which [[order]] of the file.
    #[arg(long)]
    id: u32,
}

#[derive(Args)]
struct RebuildArguments {
    /// The replica's database, such as data/order-2.db; take the longest.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

#[derive(Args)]
struct ProbeArguments {
    /// The role: catalog, order-1, frontend, frontend-2, …
    role: Role,
    /// How many seconds to go on asking.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

/// Reads the arguments and does what they say.
#[must_use]
pub fn run() -> ExitCode {
    let line = CommandLine::parse();
    let named = std::env::var_os("ROLES").filter(|name| !name.is_empty()).map(PathBuf::from);
    let config = line.config.or(named).unwrap_or_else(|| "roles.toml".into());
    let system = actix_web::rt::System::new();
    if let Command::Client(arguments) = &line.command
        && arguments.names_frontends()
    {
        // Whoever shops at a store elsewhere has no roles.toml.
        return system.block_on(client::run(arguments.clone(), &[]));
    }
    match Roles::read(&config) {
        Ok(roles) => carry_out(&system, line.command, &roles),
        Err(error) => fail(&error),
    }
}

fn carry_out(system: &actix_web::rt::SystemRunner, command: Command, roles: &Roles) -> ExitCode {
    match command {
        Command::Frontend(arguments) => play(system, roles, Role::Frontend(arguments.id)),
        Command::Catalog => play(system, roles, Role::Catalog),
        Command::Order(arguments) => play(system, roles, Role::Order(ReplicaId(arguments.id))),
        Command::Client(arguments) => system.block_on(client::run(arguments, &roles.frontends)),
        Command::Rebuild(arguments) => rebuild_journal(roles, &arguments.from),
        Command::Roles => list(roles),
        Command::Probe(arguments) => system.block_on(probe(&arguments, roles)),
    }
}

/// Runs a role until it is told to stop.
fn play(system: &actix_web::rt::SystemRunner, roles: &Roles, role: Role) -> ExitCode {
    // What the web framework has to say of its workers is not news to anybody.
    let environment = env_logger::Env::default().default_filter_or("info,actix_server=warn");
    env_logger::Builder::from_env(environment).format_target(false).init();
    #[cfg(feature = "failpoints")]
    let _failpoints = failpoint::set_up();
    process::raise_file_limit();
    let outcome = system.block_on(async {
        let listener = process::listen(roles, role)?;
        let _residence = Residence::take(roles, role)?;
        let stop = process::stop_on_signals().map_err(RoleError::Serve)?;
        match role {
            Role::Catalog => catalog::run(listener, roles, stop).await,
            Role::Order(id) => order::run(listener, roles, id, stop).await,
            Role::Frontend(number) => frontend::run(listener, roles, number, stop).await,
        }
    });
    match outcome {
        Ok(()) => {
            log::info!("{role} has ended in order");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn rebuild_journal(roles: &Roles, from: &Path) -> ExitCode {
    let rebuilt = Residence::take(roles, Role::Catalog).and_then(|_residence| {
        let path = roles.file_of(Role::Catalog, "db");
        let CatalogRole { toys, initial_stock, .. } = &roles.catalog;
        Ok(rebuild::rebuild(&path, toys, *initial_stock, from)?)
    });
    match rebuilt {
        Ok(end) => print(&format!("the journal has {} orders; start the catalog\n", end.length)),
        Err(error) => fail(&error),
    }
}

fn list(roles: &Roles) -> ExitCode {
    let mut text = String::new();
    for role in roles.in_start_order() {
        let address = roles.address_of(role).expect("a role of the list is in the file");
        let files = ["pid", "log"].map(|kind| roles.file_of(role, kind).display().to_string());
        text += &[&role.to_string(), address.as_str(), &files[0], &files[1]].join("\t");
        text.push('\n');
    }
    print(&text)
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn probe(arguments: &ProbeArguments, roles: &Roles) -> ExitCode {
    let Some(address) = roles.address_of(arguments.role) else {
        let names = roles.in_start_order().iter().map(Role::to_string).collect::<Vec<_>>();
        return fail(&RoleError::NoSuchRole(arguments.role, names.join(", ")));
    };
    match health::await_ready(address, Duration::from_secs(arguments.wait)).await {
        Ok(_health) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{} at {address} is not ready: {error}", arguments.role)),
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let numbered = |prefix| name.strip_prefix(prefix).and_then(|number| number.parse().ok());
        let role = match name {
            "catalog" => Some(Self::Catalog),
            "frontend" => Some(Self::Frontend(1)),
            _ => numbered("order-")
                .map(|id| Self::Order(ReplicaId(id)))
                .or_else(|| numbered("frontend-").map(Self::Frontend)),
        };
        role.ok_or_else(|| format!("no role is called {name}; try catalog, order-1 or frontend"))
    }
}
