//! The recorder commits results in batches and hands the next tasks on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{error, info, warn};
use serde_json::{Map, Value};

use super::batch::Batch;
use super::decide::{Handover, decide, unrecordable};
use super::pace::Pace;
use crate::engine::claim::preemption::PreemptionRequests;
use crate::engine::control::requests::Requests;
use crate::engine::health::node_health::Health;
use crate::engine::holdings::Holdings;
use crate::engine::run::executor::Done;
use crate::engine::run::job_queue::JobQueue;
use crate::engine::run::permits::RunPermits;
use crate::engine::run::runner::Work;
use crate::engine::session::Session;
use crate::engine::shutdown::{Phase, Shutdown};
use crate::failpoint::{self, Point};
use crate::model::lifecycle::{ClaimMove, Outcome, ProcessStatus, Wait};
use crate::store::StoreError;
use crate::store::claims::{Claim, ClaimedTask};
use crate::store::record::{Recorded, TaskResult};

/// Most results in one transaction: past a few hundred the cost of the commit is spread thin enough.
const BATCH_RESULTS_MAX: usize = 512;
/// Most bytes of output in one transaction; one result alone may have more.
const BATCH_OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a result waits for others at the most while tasks wait for a permit: they would wait longer if each result
/// had its own transaction. With 6 ms, which cut most batches short, the server took a quarter more time.
const BATCH_LINGER_MAX: Duration = Duration::from_millis(20);

pub(crate) struct Recorder {
    pub(crate) session: Session,
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) done: Receiver<Done>,
    pub(crate) jobs: JobQueue,
    pub(crate) permits: Arc<RunPermits>,
    pub(crate) preemption: Arc<PreemptionRequests>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) health: Arc<Health>,
    pub(crate) pace: Pace,
    pub(crate) quarantines: Vec<Quarantine>,
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
            let first = if self.quarantines.is_empty() {
                self.done.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.done.recv_timeout(self.session.pause())
            };
            self.session.works();
            self.try_quarantines();
            let first = match first {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (ran, not_begun) = self.gather(first);
            if ran.works.iter().any(Work::is_of_last_task) {
                // Others are claimed while these are recorded.
                self.holdings.wakeups.notify_slot_freed();
            }
            if !ran.results.is_empty() {
                self.record(ran);
            }
            if !not_begun.is_empty() {
                self.release(&not_begun);
            }
        }
    }

    /// Takes whatever waits, up to the bounds: the busier the node, the larger the batch. While tasks wait for a permit,
    /// it gains nothing if it hands on more of them: then it waits for more results, as a transaction costs as much as
    /// ten results in it; but not while a process of a higher priority waits.
    fn gather(&self, first: Done) -> (Batch, Vec<Work>) {
        let (mut ran, mut not_begun, mut output_bytes) = (Batch::default(), Vec::new(), 0);
        let until = Instant::now() + BATCH_LINGER_MAX;
        let mut next = Some(first);
        while let Some(done) = next {
            match done {
                Done::Ran(ran_work) => {
                    let (work, report) = *ran_work;
                    output_bytes += report.report.output.as_ref().map_or(0, String::len);
                    let result = decide(&work, report, self.handover(&work), fastrand::f64());
                    ran.push(work, result);
                }
                Done::NotBegun(work) => not_begun.push(*work),
            }
            let is_full = ran.results.len() >= BATCH_RESULTS_MAX || output_bytes >= BATCH_OUTPUT_BYTES_MAX;
            next = if is_full { None } else { self.another(until) };
        }
        (ran, not_begun)
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
            || self.requests.paused.contains(&work.claim.process_type)
            || self.preemption.preempts(work.claim.priority)
            // It would wait, although nothing does at this moment: executors that ended together have taken what waited.
            || self.preemption.sends_elsewhere()
                && self.holdings.claims.occupying() > self.health.executors();
        if yields { Handover::Yield } else { Handover::Keep }
    }

    /// Tries until the database has answered for every result of the batch.
    fn record(&mut self, mut batch: Batch) {
        let mut is_in_doubt = false;
        let mut has_reconciled = false;
        while !batch.results.is_empty() {
            let node = &self.holdings.node_id;
            let answer = if is_in_doubt {
                // The connection was lost at the commit: what is in the audit trail needs no second record.
                self.session.query(|store| store.recorded(node, &batch.results))
            } else {
                failpoint::hit(Point::BeforeRecord);
                let began = Instant::now();
                let answer = self.session.write(|store| store.record(node, &batch.results));
                if answer.is_ok() {
                    self.note_pace(batch.results.len(), began);
                    let metrics = &self.health.metrics;
                    metrics.record_seconds.note_time(began.elapsed());
                    metrics.record_batch.note(batch.results.len() as f64);
                }
                failpoint::hit(Point::AfterRecord);
                answer
            };
            match answer {
                Ok(recorded) => {
                    let missing = if is_in_doubt { Missing::NotRecorded } else { Missing::Stale };
                    batch = self.settle(batch, recorded, missing);
                    has_reconciled |= is_in_doubt;
                    is_in_doubt = false;
                }
                Err(error) if error.is_recorded_already() && !has_reconciled => is_in_doubt = true,
                Err(error) if error.is_refused_value() || error.is_recorded_already() => {
                    match self.narrow(batch, &error) {
                        Some(rest) => batch = rest,
                        None => return,
                    }
                }
                // Anything else may pass: the database away, a lock, a right or a table missing for a while.
                Err(_) => {
                    is_in_doubt = true;
                    if !self.wait_or_give_up(&batch) {
                        return;
                    }
                }
            }
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
                self.record(Batch { works: vec![work], results: vec![result], is_stripped: false });
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
        let (mut is_scheduled, mut yielded) = (false, None);
        for (work, result) in batch.into_pairs() {
            match result.transition.claim {
                ClaimMove::Release(Wait::Backoff { .. }) if !result.wait.is_zero() => is_scheduled = true,
                ClaimMove::Release(_) => yielded = yielded.max(Some(work.claim.priority)),
                ClaimMove::Keep | ClaimMove::End => {}
            }
            match (recorded.remove(&*result.process_id), missing) {
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
        } else if is_slot_freed {
            self.holdings.wakeups.notify_slot_freed();
        }
        rest
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
    fn go_on(
        &mut self,
        work: Work,
        result: TaskResult,
        next: Result<Option<ClaimedTask>, StoreError>,
    ) -> bool {
        self.health.metrics.note_execution(result.execution.outcome);
        log_end(&work, &result);
        match next {
            Ok(Some(task)) if result.transition.claim == ClaimMove::Keep => {
                let claim = match result.context {
                    None => work.claim,
                    Some(new) => with_context(&work, new),
                };
                // The queue's other end is there as long as this one.
                let _ = self.jobs.next.send(Work { claim, task, due: None });
                return false;
            }
            Ok(None) if result.transition.claim == ClaimMove::Keep => {
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
            Ok(true) => error!("process quarantined process_id={id:?}: {reason}"),
            // Cancelled at the very end of its task, taken over, or done by a try whose answer was lost.
            Ok(false) => {
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

    fn release(&mut self, works: &[Work]) {
        let claims: Vec<_> =
            works.iter().map(|it| (Arc::clone(&it.claim.process_id), it.claim.version)).collect();
        loop {
            match self.session.write(|store| store.release(&self.holdings.node_id, &claims)) {
                Ok(_) => break,
                Err(error) if error.is_transient() && self.shutdown.phase() < Phase::GivingUp => {
                    std::thread::park_timeout(self.session.pause());
                }
                Err(error) => {
                    error!("{} claims were not released: failed to {error}", claims.len());
                    break;
                }
            }
        }
        for (process_id, version) in &claims {
            self.holdings.claims.remove(process_id, *version);
        }
        if let Some(priority) = works.iter().map(|work| work.claim.priority).max() {
            self.note_released(priority);
        }
    }

    /// Waits before the next try; `false` when the node has waited long enough and ends.
    fn wait_or_give_up(&self, batch: &Batch) -> bool {
        if self.shutdown.phase() < Phase::GivingUp {
            self.session.rests();
            std::thread::park_timeout(self.session.pause());
            return true;
        }
        for (work, result) in batch.works.iter().zip(&batch.results) {
            warn!(
                "result not recorded process_id={:?} task={:?} outcome={}: the database is away and the node \
                 ends; another node will find it lost",
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
    use crate::engine::control::requests::PausedTypes;
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
            paused: PausedTypes::new(true),
            signal: Signal::default(),
        });
        let (results, done) = bounded(BATCH_RESULTS_MAX * 2);
        let recorder = Recorder {
            session: Session::new(&sessions, CoreThread::Recorder),
            jobs: JobQueue::new(9),
            permits: Arc::new(RunPermits::new(1)),
            preemption: Arc::default(),
            pace: Pace::default(),
            quarantines: Vec::new(),
            holdings,
            done,
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
        recorder.gather(recorder.done.recv().unwrap()).0.results.len()
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
