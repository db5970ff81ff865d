//! How fast this machine runs commands durably, beside how fast it runs them at all, and what else a node costs.
//!
//! The command line reads what is asked ([`args`]) and prints what was found ([`report`]).
//!
//! | file | role |
//! |---|---|
//! | `args` | what is asked |
//! | `stage`, `leftovers` | schemas of our own, a node in this process |
//! | `child`, `served` | nodes that are processes of their own: the bench's, and `serve` |
//! | `waiting`, `feeder` | until all is recorded; a backlog |
//! | `cost`, `source` | processor time, log and rows; connections |
//! | `bare` | the yardsticks: a loop of threads, `xargs` |
//! | `modes/` | one file for each figure, and what it is compared with |
//! | `quantile`, `lines`, `report` | many values in few; what is printed |

pub mod args;
mod bare;
pub mod child;
mod cost;
pub mod error;
mod feeder;
mod leftovers;
mod lines;
mod modes;
mod quantile;
pub mod report;
mod served;
mod source;
pub mod stage;
mod waiting;

use std::sync::Arc;

use self::args::{Args, Mode, Reach};
use self::error::BenchError;
use self::report::BenchReport;
use self::stage::Stage;
use crate::database::ConnectionSource;

/// Metrics what is asked; progress goes to stderr.
///
/// # Errors
/// When the database fails, a command can't be run, nothing is recorded any more, or what is recorded is wrong.
pub fn run(
    args: &Args,
    reach: &Reach,
    source: &Arc<dyn ConnectionSource>,
) -> Result<BenchReport, BenchError> {
    leftovers::drop_all(source)?;
    let stage = &Stage { args, reach, source };
    match &args.mode {
        Mode::Rate { xargs } => {
            modes::durable::run(stage, *xargs).map(|report| BenchReport::Rate(Box::new(report)))
        }
        Mode::Serve { executors } => modes::serve::run(stage, executors).map(BenchReport::Serve),
        Mode::Output { sizes, idle_seconds } => {
            modes::output::run(stage, sizes, *idle_seconds).map(BenchReport::Output)
        }
        Mode::Starts { sessions, seconds } => {
            modes::starts::run(stage, *sessions, *seconds).map(BenchReport::Starts)
        }
        Mode::Latency(latency) => modes::latency::run(stage, *latency).map(BenchReport::Latency),
        Mode::Idle { seconds } => modes::idle::run(stage, *seconds).map(BenchReport::Idle),
        Mode::History { past, plan } => modes::history::run(stage, *past, *plan).map(BenchReport::History),
        Mode::Forget { finished, window } => {
            let window = std::time::Duration::from_secs((*window).into());
            modes::forget::run(stage, *finished, window).map(|report| BenchReport::Forget(Box::new(report)))
        }
        Mode::Churn { seconds } => modes::churn::run(stage, *seconds).map(BenchReport::Churn),
        Mode::Sleepers { count } => modes::sleepers::run(stage, *count).map(BenchReport::Sleepers),
        Mode::Nodes { counts } => modes::nodes::run(stage, counts).map(BenchReport::Nodes),
        Mode::Limits { max, held } => modes::limits::run(stage, *max, *held).map(BenchReport::Limits),
        Mode::Memory => modes::memory::run(stage).map(BenchReport::Memory),
        Mode::Priority { starts } => modes::priority::run(stage, *starts).map(BenchReport::Priority),
    }
}
