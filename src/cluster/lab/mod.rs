//! The laboratory: `toystore up --lab` stays as the supervisor of the roles, and lets the web page
//! kill, stop, continue and start them, and put load on the store.
//!
//! It serves HTTP on a loopback port of its own. A request names a role of `roles.toml` and one of
//! four verbs, never a process id or a path, and it may only come from a page that knows the token
//! of this run:
//!
//! ```text
//! up --lab ── prints http://FRONT-END/#/faults?lab=ADDRESS&token=TOKEN ─► a person opens it
//!    │          (a browser keeps what is behind # to itself)                    │
//!    │◄─ Host: ADDRESS, Origin: http://FRONT-END, X-Toystore-Lab: TOKEN ────────┘
//!    └── signals its own processes, starts new ones, runs the client
//! ```
//!
//! The front-ends that it starts know its address from their environment, and let their page
//! connect to it.

pub(super) mod links;
mod load;
pub(super) mod place;
mod roles;
mod routes;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::links::Links;
use self::load::StartedLoad;
use self::place::LabPlace;
use super::foreground::EndingSignals;
use super::start::start_ready;
use super::terminal::{complain, say};
use super::{Cluster, VerbError, VerbResult, guard, stop};
use crate::metrics::Metrics;
use crate::roles::{Address, Role, Roles};
use crate::server::{self, Admission};

/// The environment variable by which a front-end learns the laboratory's address.
pub(super) const ADDRESS: &str = "TOYSTORE_LAB";
/// The header with the token of the run.
pub(super) const TOKEN: &str = "x-toystore-lab";
/// For requests that are under way when the laboratory closes.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A store whose roles are supervised by this process.
pub(super) struct Lab {
    /// The store, whose roles learn where the laboratory is.
    pub(super) cluster: Cluster,
    /// What a request has to know.
    token: String,
    /// Where it listens.
    address: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    /// The proxies between the roles.
    links: Links,
    /// The processes that were started here. A process that has ended stays until its parent has
    /// asked for its exit status.
    children: Mutex<Vec<Child>>,
    /// For each role: verbs are carried out one after the other.
    turns: Vec<(Role, tokio::sync::Mutex<()>)>,
    /// The load that was started last.
    load: Mutex<Option<StartedLoad>>,
}

/// Runs the store and its laboratory until a signal ends both.
pub(super) async fn run(cluster: &Cluster) -> VerbResult {
    cluster.refuse_if_running()?;
    let mut signals = EndingSignals::receive()?;
    let lab = Lab::open(cluster)?;
    let started = tokio::select! {
        biased; // Ctrl-C may have ended a role that had not yet left this session.
        () = signals.next() => return lab.close(Ok(())).await,
        started = lab.start_all() => started,
    };
    if let Err(failure) = started {
        // What runs is stopped; the failure was reported before.
        lab.close(Ok(())).await?;
        return Err(failure);
    }
    let (url, page) = (cluster.url(), lab.page());
    say(format_args!(
        "the store is open at {url} and Ctrl-C closes it; its laboratory is at\n  {page}"
    ));
    let closing = CancellationToken::new();
    let mut served = Box::pin(lab.serve(closing.clone()));
    let outcome = tokio::select! {
        () = signals.next() => Ok(()),
        ended = &mut served => ended,
    };
    if outcome.is_ok() {
        closing.cancel();
        let _in_time = tokio::time::timeout(CLOSE_LIMIT, served).await;
    }
    lab.close(outcome).await
}

impl Lab {
    /// Opens a laboratory for a store that does not run yet.
    pub(super) fn open(cluster: &Cluster) -> Result<Arc<Self>, VerbError> {
        if !guard::is_on_loopback(cluster) {
            return Err(VerbError::Problem(
                "--lab lets a web page kill the roles, so it needs a store whose roles are all on \
                 loopback addresses; change roles.toml, or use `toystore kill` and `start`"
                    .to_owned(),
            ));
        }
        let failed = |error| VerbError::Problem(format!("the laboratory cannot listen: {error}"));
        let listener = listen(&cluster.roles, "127.0.0.1").map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let links = Links::open(&cluster.roles).map_err(failed)?;
        let token = format!("{:032x}", rand::random::<u128>());
        let place = LabPlace::new(address, &token, links.routes());
        if let Err(error) = place.write(&cluster.roles) {
            let folder = cluster.roles.data_dir.display();
            complain(format_args!(
                "{folder}: {error}; `toystore link` does not find this laboratory"
            ));
        }
        let roles = cluster.roles.in_start_order();
        Ok(Arc::new(Self {
            cluster: Cluster { lab: Some(place), ..cluster.clone() },
            token,
            address,
            listener: Mutex::new(Some(listener)),
            links,
            children: Mutex::default(),
            turns: roles.into_iter().map(|role| (role, tokio::sync::Mutex::default())).collect(),
            load: Mutex::default(),
        }))
    }

    /// Serves the page, until it is to close.
    pub(super) async fn serve(self: &Arc<Self>, closing: CancellationToken) -> VerbResult {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listener = listener.expect("it is served once");
        let lab = Arc::clone(self);
        let routes = move |config: &mut _, _no_calls: &mut _| routes::configure(config, &lab);
        // It has no /metrics: its requests are a person's clicks.
        let metrics = Metrics::new("lab", &[]);
        let ended = server::serve(listener, Admission::default(), routes, &metrics, closing).await;
        let why = ended.err().map_or("it has ended".to_owned(), |error| error.to_string());
        Err(VerbError::Problem(format!("the laboratory cannot serve: {why}")))
    }

    /// Ends the load, and stops every role, also those that hang.
    pub(super) async fn close(&self, outcome: VerbResult) -> VerbResult {
        self.end_load();
        self.continue_all();
        let stopped = stop::down(&self.cluster).await;
        place::remove(&self.cluster.roles);
        outcome.and(stopped)
    }

    async fn start_all(&self) -> VerbResult {
        for role in self.cluster.roles.in_start_order() {
            let child = start_ready(&self.cluster, role).await?;
            self.adopt(child);
        }
        Ok(())
    }

    /// Returns the address at which a browser shows it.
    pub(super) fn page(&self) -> String {
        let (url, address, token) = (self.cluster.url(), self.address, &self.token);
        format!("{url}#/faults?lab={address}&token={token}")
    }

    /// Keeps a process that was started here, until it has ended.
    fn adopt(&self, child: Option<Child>) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).extend(child);
    }

    /// Asks for the exit statuses of the processes that have ended.
    fn reap(&self) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

/// Listens at a free port of `host`, but not at one that a role in `roles.toml` has: that role may
/// not have begun to listen.
fn listen(roles: &Roles, host: &str) -> io::Result<TcpListener> {
    listen_apart_from(&ports_of(roles), || TcpListener::bind((host, 0)))
}

fn ports_of(roles: &Roles) -> Vec<u16> {
    let addresses = roles.in_start_order().into_iter().filter_map(|role| roles.address_of(role));
    addresses.map(Address::port).collect()
}

fn listen_apart_from(
    taken: &[u16],
    mut bind: impl FnMut() -> io::Result<TcpListener>,
) -> io::Result<TcpListener> {
    // Kept until another is found, so that none is found twice.
    let mut passed_over = Vec::new();
    loop {
        let listener = bind()?;
        if !taken.contains(&listener.local_addr()?.port()) {
            return Ok(listener);
        }
        passed_over.push(listener);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_role_has_a_port_that_is_passed_over() {
        let roles =
            Roles::parse(include_str!("../../../roles.toml"), Path::new("roles.toml")).unwrap();
        let mut ports = ports_of(&roles);
        ports.sort_unstable();
        assert_eq!(ports, [8080, 8081, 8091, 8092, 8093]);
    }

    #[test]
    fn the_port_of_a_role_that_has_yet_to_listen_is_passed_over() {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let [of_a_role, free] = [bind().unwrap(), bind().unwrap()];
        let [taken, other] = [&of_a_role, &free].map(|it| it.local_addr().unwrap().port());
        let mut found = [of_a_role, free].into_iter();
        let chosen = listen_apart_from(&[1, taken], || Ok(found.next().unwrap())).unwrap();
        assert_eq!(chosen.local_addr().unwrap().port(), other);
    }
}
