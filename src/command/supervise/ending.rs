//! How the exit of a watched command is noticed, and how it is brought about.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::command::usage;
use crate::platform::{self, Child, GroupSignal, Reaped};

/// The kernel closes a command's output a moment before it lets it be reaped. Of `/bin/true`s run by 8 threads
/// on 2 cores 55 % can be reaped at once and 99.7 % after yielding the CPU once; the others are waited for.
const REAP_TRIES: usize = 2;

/// How the exit of a command becomes known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitNotice {
    /// By a descriptor of the kernel's, polled together with the pipe, if there is one (else by asking).
    Descriptor,
    /// By asking at intervals and by the crate `wait-timeout`, as on systems without such descriptors.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests ask for what other systems have to do"))]
    Polling,
}

/// The command that leads its session and process group. Nothing is asked of its id, and nothing sent to it, once it is reaped: from
/// then on it may be somebody else's.
pub struct Leader {
    child: Child,
    exit_notice: ExitNotice,
    descriptor: Option<OwnedFd>,
    reaped: Option<Reaped>,
}

impl Leader {
    pub fn new(child: Child, exit_notice: ExitNotice) -> Self {
        Self { child, exit_notice, descriptor: None, reaped: None }
    }

    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    pub fn can_wait_timeout(&self) -> bool {
        self.child.has_wait_timeout()
    }

    /// Says whether a descriptor will tell of the exit.
    pub fn watch_exit(&mut self) -> bool {
        if self.exit_notice == ExitNotice::Descriptor {
            self.descriptor = platform::exit_descriptor(self.pid()).ok();
        }
        self.descriptor.is_some()
    }

    pub fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_ref().map(AsFd::as_fd)
    }

    pub fn has_exited(&self) -> io::Result<bool> {
        platform::has_exited(self.pid())
    }

    pub fn is_reaped(&self) -> bool {
        self.reaped.is_some()
    }

    /// Whether it has exited, with exit code 0.
    pub fn has_succeeded(&self) -> io::Result<bool> {
        match &self.reaped {
            Some(reaped) => Ok(reaped.exit_code == Some(0)),
            None => Ok(platform::peek_exit(self.pid())? == Some(true)),
        }
    }

    /// Whether it ends in a moment. After a success it is reaped too, if `may_reap`: as long as it is not, its id can't
    /// mean another session than its own, in which a failure may have left something.
    pub fn ends_now(&mut self, may_reap: bool) -> io::Result<bool> {
        for _ in 0..REAP_TRIES {
            if let Some(has_succeeded) = platform::peek_exit(self.pid())? {
                if has_succeeded && may_reap {
                    self.reaped = Some(platform::reap(self.pid())?);
                }
                return Ok(true);
            }
            std::thread::yield_now();
        }
        Ok(false)
    }

    /// Reaps it if it ends in time, and says whether.
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<bool> {
        // The crate reaps it, after which its times can't be asked for any more.
        let cpu = usage::cpu(self.pid());
        self.reaped = self.child.wait_timeout(timeout)?.map(|reaped| Reaped { cpu, ..reaped });
        Ok(self.reaped.is_some())
    }

    /// Reaps it, if that is not done, however long it takes.
    pub fn reap(self) -> io::Result<Reaped> {
        self.reaped.map_or_else(|| platform::reap(self.pid()), Ok)
    }

    /// Signals its whole group. Why that failed is of interest as long as the leader itself runs.
    pub fn signal_group(&self, signal: GroupSignal) -> io::Result<()> {
        if self.reaped.is_some() {
            return Ok(());
        }
        // Asked first: an id that is not our child's is signalled by nobody.
        let has_exited = self.has_exited()?;
        platform::signal_group(self.pid(), signal).or_else(|e| if has_exited { Ok(()) } else { Err(e) })
    }
}
