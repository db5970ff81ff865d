//! The poller claims due processes: as many as there are executors, and some ahead.
//!
//! What it does next is decided in `next_step`; here it is carried out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::{debug, error, info, warn};

use super::ahead::EndRate;
use super::held::{Claimer, Epoch};
use super::next_step::{Plan, Step, View};
use super::preemption::PreemptionRequests;
use super::scan_cursor::{Scan, ScanCursor};
use super::turns::TypeTurns;
use crate::engine::config::{NodeConfig, Scope};
use crate::engine::health::node_health::Health;
use crate::engine::health::thread_watchdog::CoreThread;
use crate::engine::holdings::Holdings;
use crate::engine::locked::caution::Caution;
use crate::engine::locked::stories::LockStories;
use crate::engine::membership::lease::Lease;
use crate::engine::run::executor::Done;
use crate::engine::run::job_queue::JobQueue;
use crate::engine::run::permits::RunPermits;
use crate::engine::run::runner::Work;
use crate::engine::session::Session;
use crate::engine::shutdown::Shutdown;
use crate::failpoint::{self, Point};
use crate::store::StoreError;
use crate::store::claims::{ClaimRequest, Claimed, ClaimedBatch, Quarantined};
use crate::store::locks::Beside;

/// Permits are stuck if no task was taken for this long while some wait: far longer than a spawn takes.
const STUCK_AFTER: Duration = Duration::from_millis(500);
/// How often it is seen whether somebody has locked rows of what is due: a claim passes over what is locked in the queue.
const LOCKS_EVERY: Duration = Duration::from_secs(5);
/// Due processes that are looked at then, from the front of the queue.
const LOCKS_LOOK_MAX: usize = 64;
/// A transaction that has locked a row for less is a claim, or something else that is over before long.
const LOCK_OLD: Duration = Duration::from_secs(1);

/// What the poller shares with other threads.
pub(crate) struct PollerParts {
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) preemption: Arc<PreemptionRequests>,
    pub(crate) permits: Arc<RunPermits>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) health: Arc<Health>,
    pub(crate) jobs: JobQueue,
    /// Where tasks go that are given back.
    pub(crate) done: Sender<Done>,
}

pub(crate) struct Poller {
    parts: PollerParts,
    session: Session,
    plan: Plan,
    end_rate: EndRate,
    cursor: ScanCursor,
    turns: TypeTurns,
    /// Paused types that stand at the front of the queue.
    passed_over: Vec<String>,
    /// The last claim was made one by one, and may have left some although there was room.
    was_one_by_one: bool,
    /// How many connections the session has had.
    connections: u64,
    /// The epoch in which the last claim was asked for.
    epoch: Epoch,
    /// How many tasks executors had taken, and since when.
    begun: (usize, Instant),
    caution: Caution,
    stories: LockStories,
    /// When it was last seen who locks rows of what is due.
    locks_seen: Instant,
}

impl Poller {
    pub(crate) fn new(session: Session, parts: PollerParts) -> Self {
        let (now, interval) = (Instant::now(), parts.config.poll_interval);
        Self {
            session,
            plan: Plan::new(interval, parts.config.scope != Scope::All, now),
            end_rate: EndRate::new(now),
            cursor: ScanCursor::new(interval),
            turns: TypeTurns::new(now),
            passed_over: Vec::new(),
            was_one_by_one: false,
            connections: 0,
            epoch: Epoch::default(),
            begun: (0, now),
            caution: Caution::default(),
            stories: LockStories::new(CoreThread::Poller, &parts.health),
            locks_seen: now,
            parts,
        }
    }

    /// Claims until the node drains.
    pub(crate) fn run(mut self) {
        while !self.parts.shutdown.is_draining() {
            self.session.works();
            self.notice_new_connection();
            self.compensate_stuck_permits();
            self.take_wakeups();
            let view = self.view();
            self.give_surplus_back(&view);
            let step = self.plan.next_step(&view);
            let claims = &self.parts.holdings.claims;
            let is_claim = matches!(step, Step::Claim { .. } | Step::LookAbove { .. });
            claims.note_request(Claimer::Poller, is_claim);
            let carried_out = self.carry_out(step);
            self.parts.holdings.claims.note_request(Claimer::Poller, is_claim);
            let pause = carried_out.unwrap_or_else(|_| {
                // The session has logged it.
                self.plan.failed(!self.session.is_open());
                Some(self.session.pause())
            });
            if let Some(pause) = pause {
                self.sleep(pause);
            }
        }
        self.give_back(usize::MAX);
    }

    /// Waits for a wake-up or the time; while the database fails a wake-up must not cut the pause short.
    fn sleep(&self, time: Duration) {
        let deadline = Instant::now() + time;
        self.session.rests();
        while self.parts.holdings.wakeups.wait_until(deadline) {
            if self.session.is_open() || self.parts.shutdown.is_draining() {
                return;
            }
        }
    }

    /// Also one that was made anew after an error that was told nobody else.
    fn notice_new_connection(&mut self) {
        let before = std::mem::replace(&mut self.connections, self.session.connections());
        if before != 0 && before != self.connections {
            self.plan.failed(true);
        }
    }

    fn take_wakeups(&mut self) {
        if self.parts.holdings.wakeups.take_full_scan_request() {
            self.cursor.reset();
        }
        if self.parts.holdings.wakeups.take_scheduled() {
            self.plan.scheduled(Instant::now());
        }
        if self.parts.holdings.wakeups.take_pending() {
            self.plan.woken();
        }
    }

    fn view(&mut self) -> View {
        let PollerParts { holdings, permits, preemption, lease, jobs, config, .. } = &self.parts;
        let now = Instant::now();
        self.end_rate.note(now, permits.ended());
        let ahead = self.end_rate.ahead(now);
        View {
            now,
            is_lease_expired: lease.is_expired(),
            look_at_self_every: lease.is_lock_lost().then_some(config.dead_after / 10),
            executors: config.executors,
            ahead,
            urgent_ahead: self.end_rate.urgent_ahead(now),
            held: holdings.claims.occupying(),
            lowest_priority: holdings.claims.lowest_priority_of(config.executors),
            waiting: jobs.waiting(),
            is_cpu_saturated: permits.cpu_saturated(),
            is_preempting: !preemption.is_empty(),
        }
    }

    /// Does one thing; gives how long to sleep if that was to sleep.
    fn carry_out(&mut self, step: Step) -> Result<Option<Duration>, StoreError> {
        match step {
            Step::Wait(time) => return Ok(Some(time)),
            Step::Reconcile => self.reconcile()?,
            Step::LookAtSelf => {
                self.epoch = self.parts.holdings.claims.epoch();
                let node = &self.parts.holdings.node_id;
                let is_alive = self.session.query(|store| store.is_alive(node))?;
                self.heed_death(!is_alive);
            }
            Step::Promote => self.promote()?,
            Step::HoldPaused => {
                let may_be_more = self.session.write(|store| store.hold_paused())?;
                if !may_be_more {
                    self.passed_over.clear();
                }
                self.plan.held_paused(may_be_more);
            }
            Step::HoldBlocked => {
                let may_be_more = self.session.write(|store| store.hold_blocked())?;
                self.plan.held_blocked(Instant::now(), may_be_more);
            }
            Step::ReleaseWhereRoom => self.release_where_room()?,
            Step::Claim { limit, limit_beside_room } => self.claim(limit, limit_beside_room)?,
            Step::LookAbove { floor, limit } => self.look_above(floor, limit)?,
            Step::LookElsewhere => {
                let is_room_elsewhere = self.session.query(|store| store.is_room_elsewhere())?;
                self.note_room_elsewhere(is_room_elsewhere);
            }
            Step::Announce => {
                let is_announced = self.session.query(|store| store.announce_room())?;
                self.plan.announced(Instant::now(), is_announced);
            }
            Step::Withdraw => {
                self.session.query(|store| store.withdraw_room())?;
                self.plan.withdrawn(Instant::now());
            }
        }
        Ok(None)
    }

    fn promote(&mut self) -> Result<(), StoreError> {
        let began = Instant::now();
        let within = self.cursor.promote_within(began);
        let promotion = self.session.write(|store| store.promote_due(within))?;
        self.cursor.note_promotion(within, &promotion, began);
        self.parts.health.note_poll();
        self.plan.promoted(Instant::now(), promotion.promoted, promotion.is_full, promotion.next_due);
        if let Some(priority) = promotion.highest_priority.filter(|_| promotion.promoted > self.room()) {
            self.session.query(|store| store.wake_nodes(priority))?;
        }
        Ok(())
    }

    /// A guard: whoever frees a slot lets the next one go that waits for it. What was being freed when a claim counted is not
    /// seen by either.
    fn release_where_room(&mut self) -> Result<(), StoreError> {
        let began = Instant::now();
        let released = self.session.write(|store| store.release_where_room())?;
        if released != Some(0) && released.is_some() {
            self.cursor.reset();
        }
        self.parts.holdings.wakeups.set_limit_awaited(released.is_some());
        self.plan.released(began, Instant::now(), released);
        Ok(())
    }

    fn claim(&mut self, limit: usize, limit_beside_room: usize) -> Result<(), StoreError> {
        let scan = self.scan(None, limit)?;
        let batch = self.claim_scanned(limit, limit_beside_room, &scan)?;
        let how_many = batch.claimed.len();
        let limit = if batch.is_room_elsewhere { limit_beside_room } else { limit };
        self.note_room_elsewhere(batch.is_room_elsewhere);
        if limit == 0 {
            // The other node may have it all.
            return Ok(());
        }
        let is_full = how_many == limit;
        // What waits now has no higher priority than what was just claimed.
        self.parts.preemption.set(Vec::new());
        self.parts.preemption.set_from_type(None);
        self.hand_on_all(batch.claimed);
        // What a partial scan has skipped comes next, or types that were not named.
        let is_rescan_due =
            !is_full && (scan.shared.is_some() || !scan.is_whole() && self.cursor.is_whole_scan_due(&scan));
        let (has_met_paused, blocked) = (!batch.held_types.is_empty(), batch.blocked);
        self.plan.claimed(Instant::now(), how_many, is_full || is_rescan_due, has_met_paused);
        self.note_blocked(blocked);
        self.pass_over(batch.held_types);
        if !is_full && let Scope::Process(id) = &self.parts.config.scope {
            let due = self.session.query(|store| store.next_due_of(id, self.parts.config.heeds_pauses))?;
            self.plan.due_in(Instant::now(), due);
        }
        Ok(())
    }

    /// A claim has met so many that limits have no room for.
    fn note_blocked(&mut self, how_many: usize) {
        if how_many > 0 {
            debug!(
                "limits have no room for {how_many} processes that were due: they are held until there is"
            );
            self.parts.holdings.wakeups.set_limit_awaited(true);
            self.plan.blocked(Instant::now(), how_many);
        }
    }

    fn room(&self) -> usize {
        self.parts.config.executors.saturating_sub(self.parts.holdings.claims.occupying())
    }

    fn pass_over(&mut self, held_types: Vec<String>) {
        for name in held_types {
            if !self.passed_over.contains(&name) {
                debug!("claims meet processes of the paused type {name:?}, which are held from now on");
                self.passed_over.push(name);
            }
        }
    }

    /// What waits here for an executor would begin at once elsewhere: that many yield.
    fn note_room_elsewhere(&mut self, is_room_elsewhere: bool) {
        let surplus = self.parts.holdings.claims.occupying().saturating_sub(self.parts.config.executors);
        self.parts.preemption.set_for_room_elsewhere(if is_room_elsewhere { surplus } else { 0 });
        self.plan.looked_elsewhere(Instant::now(), is_room_elsewhere);
    }

    /// What to scan for a claim of up to `limit`.
    fn scan(&mut self, above: Option<i32>, limit: usize) -> Result<Scan, StoreError> {
        if self.parts.config.scope == Scope::All {
            self.look_at_types()?;
        }
        let now = Instant::now();
        let mut scan = self.cursor.scan(above, now);
        let held = || self.parts.holdings.claims.types_up_to(i32::MAX);
        scan.shared = self.turns.shared(limit, &scan, now, held);
        Ok(scan)
    }

    /// Looks which types wait, if it is time.
    fn look_at_types(&mut self) -> Result<(), StoreError> {
        let Some(look) = self.turns.look(Instant::now()) else { return Ok(()) };
        let found = self.session.query(|store| {
            let types = store.waiting_types(look.priority, look.before.as_deref(), look.limit)?;
            let rest = match TypeTurns::look_on(&look, &types) {
                Some(on) => store.waiting_types(on.priority, None, on.limit)?,
                None => Vec::new(),
            };
            Ok((types, rest))
        })?;
        self.turns.looked(&look, found, Instant::now());
        Ok(())
    }

    /// Claims, and notes what that says of the queue.
    fn claim_scanned(
        &mut self,
        limit: usize,
        limit_beside_room: usize,
        scan: &Scan,
    ) -> Result<ClaimedBatch, StoreError> {
        let began = Instant::now();
        self.epoch = self.parts.holdings.claims.epoch();
        let batch = self.ask_for_claims(limit, limit_beside_room, scan)?;
        if batch.is_node_dead {
            self.heed_death(true);
            return Ok(batch);
        }
        let claimed = &batch.claimed;
        let limit = if batch.is_room_elsewhere { limit_beside_room } else { limit };
        if limit > 0 {
            let is_full = claimed.len() == limit;
            self.cursor.note(claimed, scan, is_full, began);
            // That nothing has precedence says nothing of what waits besides.
            if is_full || scan.above.is_none() {
                self.turns.claimed(claimed, scan.shared.as_ref(), limit, began);
            }
        }
        if std::mem::take(&mut self.was_one_by_one) {
            self.cursor.reset();
        }
        let health = &self.parts.health;
        health.metrics.claim_seconds.note_time(began.elapsed());
        if !claimed.is_empty() {
            health.metrics.claim_batch.note(claimed.len() as f64);
            failpoint::hit(Point::AfterClaim);
        }
        health.note_poll();
        Ok(batch)
    }

    /// The heartbeat may not have heard that the node was declared dead: no need to wait for it to end the commands.
    fn heed_death(&self, is_dead: bool) {
        if is_dead && self.epoch == self.parts.holdings.claims.epoch() {
            self.parts.lease.declared_dead();
        }
    }

    fn ask_for_claims(
        &mut self,
        limit: usize,
        limit_beside_room: usize,
        scan: &Scan,
    ) -> Result<ClaimedBatch, StoreError> {
        let now = Instant::now();
        if now.duration_since(self.locks_seen) >= LOCKS_EVERY {
            self.see_locks(scan, LOCK_OLD);
        }
        if self.caution.is_on(now) {
            return self.claim_beside_locks(limit, limit_beside_room, scan);
        }
        if scan.shared.is_some() {
            return match self.claim_beside_locks(limit, limit_beside_room, scan) {
                Err(error) if error.is_refused_value() => {
                    self.claim_one_by_one(limit_beside_room.max(1), scan)
                }
                other => other,
            };
        }
        let (node, passed_over) = (&self.parts.holdings.node_id, &self.passed_over);
        let heeds_pauses = self.parts.config.heeds_pauses;
        let claimed = self.session.write(|store| {
            Beside::waited(match &self.parts.config.scope {
                Scope::All => {
                    let request =
                        ClaimRequest { limit, limit_beside_room, parts: &scan.parts(), passed_over };
                    store.claim_due(node, &request)
                }
                Scope::Process(id) => store.claim_this(node, id, heeds_pauses),
            })
        });
        match claimed {
            Ok(Beside::Done { done, .. }) => Ok(done),
            Ok(_) => {
                self.caution.met_lock(Instant::now());
                self.see_locks(scan, Duration::ZERO);
                self.claim_beside_locks(limit, limit_beside_room, scan)
            }
            Err(error) if error.is_refused_value() => self.claim_one_by_one(limit_beside_room.max(1), scan),
            Err(error) => Err(error),
        }
    }

    /// Claims what nobody has locked a row of, and what types share. Paused types and another node's room are looked at on the way, as the usual
    /// claim does by itself.
    fn claim_beside_locks(
        &mut self,
        limit: usize,
        limit_beside_room: usize,
        scan: &Scan,
    ) -> Result<ClaimedBatch, StoreError> {
        let (node, passed_over) = (&self.parts.holdings.node_id, &self.passed_over);
        let (scope, heeds_pauses) = (&self.parts.config.scope, self.parts.config.heeds_pauses);
        let is_cautious = self.caution.is_on(Instant::now());
        let answer = self.session.write(|store| {
            let is_room_elsewhere = limit != limit_beside_room && store.is_room_elsewhere()?;
            let limit = if is_room_elsewhere { limit_beside_room } else { limit };
            let beside = match scope {
                Scope::All => {
                    let shared = scan.shared.as_ref();
                    store.claim_beside_locks(node, limit, &scan.parts(), shared, passed_over, is_cautious)?
                }
                Scope::Process(id) => store.claim_this_beside_locks(node, id, heeds_pauses)?,
            };
            Ok((beside.unless_table()?, is_room_elsewhere))
        });
        match answer {
            Ok((Beside::Done { done, .. }, is_room_elsewhere)) => {
                Ok(ClaimedBatch { is_room_elsewhere, ..done })
            }
            // A limit's row: from now on what it bounds is held.
            Ok((Beside::Locked(_), _)) if !is_cautious => {
                self.caution.met_lock(Instant::now());
                self.claim_beside_locks(limit, limit_beside_room, scan)
            }
            Ok((Beside::Locked(error) | Beside::TableLocked(error), _)) => Err(error),
            Err(error) => {
                self.caution.forget();
                Err(error)
            }
        }
    }

    /// Tells of what is due, or would be, and of which somebody has locked a row, for at least `time`.
    fn see_locks(&mut self, scan: &Scan, time: Duration) {
        self.locks_seen = Instant::now();
        let ids = match &self.parts.config.scope {
            Scope::All => self.session.query(|store| store.due(LOCKS_LOOK_MAX, scan.above)),
            Scope::Process(id) => Ok(vec![id.clone()]),
        };
        // The session has logged what failed.
        let Ok(ids) = ids else { return };
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let found = match ids.is_empty() {
            true => Ok(Vec::new()),
            false => self.session.query(|store| store.who_locks(&ids)),
        };
        let Ok(mut found) = found else { return };
        found.retain(|(_, by)| by.age.is_none_or(|age| age >= time));
        let mut locked: Vec<&str> = found.iter().map(|it| it.0.as_str()).collect();
        locked.dedup();
        if !locked.is_empty() || !self.stories.is_empty() {
            self.stories.note(
                &mut self.session,
                &locked,
                "it is claimed once the lock is gone; all others go on",
            );
        }
    }

    /// The database refuses a value that a claim makes, such as a count beyond its type: each process is claimed on its
    /// own, and the one that is refused alone is quarantined, so that it does not stand in the others' way.
    fn claim_one_by_one(&mut self, limit: usize, scan: &Scan) -> Result<ClaimedBatch, StoreError> {
        self.was_one_by_one = true;
        let node = &self.parts.holdings.node_id;
        let ids = match &self.parts.config.scope {
            Scope::All => self.session.write(|store| match &scan.shared {
                None => store.due(limit, scan.above),
                shared => store.claimable(limit, &scan.parts(), shared.as_ref(), &self.passed_over),
            })?,
            Scope::Process(id) => vec![id.clone()],
        };
        let mut batch = ClaimedBatch::default();
        for id in &ids {
            let heeds_pauses = self.parts.config.heeds_pauses;
            match self.session.write(|store| store.claim_this(node, id, heeds_pauses)) {
                Ok(one) => {
                    batch.claimed.extend(one.claimed);
                    batch.blocked += one.blocked;
                }
                // Somebody has locked a row of it.
                Err(error) if error.is_lock_conflict() => {}
                Err(error) if error.is_refused_value() => {
                    let reason = format!("failed to {error}");
                    match self.session.write(|store| store.quarantine_unclaimed(id, &reason)) {
                        Ok(true) => error!("process quarantined process_id={id:?}: {reason}"),
                        Ok(false) => {}
                        // Not even a key share that stops no claim may keep the others waiting.
                        Err(error) if error.is_lock_conflict() => {}
                        Err(error) => return Err(error),
                    }
                }
                // What is claimed already has to reach its executors; the rest is for the next look.
                Err(_) if !batch.claimed.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(batch)
    }

    /// Passes claims on to the executors, those above the lowest priority that is held first.
    fn hand_on_all(&mut self, claimed: Vec<Claimed>) {
        let floor = self.parts.holdings.claims.lowest_priority().unwrap_or(i32::MAX);
        claimed.into_iter().for_each(|one| self.hand_on(one, floor));
    }

    /// The channels have room for every claim the node may hold.
    fn hand_on(&mut self, claimed: Claimed, floor: i32) {
        let (claim, task) = match claimed {
            Claimed::Ready(claim, task) => (claim, task),
            Claimed::Unreadable { process_id, version, error } => {
                return self.quarantine(&process_id, version, &format!("failed to {error}"));
            }
        };
        self.parts.holdings.claims.insert(&claim, self.epoch);
        self.parts.holdings.wakeups.note_limits(claim.limits.as_deref());
        let due = Instant::now().checked_sub(claim.queue_delay);
        let jobs = &self.parts.jobs;
        let channel = if claim.priority > floor { &jobs.urgent } else { &jobs.claimed };
        if channel.send(Work { claim: Arc::new(claim), task, due }).is_err() {
            warn!("a claim came after the executors had gone; its lease will run out");
        }
    }

    fn quarantine(&mut self, process_id: &str, version: i64, reason: &str) {
        let node = &self.parts.holdings.node_id;
        match self.session.write(|store| store.quarantine(node, process_id, version, reason, None)) {
            Ok(Quarantined::Locked) => {
                warn!(
                    "process_id={process_id:?} stays claimed after {reason}: somebody has locked a row of it"
                );
            }
            Ok(Quarantined::GivenBack) => debug!("process_id={process_id:?} was moved while it was claimed"),
            Ok(_) => error!("process quarantined process_id={process_id:?}: {reason}"),
            Err(error) => warn!("process_id={process_id:?} stays claimed after {reason}: failed to {error}"),
        }
    }

    /// There is no room for what does not have precedence over all that is here: is there any that has? There are `limit`
    /// places for it; for the rest others yield when their task has ended. If there is none, one may yield to another type.
    fn look_above(&mut self, floor: i32, limit: usize) -> Result<(), StoreError> {
        self.parts.health.note_poll();
        if self.parts.holdings.claims.lower_notify_above(floor) {
            let node = &self.parts.holdings.node_id;
            let told = self.session.write(|store| Beside::waited(store.set_notify_above(node, floor)))?;
            if let Beside::Locked(_) = told {
                debug!("the node's row is locked by somebody: its next heartbeat says the same");
            }
        }
        self.turns.has_no_room(floor);
        let mut scan = self.scan(Some(floor), limit)?;
        let mut batch = ClaimedBatch::default();
        if limit > 0 {
            batch = self.claim_scanned(limit, limit, &scan)?;
        }
        let mut has_met_paused = !batch.held_types.is_empty();
        let (is_full, blocked) = (batch.claimed.len() == limit, batch.blocked);
        self.hand_on_all(batch.claimed);
        self.pass_over(batch.held_types);
        let mut waiting = Vec::new();
        if is_full {
            scan.shared = None;
            (waiting, has_met_paused) = self.waiting_above(&scan)?;
        }
        let mut from_type = None;
        if waiting.is_empty() {
            let claims = &self.parts.holdings.claims;
            let places = self.parts.config.executors + self.end_rate.ahead(Instant::now());
            let too_many = (claims.occupying() + 1).saturating_sub(places);
            from_type = self.turns.yields(too_many, |priority| claims.types_up_to(priority));
        } else {
            self.parts.jobs.flush_now.notify();
        }
        self.parts.preemption.set(waiting);
        self.parts.preemption.set_from_type(from_type);
        self.plan.looked_above(Instant::now(), has_met_paused);
        self.note_blocked(blocked);
        Ok(())
    }

    /// The priorities that no room is left for, and whether processes of paused types stand among them.
    fn waiting_above(&mut self, scan: &Scan) -> Result<(Vec<i32>, bool), StoreError> {
        let (began, limit) = (Instant::now(), self.parts.config.executors);
        let waiting = self.session.query(|store| store.waiting_priorities(&scan.parts(), limit))?;
        self.cursor.note_time(scan, began);
        Ok(waiting)
    }

    /// Releases the claims that the database says are ours and that we never heard of.
    fn reconcile(&mut self) -> Result<(), StoreError> {
        let Holdings { node_id: node, claims, .. } = &*self.parts.holdings;
        let in_database = self.session.query(|store| store.held_claims(node))?;
        let unknown: Vec<(Arc<str>, i64)> = in_database
            .into_iter()
            .filter(|(id, version)| claims.version_of(id) != Some(*version))
            .map(|(id, version)| (id.into(), version))
            .collect();
        if !unknown.is_empty() {
            info!("{} claims are given back whose confirmation was lost with a connection", unknown.len());
            for (process_id, version) in unknown {
                claims.insert_unheard(&process_id, version);
                // The recorder gives them back, and waits for those that somebody has locked.
                _ = self.parts.done.send(Done::Unheard(process_id, version));
            }
            self.cursor.reset();
        }
        self.plan.reconciled();
        Ok(())
    }

    /// Commands have turned out long: what was claimed ahead of the executors is given back before it has waited for long.
    fn give_surplus_back(&self, view: &View) {
        let surplus = view.held.saturating_sub(view.executors);
        if surplus == 0 {
            self.parts.preemption.set_for_room_elsewhere(0);
        }
        self.give_back(self.end_rate.excess(view.now, view.waiting).min(surplus));
    }

    fn give_back(&self, how_many: usize) {
        for work in self.parts.jobs.take_back(how_many) {
            // The recorder releases it; it is there for as long as we are.
            if self.parts.done.send(Done::NotBegun(Box::new(work))).is_err() {
                warn!("a task was given back after the recorder had gone; its lease will run out");
            }
        }
    }

    fn compensate_stuck_permits(&mut self) {
        let begun = self.parts.permits.begun();
        if begun != self.begun.0 || self.parts.jobs.waiting() == 0 {
            self.begun = (begun, Instant::now());
        } else if self.begun.1.elapsed() >= STUCK_AFTER {
            self.parts.permits.compensate();
            self.begun.1 = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, bounded};

    use super::*;
    use crate::engine::run::runner::sample::work;
    use crate::engine::session::sample::nowhere;
    use crate::store::claims::Claim;

    /// The poller of a node with two executors and five claims, of which all but one wait, and what it gives back.
    fn poller() -> (Poller, Receiver<Done>) {
        let config = Arc::new(NodeConfig { executors: 2, ..NodeConfig::default() });
        let holdings = Arc::new(Holdings::new("node", 2).unwrap());
        let shutdown = Arc::new(Shutdown::new(Arc::clone(&holdings)));
        let health = Arc::new(Health::new("node", &config, Arc::clone(&shutdown)));
        let (session, (done, given_back)) =
            (Session::new(&nowhere(&config, &health), CoreThread::Poller), bounded(9));
        let parts = PollerParts {
            permits: Arc::new(RunPermits::new(2)),
            lease: Arc::new(Lease::new(config.lease, config.dead_after, Arc::default())),
            preemption: Arc::default(),
            jobs: JobQueue::new(9),
            holdings,
            config,
            shutdown,
            health,
            done,
        };
        for n in 0..5 {
            let mut work = work(0);
            work.claim = Arc::new(Claim { process_id: format!("p-{n}").into(), ..(*work.claim).clone() });
            parts.holdings.claims.insert(&work.claim, Epoch::default());
            if n > 0 {
                parts.jobs.claimed.send(work).unwrap();
            }
        }
        (Poller::new(session, parts), given_back)
    }

    #[test]
    fn as_many_go_elsewhere_as_there_are_claims_beyond_executors_and_only_if_there_is_room() {
        let (mut poller, _given_back) = poller();
        let preemption = Arc::clone(&poller.parts.preemption);
        poller.note_room_elsewhere(false);
        assert!(!preemption.sends_elsewhere());
        poller.note_room_elsewhere(true);
        assert_eq!([(); 4].map(|()| preemption.sends_elsewhere()), [true, true, true, false]);
        poller.note_room_elsewhere(true);
        poller.note_room_elsewhere(false);
        assert!(!preemption.sends_elsewhere());
    }

    #[test]
    fn as_many_are_given_back_as_there_are_claims_beyond_executors() {
        let (mut poller, given_back) = poller();
        let view = poller.view();
        poller.give_surplus_back(&view);
        assert_eq!(given_back.len(), 0, "nothing is known of commands yet");
        poller.give_surplus_back(&View { now: view.now + Duration::from_secs(1), ..view });
        assert_eq!(given_back.len(), 3, "four wait, and one of them for a permit only");
    }
}
