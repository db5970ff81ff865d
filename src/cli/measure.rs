//! `bench` as a command: the session around [`super::bench`], and its report on standard output.

use clap::Args;

use super::bench::{self, BenchArgs, BenchError};
use super::error::CliError;
use super::options::global::GlobalOptions;
use super::screen::terminal::{print, print_json};
use super::surroundings::session::{Need, Session};

/// What to measure.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub bench: BenchArgs,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Measures and reports.
///
/// # Errors
/// When the database fails or a command can't be run.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    if options.bench.as_node {
        return bench::run_node(global, &options.bench);
    }
    let (session, store) = Session::open(global, Need::Database)?;
    drop(store);
    let report = bench::bench(&options.bench, global, &session.source())?;
    if options.json {
        return print_json(&report);
    }
    let mut text = Vec::new();
    bench::print(&report, &mut text).map_err(CliError::Output)?;
    print(text)
}

impl From<BenchError> for CliError {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Store(error) => error.into(),
            BenchError::Start(error) => error.into(),
            _ => Self::Failed(error.to_string()),
        }
    }
}
