//! Sockets that wait for a turn. Roles come first, and among strangers hosts go round: one that has
//! a thousand sockets in the queue gets as many turns as one that has two.

use std::collections::{HashMap, VecDeque};

use super::limits::PeerHost;

/// The queue of one thread. Who takes something out finds out whether it still waits.
pub(super) struct Queue<T> {
    roles: VecDeque<T>,
    hosts: HashMap<PeerHost, VecDeque<T>>,
    round: VecDeque<PeerHost>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { roles: VecDeque::new(), hosts: HashMap::new(), round: VecDeque::new() }
    }
}

impl<T> Queue<T> {
    /// Adds a role's request.
    pub(super) fn push_role(&mut self, waiting: T) {
        self.roles.push_back(waiting);
    }

    /// Adds a stranger's request. Returns whether it is the first of its host.
    pub(super) fn push(&mut self, host: PeerHost, waiting: T) -> bool {
        let of_host = self.hosts.entry(host).or_default();
        let is_first = of_host.is_empty();
        of_host.push_back(waiting);
        if is_first {
            self.round.push_back(host);
        }
        is_first
    }

    /// Takes the next one out: a role's, or the first of the host whose turn it is.
    pub(super) fn pop(&mut self, a_role_may: bool, a_stranger_may: bool) -> Option<T> {
        if a_role_may && let Some(first) = self.roles.pop_front() {
            return Some(first);
        }
        let host = if a_stranger_may { self.round.pop_front()? } else { return None };
        let line = self.hosts.get_mut(&host)?;
        let first = line.pop_front();
        if line.is_empty() {
            self.hosts.remove(&host);
        } else {
            self.round.push_back(host);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn roles_come_first_and_hosts_go_round() {
        let host = |number: u8| PeerHost::from(IpAddr::from([10, 0, 0, number]));
        let mut queue = Queue::default();
        assert!(queue.push(host(1), "a1"));
        assert!(!queue.push(host(1), "a2"));
        assert!(!queue.push(host(1), "a3"));
        assert!(queue.push(host(2), "b1"));
        queue.push_role("role");
        queue.push_role("second role");
        assert_eq!(queue.pop(true, false), Some("role"));
        assert_eq!(queue.pop(false, true), Some("a1"), "no turn is left for roles");
        assert_eq!(queue.pop(true, true), Some("second role"));
        assert_eq!(queue.pop(true, false), None, "the rest are strangers");
        let rest = std::iter::from_fn(|| queue.pop(true, true));
        assert_eq!(rest.collect::<Vec<_>>(), ["b1", "a2", "a3"]);
        assert!(queue.push(host(1), "a4"), "its line was empty");
    }
}
