//! Whoever waits for a process hears when its type is held back, and when it goes on.

use crate::cli::screen::terminal::message;
use crate::cli::screen::text::{self, Clock};
use crate::store::pause::Pause;
use crate::store::{Store, StoreError};

/// What was told last of the pause of one process type.
pub struct Pauses {
    remedy: String,
    is_told: bool,
}

impl Pauses {
    /// `remedy` says how the processes go on.
    pub fn new(remedy: String) -> Self {
        Self { remedy, is_told: false }
    }

    /// Looks, and tells what has changed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn look(&mut self, store: &mut Store, process_type: &str) -> Result<(), StoreError> {
        let pause = store.pause_of(process_type)?;
        match (&pause, self.is_told) {
            (Some(pause), false) => message(format!("{}; {}", sentence(process_type, pause), self.remedy)),
            (None, true) => message(format!("process type {process_type:?} goes on")),
            _ => {}
        }
        self.is_told = pause.is_some();
        Ok(())
    }
}

/// That a type's processes are held back, since when and why.
pub fn sentence(process_type: &str, pause: &Pause) -> String {
    let clock = Clock::system();
    let since = pause.since.map(|at| format!(" since {}", clock.short(at))).unwrap_or_default();
    let reason = pause.reason.as_deref().map(|it| format!(": {}", text::escape(it))).unwrap_or_default();
    format!(
        "process type {process_type:?} is paused{since}{reason}; none of its tasks begins until it is resumed"
    )
}
