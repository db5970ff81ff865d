//! Log records on standard error: one line each, with a priority for the journal or a time for everybody else, and
//! bounded, so that the same trouble in every process never floods.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use env_logger::Logger;
use log::{LevelFilter, Log, Metadata, Record};

use crate::cli::screen::text::escape;
use crate::cli::screen::{journal, terminal};

/// Lines that one place of the program may write at once before some are left out.
const BURST: f64 = 50.0;
/// Lines that it may write every second then.
const PER_SECOND: f64 = 5.0;

/// Starts logging. `own` is the level of this program's own records; the libraries we use only warn. An option wins
/// over RUST_LOG, which can also ask for single modules.
pub fn start(own: LevelFilter, is_option: bool) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(own.min(LevelFilter::Warn));
    builder.filter_module("process_orchestrator", own);
    if !is_option {
        builder.parse_env("RUST_LOG");
    }
    let is_journal = journal::is_journal();
    builder.format(move |out, record| {
        if is_journal {
            write!(out, "<{}>", priority(record.level()))?;
        } else {
            write!(out, "{:.3} ", jiff::Timestamp::now())?;
        }
        let level = record.level().as_str().to_ascii_lowercase();
        let text = record.args().to_string();
        // What comes from elsewhere may hold new lines; a record is one line.
        writeln!(out, "{level} {}: {}", short_target(record.target()), escape(&text))
    });
    builder.target(env_logger::Target::Pipe(Box::new(terminal::LogWriter)));
    let logger = builder.build();
    let most = logger.filter();
    if log::set_boxed_logger(Box::new(Limited { logger, places: Mutex::default() })).is_ok() {
        log::set_max_level(most);
    }
}

/// The part of ours that speaks; of others the whole path.
fn short_target(target: &str) -> &str {
    target.strip_prefix("process_orchestrator::").map_or(target, |own| own.rsplit("::").next().unwrap_or(own))
}

/// journald reads a syslog priority at the beginning of a line.
fn priority(level: log::Level) -> u8 {
    match level {
        log::Level::Error => journal::ERROR,
        log::Level::Warn => 4,
        log::Level::Info => 6,
        log::Level::Debug | log::Level::Trace => 7,
    }
}

/// Lets every place of the program write a burst and then a few lines a second, and says how many it left out.
struct Limited {
    logger: Logger,
    places: Mutex<HashMap<(String, u32), Allowance>>,
}

/// What one place may write still.
struct Allowance {
    lines: f64,
    at: Instant,
    left_out: u64,
}

impl Allowance {
    /// Whether a line may be written at `now`; how many were left out before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.lines, self.at) = ((self.lines + earned).min(BURST), now);
        if self.lines < 1.0 {
            self.left_out += 1;
            return None;
        }
        self.lines -= 1.0;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Limited {
    fn places(&self) -> MutexGuard<'_, HashMap<(String, u32), Allowance>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_left_out(&self, target: &str, count: u64) {
        if count > 0 {
            let level = log::Level::Warn;
            let metadata = Metadata::builder().level(level).target(target).build();
            let text = format!("lines like the next or last were left out count={count}");
            self.logger.log(&Record::builder().metadata(metadata).args(format_args!("{text}")).build());
        }
    }
}

impl Log for Limited {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.logger.matches(record) {
            return;
        }
        // Whoever asks for debugging wants all of it.
        if record.level() <= log::Level::Info {
            let place = (record.target().to_owned(), record.line().unwrap_or(0));
            let now = Instant::now();
            let fresh = Allowance { lines: BURST, at: now, left_out: 0 };
            let allowed = self.places().entry(place).or_insert(fresh).take(now);
            let Some(left_out) = allowed else { return };
            self.say_left_out(record.target(), left_out);
        }
        self.logger.log(record);
    }

    /// Says what was left out and not told yet; called when the program ends.
    fn flush(&self) {
        let places = std::mem::take(&mut *self.places());
        for ((target, _), allowance) in places {
            self.say_left_out(&target, allowance.left_out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_written_then_a_few_lines_a_second_and_the_rest_is_counted() {
        let start = Instant::now();
        let mut allowance = Allowance { lines: BURST, at: start, left_out: 0 };
        let written = (0..1000).filter(|_| allowance.take(start).is_some()).count();
        assert_eq!(written as f64, BURST);
        let later = start + Duration::from_secs(1);
        assert_eq!(allowance.take(later), Some(950));
        let written = (0..1000).filter(|_| allowance.take(later).is_some()).count();
        assert_eq!(written as f64, PER_SECOND - 1.0);
        // An hour of silence saves up one burst.
        let much_later = later + Duration::from_secs(3600);
        assert_eq!((0..1000).filter(|_| allowance.take(much_later).is_some()).count() as f64, BURST);
    }

    #[test]
    fn targets_are_short() {
        assert_eq!(short_target("process_orchestrator::engine::membership::heartbeat"), "heartbeat");
        assert_eq!(short_target("r2d2"), "r2d2");
    }
}
