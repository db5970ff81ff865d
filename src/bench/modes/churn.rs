//! How long claims take while rows come and go and none of the dead ones can be removed.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::priority::start_to_spawn;
use crate::bench::error::BenchError;
use crate::bench::feeder::while_fed;
use crate::bench::lines::Lines;
use crate::bench::quantile::Quantiles;
use crate::bench::stage::{Cast, Played, Stage, TYPE};
use crate::engine::NodeConfig;
use crate::engine::claim::scan_cursor::ScanCursor;
use crate::engine::health::metrics::Distribution;
use crate::store::Store;
use crate::store::bench::PROBE;
use crate::store::claims::{ClaimRequest, Claimed};

/// From one of them to the next: 600 in a tenth of a minute, and no load of its own.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// Starts of one process that are timed before and after the load, when nothing else is due.
const STARTS: u32 = 50;
/// Executions before the time begins.
const WARM_UP: u64 = 500;

/// Claims in the first and in the last tenth of the time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Report {
    /// How long the load lasted.
    pub seconds: f64,
    /// Executors of the node; its tasks run nothing.
    pub executors: usize,
    /// Tasks recorded meanwhile.
    pub tasks: u64,
    /// Processes started.
    pub processes: u64,
    /// Tasks a second in the first tenth.
    pub first_rate: f64,
    /// Tasks a second in the last tenth.
    pub last_rate: f64,
    /// Claims of one process, made beside the node's, in the first tenth.
    pub first: Quantiles,
    /// And in the last.
    pub last: Quantiles,
    /// The last p99 over the first.
    pub p99_ratio: f64,
    /// From a committed start to its command's spawn on an idle node, before the load.
    pub idle_start_before: Quantiles,
    /// And after it.
    pub idle_start_after: Quantiles,
    /// The mean of the node's own claims in the first tenth.
    pub node_first_mean_ms: Option<f64>,
    /// And in the last.
    pub node_last_mean_ms: Option<f64>,
}

/// A moment of the run.
struct Mark {
    at: Instant,
    executions: u64,
    claims: Distribution,
}

/// The times of claims in milliseconds, each after when it began as a share of the whole; and four marks: the begin, a
/// tenth, nine tenths, the end.
type Probed = (Vec<(f64, f64)>, Vec<Mark>);

/// Loads a node beside an open transaction.
pub fn run(stage: &Stage<'_>, seconds: u32) -> Result<Report, BenchError> {
    stage.in_schema("churn", |schema| {
        stage.register(schema, TYPE, stage.args.tasks, &stage.args.command)?;
        let mut holder = stage.store(schema)?;
        holder.hold_snapshot()?;
        let cast = Cast { is_noop: true, ..Cast::of(stage.args.executors()) };
        let played = stage.node(schema, cast)?;
        let time = Duration::from_secs(seconds.into());
        let mut store = stage.store(schema)?;
        let before = idle_starts(&mut store, &played)?;
        let probed = while_fed(stage, schema, &played, WARM_UP, || probe(stage, schema, &played, time));
        // The backlog ends before the starts afterwards, and all of these before the node: then all can be checked.
        let until_ended = |processes| {
            played.follow(Instant::now(), 0, processes * u64::from(stage.args.tasks)).map(|_| processes)
        };
        let ended = probed.and_then(|(probed, fed)| {
            until_ended(fed + u64::from(STARTS))?;
            let after = idle_starts(&mut store, &played)?;
            Ok((probed, fed, after, until_ended(fed + 2 * u64::from(STARTS))?))
        });
        played.node.stop();
        drop(holder);
        let ((claims, marks), fed, after, processes) = ended?;
        stage.check(&mut store, processes, stage.args.tasks)?;
        report(seconds, cast.executors, fed, claims, &marks, [before, after])
    })
}

fn idle_starts(store: &mut Store, played: &Played) -> Result<Quantiles, BenchError> {
    let times: Result<Vec<f64>, BenchError> = (0..STARTS).map(|_| start_to_spawn(store, played, 0)).collect();
    Quantiles::of(times?).ok_or_else(|| BenchError::System("no start was timed".to_owned()))
}

/// Makes one claim after the other.
fn probe(stage: &Stage<'_>, schema: &str, played: &Played, time: Duration) -> Result<Probed, BenchError> {
    let mut store = stage.hot_store(schema)?;
    store.register_probe()?;
    // The first one is prepared.
    let mut cursor = ScanCursor::new(NodeConfig::default().poll_interval);
    one_claim(&mut store, &mut cursor)?;
    let began = Instant::now();
    let (mut claims, mut marks) = (Vec::new(), vec![mark(played)]);
    while began.elapsed() < time {
        let share = began.elapsed().as_secs_f64() / time.as_secs_f64();
        if marks.len() == 1 && share >= 0.1 || marks.len() == 2 && share >= 0.9 {
            marks.push(mark(played));
        }
        claims.push((share, one_claim(&mut store, &mut cursor)?));
        std::thread::park_timeout(PROBE_EVERY);
    }
    marks.push(mark(played));
    Ok((claims, marks))
}

fn mark(played: &Played) -> Mark {
    let health = played.node.health();
    Mark {
        at: Instant::now(),
        executions: health.executions(),
        claims: health.metrics().claim_seconds.distribution(),
    }
}

/// Claims as a node does while there is a backlog.
fn one_claim(store: &mut Store, cursor: &mut ScanCursor) -> Result<f64, BenchError> {
    let began = Instant::now();
    let scan = cursor.scan(None, began);
    let request = ClaimRequest { parts: &scan.parts(), ..ClaimRequest::of(1) };
    let claimed = store.claim_due(PROBE, &request)?.claimed;
    let took = began.elapsed().as_secs_f64() * 1000.0;
    cursor.note(&claimed, &scan, claimed.len() == 1, began);
    let claims: Vec<_> = claimed
        .into_iter()
        .map(|one| match one {
            Claimed::Ready(claim, _) => (claim.process_id, claim.version),
            Claimed::Unreadable { process_id, version, .. } => (process_id.into(), version),
        })
        .collect();
    // Claimed again and again it would gather versions as no process does.
    for (process_id, _) in &claims {
        store.postpone(process_id)?;
    }
    if !claims.is_empty() {
        store.release(PROBE, &claims)?;
    }
    Ok(took)
}

fn report(
    seconds: u32,
    executors: usize,
    processes: u64,
    claims: Vec<(f64, f64)>,
    marks: &[Mark],
    [idle_start_before, idle_start_after]: [Quantiles; 2],
) -> Result<Report, BenchError> {
    let too_short = || BenchError::System(format!("{seconds} s are too short; give --churn 2 or more"));
    let [begin, tenth, nine_tenths, end] = marks else { return Err(too_short()) };
    let part = |is_in: fn(f64) -> bool| {
        let times = claims.iter().filter(|(share, _)| is_in(*share)).map(|(_, took)| *took);
        Quantiles::of(times.collect()).ok_or_else(too_short)
    };
    let (first, last) = (part(|share| share < 0.1)?, part(|share| share >= 0.9)?);
    let rate =
        |from: &Mark, to: &Mark| (to.executions - from.executions) as f64 / (to.at - from.at).as_secs_f64();
    let mean = |from: &Mark, to: &Mark| {
        let count = to.claims.count - from.claims.count;
        (count > 0).then(|| (to.claims.sum - from.claims.sum) * 1000.0 / count as f64)
    };
    Ok(Report {
        seconds: (end.at - begin.at).as_secs_f64(),
        executors,
        tasks: end.executions - begin.executions,
        processes,
        first_rate: rate(begin, tenth),
        last_rate: rate(nine_tenths, end),
        first,
        last,
        p99_ratio: last.p99_ms / first.p99_ms,
        idle_start_before,
        idle_start_after,
        node_first_mean_ms: mean(begin, tenth),
        node_last_mean_ms: mean(nine_tenths, end),
    })
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        lines.add("load", format!(
            "{} tasks recorded, {} processes started in {:.1} s, {} executors, a transaction open all the time",
            self.tasks, self.processes, self.seconds, self.executors
        ));
        lines.add("claim of one, first tenth", self.first.shown());
        lines.add("claim of one, last tenth", self.last.shown());
        lines.add("p99, last to first", format!("{:.2}", self.p99_ratio));
        if let (Some(first), Some(last)) = (self.node_first_mean_ms, self.node_last_mean_ms) {
            lines.add("node's claims, mean", format!("first tenth {first:.2} ms, last {last:.2} ms"));
        }
        lines.add("start to spawn, idle, before", self.idle_start_before.shown());
        lines.add("start to spawn, idle, after", self.idle_start_after.shown());
        lines
            .add("rate", format!("first tenth {:.0} tasks/s, last {:.0}/s", self.first_rate, self.last_rate));
        Vec::new()
    }
}
