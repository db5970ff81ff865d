//! Waiting until executions are recorded, and when how many were.

use std::time::{Duration, Instant};

use super::error::{BenchError, STALL};
use crate::engine::Node;

/// How often the end of a run is looked for: a ten-thousandth of the shortest run that means anything.
pub const LOOK: Duration = Duration::from_millis(2);

/// The shares of a run between which its first and its last tenth lie. What is before and after is left out: the node
/// starts there, or has fewer processes left than executors.
const TENTHS: [f64; 4] = [0.02, 0.12, 0.88, 0.98];
/// With fewer executions a tenth is a handful of batches.
const TENTHS_FROM: u64 = 1000;

/// How a run went.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// From its begin until all was recorded.
    pub seconds: f64,
    /// The rate of the last tenth over that of the first.
    pub last_tenth_to_first: Option<f64>,
}

/// Waits until `count` says that `expected` executions are recorded, from `began` on.
pub fn follow(
    began: Instant,
    expected: u64,
    mut count: impl FnMut() -> Result<u64, BenchError>,
) -> Result<Run, BenchError> {
    let marks = TENTHS.map(|share| (share * expected as f64) as u64);
    let mut passed: Vec<(u64, f64)> = Vec::with_capacity(marks.len());
    let (mut recorded, mut last_change) = (count()?, Instant::now());
    while recorded < expected {
        std::thread::park_timeout(LOOK);
        let now = count()?;
        if now != recorded {
            (recorded, last_change) = (now, Instant::now());
        } else if last_change.elapsed() > STALL {
            return Err(BenchError::Stalled { recorded, expected });
        }
        while marks.get(passed.len()).is_some_and(|mark| recorded >= *mark) {
            passed.push((recorded, began.elapsed().as_secs_f64()));
        }
    }
    Ok(Run { seconds: began.elapsed().as_secs_f64(), last_tenth_to_first: flatness(expected, &passed) })
}

fn flatness(expected: u64, passed: &[(u64, f64)]) -> Option<f64> {
    let [a, b, c, d] = passed else { return None };
    let rate = |from: &(u64, f64), to: &(u64, f64)| (to.0 - from.0) as f64 / (to.1 - from.1);
    let ratio = rate(c, d) / rate(a, b);
    // Two marks that were passed at one look say nothing.
    (expected >= TENTHS_FROM && ratio.is_finite() && ratio > 0.0).then_some(ratio)
}

/// The same for one node, from the executions that it had recorded before.
pub fn follow_node(node: &Node, began: Instant, before: u64, expected: u64) -> Result<Run, BenchError> {
    let health = node.health();
    follow(began, expected, || {
        if node.failed().is_empty() {
            return Ok(health.executions().saturating_sub(before));
        }
        let problem = node.failed().try_recv().unwrap_or_default();
        Err(BenchError::System(format!("a thread of the node has failed: {problem}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenths_are_compared_by_their_rates() {
        let passed = [(200, 1.0), (1200, 2.0), (8800, 5.0), (9800, 7.0)];
        assert_eq!(flatness(10_000, &passed), Some(0.5));
        assert_eq!(flatness(999, &passed), None);
        assert_eq!(flatness(10_000, &passed[..3]), None);
        assert_eq!(flatness(10_000, &[(200, 1.0), (200, 1.0), (8800, 5.0), (9800, 7.0)]), None);
    }
}
