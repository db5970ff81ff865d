//! One file for each figure that `bench` measures.

pub mod churn;
pub mod durable;
pub mod forget;
pub mod history;
pub mod idle;
pub mod latency;
pub mod limits;
pub mod memory;
pub mod nodes;
pub mod output;
pub mod priority;
pub mod serve;
pub mod sleepers;
pub mod starts;
