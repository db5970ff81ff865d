//! The database's half of the model: the rows that the protocol is about, and a function for each statement.
//!
//! What a statement does to a row is decided by the product's own functions where there is one ([`after_execution`]); its
//! conditions are those of the SQL file that is named.

use process_orchestrator::model::lifecycle::{ClaimMove, Outcome, ProcessStatus, Transition, Wait};

/// Where a process stands in `scheduled_tasks`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    /// It waits for the time of its retry.
    Scheduled,
    /// Any node may claim it.
    Ready,
    /// Its type is paused.
    Held,
    /// This node holds it.
    Claimed(u8),
    /// It has left the queue.
    Ended,
}

/// What the rows of one process say: in `scheduled_tasks`, `processes`, `tasks` and `task_executions`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Process {
    pub place: Place,
    pub version: u8,
    pub status: ProcessStatus,
    pub tasks: u8,
    pub task: u8,
    pub attempt: u8,
    pub is_in_progress: bool,
    pub retry_count: u8,
    pub max_retries: u8,
    pub is_cancel_requested: bool,
    /// Executions in the trail by a node's own word, and as LOST: a bit for each task and attempt.
    pub recorded: u32,
    pub lost: u32,
}

/// `nodes.state`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NodeRow {
    Absent,
    Running,
    Stopped,
    Dead,
}

/// What is claimed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Claim {
    pub version: u8,
    pub task: u8,
    pub attempt: u8,
}

/// What a statement that records an execution comes to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Recorded {
    /// The claim is no longer the node's: nothing was written.
    Stale,
    /// The trail has an entry for this execution: the statement failed.
    Already,
    /// It is written; the task that goes on under the same claim.
    Written(Option<Claim>),
}

/// A rule that was broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Property {
    /// Two commands of one process are alive at once.
    OneCommand,
    /// A task began before its predecessor's result was committed.
    Order,
    /// An execution began twice under one attempt, or has no place in the trail.
    Trail,
    /// A node wrote for a process that it did not hold.
    Fence,
    /// A process changed hands without a new version.
    Version,
    /// A process can't go on although a node lives.
    Progress,
}

/// Rules that can be left out, to see that they are needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// Whoever records does not look whether it holds the claim.
    pub no_fence: bool,
    /// A claim keeps the version of the row.
    pub no_version_at_claim: bool,
    /// A release does.
    pub no_version_at_release: bool,
    /// The trail takes an execution a second time.
    pub no_key_in_trail: bool,
}

/// The bit of an execution. Eight attempts of a task are more than any case has.
pub fn bit(task: u8, attempt: u8) -> u32 {
    assert!(task < 4 && attempt < 8, "task {task}, attempt {attempt}: the model has too little room");
    1 << (task * 8 + attempt)
}

impl Process {
    pub fn started(tasks: u8, max_retries: u8) -> Self {
        Self {
            place: Place::Ready,
            version: 10,
            status: ProcessStatus::NotStarted,
            tasks,
            task: 0,
            attempt: 0,
            is_in_progress: false,
            retry_count: 0,
            max_retries,
            is_cancel_requested: false,
            recorded: 0,
            lost: 0,
        }
    }

    pub fn claim_of(&self) -> Claim {
        Claim { version: self.version, task: self.task, attempt: self.attempt }
    }

    pub fn is_held(&self, node: u8, version: u8) -> bool {
        self.place == Place::Claimed(node) && self.version == version
    }

    pub fn is_in_trail(&self, task: u8, attempt: u8) -> bool {
        (self.recorded | self.lost) & bit(task, attempt) != 0
    }

    /// How often a node died under the present task.
    pub fn times_lost(&self) -> u32 {
        (self.lost >> (self.task * 8) & 0xff).count_ones()
    }

    /// `queue/claim.sql`: `None` when there is nothing to claim.
    pub fn claim(&mut self, node: u8, row: NodeRow, is_paused: bool, rules: &Rules) -> Option<Claim> {
        if self.place != Place::Ready || self.is_cancel_requested || row != NodeRow::Running {
            return None;
        }
        if is_paused {
            self.place = Place::Held;
            return None;
        }
        self.place = Place::Claimed(node);
        self.version += u8::from(!rules.no_version_at_claim);
        self.status = ProcessStatus::InProgress;
        self.is_in_progress = true;
        self.attempt += 1;
        Some(self.claim_of())
    }

    /// `queue/release.sql`: a claim whose task was never begun goes back; `false` when it is not the node's.
    pub fn release(&mut self, node: u8, version: u8, rules: &Rules) -> bool {
        if !self.is_held(node, version) {
            return false;
        }
        self.attempt -= 1;
        self.give_back(Place::Ready, rules);
        true
    }

    /// `queue/record.sql`, also for what a dead node has lost: `row` is that of the node that held the claim.
    pub fn record(
        &mut self,
        (node, row): (u8, NodeRow),
        claim: Claim,
        outcome: Outcome,
        transition: Transition,
        rules: &Rules,
    ) -> Result<Recorded, Property> {
        let is_ours = self.is_held(node, claim.version);
        if !is_ours && !rules.no_fence {
            return Ok(Recorded::Stale);
        }
        if self.is_in_trail(claim.task, claim.attempt) && !rules.no_key_in_trail {
            return Ok(Recorded::Already);
        }
        if !is_ours {
            return Err(Property::Fence);
        }
        let trail = if outcome == Outcome::Lost { &mut self.lost } else { &mut self.recorded };
        *trail |= bit(claim.task, claim.attempt);
        if self.is_cancel_requested && (transition.claim != ClaimMove::End || outcome == Outcome::Cancelled) {
            self.end(ProcessStatus::Cancelled);
            return Ok(Recorded::Written(None));
        }
        self.retry_count = transition.retry_count as u8;
        if transition.advance {
            self.task += 1;
            self.retry_count = 0;
            self.attempt = 0;
        }
        match transition.claim {
            ClaimMove::Keep if row == NodeRow::Running => {
                self.attempt = 1;
                return Ok(Recorded::Written(Some(self.claim_of())));
            }
            // A node that does not live keeps no claim.
            ClaimMove::Keep | ClaimMove::Release(Wait::None) => self.give_back(Place::Ready, rules),
            ClaimMove::Release(Wait::Backoff { .. }) => self.give_back(Place::Scheduled, rules),
            ClaimMove::End => self.end(transition.process),
        }
        Ok(Recorded::Written(None))
    }

    fn give_back(&mut self, to: Place, rules: &Rules) {
        self.place = to;
        self.is_in_progress = false;
        self.version += u8::from(!rules.no_version_at_release);
    }

    fn end(&mut self, status: ProcessStatus) {
        (self.place, self.status, self.is_in_progress) = (Place::Ended, status, false);
    }

    /// `cancel_process`, and what the heartbeats of nodes do for a process that nobody holds.
    pub fn cancel(&mut self) {
        self.is_cancel_requested = true;
        self.end_cancelled();
    }

    pub fn end_cancelled(&mut self) {
        if self.is_cancel_requested && !matches!(self.place, Place::Claimed(_) | Place::Ended) {
            self.end(ProcessStatus::Cancelled);
        }
    }

    /// `retry_processes`: a process that has failed or was cancelled goes on from the task that did not complete.
    pub fn retry(&mut self) {
        self.place = Place::Ready;
        self.status = ProcessStatus::NotStarted;
        self.version += 2;
        self.retry_count = 0;
        self.is_cancel_requested = false;
    }
}
