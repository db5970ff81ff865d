//! The recorder commits results in groups and hands the next tasks on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use log::{error, info, warn};
use serde_json::Map;

use super::batch::Batch;
use super::decide::{Handover, decide, unrecordable};
use crate::engine::health::thread_watchdog::CoreThread;
use crate::engine::run::executor::Done;
use crate::engine::run::job_queue::JobSenders;
use crate::engine::run::runner::Work;
use crate::engine::session::Link;
use crate::engine::shared::Shared;
use crate::engine::shutdown::Phase;
use crate::failpoint::{self, Point};
use crate::model::lifecycle::{ClaimMove, ProcessStatus};
use crate::store::StoreError;
use crate::store::claims::ClaimedTask;
use crate::store::record::{Recorded, TaskResult};

/// Most results in one transaction: past a few hundred the cost of the commit is spread thin enough.
const BATCH_RESULTS_MAX: usize = 512;
/// Most bytes of output in one transaction; one result alone may have more.
const BATCH_OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a result waits for others at the most while tasks wait for their turn: they would wait longer if each result
/// had a transaction of its own.
const GATHER_MAX: Duration = Duration::from_millis(6);

pub(crate) struct Recorder {
    shared: Arc<Shared>,
    link: Link,
    done: Receiver<Done>,
    jobs: JobSenders,
}

impl Recorder {
    pub(crate) fn new(shared: Arc<Shared>, done: Receiver<Done>, jobs: JobSenders) -> Self {
        let link = Link::new(Arc::clone(&shared), CoreThread::Recorder);
        Self { shared, link, done, jobs }
    }

    /// Records until every executor has gone and everything is recorded.
    pub(crate) fn run(mut self) {
        loop {
            self.link.rests();
            let Ok(first) = self.done.recv() else { return };
            self.link.works();
            let (ran, not_begun) = self.gather(first);
            if !ran.results.is_empty() {
                self.record(ran);
            }
            if !not_begun.is_empty() {
                self.release(&not_begun);
            }
        }
    }

    /// Takes whatever waits, up to the bounds: the busier the node, the larger the group. While tasks wait for an
    /// executor's turn, nothing is gained by handing on more of them: then it waits for more results, as a
    /// transaction costs as much as ten results in it; but not while a process of a higher priority waits.
    fn gather(&self, first: Done) -> (Batch, Vec<Work>) {
        let (mut ran, mut not_begun, mut output_bytes) = (Batch::default(), Vec::new(), 0);
        let until = Instant::now() + GATHER_MAX;
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

    /// One more result of the group, if one is there or worth waiting for. Results that come meanwhile wake nobody.
    fn another(&self, until: Instant) -> Option<Done> {
        self.done.try_recv().ok().or_else(|| {
            let run_out = || self.shared.turns.run_out(self.jobs.waiting());
            self.shared.hurry.wait_until(until, || run_out() || !self.shared.waiting.is_empty());
            self.done.try_recv().ok()
        })
    }

    fn handover(&self, work: &Work) -> Handover {
        let gives_way = self.shared.is_draining()
            || self.shared.control.is_paused(&work.claim.process_type)
            || self.shared.waiting.takes_precedence_over(work.claim.priority);
        if gives_way { Handover::GiveWay } else { Handover::Keep }
    }

    /// Tries until the database has answered for every result of the batch.
    fn record(&mut self, mut batch: Batch) {
        let mut is_doubtful = false;
        let mut has_settled = false;
        while !batch.results.is_empty() {
            let node = &self.shared.node_id;
            let answer = if is_doubtful {
                // The connection went at the commit: what is in the audit trail needs no second record.
                self.link.look(|store| store.recorded(node, &batch.results))
            } else {
                failpoint::hit(Point::BeforeRecord);
                let began = Instant::now();
                let answer = self.link.run(|store| store.record(node, &batch.results));
                if answer.is_ok() {
                    let measures = &self.shared.vitals.measures;
                    measures.record_seconds.note_time(began.elapsed());
                    measures.record_batch.note(batch.results.len() as f64);
                }
                failpoint::hit(Point::AfterRecord);
                answer
            };
            match answer {
                Ok(recorded) => {
                    let missing = if is_doubtful { Missing::NotRecorded } else { Missing::Stale };
                    batch = self.settle(batch, recorded, missing);
                    has_settled |= is_doubtful;
                    is_doubtful = false;
                }
                Err(error) if error.is_recorded_already() && !has_settled => is_doubtful = true,
                Err(error) if error.is_refused_value() || error.is_recorded_already() => {
                    match self.narrow(batch, &error) {
                        Some(rest) => batch = rest,
                        None => return,
                    }
                }
                // Anything else may pass: the database away, a lock, a right or a table missing for a while.
                Err(_) => {
                    is_doubtful = true;
                    if !self.wait_or_give_up(&batch) {
                        return;
                    }
                }
            }
        }
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
            // Not by us, or the audit trail would have said so: it was taken over.
            batch.into_pairs().for_each(|(work, result)| self.drop_stale(&work, &result));
            self.shared.wake_poller();
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

    /// Hands on what was recorded; returns what has to be recorded still.
    fn settle(&mut self, batch: Batch, mut recorded: Recorded, missing: Missing) -> Batch {
        let (mut rest, mut is_room_made, mut is_news) = (Batch::default(), false, false);
        for (work, result) in batch.into_pairs() {
            // It may have given way to a process that waits.
            is_news |= matches!(result.transition.claim, ClaimMove::Release(_));
            match (recorded.remove(&*result.process_id), missing) {
                (Some(next), _) => is_room_made |= self.go_on(work, result, next),
                (None, Missing::NotRecorded) => rest.push(work, result),
                (None, Missing::Stale) => {
                    self.drop_stale(&work, &result);
                    is_room_made = true;
                }
            }
        }
        if is_news {
            self.shared.wake_poller();
        } else if is_room_made {
            self.shared.tell_of_room();
        }
        rest
    }

    fn drop_stale(&self, work: &Work, result: &TaskResult) {
        self.shared.vitals.stale_results.fetch_add(1, Ordering::Relaxed);
        warn!(
            "stale result dropped process_id={:?} task={:?} version={}: the claim was taken",
            result.process_id, work.task.name, result.version
        );
        self.shared.claims.remove(&result.process_id, result.version);
    }

    /// Starts the next task under the kept claim, or frees the executor: `true` then.
    fn go_on(
        &mut self,
        work: Work,
        result: TaskResult,
        next: Result<Option<ClaimedTask>, StoreError>,
    ) -> bool {
        self.shared.vitals.executions.fetch_add(1, Ordering::Relaxed);
        self.shared.vitals.measures.recorded(result.execution.outcome);
        log_end(&work, &result);
        match next {
            Ok(Some(task)) if result.transition.claim == ClaimMove::Keep => {
                let claim = match result.context {
                    None => work.claim,
                    Some(new) => with_context(&work, new),
                };
                if self.jobs.next.send(Work { claim, task, due: None }).is_err() {
                    warn!("a task came after the executors had gone; its lease will run out");
                }
                return false;
            }
            Ok(None) if result.transition.claim == ClaimMove::Keep => {
                self.set_aside(&result, "failed to read the next task: its row is missing");
            }
            Ok(_) => {}
            Err(error) => self.set_aside(&result, &format!("failed to {error}")),
        }
        self.shared.claims.remove(&result.process_id, result.version);
        true
    }

    /// The process can't go on: it ends as FAILED with the reason.
    fn set_aside(&mut self, result: &TaskResult, reason: &str) {
        let (id, node) = (&result.process_id, Arc::clone(&self.shared));
        match self.link.run(|store| store.quarantine(&node.node_id, id, result.version, reason)) {
            Ok(true) => error!("process set aside process_id={id:?}: {reason}"),
            // Cancelled at the very end of its task; or taken over while we did not hear whether our result was
            // recorded: others go on with it.
            Ok(false) => info!("process_id={id:?} is no longer this node's: cancelled or taken over"),
            Err(error) => warn!("process_id={id:?} stays claimed after {reason}: failed to {error}"),
        }
    }

    fn release(&mut self, works: &[Work]) {
        let claims: Vec<_> =
            works.iter().map(|it| (Arc::clone(&it.claim.process_id), it.claim.version)).collect();
        let shared = Arc::clone(&self.shared);
        loop {
            match self.link.run(|store| store.release(&shared.node_id, &claims)) {
                Ok(_) => break,
                Err(error) if error.is_transient() && shared.phase() < Phase::GivingUp => {
                    std::thread::park_timeout(self.link.pause());
                }
                Err(error) => {
                    error!("{} claims were not given back: failed to {error}", claims.len());
                    break;
                }
            }
        }
        for (process_id, version) in &claims {
            shared.claims.remove(process_id, *version);
        }
    }

    /// Waits before the next try; `false` when the node has waited long enough and ends.
    fn wait_or_give_up(&self, batch: &Batch) -> bool {
        if self.shared.phase() < Phase::GivingUp {
            self.link.rests();
            std::thread::park_timeout(self.link.pause());
            return true;
        }
        for (work, result) in batch.works.iter().zip(&batch.results) {
            warn!(
                "result not recorded process_id={:?} task={:?} outcome={}: the database is away and the node \
                 ends; another node will find it lost",
                result.process_id, work.task.name, result.execution.outcome
            );
            self.shared.give_up(1);
            self.shared.claims.remove(&result.process_id, result.version);
        }
        false
    }

    fn abandon(&mut self, batch: &Batch, error: &StoreError) {
        for result in &batch.results {
            self.set_aside(result, &format!("failed to {error}"));
            self.shared.claims.remove(&result.process_id, result.version);
        }
        self.shared.wake_poller();
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
fn with_context(work: &Work, new: Map<String, serde_json::Value>) -> Arc<crate::store::claims::Claim> {
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
