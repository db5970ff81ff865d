//! What can happen next, and what it does.

use process_orchestrator::OnCrash;
use process_orchestrator::model::lease::{BeginView, Expiry, guard_patience, may_begin};
use process_orchestrator::model::lifecycle::{
    Ending, Outcome, ProcessStatus, TaskPosition, after_execution, after_loss,
};
use process_orchestrator::model::liveness::{Liveness, Observer, Sighting, Signs, judge, sight};

use super::case::{Broken, Case, Fault};
use super::rows::{Claim, NodeRow, Place, Property, Recorded};
use super::world::{
    AGE_MAX, DEAD_AFTER_S, LEASE_S, Life, NODES, PROCESSES, Poller, Stage, Work, World, seconds,
};

/// How long a session may take to be opened again.
const RECONNECT_S: u8 = 2;

/// What becomes of a statement's answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    Read,
    Late,
    Lost,
}

/// One step: of a node (its number), of a process, of one of the works of that process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    Tick,
    Beat(usize, Answer),
    HearBeat(usize),
    EndOrphansOf(usize, usize),
    Declare(usize, usize),
    /// The declaration is written, and its answer is lost.
    DeclareUnheard(usize, usize),
    ListAbandoned(usize),
    RecordLost(usize, usize, Answer),
    Fence(usize),
    Guard(usize),
    Claim(usize, usize, Answer),
    HearClaim(usize),
    Reconcile(usize),
    SweepOwn(usize),
    Begin(usize, usize, usize),
    Spawn(usize, usize, usize),
    End(usize, usize, usize, Outcome),
    Record(usize, usize, usize, Answer),
    HearRecord(usize, usize, usize),
    LookInTrail(usize, usize, usize),
    Release(usize, usize, usize, Answer),
    OrphanEnds(usize, usize),
    Promote(usize),
    Resume,
    Leave(usize),
    EndAtStop(usize),
    Thaw(usize),
    Heal(usize),
    DatabaseUp,
    Happens(Fault, usize),
}

impl Step {
    /// Whether it is part of how things go on by themselves.
    pub fn is_progress(self) -> bool {
        !matches!(
            self,
            Self::Happens(..)
                | Self::Beat(_, Answer::Late | Answer::Lost)
                | Self::Claim(_, _, Answer::Late | Answer::Lost)
                | Self::Record(_, _, _, Answer::Late | Answer::Lost)
                | Self::Release(_, _, _, Answer::Late | Answer::Lost)
                | Self::RecordLost(_, _, Answer::Late | Answer::Lost)
                | Self::DeclareUnheard(..)
        )
    }
}

impl World {
    /// Everything that can happen next. Time passes only when nothing is due at once.
    pub fn steps(&self, case: &Case) -> Vec<Step> {
        let mut steps = Vec::with_capacity(16);
        self.add_due(case, &mut steps);
        if steps.is_empty() {
            steps.push(Step::Tick);
        }
        (0..NODES).for_each(|n| self.add_steps_of(n, case, &mut steps));
        (0..case.processes).filter(|&p| self.processes[p].place == Place::Scheduled).for_each(|p| {
            steps.push(Step::Promote(p));
        });
        if self.is_paused {
            steps.push(Step::Resume);
        }
        if self.is_down {
            steps.push(Step::DatabaseUp);
        }
        self.add_faults(case, &mut steps);
        steps
    }

    /// What happens before time passes: a node that can beat does, one that is fenced ends its commands, a spawn that is
    /// under way comes about, a guard that must act acts.
    fn add_due(&self, case: &Case, steps: &mut Vec<Step>) {
        for (n, node) in self.nodes.iter().enumerate() {
            let can_beat = self.can_beat(n, case) && node.late_beat.is_none();
            if can_beat && !node.has_beaten {
                steps.push(Step::Beat(n, Answer::Read));
                self.add_doubtful(Fault::DelayBeat, Fault::LoseBeat, |answer| Step::Beat(n, answer), steps);
                if node.reconnects > 0 {
                    steps.push(Step::Tick);
                }
            } else if self.is_connected(n) && !node.is_keeper_cut {
                // The rest of the round, in its order.
                for m in (0..NODES).filter(|m| node.to_declare >> m & 1 != 0) {
                    let is_ended = node.to_end >> m & 1 == 0;
                    match is_ended || case.broken == Broken::DeclaredFirst {
                        true => {
                            steps.push(Step::Declare(n, m));
                            if self.left[Fault::LoseDeclaration as usize] > 0 {
                                steps.push(Step::DeclareUnheard(n, m));
                            }
                        }
                        false => steps.push(Step::EndOrphansOf(n, m)),
                    }
                }
                if case.broken == Broken::DeclaredFirst {
                    let left = node.to_end & !node.to_declare;
                    (0..NODES)
                        .filter(|m| left >> m & 1 != 0)
                        .for_each(|m| steps.push(Step::EndOrphansOf(n, m)));
                }
                for p in (0..PROCESSES).filter(|&p| node.lost[p].is_some()) {
                    steps.push(Step::RecordLost(n, p, Answer::Read));
                    self.add_doubtful(
                        Fault::LoseLost,
                        Fault::LoseLost,
                        |answer| Step::RecordLost(n, p, answer),
                        steps,
                    );
                }
            }
            if node.life == Life::Up && node.has_command() && node.expiry(case).is_some() {
                steps.push(Step::Fence(n));
            }
            if node.life == Life::Up {
                let spawns = node.works().filter(|it| it.2.stage == Stage::Checked);
                spawns.for_each(|(p, w, _)| steps.push(Step::Spawn(n, p, w)));
            }
            if self.must_guard_act(n, case) {
                steps.push(Step::Guard(n));
            }
        }
    }

    fn can_beat(&self, n: usize, case: &Case) -> bool {
        let node = &self.nodes[n];
        let is_quit = case.broken == Broken::NoBeatInDrain && node.is_draining;
        self.is_connected(n) && !node.is_keeper_cut && !is_quit
    }

    fn must_guard_act(&self, n: usize, case: &Case) -> bool {
        let node = &self.nodes[n];
        if !node.has_guard || case.broken == Broken::NoGuard {
            return false;
        }
        match node.life {
            Life::Killed => node.orphans.iter().any(|&it| it > 0),
            Life::Up | Life::Frozen => {
                seconds(node.guard_age) >= guard_patience(seconds(LEASE_S)) && node.has_command()
            }
            Life::Unborn | Life::Contained | Life::Left => false,
        }
    }

    fn add_doubtful(&self, late: Fault, lost: Fault, step: impl Fn(Answer) -> Step, steps: &mut Vec<Step>) {
        if self.left[late as usize] > 0 && late != lost {
            steps.push(step(Answer::Late));
        }
        if self.left[lost as usize] > 0 {
            steps.push(step(Answer::Lost));
        }
    }

    fn add_steps_of(&self, n: usize, case: &Case, steps: &mut Vec<Step>) {
        let node = &self.nodes[n];
        match node.life {
            Life::Frozen | Life::Contained => steps.push(Step::Thaw(n)),
            Life::Killed => (0..PROCESSES)
                .filter(|&p| node.orphans[p] > 0)
                .for_each(|p| steps.push(Step::OrphanEnds(n, p))),
            Life::Up | Life::Unborn | Life::Left => {}
        }
        if (node.is_cut || node.is_keeper_cut) && node.life != Life::Killed {
            steps.push(Step::Heal(n));
        }
        if node.life != Life::Up {
            return;
        }
        for (p, w, Work { stage, .. }) in node.works() {
            match stage {
                Stage::Queued => {
                    steps.push(Step::Begin(n, p, w));
                }
                Stage::Running => {
                    steps.push(Step::End(n, p, w, Outcome::Succeeded));
                    if self.left[Fault::Fail as usize] > 0 {
                        steps.push(Step::End(n, p, w, Outcome::Failed));
                    }
                }
                Stage::Ended(_) if self.is_connected(n) => {
                    steps.push(Step::Record(n, p, w, Answer::Read));
                    let step = |answer| Step::Record(n, p, w, answer);
                    self.add_doubtful(Fault::DelayRecord, Fault::LoseRecord, step, steps);
                }
                Stage::Late(..) if self.is_connected(n) => steps.push(Step::HearRecord(n, p, w)),
                Stage::InDoubt(_) if self.is_connected(n) => steps.push(Step::LookInTrail(n, p, w)),
                Stage::NotBegun if self.is_connected(n) => {
                    steps.push(Step::Release(n, p, w, Answer::Read));
                    let step = |answer| Step::Release(n, p, w, answer);
                    self.add_doubtful(Fault::LoseRelease, Fault::LoseRelease, step, steps);
                }
                _ => {}
            }
        }
        if node.is_draining {
            if node.has_command() {
                steps.push(Step::EndAtStop(n));
            }
            if node.is_idle() && self.is_connected(n) && !node.is_keeper_cut && node.late_beat.is_none() {
                steps.push(Step::Leave(n));
            }
        }
        if !self.is_connected(n) {
            return;
        }
        if node.late_beat.is_some() && !node.is_keeper_cut {
            steps.push(Step::HearBeat(n));
        }
        match node.poller {
            Poller::Late(..) => steps.push(Step::HearClaim(n)),
            Poller::InDoubt => steps.push(Step::Reconcile(n)),
            Poller::Idle if !node.is_draining && node.expiry(case).is_none() => {
                for p in (0..case.processes).filter(|&p| self.processes[p].place == Place::Ready) {
                    if node.has_room(p) && self.can_claim(n, p, case) {
                        steps.push(Step::Claim(n, p, Answer::Read));
                        let step = |answer| Step::Claim(n, p, answer);
                        self.add_doubtful(Fault::DelayClaim, Fault::LoseClaim, step, steps);
                    }
                }
            }
            Poller::Idle => {}
        }
        let can_sweep = node.late_beat.is_none() && node.has_beaten && !node.is_keeper_cut;
        if can_sweep && node.connected_for >= DEAD_AFTER_S {
            let has_none = node.lost.iter().all(Option::is_none) && case.broken != Broken::NoSweep;
            if has_none && self.abandoned().next().is_some() {
                steps.push(Step::ListAbandoned(n));
            }
            if self.is_any_unknown(n, case) {
                steps.push(Step::SweepOwn(n));
            }
        }
    }

    fn can_claim(&self, n: usize, p: usize, case: &Case) -> bool {
        let mut process = self.processes[p];
        process.claim(n as u8, self.rows[n], self.is_paused, &case.rules()).is_some()
            || process.place == Place::Held
    }

    /// Claims whose node is dead, has ended or is not known.
    fn abandoned(&self) -> impl Iterator<Item = (usize, u8)> {
        self.processes.iter().enumerate().filter_map(|(p, process)| match process.place {
            Place::Claimed(m) if self.rows[usize::from(m)] != NodeRow::Running => Some((p, m)),
            _ => None,
        })
    }

    /// Whether the database says that the node holds what the node does not know; not asked while it waits for the answer to
    /// a claim.
    fn is_any_unknown(&self, n: usize, case: &Case) -> bool {
        let node = &self.nodes[n];
        let is_asking = matches!(node.poller, Poller::Late(..)) && case.broken != Broken::ClaimForgotten;
        !is_asking && (0..PROCESSES).any(|p| self.unknown_claim(n, p).is_some() || node.unknown[p].is_some())
    }

    fn unknown_claim(&self, n: usize, p: usize) -> Option<u8> {
        let process = &self.processes[p];
        let is_known = self.nodes[n].claims[p].map(|it| it.0) == Some(process.version);
        (process.place == Place::Claimed(n as u8) && !is_known).then_some(process.version)
    }

    fn add_faults(&self, case: &Case, steps: &mut Vec<Step>) {
        for &(fault, _) in case.faults {
            if self.left[fault as usize] == 0 {
                continue;
            }
            for n in 0..NODES {
                if self.can_happen(fault, n, case) {
                    steps.push(Step::Happens(fault, n));
                }
            }
        }
    }

    fn can_happen(&self, fault: Fault, n: usize, case: &Case) -> bool {
        let node = &self.nodes[n];
        // What happens to a node that has nothing is of no account to anybody.
        let has_any = !node.is_idle()
            || node.is_cut
            || node.is_draining
            || node.to_declare != 0
            || node.lost != [None; PROCESSES];
        let (is_victim, is_up) = (n < case.victims && has_any, node.life == Life::Up);
        let process = (n < case.processes).then(|| &self.processes[n]);
        match fault {
            Fault::Cut => is_victim && is_up && !node.is_cut,
            Fault::CutKeeper => is_victim && is_up && !node.is_keeper_cut && !case.has_pooler,
            Fault::DropSession => is_victim && is_up && self.locks[n],
            Fault::Restart => n == 0 && !self.is_down,
            Fault::Kill | Fault::KillBoth => is_victim && matches!(node.life, Life::Up | Life::Frozen),
            Fault::Freeze | Fault::Contain => is_victim && is_up,
            Fault::FreezeAtBeat => {
                is_victim && self.can_beat(n, case) && !node.has_beaten && node.late_beat.is_none()
            }
            Fault::FreezeAtSpawn => is_victim && is_up && node.works().any(|it| it.2.stage == Stage::Queued),
            Fault::Start => node.life == Life::Unborn && !self.is_down,
            Fault::Stop => is_victim && is_up && !node.is_draining,
            Fault::ClockForward | Fault::ClockBack | Fault::Pause => n == 0 && !self.is_paused,
            Fault::Cancel => process.is_some_and(|it| it.place != Place::Ended && !it.is_cancel_requested),
            Fault::Retry => process.is_some_and(|it| {
                matches!(it.status, ProcessStatus::Failed | ProcessStatus::Cancelled)
                    && it.place == Place::Ended
            }),
            // Part of another step.
            _ => false,
        }
    }

    /// The state after a step, or the rule that the step breaks.
    pub fn after(&self, step: Step, case: &Case) -> Result<Self, Property> {
        let mut next = *self;
        next.take(step, case)?;
        for node in &mut next.nodes {
            node.is_fenced_for_lock |= node.life == Life::Up && node.expiry(case) == Some(Expiry::LockLost);
        }
        next.normalize();
        Ok(next)
    }

    fn spend(&mut self, fault: Fault) {
        self.left[fault as usize] -= 1;
    }

    fn take(&mut self, step: Step, case: &Case) -> Result<(), Property> {
        match step {
            Step::Tick => self.tick(case),
            Step::Beat(n, answer) => self.beat(n, answer, case)?,
            Step::HearBeat(n) => {
                let Some((is_accepted, age)) = self.nodes[n].late_beat.take() else { unreachable!() };
                self.hear_beat(n, is_accepted, age, case)?;
            }
            Step::EndOrphansOf(n, m) => {
                self.nodes[m].orphans = [0; PROCESSES];
                self.nodes[n].to_end &= !(1 << m);
            }
            Step::Declare(n, m) => self.declare(n, m, case),
            Step::DeclareUnheard(n, m) => {
                self.spend(Fault::LoseDeclaration);
                self.declare(n, m, case);
                self.lose_session(n);
                self.nodes[n].lost = [None; PROCESSES];
            }
            Step::ListAbandoned(n) => self.list_abandoned(n),
            Step::RecordLost(n, p, answer) => self.record_lost(n, p, answer, case)?,
            Step::Fence(n) => self.nodes[n].end_commands(Outcome::Interrupted, |_, _| true),
            Step::Guard(n) => {
                self.nodes[n].orphans = [0; PROCESSES];
                self.nodes[n].end_commands(Outcome::Interrupted, |_, _| true);
            }
            Step::Claim(n, p, answer) => self.claim(n, p, answer, case)?,
            Step::HearClaim(n) => {
                if let Poller::Late(p, claim, is_revoked) = self.nodes[n].poller {
                    let is_revoked = is_revoked && case.broken != Broken::NoRevocation;
                    self.nodes[n].accept(p.into(), claim, is_revoked);
                }
                self.nodes[n].poller = Poller::Idle;
            }
            Step::Reconcile(n) => {
                for p in 0..PROCESSES {
                    if let Some(version) = self.unknown_claim(n, p) {
                        self.processes[p].release(n as u8, version, &case.rules());
                    }
                }
                self.nodes[n].poller = Poller::Idle;
            }
            Step::SweepOwn(n) => self.sweep_own(n, case)?,
            Step::Begin(n, p, w) => {
                let stage = if self.may_begin(n, p, w, case) { Stage::Running } else { Stage::NotBegun };
                self.set_stage(n, p, w, stage);
                if stage == Stage::Running {
                    self.begin(n, p, w)?;
                }
            }
            Step::Spawn(n, p, w) => self.begin(n, p, w)?,
            Step::End(n, p, w, outcome) => {
                if outcome == Outcome::Failed {
                    self.spend(Fault::Fail);
                }
                self.set_stage(n, p, w, Stage::Ended(outcome));
            }
            Step::Record(n, p, w, answer) => self.record(n, p, w, answer, case)?,
            Step::HearRecord(n, p, w) => {
                if let Some(Work { stage: Stage::Late(outcome, recorded), .. }) = self.nodes[n].works[p][w] {
                    self.hear_record(n, p, w, outcome, recorded);
                }
            }
            Step::LookInTrail(n, p, w) => self.look_in_trail(n, p, w, case),
            Step::Release(n, p, w, answer) => {
                let Some(work) = self.nodes[n].works[p][w] else { unreachable!() };
                self.processes[p].release(n as u8, work.claim.version, &case.rules());
                match answer {
                    Answer::Read => self.nodes[n].finish(p, w),
                    // It is released again, to no effect.
                    Answer::Late | Answer::Lost => self.spend(Fault::LoseRelease),
                }
            }
            Step::OrphanEnds(n, p) => self.nodes[n].orphans[p] -= 1,
            Step::Promote(p) => self.processes[p].place = Place::Ready,
            Step::Resume => {
                self.is_paused = false;
                let held = self.processes.iter_mut().filter(|it| it.place == Place::Held);
                held.for_each(|it| it.place = Place::Ready);
            }
            Step::Leave(n) => {
                self.rows[n] = NodeRow::Stopped;
                self.locks[n] = false;
                self.nodes[n].life = Life::Left;
            }
            Step::EndAtStop(n) => self.nodes[n].end_commands(Outcome::Interrupted, |_, _| true),
            Step::Thaw(n) => self.nodes[n].life = Life::Up,
            Step::Heal(n) => {
                let has_lock = self.locks[n];
                let node = &mut self.nodes[n];
                if node.is_cut {
                    node.answered_for = Some(0);
                    // What the server has ended meanwhile is heard of now.
                    node.has_session &= has_lock || case.has_pooler;
                }
                (node.is_cut, node.is_keeper_cut) = (false, false);
            }
            Step::DatabaseUp => {
                self.is_down = false;
                for node in self.nodes.iter_mut().filter(|it| it.life != Life::Unborn) {
                    (node.answered_for, node.reconnects) = (Some(0), RECONNECT_S);
                }
            }
            Step::Happens(fault, n) => {
                self.spend(fault);
                self.happen(fault, n, case);
            }
        }
        Ok(())
    }

    fn tick(&mut self, case: &Case) {
        for n in 0..NODES {
            let is_reached = !self.nodes[n].is_cut && !self.is_down;
            let counts_stamps = case.broken == Broken::DatabaseClock;
            let node = &mut self.nodes[n];
            if !matches!(node.life, Life::Up | Life::Frozen | Life::Contained) {
                continue;
            }
            let older = |age: u8, max: u8| (age + 1).min(max);
            node.lease_age = older(node.lease_age, AGE_MAX);
            node.guard_age = older(node.guard_age, AGE_MAX);
            node.looked_ago = older(node.looked_ago, AGE_MAX);
            if let Some((_, age)) = &mut node.late_beat {
                *age = older(*age, AGE_MAX);
            }
            if node.has_session {
                node.connected_for = older(node.connected_for, DEAD_AFTER_S);
            }
            node.answered_for = node.answered_for.filter(|_| is_reached).map(|it| older(it, DEAD_AFTER_S));
            // One that could have beaten and has not is connecting.
            node.reconnects = if node.has_beaten { 0 } else { node.reconnects.saturating_sub(1) };
            node.has_beaten = false;
            if counts_stamps {
                self.stamp_ages[n] = older(self.stamp_ages[n], AGE_MAX);
            }
            if case.broken == Broken::ShortKeepalives && self.nodes[n].is_cut {
                self.locks[n] = false;
            }
        }
    }

    fn beat(&mut self, n: usize, answer: Answer, case: &Case) -> Result<(), Property> {
        let is_accepted = self.rows[n] == NodeRow::Running;
        let node = &mut self.nodes[n];
        // What a round before has not done is found again.
        (node.to_end, node.to_declare, node.lost) = (0, 0, [None; PROCESSES]);
        if !node.has_session {
            (node.has_session, node.connected_for) = (true, 0);
            self.locks[n] = !case.has_pooler;
        }
        if is_accepted {
            self.note_beat(n);
        }
        match answer {
            Answer::Read => self.hear_beat(n, is_accepted, 0, case)?,
            Answer::Late => {
                self.spend(Fault::DelayBeat);
                self.nodes[n].late_beat = Some((is_accepted, 0));
                self.nodes[n].has_beaten = true;
            }
            Answer::Lost => {
                self.spend(Fault::LoseBeat);
                self.lose_session(n);
            }
        }
        Ok(())
    }

    /// The node's row has a new heartbeat.
    fn note_beat(&mut self, n: usize) {
        self.stamp_ages[n] = 0;
        self.nodes.iter_mut().for_each(|it| it.has_changed[n] = true);
    }

    fn hear_beat(&mut self, n: usize, is_accepted: bool, age: u8, case: &Case) -> Result<(), Property> {
        self.nodes[n].has_beaten = true;
        if !is_accepted && !self.rejoin(n, case)? {
            return Ok(());
        }
        let node = &mut self.nodes[n];
        (node.lease_age, node.guard_age, node.is_declared) = (age, age, false);
        node.is_fenced_for_lock = false;
        if case.broken == Broken::GuardFromReading {
            node.guard_age = 0;
        }
        self.end_revoked(n);
        self.heed_cancels(n);
        self.look_at_peers(n, case);
        Ok(())
    }

    /// A node that finds itself declared dead lets go of everything before it goes on.
    fn rejoin(&mut self, n: usize, case: &Case) -> Result<bool, Property> {
        let node = &mut self.nodes[n];
        node.is_declared = true;
        if case.broken != Broken::NoRevocation {
            node.claims.iter_mut().flatten().for_each(|it| it.1 = true);
            if let Poller::Late(_, _, is_revoked) = &mut node.poller {
                *is_revoked = true;
            }
        }
        node.end_commands(Outcome::Interrupted, |_, _| true);
        self.list_abandoned(n);
        for p in 0..PROCESSES {
            if self.nodes[n].lost[p].is_some() {
                self.record_lost(n, p, Answer::Read, case)?;
            }
        }
        let has_left = |it: &super::rows::Process| it.place == Place::Claimed(n as u8) && it.is_in_progress;
        if self.processes.iter().any(has_left) {
            return Ok(false);
        }
        self.rows[n] = NodeRow::Running;
        self.note_beat(n);
        if self.left[Fault::LoseRejoin as usize] > 0 {
            // It takes itself for dead until its next heartbeat is accepted.
            self.spend(Fault::LoseRejoin);
            self.lose_session(n);
            return Ok(false);
        }
        Ok(true)
    }

    fn lose_session(&mut self, n: usize) {
        self.nodes[n].has_session = false;
        self.locks[n] = false;
    }

    fn end_revoked(&mut self, n: usize) {
        let processes = self.processes;
        let is_revoked = |p: usize, claim: Claim| !processes[p].is_held(n as u8, claim.version);
        self.nodes[n].end_commands(Outcome::Interrupted, is_revoked);
    }

    fn heed_cancels(&mut self, n: usize) {
        let processes = self.processes;
        let is_cancelled = |p: usize, claim: Claim| {
            processes[p].is_cancel_requested && processes[p].is_held(n as u8, claim.version)
        };
        self.nodes[n].end_commands(Outcome::Cancelled, is_cancelled);
        self.processes.iter_mut().for_each(|it| it.end_cancelled());
    }

    fn look_at_peers(&mut self, n: usize, case: &Case) {
        let gap = match case.broken {
            // As many thirds as it takes.
            Broken::PausesCount => 0,
            _ => self.nodes[n].looked_ago,
        };
        for m in (0..NODES).filter(|&m| m != n) {
            if self.rows[m] != NodeRow::Running {
                self.nodes[n].sightings[m] = None;
                continue;
            }
            let node = &self.nodes[n];
            let before = node.sightings[m].map(|(age, unlocked)| Sighting {
                heartbeat: 0,
                unchanged_for: seconds(age),
                is_locked: unlocked.is_none(),
                unlocked_for: seconds(unlocked.unwrap_or(0)),
                at: seconds(0),
            });
            let heartbeat = u8::from(node.has_changed[m]);
            let is_locked = self.locks[m] && !matches!(case.broken, Broken::NoLook | Broken::InvisibleLock);
            let mut seen = sight(before.as_ref(), heartbeat, is_locked, seconds(gap), seconds(DEAD_AFTER_S));
            if case.broken == Broken::PausesCount && before.is_some() && heartbeat == 0 {
                seen.unchanged_for += seconds(node.looked_ago);
            }
            let unchanged_for = match case.broken {
                Broken::DatabaseClock => seconds(self.stamp_ages[m]),
                _ => seen.unchanged_for,
            };
            let is_process_gone = case.is_one_host && self.nodes[m].life == Life::Killed;
            let signs = Signs {
                unchanged_for,
                lease: seconds(LEASE_S),
                dead_after: seconds(DEAD_AFTER_S),
                had_lock: !case.has_pooler,
                is_locked,
                unlocked_for: match case.broken {
                    Broken::HastyDeath => seconds(AGE_MAX),
                    _ => seen.unlocked_for,
                },
                is_process_gone,
            };
            let connected_for = match case.broken {
                Broken::NoSettling => seconds(AGE_MAX),
                _ => seconds(node.connected_for),
            };
            let observer = Observer { connected_for, dead_after: seconds(DEAD_AFTER_S) };
            let is_dead = matches!(judge(&signs, &observer), Liveness::Dead(_));
            let node = &mut self.nodes[n];
            let whole = |time: std::time::Duration, max| u8::try_from(time.as_secs()).unwrap_or(max).min(max);
            // The lock's age is compared with a tenth of `dead_after` only.
            let unlocked_for = (!is_locked).then(|| whole(seen.unlocked_for, 1));
            node.sightings[m] = Some((whole(seen.unchanged_for, AGE_MAX), unlocked_for));
            node.has_changed[m] = false;
            node.to_declare |= u8::from(is_dead) << m;
            node.to_end |= u8::from(is_dead && is_process_gone) << m;
        }
        self.nodes[n].looked_ago = 0;
    }

    fn declare(&mut self, n: usize, m: usize, case: &Case) {
        self.nodes[n].to_declare &= !(1 << m);
        // With a new row of its own, a node that was started again is another node.
        let has_beaten = self.nodes[n].has_changed[m] && case.broken != Broken::NoComparison;
        if self.rows[m] == NodeRow::Running && !has_beaten {
            self.rows[m] = NodeRow::Dead;
            self.list_abandoned(n);
        }
    }

    fn list_abandoned(&mut self, n: usize) {
        let found: Vec<_> = self.abandoned().collect();
        for (p, m) in found {
            self.nodes[n].lost[p] = Some((m, self.processes[p].claim_of()));
        }
    }

    fn record_lost(&mut self, n: usize, p: usize, answer: Answer, case: &Case) -> Result<(), Property> {
        let Some((m, claim)) = self.nodes[n].lost[p] else { unreachable!() };
        let process = &mut self.processes[p];
        let at = TaskPosition {
            has_next: claim.task + 1 < process.tasks,
            retry_count: process.retry_count.into(),
            max_retries: process.max_retries.into(),
        };
        let loss = after_loss(at, process.times_lost(), OnCrash::Rerun);
        let version = process.version;
        let row = self.rows[usize::from(m)];
        let recorded = process.record((m, row), claim, Outcome::Lost, loss.transition, &case.rules())?;
        changed_hands(process, version, recorded != Recorded::Stale && recorded != Recorded::Already)?;
        match answer {
            Answer::Read => self.nodes[n].lost[p] = None,
            // It does it again, and finds that the claim is nobody's.
            Answer::Late | Answer::Lost => self.spend(Fault::LoseLost),
        }
        Ok(())
    }

    fn claim(&mut self, n: usize, p: usize, answer: Answer, case: &Case) -> Result<(), Property> {
        let version = self.processes[p].version;
        let claimed = self.processes[p].claim(n as u8, self.rows[n], self.is_paused, &case.rules());
        let Some(claim) = claimed else { return Ok(()) };
        changed_hands(&self.processes[p], version, true)?;
        let node = &mut self.nodes[n];
        match answer {
            Answer::Read => node.accept(p, claim, false),
            Answer::Late => {
                node.poller = Poller::Late(p as u8, claim, false);
                self.spend(Fault::DelayClaim);
            }
            Answer::Lost => {
                node.poller = Poller::InDoubt;
                self.spend(Fault::LoseClaim);
            }
        }
        Ok(())
    }

    /// What two sweeps running find unknown has been lost sight of.
    fn sweep_own(&mut self, n: usize, case: &Case) -> Result<(), Property> {
        for p in 0..PROCESSES {
            let unknown = self.unknown_claim(n, p);
            if unknown.is_some() && unknown == self.nodes[n].unknown[p] {
                self.nodes[n].lost[p] = Some((n as u8, self.processes[p].claim_of()));
                self.record_lost(n, p, Answer::Read, case)?;
                self.nodes[n].unknown[p] = None;
            } else {
                self.nodes[n].unknown[p] = unknown;
            }
        }
        Ok(())
    }

    fn may_begin(&self, n: usize, p: usize, w: usize, case: &Case) -> bool {
        let node = &self.nodes[n];
        let Some(work) = node.works[p][w] else { return false };
        may_begin(BeginView {
            is_draining: node.is_draining,
            is_lease_expired: node.expiry(case).is_some(),
            is_claim_current: node.claims[p] == Some((work.claim.version, false))
                || case.broken == Broken::NoRevocation,
        })
    }

    fn set_stage(&mut self, n: usize, p: usize, w: usize, stage: Stage) {
        if let Some(work) = &mut self.nodes[n].works[p][w] {
            work.stage = stage;
        }
    }

    fn record(&mut self, n: usize, p: usize, w: usize, answer: Answer, case: &Case) -> Result<(), Property> {
        let Some(Work { claim, stage: Stage::Ended(outcome) }) = self.nodes[n].works[p][w] else {
            unreachable!()
        };
        if case.broken == Broken::DropsUnrecorded && answer == Answer::Lost {
            self.spend(Fault::LoseRecord);
            self.nodes[n].finish(p, w);
            return Ok(());
        }
        let (yields, row) = (self.nodes[n].is_draining || self.is_paused, self.rows[n]);
        let process = &mut self.processes[p];
        let at = TaskPosition {
            has_next: claim.task + 1 < process.tasks,
            retry_count: process.retry_count.into(),
            max_retries: process.max_retries.into(),
        };
        let transition = after_execution(at, Ending { outcome, fatal: false });
        let transition = if yields { transition.yielding() } else { transition };
        let version = process.version;
        let recorded = process.record((n as u8, row), claim, outcome, transition, &case.rules())?;
        changed_hands(process, version, recorded == Recorded::Written(None))?;
        match answer {
            Answer::Read => self.hear_record(n, p, w, outcome, recorded),
            Answer::Late => {
                self.spend(Fault::DelayRecord);
                self.set_stage(n, p, w, Stage::Late(outcome, recorded));
            }
            Answer::Lost => {
                self.spend(Fault::LoseRecord);
                self.set_stage(n, p, w, Stage::InDoubt(outcome));
            }
        }
        Ok(())
    }

    fn hear_record(&mut self, n: usize, p: usize, w: usize, outcome: Outcome, recorded: Recorded) {
        match recorded {
            Recorded::Stale | Recorded::Written(None) => self.nodes[n].finish(p, w),
            Recorded::Already => self.set_stage(n, p, w, Stage::InDoubt(outcome)),
            Recorded::Written(Some(claim)) => {
                self.nodes[n].works[p][w] = Some(Work { claim, stage: Stage::Queued });
            }
        }
    }

    /// What is in the trail needs no second record; the next task goes on if the claim is still held.
    fn look_in_trail(&mut self, n: usize, p: usize, w: usize, case: &Case) {
        let Some(Work { claim, stage: Stage::InDoubt(outcome) }) = self.nodes[n].works[p][w] else {
            unreachable!()
        };
        let process = self.processes[p];
        let bit = super::rows::bit(claim.task, claim.attempt);
        if process.recorded & bit != 0 && case.broken != Broken::BlindRepetition {
            let goes_on = process.is_held(n as u8, claim.version) && process.task == claim.task + 1;
            let next = Recorded::Written(goes_on.then(|| process.claim_of()));
            self.hear_record(n, p, w, outcome, next);
        } else if process.lost & bit != 0 {
            self.nodes[n].finish(p, w);
        } else {
            self.set_stage(n, p, w, Stage::Ended(outcome));
        }
    }

    fn happen(&mut self, fault: Fault, n: usize, case: &Case) {
        let node = &mut self.nodes[n];
        match fault {
            Fault::Cut => (node.is_cut, node.answered_for) = (true, None),
            Fault::CutKeeper => {
                (node.is_keeper_cut, node.has_session) = (true, false);
                self.locks[n] = false;
            }
            Fault::DropSession => {
                self.locks[n] = false;
                if !node.is_cut {
                    (node.has_session, node.reconnects) = (false, RECONNECT_S);
                }
            }
            Fault::Restart => {
                self.is_down = true;
                self.locks = [false; NODES];
                for node in self.nodes.iter_mut().filter(|it| it.life != Life::Unborn) {
                    (node.has_session, node.answered_for) = (false, None);
                }
            }
            Fault::Kill | Fault::KillBoth => {
                for p in 0..PROCESSES {
                    node.orphans[p] += node.running(p) as u8;
                }
                let orphans = node.orphans;
                let has_guard = node.has_guard && fault == Fault::Kill;
                if !node.is_cut {
                    self.locks[n] = false;
                }
                let dead = super::world::World::new(&Case { nodes: 0, ..*case }).nodes[n];
                self.nodes[n] = super::world::Node { life: Life::Killed, has_guard, orphans, ..dead };
            }
            Fault::Freeze => node.life = Life::Frozen,
            Fault::Contain => node.life = Life::Contained,
            Fault::FreezeAtBeat => {
                let is_accepted = self.rows[n] == NodeRow::Running;
                (node.life, node.late_beat, node.has_beaten) = (Life::Frozen, Some((is_accepted, 0)), true);
                if is_accepted {
                    self.note_beat(n);
                }
            }
            Fault::FreezeAtSpawn => {
                node.life = Life::Frozen;
                let queued = node.works().find(|it| it.2.stage == Stage::Queued);
                if let Some((p, w, _)) = queued
                    && self.may_begin(n, p, w, case)
                {
                    self.set_stage(n, p, w, Stage::Checked);
                }
            }
            Fault::Start => self.start(n, case),
            Fault::Stop => {
                node.is_draining = true;
                if case.broken == Broken::NoBeatInDrain {
                    self.locks[n] = false;
                }
            }
            Fault::ClockForward => self.stamp_ages = [AGE_MAX; NODES],
            Fault::ClockBack => self.stamp_ages = [0; NODES],
            Fault::Cancel => self.processes[n].cancel(),
            Fault::Retry => self.processes[n].retry(),
            Fault::Pause => self.is_paused = true,
            _ => unreachable!("part of another step"),
        }
    }
}

/// Whoever compares versions must see each change of hands.
fn changed_hands(process: &super::rows::Process, version: u8, has_moved: bool) -> Result<(), Property> {
    let is_over = process.place == Place::Ended;
    if has_moved && !is_over && process.version == version { Err(Property::Version) } else { Ok(()) }
}
