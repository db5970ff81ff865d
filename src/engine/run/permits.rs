//! Turns: how many executors look for work or begin commands at the same time, however many there are.
//!
//! An executor whose command has run for a while passes its turn on, so that commands that wait (for a network, a
//! disk, another program) hold nobody up, and all executors can be at such commands at once. Short commands, though,
//! need the processors: more of them at a time end no sooner, and each would cost waking a thread. So the others stay
//! asleep, their tasks wait in the channel, and that somebody waits there tells the recorder that time is not pressing.
//! (Go's scheduler passes its processors on in the same way when a thread blocks.)

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, select};

/// For each processor: one whose command runs and one who is about to begin, or waits for a pipe. With four, commands
/// and the database got in each other's way (0.84 of the bare loop instead of 0.89).
const TURNS_PER_PROCESSOR: usize = 2;

/// Tasks for each turn that are left waiting when a group of results is recorded: they are run meanwhile.
const LEFT_PER_TURN: usize = 2;

/// And no more than one for so many executors, or the groups would be small where there are few.
const EXECUTORS_PER_LEFT: usize = 8;

pub(crate) struct Turns {
    pass: Sender<()>,
    take: Receiver<()>,
    processors: usize,
    left_waiting: usize,
    /// Turns whose holders run a command.
    at_work: AtomicUsize,
    /// How many tasks have been taken so far.
    begun: AtomicUsize,
    /// Turns that were made in place of some that are stuck; as many are not passed on when they come back.
    spare: AtomicUsize,
    /// With them there is a turn for each executor.
    spare_max: usize,
}

impl Turns {
    pub(crate) fn new(executors: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self::of(executors, executors.min(processors * TURNS_PER_PROCESSOR), processors)
    }

    fn of(executors: usize, count: usize, processors: usize) -> Self {
        let left_waiting = (executors / EXECUTORS_PER_LEFT).min(count * LEFT_PER_TURN);
        let (pass, take) = bounded(executors.max(count));
        let turns = Self {
            pass,
            take,
            processors,
            left_waiting,
            at_work: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            spare: AtomicUsize::new(0),
            spare_max: executors.saturating_sub(count),
        };
        (0..count).for_each(|_| turns.pass_on());
        turns
    }

    /// The channel has room for every turn there is.
    fn pass_on(&self) {
        let _ = self.pass.try_send(());
    }

    /// A turn comes back: it is passed on unless a spare one took its place.
    fn give_back(&self) {
        let one_less = |spare: usize| spare.checked_sub(1);
        if self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err() {
            self.pass_on();
        }
    }

    /// How many tasks have been taken so far.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// No task was taken for long while some wait: whoever holds the turns is stuck before its command runs, in a file
    /// system that does not answer, say. As many executors as there are processors begin in their place.
    pub(crate) fn add_spare(&self) {
        for _ in 0..self.processors {
            if self.spare.load(Ordering::Relaxed) < self.spare_max {
                self.spare.fetch_add(1, Ordering::Relaxed);
                self.pass_on();
            }
        }
    }

    /// Whether every processor has a short command to run: one more would end none of them sooner.
    pub(crate) fn are_busy(&self) -> bool {
        self.at_work.load(Ordering::Relaxed) >= self.processors
    }

    /// Whether so few tasks wait for a turn that they are run by the time a transaction has brought more.
    pub(crate) fn run_out(&self, waiting: usize) -> bool {
        waiting <= self.left_waiting
    }

    /// Waits for a turn; `None` once `quit` is closed.
    pub(crate) fn take(&self, quit: &Receiver<()>) -> Option<Turn<'_>> {
        select! {
            recv(self.take) -> _ => Some(Turn { turns: self, is_held: Cell::new(true), is_at_work: Cell::new(false) }),
            recv(quit) -> _ => None,
        }
    }
}

/// One executor's turn; passed on when it is dropped, also by a panic.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    is_held: Cell<bool>,
    is_at_work: Cell<bool>,
}

impl Turn<'_> {
    /// Its holder has taken a task.
    pub(crate) fn note_begun(&self) {
        self.turns.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Its holder begins a command.
    pub(crate) fn begin_work(&self) {
        self.is_at_work.set(true);
        self.turns.at_work.fetch_add(1, Ordering::Relaxed);
    }

    /// The command has ended, or lasts.
    pub(crate) fn end_work(&self) {
        if self.is_at_work.replace(false) {
            self.turns.at_work.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn pass_on(&self) {
        self.end_work();
        if self.is_held.replace(false) {
            self.turns.give_back();
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.get()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_comes_back_once() {
        let turns = Turns::of(1, 1, 1);
        let (_keep, quit) = bounded(0);
        let turn = turns.take(&quit).unwrap();
        assert!(turns.take.is_empty() && turn.is_held() && !turns.are_busy());
        turn.begin_work();
        assert!(turns.are_busy());
        turn.end_work();
        assert!(!turns.are_busy());
        turn.begin_work();
        turn.pass_on();
        turn.pass_on();
        assert!(!turn.is_held() && !turns.are_busy(), "a command that lasts needs no processor to itself");
        assert_eq!(turns.take.len(), 1);
        drop(turn);
        assert_eq!(turns.take.len(), 1);
        drop(turns.take(&quit));
        assert_eq!(turns.take.len(), 1, "a panic drops it as well");
    }

    #[test]
    fn few_are_left_waiting_for_as_long_as_a_transaction_takes() {
        for (executors, left) in [(1, 0), (16, 2), (32, 4), (64, 8), (1024, 8)] {
            let turns = Turns::of(executors, executors.min(4), 2);
            assert!(turns.run_out(left) && !turns.run_out(left + 1), "{executors} executors");
        }
    }

    #[test]
    fn spare_turns_stand_in_for_stuck_ones_and_go_when_these_come_back() {
        let turns = Turns::of(9, 2, 1);
        let (_keep, quit) = bounded(0);
        let stuck = [turns.take(&quit).unwrap(), turns.take(&quit).unwrap()];
        assert_eq!((turns.take.len(), turns.begun()), (0, 0));
        turns.add_spare();
        let spare = turns.take(&quit).unwrap();
        spare.note_begun();
        assert_eq!((turns.take.len(), turns.begun()), (0, 1));
        drop(stuck);
        assert_eq!(turns.take.len(), 1, "one of two took the spare one's place");
        drop(spare);
        assert_eq!(turns.take.len(), 2);
        (0..99).for_each(|_| turns.add_spare());
        assert_eq!(turns.take.len(), 9, "one for each executor");
    }

    #[test]
    fn nobody_waits_for_a_turn_once_the_node_quits() {
        let turns = Turns::of(1, 0, 1);
        let (keep, quit) = bounded(0);
        drop(keep);
        assert!(turns.take(&quit).is_none());
    }
}
