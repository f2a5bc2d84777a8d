//! A role or a command as a process: its listener, the signals that end it, what it prints, its
//! last error.

use std::fmt;
use std::io::{self, Write as _};
use std::net::{TcpListener, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::pid_lock::Loss;
use crate::roles::{Address, Role, Roles, Secret, SecretOrigin};
use crate::storage::StorageError;

/// Connections that may wait to be accepted: a burst of clients is let in rather than made to knock
/// again a second later.
const BACKLOG: u32 = 1_024;
/// What the kernel keeps of answers that a client does not read. (It doubles both.) By itself it
/// takes several megabytes per client.
const SEND_BUFFER: u32 = 64 << 10;
/// What it keeps of requests that a role does not read yet.
const RECEIVE_BUFFER: u32 = 32 << 10;

/// What is logged unless `RUST_LOG` says otherwise. Below a warning, actix reports only its worker
/// threads.
const DEFAULT_LOG: &str = "info,actix_server=warn";

/// Why a role ended without being told to stop. The message says what to do.
#[derive(Debug)]
pub enum RoleError {
    /// The data folder or the pid file in it cannot be written.
    Folder(PathBuf, io::Error),
    /// The role runs already, on the same data folder.
    AlreadyRunning(Role, PathBuf),
    /// The address cannot be listened on.
    Listen(Role, String, io::Error),
    /// The HTTP server failed.
    Serve(io::Error),
    /// The system refused a thread.
    Thread(io::Error),
    /// The role has no place in `roles.toml`.
    NoSuchRole(Role, String),
    /// A database failed.
    Storage(StorageError),
    /// The catalog could not note that it goes on without replicas.
    Without(String),
    /// A replica holds more orders than the catalog's journal.
    JournalBehind {
        /// The replica, or its database.
        replica: String,
        /// How many orders it holds.
        orders: u64,
        /// How many orders the journal holds.
        journal: u64,
    },
    /// The pid file or the database is no longer the file that the role holds.
    FileLost {
        /// The role.
        role: Role,
        /// The file's name.
        path: PathBuf,
        /// What happened to it.
        loss: Loss,
    },
    /// The role would listen beyond this machine without a secret.
    NoSecret(Role, String),
    /// A task found an invariant broken.
    Panicked(&'static str),
}

/// Listens where `roles.toml` says.
///
/// # Errors
///
/// If the file has no such role, or the address is taken or is not of this machine.
pub fn listen(roles: &Roles, role: Role) -> Result<TcpListener, RoleError> {
    let Some(address) = roles.address_of(role) else {
        let names: Vec<String> = roles.in_start_order().iter().map(Role::to_string).collect();
        return Err(RoleError::NoSuchRole(role, names.join(", ")));
    };
    let listener =
        bind(address).map_err(|error| RoleError::Listen(role, address.to_string(), error))?;
    let local = listener.local_addr().map_err(RoleError::Serve)?.ip();
    let origin = roles.secret.as_ref().map(Secret::origin);
    if !local.is_loopback() && origin != Some(SecretOrigin::File) {
        return Err(RoleError::NoSecret(role, address.to_string()));
    }
    log::info!("{role} listens on {address}");
    warn_of_strangers(roles, role, local.is_loopback());
    Ok(listener)
}

/// Says who else could make calls between roles.
fn warn_of_strangers(roles: &Roles, role: Role, is_loopback: bool) {
    if !is_loopback && roles.tls.is_none() {
        log::warn!(
            "{role} is reached without TLS: a program that can read the network can read the \
             secret; set [tls] in roles.toml, or keep the roles in a private network or a tunnel"
        );
    }
    match roles.secret.as_ref().map(Secret::origin) {
        None => log::warn!(
            "{role} is not guarded: every program on this machine can make the calls between \
             roles; set `secret` in roles.toml, or start the roles with `toystore up` or `start`"
        ),
        Some(SecretOrigin::Run) if roles.run_secret_is_open() => log::warn!(
            "other users of this machine can read the secret of the run, {}; move data_dir to a \
             file system with permissions, or set `secret` in roles.toml",
            roles.run_secret_file().display()
        ),
        Some(SecretOrigin::Run | SecretOrigin::File) => {}
    }
}

/// Binds the first of an address's socket addresses that can be bound, as the standard library's
/// listener does, with room for [`BACKLOG`] connections.
fn bind(address: &Address) -> io::Result<TcpListener> {
    let mut last = io::Error::other("it names no socket address");
    for address in address.as_str().to_socket_addrs()? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        // Accepted sockets have the same.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return listener.into_std(),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Begins to log on standard error, as the environment's `RUST_LOG` says. Times have milliseconds,
/// since a change of leader takes some hundred of them. A line that cannot be written, because the
/// disk of the log is full, is lost, and the role goes on.
pub fn start_log() {
    let environment = env_logger::Env::default().default_filter_or(DEFAULT_LOG);
    // Where RUST_LOG is not valid, env_logger prints that, and panics if it cannot.
    let builder = std::panic::catch_unwind(|| env_logger::Builder::from_env(environment));
    let mut builder = builder.unwrap_or_else(|_unprinted| {
        let mut builder = env_logger::Builder::new();
        builder.parse_filters(DEFAULT_LOG);
        builder
    });
    builder.format_target(false).format_timestamp_millis().init();
}

/// Has a write beyond `ulimit -f` fail, as one to a full disk does. Else the kernel ends the
/// process without a word when its log is as long as that. To be called on the runtime.
pub fn survive_file_size_limit() {
    let kind = SignalKind::from_raw(Signal::XFSZ.as_raw());
    if let Err(error) = signal(kind) {
        log::warn!("a log as long as `ulimit -f` will end this process: {error}");
    }
}

/// Prints what a command has to say on standard output. A reader that wants no more of it, as of
/// `| head`, is no failure: the rest is not printed.
///
/// # Errors
///
/// If it cannot be written for another reason, such as a full disk.
pub fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints an error as a line on standard error or, if that cannot be written, on standard output;
/// exit status 1.
#[must_use]
pub fn fail(problem: &dyn fmt::Display) -> ExitCode {
    let line = format!("toystore: {problem}\n");
    if io::stderr().write_all(line.as_bytes()).is_err() {
        let _there_is_no_third_place = io::stdout().write_all(line.as_bytes());
    }
    ExitCode::FAILURE
}

/// Raises this process's limit of open files to the highest allowed: each connection is an open
/// file, and the usual limit of 1,024 is below the connections that a server here accepts.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        log::warn!("cannot raise the limit of open files above {current:?}: {error}");
    }
}

/// A token that SIGTERM or Ctrl-C cancels.
///
/// # Errors
///
/// If the signals cannot be received.
pub fn stop_on_signals() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let token = stop.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    actix_web::rt::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "Ctrl-C",
        };
        log::info!("{name}: finishing what was accepted");
        token.cancel();
    });
    Ok(stop)
}

impl fmt::Display for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path, error) => write!(
                f,
                "cannot write {}: {error}; make its folder writable, or set data_dir in roles.toml \
                 to a folder that is",
                path.display()
            ),
            Self::AlreadyRunning(role, path) => write!(
                f,
                "{role} runs already: another process holds the lock on {}; stop that process, or \
                 set data_dir in roles.toml to a folder that no other store uses",
                path.display()
            ),
            Self::Listen(role, address, error) => {
                let advice = if error.kind() == io::ErrorKind::AddrInUse {
                    "stop what listens there, or change the address"
                } else {
                    "change the address to one of this machine"
                };
                write!(f, "{role} cannot listen on {address}: {error}; {advice} in roles.toml")
            }
            Self::Serve(error) => write!(f, "the HTTP server failed: {error}"),
            Self::Thread(error) => write!(
                f,
                "the system refused a thread: {error}; end other programs, or raise the limit of \
                 processes (`ulimit -u`)"
            ),
            Self::NoSuchRole(role, names) => {
                write!(f, "roles.toml has no {role}; it has {names}")
            }
            Self::Storage(error) => error.fmt(f),
            Self::Without(problem) => write!(f, "cannot record --without: {problem}"),
            Self::JournalBehind { replica, orders, journal } => write!(
                f,
                "{replica} has {orders} orders, but the catalog's journal has only {journal}: the \
                 catalog's database was removed or replaced. New orders would get numbers that \
                 are taken. To keep the orders, run `toystore rebuild --from order-N.db` with the \
                 database of the replica that has the most orders; to discard them, move the \
                 replicas' databases away"
            ),
            Self::FileLost { role, path, loss } => {
                let what = match loss {
                    Loss::Removed => "removed",
                    Loss::Replaced => "replaced by another file",
                };
                let is_database = path.extension().is_some_and(|extension| extension == "db");
                let advice = if is_database {
                    "Put the file back, or remove the whole data folder to begin with an empty \
                     store; then "
                } else {
                    "To go on, "
                };
                write!(
                    f,
                    "{} was {what} while {role} was running. {role} has ended, because a restart \
                     would not find what it writes. {advice}start {role} again",
                    path.display()
                )
            }
            Self::NoSecret(role, address) => write!(
                f,
                "{role} would listen on {address}, which other machines can reach, but roles.toml \
                 has no secret; set `secret` to the same 16 or more characters for every role"
            ),
            Self::Panicked(task) => write!(
                f,
                "{task} found an invariant broken (see the panic above) and has ended; please \
                 report it with the log"
            ),
        }
    }
}

impl std::error::Error for RoleError {}

impl From<StorageError> for RoleError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}
