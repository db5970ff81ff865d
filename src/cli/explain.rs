//! `explain`: why a process is where it is, in sentences.

use std::borrow::Cow;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::CliError;
use super::options::bulk::argument;
use super::options::bulk::not_found;
use super::options::global::GlobalOptions;
use super::schedules;
use super::screen::style::Look;
use super::screen::terminal::{Face, Size, print_json, print_lines};
use super::screen::text::{self, Clock};
use super::surroundings::session::{Need, Session};
use crate::model::batch::data::BatchState;
use crate::model::explain::blocker::{Blocker, named};
use crate::model::explain::{Explanation, Reason};
use crate::model::limits::usage::{LimitHolder, LimitWait, shown_max};
use crate::store::explain::AHEAD_MAX;

/// Of the lines of a sentence that goes on.
const INDENT: usize = 2;

/// Which process to explain.
#[derive(Debug, Args)]
pub struct Options {
    /// The process's id, or the name of a schedule that does not fire
    #[arg(value_name = "ID")]
    pub process_id: String,
    /// Print one JSON document: {"process_id", "status", "task", "reasons": [{"reason", ...}], "sentences"}
    #[arg(long)]
    pub json: bool,
}

/// Explains one process.
///
/// # Errors
/// When there is no such process, or the database fails.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let Some(explanation) = store.explain(&options.process_id)? else {
        return match store.schedule(&options.process_id)? {
            Some(schedule) => schedules::explain(&schedule, options.json),
            None => Err(not_found(&options.process_id, global)),
        };
    };
    let teller = Teller { explanation: &explanation, clock: &Clock::system(), program: &global.program() };
    let sentences: Vec<String> = explanation.reasons.iter().map(|it| teller.sentence(it)).collect();
    if options.json {
        let mut document = serde_json::to_value(&explanation)
            .map_err(|cause| CliError::Failed(format!("failed to write JSON: {cause}")))?;
        if let Value::Object(keys) = &mut document {
            keys.insert("sentences".to_owned(), json!(sentences));
        }
        return print_json(&document);
    }
    let status = Look::of_process(explanation.status).paint(Face::stdout(), explanation.status.as_str());
    let mut lines = vec![format!("{} is {status}", text::escape(&explanation.process_id))];
    let columns = Size::stdout_columns();
    for line in teller
        .task_line()
        .into_iter()
        .chain(teller.skipped_line())
        .chain(teller.schedule_line())
        .chain(teller.keyless_line())
        .chain(sentences)
    {
        lines.extend(text::hanging(&line, columns, INDENT));
    }
    print_lines(&lines)
}

/// Tells reasons as a person wants them.
pub struct Teller<'a> {
    /// What is told.
    pub explanation: &'a Explanation,
    /// How times are shown.
    pub clock: &'a Clock,
    /// The program as it has to be called, for remedies.
    pub program: &'a str,
}

impl Teller<'_> {
    fn task_line(&self) -> Option<String> {
        let task = self.explanation.task.as_ref()?;
        let retries = match task.attempt {
            0 => String::new(),
            attempt => {
                format!(", attempt {attempt}, {} of {} retries spent", task.retry_count, task.max_retries)
            }
        };
        Some(format!(
            "task \"{}\" ({} of {}) is {}{retries}",
            text::escape(&task.name),
            task.index + 1,
            self.explanation.total_tasks,
            task.status
        ))
    }

    /// What a retry has passed over; `show` has why.
    fn skipped_line(&self) -> Option<String> {
        let names: Vec<String> =
            self.explanation.skipped_tasks.iter().map(|it| format!("\"{}\"", text::escape(it))).collect();
        let (tasks, were) = if names.len() == 1 { ("task", "was") } else { ("tasks", "were") };
        (!names.is_empty()).then(|| format!("{tasks} {} {were} SKIPPED by a retry", names.join(", ")))
    }

    /// The schedule that has started it.
    fn schedule_line(&self) -> Option<String> {
        let schedule = self.explanation.schedule.as_ref()?;
        let late = match (schedule.reason.as_deref(), schedule.lateness_ms) {
            (None, Some(late)) => format!(", {late} ms after that was due"),
            (Some("made up"), _) => ", which was missed and was made up for later".to_owned(),
            (Some("by hand"), _) => ", by hand".to_owned(),
            (Some(reason), _) => format!(", {reason}"),
            (None, None) => String::new(),
        };
        Some(format!(
            "schedule \"{}\" has started it for {}{late}",
            text::escape(&schedule.name),
            self.clock.full(schedule.scheduled_at)
        ))
    }

    /// Limits that do not count for it.
    fn keyless_line(&self) -> Option<String> {
        let names: Vec<Cow<'_, str>> =
            self.explanation.keyless_limits.iter().map(|it| text::escape(it)).collect();
        let (limits, count, keys) = if names.len() == 1 {
            ("limit", "does", "its key is")
        } else {
            ("limits", "do", "their keys are")
        };
        (!names.is_empty()).then(|| {
            format!(
                "{limits} {} {count} not count for it, as {keys} missing or empty in its input",
                names.join(", ")
            )
        })
    }

    /// A reason as a sentence.
    pub fn sentence(&self, reason: &Reason) -> String {
        match reason {
            Reason::Finished { completed_at, error_message } => {
                self.finished(*completed_at, error_message.as_deref())
            }
            Reason::Locked { by } => {
                let remedies: Vec<String> = by.iter().map(Blocker::remedy).collect();
                format!(
                    "a row of it is locked by {}: no node goes on with it until that transaction ends; to end it: {}",
                    text::escape(&named(by)),
                    text::escape(&remedies.join("; "))
                )
            }
            Reason::CancelRequested { since, message } => format!(
                "it is being cancelled since {}{}",
                self.since(*since),
                after_colon(message.as_deref())
            ),
            Reason::Claimed { node, node_state, last_heartbeat, since, silent_since } => {
                let running = since.map(|it| format!(" since {}", self.since(it))).unwrap_or_default();
                let heartbeat = last_heartbeat.map(|it| format!(", last heard of {} ago", self.ago(it)));
                let state = node_state.as_deref().map(text::escape).unwrap_or_default();
                format!(
                    "node {} runs it{running} (the node is {state}{}){}",
                    text::escape(node),
                    heartbeat.unwrap_or_default(),
                    silent_since.map(|it| self.silence(it)).unwrap_or_default()
                )
            }
            Reason::NodeSilent { node, last_heartbeat } => {
                let heard = last_heartbeat.map(|it| format!(" since {}", self.since(it)));
                format!(
                    "node {} holds it and is not heard of{}; another node takes it over once that one counts as dead",
                    text::escape(node),
                    heard.unwrap_or_default()
                )
            }
            Reason::WaitingRetry { until, retry, max_retries, error_message } => format!(
                "it waits for retry {retry} of {max_retries}{}; the last attempt failed{}",
                self.until(*until),
                after_colon(error_message.as_deref())
            ),
            Reason::NotDue { until: None } => "it is never due: its execution_time is infinity".to_owned(),
            Reason::NotDue { until } => format!("it is not due{}", self.until(*until)),
            Reason::Paused { since, message } => {
                let since = since.map(|it| format!(" since {}", self.since(it))).unwrap_or_default();
                let name = &self.explanation.process_type;
                format!(
                    "process type {name:?} is paused{since}{}; go on with: {} resume {}",
                    after_colon(message.as_deref()),
                    self.program,
                    shell_words::quote(name)
                )
            }
            Reason::Batch(it) => {
                let since = it.since.map(|it| format!(" since {}", self.since(it))).unwrap_or_default();
                let what = if it.state == BatchState::Halted { "nothing more of it starts" } else { "nothing of it goes on" };
                format!(
                    "its batch {:?} is {}{since}{}; {what} until somebody says: {} batch resume {}",
                    it.batch,
                    it.state,
                    after_colon(it.message.as_deref()),
                    self.program,
                    shell_words::quote(&it.batch)
                )
            }
            Reason::Limit { limit, key, max, is_set, changed_by, is_paused, taken, holders, since, ahead } => {
                let entry = key.as_ref().map_or_else(|| limit.clone(), |key| format!("{limit}={key}"));
                let wait = LimitWait { entry, max: *max, taken: *taken, is_paused: *is_paused };
                let since = since.map(|it| format!(" since {}", self.since(it))).unwrap_or_default();
                let by = match (is_set, changed_by) {
                    (true, Some(by)) => format!("; {by} has set the max to {}", shown_max(*max)),
                    _ => String::new(),
                };
                let who: Vec<String> = holders.iter().take(HOLDERS_TOLD_MAX).map(|it| self.holder(it)).collect();
                let more = (*taken as usize).saturating_sub(who.len());
                let more = if more > 0 && !who.is_empty() { format!(" and {more} more") } else { String::new() };
                let who = if who.is_empty() { String::new() } else { format!("; taken by {}{more}", who.join(", ")) };
                let entry = shell_words::quote(&wait.entry);
                text::escape(&format!(
                    "it {}{since}; {}{by}{who}; see {} limits show {entry}",
                    wait.phrase(),
                    in_line(*ahead),
                    self.program
                ))
                .into_owned()
            }
            Reason::Reserved { node } => {
                format!("it is kept for node {}, where somebody runs it", text::escape(node))
            }
            Reason::Moving => "it is held while it is moved to the tables of another era, which takes a moment; a move that \
                 was cut short is made again within a minute while a node runs"
                .to_owned(),
            Reason::NodeLocked { by } => {
                let remedies: Vec<String> = by.iter().map(Blocker::remedy).collect();
                format!(
                    "a node's row is locked by {}: it may run, and can't say so until that transaction ends; to end it: {}",
                    text::escape(&named(by)),
                    text::escape(&remedies.join("; "))
                )
            }
            Reason::NoNode => format!("no node is running; start one: {} serve", self.program),
            Reason::ExecutorsFull { busy, executors, nodes, ahead } => format!(
                "all executors are taken: {busy} of {executors} on {}; {}; see {} list --status in_progress",
                if *nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") },
                ahead_of(*ahead),
                self.program
            ),
            Reason::AboutToRun { since, ahead } => {
                let since = since.map(|it| format!(" since {}", self.since(it))).unwrap_or_default();
                format!("it is due{since} and about to be claimed; {}", ahead_of(*ahead))
            }
        }
    }

    fn finished(&self, completed_at: Option<Timestamp>, error: Option<&str>) -> String {
        let ended = completed_at.map(|it| format!("it ended at {}", self.since(it)));
        let ended = ended.unwrap_or_else(|| "it has ended".to_owned());
        match error {
            None => ended,
            Some(_) => format!(
                "{ended}{}; have it go again: {} retry {}",
                after_colon(error),
                self.program,
                argument(&self.explanation.process_id)
            ),
        }
    }

    /// A point in the past: `14:02:11 (3 min 05 s ago)`.
    fn since(&self, at: Timestamp) -> String {
        format!("{} ({} ago)", self.clock.short(at), self.ago(at))
    }

    fn silence(&self, since: Timestamp) -> String {
        format!(
            "; its command has printed nothing for {}: it may hold back its output, which PYTHONUNBUFFERED=1 or stdbuf -oL \
             change, or wait for an answer, which nobody can give as it has no terminal",
            self.ago(since)
        )
    }

    fn holder(&self, it: &LimitHolder) -> String {
        let node = it.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
        format!("{}{node} since {}", it.process_id, self.since(it.taken_at))
    }

    fn ago(&self, at: Timestamp) -> String {
        text::duration(text::between(at, self.explanation.now))
    }

    /// A point in the future: ` until 14:02:11 (in 3 min 05 s)`.
    fn until(&self, at: Option<Timestamp>) -> String {
        at.map(|at| {
            let wait = text::duration(text::between(self.explanation.now, at));
            format!(" until {} (in {wait})", self.clock.short(at))
        })
        .unwrap_or_default()
    }
}

/// Of those who have slots of the limit for which one waits.
const HOLDERS_TOLD_MAX: usize = 3;

fn in_line(ahead: i64) -> String {
    match ahead {
        0 => "it is the next in line".to_owned(),
        many if many >= AHEAD_MAX => format!("{many} or more in line come before it"),
        many => format!("it is number {} in line", many + 1),
    }
}

fn ahead_of(count: i64) -> String {
    match count {
        0 => "it is the next".to_owned(),
        1 => "1 due process comes before it".to_owned(),
        many if many >= AHEAD_MAX => format!("{many} or more due processes come before it"),
        many => format!("{many} due processes come before it"),
    }
}

fn after_colon(message: Option<&str>) -> String {
    message.map(|it| format!(": {}", text::escape(it))).unwrap_or_default()
}
