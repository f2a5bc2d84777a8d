//! Sockets that wait for a turn. Roles come first, and among strangers hosts go round: one that has
//! a thousand sockets in the queue gets as many turns as one that has two.

use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};

use super::socket::{Host, Socket};

/// The queue of one thread. What has ended in it is found by who takes it out.
#[derive(Default)]
pub(super) struct Queue {
    roles: VecDeque<Weak<Socket>>,
    hosts: HashMap<Host, VecDeque<Weak<Socket>>>,
    round: VecDeque<Host>,
}

impl Queue {
    /// Adds a socket. Returns whether it is the first of its host.
    pub(super) fn push(&mut self, socket: &Rc<Socket>, is_between_roles: bool) -> bool {
        let line = if is_between_roles {
            &mut self.roles
        } else {
            self.hosts.entry(socket.host).or_default()
        };
        let is_first = line.is_empty();
        line.push_back(Rc::downgrade(socket));
        if is_first && !is_between_roles {
            self.round.push_back(socket.host);
        }
        is_first
    }

    /// Takes the next one out: a role, or the first of the host whose turn it is.
    pub(super) fn pop(&mut self, a_stranger_may: bool, a_role_may: bool) -> Option<Weak<Socket>> {
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
