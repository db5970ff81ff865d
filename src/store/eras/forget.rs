//! Forgetting whole eras.

use std::time::{Duration, Instant};

use super::era::{ERA_SIZE, Era, Kind, MOVE_BATCH, Step};
use crate::store::prune::PruneFilter;
use crate::store::row::get;
use crate::store::{Sql, Store, StoreError};

const MATCH: Sql = Sql::new("look at an era", include_str!("../../../sql/eras/match.sql"));
const KEEP_OTHERS: Sql = Sql::new("move what is kept", include_str!("../../../sql/eras/keep_others.sql"));
const FORGET: Sql = Sql::new("forget an era", include_str!("../../../sql/eras/forget.sql"));

const FORGET_OUTPUTS: Sql = Sql::new("forget outputs", include_str!("../../../sql/eras/forget_outputs.sql"));
const TRUNCATE: Sql = Sql::new("forget outputs", "SELECT delete_outputs($1::int)");

/// Of an era of which more than half is to go, but no fewer than this, the rest is moved so that it can go as a whole.
const SPLIT_MIN: i64 = 1_000;

/// Which finished processes are to be forgotten: those that ended so long ago.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ages {
    /// Whatever their type is; `None`: none of these.
    pub of_all: Option<Duration>,
    /// But those of these types.
    pub except: Vec<String>,
    /// Those of a type.
    pub of_type: Vec<(String, Duration)>,
    /// Only those in one of these statuses; empty is all of them.
    pub statuses: Vec<&'static str>,
}

impl Ages {
    /// What these filters say together, of which one at the most is of all types.
    pub fn of(filters: &[PruneFilter]) -> Self {
        let of_all = filters.iter().find(|it| it.process_type.is_none());
        Self {
            of_all: of_all.map(|it| it.older_than),
            except: of_all.map(|it| it.except.clone()).unwrap_or_default(),
            of_type: filters
                .iter()
                .filter_map(|it| Some((it.process_type.clone()?, it.older_than)))
                .collect(),
            statuses: filters
                .first()
                .map(|it| it.statuses.iter().map(|it| it.as_str()).collect())
                .unwrap_or_default(),
        }
    }

    /// The age before which nothing is forgotten.
    fn shortest(&self) -> Option<Duration> {
        self.of_all.into_iter().chain(self.of_type.iter().map(|it| it.1)).min()
    }
}

/// An era as far as it concerns who forgets by [`Ages`].
#[derive(Debug, Clone, PartialEq)]
pub struct EraSpan {
    /// Its number.
    pub era: i32,
    /// In how many seconds all of it is to be forgotten, in none or fewer at once; `None`: never.
    pub whole_in_s: Option<f64>,
    /// How many processes it holds.
    pub processes: u64,
    /// How many of them are to be forgotten now.
    pub matching: u64,
}

struct Parameters<'a> {
    of_all: Option<f64>,
    except: &'a [String],
    types: Vec<&'a str>,
    seconds: Vec<f64>,
    statuses: Option<&'a [&'static str]>,
}

impl Ages {
    fn parameters(&self) -> Parameters<'_> {
        Parameters {
            of_all: self.of_all.map(|it| it.as_secs_f64()),
            except: &self.except,
            types: self.of_type.iter().map(|it| &*it.0).collect(),
            seconds: self.of_type.iter().map(|it| it.1.as_secs_f64()).collect(),
            statuses: (!self.statuses.is_empty()).then_some(&*self.statuses),
        }
    }
}

impl Store {
    /// Forgets all eras that are to go as a whole, and those of which most is to go, after the rest of them was moved; gives
    /// how many processes went. `rest` is told how long each transaction took, and says whether to go on.
    ///
    /// # Errors
    /// When the database fails; what was forgotten before stays forgotten.
    pub fn forget_eras(
        &mut self,
        ages: &Ages,
        is_passed_over: impl Fn(i32) -> bool,
        mut rest: impl FnMut(Duration) -> bool,
    ) -> Result<(u64, Vec<EraSpan>), StoreError> {
        let (mut forgotten, mut kept) = (0, Vec::new());
        let mut began = Instant::now();
        for span in self.eras_to_forget(ages, is_passed_over)? {
            if !span.is_whole() && !span.is_worth_splitting() {
                kept.push(span);
                continue;
            }
            while !span.is_whole() && matches!(self.keep_others(&span, ages)?, Step::Did(_)) {
                if !rest(began.elapsed()) {
                    return Ok((forgotten, kept));
                }
                began = Instant::now();
            }
            // Of one that somebody holds something of, others forget what they can, one by one.
            forgotten += self.forget_era(span.era, ages)?.unwrap_or(0);
            if !rest(began.elapsed()) {
                break;
            }
            began = Instant::now();
        }
        Ok((forgotten, kept))
    }

    /// The closed eras of which some process is old enough to be forgotten, the oldest first. `seen` says of an era when
    /// it is not to be looked at.
    ///
    /// # Errors
    /// When the database fails.
    pub fn eras_to_forget(
        &mut self,
        ages: &Ages,
        is_passed_over: impl Fn(i32) -> bool,
    ) -> Result<Vec<EraSpan>, StoreError> {
        let Some(shortest) = ages.shortest() else { return Ok(Vec::new()) };
        let now = self.now()?;
        let limit =
            now.checked_sub(jiff::SignedDuration::try_from(shortest).unwrap_or_default()).unwrap_or(now);
        let mut eras = self.eras(ERA_SIZE)?;
        eras.retain(|it| {
            let is_whole = it.is_closed && !it.is_emptied && matches!(it.kind, Kind::Started | Kind::Ended);
            is_whole && it.ended_from.is_some_and(|from| from <= limit) && !is_passed_over(it.number)
        });
        eras.sort_by_key(|it| it.ended_to);
        // Of all types and statuses, what ended last says it; forget_era looks at each.
        let is_simple = ages.except.is_empty() && ages.of_type.is_empty() && ages.statuses.is_empty();
        let known = |era: &Era| {
            let left = era.ended_to.filter(|_| is_simple)?.duration_since(limit).as_secs_f64();
            let processes = era.processes.unsigned_abs();
            (left < 0.0).then_some(EraSpan {
                era: era.number,
                whole_in_s: Some(left),
                processes,
                matching: processes,
            })
        };
        eras.iter().map(|era| known(era).map_or_else(|| self.span(era.number, ages), Ok)).collect()
    }

    fn span(&mut self, era: i32, ages: &Ages) -> Result<EraSpan, StoreError> {
        let it = ages.parameters();
        let row = self.query_one(
            &MATCH,
            &[&era, &it.of_all, &it.except, &it.types, &it.seconds, &it.statuses],
            "an era",
        )?;
        Ok(EraSpan {
            era,
            whole_in_s: get(&row, "whole_in_s", "an era")?,
            processes: get::<i64>(&row, "processes", "an era")?.unsigned_abs(),
            matching: get::<i64>(&row, "matching", "an era")?.unsigned_abs(),
        })
    }

    /// Forgets an era all of which is to be; its tables are dropped as soon as nobody reads them. `None`: somebody has
    /// locked something of it, or is at the same.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_era(&mut self, era: i32, ages: &Ages) -> Result<Option<u64>, StoreError> {
        let mut forgotten = 0;
        let step = self.step(|store| {
            // Others may have been moved into it since it was looked at, by whoever took a step before.
            if !store.span(era, ages)?.is_whole() {
                return Ok(None);
            }
            forgotten = get::<i64>(&store.query_one(&FORGET, &[&era], "an era")?, "how_many", "an era")?;
            Ok(None)
        })?;
        if step == Step::Busy {
            return Ok(None);
        }
        self.drop_forgotten(era)?;
        Ok(Some(forgotten.unsigned_abs()))
    }

    fn drop_forgotten(&mut self, number: i32) -> Result<(), StoreError> {
        let eras = self.eras(ERA_SIZE)?;
        let Some(era) = eras.iter().find(|it| it.number == number) else { return Ok(()) };
        self.drop_emptied(era).map(drop)
    }

    /// Deletes the outputs of an era all of which are to go, all else of it staying, and gives of how many processes and how many bytes.
    /// `None`:
    /// as with [`Store::forget_era`].
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_era_outputs(&mut self, era: i32, ages: &Ages) -> Result<Option<(u64, u64)>, StoreError> {
        let mut done = None;
        let step = self.step(|store| {
            if store.span(era, ages)?.is_whole() {
                let row = store.query_one(&FORGET_OUTPUTS, &[&era], "an era")?;
                store.execute(&TRUNCATE, &[&era])?;
                let number = |column| get::<i64>(&row, column, "an era").map(i64::unsigned_abs);
                done = Some((number("how_many")?, number("bytes")?));
            }
            Ok(None)
        })?;
        Ok(done.filter(|_| step == Step::Idle))
    }

    /// Deletes the outputs of all eras that are old enough as a whole; as [`Store::forget_eras`]. And the eras whose outputs
    /// are gone.
    ///
    /// # Errors
    /// When the database fails; what was deleted before stays deleted.
    pub fn forget_outputs_of_eras(
        &mut self,
        ages: &Ages,
        is_passed_over: impl Fn(i32) -> bool,
        mut rest: impl FnMut(Duration) -> bool,
    ) -> Result<(u64, u64, Vec<EraSpan>), StoreError> {
        let (mut processes, mut bytes, mut kept) = (0, 0, Vec::new());
        let with_them: Vec<i32> = self
            .eras(ERA_SIZE)?
            .iter()
            .filter(|it| it.is_full && !it.is_without_outputs)
            .map(|it| it.number)
            .collect();
        let mut began = Instant::now();
        for span in self.eras_to_forget(ages, |era| !with_them.contains(&era) || is_passed_over(era))? {
            match span.is_whole() {
                true => {
                    let (of, size) = self.forget_era_outputs(span.era, ages)?.unwrap_or_default();
                    processes += of;
                    bytes += size;
                }
                false => kept.push(span),
            }
            if !rest(began.elapsed()) {
                break;
            }
            began = Instant::now();
        }
        Ok((processes, bytes, kept))
    }

    /// The eras whose outputs were deleted as a whole.
    ///
    /// # Errors
    /// When the database fails.
    pub fn eras_without_outputs(&mut self) -> Result<Vec<i32>, StoreError> {
        let eras = self.eras(ERA_SIZE)?;
        Ok(eras.iter().filter(|it| it.is_without_outputs).map(|it| it.number).collect())
    }

    /// Moves a part of what is kept of an era out of it, if what is to be forgotten is most of it; whether there was
    /// something to move.
    ///
    /// # Errors
    /// When the database fails.
    pub fn keep_others(&mut self, span: &EraSpan, ages: &Ages) -> Result<Step, StoreError> {
        let eras = self.eras(ERA_SIZE)?;
        let Some(era) = eras.iter().find(|it| it.number == span.era) else { return Ok(Step::Idle) };
        let it = ages.parameters();
        self.move_to_ended(era, &KEEP_OTHERS, |store, sql, to| {
            store.query_one(
                sql,
                &[&span.era, &it.of_all, &it.except, &it.types, &it.seconds, &it.statuses, &to, &MOVE_BATCH],
                "an era",
            )
        })
    }
}

impl EraSpan {
    /// Whether all of it is to be forgotten now.
    pub fn is_whole(&self) -> bool {
        self.whole_in_s.is_some_and(|it| it < 0.0)
    }

    /// Whether it goes as a whole so soon that its parts may wait for that: within a tenth of the age at which they go.
    pub fn is_soon(&self, ages: &Ages) -> bool {
        let wait = ages.shortest().unwrap_or_default().as_secs_f64() / 10.0;
        self.whole_in_s.is_some_and(|left| left <= wait)
    }

    /// Whether it is worth while to move what is kept.
    pub const fn is_worth_splitting(&self) -> bool {
        self.matching >= SPLIT_MIN as u64 && self.matching * 2 > self.processes
    }
}
