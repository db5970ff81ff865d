//! Which schedule is meant, and what it says.

use crate::cli::error::CliError;
use crate::cli::options::global::GlobalOptions;
use crate::cli::screen::terminal::message;
use crate::cli::screen::text;
use crate::model::schedule::definition::Schedule;
use crate::model::suggest;
use crate::store::Store;
use crate::store::schedules::ScheduleData;

/// Names of a message's suggestion.
const NAMES_MAX: u32 = 1_000;

/// The schedule of that name.
pub fn known(store: &mut Store, name: &str, global: &GlobalOptions) -> Result<ScheduleData, CliError> {
    if let Some(found) = store.schedule(name)? {
        return Ok(found);
    }
    let names: Vec<String> = store.schedules(None, NAMES_MAX)?.rows.into_iter().map(|it| it.name).collect();
    let remedy = match suggest::closest(name, names.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("see them with: {} schedule list", global.program()),
    };
    Err(CliError::Refused {
        code: crate::store::RefusalReason::UnknownSchedule.code(),
        exit: 3,
        message: format!("there is no schedule {name:?}; {remedy}"),
    })
}

/// What a schedule of the table says, by this machine's zones.
pub fn readable(data: &ScheduleData) -> Result<Schedule, CliError> {
    data.schedule().map_err(CliError::faults)
}

/// Says of one that is held back that it is.
pub fn warn_of_pause(data: &ScheduleData) {
    if data.paused {
        let reason =
            data.pause_reason.as_ref().map(|it| format!(": {}", text::escape(it))).unwrap_or_default();
        message(format!("schedule {:?} is paused{reason}", data.name));
    }
}
