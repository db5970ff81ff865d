//! Registering process types and reading them; how a task's settings lie in the tables.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use log::warn;
use postgres::Row;
use postgres::types::Json;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::connection::Lockable;
use super::row::{Listed, get, problem_of, time, unreadable};
use super::{Sql, Store, StoreError};
use crate::model::process_type::{Leftovers, ProcessType, TaskDefinition};
use crate::model::records::ProcessTypeData;
use crate::model::retry::RetryPolicy;
use crate::model::shell::words_of_script;
use crate::model::template::required_input;

const REGISTER: Sql =
    Sql::new("register a process type", include_str!("../../sql/schema/register_process_type.sql"));
const IS_REGISTERED: Sql = Sql::new(
    "see whether a process type is registered",
    "SELECT FROM process_types WHERE name = $1 AND definition = $2 AND tasks = $3 AND required_input = $4 \
     AND concurrency IS NOT DISTINCT FROM $5",
);
const OTHER_MAXES: Sql =
    Sql::new("see who else gives a group a max", include_str!("../../sql/limits/other_maxes.sql"));
const LOCK_TYPE: Sql =
    Sql::new("lock a process type", "SELECT FROM process_types WHERE name = $1 FOR UPDATE");
const VERSIONS: Sql =
    Sql::new("see what a process type was", include_str!("../../sql/schema/type_versions.sql"));
const TYPES: Sql =
    Sql::new("read the process types", include_str!("../../sql/read/values/process_types.sql"));
const TYPES_VERSION: Sql = Sql::new(
    "see whether the process types have changed",
    "SELECT coalesce(string_agg(concat_ws(' ', xmin, ctid), ',' ORDER BY name), '') AS version FROM process_types",
);
/// Process types on one page; and the bytes of definitions after which one ends that is only a part of all.
const TYPES_MAX: i64 = 1000;
const TYPES_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// One page of the process types, their definitions as JSON texts.
#[derive(Debug, Clone, PartialEq)]
pub struct TypePage {
    /// Each with its definition; `None` where that is too large. By name.
    pub types: Vec<(ProcessTypeData, Option<String>)>,
    /// What is wrong with those that can't be read.
    pub unreadable: Vec<String>,
    /// The name after which the next page begins; `None` on the last one.
    pub next: Option<String>,
}

/// What registering did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// It was unknown.
    New,
    /// It differed; processes started from now on run the new definition.
    Changed,
    /// It was there as it is.
    Unchanged,
    /// It was there, and another one has been registered since, which stays.
    Superseded(Superseded),
}

/// One of the definitions that a process type has had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeVersion {
    /// 1 is the first that is known.
    pub version: i32,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// By whom; `None`: before that was kept.
    pub registered_by: Option<String>,
}

/// A definition that was offered again after another one had taken its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// The process type.
    pub name: String,
    /// What was offered.
    pub offered: TypeVersion,
    /// What is registered, and stays.
    pub current: TypeVersion,
}

impl fmt::Display for TypeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {}, registered {}", self.version, self.registered_at.strftime("%FT%TZ"))?;
        self.registered_by.as_ref().map_or(Ok(()), |by| write!(f, " by {by}"))
    }
}

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, offered, current } = self;
        write!(
            f,
            "process type {name:?} stays as it is ({current}): what is offered was replaced by that ({offered})"
        )
    }
}

/// A task definition as a row of `tasks`; `start_processes` copies these.
#[derive(Debug, Serialize)]
struct TaskRow<'a> {
    task_index: usize,
    name: &'a str,
    command: Cow<'a, str>,
    shell: bool,
    working_directory: Option<&'a str>,
    environment: Option<Cow<'a, BTreeMap<String, String>>>,
    timeout_minutes: f64,
    max_retries: u32,
    retry: Option<RetryColumn>,
    on_crash: &'static str,
    max_output_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Vec<Value>>,
}

/// The column `tasks.retry`: how an attempt makes room for the next one. Null stands for the defaults.
#[derive(Debug, Serialize, Deserialize)]
struct RetryColumn {
    initial_delay_seconds: f64,
    multiplier: f64,
    max_delay_seconds: f64,
    fatal_exit_codes: Vec<i32>,
    // Here, as a column of its own would be one that the functions of older schemas do not copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leftovers: Option<String>,
}

impl<'a> TaskRow<'a> {
    fn new(task_index: usize, task: &'a TaskDefinition) -> Self {
        // A shell other than sh is a program like any other: nodes that know of none run it rightly.
        let (command, environment, shell) = match words_of_script(task) {
            Some((command, environment)) => (Cow::Owned(command), Cow::Owned(environment), false),
            None => (Cow::Borrowed(&*task.command), Cow::Borrowed(&task.environment), task.shell),
        };
        Self {
            task_index,
            name: &task.name,
            command,
            shell,
            working_directory: task.working_directory.as_deref(),
            environment: (!environment.is_empty()).then_some(environment),
            timeout_minutes: task.timeout_minutes,
            max_retries: task.max_retries,
            retry: (task.retry != RetryPolicy::default() || task.leftovers != Leftovers::default()).then(
                || RetryColumn {
                    initial_delay_seconds: task.retry.initial_delay.as_secs_f64(),
                    multiplier: task.retry.multiplier,
                    max_delay_seconds: task.retry.max_delay.as_secs_f64(),
                    fatal_exit_codes: task.retry.fatal_exit_codes.clone(),
                    leftovers: (task.leftovers != Leftovers::default())
                        .then(|| task.leftovers.as_str().to_owned()),
                },
            ),
            on_crash: task.on_crash.as_str(),
            max_output_bytes: task.max_output_bytes,
            limits: (!task.concurrency.is_empty())
                .then(|| task.concurrency.iter().map(|it| it.to_row("", true)).collect()),
        }
    }
}

/// Reads `tasks.retry`.
pub(super) fn retry_of(row: &Row, what: &str) -> Result<(RetryPolicy, Leftovers), StoreError> {
    let Some(Json(column)) = get::<Option<Json<RetryColumn>>>(row, "retry", what)? else {
        return Ok((RetryPolicy::default(), Leftovers::default()));
    };
    let seconds = |value: f64| {
        Duration::try_from_secs_f64(value)
            .map_err(|_| unreadable(what, format!("column retry holds the delay {value}")))
    };
    if !(column.multiplier.is_finite() && column.multiplier >= 0.0) {
        let problem = format!("column retry holds the multiplier {}", column.multiplier);
        return Err(unreadable(what, problem));
    }
    let leftovers = match &column.leftovers {
        Some(word) => Leftovers::parse(word)
            .ok_or_else(|| unreadable(what, format!("column retry holds the leftovers {word:?}")))?,
        None => Leftovers::default(),
    };
    let policy = RetryPolicy {
        initial_delay: seconds(column.initial_delay_seconds)?,
        multiplier: column.multiplier,
        max_delay: seconds(column.max_delay_seconds)?,
        fatal_exit_codes: column.fatal_exit_codes,
    };
    Ok((policy, leftovers))
}

/// Reads `tasks.environment`; null stands for none.
pub(super) fn environment_of(row: &Row, what: &str) -> Result<BTreeMap<String, String>, StoreError> {
    Ok(get::<Option<Json<BTreeMap<String, String>>>>(row, "environment", what)?
        .map_or_else(BTreeMap::new, |it| it.0))
}

impl Store {
    /// Registers a process type, or replaces the one of the same name: processes that were started before keep
    /// the tasks they copied. The type must be valid.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when somebody has locked the type; otherwise when the database fails.
    pub fn register(&mut self, process_type: &ProcessType) -> Result<Registered, StoreError> {
        self.register_as(process_type, None)
    }

    /// The same; `by` says who does it, for the versions that are kept.
    ///
    /// # Errors
    /// As [`Store::register`].
    pub fn register_as(
        &mut self,
        process_type: &ProcessType,
        by: Option<&str>,
    ) -> Result<Registered, StoreError> {
        self.registering(process_type, by, |_| Ok(None))
    }

    /// Registers a process type, unless its definition was registered before and another one has taken its place: whoever
    /// starts with an old file does not put that back.
    ///
    /// # Errors
    /// As [`Store::register`].
    pub fn register_unless_superseded(
        &mut self,
        process_type: &ProcessType,
        by: Option<&str>,
    ) -> Result<Registered, StoreError> {
        self.registering(process_type, by, |store| {
            store.execute(&LOCK_TYPE, &[&process_type.name])?;
            store.superseded(process_type)
        })
    }

    /// Whether another definition has taken the place of this one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn superseded(&mut self, process_type: &ProcessType) -> Result<Option<Superseded>, StoreError> {
        let found = self.query_opt(&VERSIONS, &[&process_type.name, &process_type.to_value()])?;
        let versions = found.as_ref().map(|row| read_versions(row, &process_type.name)).transpose()?;
        // The last one is what is there.
        Ok(versions.filter(|it| it.offered.version != it.current.version))
    }

    /// One that is there as it is needs no lock, whoever has locked its row.
    fn registering(
        &mut self,
        process_type: &ProcessType,
        by: Option<&str>,
        superseded: impl Fn(&mut Self) -> Result<Option<Superseded>, StoreError>,
    ) -> Result<Registered, StoreError> {
        let rows: Vec<TaskRow> =
            process_type.tasks.iter().enumerate().map(|(i, task)| TaskRow::new(i, task)).collect();
        let (name, definition, rows) = (&process_type.name, process_type.to_value(), Json(rows));
        let (required, limits) = (required_input(process_type), limits_column(process_type));
        if self.query_opt(&IS_REGISTERED, &[name, &definition, &rows, &required, &limits])?.is_some() {
            return Ok(Registered::Unchanged);
        }
        let done = self.while_lockable(REGISTER.action, Lockable::Type(name), |store| {
            if let Some(superseded) = superseded(store)? {
                return Ok(Registered::Superseded(superseded));
            }
            let description = &process_type.description;
            let row = store
                .query_opt(&REGISTER, &[name, description, &definition, &rows, &required, &by, &limits])?;
            if row.is_some() {
                store.set_type_schedules(name, &process_type.schedules, by)?;
            }
            Ok(match row {
                None => Registered::Unchanged,
                Some(row) if get(&row, "is_new", "a process type")? => Registered::New,
                Some(_) => Registered::Changed,
            })
        })?;
        if matches!(done, Registered::New | Registered::Changed) {
            self.warn_of_other_maxes(process_type)?;
        }
        Ok(done)
    }

    /// Of two process types that give a group another max the last one counts, unless somebody has set it by hand: whoever
    /// registers is told.
    fn warn_of_other_maxes(&mut self, process_type: &ProcessType) -> Result<(), StoreError> {
        let limits =
            process_type.concurrency.iter().chain(process_type.tasks.iter().flat_map(|it| &it.concurrency));
        let groups: BTreeMap<&str, u32> =
            limits.filter_map(|it| Some((it.group.as_deref()?, it.max?))).collect();
        if groups.is_empty() {
            return Ok(());
        }
        let what = "a limit";
        for row in self.query(&OTHER_MAXES, &[&process_type.name, &Json(&groups)])? {
            let (group, max): (String, i32) = (get(&row, "name", what)?, get(&row, "max", what)?);
            match (get::<Option<String>>(&row, "set_by", what)?, get::<Option<i32>>(&row, "now_max", what)?) {
                (Some(by), now) => {
                    let now = now.map_or_else(|| "unbounded".to_owned(), |it| it.to_string());
                    warn!(
                        "limit {group:?}: max {max} of process type {:?} does not count, as {by} has set it to {now}; give it \
                         back to the documents: process-orchestrator limits set {group} --max default",
                        process_type.name
                    );
                }
                _ => {
                    let (other, other_max): (String, i32) =
                        (get(&row, "other_type", what)?, get(&row, "other_max", what)?);
                    warn!(
                        "limit {group:?}: max {max} of process type {:?}, registered last, counts now; process type {other:?} \
                         says {other_max}: write it in one of them and leave it out in the others",
                        process_type.name
                    );
                }
            }
        }
        Ok(())
    }

    /// All registered process types, by name.
    pub fn process_types(&mut self) -> Result<Listed<ProcessTypeData>, StoreError> {
        let mut all = Listed { rows: Vec::new(), unreadable: Vec::new() };
        let mut after = None;
        loop {
            let page = self.types_page(after.as_deref(), u32::MAX, TYPES_BYTES_MAX)?;
            all.unreadable.extend(page.unreadable);
            for (process_type, definition) in page.types {
                match with_definition(process_type, definition) {
                    Ok(process_type) => all.rows.push(process_type),
                    Err(error) => all.unreadable.push(problem_of(&error)),
                }
            }
            match page.next {
                None => return Ok(all),
                next => after = next,
            }
        }
    }

    /// One page of them, after the name that the page before gave; a definition of more bytes than `definition_bytes_max`
    /// is left out, and the page ends after `page_bytes` of them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn types_page(
        &mut self,
        after: Option<&str>,
        definition_bytes_max: u32,
        page_bytes: u32,
    ) -> Result<TypePage, StoreError> {
        let rows = self.types_rows(None, after, definition_bytes_max, page_bytes)?;
        let mut page = TypePage { types: Vec::with_capacity(rows.len()), unreadable: Vec::new(), next: None };
        for row in &rows {
            match read_type(row) {
                Ok(one) => page.types.push(one),
                Err(error) => page.unreadable.push(problem_of(&error)),
            }
        }
        if let Some(last) = rows.last() {
            let what = "a process type";
            let bytes: i64 = get(last, "bytes", what)?;
            // The statement has ended the page for the one reason or the other; the next one may be empty.
            let is_full = rows.len() as i64 >= TYPES_MAX || bytes >= i64::from(page_bytes);
            page.next = is_full.then(|| get(last, "name", what)).transpose()?;
        }
        Ok(page)
    }

    /// One registered process type.
    ///
    /// # Errors
    /// When the database fails or the row can't be read.
    pub fn process_type(&mut self, name: &str) -> Result<Option<ProcessTypeData>, StoreError> {
        let rows = self.types_rows(Some(name), None, u32::MAX, TYPES_BYTES_MAX)?;
        let read = |row| read_type(row).and_then(|(one, definition)| with_definition(one, definition));
        rows.first().map(read).transpose()
    }

    /// A text that changes when any of them does.
    ///
    /// # Errors
    /// When the database fails.
    pub fn types_version(&mut self) -> Result<String, StoreError> {
        get(&self.query_one(&TYPES_VERSION, &[], "the process types")?, "version", "the process types")
    }

    fn types_rows(
        &mut self,
        name: Option<&str>,
        after: Option<&str>,
        definition_bytes_max: u32,
        page_bytes: u32,
    ) -> Result<Vec<Row>, StoreError> {
        let (definition_max, page_bytes) = (i64::from(definition_bytes_max), i64::from(page_bytes));
        self.query(&TYPES, &[&name, &after, &TYPES_MAX, &definition_max, &page_bytes])
    }
}

/// The column `process_types.concurrency`: null, if neither the type nor a task has limits.
fn limits_column(process_type: &ProcessType) -> Option<Value> {
    let has_limits = !process_type.concurrency.is_empty()
        || process_type.tasks.iter().any(|it| !it.concurrency.is_empty());
    let rows = process_type.concurrency.iter().map(|it| it.to_row(&process_type.name, false));
    has_limits.then(|| rows.collect())
}

fn read_versions(row: &Row, name: &str) -> Result<Superseded, StoreError> {
    let what = format!("a version of process type {name:?}");
    let of = |version, at, by| -> Result<TypeVersion, StoreError> {
        Ok(TypeVersion {
            version: get(row, version, &what)?,
            registered_at: time(row, at, &what)?,
            registered_by: get(row, by, &what)?,
        })
    };
    Ok(Superseded {
        name: name.to_owned(),
        offered: of("version", "registered_at", "registered_by")?,
        current: of("now_version", "now_registered_at", "now_registered_by")?,
    })
}

fn with_definition(
    process_type: ProcessTypeData,
    definition: Option<String>,
) -> Result<ProcessTypeData, StoreError> {
    let text = definition.as_deref().unwrap_or("null");
    let definition = serde_json::from_str(text).map_err(|cause| {
        unreadable(&format!("process type \"{}\"", process_type.name), format!("column definition: {cause}"))
    })?;
    Ok(ProcessTypeData { definition, ..process_type })
}

/// With its definition as text.
fn read_type(row: &Row) -> Result<(ProcessTypeData, Option<String>), StoreError> {
    let name: String = get(row, "name", "a process type")?;
    let what = format!("process type \"{name}\"");
    let definition = get(row, "definition_text", &what)?;
    let process_type = ProcessTypeData {
        definition: Value::Null,
        required_input: get(row, "required_input", &what)?,
        paused: get(row, "paused", &what)?,
        paused_at: get(row, "paused_at", &what)?,
        pause_reason: get(row, "pause_reason", &what)?,
        max_concurrent: get(row, "max_concurrent", &what)?,
        created_at: time(row, "created_at", &what)?,
        updated_at: time(row, "updated_at", &what)?,
        version: get(row, "version", &what)?,
        registered_by: get(row, "registered_by", &what)?,
        name,
    };
    Ok((process_type, definition))
}
