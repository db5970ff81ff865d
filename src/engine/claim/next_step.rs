//! What the poller does next: a function of what it knows and of the time, with no clock of its own and no I/O.

use std::time::{Duration, Instant};

/// Most processes claimed by one statement: enough to fill a large node in a few, few enough that a claim stays in
/// the order of a millisecond and other nodes get their share.
const CLAIM_MAX: usize = 256;
/// While short commands keep every processor busy, this share of the room may stay free before more is claimed: a
/// claim of four costs little more than a claim of one.
const LINGER_SHARE: usize = 4;
/// And for no longer than this.
const LINGER_MAX: Duration = Duration::from_millis(20);
/// How often it is checked meanwhile whether the processors are still busy.
const LINGER_CHECK: Duration = Duration::from_millis(4);
/// For processes of a higher priority there is room beyond what the others get: this share of the executors.
const URGENT_SHARE: usize = 16;
/// How long after the last room was taken it is looked for a process of a higher priority: where executors are taken and
/// free again all the time, never.
const LOOK_ABOVE_AFTER: Duration = Duration::from_millis(20);
/// How often it is looked while there is none: a type that has no process here may begin its first within a second.
const LOOK_ABOVE_EVERY: Duration = Duration::from_millis(500);
/// How often it is asked whether another node has room for what waits here.
const LOOK_ELSEWHERE_EVERY: Duration = Duration::from_millis(20);
/// By how much a promotion may be late for a claim's sake.
const PROMOTE_LATE_MAX: Duration = Duration::from_millis(20);
/// How soon it is looked again after the queue was found drained; doubled at each further look up to the poll interval. A
/// start that was under way when the node announced its room notifies nobody, nor does one beside another that does:
/// it waits about as long again as its transaction took.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const LOOK_AGAIN_DOUBLINGS_MAX: u32 = 20;
/// How soon after a claim has met processes that a limit has no room for it is seen whether there is room after all: a slot
/// that was being freed when the claim counted is not seen by it, nor does whoever frees it see them.
const RELEASE_SOON: Duration = Duration::from_millis(30);
/// And how often while any are held for a limit: whatever else may have gone wrong, none waits for longer beside room.
const RELEASE_EVERY: Duration = Duration::from_millis(500);
/// The share of the time that these looks may take while processes are met all the time.
const RELEASE_RARER_THAN: u32 = 10;
/// When a claim meets so many, those that wait behind them are held without being claimed one after the other.
const BLOCKED_MANY: usize = 8;
/// The one process of `run` is not out of the way when it is held: it is looked at again after 2 ms, this often doubled.
const BLOCKED_ONE_LOOKS: u32 = 5;

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Settle which claims are ours: a connection was lost while we claimed.
    Reconcile,
    /// See whether others have declared this node dead: its lock is lost.
    LookAtSelf,
    /// Make what was scheduled and is due ready.
    Promote,
    /// Hold what is ready of paused types.
    HoldPaused,
    /// Hold what is ready and may not run now, for its limits.
    HoldBlocked,
    /// Let go of what is held for limits that have room.
    ReleaseWhereRoom,
    /// Claim what is ready.
    Claim {
        /// How many at the most.
        limit: usize,
        /// The same while another node has room.
        limit_beside_room: usize,
    },
    /// Look for what has precedence over everything that is held, and claim it as far as there is room for it.
    LookAbove {
        /// The lowest priority that is held.
        floor: i32,
        /// The room.
        limit: usize,
    },
    /// Ask whether another node has room for what waits here.
    LookElsewhere,
    /// Say that this node would claim at once.
    Announce,
    /// Say that it no longer would.
    Withdraw,
    /// Nothing, until a wake-up or for this long.
    Wait(Duration),
}

/// What the node is like at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) now: Instant,
    /// Others may take its claims: it claims nothing.
    pub(super) is_lease_expired: bool,
    /// How often to look at the node's own row: while its lock is lost.
    pub(super) look_at_self_every: Option<Duration>,
    pub(super) executors: usize,
    /// How many claims may wait for an executor.
    pub(super) ahead: usize,
    /// The same for processes of a higher priority, beside those that were claimed when commands ended faster.
    pub(super) urgent_ahead: usize,
    /// How many claims it has that need an executor.
    pub(super) held: usize,
    /// The lowest priority among them.
    pub(super) lowest_priority: Option<i32>,
    /// Tasks that wait for an executor.
    pub(super) waiting: usize,
    /// Whether short commands keep every processor busy.
    pub(super) is_cpu_saturated: bool,
    /// Whether others are to yield to processes of a higher priority.
    pub(super) is_preempting: bool,
}

impl View {
    /// Whether it matters if another node has room: processes wait here that an executor elsewhere might have, or would. If
    /// no task waits at this moment, it is because the results before them are being recorded.
    fn may_have_surplus(&self) -> bool {
        self.held > self.executors || self.held == self.executors && self.ahead > 0
    }

    fn room(&self) -> usize {
        (self.executors + self.ahead).saturating_sub(self.held)
    }

    /// Room for processes of a higher priority. There is more of it where commands are short: they soon begin.
    fn urgent_room(&self) -> usize {
        let ahead = self.urgent_ahead.max(self.ahead);
        let beyond = if ahead > 0 { urgent_max(self.executors) } else { 0 };
        (self.executors + ahead + beyond).saturating_sub(self.held)
    }
}

/// How many claims of a higher priority a node may hold beyond those of others.
pub(super) const fn urgent_max(executors: usize) -> usize {
    executors.div_ceil(URGENT_SHARE)
}

/// What the poller remembers of what it did.
#[derive(Debug)]
pub(super) struct Plan {
    poll_interval: Duration,
    /// Whoever runs one process only looks for that one.
    is_for_one: bool,
    is_in_doubt: bool,
    is_announced: bool,
    /// Another node had room at the last look: nothing is claimed ahead.
    is_room_elsewhere: bool,
    /// It could not be announced at the last look: somebody was just looking, or there is a pooler.
    is_refused: bool,
    /// Somebody says that there is something to claim, and it was not looked since.
    is_woken: bool,
    /// Paused types stand at the front of the queue; and whether a claim comes first.
    is_holding: bool,
    is_claim_next: bool,
    /// Processes that limits have no room for stand at the front of the queue.
    is_holding_blocked: bool,
    /// When to let go of what is held for limits that have room, and how long the last look took.
    release_at: Instant,
    release_took: Duration,
    promote_at: Instant,
    /// When the next of what is scheduled is due, as far as it is known.
    due_at: Option<Instant>,
    claim_at: Instant,
    /// Looks in a row that found the queue drained.
    drained_looks: u32,
    look_above_at: Option<Instant>,
    look_at_self_at: Instant,
    look_elsewhere_at: Instant,
    lingers_since: Option<Instant>,
}

impl Plan {
    pub(super) fn new(poll_interval: Duration, is_for_one: bool, now: Instant) -> Self {
        Self {
            poll_interval,
            is_for_one,
            is_in_doubt: false,
            is_announced: false,
            is_room_elsewhere: false,
            is_refused: false,
            is_woken: false,
            is_holding: false,
            is_claim_next: false,
            is_holding_blocked: false,
            release_at: now + poll_interval,
            release_took: Duration::ZERO,
            promote_at: now,
            due_at: None,
            claim_at: now,
            drained_looks: 0,
            look_above_at: None,
            look_elsewhere_at: now,
            look_at_self_at: now,
            lingers_since: None,
        }
    }

    pub(super) fn next_step(&mut self, view: &View) -> Step {
        let step = self.next_step_with_lock(view);
        let Some(every) = view.look_at_self_every.filter(|_| !view.is_lease_expired) else { return step };
        if view.now >= self.look_at_self_at {
            self.look_at_self_at = view.now + every;
            return Step::LookAtSelf;
        }
        match step {
            Step::Wait(time) => Step::Wait(time.min(every)),
            other => other,
        }
    }

    fn next_step_with_lock(&mut self, view: &View) -> Step {
        if view.is_lease_expired {
            return Step::Wait(self.poll_interval);
        }
        if self.is_in_doubt {
            return Step::Reconcile;
        }
        // Who is woken claims first, but not again and again.
        let promote_at = if self.is_woken { self.promote_at + PROMOTE_LATE_MAX } else { self.promote_at };
        if view.now >= promote_at && !self.is_for_one {
            return Step::Promote;
        }
        if self.is_holding && !self.is_claim_next {
            return Step::HoldPaused;
        }
        if self.is_holding_blocked && !self.is_claim_next {
            return Step::HoldBlocked;
        }
        if view.now >= self.release_at {
            return Step::ReleaseWhereRoom;
        }
        if self.is_announced && view.held >= view.executors {
            return Step::Withdraw;
        }
        if view.may_have_surplus() && view.now >= self.look_elsewhere_at {
            return Step::LookElsewhere;
        }
        let view = &View { ahead: if self.is_room_elsewhere { 0 } else { view.ahead }, ..*view };
        if view.room() > 0 { self.with_room(view) } else { self.without_room(view) }
    }

    fn with_room(&mut self, view: &View) -> Step {
        self.look_above_at = None;
        if !self.is_woken && view.now < self.claim_at {
            // Not for room ahead: that is no executor's.
            let is_to_announce = self.drained_looks > 0 && view.held < view.executors && !self.is_announced;
            let may_announce = !self.is_for_one && !self.is_refused;
            return if is_to_announce && may_announce {
                Step::Announce
            } else {
                self.wait(view, self.claim_at)
            };
        }
        if self.may_linger(view) {
            return Step::Wait(LINGER_CHECK);
        }
        Step::Claim {
            limit: view.room().min(CLAIM_MAX),
            limit_beside_room: view.executors.saturating_sub(view.held).min(CLAIM_MAX),
        }
    }

    /// Whether nothing is lost if room stays for another moment: nobody says that something is due, and the processors have
    /// short commands enough.
    fn may_linger(&mut self, view: &View) -> bool {
        let since = *self.lingers_since.get_or_insert(view.now);
        !self.is_woken
            && !view.is_preempting
            && view.room() * LINGER_SHARE < view.executors + view.ahead
            && view.is_cpu_saturated
            && view.now.saturating_duration_since(since) < LINGER_MAX
    }

    fn without_room(&mut self, view: &View) -> Step {
        self.lingers_since = None;
        // Once there is room again.
        self.claim_at = view.now;
        let Some(floor) = view.lowest_priority.filter(|_| !self.is_for_one) else {
            self.is_woken = false;
            return self.wait(view, view.now + self.poll_interval);
        };
        let is_room_awaited = view.is_preempting && view.urgent_room() > 0;
        let at = *self.look_above_at.get_or_insert(view.now + LOOK_ABOVE_AFTER.min(self.poll_interval));
        if self.is_woken || is_room_awaited || view.now >= at {
            return Step::LookAbove { floor, limit: view.urgent_room().min(CLAIM_MAX) };
        }
        self.wait(view, at)
    }

    /// Until `time`, unless something comes first.
    fn wait(&self, view: &View, time: Instant) -> Step {
        let mut until = time.min(self.release_at);
        if !self.is_for_one {
            until = until.min(self.promote_at);
        }
        if view.may_have_surplus() {
            until = until.min(self.look_elsewhere_at);
        }
        let least = Duration::from_millis(1); // The granularity of clocks.
        Step::Wait(until.saturating_duration_since(view.now).clamp(least, self.poll_interval))
    }

    /// There may be something to claim.
    pub(super) fn woken(&mut self) {
        self.is_woken = true;
        self.drained_looks = 0;
    }

    /// Somebody has scheduled something: its time may come sooner than what we wait for.
    pub(super) fn scheduled(&mut self, now: Instant) {
        self.promote_at = self.promote_at.min(now);
    }

    /// What was done has failed. Whoever lost the connection has announced nothing, and may have claimed what we don't know.
    pub(super) fn failed(&mut self, is_connection_lost: bool) {
        if is_connection_lost {
            self.is_announced = false;
            self.is_in_doubt = true;
        }
    }

    pub(super) fn reconciled(&mut self) {
        self.is_in_doubt = false;
    }

    pub(super) fn promoted(
        &mut self,
        now: Instant,
        promoted: usize,
        is_full: bool,
        next_due: Option<Duration>,
    ) {
        let pause = next_due.map_or(self.poll_interval, |due| due.min(self.poll_interval));
        self.promote_at = if is_full { now } else { now + pause };
        // Another node may have been faster and have no room for it all.
        let has_come = self.due_at.is_some_and(|at| at <= now);
        self.due_at = next_due.map(|due| now + due);
        if promoted > 0 || has_come {
            (self.claim_at, self.look_above_at, self.drained_looks) = (now, Some(now), 0);
        }
        // What is ready is claimed before more is promoted.
        self.is_woken |= is_full;
    }

    /// Whether there may be more to hold.
    pub(super) fn held_paused(&mut self, may_be_more: bool) {
        self.is_holding = may_be_more;
        self.is_claim_next = true;
    }

    /// Whether there may be more to hold.
    pub(super) fn held_blocked(&mut self, now: Instant, may_be_more: bool) {
        self.is_holding_blocked = may_be_more;
        self.is_claim_next = true;
        self.release_soon(now);
    }

    /// A claim has met so many that limits have no room for. They are out of the way of others, which are claimed at once.
    pub(super) fn blocked(&mut self, now: Instant, how_many: usize) {
        if self.is_for_one {
            // It is met again at each look.
            self.drained_looks = BLOCKED_ONE_LOOKS;
            self.claim_at = now + self.look_again_after();
            return;
        }
        self.is_holding_blocked |= how_many >= BLOCKED_MANY;
        (self.claim_at, self.drained_looks) = (now, 0);
        self.release_soon(now);
    }

    fn release_soon(&mut self, now: Instant) {
        let soon = RELEASE_SOON.max(self.release_took * RELEASE_RARER_THAN).min(RELEASE_EVERY);
        self.release_at = self.release_at.min(now + soon);
    }

    /// A look for limits that have room, begun then, has let go of so many; `None`: nothing is held for a limit.
    pub(super) fn released(&mut self, began: Instant, now: Instant, how_many: Option<usize>) {
        self.release_took = now.saturating_duration_since(began);
        let seldom = self.release_took * RELEASE_RARER_THAN;
        // Where the database is far away, claims have their turn in between.
        self.release_at = now
            + match how_many {
                Some(_) => RELEASE_EVERY.max(seldom).min(self.poll_interval).max(self.release_took * 2),
                None => self.poll_interval.max(seldom),
            };
        if how_many.is_some_and(|it| it > 0) {
            self.woken();
        }
    }

    /// A claim has brought as many as were asked for (`is_full`), has met paused types, or has found the queue drained.
    pub(super) fn claimed(&mut self, now: Instant, how_many: usize, is_full: bool, has_met_paused: bool) {
        (self.is_woken, self.is_claim_next, self.is_refused, self.lingers_since) =
            (false, false, false, None);
        self.is_holding |= has_met_paused;
        if how_many > 0 || has_met_paused {
            self.drained_looks = 0;
        }
        if is_full || has_met_paused {
            self.claim_at = now;
        } else {
            self.claim_at = now + self.look_again_after();
            self.drained_looks = self.drained_looks.saturating_add(1);
        }
    }

    /// The one process that is looked for was not to be had; it is due then.
    pub(super) fn due_in(&mut self, now: Instant, due: Option<Duration>) {
        let pause = match due {
            Some(due) if due.is_zero() => self.look_again_after(),
            due => due.unwrap_or(self.poll_interval),
        };
        self.claim_at = now + pause.min(self.poll_interval);
    }

    fn look_again_after(&self) -> Duration {
        let doubled = LOOK_AGAIN * (1 << self.drained_looks.min(LOOK_AGAIN_DOUBLINGS_MAX)); // below 2^32 of them
        doubled.min(self.poll_interval)
    }

    /// What was committed before the word was out has notified nobody: it is looked again at once.
    pub(super) fn announced(&mut self, now: Instant, is_announced: bool) {
        (self.is_announced, self.is_refused) = (is_announced, !is_announced);
        if is_announced {
            self.claim_at = now;
        }
    }

    /// Whatever is due from now on notifies nobody.
    pub(super) fn withdrawn(&mut self, now: Instant) {
        (self.is_announced, self.drained_looks, self.claim_at) = (false, 0, now);
    }

    pub(super) fn looked_above(&mut self, now: Instant, has_met_paused: bool) {
        (self.is_woken, self.is_claim_next) = (false, false);
        self.is_holding |= has_met_paused;
        let pause = LOOK_ABOVE_EVERY.min(self.poll_interval);
        self.look_above_at = Some(if has_met_paused { now } else { now + pause });
    }

    /// Whether another node has room, as a claim or a look of its own has seen.
    pub(super) fn looked_elsewhere(&mut self, now: Instant, is_room_elsewhere: bool) {
        self.is_room_elsewhere = is_room_elsewhere;
        self.look_elsewhere_at = now + LOOK_ELSEWHERE_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const POLL: Duration = Duration::from_secs(1);

    /// Eight executors, short commands; nothing runs.
    fn idle(now: Instant) -> View {
        View {
            now,
            is_lease_expired: false,
            look_at_self_every: None,
            executors: 8,
            ahead: 0,
            urgent_ahead: 0,
            held: 0,
            lowest_priority: None,
            waiting: 0,
            is_cpu_saturated: false,
            is_preempting: false,
        }
    }

    fn claim(limit: usize, limit_beside_room: usize) -> Step {
        Step::Claim { limit, limit_beside_room }
    }

    /// A plan that has found the queue drained, said so, and looked again.
    fn drained(now: Instant) -> Plan {
        let mut plan = Plan::new(POLL, false, now);
        plan.promoted(now, 0, false, None);
        plan.claimed(now, 0, false, false);
        assert_eq!(plan.next_step(&idle(now)), Step::Announce);
        plan.announced(now, true);
        assert_eq!(plan.next_step(&idle(now)), claim(8, 8), "what was committed before");
        plan.claimed(now, 0, false, false);
        plan
    }

    #[test]
    fn what_comes_next_by_what_the_node_is_like() {
        let start = Instant::now();
        let later = |ms: u32| start + MS * ms;
        let at = |ms: u32| idle(later(ms));
        let full = |ms: u32| View { held: 8, lowest_priority: Some(3), ..at(ms) };
        let short = |ms: u32| View { ahead: 40, held: 48, waiting: 40, lowest_priority: Some(0), ..at(ms) };
        type Setting<'a> = (&'a str, &'a dyn Fn(&mut Plan), View, Step);
        let settings: &[Setting<'_>] = &[
            (
                "others may take the claims",
                &|plan| plan.woken(),
                View { is_lease_expired: true, ..at(0) },
                Step::Wait(POLL),
            ),
            ("a connection was lost", &|plan| plan.failed(true), at(0), Step::Reconcile),
            ("a statement has failed", &|plan| plan.failed(false), at(0), Step::Wait(4 * MS)),
            ("settled", &|plan| (plan.failed(true), plan.reconciled()).1, at(0), Step::Announce),
            ("drained", &|_| {}, at(0), Step::Wait(4 * MS)),
            ("drained, its time has come", &|_| {}, at(4), claim(8, 8)),
            ("drained, woken", &|plan| plan.woken(), at(0), claim(8, 8)),
            (
                "drained, looked again and again",
                &|plan| (0..4).for_each(|_| plan.claimed(later(0), 0, false, false)),
                at(0),
                Step::Wait(64 * MS),
            ),
            (
                "woken, and drained again",
                &|plan| {
                    (0..4).for_each(|_| plan.claimed(later(0), 0, false, false));
                    plan.woken();
                    plan.claimed(later(0), 0, false, false);
                },
                at(0),
                Step::Wait(2 * MS),
            ),
            (
                "some were there, not as many as there is room for",
                &|plan| plan.claimed(later(0), 3, false, false),
                at(0),
                Step::Wait(2 * MS),
            ),
            (
                "drained for long",
                &|plan| (0..99).for_each(|_| plan.claimed(later(0), 0, false, false)),
                at(0),
                Step::Wait(POLL),
            ),
            (
                "a timer comes first",
                &|plan| plan.promoted(later(0), 0, false, Some(3 * MS)),
                at(0),
                Step::Wait(3 * MS),
            ),
            (
                "a timer all but ends",
                &|plan| plan.promoted(later(0), 0, false, Some(Duration::from_nanos(1))),
                at(0),
                Step::Wait(MS),
            ),
            (
                "a timer has ended",
                &|plan| plan.promoted(later(0), 0, false, Some(3 * MS)),
                at(3),
                Step::Promote,
            ),
            ("a timer was set", &|plan| plan.scheduled(later(0)), at(0), Step::Promote),
            (
                "woken, a timer has ended",
                &|plan| (plan.scheduled(later(0)), plan.woken()).1,
                at(5),
                claim(8, 8),
            ),
            ("woken all the time", &|plan| (plan.scheduled(later(0)), plan.woken()).1, at(20), Step::Promote),
            (
                "more is due than was promoted",
                &|plan| plan.promoted(later(0), 9, true, None),
                at(0),
                claim(8, 8),
            ),
            ("much more is due", &|plan| plan.promoted(later(0), 9, true, None), at(20), Step::Promote),
            (
                "a timer has ended, another node was faster",
                &|plan| {
                    plan.promoted(later(0), 0, false, Some(3 * MS));
                    plan.promoted(later(3), 0, false, None);
                },
                at(3),
                claim(8, 8),
            ),
            (
                "an executor is free again",
                &|plan| {
                    plan.withdrawn(later(0));
                    plan.claimed(later(0), 0, false, false);
                    assert!(matches!(plan.next_step(&full(1)), Step::Wait(_)));
                },
                View { held: 7, ..at(1) },
                claim(1, 1),
            ),
            (
                "room ahead is announced by nobody",
                &|plan| {
                    plan.withdrawn(later(0));
                    plan.looked_elsewhere(later(0), false);
                    plan.claimed(later(0), 0, false, false);
                },
                View { held: 9, ..short(0) },
                Step::Wait(2 * MS),
            ),
            (
                "another node has room: nothing is claimed ahead",
                &|plan| {
                    plan.withdrawn(later(0));
                    plan.looked_elsewhere(later(0), true);
                },
                View { held: 9, ..short(0) },
                Step::Wait(20 * MS),
            ),
            (
                "paused types were met above",
                &|plan| {
                    plan.withdrawn(later(0));
                    plan.looked_above(later(0), true);
                },
                full(0),
                Step::HoldPaused,
            ),
            ("promoted", &|plan| plan.promoted(later(0), 1, false, None), at(0), claim(8, 8)),
            (
                "a claim was full",
                &|plan| plan.claimed(later(0), 8, true, false),
                View { held: 5, ..at(0) },
                claim(3, 3),
            ),
            (
                "paused types were met",
                &|plan| plan.claimed(later(0), 0, false, true),
                at(0),
                Step::HoldPaused,
            ),
            (
                "some are held, others come in between",
                &|plan| (plan.claimed(later(0), 0, false, true), plan.held_paused(true)).1,
                at(0),
                claim(8, 8),
            ),
            (
                "no more of them at the front",
                &|plan| {
                    (
                        plan.claimed(later(0), 0, false, true),
                        plan.held_paused(false),
                        plan.claimed(later(0), 0, false, false),
                    )
                        .2
                },
                at(0),
                Step::Wait(2 * MS),
            ),
            (
                "some are held, a claim came in between",
                &|plan| {
                    plan.claimed(later(0), 0, false, true);
                    plan.held_paused(true);
                    plan.claimed(later(0), 0, false, false);
                },
                at(0),
                Step::HoldPaused,
            ),
            (
                "room for more than one claim takes",
                &|plan| plan.woken(),
                View { executors: 999, ..at(0) },
                claim(CLAIM_MAX, CLAIM_MAX),
            ),
            ("no room: the word is taken back", &|_| {}, full(0), Step::Withdraw),
            ("no room", &|plan| plan.withdrawn(later(0)), full(0), Step::Wait(20 * MS)),
            (
                "no room, woken",
                &|plan| (plan.withdrawn(later(0)), plan.woken()).1,
                full(0),
                Step::LookAbove { floor: 3, limit: 0 },
            ),
            (
                "room again: it is looked before that is said",
                &|plan| plan.withdrawn(later(0)),
                at(0),
                claim(8, 8),
            ),
            (
                "no room, woken, looked above",
                &|plan| (plan.withdrawn(later(0)), plan.woken(), plan.looked_above(later(0), false)).2,
                full(1),
                Step::Wait(LOOK_ABOVE_EVERY - MS),
            ),
            (
                "no room again after there was some",
                &|plan| {
                    plan.withdrawn(later(0));
                    plan.looked_above(later(0), false);
                    plan.next_step(&at(1));
                },
                full(1),
                Step::Wait(LOOK_ABOVE_AFTER),
            ),
            (
                "no room, others wait for a permit only",
                &|plan| (plan.withdrawn(later(0)), plan.looked_above(later(40), false)).1,
                View { waiting: 3, ..full(40) },
                Step::Wait(LOOK_ABOVE_EVERY),
            ),
            (
                "no room, looked above",
                &|plan| (plan.withdrawn(later(0)), plan.looked_above(later(0), false)).1,
                full(1),
                Step::Wait(LOOK_ABOVE_EVERY - MS),
            ),
            (
                "no room, promoted",
                &|plan| (plan.withdrawn(later(0)), plan.promoted(later(0), 1, false, None)).1,
                full(0),
                Step::LookAbove { floor: 3, limit: 0 },
            ),
            (
                "short commands: there is room ahead",
                &|plan| {
                    plan.withdrawn(later(0));
                    plan.looked_elsewhere(later(0), false);
                    plan.woken();
                },
                View { held: 9, ..short(0) },
                claim(39, 0),
            ),
            (
                "and some beyond for higher priorities",
                &|plan| (plan.withdrawn(later(0)), plan.looked_elsewhere(later(0), false), plan.woken()).2,
                short(0),
                Step::LookAbove { floor: 0, limit: 1 },
            ),
            (
                "many places beyond",
                &|plan| (plan.withdrawn(later(0)), plan.looked_elsewhere(later(0), false), plan.woken()).2,
                View { executors: 9999, ahead: 1, held: 10_000, ..short(0) },
                Step::LookAbove { floor: 0, limit: CLAIM_MAX },
            ),
            (
                "no place beyond for what others yield for",
                &|plan| (plan.withdrawn(later(0)), plan.looked_above(later(0), false)).1,
                View { is_preempting: true, ..full(0) },
                Step::Wait(LOOK_ABOVE_EVERY),
            ),
            (
                "places beyond, and nothing that others yield for",
                &|plan| {
                    (
                        plan.withdrawn(later(0)),
                        plan.looked_above(later(40), false),
                        plan.looked_elsewhere(later(40), false),
                    )
                        .2
                },
                short(40),
                Step::Wait(LOOK_ELSEWHERE_EVERY),
            ),
            (
                "what waits may have room elsewhere",
                &|plan| plan.withdrawn(later(0)),
                short(40),
                Step::LookElsewhere,
            ),
            (
                "so what waits for the record of its last task",
                &|plan| plan.withdrawn(later(0)),
                View { waiting: 0, ..short(40) },
                Step::LookElsewhere,
            ),
            (
                "not before what others yield for is there",
                &|plan| (plan.withdrawn(later(0)), plan.looked_elsewhere(later(0), false)).1,
                View { is_preempting: true, ..short(0) },
                Step::LookAbove { floor: 0, limit: 1 },
            ),
        ];
        for (name, prepare, view, expected) in settings {
            let mut plan = drained(start);
            prepare(&mut plan);
            assert_eq!(plan.next_step(view), *expected, "{name}");
        }
    }

    #[test]
    fn a_claim_lingers_while_processors_are_busy_and_little_room_is_there() {
        let start = Instant::now();
        let mut plan = drained(start);
        plan.withdrawn(start);
        plan.looked_elsewhere(start + MS * 100, false);
        plan.claimed(start, 8, true, false);
        let view = |ms: u32| View { held: 40, ahead: 40, is_cpu_saturated: true, ..idle(start + MS * ms) };
        assert_eq!(plan.next_step(&view(0)), Step::Wait(LINGER_CHECK));
        assert_eq!(plan.next_step(&View { held: 36, ..view(4) }), claim(12, 0), "room enough");
        assert_eq!(plan.next_step(&View { is_cpu_saturated: false, ..view(4) }), claim(8, 0));
        assert_eq!(plan.next_step(&View { is_preempting: true, ..view(4) }), claim(8, 0));
        assert_eq!(plan.next_step(&view(19)), Step::Wait(LINGER_CHECK));
        assert_eq!(plan.next_step(&view(20)), claim(8, 0), "long enough");
        plan.claimed(start + MS * 20, 8, true, false);
        assert_eq!(plan.next_step(&view(39)), Step::Wait(LINGER_CHECK), "from the beginning");
        plan.woken();
        assert_eq!(plan.next_step(&view(39)), claim(8, 0));
        plan.claimed(start + MS * 40, 8, true, false);
        assert_eq!(plan.next_step(&view(40)), Step::Wait(LINGER_CHECK));
        plan.next_step(&View { held: 48, lowest_priority: Some(0), ..view(59) });
        plan.looked_elsewhere(start + MS * 60, false);
        assert_eq!(plan.next_step(&view(60)), Step::Wait(LINGER_CHECK), "there was no room in between");
    }

    #[test]
    fn what_limits_hold_is_out_of_the_way_of_others_and_let_go_soon_where_there_is_room() {
        let start = Instant::now();
        let at = |ms: u32| idle(start + MS * ms);
        let mut plan = drained(start);
        plan.blocked(start, BLOCKED_MANY - 1);
        assert_eq!(plan.next_step(&at(0)), claim(8, 8), "what waits behind them");
        plan.claimed(start, 0, false, false);
        plan.blocked(start, BLOCKED_MANY);
        assert_eq!(plan.next_step(&at(0)), Step::HoldBlocked, "one after the other would take long");
        plan.held_blocked(start, true);
        assert_eq!(plan.next_step(&at(0)), claim(8, 8), "others get their turn in between");
        plan.claimed(start, 8, true, false);
        assert_eq!(plan.next_step(&at(0)), Step::HoldBlocked);
        plan.held_blocked(start, false);
        plan.claimed(start, 0, false, false);
        assert_eq!(plan.next_step(&at(30)), Step::ReleaseWhereRoom);
        plan.released(start + MS * 30, start + MS * 32, Some(1));
        assert_eq!(plan.next_step(&at(32)), claim(8, 8), "what was let go");
        plan.claimed(start + MS * 32, 0, false, false);
        // A look that takes its time comes more seldom, but often enough.
        plan.blocked(start + MS * 32, 1);
        plan.claimed(start + MS * 32, 0, false, false);
        assert!(!matches!(plan.next_step(&at(61)), Step::ReleaseWhereRoom));
        assert_eq!(plan.next_step(&at(62)), Step::ReleaseWhereRoom);
        plan.released(start + MS * 62, start + MS * 92, Some(0));
        plan.blocked(start + MS * 92, 1);
        plan.claimed(start + MS * 92, 0, false, false);
        assert!(!matches!(plan.next_step(&at(391)), Step::ReleaseWhereRoom));
        assert_eq!(plan.next_step(&at(392)), Step::ReleaseWhereRoom);
        plan.released(start + MS * 392, start + MS * 392, None);
        plan.promoted(start + MS * 392, 0, false, None);
        plan.claimed(start + MS * 392, 0, false, false);
        assert!(!matches!(plan.next_step(&at(1391)), Step::ReleaseWhereRoom), "nothing is held");
    }

    #[test]
    fn looks_that_take_as_long_as_the_time_between_them_leave_claims_their_turn() {
        let start = Instant::now();
        for held in [None, Some(0)] {
            let (mut plan, mut now, mut claims) = (Plan::new(MS * 200, false, start), start, 0);
            for _ in 0..30 {
                let step = plan.next_step(&idle(now));
                let began = now;
                now += match step {
                    Step::Wait(time) => time,
                    _ => MS * 200,
                };
                match step {
                    Step::Promote => plan.promoted(now, 0, false, None),
                    Step::ReleaseWhereRoom => plan.released(began, now, held),
                    Step::Claim { .. } => {
                        plan.claimed(now, 0, false, false);
                        claims += 1;
                    }
                    _ => plan.announced(now, true),
                }
            }
            assert!(claims >= 5, "{claims}");
        }
    }

    #[test]
    fn the_one_process_that_a_limit_has_no_room_for_is_looked_at_in_a_moment_and_not_at_once() {
        let start = Instant::now();
        let at = |ms: u32| idle(start + MS * ms);
        let mut plan = Plan::new(POLL, true, start);
        for ms in [0, 64, 128] {
            assert!(matches!(plan.next_step(&at(ms)), Step::Claim { .. }));
            plan.claimed(start + MS * ms, 0, false, false);
            plan.blocked(start + MS * ms, 1);
            plan.due_in(start + MS * ms, Some(Duration::ZERO));
            assert_eq!(plan.next_step(&at(ms + 1)), Step::Wait(MS * 63));
        }
    }

    #[test]
    fn room_that_cannot_be_announced_is_announced_after_the_next_look() {
        let now = Instant::now();
        let mut plan = drained(now);
        plan.failed(true);
        plan.reconciled();
        plan.announced(now, false);
        assert_eq!(plan.next_step(&idle(now)), Step::Wait(4 * MS));
        assert_eq!(plan.next_step(&idle(now + 4 * MS)), claim(8, 8));
        plan.claimed(now + 4 * MS, 0, false, false);
        assert_eq!(plan.next_step(&idle(now + 4 * MS)), Step::Announce);
    }

    #[test]
    fn a_node_without_its_lock_looks_at_its_own_row_however_little_there_is_to_do() {
        let now = Instant::now();
        let lost = |ms: u32| View { look_at_self_every: Some(100 * MS), held: 8, ..idle(now + MS * ms) };
        // Also one that runs one process only, and has no room.
        let mut plan = Plan::new(POLL, true, now);
        assert_eq!(plan.next_step(&lost(0)), Step::LookAtSelf);
        assert_eq!(plan.next_step(&lost(0)), Step::Wait(100 * MS));
        assert_eq!(plan.next_step(&lost(100)), Step::LookAtSelf);
        let fenced = View { is_lease_expired: true, ..lost(300) };
        assert_eq!(plan.next_step(&fenced), Step::Wait(POLL), "it has let go already");
        let held = View { look_at_self_every: None, ..lost(300) };
        assert!(!matches!(plan.next_step(&held), Step::LookAtSelf));
    }

    #[test]
    fn who_runs_one_process_announces_promotes_and_preempts_nothing() {
        let now = Instant::now();
        let mut plan = Plan::new(POLL, true, now);
        assert_eq!(plan.next_step(&idle(now)), claim(8, 8));
        plan.claimed(now, 0, false, false);
        plan.due_in(now, Some(300 * MS));
        assert_eq!(plan.next_step(&idle(now)), Step::Wait(300 * MS));
        plan.due_in(now, Some(Duration::ZERO));
        assert_eq!(plan.next_step(&idle(now)), Step::Wait(4 * MS), "due, and not to be had");
        plan.woken();
        let full = View { held: 8, lowest_priority: Some(0), ..idle(now) };
        assert_eq!(plan.next_step(&full), Step::Wait(POLL));
        assert_eq!(plan.next_step(&idle(now)), claim(8, 8), "there is room again");
        plan.due_in(now, Some(POLL * 9));
        assert_eq!(
            plan.next_step(&idle(now + POLL)),
            Step::ReleaseWhereRoom,
            "nobody else may be there to do it"
        );
        plan.released(now + POLL, now + POLL, None);
        assert_eq!(plan.next_step(&idle(now + POLL)), claim(8, 8), "it may be moved");
    }
}
