//! The processes that a verb is about when none is named: a bounded page at a time, and how many there are.

use jiff::Timestamp;
use postgres::Row;
use postgres::types::ToSql;

use super::cursor::{Cursor, DatabaseTime};
use super::look::Class;
use crate::model::lifecycle::ProcessStatus;
use crate::store::row::get;
use crate::store::{Sql, Store, StoreError};

const PAGE: Sql = Sql::new("look for processes", include_str!("../../../sql/control/bulk_page.sql"));
const BADLY_ENDED_PAGE: Sql =
    Sql::new("look for processes", include_str!("../../../sql/control/badly_ended_page.sql"));
const COUNT: Sql =
    Sql::new("count unfinished processes", include_str!("../../../sql/control/bulk_count.sql"));

/// Rows that one page looks at for those in a status.
const LOOKED_AT_MAX: i64 = 1_500;
/// Rows that are counted for a question: of more, so many are there at the least.
const COUNTED_MAX: i64 = 50_000;

/// Which processes a bulk operation is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BulkFilter {
    /// Only those of this type.
    pub process_type: Option<String>,
    /// Only those in this status.
    pub status: Option<ProcessStatus>,
}

/// A place among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkPlace {
    process_type: String,
    place: Cursor,
}

/// Some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkPage {
    /// Their ids; there may be none although others follow.
    pub ids: Vec<String>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<BulkPlace>,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkCount {
    /// So many,
    pub how_many: usize,
    /// or more.
    pub is_all: bool,
}

impl Store {
    /// Unfinished processes that are not being cancelled already, after a place among them. None is met twice.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unfinished_ids(
        &mut self,
        filter: &BulkFilter,
        after: Option<&BulkPlace>,
        limit: usize,
    ) -> Result<BulkPage, StoreError> {
        self.bulk_page(Class::Open, filter, after, None, limit)
    }

    /// Processes that ended in the filter's status no later than `until`, after a place among them; the oldest first, but for
    /// completed ones of several types, which come type by type.
    ///
    /// # Errors
    /// When the database fails.
    pub fn finished_ids(
        &mut self,
        filter: &BulkFilter,
        after: Option<&BulkPlace>,
        until: Timestamp,
        limit: usize,
    ) -> Result<BulkPage, StoreError> {
        let class = match filter.status {
            Some(ProcessStatus::Completed) => Class::Well,
            _ => Class::Badly,
        };
        self.bulk_page(class, filter, after, Some(until), limit)
    }

    fn bulk_page(
        &mut self,
        class: Class,
        filter: &BulkFilter,
        after: Option<&BulkPlace>,
        until: Option<Timestamp>,
        limit: usize,
    ) -> Result<BulkPage, StoreError> {
        let status = filter.status.map(ProcessStatus::as_str);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX).min(LOOKED_AT_MAX);
        let first = BulkPlace {
            process_type: filter.process_type.clone().unwrap_or_default(),
            place: Cursor::oldest(),
        };
        let after = after.unwrap_or(&first);
        let params: [&(dyn ToSql + Sync); 9] = [
            &class.as_str(),
            &filter.process_type,
            &status,
            &after.process_type,
            &after.place.created_at as &DatabaseTime,
            &after.place.process_id,
            &until,
            &limit,
            &LOOKED_AT_MAX,
        ];
        let rows = self.walking("look for processes", |store| match (class, &filter.process_type) {
            (Class::Badly, None) => {
                let [_, _, status, _, time, id, until, limit, looked_at] = params;
                store.query(&BADLY_ENDED_PAGE, &[status, time, id, until, limit, looked_at])
            }
            _ => store.query(&PAGE, &params),
        })?;
        let places = rows.iter().map(read_place).collect::<Result<Vec<_>, _>>()?;
        let is_wanted = |row: &Row| get::<bool>(row, "is_wanted", "a process");
        let is_cut = rows.last().map(is_wanted).transpose()? == Some(false);
        let wanted = places.len() - usize::from(is_cut);
        let next = places.last().filter(|_| is_cut || wanted as i64 == limit).cloned();
        let ids = places.into_iter().take(wanted).map(|it| it.place.process_id).collect();
        Ok(BulkPage { ids, next })
    }

    /// How many [`unfinished_ids`](Self::unfinished_ids) there are.
    ///
    /// # Errors
    /// When the database fails.
    pub fn count_unfinished(&mut self, filter: &BulkFilter) -> Result<BulkCount, StoreError> {
        let status = filter.status.map(ProcessStatus::as_str);
        let params: [&(dyn ToSql + Sync); 3] = [&filter.process_type, &status, &COUNTED_MAX];
        let row =
            self.walking("count processes", |store| store.query_one(&COUNT, &params, "the processes"))?;
        let how_many: i64 = get(&row, "how_many", "the processes")?;
        Ok(BulkCount {
            how_many: usize::try_from(how_many).unwrap_or(0),
            is_all: get(&row, "is_all", "the processes")?,
        })
    }
}

fn read_place(row: &Row) -> Result<BulkPlace, StoreError> {
    Ok(BulkPlace { process_type: get(row, "process_type", "a process")?, place: Cursor::of(row)? })
}
