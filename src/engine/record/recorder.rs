//! The recorder commits results in batches and hands the next tasks on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{debug, error, info, warn};
use serde_json::{Map, Value};

use super::apart::{Apart, Aside};
use super::batch::Batch;
use super::decide::{Handover, decide, unrecordable};
use super::freed::Freed;
use super::pace::Pace;
use crate::engine::claim::held::{Claimer, Epoch};
use crate::engine::claim::preemption::PreemptionRequests;
use crate::engine::control::requests::Requests;
use crate::engine::health::node_health::Health;
use crate::engine::holdings::Holdings;
use crate::engine::locked::caution::Caution;
use crate::engine::locked::stories::{LockStories, blocked_by, who_locks};
use crate::engine::run::executor::Done;
use crate::engine::run::job_queue::JobQueue;
use crate::engine::run::output_room::RoomOwner;
use crate::engine::run::permits::RunPermits;
use crate::engine::run::runner::Work;
use crate::engine::session::Session;
use crate::engine::shutdown::{Phase, Shutdown};
use crate::failpoint::{self, Point};
use crate::model::lifecycle::{ClaimMove, Outcome, ProcessStatus, Wait};
use crate::store::StoreError;
use crate::store::claims::{Claim, Claimed, Quarantined};
use crate::store::locks::Beside;
use crate::store::record::{Next, Recorded, TaskResult};

/// Most results in one transaction: past a few hundred the cost of the commit is spread thin enough.
const BATCH_RESULTS_MAX: usize = 512;
/// Most bytes of output in one transaction; one result alone may have more.
const BATCH_OUTPUT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long a result waits for others at the most while tasks wait for a permit: they would wait longer if each result
/// had its own transaction. With 6 ms, which cut most batches short, the server took a quarter more time.
const BATCH_LINGER_MAX: Duration = Duration::from_millis(20);

/// Results tried on their own at one look at what is set apart: each may wait for 50 ms.
const HIDDEN_TRIES_MAX: usize = 4;

pub(crate) struct Recorder {
    pub(crate) session: Session,
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) done: Receiver<Done>,
    pub(crate) room: RoomOwner,
    pub(crate) freed: Freed,
    pub(crate) jobs: JobQueue,
    pub(crate) permits: Arc<RunPermits>,
    pub(crate) preemption: Arc<PreemptionRequests>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) health: Arc<Health>,
    pub(crate) pace: Pace,
    /// The node claims whatever is ready, and heeds pauses.
    pub(crate) may_claim: bool,
    /// Limits may have let processes go that the last transaction has not claimed.
    pub(crate) is_let_go_left: bool,
    pub(crate) quarantines: Vec<Quarantine>,
    /// What waits for somebody's lock.
    pub(crate) apart: Apart,
    pub(crate) caution: Caution,
    pub(crate) stories: LockStories,
}

/// A process that is to end because its rows can't be read or its result can't be written.
pub(crate) struct Quarantine {
    process_id: Arc<str>,
    version: i64,
    /// What the trail is to say of the execution that was under way.
    under_way: Option<Outcome>,
    reason: String,
    /// The database refuses even that.
    is_refused: bool,
}

impl Recorder {
    /// Records until every executor has gone and everything is recorded.
    pub(crate) fn run(mut self) {
        loop {
            self.session.rests();
            let look_at = [self.apart.look_at(), self.freed.due_at()].into_iter().flatten().min();
            let first = match look_at {
                None => self.done.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.done.recv_deadline(at),
            };
            self.session.works();
            self.look_again();
            self.freed.look(Instant::now());
            let first = match first {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let Gathered { ran, not_begun, unheard, output_bytes } = self.gather(first);
            if ran.works.iter().any(Work::is_of_last_task) {
                // Others are claimed while these are recorded.
                self.holdings.wakeups.notify_slot_freed();
            }
            if !ran.results.is_empty() {
                self.record(ran, Way::Usual);
                self.freed.note(output_bytes, Instant::now());
            }
            let claim_of = |it: Work| (Arc::clone(&it.claim.process_id), it.claim.version, it.claim.priority);
            let given_back: Vec<_> = not_begun.into_iter().map(claim_of).chain(unheard).collect();
            if !given_back.is_empty() {
                self.release(&given_back, Way::Usual);
            }
        }
    }

    /// Takes whatever waits, up to the bounds: the busier the node, the larger the batch. While tasks wait for a permit,
    /// it gains nothing if it hands on more of them: then it waits for more results, as a transaction costs as much as
    /// ten results in it; but not while a process of a higher priority waits.
    fn gather(&self, first: Done) -> Gathered {
        let mut gathered = Gathered::default();
        let until = Instant::now() + BATCH_LINGER_MAX;
        let mut next = Some(first);
        while let Some(done) = next {
            match done {
                Done::Ran(ran_work) => {
                    let (work, report) = *ran_work;
                    self.room.free(report.kept_bytes());
                    gathered.output_bytes += report.kept_bytes();
                    let result = decide(&work, report, self.handover(&work), fastrand::f64());
                    gathered.ran.push(work, result);
                }
                Done::NotBegun(work) => gathered.not_begun.push(*work),
                // The recorder may have claimed it itself, when the poller looked.
                Done::Unheard(process_id, version)
                    if self.holdings.claims.is_unheard(&process_id, version) =>
                {
                    gathered.unheard.push((process_id, version, i32::MAX));
                }
                Done::Unheard(..) => {}
            }
            let is_full = gathered.ran.results.len() >= BATCH_RESULTS_MAX
                || gathered.output_bytes >= BATCH_OUTPUT_BYTES_MAX;
            next = if is_full { None } else { self.another(until) };
        }
        gathered
    }

    /// One more result of the batch, if one is there or worth waiting for. Results that come meanwhile wake no thread.
    fn another(&self, until: Instant) -> Option<Done> {
        self.done.try_recv().ok().or_else(|| {
            let is_low = || self.permits.below_low_watermark(self.jobs.waiting());
            self.jobs.flush_now.wait_for_new(until, || is_low() || !self.preemption.is_empty());
            self.done.try_recv().ok()
        })
    }

    fn handover(&self, work: &Work) -> Handover {
        let yields = self.shutdown.is_draining()
            || self.requests.paused.stops(&work.claim)
            || self.preemption.preempts(&work.claim)
            // It would wait, although nothing does at this moment: executors that ended together have taken what waited.
            || self.preemption.sends_elsewhere()
                && self.holdings.claims.occupying() > self.health.executors();
        if yields { Handover::Yield } else { Handover::Keep }
    }

    /// Tries until the database has answered for every result of the batch, or what is left waits for somebody's lock.
    fn record(&mut self, mut batch: Batch, way: Way) {
        let mut is_in_doubt = false;
        let mut has_reconciled = false;
        let mut is_claim_refused = false;
        while !batch.results.is_empty() {
            let node = Arc::clone(&self.holdings.node_id);
            let is_beside = way == Way::BesideLocks || self.caution.is_on(Instant::now());
            let answer = if is_in_doubt {
                // The connection was lost at the commit: what is in the audit trail needs no second record.
                let recorded = self.session.query(|store| store.recorded(&node, &batch.results));
                recorded.map(|done| Beside::Done { done, locked: HashSet::new() })
            } else {
                failpoint::hit(Point::BeforeRecord);
                let began = Instant::now();
                let room = if is_beside || is_claim_refused { 0 } else { self.room_for_let_go(&batch) };
                let answer = match room {
                    0 => self.session.write(|store| match is_beside {
                        true => store.record_beside_locks(&node, &batch.results)?.unless_table(),
                        false => Beside::waited(store.record(&node, &batch.results)),
                    }),
                    _ => self.record_and_claim(&batch, room),
                };
                // Whatever it was, it may have come of the claim: the results are recorded without one.
                let is_whole = matches!(&answer, Err(error) if error.leaves_connection_whole());
                if room > 0 && (is_whole || matches!(answer, Ok(Beside::Locked(_)))) {
                    is_claim_refused = true;
                    continue;
                }
                if let Ok(Beside::Done { done, .. }) = &answer {
                    self.note_pace(done.len(), began);
                    let metrics = &self.health.metrics;
                    metrics.record_seconds.note_time(began.elapsed());
                    metrics.record_batch.note(done.len() as f64);
                }
                failpoint::hit(Point::AfterRecord);
                answer
            };
            match answer {
                Ok(Beside::Done { done, locked }) => {
                    let missing = if is_in_doubt { Missing::NotRecorded } else { Missing::Stale };
                    batch = self.set_apart(batch, |id| locked.contains(id));
                    batch = self.settle(batch, done, missing);
                    has_reconciled |= is_in_doubt;
                    is_in_doubt = false;
                }
                Ok(Beside::Locked(_)) if !is_beside => self.caution.met_lock(Instant::now()),
                // The lock is on no row that is there: half of them wait for nothing.
                Ok(Beside::Locked(_)) if batch.results.len() > 1 => {
                    let half = batch.split_off_half();
                    self.record(half, Way::BesideLocks);
                }
                Ok(Beside::Locked(_) | Beside::TableLocked(_)) => {
                    let (works, results) = (batch.works.drain(..), batch.results.drain(..));
                    for (work, result) in works.zip(results) {
                        self.wait_for_lock(Aside { work, result, is_hidden: true });
                    }
                }
                Err(error) if error.is_recorded_already() && !has_reconciled => is_in_doubt = true,
                Err(error) if error.is_refused_value() || error.is_recorded_already() => {
                    match self.narrow(batch, &error) {
                        Some(rest) => batch = rest,
                        None => return,
                    }
                }
                // Anything else may pass: the database away, a table that is locked, a right missing for a while.
                Err(error) => {
                    is_in_doubt |= !error.is_lock_conflict();
                    self.caution.forget();
                    if !self.wait_or_give_up(&batch, &error) {
                        return;
                    }
                }
            }
        }
    }

    /// How many processes may be claimed that limits let go when the batch is recorded: none unless slots are freed by it, and
    /// executors are idle besides, so that nobody else waits for them.
    fn room_for_let_go(&self, batch: &Batch) -> usize {
        let frees = |(work, result): (&Work, &TaskResult)| {
            work.claim.limits.is_some() && result.transition.claim != ClaimMove::Keep
        };
        if !self.may_claim
            || !batch.works.iter().zip(&batch.results).any(frees)
            || self.shutdown.is_draining()
            || !self.preemption.is_empty()
        {
            return 0;
        }
        self.health.executors().saturating_sub(self.holdings.claims.occupying())
    }

    /// Records, and hands what was claimed to the executors.
    fn record_and_claim(&mut self, batch: &Batch, room: usize) -> Result<Beside<Recorded>, StoreError> {
        let claims = &self.holdings.claims;
        let (node, epoch) = (&self.holdings.node_id, claims.epoch());
        claims.note_request(Claimer::Recorder, true);
        let answer = self
            .session
            .write(|store| Beside::waited(store.record_and_claim(node, &batch.results, room)))
            .map(|beside| match beside {
                Beside::Done { done: (recorded, claimed, let_go), locked } => {
                    self.is_let_go_left = claimed.claimed.len() < let_go;
                    claimed.claimed.into_iter().for_each(|one| self.hand_on(one, epoch));
                    Beside::Done { done: recorded, locked }
                }
                Beside::Locked(error) => Beside::Locked(error),
                Beside::TableLocked(error) => Beside::TableLocked(error),
            });
        self.holdings.claims.note_request(Claimer::Recorder, true);
        answer
    }

    fn hand_on(&mut self, claimed: Claimed, epoch: Epoch) {
        match claimed {
            Claimed::Ready(claim, task) => {
                self.holdings.claims.insert(&claim, epoch);
                let due = Instant::now().checked_sub(claim.queue_delay);
                // The queue's other end is there as long as this one.
                let _ = self.jobs.claimed.send(Work { claim: Arc::new(claim), task, due });
            }
            Claimed::Unreadable { process_id, version, error } => {
                let (process_id, reason) = (process_id.into(), format!("failed to {error}"));
                let under_way = None;
                self.quarantines.push(Quarantine {
                    process_id,
                    version,
                    under_way,
                    reason,
                    is_refused: false,
                });
                self.apart.expect_look(Instant::now());
            }
        }
    }

    /// Leaves aside what belongs to processes of which somebody has locked a row, and returns the rest.
    fn set_apart(&mut self, batch: Batch, is_locked: impl Fn(&str) -> bool) -> Batch {
        if !batch.results.iter().any(|it| is_locked(&it.process_id)) {
            return batch;
        }
        let mut rest = Batch { is_stripped: batch.is_stripped, ..Batch::default() };
        for (work, result) in batch.into_pairs() {
            match is_locked(&result.process_id) {
                true => self.wait_for_lock(Aside { work, result, is_hidden: false }),
                false => rest.push(work, result),
            }
        }
        rest
    }

    /// The result's executor is free, and its claim stays. Whatever comes next of the process is queued then: it would
    /// come beside what has been claimed for that executor. Beyond what memory may be spent on, none is freed.
    fn wait_for_lock(&mut self, mut aside: Aside) {
        aside.result.transition = aside.result.transition.yielding();
        let is_free = self.apart.frees_executor(self.health.executors());
        self.holdings.claims.set_finishing(&aside.result.process_id, aside.result.version, is_free);
        self.apart.results.push(aside);
        self.apart.expect_look(Instant::now());
        self.shutdown.note_locked(self.apart.len());
        self.holdings.wakeups.notify_slot_freed();
    }

    /// Tries again what waits for somebody's lock, waiting for nobody, and processes that are to end.
    fn look_again(&mut self) {
        if !self.apart.is_due(Instant::now()) {
            return;
        }
        self.try_quarantines();
        let (hidden, seen): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.apart.results).into_iter().partition(|it| it.is_hidden);
        let (mut batches, mut batch, mut bytes) = (Vec::new(), Batch::default(), 0);
        for Aside { work, result, .. } in seen {
            bytes += result.output_bytes();
            batch.push(work, result);
            if batch.results.len() >= BATCH_RESULTS_MAX || bytes >= BATCH_OUTPUT_BYTES_MAX {
                batches.push(std::mem::take(&mut batch));
                bytes = 0;
            }
        }
        batches.push(batch);
        // Those that were tried come last the next time.
        let mut hidden = hidden.into_iter();
        let tried: Vec<Aside> = hidden.by_ref().take(HIDDEN_TRIES_MAX).collect();
        self.apart.results.extend(hidden);
        batches.extend(tried.into_iter().map(|it| Batch::of(it.work, it.result)));
        batches.into_iter().for_each(|it| self.record(it, Way::BesideLocks));
        let claims = std::mem::take(&mut self.apart.claims);
        if !claims.is_empty() {
            self.release(&claims, Way::BesideLocks);
        }
        if self.shutdown.phase() >= Phase::GivingUp {
            // They do not go on.
            self.stories.forget(&self.apart.ids());
            self.leave_locked();
        }
        self.shutdown.note_locked(self.apart.len());
        let meanwhile =
            "what its command has done is kept, and recorded once the lock is gone; all others go on";
        self.stories.note(&mut self.session, &self.apart.ids(), meanwhile);
        let waits = self.apart.len() + self.quarantines.len() > 0;
        self.apart.looked(Instant::now(), waits, self.shutdown.is_draining());
    }

    /// The node ends: another one finds lost what is locked now.
    fn leave_locked(&mut self) {
        let blockers = who_locks(&mut self.session, &self.apart.ids());
        for Aside { work, result, .. } in std::mem::take(&mut self.apart.results) {
            warn!(
                "result not recorded process_id={:?} task={:?} outcome={}: a row of the process is locked by {}, and the \
                 node ends; another node will find it lost",
                result.process_id,
                work.task.name,
                result.execution.outcome,
                blocked_by(&blockers, &result.process_id)
            );
            self.shutdown.give_up(1);
            self.holdings.claims.remove(&result.process_id, result.version);
        }
        for (process_id, version, _) in std::mem::take(&mut self.apart.claims) {
            warn!(
                "claim not given back process_id={process_id:?}: a row of the process is locked by {}, and the node ends; \
                 another node will find it lost",
                blocked_by(&blockers, &process_id)
            );
            self.shutdown.give_up(1);
            self.holdings.claims.remove(&process_id, version);
        }
    }

    /// A transaction that began then has recorded so many results.
    fn note_pace(&mut self, results: usize, began: Instant) {
        self.pace.note(results, began, Instant::now());
        self.permits.set_low_watermark(self.pace.low_watermark(self.holdings.claims.len()));
    }

    /// The database refuses a value of the batch: each result is tried on its own, and one that is refused
    /// alone has its task fail with the reason. Its neighbours are not touched.
    fn narrow(&mut self, mut batch: Batch, error: &StoreError) -> Option<Batch> {
        if batch.results.len() > 1 {
            warn!("recording {} results one by one: failed to {error}", batch.results.len());
            for (work, result) in batch.into_pairs() {
                self.record(Batch::of(work, result), Way::Usual);
            }
            return None;
        }
        if error.is_recorded_already() {
            // Not by us, or the audit trail would show it: it was taken over.
            batch.into_pairs().for_each(|(work, result)| self.drop_stale(&work, &result));
            self.holdings.wakeups.wake();
            return None;
        }
        if batch.is_stripped {
            self.abandon(&batch, error);
            return None;
        }
        let one = batch.results.first_mut()?;
        *one = unrecordable(one, &format!("the database refused it: {error}"));
        batch.is_stripped = true;
        Some(batch)
    }

    /// Hands on what was recorded; returns what still has to be recorded.
    fn settle(&mut self, batch: Batch, mut recorded: Recorded, missing: Missing) -> Batch {
        let (mut rest, mut is_slot_freed) = (Batch::default(), false);
        let (mut is_scheduled, mut yielded, mut limit_freed) = (false, None, None);
        // Some of what was let go is for the poller to claim, or some that was given back.
        let is_left = std::mem::replace(&mut self.is_let_go_left, true);
        let mut is_by_task = false;
        for (work, result) in batch.into_pairs() {
            self.holdings.wakeups.note_limits(work.claim.limits.as_deref());
            let next = recorded.remove(&*result.process_id);
            let is_given_back = matches!(next, Some(Ok(Next::GivenBack)));
            if is_given_back || work.claim.limits.is_some() && result.transition.claim != ClaimMove::Keep {
                limit_freed = limit_freed.max(Some(work.claim.priority));
                is_by_task |= is_given_back;
            }
            match result.transition.claim {
                ClaimMove::Release(Wait::Backoff { .. }) if !result.wait.is_zero() => is_scheduled = true,
                ClaimMove::Release(_) => yielded = yielded.max(Some(work.claim.priority)),
                ClaimMove::Keep | ClaimMove::End => {}
            }
            match (next, missing) {
                (Some(next), _) => is_slot_freed |= self.go_on(work, result, next),
                (None, Missing::NotRecorded) => rest.push(work, result),
                (None, Missing::Stale) => {
                    self.drop_stale(&work, &result);
                    is_slot_freed = true;
                }
            }
        }
        if is_scheduled {
            self.holdings.wakeups.note_scheduled();
        }
        if let Some(priority) = yielded {
            self.note_released(priority);
        } else if let Some(priority) =
            limit_freed.filter(|_| is_by_task || is_left && self.holdings.wakeups.is_limit_awaited())
        {
            self.note_limit_freed(priority);
        } else if is_slot_freed {
            self.holdings.wakeups.notify_slot_freed();
        }
        rest
    }

    /// Somebody who waited for a limit, or the next task of whoever held it, may be claimed: here, if there is room.
    fn note_limit_freed(&mut self, priority: i32) {
        if self.holdings.claims.occupying() >= self.health.executors() {
            return self.note_released(priority);
        }
        self.holdings.wakeups.request_full_scan();
    }

    /// What was given back is due at once, wherever there is room; it has kept its place, behind which others may have been
    /// claimed.
    fn note_released(&mut self, priority: i32) {
        self.holdings.wakeups.request_full_scan();
        // Other nodes look by themselves before long; the session has logged what failed.
        let _ = self.session.query(|store| store.wake_nodes(priority));
    }

    fn drop_stale(&self, work: &Work, result: &TaskResult) {
        self.health.stale_results.fetch_add(1, Ordering::Relaxed);
        warn!(
            "stale result dropped process_id={:?} task={:?} version={}: the claim was revoked",
            result.process_id, work.task.name, result.version
        );
        self.holdings.claims.remove(&result.process_id, result.version);
    }

    /// Starts the next task under the claim, or frees its slot: `true` then.
    fn go_on(&mut self, work: Work, result: TaskResult, next: Result<Next, StoreError>) -> bool {
        self.health.metrics.note_execution(result.execution.outcome);
        log_end(&work, &result);
        match next {
            Ok(Next::Task(task)) if result.transition.claim == ClaimMove::Keep => {
                let claim = match result.context {
                    None => work.claim,
                    Some(new) => with_context(&work, new),
                };
                // The queue's other end is there as long as this one.
                let _ = self.jobs.next.send(Work { claim, task, due: None });
                return false;
            }
            Ok(Next::Nothing) if result.transition.claim == ClaimMove::Keep => {
                self.quarantine(&result, None, "failed to read the next task: its row is missing".to_owned());
            }
            Ok(_) => self.holdings.claims.remove(&result.process_id, result.version),
            Err(error) => self.quarantine(&result, None, format!("failed to {error}")),
        }
        true
    }

    /// The process can't go on: it ends as FAILED with the reason. Its claim stays held until the database has said so: taken
    /// for one that was never begun, it would be given back without a word of what has run.
    fn quarantine(&mut self, result: &TaskResult, under_way: Option<Outcome>, reason: String) {
        let (process_id, version) = (Arc::clone(&result.process_id), result.version);
        // It needs no executor any more.
        self.holdings.claims.note_finishing(&process_id, version);
        self.quarantines.push(Quarantine { process_id, version, under_way, reason, is_refused: false });
        self.try_quarantines();
        if !self.quarantines.is_empty() {
            self.apart.expect_look(Instant::now());
        }
    }

    /// Tries each once; the others' results do not wait for a row that somebody has locked.
    fn try_quarantines(&mut self) {
        for mut it in std::mem::take(&mut self.quarantines) {
            let is_over =
                self.shutdown.phase() >= if it.is_refused { Phase::Draining } else { Phase::GivingUp };
            if is_over {
                self.shutdown.give_up(1);
            } else if it.is_refused || !self.is_quarantined(&mut it) {
                self.quarantines.push(it);
                continue;
            }
            self.holdings.claims.remove(&it.process_id, it.version);
        }
    }

    fn is_quarantined(&mut self, it: &mut Quarantine) -> bool {
        let (node, id, reason) = (Arc::clone(&self.holdings.node_id), &it.process_id, &it.reason);
        match self.session.write(|store| store.quarantine(&node, id, it.version, reason, it.under_way)) {
            Ok(Quarantined::Ended) => error!("process quarantined process_id={id:?}: {reason}"),
            Ok(Quarantined::Locked) => {
                debug!("process_id={id:?} is locked by somebody, and ends later");
                return false;
            }
            // Cancelled at the very end of its task, taken over, or done by a try whose answer was lost.
            Ok(Quarantined::NotOurs | Quarantined::GivenBack) => {
                info!("process_id={id:?} is no longer this node's: others go on with it, or it has ended")
            }
            Err(error) => {
                it.is_refused = error.is_refused_value();
                if it.is_refused {
                    error!(
                        "process_id={id:?} stays claimed until this node stops, after {reason}: failed to {error}"
                    );
                }
                return false;
            }
        }
        true
    }

    /// Gives claims back, each with its process's priority; those of which somebody has locked a row wait.
    fn release(&mut self, claims: &[(Arc<str>, i64, i32)], way: Way) {
        let known: Vec<_> = claims.iter().map(|it| (Arc::clone(&it.0), it.1)).collect();
        let mut locked = HashSet::new();
        loop {
            let is_beside = way == Way::BesideLocks || self.caution.is_on(Instant::now());
            let node = &self.holdings.node_id;
            let answer = self.session.write(|store| match is_beside {
                true => store.release_beside_locks(node, &known)?.unless_table(),
                false => Beside::waited(store.release(node, &known)),
            });
            match answer {
                Ok(Beside::Done { locked: left, .. }) => {
                    locked = left;
                    break;
                }
                Ok(_) if !is_beside => self.caution.met_lock(Instant::now()),
                Ok(_) => {
                    locked = known.iter().map(|it| it.0.to_string()).collect();
                    break;
                }
                Err(error) if error.is_transient() && self.shutdown.phase() < Phase::GivingUp => {
                    self.caution.forget();
                    std::thread::park_timeout(self.session.pause());
                }
                Err(error) => {
                    error!("{} claims were not released: failed to {error}", claims.len());
                    break;
                }
            }
        }
        let (waiting, released): (Vec<_>, Vec<_>) =
            claims.iter().cloned().partition(|it| locked.contains(&*it.0));
        for (process_id, version, _) in &released {
            self.holdings.claims.remove(process_id, *version);
        }
        for claim in waiting {
            self.holdings.claims.note_finishing(&claim.0, claim.1);
            self.apart.claims.push(claim);
            self.apart.expect_look(Instant::now());
        }
        self.shutdown.note_locked(self.apart.len());
        if let Some(priority) = released.iter().map(|it| it.2).max() {
            self.note_released(priority);
        }
    }

    /// Waits before the next try; `false` when the node has waited long enough and ends.
    fn wait_or_give_up(&self, batch: &Batch, error: &StoreError) -> bool {
        if self.shutdown.phase() < Phase::GivingUp {
            self.session.rests();
            std::thread::park_timeout(self.session.pause());
            return true;
        }
        for (work, result) in batch.works.iter().zip(&batch.results) {
            warn!(
                "result not recorded process_id={:?} task={:?} outcome={}: failed to {error}, and the node ends; another \
                 node will find it lost",
                result.process_id, work.task.name, result.execution.outcome
            );
            self.shutdown.give_up(1);
            self.holdings.claims.remove(&result.process_id, result.version);
        }
        false
    }

    fn abandon(&mut self, batch: &Batch, error: &StoreError) {
        for result in &batch.results {
            self.quarantine(result, Some(result.execution.outcome), format!("failed to {error}"));
        }
        self.holdings.wakeups.wake();
    }
}

/// What came from the executors and the poller.
#[derive(Default)]
struct Gathered {
    ran: Batch,
    not_begun: Vec<Work>,
    /// Claims that nobody here has heard of, to be given back.
    unheard: Vec<(Arc<str>, i64, i32)>,
    /// Of what ran.
    output_bytes: usize,
}

/// How others' locks are met.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// They are waited for, though not for long, unless one was in the way just now.
    Usual,
    /// What is locked is left out.
    BesideLocks,
}

/// What it means that the database did not answer for a result.
#[derive(Clone, Copy)]
enum Missing {
    /// Its claim is no longer ours.
    Stale,
    /// It is not in the audit trail yet.
    NotRecorded,
}

/// The claim as it is after the task has passed values on; the database merges them the same way.
fn with_context(work: &Work, new: Map<String, Value>) -> Arc<Claim> {
    let mut claim = (*work.claim).clone();
    Arc::make_mut(&mut claim.context).extend(new);
    Arc::new(claim)
}

/// One line for a process that has ended, none for the tasks of one that goes well.
fn log_end(work: &Work, result: &TaskResult) {
    let id = &result.process_id;
    if result.transition.process == ProcessStatus::Cancelled {
        info!("process cancelled process_id={id:?} task={:?}", work.task.name);
    } else if let Some(why) = &result.process_error {
        warn!("process failed process_id={id:?}: {why}");
    } else if let Some(why) = &result.execution.error_message {
        info!(
            "task to be tried again process_id={id:?} task={:?} attempt={} wait_s={:.1}: {why}",
            work.task.name,
            result.attempt,
            result.wait.as_secs_f64()
        );
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, bounded};

    use super::*;
    use crate::command::Report;
    use crate::engine::NodeConfig;
    use crate::engine::control::requests::Paused;
    use crate::engine::health::thread_watchdog::CoreThread;
    use crate::engine::run::runner::RunReport;
    use crate::engine::run::runner::sample::work;
    use crate::engine::session::sample::nowhere;
    use crate::engine::signal::Signal;

    /// A recorder without a database, and where its results come from.
    fn recorder() -> (Recorder, Sender<Done>) {
        let config = NodeConfig { executors: 1, ..NodeConfig::default() };
        let holdings = Arc::new(Holdings::new("node", 1).unwrap());
        let shutdown = Arc::new(Shutdown::new(Arc::clone(&holdings)));
        let health = Arc::new(Health::new("node", &config, Arc::clone(&shutdown)));
        let sessions = nowhere(&config, &health);
        let requests = Arc::new(Requests {
            holdings: Arc::clone(&holdings),
            paused: Paused::new(true),
            signal: Signal::default(),
        });
        let (results, done) = bounded(BATCH_RESULTS_MAX * 2);
        let recorder = Recorder {
            session: Session::new(&sessions, CoreThread::Recorder),
            jobs: JobQueue::new(9),
            permits: Arc::new(RunPermits::new(1)),
            preemption: Arc::default(),
            pace: Pace::default(),
            may_claim: true,
            is_let_go_left: true,
            quarantines: Vec::new(),
            apart: Apart::default(),
            caution: Caution::default(),
            stories: LockStories::new(CoreThread::Recorder, &health),
            holdings,
            done,
            room: RoomOwner::default(),
            freed: Freed::default(),
            requests,
            shutdown,
            health,
        };
        (recorder, results)
    }

    fn ran(output_bytes: usize) -> Done {
        let output = (output_bytes > 0).then(|| "x".repeat(output_bytes));
        let report = Report { output, ..Report::succeeded() };
        Done::Ran(Box::new((work(0), RunReport { command: None, ended: Instant::now(), report })))
    }

    /// How many of the results that wait are in the first batch.
    fn batched(waiting: impl Iterator<Item = usize>) -> usize {
        let (recorder, results) = recorder();
        waiting.for_each(|output_bytes| results.try_send(ran(output_bytes)).unwrap());
        recorder.gather(recorder.done.recv().unwrap()).ran.results.len()
    }

    #[test]
    fn a_batch_is_bounded_by_results_and_by_bytes_of_output() {
        assert_eq!(batched([0; 9].into_iter()), 9);
        assert_eq!(batched((0..BATCH_RESULTS_MAX + 9).map(|_| 0)), BATCH_RESULTS_MAX);
        assert_eq!(batched([BATCH_OUTPUT_BYTES_MAX / 2; 4].into_iter()), 2);
        assert_eq!(batched([BATCH_OUTPUT_BYTES_MAX * 2, 0].into_iter()), 1);
    }

    #[test]
    fn a_process_yields_where_somebody_else_is_to_have_the_executor() {
        let (recorder, _results) = recorder();
        assert_eq!(recorder.handover(&work(0)), Handover::Keep);
        recorder.preemption.set(vec![1]);
        assert_eq!(recorder.handover(&work(0)), Handover::Yield, "to a higher priority");
        assert_eq!(recorder.handover(&work(0)), Handover::Keep, "once");
        let mut claim = (*work(0).claim).clone();
        recorder.holdings.claims.insert(&claim, recorder.holdings.claims.epoch());
        recorder.preemption.set_for_room_elsewhere(9);
        assert_eq!(recorder.handover(&work(0)), Handover::Keep, "it would not wait here");
        claim.process_id = "another".into();
        recorder.holdings.claims.insert(&claim, recorder.holdings.claims.epoch());
        assert_eq!(recorder.handover(&work(0)), Handover::Yield, "to where it does not wait");
        recorder.preemption.set_for_room_elsewhere(0);
        assert_eq!(recorder.handover(&work(0)), Handover::Keep);
        recorder.shutdown.advance_to(Phase::Draining);
        assert_eq!(recorder.handover(&work(0)), Handover::Yield, "the node stops");
    }
}
