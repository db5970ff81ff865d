//! Ends every process that has one of some tags in its environment, and no other.
//!
//! A process is found by what `/proc/<pid>/environ` shows: the environment that its program was started with. A
//! child begins with its parent's, whatever session or group it moves to. Out of reach are programs started with
//! another environment (`env -i`, `sudo`), those that overwrite theirs, and those of which the system shows nothing
//! to us (of another user, or kept from being looked at).

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::time::{Duration, Instant};

use super::sight::{Eye, Sight, all_processes, check_proc};
use crate::platform::guarding::{Pinned, PinnedSignal};

/// Scans that find no process which has not been stopped yet mean that no more are being started. Something that
/// forks faster than one scan goes through `/proc` is stopped a generation at a time; after this many it is
/// killed as far as it is known, which slows it too.
const FREEZE_SCANS_MAX: u32 = 20;
/// How often one scan reads the list of processes: where others start all the time there are always new ones.
const LISTINGS_MAX: u32 = 20;
/// A process that starts a child and ends can be missed by one scan, with its child, if ids have just begun anew
/// from the bottom; that it happens twice in a row is as good as impossible.
const CLEAN_SCANS: u32 = 2;
/// A process in the middle of `exec` shows an empty environment for less than a millisecond, or for as long as its
/// program comes from a slow disk. Where it is empty for longer, the system is one that does not tell.
const EXEC_MS_MAX: u64 = 500;
/// Between two scans: a killed process is gone within a millisecond, or within many if it has much memory to free.
const PAUSE_MS_MIN: u64 = 1;
const PAUSE_MS_MAX: u64 = 100;

/// Ends them all and waits until they are gone, at most `patience`; returns how many it killed, and how many are left.
/// Once `is_over` it ends what it has stopped by then, and nothing else.
pub fn sweep(marks: &[String], patience: Duration, is_over: &dyn Fn() -> bool) -> io::Result<(usize, usize)> {
    check_proc()?;
    let mut sweep = Sweep::new(marks, is_over);
    let began = Instant::now();
    let mut pause_ms = PAUSE_MS_MIN;
    let mut clean_scans = 0;
    loop {
        let found = sweep.freeze()?;
        if found.signalled.is_empty() {
            pause_ms = PAUSE_MS_MIN;
            if !found.has_unsettled || began.elapsed() >= Duration::from_millis(EXEC_MS_MAX) {
                clean_scans += 1;
            }
            if clean_scans == CLEAN_SCANS {
                return Ok((sweep.ended.len(), found.refused));
            }
        } else {
            clean_scans = 0;
            // Some of the stopped may be gone by now: with its parent dead, a stopped group gets SIGHUP and SIGCONT
            // from the kernel. What that sets going again is found by the next scan.
            sweep.scan(PinnedSignal::Kill)?;
        }
        if is_over() {
            return Ok((sweep.ended.len(), found.refused));
        }
        if began.elapsed() >= patience {
            let left = found.signalled.len() + found.refused;
            return Ok((sweep.ended.len(), left));
        }
        // Nothing tells of the end of a process together with all that it may have started.
        std::thread::sleep(Duration::from_millis(pause_ms));
        pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
    }
}

struct Sweep<'a> {
    /// Entries of an environment, whole.
    marks: Vec<Vec<u8>>,
    is_over: &'a dyn Fn() -> bool,
    own_pid: i32,
    /// Stopped or killed so far.
    ended: BTreeSet<i32>,
    eye: Eye,
}

/// What one scan, or several, came across.
#[derive(Default)]
struct Found {
    signalled: BTreeSet<i32>,
    /// Marked ones that we may not signal.
    refused: usize,
    /// Whether some could not be told yet.
    has_unsettled: bool,
}

impl<'a> Sweep<'a> {
    fn new(marks: &[String], is_over: &'a dyn Fn() -> bool) -> Self {
        Self {
            marks: marks.iter().map(|mark| mark.clone().into_bytes()).collect(),
            is_over,
            // Ids are far below 2^31.
            own_pid: std::process::id() as i32,
            ended: BTreeSet::new(),
            eye: Eye::default(),
        }
    }

    /// Stops all marked processes before the first of them is killed: else those that wait for others to end could
    /// start new ones in their place.
    fn freeze(&mut self) -> io::Result<Found> {
        let mut all = Found::default();
        for _ in 0..FREEZE_SCANS_MAX {
            let known = all.signalled.len();
            let found = self.scan(PinnedSignal::Stop)?;
            all.signalled.extend(found.signalled);
            all.refused = found.refused;
            all.has_unsettled = found.has_unsettled;
            if all.signalled.len() == known {
                break;
            }
        }
        Ok(all)
    }

    /// Goes through all processes and signals the marked ones. A listing is a moment's: what starts others and ends may be
    /// gone when its turn comes. So the list is read again for those that have come since, until there are none; they are few,
    /// and looked at sooner.
    fn scan(&mut self, signal: PinnedSignal) -> io::Result<Found> {
        let (mut found, mut known) = (Found::default(), HashSet::from([self.own_pid]));
        for _ in 0..LISTINGS_MAX {
            let before = known.len();
            for pid in all_processes()? {
                let pid = pid?;
                if known.insert(pid) {
                    self.look_and_signal(pid, signal, &mut found);
                }
            }
            if known.len() == before {
                break;
            }
        }
        Ok(found)
    }

    fn look_and_signal(&mut self, pid: i32, signal: PinnedSignal, found: &mut Found) {
        match self.look(pid) {
            Sight::Hidden => {}
            Sight::Unsettled => found.has_unsettled = true,
            Sight::Seen => match self.signal(pid, signal) {
                Ok(true) => drop(found.signalled.insert(pid)),
                Ok(false) => {}
                Err(_) => found.refused += 1,
            },
        }
    }

    /// Says whether it was signalled; it was not if it has ended meanwhile.
    fn signal(&mut self, pid: i32, signal: PinnedSignal) -> io::Result<bool> {
        let Ok(pinned) = Pinned::open(pid) else { return Ok(false) };
        // The look before was at whoever had the id then. If this one is at a later process than the pinned one,
        // that has ended, and the signal reaches nobody.
        if self.look(pid) != Sight::Seen {
            return Ok(false);
        }
        // Asked after the look: what was there before it was over is meant, and what has begun since is not.
        if !self.ended.contains(&pid) && (self.is_over)() {
            return Ok(false);
        }
        let is_hit = pinned.signal(signal)?;
        if is_hit {
            self.ended.insert(pid);
        }
        Ok(is_hit)
    }

    fn look(&mut self, pid: i32) -> Sight {
        match self.eye.look(pid) {
            Sight::Seen
                if self.eye.first_entry(self.marks.iter().map(|it| Some(it.as_slice()))).is_none() =>
            {
                Sight::Hidden
            }
            sight => sight,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::fs;
    use std::process::{Child, Command};

    use super::*;

    /// A command that is tagged; its program has been loaded.
    fn tagged(tag: &str) -> Child {
        let (name, value) = tag.split_once('=').unwrap();
        let child = Command::new("sleep").arg("600").env_clear().env(name, value).spawn().unwrap();
        let environment = format!("{tag}\0").into_bytes();
        while fs::read(format!("/proc/{}/environ", child.id())).unwrap() != environment {
            std::thread::yield_now();
        }
        child
    }

    /// The node is heard again and begins a command, just before the sweep asks for the `at`th time whether it is over.
    fn sweep_until(at: usize) -> (usize, usize) {
        let tag = format!("PO_SWEEP_TEST=node-{}-{at}", std::process::id());
        let (commands, asked) = (RefCell::new(vec![tagged(&tag)]), Cell::new(0));
        let swept = sweep(std::slice::from_ref(&tag), Duration::from_secs(60), &|| {
            asked.set(asked.get() + 1);
            if asked.get() == at {
                commands.borrow_mut().push(tagged(&tag));
            }
            asked.get() >= at
        });
        let mut commands = commands.into_inner();
        commands.iter_mut().for_each(|it| it.kill().and_then(|()| it.wait().map(drop)).unwrap());
        assert_eq!(commands.len(), 2, "the sweep was over before the node was heard");
        swept.unwrap()
    }

    #[test]
    fn a_sweep_that_is_over_leaves_what_has_begun_since_alone() {
        assert_eq!(sweep_until(1), (0, 0), "before the first signal");
        assert_eq!(sweep_until(2), (1, 0), "after the first command was killed");
    }
}
