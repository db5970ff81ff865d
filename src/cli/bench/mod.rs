//! `bench`: how fast this machine runs commands durably, beside how fast it runs them at all, and what else a node
//! costs.
//!
//! | file | role |
//! |---|---|
//! | `args` | what is asked |
//! | `stage`, `leftovers`, `child` | schemas, nodes in this process, nodes in others |
//! | `waiting`, `feeder` | until all is recorded; a backlog |
//! | `cost`, `source` | processor time, log and rows; connections |
//! | `durable`, `bare` | the rate and its yardsticks |
//! | the others, one for each mode | a figure, and what it is compared with |
//! | `quantile`, `report` | many values in few; what is printed |

mod args;
mod bare;
mod child;
mod churn;
mod cost;
mod durable;
mod error;
mod feeder;
mod history;
mod idle;
mod latency;
mod leftovers;
mod memory;
mod nodes;
mod priority;
mod quantile;
mod report;
mod sleepers;
mod source;
mod stage;
mod waiting;

use std::sync::Arc;

pub use args::BenchArgs;
pub use child::run_node;
pub use error::BenchError;
pub use report::{BenchReport, print};

use self::stage::Stage;
use crate::cli::global::GlobalOptions;
use crate::database::ConnectionSource;

/// Runs the bench; progress goes to stderr.
///
/// # Errors
/// When the database fails, a command can't be run, nothing is recorded any more, or what is recorded is wrong.
pub fn bench(
    args: &BenchArgs,
    global: &GlobalOptions,
    source: &Arc<dyn ConnectionSource>,
) -> Result<BenchReport, BenchError> {
    leftovers::drop_all(source)?;
    let stage = Stage { args, global, source };
    if let Some(starts) = args.latency {
        return latency::run(&stage, starts).map(BenchReport::Latency);
    }
    if let Some(seconds) = args.idle {
        return idle::run(&stage, seconds).map(BenchReport::Idle);
    }
    if let Some(finished) = args.history {
        return history::run(&stage, finished).map(BenchReport::History);
    }
    if let Some(seconds) = args.churn {
        return churn::run(&stage, seconds).map(BenchReport::Churn);
    }
    if let Some(sleepers) = args.sleepers {
        return sleepers::run(&stage, sleepers).map(BenchReport::Sleepers);
    }
    if !args.nodes.is_empty() {
        return nodes::run(&stage, &args.nodes).map(BenchReport::Nodes);
    }
    if args.memory {
        return memory::run(&stage).map(BenchReport::Memory);
    }
    if let Some(starts) = args.priority {
        return priority::run(&stage, starts).map(BenchReport::Priority);
    }
    durable::run(&stage).map(|report| BenchReport::Rate(Box::new(report)))
}
