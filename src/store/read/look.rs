//! Where a page's processes are looked for.
//!
//! Every look is bounded, whatever the filter: it goes through an index in the order of creation, or through a few
//! processes that another index gives. What no index knows is asked of so many processes; a page of which nothing more was
//! found among these ends there, with the place where the next one goes on. No plan depends on statistics: each
//! statement leaves one index to be walked.

use jiff::Timestamp;
use postgres::Row;
use postgres::types::ToSql;
use serde_json::Value;

use super::cursor::{Cursor, DatabaseTime};
use super::filter::{PAGE_MAX, ProcessFilter, forms_of, literal};
use super::process::read_process;
use super::values::Include;
use crate::model::lifecycle::ProcessStatus;
use crate::model::records::ProcessData;
use crate::store::row::{get, problem_of};
use crate::store::{Sql, Store, StoreError};

macro_rules! list {
    ($action:literal, $name:literal) => {
        Sql::new($action, include_str!(concat!("../../../sql/read/lists/", $name, ".sql")))
    };
}

const BY_CREATION: Sql = list!("list processes", "by_creation");
const BY_TYPE: Sql = list!("list processes by their types", "by_type");
const OF_BATCH: Sql = list!("list the processes of a batch", "of_batch");
const OF_THESE: Sql = list!("list processes among a few", "of_these");
const TYPES: Sql = list!("read the types of processes", "types");
const END_BY_CREATION: Sql = list!("see how far a look goes", "end_by_creation");
const END_BY_TYPE: Sql = list!("see how far a look goes", "end_by_type");
const END_BY_TYPES: Sql = list!("see how far a look goes", "end_by_types");
const SEARCH_BY_CREATION: Sql = list!("search for processes", "search_by_creation");
const SEARCH_BY_TYPE: Sql = list!("search for processes", "search_by_type");
const FEW: Sql = list!("look for a few processes", "few");
const FEW_CLAIMED: Sql = list!("look for what is under way", "few_claimed");
const FEW_OF_NODE: Sql = list!("look for the processes of a node", "few_of_node");
const NODES_NAMED: Sql = Sql::new("find a node", include_str!("../../../sql/nodes/nodes_named.sql"));

/// What a walk must not depend on: each statement leaves it one index, and no plan of another kind may look cheaper.
const SETTINGS: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_hashjoin = off; \
    SET LOCAL enable_mergejoin = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashagg = off";
/// Looks of several statements see the same.
const ONE_MOMENT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";
/// The index of metadata can be read in no other way.
const WITH_BITMAPS: &str = "SET LOCAL enable_bitmapscan = on";

/// Rows that one page looks at for what no index knows: a few milliseconds, and a page of the disk each at the worst.
const LOOKED_AT_MAX: i64 = 1_500;
/// The same where each costs a descent to its executions.
const LOOKED_AT_BY_NODE_MAX: i64 = 400;
/// And what each of many types has at the least.
const LOOKED_AT_MIN: i64 = 20;
/// A type may have so many times its even share of these.
const SHARE_FACTOR: i64 = 2;
/// Ids that one page is searched through, which is done in an index alone; but a table that was not vacuumed is asked for each
/// page of it that has one.
const SEARCHED_MAX: i64 = 40_000;
/// The same by type, whose rows are strewn.
const SEARCHED_BY_TYPE_MAX: i64 = 2_500;
/// Found ids whose rows one page looks up.
const SEARCH_FOUND_MAX: i64 = 300;
/// Processes that are looked up one by one, rather than walked to.
const FEW_MAX: i64 = 700;
/// The same of those under way: where they are more, 300,000 others may wait that are newer.
const CLAIMED_MAX: i64 = 10_000;
/// Where one page's walk has met so many with the metadata asked for, the next one goes on: their index would give thousands.
const FOUND_MIN: usize = 5;
/// A time that is not asked for.
const NO_TIME: Option<Timestamp> = None;
/// Rows of all types together that a page may sort: of a thousand types it has no more than some.
const SORTED_MAX: usize = 16_000;

/// A row of a page: its place, and what is in it or why it can't be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) place: Cursor,
    pub(super) process: Result<ProcessData, String>,
}

/// Rows of a page that are to get their values yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PageRows {
    pub(super) found: Vec<Found>,
    pub(super) next: Option<Cursor>,
    pub(super) include: Include,
}

/// Processes that have an index by type and creation of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Unfinished.
    Open,
    /// Completed.
    Well,
    /// Failed or cancelled.
    Badly,
}

impl Class {
    /// As the statements have it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Well => "WELL",
            Self::Badly => "BADLY",
        }
    }
}

/// A part of the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    Of(Class),
    /// Of the unfinished ones those that have been claimed at least once.
    Claimed,
}

/// Which parts can hold what the filter asks for. Pure.
fn parts_of(filter: &ProcessFilter) -> Vec<Part> {
    use ProcessStatus::{Cancelled, Completed, Failed, InProgress, NotStarted};
    let statuses = &filter.statuses;
    let any = |wanted: &[ProcessStatus]| statuses.is_empty() || wanted.iter().any(|it| statuses.contains(it));
    let is_ended_asked = filter.finished_since.is_some() || filter.finished_before.is_some();
    // What was never claimed has neither begun nor been anywhere.
    let has_run = filter.started_since.is_some() || filter.started_before.is_some() || filter.node.is_some();
    let is_claimed_asked = has_run || !any(&[NotStarted]);
    let mut parts = Vec::with_capacity(3);
    if !is_ended_asked && any(&[NotStarted, InProgress]) {
        parts.push(if is_claimed_asked { Part::Claimed } else { Part::Of(Class::Open) });
    }
    parts.extend(any(&[Completed]).then_some(Part::Of(Class::Well)));
    parts.extend(any(&[Failed, Cancelled]).then_some(Part::Of(Class::Badly)));
    let is_all = parts.len() == 3 && !is_claimed_asked && filter.process_type.is_none();
    if is_all { vec![Part::All] } else { parts }
}

/// Whether the filter asks for more than the part's index knows; `apart` is what is asked of its ids alone.
fn asks_for_more(filter: &ProcessFilter, part: Part, apart: bool) -> bool {
    use ProcessStatus::{Cancelled, Failed, InProgress, NotStarted};
    let not_both = |one, other| {
        let statuses = &filter.statuses;
        !statuses.is_empty() && [one, other].iter().any(|it| !statuses.contains(it))
    };
    let is_status_asked = match part {
        Part::All => !filter.statuses.is_empty(),
        Part::Of(Class::Well) => false,
        Part::Of(Class::Badly) => not_both(Failed, Cancelled),
        Part::Of(Class::Open) | Part::Claimed => not_both(NotStarted, InProgress),
    };
    let times = [filter.started_since, filter.started_before, filter.finished_since, filter.finished_before];
    let id_parts = usize::from(filter.id_prefix.is_some()) + usize::from(filter.search.is_some());
    is_status_asked
        || times.iter().any(Option::is_some)
        || filter.node.is_some()
        || !filter.metadata.is_empty()
        || id_parts > usize::from(apart)
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
    /// Of those that have ended.
    finished_since: Option<Timestamp>,
    /// Where the list begins: all that are in it come behind.
    begin: Cursor,
    rows: i64,
}

/// A part that is walked, type by type; without types in the order of all.
struct Walk {
    part: Part,
    types: Vec<String>,
}

/// What a look has found, and how far it went; `None` to the end.
type Seen = (Vec<Found>, Option<Cursor>);

impl Store {
    /// The rows of a page of processes, newest first, without the values that the filter wants.
    ///
    /// # Errors
    /// When the database fails.
    pub fn page_rows(&mut self, filter: &ProcessFilter) -> Result<PageRows, StoreError> {
        self.in_transaction("list processes", |store| {
            // A process that is retried, or ends, between two of the looks is in one of them.
            store.set_local(ONE_MOMENT)?;
            store.set_local(SETTINGS)?;
            let limit = filter.limit.clamp(1, PAGE_MAX);
            let (found, next) = match store.conditions(filter, limit)? {
                None => (Vec::new(), None),
                Some(conditions) => match &filter.batch {
                    Some(batch) => store.look_into_batch(filter, batch, &conditions, limit as usize)?,
                    None => store.look(filter, conditions, limit)?,
                },
            };
            Ok(PageRows { found, next, include: filter.include })
        })
    }

    fn look_into_batch(
        &mut self,
        filter: &ProcessFilter,
        batch: &str,
        conditions: &Conditions,
        limit: usize,
    ) -> Result<Seen, StoreError> {
        let begin = &conditions.begin;
        let place: [&(dyn ToSql + Sync); 3] = [&batch, &begin.created_at, &begin.process_id];
        let mut found = self.found(&OF_BATCH, filter, conditions, conditions.finished_since, &place)?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|it| it.place.clone());
        Ok((found, next))
    }

    /// Does `work`, whose statements walk indexes whatever the statistics say.
    pub(super) fn walking<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.in_transaction(action, |store| {
            store.set_local(SETTINGS)?;
            work(store)
        })
    }

    /// Settings of a transaction.
    pub(super) fn set_local(&mut self, settings: &str) -> Result<(), StoreError> {
        let set = self.connection.batch_execute(settings);
        set.map_err(|source| StoreError::database("prepare a look", source))
    }

    /// Whether there is a node of this id or name; those that ended more than seven days ago are forgotten.
    pub fn knows_node(&mut self, node: &str) -> Result<bool, StoreError> {
        Ok(self.query_opt(&NODES_NAMED, &[&node])?.is_some())
    }

    /// `None` when nothing can match.
    fn conditions(&mut self, filter: &ProcessFilter, limit: u32) -> Result<Option<Conditions>, StoreError> {
        let statuses: Vec<&str> = filter.statuses.iter().map(|it| it.as_str()).collect();
        // What has been started since then has not ended before.
        let mut finished_since = filter.finished_since.max(filter.started_since);
        // And what was started or has ended before then was created before.
        let mut before = earlier(filter.finished_before, filter.started_before);
        let mut node_ids = None;
        if let Some(node) = &filter.node {
            let Some(row) = self.query_opt(&NODES_NAMED, &[node])? else { return Ok(None) };
            node_ids = get(&row, "node_ids", "a node")?;
            finished_since = finished_since.max(get(&row, "began", "a node")?);
            before = earlier(before, get(&row, "ended", "a node")?);
        }
        let begin = filter.after.clone().into_iter().chain(before.map(Cursor::at)).min();
        Ok(Some(Conditions {
            statuses: (!statuses.is_empty()).then_some(statuses),
            metadata: forms_of(&filter.metadata),
            prefix: filter.id_prefix.as_ref().map(|it| format!("{}%", literal(it))),
            part: filter.search.as_ref().map(|it| format!("%{}%", literal(it))),
            node_ids,
            finished_since,
            begin: begin.unwrap_or_else(Cursor::newest),
            rows: i64::from(limit) + 1,
        }))
    }

    fn look(
        &mut self,
        filter: &ProcessFilter,
        mut conditions: Conditions,
        mut limit: u32,
    ) -> Result<Seen, StoreError> {
        let parts = parts_of(filter);
        let mut few = self.few(filter, &parts, &conditions)?;
        if few.is_none() {
            let (found, next) = self.by_walks(filter, &mut conditions, parts, &mut limit)?;
            let is_enough = next.is_none() || found.len() >= FOUND_MIN.min(limit as usize);
            // This index is read as a whole for what is asked: it is dear where it gives much.
            few = if is_enough { None } else { self.few_by_metadata(&conditions)? };
            if few.is_none() {
                return Ok((found, next));
            }
        }
        let found = self.of_these(filter, &conditions, &few.unwrap_or_default(), false)?;
        Ok(page_of(vec![(found, None)], limit as usize))
    }

    /// Walks through all parts.
    fn by_walks(
        &mut self,
        filter: &ProcessFilter,
        conditions: &mut Conditions,
        parts: Vec<Part>,
        limit: &mut u32,
    ) -> Result<Seen, StoreError> {
        let mut seen = Vec::with_capacity(parts.len());
        let mut walks = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Part::Claimed => match self.few_claimed(conditions)? {
                    Some(few) => seen.push((self.of_these(filter, conditions, &few, false)?, None)),
                    None => walks.push(self.walk(filter, Part::Of(Class::Open))?),
                },
                part => walks.push(self.walk(filter, part)?),
            }
        }
        let branches: usize = walks.iter().map(|it| it.types.len().max(1)).sum();
        *limit = (*limit).min(u32::try_from(SORTED_MAX / branches.max(1)).unwrap_or(PAGE_MAX)).max(1);
        conditions.rows = i64::from(*limit) + 1;
        for walk in &walks {
            seen.push(self.by_walk(filter, conditions, walk, branches)?);
        }
        Ok(page_of(seen, *limit as usize))
    }

    fn walk(&mut self, filter: &ProcessFilter, part: Part) -> Result<Walk, StoreError> {
        let types = match (part, &filter.process_type) {
            (Part::Of(_), Some(process_type)) => vec![process_type.clone()],
            (Part::Of(class), None) => {
                self.query_column(&TYPES, &[&class.as_str()], "process_type", "a process type")?
            }
            _ => Vec::new(),
        };
        Ok(Walk { part, types })
    }

    /// What an index other than those by creation gives, if that is little.
    fn few(
        &mut self,
        filter: &ProcessFilter,
        parts: &[Part],
        conditions: &Conditions,
    ) -> Result<Option<Vec<Cursor>>, StoreError> {
        if let Some(nodes) = &conditions.node_ids {
            let rows = self.query(&FEW_OF_NODE, &[nodes, &FEW_MAX])?;
            let is_all: bool = rows.first().map_or(Ok(false), |row| get(row, "is_all", "a node"))?;
            if is_all {
                // One row without a process stands for none.
                let known =
                    rows.iter().filter(|row| !matches!(row.try_get("process_id"), Ok(None::<String>)));
                return Ok(Some(places_behind(&conditions.begin, known)?));
            }
        }
        let is_open = |it: &Part| matches!(it, Part::All | Part::Claimed | Part::Of(Class::Open));
        let (since, before) = match parts.iter().any(is_open) {
            true => (None, None),
            false => (conditions.finished_since, filter.finished_before),
        };
        let prefix = conditions.prefix.as_ref();
        if let Some(prefix) = prefix
            && let Some(few) = self.few_by(conditions, &[&None::<Vec<Value>>, &prefix, &NO_TIME, &NO_TIME])?
        {
            return Ok(Some(few));
        }
        if since.is_none() && before.is_none() {
            return Ok(None);
        }
        self.few_by(conditions, &[&None::<Vec<Value>>, &None::<String>, &since, &before])
    }

    /// Those that hold the metadata asked for, if they are few.
    fn few_by_metadata(&mut self, conditions: &Conditions) -> Result<Option<Vec<Cursor>>, StoreError> {
        if conditions.metadata.is_none() {
            return Ok(None);
        }
        self.set_local(WITH_BITMAPS)?;
        self.few_by(conditions, &[&conditions.metadata, &None::<String>, &NO_TIME, &NO_TIME])
    }

    fn few_by(
        &mut self,
        conditions: &Conditions,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Vec<Cursor>>, StoreError> {
        let counted = FEW_MAX + 1;
        let rows = self.query(&FEW, &[params, &[&counted]].concat())?;
        let is_few = rows.len() as i64 <= FEW_MAX;
        is_few.then(|| places_behind(&conditions.begin, rows.iter())).transpose()
    }

    fn few_claimed(&mut self, conditions: &Conditions) -> Result<Option<Vec<Cursor>>, StoreError> {
        let rows = self.query(&FEW_CLAIMED, &[&(CLAIMED_MAX + 1)])?;
        let is_few = rows.len() as i64 <= CLAIMED_MAX;
        is_few.then(|| places_behind(&conditions.begin, rows.iter())).transpose()
    }

    fn of_these(
        &mut self,
        filter: &ProcessFilter,
        conditions: &Conditions,
        few: &[Cursor],
        are_ended: bool,
    ) -> Result<Vec<Found>, StoreError> {
        let times: Vec<DatabaseTime> = few.iter().map(|it| it.created_at).collect();
        let ids: Vec<&str> = few.iter().map(|it| it.process_id.as_str()).collect();
        let since = if are_ended { conditions.finished_since } else { filter.finished_since };
        self.found(&OF_THESE, filter, conditions, since, &[&times, &ids])
    }

    fn by_walk(
        &mut self,
        filter: &ProcessFilter,
        conditions: &Conditions,
        walk: &Walk,
        branches: usize,
    ) -> Result<Seen, StoreError> {
        // Ids are in the index; of two conditions on them the other is asked of the rows.
        let pattern = conditions.part.as_ref().or(conditions.prefix.as_ref());
        let is_more = asks_for_more(filter, walk.part, pattern.is_some());
        let looked_at = if conditions.node_ids.is_some() { LOOKED_AT_BY_NODE_MAX } else { LOOKED_AT_MAX };
        let share = |of: i64| (of / branches as i64).max(LOOKED_AT_MIN);
        let begin = &conditions.begin;
        let are_ended = matches!(walk.part, Part::Of(Class::Well | Class::Badly));
        let Some(pattern) = pattern else {
            let (end, each) = match is_more {
                true => self.end_of(walk, begin, looked_at, branches)?,
                false => (None, conditions.rows),
            };
            let found = self.walked(filter, conditions, walk, are_ended, end.as_ref(), each)?;
            return Ok((found, end));
        };
        let searched = if walk.types.is_empty() { SEARCHED_MAX } else { SEARCHED_BY_TYPE_MAX };
        let each = share(searched);
        let mut end = self.end_by_index(walk, begin, each)?;
        let most = if is_more {
            share(SEARCH_FOUND_MAX.min(looked_at / 2)) * walk.types.len().max(1) as i64
        } else {
            conditions.rows
        };
        let few = self.search(walk, begin, end.as_ref(), pattern, most, each)?;
        if few.len() as i64 == most && is_more {
            end = few.last().cloned();
        }
        Ok((self.of_these(filter, conditions, &few, are_ended)?, end))
    }

    /// As far as so many rows of all walks go, and how many of each type these may be. Types that have much come to their
    /// share long before the others.
    fn end_of(
        &mut self,
        walk: &Walk,
        begin: &Cursor,
        looked_at: i64,
        branches: usize,
    ) -> Result<(Option<Cursor>, i64), StoreError> {
        let (types, branches) = (walk.types.len() as i64, branches as i64);
        let share = (looked_at * types.max(1) / branches).max(LOOKED_AT_MIN);
        let class = match walk.part {
            Part::Of(class) if types > 1 => class,
            _ => return Ok((self.end_by_index(walk, begin, share)?, share)),
        };
        let each = (SHARE_FACTOR * share / types).clamp(LOOKED_AT_MIN, share);
        let row = self.query_opt(
            &END_BY_TYPES,
            &[&begin.created_at, &begin.process_id, &each, &walk.types, &class.as_str(), &share],
        )?;
        Ok((row.map(|row| Cursor::of(&row)).transpose()?, each))
    }

    fn end_by_index(
        &mut self,
        walk: &Walk,
        begin: &Cursor,
        looked_at: i64,
    ) -> Result<Option<Cursor>, StoreError> {
        let row = match walk.part {
            Part::Of(class) => self.query_opt(
                &END_BY_TYPE,
                &[&begin.created_at, &begin.process_id, &looked_at, &walk.types, &class.as_str()],
            )?,
            _ => self.query_opt(&END_BY_CREATION, &[&begin.created_at, &begin.process_id, &looked_at])?,
        };
        row.map(|row| Cursor::of(&row)).transpose()
    }

    fn search(
        &mut self,
        walk: &Walk,
        begin: &Cursor,
        end: Option<&Cursor>,
        pattern: &str,
        most: i64,
        each: i64,
    ) -> Result<Vec<Cursor>, StoreError> {
        let oldest = Cursor::oldest();
        let end = end.unwrap_or(&oldest);
        let mut params: Vec<&(dyn ToSql + Sync)> =
            vec![&begin.created_at, &begin.process_id, &end.created_at, &end.process_id, &pattern, &most];
        let class = if let Part::Of(class) = walk.part { Some(class.as_str()) } else { None };
        let sql = match &class {
            Some(class) => {
                params.extend::<[&(dyn ToSql + Sync); 3]>([&walk.types, class, &each]);
                &SEARCH_BY_TYPE
            }
            None => &SEARCH_BY_CREATION,
        };
        self.query(sql, &params)?.iter().map(Cursor::of).collect()
    }

    fn walked(
        &mut self,
        filter: &ProcessFilter,
        conditions: &Conditions,
        walk: &Walk,
        are_ended: bool,
        end: Option<&Cursor>,
        each: i64,
    ) -> Result<Vec<Found>, StoreError> {
        let oldest = Cursor::oldest();
        let (begin, end) = (&conditions.begin, end.unwrap_or(&oldest));
        let since = if are_ended { conditions.finished_since } else { filter.finished_since };
        let range: [&(dyn ToSql + Sync); 4] =
            [&begin.created_at, &begin.process_id, &end.created_at, &end.process_id];
        match walk.part {
            Part::Of(class) => {
                let [a, b, c, d] = range;
                self.found(
                    &BY_TYPE,
                    filter,
                    conditions,
                    since,
                    &[a, b, c, d, &walk.types, &class.as_str(), &each],
                )
            }
            _ => self.found(&BY_CREATION, filter, conditions, since, &range),
        }
    }

    fn found(
        &mut self,
        sql: &Sql,
        filter: &ProcessFilter,
        conditions: &Conditions,
        finished_since: Option<Timestamp>,
        where_to_look: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Found>, StoreError> {
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![
            &conditions.statuses,
            &filter.process_type,
            &finished_since,
            &filter.finished_before,
            &filter.started_since,
            &filter.started_before,
            &conditions.metadata,
            &conditions.prefix,
            &conditions.part,
            &conditions.node_ids,
            &conditions.rows,
        ];
        params.extend(where_to_look);
        self.query(sql, &params)?.iter().map(read_found).collect()
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// The places of these rows, but for those that the list has passed.
fn places_behind<'a>(begin: &Cursor, rows: impl Iterator<Item = &'a Row>) -> Result<Vec<Cursor>, StoreError> {
    let places = rows.map(Cursor::of).collect::<Result<Vec<_>, _>>()?;
    Ok(places.into_iter().filter(|it| it < begin).collect())
}

fn read_found(row: &Row) -> Result<Found, StoreError> {
    Ok(Found { place: Cursor::of(row)?, process: read_process(row).map_err(|error| problem_of(&error)) })
}

/// The newest of what several looks gave, as far as all of them went, and where the next page begins. A process that ended
/// in between is in two of them: the later look counts.
fn page_of(seen: Vec<Seen>, limit: usize) -> Seen {
    let end = seen.iter().filter_map(|it| it.1.clone()).max();
    let mut found: Vec<Found> = seen.into_iter().flat_map(|it| it.0).collect();
    found.retain(|it| end.as_ref().is_none_or(|end| it.place >= *end));
    found.reverse();
    found.sort_by(|a, b| b.place.cmp(&a.place));
    found.dedup_by(|later, kept| later.place.process_id == kept.place.process_id);
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|it| it.place.clone());
    (found, next.or(end))
}
