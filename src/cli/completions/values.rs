//! Candidates for the word at the cursor: from the definition of the command line, from files, from the database.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, FromArgMatches, Parser};

use super::line::{Line, Want, takes_value};
use crate::cli::options::global::GlobalOptions;
use crate::database::private_cluster::PrivateCluster;
use crate::database::{ConnectionSettings, Target, process_environment};
use crate::model::lifecycle::ProcessStatus::{self, Cancelled, Completed, Failed, InProgress, NotStarted};
use crate::store::Store;

/// More than anybody looks through.
const CANDIDATES_MAX: usize = 100;
/// Beyond this the user has typed on.
const STATEMENT_MAX: Duration = Duration::from_millis(150);

/// Something that the word may become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The whole word.
    pub value: String,
    /// What it is.
    pub about: String,
}

/// What the shell is to do with the candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Insert one, with a blank behind it.
    Words,
    /// Insert one: more of the word may follow.
    Parts,
    /// Complete files, which it knows best itself.
    Files,
    /// Complete directories.
    Directories,
}

impl Kind {
    /// The word for it in the answer to the shell.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Parts => "parts",
            Self::Files => "files",
            Self::Directories => "directories",
        }
    }
}

/// Where an argument's values are.
enum Source {
    Types,
    /// Ids of processes in one of these statuses; none is any.
    Ids(&'static [ProcessStatus]),
    Tasks,
    Nodes,
    Schedules,
    Limits,
    Batches,
    Files,
    Directories,
    /// A file behind an `@`.
    AtFiles,
    FilesAndTypes,
    Commands,
    Nothing,
}

/// The candidates for the word at the cursor, what they are, and that word.
pub fn of(line: &Line<'_>, definition: &Command) -> (Kind, Vec<Candidate>, String) {
    let (kind, mut found) = match line.want {
        Want::Command => (Kind::Words, commands(line.command)),
        Want::Option => (Kind::Words, options(line)),
        Want::Value(arg) => values(line, arg, definition),
        Want::Nothing => (Kind::Words, Vec::new()),
    };
    found.retain(|it| it.value.starts_with(&line.typed));
    found.truncate(CANDIDATES_MAX);
    found.iter_mut().for_each(|it| it.value.insert_str(0, &line.before));
    (kind, found, line.word())
}

fn commands(command: &Command) -> Vec<Candidate> {
    let about = |it: &Command| it.get_about().map(ToString::to_string).unwrap_or_default();
    let visible = command.get_subcommands().filter(|it| !it.is_hide_set());
    visible.map(|it| Candidate { value: it.get_name().to_owned(), about: about(it) }).collect()
}

/// The long names; one that was given already only if it may be repeated.
fn options(line: &Line<'_>) -> Vec<Candidate> {
    let is_over = |arg: &Arg| {
        !matches!(arg.get_action(), ArgAction::Append)
            && line.options.iter().any(|(given, _)| given.get_id() == arg.get_id())
    };
    let open = line.command.get_arguments().filter(|it| !it.is_hide_set() && !is_over(it));
    let candidate = |arg: &Arg| {
        let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let about = about.lines().next().unwrap_or_default().to_owned();
        Some(Candidate { value: format!("--{}", arg.get_long()?), about })
    };
    open.filter_map(candidate).collect()
}

fn values(line: &Line<'_>, arg: &Arg, definition: &Command) -> (Kind, Vec<Candidate>) {
    let known = arg.get_possible_values();
    if !known.is_empty() {
        let visible = known.iter().filter(|it| !it.is_hide_set());
        let about =
            |it: &clap::builder::PossibleValue| it.get_help().map(ToString::to_string).unwrap_or_default();
        let all = visible.map(|it| Candidate { value: cased(it.get_name(), arg, line), about: about(it) });
        return (Kind::Words, all.collect());
    }
    match source(line, arg) {
        Source::Files => (Kind::Files, Vec::new()),
        Source::Directories => (Kind::Directories, Vec::new()),
        Source::AtFiles => match line.typed.strip_prefix('@') {
            Some(path) => of_files(path, "@", ""),
            None if line.typed.is_empty() => (Kind::Parts, vec![candidate("@", "the input is in a file")]),
            None => (Kind::Words, Vec::new()),
        },
        Source::FilesAndTypes => {
            let (mut kind, mut found) = of_files(&line.typed, "", ".json");
            let types = from_database(line, &Source::Types);
            if !types.is_empty() && !found.iter().any(|it| it.value.ends_with('/')) {
                kind = Kind::Words;
            }
            found.extend(types);
            (kind, found)
        }
        Source::Commands => {
            let of = line.positionals.first().and_then(|it| definition.find_subcommand(it));
            (Kind::Words, of.map(commands).unwrap_or_default())
        }
        Source::Nothing => (Kind::Words, Vec::new()),
        source => (Kind::Words, from_database(line, &source)),
    }
}

/// A word that is read in any letter case, in that of what was typed.
fn cased(word: &str, arg: &Arg, line: &Line<'_>) -> String {
    let is_upper = line.typed.chars().next().is_some_and(char::is_uppercase);
    if arg.is_ignore_case_set() && !is_upper { word.to_lowercase() } else { word.to_owned() }
}

fn source(line: &Line<'_>, arg: &Arg) -> Source {
    let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |it| it.as_str());
    match (line.command.get_name(), arg.get_id().as_str(), name) {
        ("cancel", "process_ids", _) => Source::Ids(&[NotStarted, InProgress]),
        ("retry", "process_ids", _) if line.option("from_task").is_some() => {
            Source::Ids(&[Failed, Cancelled, Completed])
        }
        ("retry", "process_ids", _) => Source::Ids(&[Failed, Cancelled]),
        ("run", "process_id", _) => Source::Ids(&[NotStarted, InProgress]),
        ("start", "process_id", _) => Source::Nothing,
        (_, "batch" | "name", "BATCH") | ("start", "batch", _) => Source::Batches,
        (_, "process_id", _) => Source::Ids(&[]),
        (_, "task" | "from_task", _) => Source::Tasks,
        (_, "process_type", _) | ("pause" | "resume", "name", _) => Source::Types,
        ("show", "name", "NAME") => Source::Types,
        ("help", "subcommand", _) => Source::Commands,
        (_, "node", _) => Source::Nodes,
        (_, "schedule", _) => Source::Schedules,
        (_, _, "LIMIT") => Source::Limits,
        (_, _, "FILE|TYPE") => Source::FilesAndTypes,
        (_, _, "JSON|@FILE|@-") => Source::AtFiles,
        (_, "data_dir" | "output_dir" | "directory", _) => Source::Directories,
        (_, "paths" | "process_types", _) => Source::Files,
        (_, _, name) if name.starts_with("FILE") || name == "PATH" => Source::Files,
        _ => Source::Nothing,
    }
}

/// The entries of the directory that a path is in; of files only those that end so.
fn of_files(path: &str, before: &str, end: &str) -> (Kind, Vec<Candidate>) {
    let directory = path.rfind('/').map_or("", |at| &path[..=at]);
    let entries = fs::read_dir(Path::new(if directory.is_empty() { "." } else { directory }));
    let mut found: Vec<Candidate> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_directory = entry.path().is_dir();
            let is_hidden = name.starts_with('.') && !path[directory.len()..].starts_with('.');
            let is_wanted = !is_hidden && (is_directory || name.ends_with(end));
            let slash = if is_directory { "/" } else { "" };
            is_wanted.then(|| candidate(&format!("{before}{directory}{name}{slash}"), ""))
        })
        .collect();
    found.sort_by(|a, b| a.value.cmp(&b.value));
    (Kind::Parts, found)
}

fn candidate(value: &str, about: &str) -> Candidate {
    Candidate { value: value.to_owned(), about: about.to_owned() }
}

/// What the database knows; nothing when it can't be asked.
fn from_database(line: &Line<'_>, source: &Source) -> Vec<Candidate> {
    ask_database(line, source).unwrap_or_default()
}

fn ask_database(line: &Line<'_>, source: &Source) -> Option<Vec<Candidate>> {
    let mut store = open(line)?;
    let typed = line.typed.as_str();
    let limit = CANDIDATES_MAX as u32;
    let pairs = match source {
        Source::Types => store.type_names(typed, limit).ok()?,
        Source::Limits => store.limit_names(typed, limit).ok()?,
        Source::Batches => store.batch_names_like(typed, limit).ok()?,
        Source::Nodes => store.node_names(typed, limit).ok()?,
        Source::Schedules => store.schedule_names(typed, limit).ok()?,
        Source::Ids(statuses) => store.newest_ids(typed, statuses, limit).ok()?,
        Source::Tasks => {
            let id = line.positionals.first().map(String::as_str);
            store.task_names(id, line.option("process_type")).ok()?
        }
        _ => Vec::new(),
    };
    let is_new = |value: &String| !line.positionals.contains(value);
    let found = pairs.into_iter().filter(|(value, _)| is_new(value) || !matches!(source, Source::Ids(_)));
    Some(found.map(|(value, about)| Candidate { value, about }).collect())
}

/// The database that the line's own options and the environment name, if it is up. None is started for this.
fn open(line: &Line<'_>) -> Option<Store> {
    let global = global_options(line)?;
    let target =
        Target::resolve(global.database_url.as_deref(), global.data_dir.as_deref(), &process_environment);
    let settings: ConnectionSettings = match target.ok()? {
        Target::Server(settings) => settings.with_pooler(global.pooler),
        Target::Private(data_dir) => PrivateCluster::settings_if_running(&data_dir)?,
    };
    let mut store = Store::open(&*Arc::new(settings), "completion", &global.schema).ok()?;
    store.set_statement_timeout(STATEMENT_MAX).ok()?;
    Some(store)
}

#[derive(Parser)]
struct Global {
    #[command(flatten)]
    options: GlobalOptions,
}

/// The line's global options, read as always: the environment fills in what it leaves out.
fn global_options(line: &Line<'_>) -> Option<GlobalOptions> {
    let given = line.options.iter().filter(|(arg, _)| arg.is_global_set() && takes_value(arg));
    let words = given.filter_map(|(arg, value)| Some(format!("--{}={value}", arg.get_long()?)));
    let words = std::iter::once("process-orchestrator".to_owned()).chain(words);
    let matches = <Global as clap::CommandFactory>::command().try_get_matches_from(words).ok()?;
    Global::from_arg_matches(&matches).ok().map(|it| it.options)
}
