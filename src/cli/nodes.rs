//! `nodes`: the orchestrators that run or ran.

use std::borrow::Cow;

use clap::Args;
use jiff::Timestamp;

use super::error::CliError;
use super::options::global::GlobalOptions;
use super::screen::table::{Fit, Table};
use super::screen::terminal::{Size, print_lines, print_list, tell_unreadable};
use super::screen::text::{self, Clock};
use super::surroundings::session::{Need, Session};
use crate::model::records::NodeData;

/// The latest ones are what anybody looks for.
const NODES_MAX: u32 = 100;

/// What to print.
#[derive(Debug, Args)]
pub struct Options {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Prints the nodes, the latest first.
///
/// # Errors
/// When the database fails.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let nodes = store.nodes(NODES_MAX)?;
    if options.json {
        return print_list(&nodes, "nodes");
    }
    let now = store.now()?;
    tell_unreadable(&nodes.unreadable);
    let columns = Size::stdout_columns();
    print_lines(&table(&nodes, &Clock::system(), now).lines(columns, |_, _, cell| cell))
}

fn table(nodes: &[NodeData], clock: &Clock, now: Timestamp) -> Table {
    let mut table = Table::new(&[
        ("NAME", Fit::Shrinks(8)),
        ("STATE", Fit::Whole),
        ("EXECUTORS", Fit::Right),
        ("STARTED", Fit::Whole),
        ("HEARTBEAT", Fit::Right),
        ("VERSION", Fit::Whole),
        ("NODE", Fit::Shrinks(8)),
    ]);
    for node in nodes {
        table.row(vec![
            text::escape(&node.name).into_owned(),
            state_of(node, now).into_owned(),
            node.executors.to_string(),
            clock.short(node.started_at),
            format!("{} ago", text::duration(text::between(node.last_heartbeat, now))),
            text::escape(&node.version).into_owned(),
            text::escape(&node.node_id).into_owned(),
        ]);
    }
    table
}

/// The state; a node that says nothing any more may not run, whatever its row says.
fn state_of(node: &NodeData, now: Timestamp) -> Cow<'_, str> {
    if node.state == "RUNNING" && node.is_silent(now) { "SILENT".into() } else { text::escape(&node.state) }
}
