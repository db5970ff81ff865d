//! How the history is sorted into eras.

use super::check::Check;
use crate::cli::screen::text;
use crate::store::eras::EraMeasure;

/// More eras at once make every statement of the engine look at more tables.
const OPEN_ERAS_MAX: u64 = 8;

/// Whether the eras are as they should be.
pub fn of_eras(measure: &EraMeasure) -> Check {
    let found = format!("{}, long outputs take {}", measure.eras, text::size(measure.output_bytes));
    if let Some(earlier) = measure.earlier.as_ref().filter(|it| it.left > 0) {
        let (moved, left) = (earlier.moved, earlier.left);
        return Check::warn(
            "eras",
            format!(
                "{found}; of what ended before the upgrade {moved} processes are sorted into eras, {left} are not yet"
            ),
            "a running serve does it; until then prune deletes those one by one, which gives no space back",
        );
    }
    if measure.emptied > 0 {
        return Check::warn(
            "eras",
            format!("{found}; the tables of {} forgotten eras are not dropped yet", measure.emptied),
            "end who reads them (see \"oldest transaction\"); a running serve drops them",
        );
    }
    if measure.open > OPEN_ERAS_MAX {
        return Check::warn(
            "eras",
            format!("{found}; processes of {} eras run or wait", measure.open),
            "see that a serve runs: it moves those that last long together",
        );
    }
    Check::ok("eras", found)
}
