//! How the node fares that an endpoint belongs to.

use crate::engine::health::metrics::Metrics;

/// How the node fares that this endpoint belongs to. Asked often: no call may wait.
pub trait NodeHealth: Send + Sync {
    /// Whether it takes work: it reaches the database and is not stopping.
    fn is_ready(&self) -> bool;
    /// Why it is not ready, a sentence.
    fn problem(&self) -> Option<String>;
    /// How many commands it runs at once.
    fn executors(&self) -> usize;
    /// How many it runs now.
    fn busy(&self) -> usize;
    /// Identified anew at every start.
    fn node_id(&self) -> &str;
    /// The name the operator gave it.
    fn node_name(&self) -> &str;
    /// What it has measured of itself, if it does.
    fn metrics(&self) -> Option<&Metrics> {
        None
    }
    /// Results that were not written because their claim had been taken.
    fn stale_results(&self) -> u64 {
        0
    }
}

impl NodeHealth for crate::engine::Health {
    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }
    fn problem(&self) -> Option<String> {
        Self::problem(self)
    }
    fn executors(&self) -> usize {
        Self::executors(self)
    }
    fn busy(&self) -> usize {
        Self::busy(self)
    }
    fn node_id(&self) -> &str {
        Self::node_id(self)
    }
    fn node_name(&self) -> &str {
        Self::node_name(self)
    }
    fn metrics(&self) -> Option<&Metrics> {
        Some(Self::metrics(self))
    }
    fn stale_results(&self) -> u64 {
        Self::stale_results(self)
    }
}
