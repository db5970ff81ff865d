//! One value that is dear to compute and asked for often.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::Problem;

/// How long a value serves at the least: a thousand polls a second cost one query a second.
const FRESH_MS_MIN: u64 = 1000;
/// A value serves this many times as long as it took to compute: counting a long history keeps the database
/// busy for a tenth of the time at the most.
const FRESH_FACTOR: u32 = 10;
/// But no longer than this, or one slow moment of the database would be shown for minutes.
const FRESH_MS_MAX: u64 = 30_000;
/// How long one who asks waits for another's first computation; more than a statement may take.
const WAIT_MS_MAX: u64 = 8000;

type Computed<T> = Result<T, Problem>;

/// Keeps the last outcome, failures too. One who asks computes; those who ask meanwhile get the last value.
pub(super) struct Cached<T> {
    state: Mutex<State<T>>,
    computed: Condvar,
}

struct State<T> {
    last: Option<(Computed<T>, Instant)>,
    computing: bool,
}

impl<T: Clone> Cached<T> {
    pub fn new() -> Self {
        Self { state: Mutex::new(State { last: None, computing: false }), computed: Condvar::new() }
    }

    /// The value, computed anew when it is no longer fresh.
    pub fn get(&self, compute: impl FnOnce() -> Computed<T>) -> Computed<T> {
        let give_up = Instant::now() + Duration::from_millis(WAIT_MS_MAX);
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match &state.last {
                Some((last, fresh_until)) if now < *fresh_until || state.computing => return last.clone(),
                _ if !state.computing => break,
                _ if now >= give_up => return Err(too_slow()),
                _ => {}
            }
            let waited = self.computed.wait_timeout(state, give_up - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.computing = true;
        drop(state);
        let turn = Turn { cached: self, outcome: None };
        turn.finish(compute)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic while it was held left a state that is whole: every change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to compute, given back also when computing panics.
struct Turn<'a, T: Clone> {
    cached: &'a Cached<T>,
    outcome: Option<(Computed<T>, Instant)>,
}

impl<T: Clone> Turn<'_, T> {
    fn finish(mut self, compute: impl FnOnce() -> Computed<T>) -> Computed<T> {
        let began = Instant::now();
        let outcome = compute();
        let now = Instant::now();
        // A failure is tried again soon, however long it took to be one.
        let took = if outcome.is_ok() { now - began } else { Duration::ZERO };
        self.outcome = Some((outcome.clone(), now + fresh_for(took)));
        outcome
    }
}

impl<T: Clone> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let mut state = self.cached.lock();
        state.computing = false;
        if let Some(outcome) = self.outcome.take() {
            state.last = Some(outcome);
        }
        drop(state);
        self.cached.computed.notify_all();
    }
}

/// How long a value serves that took so long to compute.
fn fresh_for(took: Duration) -> Duration {
    (took * FRESH_FACTOR).clamp(Duration::from_millis(FRESH_MS_MIN), Duration::from_millis(FRESH_MS_MAX))
}

fn too_slow() -> Problem {
    Problem::new(503, "database_slow", format!("no answer within {WAIT_MS_MAX} ms; ask again later"))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn one_computes_for_all_who_ask_at_once() {
        let (cached, count, barrier) = (Cached::new(), AtomicUsize::new(0), Barrier::new(8));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    assert_eq!(cached.get(|| Ok(count.fetch_add(1, Ordering::SeqCst))), Ok(0));
                });
            }
        });
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn the_last_value_serves_while_another_computes() {
        let cached = Cached::new();
        assert_eq!(cached.get(|| Ok(1)), Ok(1));
        cached.lock().last.as_mut().unwrap().1 = Instant::now();
        let value = cached.get(|| {
            assert_eq!(cached.get(|| panic!("computed twice")), Ok(1));
            Ok(2)
        });
        assert_eq!((value, cached.get(|| Ok(3))), (Ok(2), Ok(2)));
    }

    #[test]
    fn failures_are_kept_too_and_for_as_long() {
        let cached = Cached::<u8>::new();
        let problem = Problem::new(503, "database_unavailable", "");
        assert_eq!(cached.get(|| Err(problem.clone())), Err(problem.clone()));
        assert_eq!(cached.get(|| Ok(1)), Err(problem));
        cached.lock().last.as_mut().unwrap().1 = Instant::now();
        assert_eq!(cached.get(|| Ok(1)), Ok(1));
    }

    #[test]
    fn what_is_dear_serves_longer_within_bounds() {
        for (took, fresh) in [(0, 1000), (99, 1000), (250, 2500), (60_000, 30_000)] {
            assert_eq!(fresh_for(Duration::from_millis(took)), Duration::from_millis(fresh));
        }
    }

    #[test]
    fn a_panic_gives_the_turn_back() {
        let cached = Cached::new();
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cached.get(|| panic!("at once"))));
        assert!(panicked.is_err());
        assert_eq!(cached.get(|| Ok(1)), Ok(1));
    }
}
