//! What a node uses that has nothing to do.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bench::cost::{Meter, own_times};
use crate::bench::error::BenchError;
use crate::bench::lines::Lines;
use crate::bench::stage::{Stage, TYPE};

/// The node's start is not idleness.
const SETTLE: Duration = Duration::from_secs(2);

/// Shares of one core, 1 is all of it; absent where the system does not show them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Report {
    /// Over this many seconds.
    pub seconds: f64,
    /// Executors of the node.
    pub executors: usize,
    /// The node's share.
    pub node_core_share: Option<f64>,
    /// The share of all processes of the server.
    pub postgresql_core_share: Option<f64>,
    /// Both.
    pub total_core_share: Option<f64>,
}

/// Leaves a node alone for a while.
pub fn run(stage: &Stage<'_>, seconds: u32) -> Result<Report, BenchError> {
    stage.in_schema("idle", |schema| {
        stage.register(schema, TYPE, 1, &stage.args.command)?;
        let meter = Meter::new(stage, schema)?;
        let played = stage.node(schema, stage.cast())?;
        pause(SETTLE);
        let (began, node, server) = (Instant::now(), own_times().0, meter.server_seconds());
        pause(Duration::from_secs(seconds.into()));
        let took = began.elapsed().as_secs_f64();
        let share = |then: Option<f64>, now: Option<f64>| Some((now? - then?) / took);
        let node_core_share = share(node, own_times().0);
        let postgresql_core_share = share(server, meter.server_seconds());
        played.node.stop();
        let total = node_core_share.zip(postgresql_core_share).map(|(node, server)| node + server);
        Ok(Report {
            seconds: took,
            executors: stage.args.executors(),
            node_core_share,
            postgresql_core_share,
            total_core_share: total,
        })
    })
}

/// `park_timeout` may end early.
fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|it| !it.is_zero()) {
        std::thread::park_timeout(left);
    }
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        let percent = |share: f64| format!("{:.2} % of a core", share * 100.0);
        lines.add("idle node", format!("{} executors, {:.0} s", self.executors, self.seconds));
        lines.add_some("node", self.node_core_share, percent);
        lines.add_some("PostgreSQL", self.postgresql_core_share, percent);
        lines.add_some("both", self.total_core_share, percent);
        Vec::new()
    }
}
