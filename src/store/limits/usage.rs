//! Limits as the faces show them, and `set_limit`.

use std::collections::HashMap;

use postgres::Row;

use crate::model::limits::usage::{
    COUNTED_MAX, LimitDeclaration, LimitDetails, LimitFacts, LimitHolder, LimitTroubles, LimitUsage,
    LimitWait, LimitWaiter, parse_entry,
};
use crate::store::row::{Listed, get, listed, time, unreadable};
use crate::store::{Sql, Store, StoreError};

const USAGE: Sql = Sql::new("read the limits", include_str!("../../../sql/limits/usage.sql"));
const HOLDERS: Sql =
    Sql::new("see who has slots of a limit", include_str!("../../../sql/limits/holders.sql"));
const LINE: Sql = Sql::new("see who waits for a limit", include_str!("../../../sql/limits/line.sql"));
const DECLARED_BY: Sql =
    Sql::new("see which process types make a limit", include_str!("../../../sql/limits/declared_by.sql"));
const NAMES: Sql = Sql::new("read the names of limits", include_str!("../../../sql/limits/names.sql"));
const TROUBLES: Sql =
    Sql::new("see what is wrong with limits", include_str!("../../../sql/limits/troubles.sql"));
const WAITS: Sql =
    Sql::new("see for which limits processes wait", include_str!("../../../sql/limits/waits.sql"));
const PLACE: Sql =
    Sql::new("see where a process stands in line", include_str!("../../../sql/limits/place.sql"));
const SET: Sql = Sql::new("change a limit", "SELECT set_limit($1, $2, $3) AS max");

/// Keys of one limit that are looked at for who waits longest.
const KEYS_MAX: i64 = 1_000;
/// Limits on one page.
pub const LIMITS_PAGE_MAX: u32 = 1_000;

/// Which limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct LimitFilter<'a> {
    /// Only these; `None`: all.
    pub names: Option<&'a [String]>,
    /// Those behind this name.
    pub after: Option<&'a str>,
    /// Those of batches and schedules as well of which nothing is taken or waits.
    pub with_idle: bool,
}

impl Store {
    /// One page of limits, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn limits(&mut self, filter: LimitFilter<'_>) -> Result<Listed<LimitUsage>, StoreError> {
        Ok(listed(&self.limit_rows(filter, None)?, read_usage))
    }

    /// All of one limit, or of one key of it, with so many holders and waiting ones at the most; `None`: there is none of this name.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn limit(&mut self, entry: &str, rows_max: u32) -> Result<Option<LimitDetails>, StoreError> {
        let (name, key) = parse_entry(entry);
        let names = [name.to_owned()];
        let filter = LimitFilter { names: Some(&names), with_idle: true, ..LimitFilter::default() };
        let Some(usage) = self.limit_rows(filter, key)?.first().map(read_usage).transpose()? else {
            return Ok(None);
        };
        let rows_max = i64::from(rows_max);
        let holders = self.query(&HOLDERS, &[&name, &key, &rows_max])?;
        let line = self.query(&LINE, &[&name, &key, &rows_max])?;
        let declared = self.query(&DECLARED_BY, &[&name])?;
        Ok(Some(LimitDetails {
            usage,
            key: key.map(str::to_owned),
            declared_by: declared.iter().map(read_declaration).collect::<Result<_, _>>()?,
            holders: holders.iter().map(read_holder).collect::<Result<_, _>>()?,
            line: line.iter().map(read_waiter).collect::<Result<_, _>>()?,
        }))
    }

    fn limit_rows(&mut self, filter: LimitFilter<'_>, key: Option<&str>) -> Result<Vec<Row>, StoreError> {
        let (page, counted) = (i64::from(LIMITS_PAGE_MAX), i64::from(COUNTED_MAX));
        self.query(
            &USAGE,
            &[&filter.names, &filter.after, &page, &counted, &KEYS_MAX, &key, &filter.with_idle],
        )
    }

    /// Changes the max of a limit by hand, for good, and lets those go that may run now; `None`: what the documents say counts
    /// again. `by` is who does it. Gives the one that counts now; `None` is no bound.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such limit; otherwise when the database fails.
    pub fn set_limit(
        &mut self,
        name: &str,
        max: Option<u32>,
        by: Option<&str>,
    ) -> Result<Option<u32>, StoreError> {
        // What is more than the column holds is no bound to speak of.
        let max = max.map(|it| i32::try_from(it).unwrap_or(i32::MAX));
        let row = self.query_one(&SET, &[&name, &max, &by], "a limit")?;
        number(&row, "max", "a limit")
    }

    /// Names of limits that begin so, each with its max in words.
    ///
    /// # Errors
    /// When the database fails.
    pub fn limit_names(&mut self, begin: &str, limit: u32) -> Result<Vec<(String, String)>, StoreError> {
        let read = |row: &Row| Ok((get(row, "name", "a limit")?, get(row, "about", "a limit")?));
        self.query(&NAMES, &[&begin, &i64::from(limit)])?.iter().map(read).collect()
    }

    /// What is wrong with limits.
    ///
    /// # Errors
    /// When the database fails.
    pub fn limit_troubles(&mut self) -> Result<LimitTroubles, StoreError> {
        let mut troubles = LimitTroubles::default();
        for row in self.query(&TROUBLES, &[])? {
            let (trouble, entry): (String, String) = (get(&row, "trouble", WHAT)?, get(&row, "entry", WHAT)?);
            let process: Option<String> = get(&row, "process_id", WHAT)?;
            match (trouble.as_str(), process) {
                ("LEAKED", Some(process)) => troubles.leaked.push((entry, process)),
                ("PASSED_OVER", Some(process)) => troubles.passed_over.push((entry, process)),
                _ => troubles.unbounded.push(entry),
            }
        }
        Ok(troubles)
    }
}

/// Of whoever has slots of the limit for which one waits.
const NAMED_MAX: u32 = 10;

impl Store {
    /// For which limits these processes wait, by their ids; with `is_early` also those that no claim has met yet.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn limit_waits(
        &mut self,
        process_ids: &[&str],
        is_early: bool,
    ) -> Result<HashMap<String, LimitWait>, StoreError> {
        let read = |row: &Row| {
            let wait = LimitWait {
                entry: get(row, "entry", WHAT)?,
                max: number(row, "max", WHAT)?,
                taken: counted(row, "taken", WHAT)?,
                is_paused: get(row, "is_paused", WHAT)?,
            };
            Ok((get(row, "process_id", WHAT)?, wait))
        };
        self.query(&WAITS, &[&process_ids, &is_early])?.iter().map(read).collect()
    }

    /// What limits have to do with where an unfinished process is; so many before it are counted.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub(in crate::store) fn limit_facts(
        &mut self,
        process_id: &str,
        ahead_max: i64,
    ) -> Result<Option<LimitFacts>, StoreError> {
        let wait = self.limit_waits(&[process_id], true)?.remove(process_id);
        let entry = wait.as_ref().map(|it| it.entry.as_str());
        let Some(row) = self.query_opt(&PLACE, &[&process_id, &entry, &ahead_max])? else { return Ok(None) };
        let details = entry.map(|entry| self.limit(entry, NAMED_MAX)).transpose()?.flatten();
        Ok(Some(LimitFacts {
            blocked: wait.zip(details),
            since: get(&row, "since", WHAT)?,
            ahead: get(&row, "ahead", WHAT)?,
            keyless: get(&row, "keyless", WHAT)?,
        }))
    }
}

const WHAT: &str = "a limit";

/// A whole number that the tables hold signed, or nothing.
fn number(row: &Row, column: &str, what: &str) -> Result<Option<u32>, StoreError> {
    let number: Option<i32> = get(row, column, what)?;
    let read = |it: i32| u32::try_from(it).map_err(|_| unreadable(what, format!("column {column} is {it}")));
    number.map(read).transpose()
}

fn counted(row: &Row, column: &str, what: &str) -> Result<u32, StoreError> {
    Ok(u32::try_from(get::<i64>(row, column, what)?).unwrap_or(u32::MAX))
}

fn read_usage(row: &Row) -> Result<LimitUsage, StoreError> {
    let name: String = get(row, "name", WHAT)?;
    let what = format!("limit {name:?}");
    Ok(LimitUsage {
        process_type: get(row, "process_type", &what)?,
        max: number(row, "max", &what)?,
        declared_max: number(row, "declared_max", &what)?,
        is_set: get(row, "is_set", &what)?,
        is_paused: get(row, "is_paused", &what)?,
        changed_by: get(row, "changed_by", &what)?,
        changed_at: time(row, "changed_at", &what)?,
        taken: counted(row, "taken", &what)?,
        waiting: counted(row, "waiting", &what)?,
        keys_waiting: counted(row, "keys_waiting", &what)?,
        waiting_since: get(row, "waiting_since", &what)?,
        taken_by: get(row, "taken_by", &what)?,
        name,
    })
}

fn read_declaration(row: &Row) -> Result<LimitDeclaration, StoreError> {
    Ok(LimitDeclaration {
        process_type: get(row, "process_type", WHAT)?,
        task: get(row, "task", WHAT)?,
        max: number(row, "max", WHAT)?,
    })
}

fn read_holder(row: &Row) -> Result<LimitHolder, StoreError> {
    let key: String = get(row, "slot_key", WHAT)?;
    let of_task: bool = get(row, "of_task", WHAT)?;
    Ok(LimitHolder {
        key: Some(key).filter(|it| !it.is_empty()),
        process_id: get(row, "process_id", WHAT)?,
        process_type: get(row, "process_type", WHAT)?,
        holds: if of_task { "task" } else { "process" },
        task: get(row, "task", WHAT)?,
        taken_at: time(row, "taken_at", WHAT)?,
        node: get(row, "node", WHAT)?,
    })
}

fn read_waiter(row: &Row) -> Result<LimitWaiter, StoreError> {
    let held_by: String = get(row, "held_by", WHAT)?;
    let (_, key) = parse_entry(&held_by);
    Ok(LimitWaiter {
        key: key.map(str::to_owned),
        process_id: get(row, "process_id", WHAT)?,
        process_type: get(row, "process_type", WHAT)?,
        priority: get(row, "priority", WHAT)?,
        since: get(row, "since", WHAT)?,
    })
}
