//! The proxies of one store: one for each pair of roles of which one calls the other. A test can
//! cut the link, hold it up or slow it down. The crate `links` (`eval/links`) has the proxy itself.
//!
//! The proxies run on a thread of their own, and end with their network.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::thread::JoinHandle;

use links::Link;
pub(crate) use links::{State, Way};

/// The links of one store, each named by the role that calls and the role that answers.
pub(crate) struct Network {
    links: BTreeMap<(String, String), Link>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Proxies on `host`, each from one name to another at an address.
    pub(crate) fn new(host: IpAddr, links: Vec<(String, String, String)>) -> Self {
        let mut servers = Vec::new();
        let mut named = BTreeMap::new();
        for (from, to, target) in links {
            let listener = TcpListener::bind((host, 0)).expect("there are free ports");
            let (link, server) =
                Link::new(listener, target, State::OPEN).expect("a bound socket has an address");
            servers.push(server);
            named.insert((from, to), link);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let thread = std::thread::spawn(move || {
            runtime.block_on(futures_util::future::join_all(servers));
        });
        Self { links: named, thread: Some(thread) }
    }

    /// Where `from` reaches `to`.
    pub(crate) fn address(&self, from: &str, to: &str) -> Option<String> {
        let link = self.links.get(&(from.to_owned(), to.to_owned()));
        link.map(|link| link.address().to_string())
    }

    /// Changes what happens on a link, to connections that there are as well.
    pub(crate) fn set(&self, from: &str, to: &str, state: State) {
        let link = self.links.get(&(from.to_owned(), to.to_owned()));
        link.unwrap_or_else(|| panic!("{from} never calls {to}")).set(state);
    }

    /// Changes what happens on all links to and from a role.
    pub(crate) fn isolate(&self, role: &str, state: State) {
        for ((from, to), link) in &self.links {
            if from == role || to == role {
                link.set(state);
            }
        }
    }

    /// Opens all links.
    pub(crate) fn heal(&self) {
        for link in self.links.values() {
            link.set(State::OPEN);
        }
    }

    /// All links.
    pub(crate) fn links(&self) -> Vec<(String, String)> {
        self.links.keys().cloned().collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // A link ends with its handle, and the thread with the last link.
        self.links.clear();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_none_or(|end| end.is_ok()));
    }
}
