//! The nodes' half of the model, and everything between them and the database: one state.
//!
//! A tick is a second. `dead_after` is 3 s, the lease 9 s, a heartbeat comes every second.

use std::time::Duration;

use process_orchestrator::model::lease::{Expiry, LeaseView, expiry};
use process_orchestrator::model::lifecycle::Outcome;

use super::case::{Broken, Case, FAULTS};
use super::rows::{Claim, NodeRow, Place, Process, Property, Recorded, bit};

pub const NODES: usize = 3;
pub const PROCESSES: usize = 2;
/// How many works of one process a node has at the most: a stale one and the one that it claimed since.
const WORKS: usize = 2;

pub const DEAD_AFTER_S: u8 = 3;
pub const LEASE_S: u8 = 9;
/// Ages beyond this are as good as this.
pub const AGE_MAX: u8 = LEASE_S + 2;

pub fn seconds(time: u8) -> Duration {
    Duration::from_secs(time.into())
}

/// What a node is doing as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Life {
    /// It was not started yet.
    Unborn,
    Up,
    /// SIGSTOP: its guard and its commands go on.
    Frozen,
    /// With its guard and its commands: a paused container.
    Contained,
    Killed,
    /// It has stopped in order.
    Left,
}

/// How far the work on a claimed task is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    Queued,
    /// It may begin, and the node was frozen before it did.
    Checked,
    Running,
    /// The command has ended; nothing is recorded.
    Ended(Outcome),
    /// The statement that records it has run; its answer is on its way.
    Late(Outcome, Recorded),
    /// The answer was lost.
    InDoubt(Outcome),
    NotBegun,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Work {
    pub claim: Claim,
    pub stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Poller {
    Idle,
    /// A claim was made; its answer is on its way. The node was declared dead since, or not.
    Late(u8, Claim, bool),
    /// The answer was lost.
    InDoubt,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Node {
    pub life: Life,
    pub has_guard: bool,
    pub is_draining: bool,
    /// Nothing reaches the database, and nobody notices.
    pub is_cut: bool,
    /// The heartbeat's connection is refused.
    pub is_keeper_cut: bool,
    /// The heartbeat believes to have a session.
    pub has_session: bool,
    /// It may take its time to get one.
    pub reconnects: u8,
    pub connected_for: u8,
    pub answered_for: Option<u8>,
    /// Since the sending of the last heartbeat that arrived, as the node and as its guard know it.
    pub lease_age: u8,
    pub guard_age: u8,
    pub is_declared: bool,
    /// It has let go because its lock is lost.
    pub is_fenced_for_lock: bool,
    /// It has had its heartbeat since the last tick.
    pub has_beaten: bool,
    /// A heartbeat's answer on its way: whether it was accepted, and how long ago it was sent.
    pub late_beat: Option<(bool, u8)>,
    /// For how long each of the others was seen unchanged and, if so, its lock gone; and whether its row has changed since.
    pub sightings: [Option<(u8, Option<u8>)>; NODES],
    pub has_changed: [bool; NODES],
    pub looked_ago: u8,
    /// Whose commands it is to end, whom it is to declare dead, and what it is to take over from whom.
    pub to_end: u8,
    pub to_declare: u8,
    pub lost: [Option<(u8, Claim)>; PROCESSES],
    /// The claims it knows, by version, and whether it was declared dead since.
    pub claims: [Option<(u8, bool)>; PROCESSES],
    pub works: [[Option<Work>; WORKS]; PROCESSES],
    pub poller: Poller,
    /// Claims of its own that it does not know, as the last sweep found them.
    pub unknown: [Option<u8>; PROCESSES],
    /// Commands that it has left.
    pub orphans: [u8; PROCESSES],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct World {
    pub processes: [Process; PROCESSES],
    pub rows: [NodeRow; NODES],
    /// Whether a session of the node holds its lock.
    pub locks: [bool; NODES],
    /// How old each heartbeat is by the database's clock; kept where that matters.
    pub stamp_ages: [u8; NODES],
    pub is_down: bool,
    pub is_paused: bool,
    /// Executions that were begun: a bit for each task and attempt.
    pub begun: [u32; PROCESSES],
    pub nodes: [Node; NODES],
    /// How many faults of each kind may still come.
    pub left: [u8; FAULTS],
}

impl Node {
    fn unborn() -> Self {
        Self {
            life: Life::Unborn,
            has_guard: true,
            is_draining: false,
            is_cut: false,
            is_keeper_cut: false,
            has_session: true,
            reconnects: 0,
            connected_for: 0,
            answered_for: Some(0),
            lease_age: 0,
            guard_age: 0,
            is_declared: false,
            is_fenced_for_lock: false,
            has_beaten: true,
            late_beat: None,
            sightings: [None; NODES],
            has_changed: [false; NODES],
            looked_ago: 0,
            to_end: 0,
            to_declare: 0,
            lost: [None; PROCESSES],
            claims: [None; PROCESSES],
            works: [[None; WORKS]; PROCESSES],
            poller: Poller::Idle,
            unknown: [None; PROCESSES],
            orphans: [0; PROCESSES],
        }
    }

    /// The product's rule, with what the node knows.
    pub fn expiry(&self, case: &Case) -> Option<Expiry> {
        if case.broken == Broken::NoSelfFencing {
            return None;
        }
        expiry(&LeaseView {
            length: seconds(LEASE_S),
            dead_after: seconds(DEAD_AFTER_S),
            age: seconds(self.lease_age),
            is_declared_dead: self.is_declared,
            is_lock_lost: !case.has_pooler && !self.has_session && case.broken != Broken::KeeperAlone,
            is_fenced_for_lock: self.is_fenced_for_lock,
            answered_for: self.answered_for.map(seconds),
        })
    }

    pub fn works(&self) -> impl Iterator<Item = (usize, usize, Work)> {
        let slots = self.works.into_iter().enumerate();
        slots
            .flat_map(|(p, works)| works.into_iter().enumerate().filter_map(move |(w, it)| Some((p, w, it?))))
    }

    pub fn running(&self, process: usize) -> usize {
        self.works[process].iter().flatten().filter(|it| it.stage == Stage::Running).count()
    }

    pub fn has_command(&self) -> bool {
        (0..PROCESSES).any(|p| self.running(p) > 0)
    }

    /// Ends every command of its own for which `is_meant`.
    pub fn end_commands(&mut self, outcome: Outcome, is_meant: impl Fn(usize, Claim) -> bool) {
        for (p, works) in self.works.iter_mut().enumerate() {
            for work in works.iter_mut().flatten() {
                if work.stage == Stage::Running && is_meant(p, work.claim) {
                    work.stage = Stage::Ended(outcome);
                }
            }
        }
    }

    pub fn has_room(&self, process: usize) -> bool {
        self.works[process].iter().any(Option::is_none)
    }

    /// A claim that was made is known and waits for an executor.
    pub fn accept(&mut self, process: usize, claim: Claim, is_revoked: bool) {
        self.claims[process] = Some((claim.version, is_revoked));
        self.queue(process, claim);
    }

    pub fn queue(&mut self, process: usize, claim: Claim) {
        let work = Some(Work { claim, stage: Stage::Queued });
        match self.works[process].iter_mut().find(|it| it.is_none()) {
            Some(free) => *free = work,
            None => unreachable!("there was room when it was claimed"),
        }
    }

    /// The work is done, and with it the claim of its version.
    pub fn finish(&mut self, process: usize, work: usize) {
        let version = self.works[process][work].take().map(|it| it.claim.version);
        if self.claims[process].map(|it| it.0) == version {
            self.claims[process] = None;
        }
    }

    /// It has nothing left of what it has claimed.
    pub fn is_idle(&self) -> bool {
        self.works().next().is_none() && self.poller == Poller::Idle
    }
}

impl World {
    pub fn new(case: &Case) -> Self {
        let mut process = Process::started(case.tasks, case.retries);
        let mut processes = [process; PROCESSES];
        process.place = Place::Ended;
        processes.iter_mut().skip(case.processes).for_each(|it| *it = process);
        let mut world = Self {
            processes,
            rows: [NodeRow::Absent; NODES],
            locks: [false; NODES],
            stamp_ages: [0; NODES],
            is_down: false,
            is_paused: false,
            begun: [0; PROCESSES],
            nodes: [Node::unborn(); NODES],
            left: case.budget(),
        };
        (0..case.nodes).for_each(|n| world.start(n, case));
        world
    }

    /// A node registers and takes its lock.
    pub fn start(&mut self, n: usize, case: &Case) {
        self.nodes[n] = Node { life: Life::Up, connected_for: 0, ..Node::unborn() };
        self.rows[n] = NodeRow::Running;
        self.locks[n] = !case.has_pooler;
        self.stamp_ages[n] = 0;
    }

    /// Whether the node runs and the database hears it.
    pub fn is_connected(&self, n: usize) -> bool {
        self.nodes[n].life == Life::Up && !self.nodes[n].is_cut && !self.is_down
    }

    /// A command begins.
    pub fn begin(&mut self, n: usize, p: usize, w: usize) -> Result<(), Property> {
        let Some(work) = &mut self.nodes[n].works[p][w] else { unreachable!("it was there") };
        work.stage = Stage::Running;
        let Claim { task, attempt, .. } = work.claim;
        if task > 0 && self.processes[p].recorded >> ((task - 1) * 8) & 0xff == 0 {
            return Err(Property::Order);
        }
        let bit = bit(task, attempt);
        if self.begun[p] & bit != 0 {
            return Err(Property::Trail);
        }
        self.begun[p] |= bit;
        Ok(())
    }

    /// The rules that a state can break by itself.
    pub fn broken(&self) -> Option<Property> {
        for (p, process) in self.processes.iter().enumerate() {
            let alive: usize = self.nodes.iter().map(|it| it.running(p) + usize::from(it.orphans[p])).sum();
            if alive > 1 {
                return Some(Property::OneCommand);
            }
            if !self.is_trail_whole(p, process) {
                return Some(Property::Trail);
            }
        }
        None
    }

    /// What was begun is in the trail, or somebody will put it there: a node that has it, or the takeover of its claim.
    fn is_trail_whole(&self, p: usize, process: &Process) -> bool {
        let mut open = self.begun[p] & !(process.recorded | process.lost);
        if matches!(process.place, Place::Claimed(_)) && process.is_in_progress {
            open &= !bit(process.task, process.attempt);
        }
        for node in self.nodes.iter() {
            for work in node.works[p].iter().flatten() {
                open &= !bit(work.claim.task, work.claim.attempt);
            }
        }
        open == 0
    }

    pub fn is_over(&self) -> bool {
        self.processes.iter().all(|it| it.place == Place::Ended)
    }

    /// Whether there is a node that could carry on.
    pub fn is_any_node_left(&self) -> bool {
        self.nodes.iter().any(|it| matches!(it.life, Life::Up | Life::Frozen | Life::Contained))
    }

    /// Versions only count as equal or not: they are told from that of the row, which makes as many states as there are.
    pub fn normalize(&mut self) {
        const AT: u8 = 10;
        for p in 0..PROCESSES {
            let now = self.processes[p].version;
            let shift = |version: &mut u8| *version = (*version + AT).saturating_sub(now);
            for node in &mut self.nodes {
                node.claims[p].iter_mut().for_each(|it| shift(&mut it.0));
                node.works[p].iter_mut().flatten().for_each(|it| shift(&mut it.claim.version));
                node.unknown[p].iter_mut().for_each(shift);
                node.lost[p].iter_mut().for_each(|it| shift(&mut it.1.version));
                if let Poller::Late(of, claim, _) = &mut node.poller
                    && usize::from(*of) == p
                {
                    shift(&mut claim.version);
                }
                node.works[p].iter_mut().flatten().for_each(|it| {
                    if let Stage::Late(_, Recorded::Written(Some(claim))) = &mut it.stage {
                        shift(&mut claim.version);
                    }
                });
            }
            self.processes[p].version = AT;
        }
    }
}
