//! What is left of one execution beside its leader.

use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use super::{census, last_resort};
#[cfg(target_os = "linux")]
use crate::platform::guarding::{Pinned, PinnedSignal, group_of};
#[cfg(target_os = "linux")]
use crate::platform::time_since_boot;

/// What is left of one execution beside its leader: asked after, asked to end, killed. On systems other than Linux
/// nothing is ever found.
#[derive(Debug)]
pub struct Remnant {
    #[cfg(target_os = "linux")]
    mark: census::Mark,
    /// Found by the last look and not known to have ended.
    #[cfg(target_os = "linux")]
    known: Vec<i32>,
}

#[cfg(target_os = "linux")]
impl Remnant {
    /// Whether what is left can be found on this system.
    pub const CAN_BE_FOUND: bool = true;

    /// Of the execution whose leader was spawned at `began`, or later, with this tag in its environment.
    pub fn new(leader: i32, began: Instant, tag: Option<&str>) -> Self {
        let tag = tag.map(str::to_owned);
        let began_since_boot = time_since_boot().saturating_sub(began.elapsed());
        let mark = census::Mark { leader, began, began_since_boot, tag, is_session_sure: true };
        Self { mark, known: Vec::new() }
    }

    /// The leader is reaped: its id may be given to another.
    pub fn forget_leader(&mut self) {
        self.mark.is_session_sure = false;
    }

    /// Whether anything of it is left. It is cheap to ask again while something is.
    pub fn is_left(&mut self) -> bool {
        let Self { mark, known } = self;
        known.retain(|&pid| census::is_member(mark, pid));
        if known.is_empty() {
            self.look();
        }
        !self.known.is_empty()
    }

    /// Asks all of it to end, apart from the leader's group where that has been asked.
    pub fn terminate(&mut self, was_group_asked: bool) {
        self.look();
        self.signal(PinnedSignal::Terminate, was_group_asked);
    }

    /// Kills all of it, and waits a moment for it to be gone.
    pub fn kill(&mut self) {
        self.look();
        if self.known.is_empty() {
            return;
        }
        self.signal(PinnedSignal::Kill, false);
        if let Some(tag) = &self.mark.tag
            && let Err(error) = last_resort::kill(tag)
        {
            log::warn!("processes of an ended command may still run: failed to {error}");
        }
    }

    fn signal(&self, signal: PinnedSignal, is_group_apart: bool) {
        let Self { mark, known } = self;
        for &pid in known.iter().filter(|pid| !is_group_apart || group_of(**pid) != Some(mark.leader)) {
            // It is held first and looked at again then: so the signal reaches this process, or none.
            let Ok(pinned) = Pinned::open(pid) else { continue };
            if census::is_member(mark, pid)
                && let Err(error) = pinned.signal(signal)
            {
                log::warn!("failed to send {signal:?} to process {pid}, which a command has left: {error}");
            }
        }
    }

    fn look(&mut self) {
        let began = Instant::now();
        match census::members(&self.mark) {
            Ok(found) => self.known = found,
            Err(error) => {
                log::warn!("what a command has left running can't be found: failed to {error}");
                self.known.clear();
            }
        }
        log::debug!("looked for what is left of a command found={:?} took={:?}", self.known, began.elapsed());
    }
}

impl Remnant {
    /// Ends all of it, on a thread that has nothing else to do: with this grace, unless `is_urgent`.
    pub fn end(&mut self, grace: Duration, is_urgent: &dyn Fn() -> bool) {
        const LOOK: Duration = Duration::from_millis(20);
        if !self.is_left() {
            return;
        }
        self.terminate(false);
        let began = Instant::now();
        while self.is_left() {
            if began.elapsed() >= grace || is_urgent() {
                self.kill();
                return;
            }
            // Nothing tells of the end of all of them.
            std::thread::park_timeout(LOOK);
        }
    }
}

#[cfg(not(target_os = "linux"))]
#[expect(missing_docs, reason = "as on Linux")]
impl Remnant {
    pub const CAN_BE_FOUND: bool = false;

    pub fn new(_leader: i32, _began: Instant, _tag: Option<&str>) -> Self {
        Self {}
    }

    pub fn forget_leader(&mut self) {}

    pub fn is_left(&mut self) -> bool {
        false
    }

    pub fn terminate(&mut self, _was_group_asked: bool) {}

    pub fn kill(&mut self) {}
}
