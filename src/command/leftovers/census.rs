//! Finds the processes of executions among all others.
//!
//! What an execution has started has an id that was given since its leader's, and is in the leader's session or in one
//! that was begun since. Both are plain numbers that the kernel tells in a fraction of a microsecond; the environment,
//! which takes ten, is read only where they fit. Ids go round: where it can't be known which were given since, a session
//! with a member that is older than the leader is an old one, whose other members need no look.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ids::{Ids, given_since};
use super::sight::{Eye, Sight, all_processes, check_proc, is_live_process, started_at};
use crate::platform::guarding::session_of;

/// Up to so many ids are asked after one by one, in some 20 ms; of more, those of the processes that exist are listed, which
/// takes twice as long for 30,000.
const ASKED_MAX: usize = 50_000;

/// What was given while a look was under way is looked at too, as long as this does not go on and on.
const ROUNDS_MAX: u32 = 8;

/// A process in the middle of `exec` shows no environment for less than a millisecond, or for as long as its program
/// comes from a slow disk.
const EXEC_MAX: Duration = Duration::from_millis(200);
const EXEC_PAUSE: Duration = Duration::from_millis(1);

/// The kernel counts the start of a process in hundredths of a second.
const START_SLACK: Duration = Duration::from_millis(20);

/// What tells the processes of one execution from all others.
#[derive(Debug, Clone)]
pub struct Mark {
    pub leader: i32,
    /// When the leader was spawned, or before.
    pub began: Instant,
    /// The same since the boot.
    pub began_since_boot: Duration,
    /// An entry of the environment. None without a node: then the session alone tells.
    pub tag: Option<String>,
    /// The leader is not reaped: its session's number can't mean another one.
    pub is_session_sure: bool,
}

/// Marks whose processes are asked for, by those who wait for the look that is under way; and the answers to them.
#[derive(Default)]
struct Desk {
    asked: Vec<(u64, Mark)>,
    answers: HashMap<u64, Result<Vec<i32>, String>>,
    next: u64,
}

static DESK: LazyLock<Mutex<Desk>> = LazyLock::new(Mutex::default);
static LOOKING: Mutex<()> = Mutex::new(());

/// The processes of an execution that have not ended, its leader apart. Who asks while somebody looks shares the next
/// look: commands that are ended together, as at a stop, need few.
pub fn members(mark: &Mark) -> io::Result<Vec<i32>> {
    let number = {
        let mut desk = lock(&DESK);
        desk.next += 1;
        let number = desk.next;
        desk.asked.push((number, mark.clone()));
        number
    };
    let _turn = lock(&LOOKING);
    let asked = {
        let mut desk = lock(&DESK);
        if let Some(answer) = desk.answers.remove(&number) {
            return answer.map_err(io::Error::other);
        }
        std::mem::take(&mut desk.asked)
    };
    let found = Census::new(asked.iter().map(|(_, mark)| mark)).take();
    let mut desk = lock(&DESK);
    for (at, (number, _)) in asked.iter().enumerate() {
        let answer = found.as_ref().map(|all| all[at].clone()).map_err(ToString::to_string);
        desk.answers.insert(*number, answer);
    }
    desk.answers.remove(&number).unwrap_or_else(|| Ok(Vec::new())).map_err(io::Error::other)
}

/// Whether this process is one of the execution's and has not ended.
pub fn is_member(mark: &Mark, pid: i32) -> bool {
    let mut census = Census::new(std::iter::once(mark));
    census.visit(pid);
    census.wait_for_unsettled();
    !census.found[0].is_empty()
}

struct Census<'a> {
    marks: Vec<&'a Mark>,
    ids: Option<Ids>,
    /// No process of theirs was started before.
    since: Duration,
    old_sessions: HashSet<i32>,
    found: Vec<Vec<i32>>,
    unsettled: VecDeque<i32>,
    eye: Eye,
}

impl<'a> Census<'a> {
    fn new(marks: impl Iterator<Item = &'a Mark>) -> Self {
        let marks: Vec<&Mark> = marks.collect();
        // The ids that fit any of them are those since the first of them, if that is known of all.
        let ids = marks.iter().map(|mark| given_since(mark.leader, mark.began));
        let ids = ids.reduce(|a, b| Some(std::cmp::max_by_key(a?, b?, |ids| ids.count()))).flatten();
        let found = vec![Vec::new(); marks.len()];
        let since = marks.iter().map(|mark| mark.began_since_boot).min().unwrap_or_default();
        let since = since.saturating_sub(START_SLACK);
        let (old_sessions, unsettled) = (HashSet::new(), VecDeque::new());
        Self { marks, ids, since, old_sessions, found, unsettled, eye: Eye::default() }
    }

    fn take(mut self) -> io::Result<Vec<Vec<i32>>> {
        check_proc()?;
        match self.ids.or_else(Ids::all).filter(|ids| ids.count() <= ASKED_MAX) {
            Some(ids) => ids.iter().for_each(|pid| self.visit(pid)),
            None => {
                for pid in all_processes()? {
                    let pid = pid?;
                    if self.ids.is_none_or(|ids| ids.contains(pid)) {
                        self.visit(pid);
                    }
                }
            }
        }
        self.wait_for_unsettled();
        for _ in 0..ROUNDS_MAX {
            let Some(newer) = self.ids.and_then(Ids::since) else { break };
            // Those before stay among the ids whose sessions fit.
            self.ids = self.ids.map(|ids| ids.with(newer));
            newer.iter().for_each(|pid| self.visit(pid));
            self.wait_for_unsettled();
        }
        Ok(self.found)
    }

    fn visit(&mut self, pid: i32) {
        let Some(session) = session_of(pid) else { return };
        let is_known = self.ids.is_some();
        let is_of = |mark: &Mark| mark.leader == session && (mark.is_session_sure || is_known);
        if self.note(pid, is_of) {
            return;
        }
        // A session that our pid namespace does not show has no number here.
        if session != 0 && self.is_old(session, pid) {
            return;
        }
        match self.eye.look(pid) {
            Sight::Hidden => {}
            Sight::Unsettled => self.unsettled.push_back(pid),
            Sight::Seen => {
                let tags = self.marks.iter().map(|mark| mark.tag.as_deref().map(str::as_bytes));
                if let Some(at) = self.eye.first_entry(tags) {
                    let tag = self.marks[at].tag.clone();
                    self.note(pid, |mark| mark.tag == tag);
                }
            }
        }
    }

    fn is_old(&mut self, session: i32, member: i32) -> bool {
        if let Some(ids) = self.ids {
            return !ids.contains(session);
        }
        if self.old_sessions.contains(&session) {
            return true;
        }
        let is_old = started_at(member).is_some_and(|at| at < self.since);
        if is_old {
            self.old_sessions.insert(session);
        }
        is_old
    }

    /// Notes it for whoever of those who ask it is of, if it is of any.
    fn note(&mut self, pid: i32, is_of: impl Fn(&Mark) -> bool) -> bool {
        let mut of = self.marks.iter().zip(&mut self.found).filter(|(mark, _)| is_of(mark)).peekable();
        let is_any = of.peek().is_some();
        if is_any && is_live_process(pid) {
            of.filter(|(mark, _)| mark.leader != pid).for_each(|(_, found)| found.push(pid));
        }
        is_any
    }

    fn wait_for_unsettled(&mut self) {
        let began = Instant::now();
        while !self.unsettled.is_empty() && began.elapsed() < EXEC_MAX {
            // Nothing tells of the end of an exec.
            std::thread::sleep(EXEC_PAUSE);
            for pid in std::mem::take(&mut self.unsettled) {
                self.visit(pid);
            }
        }
        self.unsettled.clear();
    }
}

/// What this holds is complete at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
