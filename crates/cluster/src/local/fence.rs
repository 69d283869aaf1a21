//! Fence: ends a server that stands still with the lock.
//!
//! Why: nobody can take a lock from a living process and be sure that it writes no more; on one
//!      machine the kernel can end the process, and then it is sure.
//! Holds:
//!   FN1 the process is named by a descriptor that was opened while it had the connection, so
//!       that no other one that has got its number since is hit;
//!   FN2 no process ends itself: one that is its own server is not silent to itself.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use tokio::net::UnixStream;

/// The process at the other end of a connection.
#[derive(Debug)]
pub(super) struct Serving {
    process: Option<(Pid, OwnedFd)>,
}

impl Serving {
    pub(super) fn of(stream: &UnixStream) -> Self {
        let pid = stream.peer_cred().ok().and_then(|credentials| credentials.pid());
        let pid = pid.and_then(Pid::from_raw).filter(|pid| *pid != getpid()); // FN2
        let process = pid.and_then(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)));
        Self { process }
    }

    /// It has said nothing for too long.
    pub(super) fn end(&self) {
        let Some((pid, descriptor)) = &self.process else {
            tracing::error!("the server of the coordination log is silent, and cannot be ended");
            return;
        };
        let pid = pid.as_raw_nonzero();
        match pidfd_send_signal(descriptor, Signal::KILL) {
            Ok(()) => tracing::error!(pid, "the server of the coordination log was silent: killed"),
            Err(error) => {
                tracing::error!(pid, %error, "the silent server of the log cannot be killed");
            }
        }
    }
}
