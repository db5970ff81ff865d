//! Pages of processes, newest first, whatever the filter and however long the history.

use std::error::Error;

use bytes::BytesMut;
use jiff::Timestamp;
use postgres::Row;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use serde_json::{Map, Value};

use super::process::read_process;
use super::values::{Include, ProcessText};
use crate::model::lifecycle::ProcessStatus;
use crate::model::records::ProcessData;
use crate::store::row::{get, problem_of};
use crate::store::{Sql, Store, StoreError};

const WALK: Sql = Sql::new("list processes", include_str!("../../../sql/read/list_processes.sql"));
const UNFINISHED: Sql =
    Sql::new("list unfinished processes", include_str!("../../../sql/read/list_unfinished.sql"));
const FEW: Sql = Sql::new(
    "list processes by metadata or the begin of their ids",
    include_str!("../../../sql/read/list_few.sql"),
);
const BY_SEARCH: Sql = Sql::new("search for processes", include_str!("../../../sql/read/list_by_search.sql"));
const SEARCH_END: Sql =
    Sql::new("see how far a search goes", include_str!("../../../sql/read/search_end.sql"));
const COUNT_CANDIDATES: Sql =
    Sql::new("see how many processes to look at", include_str!("../../../sql/read/count_candidates.sql"));
const NODES_NAMED: Sql = Sql::new("find a node", include_str!("../../../sql/nodes/nodes_named.sql"));

/// Most processes on one page.
pub const PAGE_MAX: u32 = 1000;
/// Up to so many processes are read and sorted for a page (30 ms); of more, a walk by creation meets a page's worth
/// soon enough.
const CANDIDATES_MAX: i64 = 10_000;
/// A part of an id has no index: one page looks for it among so many processes, some 100 ms. The next page goes on.
const SEARCHED_MAX: i64 = 200_000;

/// Which processes a list shows. Conditions that are not given leave all through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFilter {
    /// Only those in one of these; empty is any status.
    pub statuses: Vec<ProcessStatus>,
    /// Only those of this type.
    pub process_type: Option<String>,
    /// Only those that run or ran on this node: an id, or a name for all nodes that have borne it. One that is
    /// not known (any more, see [`Store::knows_node`]) has none.
    pub node: Option<String>,
    /// Only those whose first task was claimed at this time or later.
    pub started_since: Option<Timestamp>,
    /// And before this one.
    pub started_before: Option<Timestamp>,
    /// Only those that have ended, at this time or later.
    pub finished_since: Option<Timestamp>,
    /// And before this one.
    pub finished_before: Option<Timestamp>,
    /// Only those whose input holds all of this metadata.
    pub metadata: Map<String, Value>,
    /// Only those whose ids begin so.
    pub id_prefix: Option<String>,
    /// Only those whose ids hold this somewhere. Of a long history one page is what is found among the 200,000 newest,
    /// maybe nothing, and `next` is where the search goes on.
    pub search: Option<String>,
    /// Only those after this place, which the page before gave as `next`.
    pub after: Option<Cursor>,
    /// At most this many; no more than [`PAGE_MAX`] are given.
    pub limit: u32,
    /// What is read of each beside its row. A page that holds some megabytes of it ends earlier.
    pub include: Include,
}

impl Default for ProcessFilter {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            process_type: None,
            node: None,
            started_since: None,
            started_before: None,
            finished_since: None,
            finished_before: None,
            metadata: Map::new(),
            id_prefix: None,
            search: None,
            after: None,
            limit: 100,
            include: Include::default(),
        }
    }
}

/// A place in the list of processes, newest first. As text it is opaque: pass on what a page gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    created_at: DatabaseTime,
    process_id: String,
}

/// A `timestamptz` as it is on the wire, microseconds since 2000 or an infinity: a page may end with a row whose time
/// is beyond what we can show, and the next has to begin there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct DatabaseTime(i64);

impl<'a> FromSql<'a> for DatabaseTime {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        i64::from_sql(&Type::INT8, raw).map(Self)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }
}

impl ToSql for DatabaseTime {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql(&Type::INT8, out)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

/// A row of a page: its place, and what is in it or why it can't be read.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    place: Cursor,
    process: Result<ProcessData, String>,
}

/// Rows of a page that are to get their values yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PageRows {
    found: Vec<Found>,
    next: Option<Cursor>,
    include: Include,
}

/// One page of a list whose values are texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextPage {
    /// Newest first.
    pub processes: Vec<ProcessText>,
    /// What is wrong with rows, as in [`Page`].
    pub unreadable: Vec<String>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Cursor>,
}

impl Cursor {
    /// Reads the text of its `Display`; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (micros, process_id) = text.split_once('.')?;
        Some(Self { created_at: DatabaseTime(micros.parse().ok()?), process_id: process_id.to_owned() })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.created_at.0, self.process_id)
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Newest first.
    pub processes: Vec<ProcessData>,
    /// What is wrong with each of the page's rows that can't be read: a sentence that names the process.
    pub unreadable: Vec<String>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Cursor>,
}

/// Where a page's processes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// All of them, by creation or by whatever index the filter allows.
    Walk,
    /// The finished ones among them.
    WalkFinished,
    /// The queue.
    Queue,
    /// The index of metadata, or that of ids by their begin.
    Few,
}

impl Path {
    /// Whether it goes through processes by their creation, as far as it has to.
    const fn is_walk(self) -> bool {
        matches!(self, Self::Walk | Self::WalkFinished)
    }
}

/// What the filter says of which processes can be in it at all. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    unfinished: bool,
    finished: bool,
    /// Of the unfinished ones only those that have been claimed.
    claimed_only: bool,
    /// Of the finished ones only those that failed or were cancelled.
    with_error_only: bool,
}

impl Reach {
    fn of(filter: &ProcessFilter) -> Self {
        let statuses = &filter.statuses;
        let any =
            |wanted: &[ProcessStatus]| statuses.is_empty() || wanted.iter().any(|it| statuses.contains(it));
        let is_ended_asked = filter.finished_since.is_some() || filter.finished_before.is_some();
        let is_never_claimed_asked = any(&[ProcessStatus::NotStarted]);
        Self {
            unfinished: !is_ended_asked && any(&[ProcessStatus::NotStarted, ProcessStatus::InProgress]),
            finished: any(&[ProcessStatus::Completed, ProcessStatus::Failed, ProcessStatus::Cancelled]),
            claimed_only: !is_never_claimed_asked,
            with_error_only: !any(&[ProcessStatus::Completed]),
        }
    }

    /// Unfinished processes are few beside the history, unless the queue is long.
    fn paths(self, filter: &ProcessFilter, candidates: i64) -> &'static [Path] {
        let is_few = candidates <= CANDIDATES_MAX;
        // A condition on when or where they ran has an index's help for finished ones only.
        let is_apart = filter.started_since.is_some() || filter.node.is_some() || self.with_error_only;
        match (self.unfinished, self.finished) {
            _ if !filter.metadata.is_empty() || filter.id_prefix.is_some() => {
                if is_few {
                    &[Path::Few]
                } else {
                    &[Path::Walk]
                }
            }
            (true, false) => {
                if is_few {
                    &[Path::Queue]
                } else {
                    &[Path::Walk]
                }
            }
            (true, true) if is_apart && is_few => &[Path::Queue, Path::WalkFinished],
            (true, true) => &[Path::Walk],
            (false, true) => &[Path::WalkFinished],
            (false, false) => &[],
        }
    }
}

/// The filter in the statements' own terms.
struct Conditions {
    statuses: Option<Vec<&'static str>>,
    /// In each of its forms.
    metadata: Option<Vec<Value>>,
    /// Patterns of LIKE: how ids begin, what they hold.
    prefix: Option<String>,
    part: Option<String>,
    node_ids: Option<Vec<String>>,
    finished_since: Option<Timestamp>,
    created_before: Option<Timestamp>,
    rows: i64,
}

/// The metadata as it is kept, and as the release before kept it of inputs with numbers and booleans: most processes that
/// were there at the eighth migration still have them. Of many such values only some are looked for in both forms.
/// Nothing for none.
fn forms_of(metadata: &Map<String, Value>) -> Option<Vec<Value>> {
    const FORMS_MAX: usize = 16;
    let mut forms = vec![Map::new()];
    for (key, value) in metadata {
        let other = value.as_str().and_then(number_or_boolean).filter(|_| forms.len() < FORMS_MAX);
        let with = |value: &Value| {
            let with_it = |form: &Map<String, Value>| {
                let mut form = form.clone();
                form.insert(key.clone(), value.clone());
                form
            };
            forms.iter().map(with_it).collect::<Vec<_>>()
        };
        forms = [Some(value), other.as_ref()].into_iter().flatten().flat_map(with).collect();
    }
    (!metadata.is_empty()).then(|| forms.into_iter().map(Value::Object).collect())
}

/// What is written as `jsonb` writes it, so without an exponent.
fn number_or_boolean(text: &str) -> Option<Value> {
    const CHARS_MAX: usize = 400;
    let is_plain = text.len() <= CHARS_MAX && !text.contains(['e', 'E']) || text == "true" || text == "false";
    serde_json::from_str(text)
        .ok()
        .filter(|value: &Value| is_plain && (value.is_number() || value.is_boolean()))
}

impl Store {
    /// A page of processes, newest first.
    pub fn processes(&mut self, filter: &ProcessFilter) -> Result<Page, StoreError> {
        let rows = self.page_rows(filter)?;
        let TextPage { processes: texts, mut unreadable, next } = self.with_values(rows, u32::MAX)?;
        let mut processes = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parsed() {
                Ok(process) => processes.push(process),
                Err(error) => unreadable.push(problem_of(&error)),
            }
        }
        Ok(Page { processes, unreadable, next })
    }

    /// Reads the values of a page's rows, as far as they fit: the page ends before the first that does not. A value of more
    /// bytes than `value_bytes_max` is left out.
    ///
    /// # Errors
    /// When the database fails.
    pub fn with_values(&mut self, rows: PageRows, value_bytes_max: u32) -> Result<TextPage, StoreError> {
        let PageRows { mut found, mut next, include } = rows;
        let mut values = Vec::new();
        if !include.is_nothing() && !found.is_empty() {
            let ids: Vec<&str> = found.iter().map(|it| &*it.place.process_id).collect();
            values = self.values_of(&ids, include, value_bytes_max)?;
            if values.len() < found.len() {
                found.truncate(values.len());
                next = found.last().map(|it| it.place.clone());
            }
        }
        let mut page = TextPage { processes: Vec::with_capacity(found.len()), unreadable: Vec::new(), next };
        let mut values = values.into_iter();
        for one in found {
            let (input, context) = values.next().unwrap_or_default();
            match one.process {
                Ok(process) => page.processes.push(ProcessText { process, input, context }),
                Err(problem) => page.unreadable.push(problem),
            }
        }
        Ok(page)
    }

    /// The rows of a page of processes, newest first, without the values that the filter wants.
    ///
    /// # Errors
    /// When the database fails.
    pub fn page_rows(&mut self, filter: &ProcessFilter) -> Result<PageRows, StoreError> {
        let limit = filter.limit.clamp(1, PAGE_MAX);
        let reach = Reach::of(filter);
        let Some(conditions) = self.conditions(filter, limit)? else {
            return Ok(PageRows { found: Vec::new(), next: None, include: filter.include });
        };
        let candidates = self.candidates(filter, reach)?;
        let paths = reach.paths(filter, candidates);
        let end = match conditions.part.is_some() && paths.iter().any(|it| it.is_walk()) {
            true => self.search_end(filter)?,
            false => None,
        };
        let mut found = Vec::new();
        for path in paths {
            found.extend(self.page_by(*path, filter, reach, &conditions, end.as_ref())?);
        }
        let (found, next) = newest_of(found, limit as usize);
        Ok(PageRows { found, next: next.or(end), include: filter.include })
    }

    /// A text that changes when a page of these rows would: one of them has changed, or others are there.
    ///
    /// # Errors
    /// When the database fails.
    pub fn version_of(&mut self, rows: &PageRows) -> Result<String, StoreError> {
        let ids: Vec<&str> = rows.found.iter().map(|it| &*it.place.process_id).collect();
        let next = rows.next.as_ref().map(Cursor::to_string).unwrap_or_default();
        Ok(format!("{ids:?} {next} {}", self.versions_of(&ids)?))
    }

    /// The last process that one page's search looks at; `None` if that is the oldest of all.
    fn search_end(&mut self, filter: &ProcessFilter) -> Result<Option<Cursor>, StoreError> {
        let after_time = filter.after.as_ref().map(|it| it.created_at);
        let after_id = filter.after.as_ref().map(|it| it.process_id.as_str());
        let params: [&(dyn ToSql + Sync); 4] =
            [&filter.process_type, &after_time, &after_id, &(SEARCHED_MAX - 1)];
        self.query_opt(&SEARCH_END, &params)?.map(|row| read_place(&row)).transpose()
    }

    /// Whether there is a node of this id or name; those that ended more than seven days ago are forgotten.
    pub fn knows_node(&mut self, node: &str) -> Result<bool, StoreError> {
        Ok(self.query_opt(&NODES_NAMED, &[&node])?.is_some())
    }

    /// `None` when nothing can match.
    fn conditions(&mut self, filter: &ProcessFilter, limit: u32) -> Result<Option<Conditions>, StoreError> {
        let statuses: Vec<&str> = filter.statuses.iter().map(|it| it.as_str()).collect();
        let mut conditions = Conditions {
            statuses: (!statuses.is_empty()).then_some(statuses),
            metadata: forms_of(&filter.metadata),
            prefix: filter.id_prefix.as_ref().map(|it| format!("{}%", literal(it))),
            part: filter.search.as_ref().map(|it| format!("%{}%", literal(it))),
            node_ids: None,
            // What has been started since then has not ended before.
            finished_since: filter.finished_since.max(filter.started_since),
            // And what was started or has ended before then was created before.
            created_before: earlier(filter.finished_before, filter.started_before),
            rows: i64::from(limit) + 1,
        };
        if let Some(node) = &filter.node {
            let Some(row) = self.query_opt(&NODES_NAMED, &[node])? else { return Ok(None) };
            conditions.node_ids = get(&row, "node_ids", "a node")?;
            conditions.finished_since = conditions.finished_since.max(get(&row, "began", "a node")?);
            conditions.created_before = earlier(conditions.created_before, get(&row, "ended", "a node")?);
        }
        Ok(Some(conditions))
    }

    /// How many processes the filter's best starting point leaves, counted no further than is of interest.
    fn candidates(&mut self, filter: &ProcessFilter, reach: Reach) -> Result<i64, StoreError> {
        let metadata = forms_of(&filter.metadata);
        let prefix = filter.id_prefix.as_ref().map(|it| format!("{}%", literal(it)));
        if metadata.is_none() && prefix.is_none() && !reach.unfinished {
            return Ok(0);
        }
        let counted = CANDIDATES_MAX + 1;
        let row = self.query_opt(
            &COUNT_CANDIDATES,
            &[&metadata, &filter.process_type, &counted, &reach.claimed_only, &prefix],
        )?;
        row.map_or(Ok(0), |row| get(&row, "how_many", "the candidates"))
    }

    fn page_by(
        &mut self,
        path: Path,
        filter: &ProcessFilter,
        reach: Reach,
        conditions: &Conditions,
        end: Option<&Cursor>,
    ) -> Result<Vec<Found>, StoreError> {
        let after_time = filter.after.as_ref().map(|it| it.created_at);
        let after_id = filter.after.as_ref().map(|it| it.process_id.as_str());
        let is_finished = path == Path::WalkFinished;
        // Of unfinished ones the time of their end says nothing.
        let is_ended = is_finished || !reach.unfinished;
        let with_error = reach.with_error_only && is_ended;
        let finished_since = if is_ended { conditions.finished_since } else { filter.finished_since };
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![
            &conditions.statuses,
            &filter.process_type,
            &after_time,
            &after_id,
            &conditions.rows,
            &with_error,
            &is_ended,
            &finished_since,
            &filter.finished_before,
            &filter.started_since,
            &filter.started_before,
            &conditions.created_before,
            &conditions.metadata,
            &conditions.node_ids,
            &conditions.prefix,
        ];
        let end_time = end.map(|it| it.created_at);
        let end_id = end.map(|it| it.process_id.as_str());
        let sql = match path {
            Path::Walk | Path::WalkFinished if conditions.part.is_none() => &WALK,
            Path::Walk | Path::WalkFinished => {
                params.extend::<[&(dyn ToSql + Sync); 3]>([&conditions.part, &end_time, &end_id]);
                &BY_SEARCH
            }
            Path::Few => {
                params.push(&conditions.part);
                &FEW
            }
            Path::Queue => {
                params.extend::<[&(dyn ToSql + Sync); 2]>([&conditions.part, &reach.claimed_only]);
                &UNFINISHED
            }
        };
        self.query(sql, &params)?.iter().map(read_found).collect()
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// A text as a pattern of LIKE that only it matches.
pub(super) fn literal(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

fn read_place(row: &Row) -> Result<Cursor, StoreError> {
    Ok(Cursor {
        created_at: get(row, "created_at", "a process")?,
        process_id: get(row, "process_id", "a process")?,
    })
}

fn read_found(row: &Row) -> Result<Found, StoreError> {
    Ok(Found { place: read_place(row)?, process: read_process(row).map_err(|error| problem_of(&error)) })
}

/// The newest of what several paths gave, and where the next page begins. A process that ended in between is in two of
/// them: the later look counts.
fn newest_of(mut found: Vec<Found>, limit: usize) -> (Vec<Found>, Option<Cursor>) {
    found.reverse();
    found.sort_by(|a, b| {
        (b.place.created_at, &b.place.process_id).cmp(&(a.place.created_at, &a.place.process_id))
    });
    found.dedup_by(|later, kept| later.place.process_id == kept.place.process_id);
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|it| it.place.clone());
    (found, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_in_each_of_its_forms() {
        let forms = |pairs: &[(&str, &str)]| {
            let metadata =
                pairs.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
            forms_of(&metadata).map(|forms| Value::Array(forms).to_string())
        };
        assert_eq!(forms(&[]), None);
        assert_eq!(forms(&[("a", "x"), ("b", "1e3")]).as_deref(), Some(r#"[{"a":"x","b":"1e3"}]"#));
        assert_eq!(
            forms(&[("a", "7"), ("b", "true")]).as_deref(),
            Some(r#"[{"a":"7","b":"true"},{"a":7,"b":"true"},{"a":"7","b":true},{"a":7,"b":true}]"#)
        );
        let many: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(|key| (key, "1")).into();
        assert_eq!(forms(&many).map(|it| it.matches('{').count()), Some(16));
    }
}
