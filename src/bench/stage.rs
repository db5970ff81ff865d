//! Where the modes play: schemas of their own, a node, processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::args::{Args, Reach};
use super::error::BenchError;
use super::leftovers::{self, ROLE};
use super::source::CountedSource;
use super::waiting::{self, Run};
use crate::database::ConnectionSource;
use crate::engine::{CommandRunners, Node, NodeConfig, NoopRunners, Runners, guard};
use crate::model::process_type::{ProcessType, TaskDefinition};
use crate::store::Store;
use crate::store::bench::RecordedOfType;
use crate::store::start::{StartOptions, StartRequest};

/// The process type of every mode.
pub const TYPE: &str = "bench";
/// Connections for statements of the engine have its settings: none of ours runs for long.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// The caller's number of such a connection; we have one at a time.
const TURN: i32 = 0;

/// What all modes need.
pub struct Stage<'a> {
    pub args: &'a Args,
    pub reach: &'a Reach,
    pub source: &'a Arc<dyn ConnectionSource>,
}

/// A node of this process, with its connections.
pub struct Played {
    pub node: Node,
    source: Arc<CountedSource>,
}

/// What differs from a node with the usual settings.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    pub executors: usize,
    /// Its tasks run nothing.
    pub is_noop: bool,
    /// It hears no notifications.
    pub is_deaf: bool,
    /// How long its end waits for commands.
    pub drain: Duration,
}

impl Cast {
    /// With this many executors.
    pub fn of(executors: usize) -> Self {
        Self { executors, is_noop: false, is_deaf: false, drain: NodeConfig::default().drain_timeout }
    }
}

impl Stage<'_> {
    /// Does `work` in a schema of its own and drops it, also when `work` fails.
    pub fn in_schema<T>(
        &self,
        label: &str,
        work: impl FnOnce(&str) -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        let schema = leftovers::schema_name(label);
        let mut store = Store::open(&**self.source, ROLE, &schema)?;
        store.migrate(false)?;
        let remark = if self.args.keep { leftovers::KEPT.to_owned() } else { leftovers::remark() };
        store.remark(&remark)?;
        drop(store);
        let result = work(&schema);
        if self.args.keep {
            eprintln!("kept: schema {schema}");
        } else {
            self.store(&schema)?.drop_schema()?;
        }
        result
    }

    /// A connection of our own.
    pub fn store(&self, schema: &str) -> Result<Store, BenchError> {
        Ok(Store::open(&**self.source, ROLE, schema)?)
    }

    /// A connection as the engine's own are, for its statements.
    pub fn hot_store(&self, schema: &str) -> Result<Store, BenchError> {
        Ok(Store::open_hot(&**self.source, ROLE, schema, TURN, STATEMENT_TIMEOUT)?)
    }

    /// The cast of a node as the options ask for it.
    pub fn cast(&self) -> Cast {
        Cast { is_noop: self.args.noop, ..Cast::of(self.args.executors()) }
    }

    /// Starts a node.
    pub fn node(&self, schema: &str, cast: Cast) -> Result<Played, BenchError> {
        let source = Arc::new(CountedSource::new(Arc::clone(self.source), cast.is_deaf));
        let node = start_node(
            Arc::clone(&source) as Arc<dyn ConnectionSource>,
            NodeConfig {
                schema: schema.to_owned(),
                executors: cast.executors,
                drain_timeout: cast.drain,
                ..NodeConfig::default()
            },
            cast.is_noop,
        )?;
        Ok(Played { node, source })
    }

    /// Registers a type of `tasks` tasks of one command.
    pub fn register(&self, schema: &str, name: &str, tasks: u32, command: &str) -> Result<(), BenchError> {
        let kind = (0..tasks).fold(ProcessType::new(name, ""), |kind, i| {
            kind.add(TaskDefinition::new(format!("task-{i}"), command))
        });
        kind.validate("--command").map_err(|faults| BenchError::Command(faults.to_string()))?;
        self.store(schema)?.register(&kind)?;
        Ok(())
    }

    /// Words of the command, for those who run it without a node.
    pub fn argv(&self) -> Result<Vec<String>, BenchError> {
        shell_words::split(&self.args.command)
            .map_err(|error| BenchError::Command(format!("--command {:?}: {error}", self.args.command)))
    }

    /// That each of the type's processes is COMPLETED, and has one execution of each task that succeeded.
    pub fn check(&self, store: &mut Store, processes: u64, tasks: u32) -> Result<(), BenchError> {
        let found = store.recorded_of(TYPE)?;
        self.check_outcomes(found.unfinished, &found)?;
        let expected = i64::try_from(processes * u64::from(tasks)).unwrap_or(i64::MAX);
        if found.executions != expected || found.first_attempts != expected {
            return Err(BenchError::Wrong(format!(
                "{expected} tasks have {} executions, {} of them first ones",
                found.executions, found.first_attempts
            )));
        }
        Ok(())
    }

    /// That each task of the type that has ended did so in one execution, which succeeded; others may wait.
    pub fn check_ended(&self, store: &mut Store) -> Result<(), BenchError> {
        let found = store.recorded_of(TYPE)?;
        self.check_outcomes(0, &found)?;
        match found.executions == found.first_attempts {
            true => Ok(()),
            false => Err(BenchError::Wrong(format!(
                "of {} executions only {} are the first of their task",
                found.executions, found.first_attempts
            ))),
        }
    }

    fn check_outcomes(&self, unfinished: i64, found: &RecordedOfType) -> Result<(), BenchError> {
        if unfinished > 0 || found.not_succeeded > 0 {
            return Err(BenchError::Command(format!(
                "{unfinished} processes did not complete and {} executions failed; does {:?} end with exit code 0?",
                found.not_succeeded, self.args.command
            )));
        }
        Ok(())
    }
}

/// Starts a node as `serve` does.
pub fn start_node(
    source: Arc<dyn ConnectionSource>,
    config: NodeConfig,
    is_noop: bool,
) -> Result<Node, BenchError> {
    let runners: Arc<dyn Runners> =
        if is_noop { Arc::new(NoopRunners) } else { Arc::new(CommandRunners::new()) };
    Ok(Node::start(source, NodeConfig { guard: guard::own_program(), ..config }, runners)?)
}

/// Starts processes of [`TYPE`] in one call; returns when they are committed.
pub fn start_many(store: &mut Store, processes: u32, priority: i32) -> Result<Vec<String>, BenchError> {
    let requests = vec![StartRequest::default(); processes as usize];
    Ok(store.start_processes(TYPE, &requests, StartOptions { start_at: None, priority })?)
}

impl Played {
    /// Its connections, by the thread that holds them.
    pub fn connections(&self) -> BTreeMap<String, usize> {
        self.source.open()
    }

    /// Waits until it has recorded `expected` executions since it had recorded `before`.
    pub fn follow(&self, began: Instant, before: u64, expected: u64) -> Result<Run, BenchError> {
        waiting::follow_node(&self.node, began, before, expected)
    }
}
