//! The poller claims due processes, never more than there are free executors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{error, info, warn};

use super::scan_cursor::Backlog;
use crate::engine::config::Scope;
use crate::engine::health::thread_watchdog::CoreThread;
use crate::engine::run::job_queue::JobSenders;
use crate::engine::run::runner::Work;
use crate::engine::session::Link;
use crate::engine::shared::Shared;
use crate::failpoint::{self, Point};
use crate::store::StoreError;
use crate::store::claims::{Claimed, QueuePart};

/// Most processes claimed by one statement: enough to fill a large node in a few, few enough that a claim stays in
/// the order of a millisecond and other nodes get their share.
const CLAIM_MAX: usize = 256;
/// While short commands keep every processor busy, this share of the executors may be free before more is claimed: a
/// claim of four costs little more than a claim of one.
const FREE_SHARE: usize = 4;
/// And for no longer than this.
const FREE_MAX: Duration = Duration::from_millis(20);
/// How often it is looked meanwhile whether the processors are still busy.
const FREE_LOOK: Duration = Duration::from_millis(4);
/// While claimed tasks wait for their turn, this share of the executors is kept for processes of a higher priority: a
/// claim more would only lengthen the wait, and who comes with precedence need not wait for others to give way.
const KEPT_SHARE: usize = 16;
/// How long after the last executor was taken it is found out when a process of a higher priority will be due: where
/// executors are taken and free again all the time, never.
const PRECEDENCE_LOOK: Duration = Duration::from_millis(20);
/// Turns are stuck if no task was taken for this long while some wait: far longer than a spawn takes.
const STUCK_AFTER: Duration = Duration::from_millis(500);
/// Shortest sleep before a process that is about to be due: the clocks' granularity.
const SLEEP_MIN: Duration = Duration::from_millis(1);

pub(crate) struct Poller {
    shared: Arc<Shared>,
    link: Link,
    jobs: JobSenders,
    wake: Receiver<()>,
    /// A connection was lost while we claimed: the database may know claims of ours that we don't.
    has_doubt: bool,
    backlog: Backlog,
    /// The last claim was made one by one, and may have left some although there was room.
    was_one_by_one: bool,
    /// When it was looked last, a process of a higher priority waited for others to give way.
    has_asked: bool,
    /// How many tasks executors had taken, and since when.
    begun: (usize, Instant),
    /// When there was room for more, and it was left.
    room_since: Option<Instant>,
    /// When it is to be looked, without news, for a process of a higher priority.
    precedence_at: Option<Instant>,
    /// Looks in a row that found something due and claimed nothing.
    vain_looks: u32,
}

/// What one look at the queue found.
enum Look {
    /// As many were claimed as were asked for: there may be more.
    Full,
    /// Nothing more to do until then, or until somebody wakes us.
    SleepFor(Duration),
}

/// What a claim has brought.
#[derive(Default)]
struct Taken {
    how_many: usize,
    /// All of it has precedence over something that was here.
    is_all_urgent: bool,
}

impl Poller {
    pub(crate) fn new(shared: Arc<Shared>, jobs: JobSenders, wake: Receiver<()>) -> Self {
        let link = Link::new(Arc::clone(&shared), CoreThread::Poller);
        let backlog = Backlog::new(shared.config.poll_interval);
        Self {
            shared,
            link,
            jobs,
            wake,
            has_doubt: false,
            backlog,
            was_one_by_one: false,
            has_asked: false,
            begun: (0, Instant::now()),
            room_since: None,
            precedence_at: None,
            vain_looks: 0,
        }
    }

    /// Claims until the node drains.
    pub(crate) fn run(mut self) {
        while !self.shared.is_draining() {
            self.link.works();
            self.look_for_stuck_turns();
            let sleep = match self.look() {
                Ok(Look::Full) => continue,
                Ok(Look::SleepFor(time)) => time,
                Err(error) => {
                    // The link has logged it.
                    self.has_doubt |= !error.leaves_connection_whole();
                    self.link.pause()
                }
            };
            if self.sleep(sleep).is_err() {
                return;
            }
        }
    }

    fn look_for_stuck_turns(&mut self) {
        let begun = self.shared.turns.begun();
        if begun != self.begun.0 || self.jobs.waiting() == 0 {
            self.begun = (begun, Instant::now());
        } else if self.begun.1.elapsed() >= STUCK_AFTER {
            self.shared.turns.add_spare();
            self.begun.1 = Instant::now();
        }
    }

    /// Waits for a wake-up or the time; while the database fails a wake-up must not cut the pause short.
    fn sleep(&self, time: Duration) -> Result<(), RecvTimeoutError> {
        let deadline = Instant::now() + time;
        self.link.rests();
        loop {
            match self.wake.recv_deadline(deadline) {
                Ok(()) if !self.link.is_open() && !self.shared.is_draining() => {}
                Ok(()) | Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(gone) => return Err(gone),
            }
        }
    }

    fn look(&mut self) -> Result<Look, StoreError> {
        if self.shared.lease.is_void() {
            return Ok(Look::SleepFor(self.shared.config.poll_interval));
        }
        if self.has_doubt {
            self.settle_doubt()?;
            self.has_doubt = false;
        }
        if self.shared.take_old_due() {
            self.backlog.reset();
        }
        let (free, kept) = (self.shared.claims.free(), self.kept());
        if free <= kept {
            return self.look_above_all_held(free);
        }
        // It was of other claims than those which may follow.
        self.precedence_at = None;
        if self.may_wait(free) {
            return Ok(Look::SleepFor(FREE_LOOK));
        }
        let had_asked = std::mem::take(&mut self.has_asked);
        let wanted = (free - kept).min(CLAIM_MAX);
        let part = self.backlog.part(Instant::now());
        let taken = self.claim_and_take(wanted, &part)?;
        self.shared.waiting.set(Vec::new());
        let is_full = taken.how_many == wanted;
        if !is_full && !part.within.is_empty() && self.backlog.whole_at(&part).is_none() {
            // What this look has passed over comes next.
            return Ok(Look::Full);
        }
        if is_full {
            // What waits now has no higher priority than what was just claimed. If that had precedence others may have
            // it as well: the room that is kept is theirs, and for more of them others are to give way. What is due
            // later may have it.
            let is_room_left = self.shared.claims.free() > self.kept();
            if is_room_left || taken.is_all_urgent && (kept > 0 || had_asked) {
                return Ok(Look::Full);
            }
            let soon = PRECEDENCE_LOOK.min(self.shared.config.poll_interval);
            self.precedence_at = Some(Instant::now() + soon);
            return Ok(Look::SleepFor(soon));
        }
        let (scope, part) = (&self.shared.config.scope, self.backlog.part(Instant::now()));
        let due_in = self.link.run(|store| match scope {
            Scope::All => store.next_due(&part),
            Scope::Process(id) => store.next_due_of(id),
        })?;
        Ok(Look::SleepFor(self.time_until(due_in, &part, taken.how_many == 0)))
    }

    /// How long to sleep after a look that was not full.
    fn time_until(&mut self, due_in: Option<Duration>, part: &QueuePart, claimed_none: bool) -> Duration {
        let longest = self.shared.config.poll_interval;
        // Due and yet not to be had: somebody holds a lock on it, another node for a moment or an operator for long.
        let is_in_vain = claimed_none && due_in.is_some_and(|time| time.is_zero());
        self.vain_looks = if is_in_vain { self.vain_looks + 1 } else { 0 };
        let shortest = SLEEP_MIN * (1 << self.vain_looks.min(12));
        let whole_in = self.backlog.whole_at(part).map(|at| at.saturating_duration_since(Instant::now()));
        let sleep = due_in.unwrap_or(longest).min(whole_in.unwrap_or(longest));
        sleep.max(shortest).min(longest)
    }

    /// Claims, and passes it on to the executors.
    fn claim_and_take(&mut self, wanted: usize, part: &QueuePart) -> Result<Taken, StoreError> {
        let began = Instant::now();
        let claimed = self.claim_and_measure(wanted, part)?;
        self.backlog.note(&claimed, part, claimed.len() == wanted, began);
        if std::mem::take(&mut self.was_one_by_one) {
            self.backlog.reset();
        }
        Ok(self.take_all(claimed))
    }

    fn claim_and_measure(&mut self, wanted: usize, part: &QueuePart) -> Result<Vec<Claimed>, StoreError> {
        let began = Instant::now();
        let claimed = self.claim(wanted, part)?;
        self.shared.vitals.measures.claim_seconds.note_time(began.elapsed());
        if !claimed.is_empty() {
            self.shared.vitals.measures.claim_batch.note(claimed.len() as f64);
            failpoint::hit(Point::AfterClaim);
        }
        self.shared.vitals.polled();
        Ok(claimed)
    }

    /// How many executors are kept for processes of a higher priority.
    fn kept(&self) -> usize {
        let is_backed_up = self.jobs.waiting() > 0 && self.shared.turns.are_busy();
        if is_backed_up { self.shared.config.executors / KEPT_SHARE } else { 0 }
    }

    /// Whether nothing is lost if executors stay free for another moment: nobody says that something is due, and the
    /// processors have short commands enough.
    fn may_wait(&mut self, free: usize) -> bool {
        let is_news = self.shared.take_news();
        let since = *self.room_since.get_or_insert_with(Instant::now);
        let may_wait = !is_news
            && self.shared.waiting.is_empty()
            && free * FREE_SHARE < self.shared.config.executors
            && self.shared.turns.are_busy()
            && since.elapsed() < FREE_MAX;
        if !may_wait {
            self.room_since = None;
        }
        may_wait
    }

    fn claim(&mut self, wanted: usize, part: &QueuePart) -> Result<Vec<Claimed>, StoreError> {
        let shared = &self.shared;
        let claimed = self.link.run(|store| match &shared.config.scope {
            Scope::All => store.claim_due_in(&shared.node_id, wanted, part),
            Scope::Process(id) => Ok(store.claim_one(&shared.node_id, id)?.into_iter().collect()),
        });
        match claimed {
            Err(error) if error.is_refused_value() => self.claim_one_by_one(wanted, part.above),
            other => other,
        }
    }

    /// The database refuses a value that a claim makes, such as a count beyond its type: each process is claimed on its
    /// own, and the one that is refused alone is set aside, so that it does not stand in the others' way.
    fn claim_one_by_one(&mut self, wanted: usize, above: Option<i32>) -> Result<Vec<Claimed>, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.was_one_by_one = true;
        let ids = match &shared.config.scope {
            Scope::All => self.link.run(|store| store.due(wanted, above))?,
            Scope::Process(id) => vec![id.clone()],
        };
        let mut claimed = Vec::new();
        for id in &ids {
            match self.link.run(|store| store.claim_one(&shared.node_id, id)) {
                Ok(one) => claimed.extend(one),
                Err(error) if error.is_refused_value() => {
                    let reason = format!("failed to {error}");
                    if self.link.run(|store| store.quarantine_unclaimed(id, &reason))? {
                        error!("process set aside process_id={id:?}: {reason}");
                    }
                }
                // What is claimed already has to reach its executors; the rest is for the next look.
                Err(_) if !claimed.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(claimed)
    }

    /// Passes claims on to the executors, those above the lowest priority that is held first.
    fn take_all(&mut self, claimed: Vec<Claimed>) -> Taken {
        let floor = self.shared.claims.lowest_priority().unwrap_or(i32::MAX);
        let is_urgent = |one: &Claimed| matches!(one, Claimed::Ready(claim, _) if claim.priority > floor);
        let taken = Taken { how_many: claimed.len(), is_all_urgent: claimed.iter().all(is_urgent) };
        claimed.into_iter().for_each(|one| self.take(one, floor));
        taken
    }

    /// The channel has room for every claim the node may hold.
    fn take(&mut self, claimed: Claimed, floor: i32) {
        match claimed {
            Claimed::Ready(claim, task) => {
                self.shared.claims.insert(&claim);
                let due = Instant::now().checked_sub(claim.late);
                let channel = if claim.priority > floor { &self.jobs.urgent } else { &self.jobs.claimed };
                if channel.send(Work { claim: Arc::new(claim), task, due }).is_err() {
                    warn!("a claim came after the executors had gone; its lease will run out");
                }
            }
            Claimed::Unreadable { process_id, version, error } => {
                let reason = format!("failed to {error}");
                let node = &self.shared.node_id;
                let done = self.link.run(|store| store.quarantine(node, &process_id, version, &reason));
                match done {
                    Ok(_) => error!("process set aside process_id={process_id:?}: {reason}"),
                    Err(error) => {
                        warn!("process_id={process_id:?} stays claimed after {reason}: failed to {error}");
                    }
                }
            }
        }
    }

    /// No executor is free for what does not have precedence over all that is here: is there any that has? `free`
    /// executors are kept for that; beyond, others give way when their task has ended.
    fn look_above_all_held(&mut self, free: usize) -> Result<Look, StoreError> {
        let longest = self.shared.config.poll_interval;
        self.shared.vitals.polled();
        let Some(floor) = self.shared.claims.lowest_priority() else { return Ok(Look::SleepFor(longest)) };
        if self.shared.config.scope != Scope::All {
            return Ok(Look::SleepFor(longest));
        }
        if self.shared.take_news() || self.has_asked && free > 0 {
            self.precedence_at = None;
        }
        let wait = self.precedence_at.map(|at| at.saturating_duration_since(Instant::now()));
        let wait = match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => wait,
            None => self.claim_above(floor, free)?,
        };
        // Nobody tells when all claimed tasks have had their turn and the room is for others again.
        Ok(Look::SleepFor(if free > 0 { wait.min(PRECEDENCE_LOOK) } else { wait }))
    }

    /// Gives how long it is until, unless there is news, another look is worth it.
    fn claim_above(&mut self, floor: i32, free: usize) -> Result<Duration, StoreError> {
        self.has_asked = false;
        let part = self.backlog.part_above(floor, Instant::now());
        let taken = if free > 0 { self.claim_and_take(free, &part)? } else { Taken::default() };
        let waiting = if taken.how_many == free { self.waiting(&part)? } else { Vec::new() };
        self.has_asked = !waiting.is_empty();
        self.shared.waiting.set(waiting);
        let time = if self.has_asked {
            self.shared.hurry.tell();
            self.shared.config.poll_interval
        } else {
            let due_in = self.link.run(|store| store.next_due(&part))?;
            self.time_until(due_in, &part, taken.how_many == 0)
        };
        self.precedence_at = Some(Instant::now() + time);
        Ok(time)
    }

    /// The priorities that no executor is left for.
    fn waiting(&mut self, part: &QueuePart) -> Result<Vec<i32>, StoreError> {
        let (began, limit) = (Instant::now(), self.shared.config.executors);
        let waiting = self.link.run(|store| store.waiting_priorities(part, limit))?;
        self.backlog.note_time(part, began);
        self.shared.vitals.polled();
        Ok(waiting)
    }

    /// Gives back the claims that the database says are ours and that we never heard of.
    fn settle_doubt(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let in_database = self.link.look(|store| store.held_claims(&shared.node_id))?;
        let unknown: Vec<(Arc<str>, i64)> = in_database
            .into_iter()
            .filter(|(id, version)| shared.claims.version_of(id) != Some(*version))
            .map(|(id, version)| (id.into(), version))
            .collect();
        if !unknown.is_empty() {
            let released = self.link.run(|store| store.release(&shared.node_id, &unknown))?;
            self.backlog.reset();
            info!("gave back {released} claims whose confirmation was lost with a connection");
        }
        Ok(())
    }
}
