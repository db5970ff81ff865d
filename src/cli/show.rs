//! `show`: one process and its tasks.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::error::CliError;
use super::explain::Teller;
use super::options::bulk::{argument, not_found};
use super::options::global::GlobalOptions;
use super::screen::json::JsonWriter;
use super::screen::records::{self, VALUE_BYTES_MAX};
use super::screen::style::Look;
use super::screen::table::{Fit, Table};
use super::screen::terminal::{Face, Size, message, print_lines, tell_unreadable};
use super::screen::text::{self, Clock};
use super::surroundings::session::{Need, Session};
use crate::model::explain::{Explanation, Reason};
use crate::model::lifecycle::TaskStatus;
use crate::model::records::TaskData;
use crate::store::Store;
use crate::store::read::{Include, PageSize, ProcessText};

/// Which process to show.
#[derive(Debug, Args)]
pub struct Options {
    /// The process's id
    #[arg(value_name = "ID")]
    pub process_id: String,
    /// Print one JSON document: the process, its tasks with their output and, until it has ended, the reasons that
    /// `explain` gives
    #[arg(long)]
    pub json: bool,
}

/// A process with its tasks: what `show` and `run` print.
#[derive(Debug)]
pub struct Record {
    /// The process, and its values as JSON texts; those that are too large for here are missing.
    pub text: ProcessText,
    /// Its tasks in their order, without their output.
    pub tasks: Vec<TaskData>,
    /// Of how many of them the output is deleted.
    pub deleted_outputs: usize,
    /// Why it is where it is, as `explain` has it; of a process that has ended the rest says it.
    pub reasons: Vec<Reason>,
    /// The same in sentences.
    pub sentences: Vec<String>,
    /// When it was read, by the database's clock.
    pub read_at: Timestamp,
    /// The command that shows it, for hints.
    pub command: String,
    /// What is wrong with tasks that can't be read.
    pub unreadable: Vec<String>,
}

impl Record {
    /// Reads a process and its tasks.
    ///
    /// # Errors
    /// When there is no such process, or the database fails.
    pub fn read(store: &mut Store, process_id: &str, global: &GlobalOptions) -> Result<Self, CliError> {
        let text = store.process_text(process_id, VALUE_BYTES_MAX)?;
        let text = text.ok_or_else(|| not_found(process_id, global))?;
        let (mut tasks, mut unreadable, mut after, mut deleted_outputs) = (Vec::new(), Vec::new(), None, 0);
        loop {
            let page = store.tasks_page(process_id, None, false, after, SHOWN_TASKS)?;
            deleted_outputs += page.rows.iter().filter(|it| it.output_deleted).count();
            tasks.extend(page.rows.into_iter().map(|it| it.row));
            unreadable.extend(page.unreadable);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let explanation = match text.process.status.is_final() {
            true => None,
            false => store.explain(process_id)?.filter(|it| !it.status.is_final()),
        };
        let program = global.program();
        let sentences = explanation.iter().flat_map(|it| sentences(it, &program)).collect();
        Ok(Self {
            command: format!("{program} show {}", argument(process_id)),
            read_at: store.now()?,
            reasons: explanation.map(|it| it.reasons).unwrap_or_default(),
            text,
            tasks,
            deleted_outputs,
            sentences,
            unreadable,
        })
    }

    /// Prints it, for people or as JSON. What is long is read from the store once more, piece by piece.
    ///
    /// # Errors
    /// When standard output can't be written, or the database fails.
    pub fn print(&self, json: bool, store: &mut Store) -> Result<(), CliError> {
        if json {
            return self.document(store).map_err(CliError::incomplete);
        }
        tell_unreadable(&self.unreadable);
        let columns = Size::stdout_columns();
        print_lines(&self.lines(&Clock::system(), self.read_at, Face::stdout(), columns))?;
        if self.is_cut(columns) {
            message(format!("long values are cut; all of them: {} --json", self.command));
        }
        Ok(())
    }

    fn document(&self, store: &mut Store) -> Result<(), CliError> {
        let ProcessText { process, input, context } = &self.text;
        let mut json = JsonWriter::stdout();
        json.object()?;
        let values = [input.as_deref(), context.as_deref()];
        records::process_keys(&mut json, store, process, values, Include::ALL)?;
        json.key("tasks")?;
        json.list()?;
        let (mut unreadable, mut after) = (Vec::new(), None);
        loop {
            let page = store.tasks_page(&process.process_id, None, true, after, records::PAGE)?;
            for task in page.rows {
                records::task(&mut json, store, task)?;
            }
            unreadable.extend(page.unreadable);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        json.end()?;
        if !self.reasons.is_empty() {
            json.entry("reasons", &self.reasons)?;
        }
        if !unreadable.is_empty() {
            json.entry("unreadable", &unreadable)?;
        }
        json.end()
    }

    /// The first task that has failed.
    pub fn failed_task(&self) -> Option<&TaskData> {
        self.tasks.iter().find(|task| task.status == TaskStatus::Failed)
    }

    fn lines(&self, clock: &Clock, now: Timestamp, face: Face, columns: usize) -> Vec<String> {
        let mut lines = self.heading(clock, now, face, columns);
        lines.push(String::new());
        lines.extend(self.task_table(now).lines(columns, |row, column, cell| match column {
            STATUS_COLUMN => Look::of_task(self.tasks[row].status).paint(face, &cell),
            _ => cell,
        }));
        lines.extend(self.task_errors(columns));
        lines.extend(self.deleted_outputs());
        for (heading, pairs) in self.values() {
            if pairs.is_empty() {
                continue;
            }
            lines.extend([String::new(), heading.to_owned()]);
            let most = if columns == usize::MAX { pairs.len() } else { PAIRS_MAX };
            let room = columns.saturating_sub(INDENT);
            lines.extend(pairs.iter().take(most).map(|pair| format!("  {}", text::cut(pair, room))));
            if pairs.len() > most {
                lines.push(format!("  … and {} more", pairs.len() - most));
            }
        }
        lines
    }

    /// What failed the process is part of the process's own error, what is waited out part of why it waits.
    fn task_errors(&self, columns: usize) -> Vec<String> {
        let told = self.text.process.error_message.as_deref().unwrap_or_default();
        let is_told =
            |error: &str| told.contains(error) || self.sentences.iter().any(|it| it.contains(error));
        let mut lines = Vec::new();
        for task in &self.tasks {
            let error = task.error_message.as_deref().map(text::escape);
            if let Some(error) = error.filter(|error| !is_told(error)) {
                let line = format!("{}: {error}", text::escape(&task.name));
                lines.extend(text::hanging(&line, columns, INDENT));
            }
        }
        lines
    }

    fn deleted_outputs(&self) -> Option<String> {
        let tasks = match self.deleted_outputs {
            0 => return None,
            1 => "1 task".to_owned(),
            many => format!("{many} tasks"),
        };
        Some(format!("The output of {tasks} has been deleted; all else of the record is here."))
    }

    fn values(&self) -> [(&'static str, Vec<String>); 2] {
        let pairs = |text: &Option<String>| match text {
            None => vec![format!("(too large for here; all of it: {} --json)", self.command)],
            Some(text) => serde_json::from_str(text).map_or_else(|_| vec![text.clone()], |it| pairs(&it)),
        };
        [("Input", pairs(&self.text.input)), ("Context", pairs(&self.text.context))]
    }

    /// Whether not all of the input and the context is shown.
    fn is_cut(&self, columns: usize) -> bool {
        let room = columns.saturating_sub(INDENT);
        columns != usize::MAX
            && self.values().iter().any(|(_, pairs)| {
                pairs.len() > PAIRS_MAX || pairs.iter().any(|pair| text::width(pair) > room)
            })
    }

    fn heading(&self, clock: &Clock, now: Timestamp, face: Face, columns: usize) -> Vec<String> {
        let process = &self.text.process;
        // The id is left to the terminal to wrap, so that it can be copied.
        let mut lines = vec![format!("Process   {}", text::escape(&process.process_id))];
        let mut line = |name: &str, value: String| {
            lines.extend(text::hanging(&format!("{name:<9} {value}"), columns, VALUE_COLUMN));
        };
        line("Type", text::escape(&process.process_type).into_owned());
        let status = format!("{}{}", process.status, self.remark(clock, now));
        line("Status", status);
        for sentence in &self.sentences {
            line("", sentence.clone());
        }
        if let Some(error) = &process.error_message {
            line("Error", text::escape(error).into_owned());
        }
        if process.priority != 0 {
            line("Priority", process.priority.to_string());
        }
        line("Created", clock.full(process.created_at));
        if let Some(started) = process.started_at {
            line("Started", clock.full(started));
            let end = process.completed_at.unwrap_or(now);
            let time = text::duration(text::between(started, end));
            match process.completed_at {
                Some(end) => line("Ended", format!("{} (after {time})", clock.full(end))),
                None => line("Running", format!("for {time}")),
            }
        }
        // Escapes have no width, which the wrapping would count.
        let word = process.status.as_str();
        let painted = Look::of_process(process.status).paint(face, word);
        if let Some(status) = lines.iter_mut().find(|line| line.starts_with("Status ")) {
            *status = status.replacen(word, &painted, 1);
        }
        lines
    }

    /// What an unfinished process waits for.
    fn remark(&self, clock: &Clock, now: Timestamp) -> String {
        let process = &self.text.process;
        match (&process.picked_by, process.execution_time) {
            _ if process.status.is_final() => String::new(),
            (Some(node), _) => format!(" on node {}", text::escape(node)),
            // The sentence about the retry tells it.
            _ if self.reasons.iter().any(|it| matches!(it, Reason::WaitingRetry { .. })) => String::new(),
            (None, Some(due)) if due > now => {
                let wait = text::duration(text::between(now, due));
                format!(", due at {} (in {wait})", clock.full(due))
            }
            (None, Some(due)) => format!(", due since {}", clock.full(due)),
            (None, None) => String::new(),
        }
    }

    fn task_table(&self, now: Timestamp) -> Table {
        let mut table = Table::new(&[
            ("#", Fit::Right),
            ("TASK", Fit::Shrinks(12)),
            ("STATUS", Fit::Whole),
            ("ATTEMPTS", Fit::Right),
            ("RETRIES", Fit::Right),
            ("TIME", Fit::Right),
            ("EXIT", Fit::Right),
        ]);
        for task in &self.tasks {
            let end = if task.status == TaskStatus::InProgress { Some(now) } else { task.completed_at };
            let time = task.started_at.zip(end).map(|(from, to)| text::duration(text::between(from, to)));
            // Attempts that a crash or a stop ended spend no retry, so neither number tells the other.
            let has_begun = task.attempt > 0;
            table.row(vec![
                (task.task_index + 1).to_string(),
                text::escape(&task.name).into_owned(),
                task.status.to_string(),
                if has_begun { task.attempt.to_string() } else { String::new() },
                if has_begun {
                    format!("{} of {}", task.retry_count, task.max_retries)
                } else {
                    String::new()
                },
                time.unwrap_or_default(),
                task.exit_code.map(|code| code.to_string()).unwrap_or_default(),
            ]);
        }
        table
    }
}

/// Shows one process.
///
/// # Errors
/// When there is no such process, or the database fails.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    Record::read(&mut store, &options.process_id, global)?.print(options.json, &mut store)
}

/// Of the tasks that are shown: no more of a text than a screenful.
const SHOWN_TASKS: PageSize = PageSize { text_bytes: 8 * 1024, ..PageSize::WHOLE_ROWS };
const STATUS_COLUMN: usize = 2;
/// Where the values of the heading begin.
const VALUE_COLUMN: usize = 10;
/// Of the lines below a heading, and of those that go on.
const INDENT: usize = 2;
/// Values of input or context that are shown on a terminal: a screenful of each.
const PAIRS_MAX: usize = 40;

/// What `explain` says of an unfinished process beyond its status line.
fn sentences(explanation: &Explanation, program: &str) -> Vec<String> {
    let teller = Teller { explanation, clock: &Clock::system(), program };
    let is_news = |reason: &&Reason| match reason {
        Reason::Finished { .. } | Reason::Claimed { .. } | Reason::AboutToRun { .. } => false,
        Reason::NotDue { until } => until.is_none(),
        _ => true,
    };
    explanation.reasons.iter().filter(is_news).map(|reason| teller.sentence(reason)).collect()
}

/// `key = value` for each value, the keys of inner objects after a dot.
fn pairs(values: &Map<String, Value>) -> Vec<String> {
    let mut pairs = Vec::new();
    for (key, value) in values {
        match value {
            Value::Object(inner) => {
                pairs.extend(inner.iter().map(|(name, value)| pair(&format!("{key}.{name}"), value)));
            }
            _ => pairs.push(pair(key, value)),
        }
    }
    pairs
}

fn pair(key: &str, value: &Value) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("{} = {}", text::escape(key), text::escape(&value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lifecycle::ProcessStatus;
    use crate::model::records::ProcessData;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000_000 + second).expect("a time")
    }

    fn task(index: u32, name: &str, status: TaskStatus) -> TaskData {
        TaskData {
            task_id: format!("p-1:{index}"),
            process_id: "p-1".to_owned(),
            task_index: index,
            name: name.to_owned(),
            command: "true".to_owned(),
            shell: false,
            working_directory: None,
            timeout_minutes: 1.0,
            max_retries: 2,
            retry_count: 0,
            attempt: u32::from(status != TaskStatus::NotStarted),
            status,
            started_at: (status != TaskStatus::NotStarted).then(|| at(10)),
            completed_at: status.is_final().then(|| at(12)),
            error_message: match status {
                TaskStatus::Failed => Some("exit code 3".to_owned()),
                TaskStatus::Completed => Some("killed by SIGTERM\x1b[0m".to_owned()),
                _ => None,
            },
            exit_code: (status == TaskStatus::Failed).then_some(3),
            output: None,
            environment: BTreeMap::new(),
            created_at: at(0),
            updated_at: at(12),
        }
    }

    fn record() -> Record {
        Record {
            text: ProcessText {
                process: ProcessData {
                    process_id: "p-1".to_owned(),
                    process_type: "sample".to_owned(),
                    status: ProcessStatus::Failed,
                    current_task_index: 1,
                    total_tasks: 3,
                    skipped_tasks: 0,
                    priority: 5,
                    started_at: Some(at(10)),
                    completed_at: Some(at(14)),
                    error_message: Some("task \"send\" failed: exit code 3".to_owned()),
                    input_data: Value::Null,
                    process_context: Value::Null,
                    created_at: at(0),
                    updated_at: at(14),
                    execution_time: None,
                    picked_by: None,
                    waits_for_limit: None,
                },
                input: Some(json!({"input_file": "/a\nb", "config": {"size": "10"}}).to_string()),
                context: Some(json!({"rows": 500}).to_string()),
            },
            tasks: vec![
                task(0, "load", TaskStatus::Completed),
                task(1, "send", TaskStatus::Failed),
                task(2, "tidy", TaskStatus::NotStarted),
            ],
            deleted_outputs: 0,
            reasons: Vec::new(),
            sentences: Vec::new(),
            command: "process-orchestrator show p-1".to_owned(),
            read_at: at(20),
            unreadable: Vec::new(),
        }
    }

    #[test]
    fn a_process_is_shown_whole_and_harmless() {
        let face = Face { is_terminal: true, has_color: false, can_redraw: true, has_unicode: true };
        let clock = Clock::system();
        let lines = record().lines(&clock, at(20), face, 80);
        let expected = [
            "Process   p-1".to_owned(),
            "Type      sample".to_owned(),
            "Status    FAILED".to_owned(),
            "Error     task \"send\" failed: exit code 3".to_owned(),
            "Priority  5".to_owned(),
            format!("Created   {}", clock.full(at(0))),
            format!("Started   {}", clock.full(at(10))),
            format!("Ended     {} (after 4.0 s)", clock.full(at(14))),
            String::new(),
            "#  TASK  STATUS       ATTEMPTS  RETRIES   TIME  EXIT".to_owned(),
            "1  load  COMPLETED           1   0 of 2  2.0 s".to_owned(),
            "2  send  FAILED              1   0 of 2  2.0 s     3".to_owned(),
            "3  tidy  NOT_STARTED".to_owned(),
            "load: killed by SIGTERM\\x1b[0m".to_owned(),
            String::new(),
            "Input".to_owned(),
            "  input_file = /a\\nb".to_owned(),
            "  config.size = 10".to_owned(),
            String::new(),
            "Context".to_owned(),
            "  rows = 500".to_owned(),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_unfinished_process_says_what_it_waits_for() {
        let clock = Clock::system();
        let mut record = record();
        record.text.process.status = ProcessStatus::InProgress;
        record.text.process.picked_by = Some("node-1".to_owned());
        assert_eq!(record.remark(&clock, at(20)), " on node node-1");
        record.text.process.picked_by = None;
        record.text.process.execution_time = Some(at(80));
        assert_eq!(record.remark(&clock, at(20)), format!(", due at {} (in 1 min 00 s)", clock.full(at(80))));
        assert_eq!(record.remark(&clock, at(90)), format!(", due since {}", clock.full(at(80))));
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_and_a_pipe_gets_all() {
        let face = Face { is_terminal: true, has_color: false, can_redraw: true, has_unicode: true };
        let clock = Clock::system();
        let mut record = record();
        record.text.process.process_type = "漢字-".repeat(30);
        record.text.process.error_message =
            Some("exit code 3: ".to_owned() + &"no such file or directory ".repeat(9));
        record.text.input = Some(json!({"config": {"query": "x".repeat(500)}, "metadata": {}}).to_string());
        record.text.context = None;
        record.sentences = vec!["it waits for something ".repeat(9)];
        record.tasks[0].name = "a-task-with-a-long-name-".repeat(5);
        let lines = record.lines(&clock, at(20), face, 80);
        assert!(lines.iter().all(|line| text::width(line) <= 80), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("  config.query = xxx") && line.ends_with('…')));
        assert!(lines.iter().any(|line| line.starts_with("          such file")), "{lines:#?}");
        assert!(record.is_cut(80));
        let whole = record.lines(&clock, at(20), face, usize::MAX);
        assert!(whole.iter().any(|line| line.len() > 500 && !line.ends_with('…')), "{whole:#?}");
        assert!(!record.is_cut(usize::MAX));
        assert!(!self::record().is_cut(80));
    }

    #[test]
    fn colour_is_on_the_status_alone() {
        let face = Face { is_terminal: true, has_color: true, can_redraw: true, has_unicode: true };
        let lines = record().lines(&Clock::system(), at(20), face, 80);
        assert_eq!(lines[2], "Status    \x1b[31mFAILED\x1b[0m");
    }
}
