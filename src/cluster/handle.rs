//! A process that gets signals, by a descriptor that cannot come to mean another process.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::processes::{self, RoleProcess};
use crate::clock;

/// How often to look whether the process has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Looking does not wait.
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A process that was started for this `roles.toml`.
pub(super) struct Handle(OwnedFd);

impl Handle {
    /// Opens a process that was found. `None` if it has ended; then its id may be another process's
    /// by now, which is why the mark is read again once the descriptor is open.
    pub(super) fn open(config: &Path, process: &RoleProcess) -> io::Result<Option<Self>> {
        let descriptor = match pidfd_open(process.pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if processes::marked_role(config, process.pid) != Some(process.role) {
            return Ok(None);
        }
        Ok(Some(Self(descriptor)))
    }

    /// Sends a signal. A process that has ended gets none.
    pub(super) fn send(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the process has ended, and with it its threads, files, lock and port. Whether it
    /// has, within the time limit. (A zombie has ended.)
    pub(super) async fn ends_within(&self, limit: Duration) -> bool {
        let deadline = clock::now() + limit;
        while !self.has_ended() {
            if clock::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        true
    }

    /// A process's descriptor is readable once it has ended.
    fn has_ended(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut descriptors, Some(&NO_WAIT)).is_ok_and(|ready| ready > 0)
    }
}
