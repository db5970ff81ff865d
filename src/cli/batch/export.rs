//! `batch joblog` and `batch results`: a line for each process, read and printed in pages.

use std::io::{self, BufWriter, Write};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::cli::error::CliError;
use crate::cli::options::bulk::unknown_batch;
use crate::cli::options::global::GlobalOptions;
use crate::cli::screen::message_queue;
use crate::cli::surroundings::session::{Need, Session};
use crate::model::batch::joblog::{JOBLOG_HEADER, JoblogLine};
use crate::store::Store;
use crate::store::batches::JoblogPlace;

/// Processes that are read at once; inputs and contexts may have megabytes, so there are fewer with those.
const JOBLOG_PAGE: u32 = 2_000;
const RESULTS_PAGE: u32 = 200;

/// Which batch's joblog.
#[derive(Debug, Args)]
pub struct JoblogOptions {
    /// The batch's name
    #[arg(value_name = "BATCH")]
    pub name: String,
    /// Print JSON lines, one for each process, in the place of GNU parallel's columns
    #[arg(long)]
    pub json: bool,
}

/// Which batch's results.
#[derive(Debug, Args)]
pub struct ResultsOptions {
    /// The batch's name
    #[arg(value_name = "BATCH")]
    pub name: String,
    /// Print JSON lines, one for each process, in the place of CSV
    #[arg(long)]
    pub json: bool,
}

/// Prints the joblog, in the order in which the processes ended.
///
/// # Errors
/// There is no such batch, the database fails, or standard output can't be written.
pub fn joblog(global: &GlobalOptions, options: &JoblogOptions) -> Result<(), CliError> {
    let (_session, mut store) = open(global, &options.name)?;
    let mut out = Out::new();
    if !options.json {
        out.line(JOBLOG_HEADER)?;
    }
    let mut place = Some(JoblogPlace::default());
    while let Some(after) = place {
        let (lines, next) = store.batch_joblog(&options.name, &after, JOBLOG_PAGE)?;
        for line in &lines {
            if options.json { out.json(&document(line))? } else { out.line(&line.line())? }
        }
        place = next;
    }
    out.end()
}

fn document(line: &JoblogLine) -> serde_json::Value {
    json!({
        "seq": line.seq,
        "host": line.host,
        "starttime": line.started_at.map(|it| it.as_millisecond() as f64 / 1000.0),
        "job_runtime": line.runtime_s,
        "send": line.send,
        "receive": line.receive,
        "exitval": line.exitval,
        "signal": line.signal,
        "command": line.command,
        "process_id": line.process_id,
        "status": line.status,
    })
}

/// Prints the results, in the order of the ids.
///
/// # Errors
/// There is no such batch, it has too many keys for a table, the database fails, or standard output can't be written.
pub fn results(global: &GlobalOptions, options: &ResultsOptions) -> Result<(), CliError> {
    let (_session, mut store) = open(global, &options.name)?;
    let columns = match options.json {
        true => None,
        false => Some(store.batch_result_columns(&options.name)?.ok_or_else(|| {
            CliError::Failed(format!(
                "the inputs and results of batch {:?} have too many different keys for a table; print JSON lines: --json",
                options.name
            ))
        })?),
    };
    let mut out = Out::new();
    if let Some(columns) = &columns {
        out.line(&columns.header())?;
    }
    let mut after = String::new();
    loop {
        let rows = store.batch_results(&options.name, &after, RESULTS_PAGE)?;
        for row in &rows {
            match &columns {
                Some(columns) => out.line(&columns.line(row))?,
                None => out.json(row)?,
            }
        }
        match rows.last() {
            Some(last) if rows.len() >= RESULTS_PAGE as usize => after.clone_from(&last.process_id),
            _ => return out.end(),
        }
    }
}

fn open(global: &GlobalOptions, name: &str) -> Result<(Session, Store), CliError> {
    let (session, mut store) = Session::open(global, Need::Tables)?;
    match store.batch(name)? {
        Some(_) => Ok((session, store)),
        None => Err(unknown_batch(&mut store, name, global)),
    }
}

/// Standard output, a buffer at a time.
struct Out(BufWriter<io::Stdout>);

impl Out {
    fn new() -> Self {
        // What was said before has to stand before.
        message_queue::finish();
        Self(BufWriter::with_capacity(64 * 1024, io::stdout()))
    }

    fn line(&mut self, line: &str) -> Result<(), CliError> {
        writeln!(self.0, "{line}").map_err(CliError::Output)
    }

    fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let line = serde_json::to_string(value).map_err(|cause| CliError::Output(cause.into()))?;
        self.line(&line)
    }

    fn end(mut self) -> Result<(), CliError> {
        self.0.flush().map_err(CliError::Output)
    }
}
