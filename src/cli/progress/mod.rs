//! Watching processes until they end: redrawn in place on a terminal, a line for every change elsewhere.

pub mod batch;
pub mod limits;
mod lines;
mod live;
mod many;
pub mod pauses;
mod snapshot;
mod wait;

use self::limits::Limits;
use self::lines::Lines;
use self::live::Live;
use self::pauses::Pauses;
use self::snapshot::{Snapshot, read};
use self::wait::TICK;
use super::error::CliError;
use super::screen::terminal::Face;
use super::surroundings::session::Session;
use crate::model::lifecycle::ProcessStatus;

pub use many::until_all_end;
pub use wait::{Alarms, LookError, Seen, Wake, watch};

enum View {
    Live(Live),
    Lines(Lines),
}

impl View {
    fn new() -> Self {
        let face = Face::stderr();
        if face.can_redraw { Self::Live(Live::new(face)) } else { Self::Lines(Lines::new()) }
    }

    fn show(&mut self, snapshot: &Snapshot) {
        match self {
            Self::Live(live) => live.show(snapshot),
            Self::Lines(lines) => lines.show(snapshot),
        }
    }
}

/// Shows a process on standard error until it ends, a signal comes, or the node fails. With `is_replaced` the live
/// view vanishes at the end of the process, because a report takes its place. `pauses` tells when its type is paused, `limits` for
/// which limit it waits.
///
/// # Errors
/// When the process is not there (any more), or the database fails for good.
pub fn until_end(
    session: &Session,
    process_id: &str,
    alarms: &Alarms,
    is_replaced: bool,
    mut pauses: Option<Pauses>,
    mut limits: Limits,
) -> Result<Wake<ProcessStatus>, CliError> {
    let mut view = View::new();
    let mut latest: Option<Snapshot> = None;
    let tick = matches!(view, View::Live(_)).then_some(TICK);
    let result = wait::watch(session, alarms, tick, |store| {
        let Some(store) = store else {
            if let Some(snapshot) = &latest {
                view.show(snapshot);
            }
            return Ok(wait::Seen::Same);
        };
        let Some(snapshot) = read(store, process_id)? else {
            return Err(CliError::NotFound(format!(
                "process {process_id:?} is gone: somebody has deleted it"
            ))
            .into());
        };
        let status = snapshot.process.status;
        if let Some(pauses) = pauses.as_mut().filter(|_| !status.is_final()) {
            pauses.look(store, &snapshot.process.process_type)?;
        }
        if !status.is_final() {
            limits.look(store, std::slice::from_ref(&snapshot.process.process_id))?;
        }
        view.show(&snapshot);
        let is_same = latest.as_ref().is_some_and(|it| it.state() == snapshot.state());
        latest = Some(snapshot);
        Ok(match (status.is_final(), is_same) {
            (true, _) => wait::Seen::Ended(status),
            (false, true) => wait::Seen::Same,
            (false, false) => wait::Seen::Changed,
        })
    });
    if let (View::Live(live), Ok(Wake::Ended(_)), true) = (&mut view, &result, is_replaced) {
        live.vanish();
    }
    result
}

#[cfg(test)]
mod samples;
