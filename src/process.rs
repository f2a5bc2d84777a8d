//! A role as a process: its pid file, its listener, the signals that end it, its last words.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::net::{TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::roles::{Address, Role, Roles};
use crate::storage::StorageError;

/// Connections that may wait to be accepted: a burst of clients is let in rather than made to knock
/// again a second later.
const BACKLOG: u32 = 1_024;

/// Why a role ended that was not asked to. Its message says what to do.
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
    /// The role has no place in `roles.toml`.
    NoSuchRole(Role, String),
    /// A database failed.
    Storage(StorageError),
    /// A replica holds more orders than the catalog's journal.
    JournalBehind {
        /// The replica, or its database.
        replica: String,
        /// How many orders it holds.
        orders: u64,
        /// How many orders the journal holds.
        journal: u64,
    },
    /// The role would listen beyond this machine without a secret.
    NoSecret(Role, String),
    /// A task found an invariant broken.
    Panicked(&'static str),
}

/// What a role holds while it runs: the locked pid file.
///
/// The lock, not the number in the file, is what tells that the process lives: the kernel drops it
/// with the process, however it ended, while numbers are used again.
#[derive(Debug)]
pub struct Residence {
    path: PathBuf,
    _lock: File,
}

impl Residence {
    /// Makes the data folder and takes the role's place in it.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, or another process has the place.
    pub fn take(roles: &Roles, role: Role) -> Result<Self, RoleError> {
        let folder = &roles.data_dir;
        std::fs::create_dir_all(folder)
            .map_err(|error| RoleError::Folder(folder.clone(), error))?;
        let path = roles.file_of(role, "pid");
        let mut file = lock(&path, role)?;
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(|error| RoleError::Folder(path.clone(), error))?;
        Ok(Self { path, _lock: file })
    }
}

/// Opens and locks the pid file.
///
/// A role that ends removes its file. Whoever opened it just before and locks it just after holds
/// a file without a name, which excludes nobody; so the lock counts only if the name still leads
/// to the locked file.
fn lock(path: &Path, role: Role) -> Result<File, RoleError> {
    let error = |error| RoleError::Folder(path.to_owned(), error);
    loop {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RoleError::AlreadyRunning(role, path.to_owned()));
            }
            Err(TryLockError::Error(cause)) => return Err(error(cause)),
        }
        let locked = file.metadata().map_err(error)?;
        if std::fs::metadata(path).is_ok_and(|named| named.ino() == locked.ino()) {
            return Ok(file);
        }
    }
}

impl Drop for Residence {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("the pid file {} stays behind: {error}", self.path.display());
        }
    }
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
    if !local.is_loopback() && roles.secret.is_none() {
        return Err(RoleError::NoSecret(role, address.to_string()));
    }
    log::info!("{role} listens on {address}");
    Ok(listener)
}

/// Binds the first of an address's socket addresses that can be bound, as the standard library's
/// listener does, with room for [`BACKLOG`] connections.
fn bind(address: &Address) -> io::Result<TcpListener> {
    let mut last = io::Error::other("it names no socket address");
    for address in address.as_str().to_socket_addrs()? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return listener.into_std(),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The one place where the executable complains: a line on standard error, and exit status 1.
#[expect(clippy::print_stderr, reason = "the last words belong there, whether or not a log is on")]
#[must_use]
pub fn fail(problem: &dyn fmt::Display) -> ExitCode {
    eprintln!("toystore: {problem}");
    ExitCode::FAILURE
}

/// Lets this process have as many open files as it may: a connection is one, and the usual limit of
/// 1,024 is below what a server here admits.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        log::warn!("no more than {current:?} files can be open at once: {error}");
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
                "cannot write {}: {error}; make it a folder that can be written, or set data_dir \
                 in roles.toml",
                path.display()
            ),
            Self::AlreadyRunning(role, path) => write!(
                f,
                "{role} runs already: its process holds {}; stop it first, or give this cluster \
                 a data_dir of its own",
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
            Self::NoSuchRole(role, names) => {
                write!(f, "roles.toml has no {role}; it has {names}")
            }
            Self::Storage(error) => error.fmt(f),
            Self::JournalBehind { replica, orders, journal } => write!(
                f,
                "{replica} holds {orders} orders and the catalog's journal {journal}: the \
                 catalog's database was removed or replaced, and selling over them would give \
                 their numbers away twice. Move catalog.db away and run `toystore rebuild --from \
                 order-N.db` with the longest replica's database; or, if those orders are not to \
                 be kept, move the replicas' databases away"
            ),
            Self::NoSecret(role, address) => write!(
                f,
                "{role} would listen on {address}, where others could reach it, and the cluster \
                 has no secret; set `secret` in roles.toml to the same 16 or more characters for \
                 every role"
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
