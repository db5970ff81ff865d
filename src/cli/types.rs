//! `types`: process types, in files and in the database.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::error::{CliError, Verdict};
use super::help;
use super::options::bulk::{unknown_type, user_name};
use super::options::documents::{self, Document};
use super::options::global::GlobalOptions;
use super::screen::json::JsonWriter;
use super::screen::records;
use super::screen::table::{Fit, Table};
use super::screen::terminal::{Size, message, print_json, print_lines, tell_unreadable};
use super::screen::text::{self, Clock};
use super::surroundings::session::{Need, Session};
use super::surroundings::stopping;
use crate::model::document::secrets::stored_secrets;
use crate::model::faults::Fault;
use crate::model::json_schema::process_type_schema;
use crate::model::limits::definition::{Concurrency, Holds};
use crate::model::process_type::{ProcessType, TaskDefinition};
use crate::model::records::ProcessTypeData;
use crate::platform::host_name;
use crate::store::types::{Registered, Superseded};
use crate::store::{Store, StoreError};

/// What to do with process types.
#[derive(Debug, Subcommand)]
pub enum Types {
    /// List the registered process types
    #[command(before_help = "Examples:
  process-orchestrator types list
  process-orchestrator types list --json | jq -r '.process_types[] | select(.paused) | .name'")]
    List(ListOptions),
    /// Show one with its tasks
    #[command(before_help = "Examples:
  process-orchestrator types show data-processing-pipeline
  process-orchestrator types show data-processing-pipeline --json | jq .definition")]
    Show(ShowOptions),
    /// Register those of files, or replace the ones of the same names
    #[command(before_help = "Examples:
  process-orchestrator types register nightly.json
  process-orchestrator types register /etc/process-orchestrator/process-types/")]
    Register(FileOptions),
    /// Check files without a database
    #[command(before_help = "Examples:
  process-orchestrator types validate nightly.json
  process-orchestrator types validate types/ --json")]
    Validate(FileOptions),
    /// Print the JSON Schema of the format, for editors
    #[command(before_help = "Examples:
  process-orchestrator types schema > process-type.schema.json
  ... and in a process type: {\"$schema\": \"./process-type.schema.json\", \"name\": ...")]
    Schema(SchemaOptions),
    /// Print the help of these commands
    #[command(before_help = "Examples:
  process-orchestrator types help register")]
    Help(HelpOptions),
}

/// The help of which.
#[derive(Debug, Args)]
pub struct HelpOptions {
    /// The command; without it all are listed
    pub command: Option<String>,
}

/// How to print the schema.
#[derive(Debug, Args)]
pub struct SchemaOptions {
    /// Print one JSON document, as it does without this option
    #[arg(long)]
    pub json: bool,
}

/// How to list.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// Print one JSON document: {"process_types": [...]}
    #[arg(long)]
    pub json: bool,
}

/// Which to show.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// The process type's name
    pub name: String,
    /// Print one JSON document; its `definition` is what a file holds
    #[arg(long)]
    pub json: bool,
}

/// Which files.
#[derive(Debug, Args)]
pub struct FileOptions {
    /// A JSON file, or a directory with *.json files
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// Faults of documents, an unknown name, or a failure of the database.
pub fn run(global: &GlobalOptions, types: &Types, definition: fn() -> clap::Command) -> Result<(), CliError> {
    match types {
        Types::List(options) => list(global, options),
        Types::Show(options) => show(global, options),
        Types::Register(options) => register(global, options),
        Types::Validate(options) => validate(options),
        Types::Schema(_) => print_json(&process_type_schema()),
        Types::Help(options) => {
            let words: Vec<&str> = ["types"].into_iter().chain(options.command.as_deref()).collect();
            help::of_command(&words, definition())
        }
    }
}

fn list(global: &GlobalOptions, options: &ListOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    match options.json {
        true => list_document(&mut store).map_err(CliError::incomplete),
        false => list_table(&mut store, global),
    }
}

/// Bytes of definitions that are read at once; the last one may go beyond.
const TYPES_BYTES_MAX: u32 = 1024 * 1024;

fn list_document(store: &mut Store) -> Result<(), CliError> {
    let mut json = JsonWriter::stdout();
    json.object()?;
    json.key("process_types")?;
    json.list()?;
    let (mut unreadable, mut after) = (Vec::new(), None);
    loop {
        let page = store.types_page(after.as_deref(), u32::MAX, TYPES_BYTES_MAX)?;
        for (process_type, definition) in page.types {
            json.object()?;
            for (key, value) in records::fields(&process_type)? {
                json.entry(&key, &value)?;
                if let Some(definition) = definition.as_ref().filter(|_| key == "name") {
                    json.key("definition")?;
                    json.document(|take: &mut dyn FnMut(&str) -> Result<(), CliError>| {
                        take(definition).map(|()| true)
                    })?;
                }
            }
            json.end()?;
        }
        unreadable.extend(page.unreadable);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    json.end()?;
    if !unreadable.is_empty() {
        json.entry("unreadable", &unreadable)?;
    }
    json.end()
}

/// What a table shows of a definition.
#[derive(Default, Deserialize)]
struct Outline {
    #[serde(default)]
    description: String,
    #[serde(default)]
    tasks: Vec<IgnoredAny>,
}

fn list_table(store: &mut Store, global: &GlobalOptions) -> Result<(), CliError> {
    let clock = Clock::system();
    let mut table = Table::new(&[
        ("NAME", Fit::ShrinksLast(24)),
        ("TASKS", Fit::Right),
        ("CHANGED", Fit::Whole),
        ("DESCRIPTION", Fit::Shrinks(12)),
    ]);
    let (mut is_empty, mut unreadable, mut after) = (true, Vec::new(), None);
    loop {
        let page = store.types_page(after.as_deref(), u32::MAX, TYPES_BYTES_MAX)?;
        is_empty &= page.types.is_empty() && page.unreadable.is_empty();
        for (data, definition) in page.types {
            let definition = definition.unwrap_or_default();
            let outline: Outline = serde_json::from_str(&definition).unwrap_or_default();
            table.row(vec![
                text::escape(&data.name).into_owned(),
                outline.tasks.len().to_string(),
                clock.short(data.updated_at),
                match data.paused {
                    true => format!("paused {}", paused(&data, &clock)),
                    false => text::escape(&outline.description).into_owned(),
                },
            ]);
        }
        unreadable.extend(page.unreadable);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    print_lines(&table.lines(Size::stdout_columns(), |_, _, cell| cell))?;
    tell_unreadable(&unreadable);
    if is_empty {
        message(format!("no process types yet; register one: {} types register FILE", global.program()));
    }
    Ok(())
}

fn show(global: &GlobalOptions, options: &ShowOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let data = store.process_type(&options.name)?;
    let data = data.ok_or_else(|| unknown_type(&mut store, &options.name, global))?;
    if options.json {
        return print_json(&data);
    }
    let source = format!("process type {:?}", data.name);
    let process_type = ProcessType::from_stored(&data.definition, &source).map_err(|faults| {
        CliError::Failed(format!("the database holds a definition this binary can't read: {faults}"))
    })?;
    let mut lines = type_lines(&data, &process_type, &Clock::system(), Size::stdout_columns());
    let roles: Vec<String> = store
        .start_grants(Some(&data.name))?
        .into_iter()
        .filter(|it| !it.has_tables)
        .map(|it| it.role)
        .collect();
    if !roles.is_empty() {
        lines.insert(1, format!("Granted to    {}", text::escape(&roles.join(", "))));
    }
    print_lines(&lines)
}

fn type_lines(
    data: &ProcessTypeData,
    process_type: &ProcessType,
    clock: &Clock,
    columns: usize,
) -> Vec<String> {
    let mut lines = vec![format!("Process type  {}", text::escape(&data.name))];
    if !process_type.description.is_empty() {
        lines.push(format!("Description   {}", text::escape(&process_type.description)));
    }
    if !data.required_input.is_empty() {
        lines.push(format!("Needs input   {}", text::escape(&data.required_input.join(", "))));
    }
    if data.paused {
        lines.push(format!("Paused        {}", paused(data, clock)));
    }
    if let Some(most) = data.max_concurrent {
        lines.push(format!("At once       {most} processes"));
    }
    for limit in limits_of(process_type) {
        lines.push(format!("Limit         {}", text::escape(&limit.to_string())));
    }
    let by = data.registered_by.as_ref().map(|by| format!(" by {}", text::escape(by))).unwrap_or_default();
    lines.push(format!("Changed       {}{by}, version {}", clock.full(data.updated_at), data.version));
    lines.push(String::new());
    let mut table = Table::new(&[
        ("#", Fit::Right),
        ("TASK", Fit::ShrinksLast(12)),
        ("TIMEOUT", Fit::Right),
        ("RETRIES", Fit::Right),
        ("COMMAND", Fit::Shrinks(20)),
    ]);
    for (index, task) in process_type.tasks.iter().enumerate() {
        table.row(vec![
            (index + 1).to_string(),
            text::escape(&task.name).into_owned(),
            text::duration(std::time::Duration::from_secs_f64(task.timeout_minutes * 60.0)),
            task.max_retries.to_string(),
            command(task),
        ]);
    }
    lines.extend(table.lines(columns, |_, _, cell| cell));
    lines
}

/// Since when and why a type's processes are held back.
fn paused(data: &ProcessTypeData, clock: &Clock) -> String {
    let since = data.paused_at.map(|at| format!("since {}", clock.short(at))).unwrap_or_default();
    match &data.pause_reason {
        Some(reason) => format!("{since}: {}", text::escape(reason)),
        None => format!("{since}: its processes are held back"),
    }
}

fn command(task: &TaskDefinition) -> String {
    let shell = match (task.shell, task.shell_command.as_slice()) {
        (false, _) => String::new(),
        (true, []) => "(shell) ".to_owned(),
        (true, words) => format!("({}) ", text::escape(&words.join(" "))),
    };
    format!("{shell}{}", text::escape(&task.command))
}

fn register(global: &GlobalOptions, options: &FileOptions) -> Result<(), CliError> {
    let types = documents::load(&options.paths)?;
    let (_session, mut store) = Session::open(global, Need::Migrated)?;
    let done = register_all(&mut store, &types, &Registrar::person("types register"))?;
    if options.json {
        let documents: Vec<Value> = done
            .iter()
            .zip(&types)
            .map(|((name, change), it)| {
                json!({ "name": name, "change": change_word(change), "limits": limits_document(it) })
            })
            .collect();
        return print_json(&json!({ "registered": documents }));
    }
    let lines: Vec<String> = done
        .iter()
        .zip(&types)
        .map(|((name, change), it)| {
            format!("{} {}{}", text::escape(name), change_word(change), limits_told(it))
        })
        .collect();
    print_lines(&lines)
}

/// Who registers process types, and whether theirs replace what was registered after them.
#[derive(Debug, Clone)]
pub struct Registrar {
    by: String,
    replaces: bool,
}

impl Registrar {
    /// Somebody who asks for just that, by this command.
    pub fn person(command: &str) -> Self {
        let user = user_name().unwrap_or_else(|| "somebody".to_owned());
        Self { by: format!("{user} on {}, {command}", host_name()), replaces: true }
    }

    /// A node that starts, whose files may be old.
    pub fn node(name: &str, replaces: bool) -> Self {
        Self { by: format!("node {name}"), replaces }
    }
}

/// Registers valid process types and says what became of each. One that stays as somebody has registered it later is
/// warned of.
///
/// # Errors
/// When the database fails, or somebody has locked one for seconds.
pub fn register_all<'t>(
    store: &mut Store,
    types: &'t [ProcessType],
    registrar: &Registrar,
) -> Result<Vec<(&'t str, Registered)>, CliError> {
    let by = Some(registrar.by.as_str());
    let mut register = |it: &'t ProcessType| {
        let done = match registrar.replaces {
            true => replace(store, it, by)?,
            false => store.register_unless_superseded(it, by)?,
        };
        if let Registered::Superseded(it) = &done {
            log::warn!(
                "{it}; processes run the later one. Put the later one into the file, or replace it: process-orchestrator \
                 types register FILE, or serve --replace-types"
            );
        }
        Ok((it.name.as_str(), done))
    };
    types.iter().map(&mut register).collect()
}

/// Whoever puts an old definition back is told whose it takes the place of.
fn replace(store: &mut Store, it: &ProcessType, by: Option<&str>) -> Result<Registered, StoreError> {
    let superseded = store.superseded(it)?;
    let done = store.register_as(it, by)?;
    if let (Registered::Changed, Some(Superseded { name, offered, current })) = (&done, superseded) {
        message(format!("process type {name:?}: the definition of {offered}, takes the place of {current}"));
    }
    Ok(done)
}

/// Registers what a node's files hold. A document that can be read but can't mean what it says is left out, with a
/// warning, if just that is registered: an older release took it, and a newer one must not keep the node from its work.
///
/// # Errors
/// All faults of the other documents, or a failure of the database.
pub fn register_documents(
    store: &mut Store,
    documents: Vec<Document>,
    registrar: &Registrar,
) -> Result<(), CliError> {
    let mut others = Vec::with_capacity(documents.len());
    for document in documents {
        let (Err(faults), Some(formerly)) = (&document.result, &document.formerly) else {
            others.push(document);
            continue;
        };
        let registered = store.process_type(&formerly.name)?;
        let registered = registered.and_then(|it| ProcessType::from_stored(&it.definition, "").ok());
        if registered.as_ref() == Some(formerly) {
            for line in faults.to_string().lines() {
                log::warn!("{line} (an older release has registered it, and it goes on as it was)");
            }
        } else {
            others.push(document);
        }
    }
    register_all(store, &documents::all_or_faults(others)?, registrar).map(drop)
}

/// The limits of a type, behind what is said of it.
fn limits_told(process_type: &ProcessType) -> String {
    let limits: Vec<String> = limits_of(process_type).iter().map(ToString::to_string).collect();
    if limits.is_empty() {
        String::new()
    } else {
        text::escape(&format!("; limits: {}", limits.join(", "))).into_owned()
    }
}

fn limits_document(process_type: &ProcessType) -> Vec<Value> {
    let one = |it: &MadeLimit<'_>| json!({ "name": it.name, "max": it.limit.max, "holds": it.limit.holds.as_str(), "task": it.task });
    limits_of(process_type).iter().map(one).collect()
}

/// A limit that a document makes.
struct MadeLimit<'t> {
    name: String,
    limit: &'t Concurrency,
    /// The task that alone needs it.
    task: Option<&'t str>,
}

fn limits_of(process_type: &ProcessType) -> Vec<MadeLimit<'_>> {
    let made =
        |limit, task| MadeLimit { name: Concurrency::limit_name(limit, &process_type.name), limit, task };
    let own = process_type.concurrency.iter().map(|it| made(it, None));
    let of_tasks = process_type
        .tasks
        .iter()
        .flat_map(|task| task.concurrency.iter().map(|it| made(it, Some(task.name.as_str()))));
    own.chain(of_tasks).collect()
}

impl fmt::Display for MadeLimit<'_> {
    /// Such as `gpu (max 2, while task "fit" runs)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = match self.limit.max {
            Some(max) => format!("max {max}"),
            None => "no max here: no bound until another process type or `limits set` gives one".to_owned(),
        };
        let key = match (&self.limit.group, &self.limit.key) {
            (Some(_), Some(key)) => format!(", for each {key}"),
            _ => String::new(),
        };
        let holds = match (self.task, self.limit.holds) {
            (Some(task), _) => format!(", while task {task:?} runs"),
            (None, Holds::Task) => ", while a command runs".to_owned(),
            (None, Holds::Process) => String::new(),
        };
        write!(f, "{} ({max}{key}{holds})", self.name)
    }
}

const fn change_word(change: &Registered) -> &'static str {
    match change {
        Registered::New => "new",
        Registered::Changed => "changed",
        Registered::Unchanged => "unchanged",
        Registered::Superseded(_) => "superseded",
    }
}

fn validate(options: &FileOptions) -> Result<(), CliError> {
    let documents = documents::read(&options.paths);
    if !options.json {
        let notes = |it: &Document| {
            let notes = it.result.as_ref().map(stored_secrets).unwrap_or_default();
            notes.into_iter().map(|note| format!("note: {}: {note}", it.source)).collect::<Vec<_>>()
        };
        let notes: Vec<String> = documents.iter().flat_map(notes).collect();
        let ok = |it: &ProcessType| {
            let tasks = stopping::counted(it.tasks.len(), "task");
            format!("{} OK, {tasks}{}", text::escape(&it.name), limits_told(it))
        };
        print_lines(&documents::all_or_faults(documents)?.iter().map(ok).collect::<Vec<_>>())?;
        notes.iter().for_each(message);
        return Ok(());
    }
    let places = |found: &[Fault]| -> Vec<Value> {
        let one = |it: &Fault| json!({ "path": it.path, "problem": it.problem, "remedy": it.remedy });
        found.iter().map(one).collect()
    };
    let files: Vec<Value> = documents
        .iter()
        .map(|document| match &document.result {
            Ok(valid) => {
                let notes = places(&stored_secrets(valid));
                json!({
                    "file": document.source, "name": valid.name, "faults": [], "notes": notes,
                    "limits": limits_document(valid),
                })
            }
            Err(faults) => {
                json!({ "file": document.source, "name": null, "faults": places(&faults.faults), "notes": [] })
            }
        })
        .collect();
    print_json(&json!({ "files": files }))?;
    match documents.iter().all(|document| document.result.is_ok()) {
        true => Ok(()),
        false => Err(CliError::Reported(Verdict::Faulty)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_process_type_is_shown_within_the_terminal() {
        let long = "python3 scripts/process.py ".to_owned() + &"x".repeat(100);
        let process_type = ProcessType::new("nightly", "Fetch, then report")
            .add_task("fetch", "fetch-orders", "/data", 30.0, 2)
            .add_task("report", long, "/data", 0.5, 0);
        let data = ProcessTypeData {
            version: 3,
            registered_by: Some("node a".to_owned()),
            name: "nightly".to_owned(),
            definition: process_type.to_value(),
            required_input: vec!["input_file".to_owned(), "config.size".to_owned()],
            paused: true,
            paused_at: Some(Timestamp::UNIX_EPOCH),
            pause_reason: Some("the source is down".to_owned()),
            max_concurrent: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let lines = type_lines(&data, &process_type, &Clock::system(), 80);
        assert!(lines.contains(&"Needs input   input_file, config.size".to_owned()), "{lines:#?}");
        let paused = format!(
            "Paused        since {}: the source is down",
            Clock::system().short(Timestamp::UNIX_EPOCH)
        );
        assert!(lines.contains(&paused), "{lines:#?}");
        assert!(lines.contains(&"1  fetch   30 min 00 s        2  fetch-orders".to_owned()), "{lines:#?}");
        assert!(lines.iter().all(|line| text::width(line) <= 80), "{lines:#?}");
    }
}
