//! Keeps a backlog before a node for as long as something else is measured.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::error::BenchError;
use super::stage::{Played, Stage, start_many};

/// Processes started by one call.
const BATCH: u32 = 500;
/// The backlog below which more are started: no node claims more than 256 at once.
const BACKLOG_MIN: u64 = 1000;
/// How often the backlog is looked at.
const FEED_LOOK: Duration = Duration::from_millis(5);

/// What it has started, and whether it is to go on.
#[derive(Debug, Default)]
pub struct Feeder {
    started: AtomicU64,
    is_over: AtomicBool,
}

/// Ends the feeding when it goes, also when what is measured fails.
pub struct Feeding<'a>(&'a Feeder);

impl Feeder {
    /// Feeds the node until the end of the [`Feeding`].
    pub fn feed(&self, stage: &Stage<'_>, schema: &str, played: &Played) -> Result<(), BenchError> {
        let mut store = stage.store(schema)?;
        let health = played.node.health();
        while !self.is_over.load(Ordering::Relaxed) {
            let ended = health.executions() / u64::from(stage.args.tasks);
            if self.started() - ended.min(self.started()) < BACKLOG_MIN {
                start_many(&mut store, BATCH, 0)?;
                self.started.fetch_add(u64::from(BATCH), Ordering::Relaxed);
            } else {
                std::thread::park_timeout(FEED_LOOK);
            }
        }
        Ok(())
    }

    /// Processes started so far.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// To be held for as long as it is to go on.
    pub fn while_held(&self) -> Feeding<'_> {
        Feeding(self)
    }
}

impl Drop for Feeding<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// Does `work` while the node is fed; it begins once the node has gone through `warm_up` executions.
pub fn while_fed<T>(
    stage: &Stage<'_>,
    schema: &str,
    played: &Played,
    warm_up: u64,
    work: impl FnOnce() -> Result<T, BenchError>,
) -> Result<(T, u64), BenchError> {
    let feeder = Feeder::default();
    let result = std::thread::scope(|scope| {
        let held = feeder.while_held();
        let feeding = scope.spawn(|| feeder.feed(stage, schema, played));
        let warm = played.follow(std::time::Instant::now(), 0, warm_up);
        let result = warm.and_then(|_| work());
        drop(held);
        // A panic over there is one of ours: pass it on. Its failure is the cause of ours, if there are both.
        feeding.join().unwrap_or_else(|p| std::panic::resume_unwind(p))?;
        result
    })?;
    Ok((result, feeder.started()))
}
