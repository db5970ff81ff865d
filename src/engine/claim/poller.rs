//! The poller claims due processes, never more than there are free slots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::preemption::PreemptionRequests;
use super::scan_cursor::ScanCursor;
use crate::engine::config::{NodeConfig, Scope};
use crate::engine::health::node_health::Health;
use crate::engine::holdings::Holdings;
use crate::engine::membership::lease::Lease;
use crate::engine::run::job_queue::JobQueue;
use crate::engine::run::permits::RunPermits;
use crate::engine::run::runner::Work;
use crate::engine::session::Session;
use crate::engine::shutdown::Shutdown;
use crate::failpoint::{self, Point};
use crate::store::StoreError;
use crate::store::claims::{Claimed, QueuePart};

/// Most processes claimed by one statement: enough to fill a large node in a few, few enough that a claim stays in
/// the order of a millisecond and other nodes get their share.
const CLAIM_MAX: usize = 256;
/// While short commands keep every processor busy, this share of the executors may be free before the poller claims
/// more: a claim of four costs little more than a claim of one.
const FREE_SHARE: usize = 4;
/// But for no longer than this.
const FREE_MAX: Duration = Duration::from_millis(20);
/// How often the poller looks meanwhile whether the processors are still busy.
const FREE_LOOK: Duration = Duration::from_millis(4);
/// While claimed tasks wait for a permit, this share of the slots is reserved for processes of a higher priority: one
/// more claim would only lengthen the wait, and a process of a higher priority need not wait for others to yield.
const RESERVED_SHARE: usize = 16;
/// How long after it filled the last slot the poller asks when a process of a higher priority will be due: never, where
/// slots are filled and freed all the time.
const PREEMPTION_LOOK: Duration = Duration::from_millis(20);
/// Permits are stuck if no task was taken for this long while some wait: far longer than a spawn takes.
const STUCK_AFTER: Duration = Duration::from_millis(500);
/// Shortest sleep before a process that is about to be due: the clocks' granularity.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// What the poller shares with other threads.
pub(crate) struct PollerParts {
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) permits: Arc<RunPermits>,
    pub(crate) preemption: Arc<PreemptionRequests>,
    pub(crate) jobs: JobQueue,
    pub(crate) lease: Arc<Lease>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) health: Arc<Health>,
}

pub(crate) struct Poller {
    parts: PollerParts,
    session: Session,
    /// A connection was lost while we claimed: the database may have claims of ours that we do not know.
    is_commit_in_doubt: bool,
    cursor: ScanCursor,
    /// The last claim was made one by one, and may have left some although there was room.
    was_one_by_one: bool,
    /// At the last look a process of a higher priority waited for others to yield.
    has_preempted: bool,
    /// How many tasks executors had taken, and since when.
    begun: (usize, Instant),
    /// Since when there has been room for more that was not used.
    room_since: Option<Instant>,
    /// When to look, without a wake-up, for a process of a higher priority.
    preemption_at: Option<Instant>,
    /// Looks in a row that found something due and claimed nothing.
    vain_looks: u32,
}

/// What one look at the queue found.
enum Look {
    /// As many were claimed as were asked for: there may be more.
    Full,
    /// There is nothing to do until then, or until a wake-up.
    SleepFor(Duration),
}

/// What a claim has brought.
#[derive(Default)]
struct Taken {
    how_many: usize,
    /// All of it has a higher priority than something that was here.
    are_all_urgent: bool,
}

impl Poller {
    pub(crate) fn new(session: Session, parts: PollerParts) -> Self {
        let cursor = ScanCursor::new(parts.config.poll_interval);
        Self {
            parts,
            session,
            is_commit_in_doubt: false,
            cursor,
            was_one_by_one: false,
            has_preempted: false,
            begun: (0, Instant::now()),
            room_since: None,
            preemption_at: None,
            vain_looks: 0,
        }
    }

    /// Claims until the node drains.
    pub(crate) fn run(mut self) {
        while !self.parts.shutdown.is_draining() {
            self.session.works();
            self.look_for_stuck_permits();
            let sleep = match self.look() {
                Ok(Look::Full) => continue,
                Ok(Look::SleepFor(time)) => time,
                Err(error) => {
                    // The session has logged it.
                    self.is_commit_in_doubt |= !error.leaves_connection_whole();
                    self.session.pause()
                }
            };
            self.sleep(sleep);
        }
    }

    fn look_for_stuck_permits(&mut self) {
        let begun = self.parts.permits.begun();
        if begun != self.begun.0 || self.parts.jobs.waiting() == 0 {
            self.begun = (begun, Instant::now());
        } else if self.begun.1.elapsed() >= STUCK_AFTER {
            self.parts.permits.compensate();
            self.begun.1 = Instant::now();
        }
    }

    /// Waits for a wake-up or the time; while the database fails a wake-up must not cut the pause short.
    fn sleep(&self, time: Duration) {
        let deadline = Instant::now() + time;
        self.session.rests();
        while self.parts.holdings.wakeups.wait_until(deadline)
            && !self.session.is_open()
            && !self.parts.shutdown.is_draining()
        {}
    }

    fn look(&mut self) -> Result<Look, StoreError> {
        if self.parts.lease.is_expired() {
            return Ok(Look::SleepFor(self.parts.config.poll_interval));
        }
        if self.is_commit_in_doubt {
            self.reconcile()?;
            self.is_commit_in_doubt = false;
        }
        if self.parts.holdings.wakeups.take_full_scan_request() {
            self.cursor.reset();
        }
        let (free, reserved) = (self.parts.holdings.claims.free(), self.reserved());
        if free <= reserved {
            return self.look_above_all_held(free);
        }
        // It concerned other claims than those that may follow.
        self.preemption_at = None;
        if self.may_wait(free) {
            return Ok(Look::SleepFor(FREE_LOOK));
        }
        let had_preempted = std::mem::take(&mut self.has_preempted);
        let wanted = (free - reserved).min(CLAIM_MAX);
        let part = self.cursor.part(Instant::now());
        let taken = self.claim_and_take(wanted, &part)?;
        self.parts.preemption.set(Vec::new());
        let is_full = taken.how_many == wanted;
        if !is_full && !part.within.is_empty() && self.cursor.whole_at(&part).is_none() {
            // What this look has skipped comes next.
            return Ok(Look::Full);
        }
        if is_full {
            // What waits now has no higher priority than what was just claimed. If that was urgent others may be as
            // well: the reserved slots are theirs, and to more of them others have to yield. So may what is due later.
            let is_room_left = self.parts.holdings.claims.free() > self.reserved();
            if is_room_left || taken.are_all_urgent && (reserved > 0 || had_preempted) {
                return Ok(Look::Full);
            }
            let soon = PREEMPTION_LOOK.min(self.parts.config.poll_interval);
            self.preemption_at = Some(Instant::now() + soon);
            return Ok(Look::SleepFor(soon));
        }
        let (scope, part) = (&self.parts.config.scope, self.cursor.part(Instant::now()));
        let due_in = self.session.write(|store| match scope {
            Scope::All => store.next_due(&part),
            Scope::Process(id) => store.next_due_of(id),
        })?;
        Ok(Look::SleepFor(self.time_until(due_in, &part, taken.how_many == 0)))
    }

    /// How long to sleep after a look that was not full.
    fn time_until(&mut self, due_in: Option<Duration>, part: &QueuePart, claimed_none: bool) -> Duration {
        let longest = self.parts.config.poll_interval;
        // Due but not free: somebody holds a lock on it, another node for a moment or an operator for long.
        let is_in_vain = claimed_none && due_in.is_some_and(|time| time.is_zero());
        self.vain_looks = if is_in_vain { self.vain_looks + 1 } else { 0 };
        let shortest = SLEEP_MIN * (1 << self.vain_looks.min(12));
        let whole_in = self.cursor.whole_at(part).map(|at| at.saturating_duration_since(Instant::now()));
        let sleep = due_in.unwrap_or(longest).min(whole_in.unwrap_or(longest));
        sleep.max(shortest).min(longest)
    }

    /// Claims, and passes it on to the executors.
    fn claim_and_take(&mut self, wanted: usize, part: &QueuePart) -> Result<Taken, StoreError> {
        let began = Instant::now();
        let claimed = self.claim_and_measure(wanted, part)?;
        self.cursor.note(&claimed, part, claimed.len() == wanted, began);
        if std::mem::take(&mut self.was_one_by_one) {
            self.cursor.reset();
        }
        Ok(self.take_all(claimed))
    }

    fn claim_and_measure(&mut self, wanted: usize, part: &QueuePart) -> Result<Vec<Claimed>, StoreError> {
        let began = Instant::now();
        let claimed = self.claim(wanted, part)?;
        self.parts.health.metrics.claim_seconds.note_time(began.elapsed());
        if !claimed.is_empty() {
            self.parts.health.metrics.claim_batch.note(claimed.len() as f64);
            failpoint::hit(Point::AfterClaim);
        }
        self.parts.health.note_poll();
        Ok(claimed)
    }

    /// How many slots are reserved for processes of a higher priority.
    fn reserved(&self) -> usize {
        let is_backed_up = self.parts.jobs.waiting() > 0 && self.parts.permits.cpu_saturated();
        if is_backed_up { self.parts.config.executors / RESERVED_SHARE } else { 0 }
    }

    /// Whether nothing is lost if slots stay free for another moment: no wake-up is pending, and the processors have short
    /// commands enough.
    fn may_wait(&mut self, free: usize) -> bool {
        let is_pending = self.parts.holdings.wakeups.take_pending();
        let since = *self.room_since.get_or_insert_with(Instant::now);
        let may_wait = !is_pending
            && self.parts.preemption.is_empty()
            && free * FREE_SHARE < self.parts.config.executors
            && self.parts.permits.cpu_saturated()
            && since.elapsed() < FREE_MAX;
        if !may_wait {
            self.room_since = None;
        }
        may_wait
    }

    fn claim(&mut self, wanted: usize, part: &QueuePart) -> Result<Vec<Claimed>, StoreError> {
        let node_id = &self.parts.holdings.node_id;
        let claimed = self.session.write(|store| match &self.parts.config.scope {
            Scope::All => store.claim_due_in(node_id, wanted, part),
            Scope::Process(id) => Ok(store.claim_one(node_id, id)?.into_iter().collect()),
        });
        match claimed {
            Err(error) if error.is_refused_value() => self.claim_one_by_one(wanted, part.above),
            other => other,
        }
    }

    /// The database refuses a value that a claim makes, such as a count beyond its type: each process is claimed on its
    /// own, and one that is refused alone is quarantined, so that it does not hold up the others.
    fn claim_one_by_one(&mut self, wanted: usize, above: Option<i32>) -> Result<Vec<Claimed>, StoreError> {
        let node_id = &self.parts.holdings.node_id;
        self.was_one_by_one = true;
        let ids = match &self.parts.config.scope {
            Scope::All => self.session.write(|store| store.due(wanted, above))?,
            Scope::Process(id) => vec![id.clone()],
        };
        let mut claimed = Vec::new();
        for id in &ids {
            match self.session.write(|store| store.claim_one(node_id, id)) {
                Ok(one) => claimed.extend(one),
                Err(error) if error.is_refused_value() => {
                    let reason = format!("failed to {error}");
                    if self.session.write(|store| store.quarantine_unclaimed(id, &reason))? {
                        error!("process quarantined process_id={id:?}: {reason}");
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
        let floor = self.parts.holdings.claims.lowest_priority().unwrap_or(i32::MAX);
        let is_urgent = |one: &Claimed| matches!(one, Claimed::Ready(claim, _) if claim.priority > floor);
        let taken = Taken { how_many: claimed.len(), are_all_urgent: claimed.iter().all(is_urgent) };
        claimed.into_iter().for_each(|one| self.take(one, floor));
        taken
    }

    /// The channel has room for every claim the node may hold.
    fn take(&mut self, claimed: Claimed, floor: i32) {
        match claimed {
            Claimed::Ready(claim, task) => {
                self.parts.holdings.claims.insert(&claim);
                let due = Instant::now().checked_sub(claim.late);
                let channel =
                    if claim.priority > floor { &self.parts.jobs.urgent } else { &self.parts.jobs.claimed };
                // The queue's other end is there as long as this one.
                let _ = channel.send(Work { claim: Arc::new(claim), task, due });
            }
            Claimed::Unreadable { process_id, version, error } => {
                let reason = format!("failed to {error}");
                let node = &self.parts.holdings.node_id;
                let done = self.session.write(|store| store.quarantine(node, &process_id, version, &reason));
                match done {
                    Ok(_) => error!("process quarantined process_id={process_id:?}: {reason}"),
                    Err(error) => {
                        warn!("process_id={process_id:?} stays claimed after {reason}: failed to {error}");
                    }
                }
            }
        }
    }

    /// All slots are taken or reserved: is there a process with a higher priority than one that is here? `free` slots are
    /// reserved for such; to more of them others yield when their task has ended.
    fn look_above_all_held(&mut self, free: usize) -> Result<Look, StoreError> {
        let longest = self.parts.config.poll_interval;
        self.parts.health.note_poll();
        let Some(floor) = self.parts.holdings.claims.lowest_priority() else {
            return Ok(Look::SleepFor(longest));
        };
        if self.parts.config.scope != Scope::All {
            return Ok(Look::SleepFor(longest));
        }
        if self.parts.holdings.wakeups.take_pending() || self.has_preempted && free > 0 {
            self.preemption_at = None;
        }
        let wait = self.preemption_at.map(|at| at.saturating_duration_since(Instant::now()));
        let wait = match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => wait,
            None => self.claim_above(floor, free)?,
        };
        // Nothing tells us when all claimed tasks have begun and the reserved slots are for others again.
        Ok(Look::SleepFor(if free > 0 { wait.min(PREEMPTION_LOOK) } else { wait }))
    }

    /// Returns how long it is until, without a wake-up, another look is worth it.
    fn claim_above(&mut self, floor: i32, free: usize) -> Result<Duration, StoreError> {
        self.has_preempted = false;
        let part = self.cursor.part_above(floor, Instant::now());
        let taken = if free > 0 { self.claim_and_take(free, &part)? } else { Taken::default() };
        let waiting = if taken.how_many == free { self.waiting(&part)? } else { Vec::new() };
        self.has_preempted = !waiting.is_empty();
        self.parts.preemption.set(waiting);
        let time = if self.has_preempted {
            self.parts.jobs.flush_now.notify();
            self.parts.config.poll_interval
        } else {
            let due_in = self.session.write(|store| store.next_due(&part))?;
            self.time_until(due_in, &part, taken.how_many == 0)
        };
        self.preemption_at = Some(Instant::now() + time);
        Ok(time)
    }

    /// The priorities for which no slot is left.
    fn waiting(&mut self, part: &QueuePart) -> Result<Vec<i32>, StoreError> {
        let (began, limit) = (Instant::now(), self.parts.config.executors);
        let waiting = self.session.write(|store| store.waiting_priorities(part, limit))?;
        self.cursor.note_time(part, began);
        self.parts.health.note_poll();
        Ok(waiting)
    }

    /// Releases the claims that are ours in the database and whose confirmation never came.
    fn reconcile(&mut self) -> Result<(), StoreError> {
        let (node_id, claims) = (&self.parts.holdings.node_id, &self.parts.holdings.claims);
        let in_database = self.session.query(|store| store.held_claims(node_id))?;
        let unknown: Vec<(Arc<str>, i64)> = in_database
            .into_iter()
            .filter(|(id, version)| claims.version_of(id) != Some(*version))
            .map(|(id, version)| (id.into(), version))
            .collect();
        if !unknown.is_empty() {
            let released = self.session.write(|store| store.release(node_id, &unknown))?;
            self.cursor.reset();
            info!("released {released} claims whose confirmation was lost with a connection");
        }
        Ok(())
    }
}
