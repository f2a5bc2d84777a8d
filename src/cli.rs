//! The command line: run a role, act on a whole store, or shop in it.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::backup::{self, Newer};
use crate::catalog::postgres;
#[cfg(feature = "failpoints")]
use crate::failpoint;
use crate::manual::Manual;
use crate::mend;
use crate::pid_lock::PidLock;
use crate::process::{self, RoleError, fail};
use crate::roles::{Engine, LINKS, Role, Roles};
use crate::wire::replication::ReplicaId;
use crate::wire::term::CatalogId;
use crate::{catalog, certs, client, cluster, frontend, health, order, trace};

/// An online toy store of three microservices with caching, replication and fault tolerance.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    /// The roles.toml that says who runs where. Default: the file that the environment variable
    /// ROLES names, else ./roles.toml.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Cluster(cluster::Verb),
    /// Run a front-end: it answers clients, caches toys, and selects the leader by health checks.
    Frontend(FrontendArguments),
    /// Run the catalog: it holds the stock and the purchase journal.
    Catalog(CatalogArguments),
    /// Run an order replica: it stores the orders, as leader or as follower.
    Order(OrderArguments),
    /// Shop, measure the latency, and check every order.
    Client(client::Arguments),
    /// Rebuild a lost catalog database from a replica's, or roll a restored one forward.
    ///
    /// Stop the catalog first. The journal gets the orders that the replica holds and it lacks,
    /// each with its idempotency key, so that a retry of an old purchase gets its old answer. A
    /// journal that is missing is created; one that is not a prefix of the replica's log is left
    /// alone. What replicas do not hold is lost: refusals (a purchase that was refused may be
    /// granted when it is sent again) and the times of restocks (the stock is computed with as few
    /// restocks as the orders need). Afterwards the catalog hears every replica before it sells.
    Rebuild(RebuildArguments),
    /// Repair impossible values in the catalog's database.
    ///
    /// Stop the catalog first. An epoch, a session, a version or a stock that cannot be right keeps
    /// the catalog from starting. Epochs are counted from 0 again, sessions are forgotten, and a
    /// toy's stock is what a restock leaves. Orders and keys are not touched.
    Repair,
    /// Make certificates, to try TLS between roles.
    #[command(long_about = certs::ABOUT)]
    Certs,
    /// Back up the databases of this roles.toml's data folder, while the store runs.
    ///
    /// The folder DIR gets a copy of the catalog's and each replica's database that is in the data
    /// folder, each as it is at one time, and a manifest. It appears whole or not at all; a backup
    /// that was killed leaves DIR.partial-PID, which can be removed. On several machines, run it
    /// on each.
    Backup(BackupArguments),
    /// Restore the databases of a backup into a store that is stopped.
    ///
    /// A database that is lost, damaged, or shorter than the backup's is replaced; what is replaced
    /// is kept as ROLE.db.aside-N. One that has all of the backup's orders stays. A restored
    /// catalog hears every replica before it sells; if one holds more orders, roll the catalog
    /// forward with `toystore rebuild`.
    Restore(RestoreArguments),
    /// Move a store from SQLite into the database of roles.toml, or back.
    ///
    /// Stop the catalogs first. The chain of the orders is checked on both sides, and what was
    /// written is read back. What the store is moved from is left as it is; no catalog may start
    /// there again. A catalog that starts where the store was moved to hears every replica first.
    Move(mend::MoveArguments),
    /// Write what the store did for a request, as events or for a viewer.
    ///
    /// A front-end collects the events of all roles. Each keeps only its last events in memory: a
    /// request can be found for seconds in a busy store, for hours in a quiet one.
    Trace(trace::TraceArguments),
    /// List the roles in start order, for scripts: name, address, pid file and log file, separated
    /// by tabs.
    Roles,
    /// Check whether a role is ready; the exit status is 0 if it is.
    Probe(ProbeArguments),
    #[command(flatten)]
    Manual(Manual),
}

#[derive(Args)]
struct CatalogArguments {
    /// The id of a [[catalog.process]] of roles.toml, where `database` is set.
    #[arg(long)]
    id: Option<u32>,
    /// Create the tables of `database`, or upgrade them, and run no catalog.
    ///
    /// Run it once before the first catalog starts, and after an upgrade, with all catalogs
    /// stopped. Running it again changes nothing. A database that a newer version upgraded is
    /// refused.
    #[arg(long, conflicts_with_all = ["id", "without"])]
    migrate: bool,
    /// Sell without hearing this replica, such as order-3, which is lost for good (repeatable).
    ///
    /// A catalog whose database is new, restored or copied hears every replica before it sells,
    /// since each may hold orders that the database lacks. Orders that only a lost replica holds
    /// are lost.
    #[arg(long, value_name = "ROLE")]
    without: Vec<Role>,
}

#[derive(Args)]
struct FrontendArguments {
    /// Which [[frontend]] of roles.toml, counted from 1.
    #[arg(long, default_value_t = 1)]
    id: u32,
}

#[derive(Args)]
struct OrderArguments {
    /// The id of an [[order]] of roles.toml.
    #[arg(long)]
    id: u32,
}

#[derive(Args)]
struct RebuildArguments {
    /// The database of the replica that has the most orders, such as data/order-2.db.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

#[derive(Args)]
struct BackupArguments {
    /// The folder to create.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Args)]
struct RestoreArguments {
    /// The folder of a backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Also replace databases that have all of the backup's orders, or more. The store goes back to
    /// the backup, and orders since then are given up; the files are kept as ROLE.db.aside-N.
    #[arg(long)]
    discard_newer: bool,
}

#[derive(Args)]
struct ProbeArguments {
    /// The role: catalog, order-1, frontend, frontend-2, …
    role: Role,
    /// How many seconds to wait until it is ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

/// Parses the command line and runs the command.
#[must_use]
pub fn run(simulate: trace::Simulator) -> ExitCode {
    let line = CommandLine::parse();
    #[cfg(feature = "failpoints")]
    let _failpoints = failpoint::set_up();
    let config = canonical(config_of(line.config));
    let system = actix_web::rt::System::new();
    match line.command {
        Command::Cluster(verb) => system.block_on(cluster::carry_out(verb, &config)),
        Command::Frontend(arguments) => play(&system, &config, Role::Frontend(arguments.id)),
        Command::Catalog(CatalogArguments { migrate: true, .. }) => with_roles(&config, |roles| {
            told_outcome(system.block_on(postgres::migrate(&roles.catalog)))
        }),
        Command::Catalog(arguments) => with_roles(&config, |roles| {
            let lost = lost_replicas(roles, &arguments.without);
            lost.map_or_else(
                |problem| fail(&problem),
                |lost| play_in(&system, roles, catalog_role(arguments.id), &lost),
            )
        }),
        Command::Order(arguments) => play(&system, &config, Role::Order(ReplicaId(arguments.id))),
        // A client that is told where the front-ends are needs no roles.toml.
        Command::Client(arguments) if arguments.names_frontends() => {
            system.block_on(client::run(arguments, &[]))
        }
        Command::Client(arguments) => with_roles(&config, |roles| {
            system.block_on(client::run(arguments, &roles.frontend_addresses()))
        }),
        Command::Certs => with_roles(&config, |roles| told_outcome(certs::make(roles))),
        Command::Repair => with_roles(&config, |roles| told_outcome(mend::repair(roles))),
        Command::Rebuild(arguments) => {
            with_roles(&config, |roles| told_outcome(mend::rebuild(roles, &arguments.from)))
        }
        Command::Backup(arguments) => with_roles(&config, |roles| back_up(roles, &arguments.to)),
        Command::Restore(arguments) => with_roles(&config, |roles| restore(roles, &arguments)),
        Command::Move(arguments) => with_roles(&config, |roles| {
            told_outcome(system.block_on(mend::move_store(roles, &arguments)))
        }),
        Command::Trace(arguments) => trace::run(&arguments, &config, &system, simulate),
        Command::Roles => with_roles(&config, list),
        Command::Manual(manual) => match manual.text(CommandLine::command()) {
            Ok(text) => print(&text),
            Err(problem) => fail(&problem),
        },
        Command::Probe(arguments) => {
            with_roles(&config, |roles| system.block_on(probe(&arguments, roles)))
        }
    }
}

fn with_roles(config: &Path, act: impl FnOnce(&Roles) -> ExitCode) -> ExitCode {
    match Roles::read(config) {
        Ok(roles) => act(&roles),
        Err(error) => fail(&error),
    }
}

/// The file of `--config`, else of the environment's `ROLES`, else `./roles.toml`.
fn config_of(argument: Option<PathBuf>) -> PathBuf {
    let named = std::env::var_os("ROLES").filter(|name| !name.is_empty()).map(PathBuf::from);
    argument.or(named).unwrap_or_else(|| "roles.toml".into())
}

/// The one path of a file, however it is reached: what is reached through a symbolic link is the
/// same store, with the same data folder. A file that is missing keeps its name in its folder.
fn canonical(path: PathBuf) -> PathBuf {
    if let Ok(canonical) = path.canonicalize() {
        return canonical;
    }
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        (Err(_), _) | (_, None) => path,
    }
}

/// Runs a role until it is told to stop.
fn play(system: &actix_web::rt::SystemRunner, config: &Path, role: Role) -> ExitCode {
    with_roles(config, |roles| play_in(system, roles, role, &[]))
}

/// The catalog, or one of several.
fn catalog_role(id: Option<u32>) -> Role {
    id.map_or(Role::Catalog, |id| Role::CatalogProcess(CatalogId(id)))
}

/// The replicas of `--without`.
fn lost_replicas(roles: &Roles, without: &[Role]) -> Result<Vec<ReplicaId>, String> {
    let replica = |role: &Role| match role {
        Role::Order(id) if roles.address_of(*role).is_some() => Ok(*id),
        Role::Order(_) | Role::Catalog | Role::CatalogProcess(_) | Role::Frontend(_) => {
            Err(format!("--without {role}: roles.toml has no order replica of this name"))
        }
    };
    without.iter().map(replica).collect()
}

fn play_in(
    system: &actix_web::rt::SystemRunner,
    roles: &Roles,
    role: Role,
    without: &[ReplicaId],
) -> ExitCode {
    process::start_log();
    cluster::leave_session_of_supervisor();
    process::raise_file_limit();
    let links = std::env::var(LINKS).unwrap_or_default();
    let roles = &match roles.clone().through(&links).and_then(|roles| roles.of_process(role)) {
        Ok(roles) => roles,
        Err(error) => return fail(&error),
    };
    // Held until the last words are in the log: a supervisor reads them when the lock is free.
    let mut held = None;
    let outcome = system.block_on(async {
        process::survive_file_size_limit();
        let listener = process::listen(roles, role)?;
        let lock = held.insert(PidLock::take(roles, role)?);
        let stop = process::stop_on_signals().map_err(RoleError::Serve)?;
        let served = async {
            match role {
                Role::Catalog | Role::CatalogProcess(_) => {
                    catalog::run(listener, roles, role, without, stop).await
                }
                Role::Order(id) => order::run(listener, roles, id, stop).await,
                Role::Frontend(number) => frontend::run(listener, roles, number, stop).await,
            }
        };
        tokio::select! {
            biased; // The role opens its database first.
            outcome = served => outcome,
            lost = lock.lost() => Err(lost),
        }
    });
    let Err(error) = outcome else {
        log::info!("{role} has ended in order");
        return ExitCode::SUCCESS;
    };
    fail(&error)
}

/// Prints what was done.
fn told_outcome(outcome: Result<String, impl Display>) -> ExitCode {
    outcome.map_or_else(|error| fail(&error), |text| print(&text))
}

fn back_up(roles: &Roles, to: &Path) -> ExitCode {
    match backup::back_up(roles, to) {
        Ok(manifest) => {
            let each =
                manifest.databases.iter().map(|it| format!("{}: {} orders\n", it.role, it.orders));
            let without = match roles.catalog.engine {
                Engine::Sqlite { .. } => "",
                Engine::Postgres(_) => {
                    "the catalog's database is not in it: back it up with PostgreSQL's own tools\n"
                }
            };
            print(
                &(each.collect::<String>()
                    + without
                    + &format!("the backup is {}\n", to.display())),
            )
        }
        Err(error) => fail(&error),
    }
}

fn restore(roles: &Roles, arguments: &RestoreArguments) -> ExitCode {
    let newer = if arguments.discard_newer { Newer::Discarded } else { Newer::Kept };
    match backup::restore(roles, &arguments.from, newer) {
        Ok(fates) => print(&fates.iter().map(|(saved, fate)| fate.told(saved)).collect::<String>()),
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
    match process::print(text.as_bytes()) {
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
