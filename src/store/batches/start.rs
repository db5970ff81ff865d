//! Starting processes of a batch.

use serde_json::Value;

use crate::model::batch::ids::BatchIds;
use crate::model::names::process_id_problem;
use crate::store::row::get;
use crate::store::start::{StartOptions, StartRequest};
use crate::store::{Sql, Store, StoreError};

const SET: Sql = Sql::new("make a batch", "SELECT set_batch($1, $2, $3, $4, $5, $6) AS is_new");
const START: Sql = Sql::new(
    "start processes",
    "SELECT process_id FROM start_in($1, $2, $3, $4, $5, $6, false, $7) AS process_id",
);
const NEW: Sql = Sql::new(
    "see how many processes are new",
    "SELECT coalesce(nullif(current_setting('process_orchestrator.batch_new', true), ''), '0')::bigint AS new, \
     set_config('process_orchestrator.batch_new', '0', true)",
);
const FILL: Sql = Sql::new(
    "note how far a batch is started",
    "UPDATE batches SET announced = $2, filling_at = CASE WHEN $2::bigint IS NOT NULL THEN now() END WHERE name = $1",
);

/// Processes that are sent at once.
const PART_MAX: usize = 1_000;

/// What a batch is to be; what is `None` stays as it is where the batch is there already.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchOptions {
    /// When it halts, as [`Halt`](crate::model::batch::halt::Halt) is written; an empty text takes a halt away.
    pub halt: Option<String>,
    /// How many of it may run at once; 0 takes the bound away.
    pub max: Option<u32>,
    /// The type of the process that is started when all of it has ended.
    pub then_type: Option<String>,
    /// That process's input.
    pub then_input: Option<Value>,
}

impl Store {
    /// Makes a batch, or changes what is given of one that is there. Returns whether it is new.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the batch is of another type, or an option makes no sense; otherwise when the database fails.
    pub fn set_batch(
        &mut self,
        name: &str,
        process_type: &str,
        options: &BatchOptions,
    ) -> Result<bool, StoreError> {
        let max = options.max.map(|it| i32::try_from(it).unwrap_or(i32::MAX));
        let BatchOptions { halt, then_type, then_input, .. } = options;
        let params: &[&(dyn postgres::types::ToSql + Sync)] =
            &[&name, &process_type, halt, &max, then_type, then_input];
        get(&self.query_one(&SET, params, "a batch")?, "is_new", "a batch")
    }

    /// Starts some processes of a batch, which all have ids, and makes the batch if there is none. An id that is there already with
    /// the same input is that process. Within a transaction: see [`Store::batch_news`].
    ///
    /// # Errors
    /// As [`Store::start_processes`].
    pub fn start_batch_part(
        &mut self,
        name: &str,
        process_type: &str,
        requests: &[StartRequest],
        options: StartOptions,
        wakes: bool,
    ) -> Result<Vec<String>, StoreError> {
        debug_assert!(
            requests.iter().all(|it| it.process_id.as_deref().map(process_id_problem) == Some(None))
        );
        let inputs: Vec<Value> = requests.iter().map(|request| request.input.to_value()).collect();
        let ids: Vec<Option<&str>> = requests.iter().map(|it| it.process_id.as_deref()).collect();
        let params: &[&(dyn postgres::types::ToSql + Sync)] =
            &[&process_type, &inputs, &ids, &options.start_at, &options.priority, &wakes, &name];
        self.query(&START, params)?.iter().map(|row| get(row, "process_id", "a started process")).collect()
    }

    /// Starts processes as a batch, all of them or, upon an error, none, and makes or changes the batch. Requests without an id get
    /// one by what they hold. Returns the ids in the order of the requests, and how many are new.
    ///
    /// # Errors
    /// As [`Store::start_processes`]; [`StoreError::Refused`] also when the batch is of another type, or an option makes no sense.
    pub fn start_batch(
        &mut self,
        name: &str,
        process_type: &str,
        requests: &[StartRequest],
        start: StartOptions,
        options: &BatchOptions,
    ) -> Result<(Vec<String>, u64), StoreError> {
        let mut ids = BatchIds::new(name);
        let named: Vec<StartRequest> = requests
            .iter()
            .map(|it| StartRequest {
                process_id: Some(it.process_id.clone().unwrap_or_else(|| ids.next(&it.input))),
                input: it.input.clone(),
            })
            .collect();
        let (started, failure) = self.start_in_parts(|store| {
            let (mut ids, last) = (Vec::with_capacity(named.len()), named.len().saturating_sub(1) / PART_MAX);
            for (n, part) in named.chunks(PART_MAX).enumerate() {
                ids.extend(store.start_batch_part(name, process_type, part, start, n == last)?);
            }
            store.set_batch(name, process_type, options)?;
            let new = store.batch_news()?;
            Ok::<_, StoreError>((ids, new))
        })?;
        failure.map_or(Ok(started), Err)
    }

    /// How many processes this transaction has started in batches since this was asked last.
    ///
    /// # Errors
    /// When the database fails.
    pub fn batch_news(&mut self) -> Result<u64, StoreError> {
        let new: i64 = get(&self.query_one(&NEW, &[], "a batch")?, "new", "a batch")?;
        Ok(new.unsigned_abs())
    }

    /// Says how many processes a batch will have, while its parts are started one by one; `None`: all are. Until then it does not
    /// end, and percentages are of that number.
    ///
    /// # Errors
    /// When the database fails.
    pub fn announce_batch(&mut self, name: &str, total: Option<u64>) -> Result<(), StoreError> {
        let total = total.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
        self.execute(&FILL, &[&name, &total]).map(drop)
    }
}
