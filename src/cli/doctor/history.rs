//! What the history takes up, and how far it is sorted.

use super::check::Check;
use crate::cli::screen::text;
use crate::store::eras::History;

/// More eras at once make every statement of the engine look at more tables.
const OPEN_ERAS_MAX: u64 = 8;

/// Whether the history is as it should be.
pub fn of_history(history: &History) -> Check {
    let History { bytes, output_bytes, processes, eras, open_eras, .. } = history;
    let found = format!(
        "some {processes} processes in {eras} eras, {}, of which long outputs {}",
        text::size(*bytes),
        text::size(*output_bytes)
    );
    if let Some(earlier) = history.earlier.as_ref().filter(|it| it.left > 0) {
        let (moved, left) = (earlier.moved, earlier.left);
        let found = format!(
            "{found}; of what ended before the upgrade {moved} are sorted into eras, {left} are not yet"
        );
        return Check::warn(
            "history",
            found,
            "a running serve does it; until then prune deletes those one by one, which gives no space back",
        );
    }
    if history.emptied > 0 {
        let found = format!("{found}; the tables of {} forgotten eras are not dropped yet", history.emptied);
        return Check::warn(
            "history",
            found,
            "end who reads them (see \"oldest transaction\"); a running serve drops them",
        );
    }
    if *open_eras > OPEN_ERAS_MAX {
        let found = format!("{found}; processes of {open_eras} eras run or wait");
        return Check::warn(
            "history",
            found,
            "see that a serve runs: it moves those that last long together",
        );
    }
    Check::ok("history", found)
}
