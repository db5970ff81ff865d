//! Many processes at once: how many have ended and how, and the ones that failed by name.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use super::limits::Limits;
use super::pauses::Pauses;
use super::wait::{self, Alarms, Seen, Wake};
use crate::cli::error::CliError;
use crate::cli::screen::terminal::{Canvas, Face, Size, message};
use crate::cli::screen::text::{self, Clock};
use crate::cli::surroundings::session::Session;
use crate::model::lifecycle::ProcessStatus;
use crate::store::progress::EndedProcess;

/// Ids that are asked about at once: so many answers are in memory together.
const IDS_MAX: usize = 2_000;

/// Waits until all of `process_ids` have ended and returns how each did; why, only if `with_reasons` says so: of many they
/// are much. On a terminal it shows their number and,
/// above it, the ones that failed; elsewhere a line for each that ends. `holds` tell when their type is paused, and for which
/// limits they wait.
///
/// # Errors
/// When the database fails for good.
pub fn until_all_end(
    session: &Session,
    process_ids: &[String],
    alarms: &Alarms,
    mut holds: Option<(Pauses, Limits, &str)>,
    with_reasons: bool,
) -> Result<Wake<Vec<EndedProcess>>, CliError> {
    let face = Face::stderr();
    let mut canvas = face.can_redraw.then(Canvas::begin);
    // The same id may have been given twice.
    let mut waiting: Vec<String> = process_ids.iter().collect::<HashSet<_>>().into_iter().cloned().collect();
    let mut tally = Tally { total: waiting.len(), ended: Vec::new(), since: Instant::now() };
    wait::watch(session, alarms, canvas.as_ref().map(|_| wait::TICK), |store| {
        let before = tally.ended.len();
        let mut outcome = Ok(());
        if let Some(store) = store {
            if let Some((pauses, limits, process_type)) = &mut holds {
                pauses.look(store, process_type)?;
                limits.look(store, &waiting)?;
            }
            for ids in waiting.chunks(IDS_MAX) {
                let mut news = match store.ended(ids) {
                    Ok(news) => news,
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                };
                for process in &mut news {
                    if canvas.is_none() || process.status != ProcessStatus::Completed {
                        message(end_line(process));
                    }
                    process.error_message.take_if(|_| !with_reasons);
                }
                tally.ended.extend(news);
            }
        }
        let has_news = tally.ended.len() > before;
        if has_news {
            let gone: HashSet<&str> = tally.ended[before..].iter().map(|it| it.process_id.as_str()).collect();
            waiting.retain(|id| !gone.contains(id.as_str()));
        }
        // What was told before it is not asked again.
        outcome?;
        if let Some(canvas) = &mut canvas {
            canvas
                .draw(&[text::cut(&tally.line(), Size::of_stderr().columns.saturating_sub(1)).into_owned()]);
        }
        Ok(match (waiting.is_empty(), has_news) {
            (true, _) => Seen::Ended(std::mem::take(&mut tally.ended)),
            (false, true) => Seen::Changed,
            (false, false) => Seen::Same,
        })
    })
}

fn end_line(process: &EndedProcess) -> String {
    let time = Clock::system().time_of_day(jiff::Timestamp::now());
    let id = text::escape(&process.process_id);
    match &process.error_message {
        Some(error) => format!("{time} {id} {}: {}", process.status, text::escape(error)),
        None => format!("{time} {id} {}", process.status),
    }
}

struct Tally {
    total: usize,
    ended: Vec<EndedProcess>,
    since: Instant,
}

impl Tally {
    fn line(&self) -> String {
        let mut counts: BTreeMap<ProcessStatus, usize> = BTreeMap::new();
        for process in &self.ended {
            *counts.entry(process.status).or_default() += 1;
        }
        let counts: String = counts.iter().map(|(status, count)| format!("  {count} {status}")).collect();
        // Whole seconds: they tick, tenths would flicker.
        let time = text::duration(Duration::from_secs(self.since.elapsed().as_secs().max(1)));
        format!("{} of {} processes have ended{counts}  {time}", self.ended.len(), self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_counts_by_status() {
        let ended = |status| EndedProcess { process_id: "p".to_owned(), status, error_message: None };
        let tally = Tally {
            total: 5,
            ended: vec![
                ended(ProcessStatus::Failed),
                ended(ProcessStatus::Completed),
                ended(ProcessStatus::Completed),
            ],
            since: Instant::now(),
        };
        assert_eq!(tally.line(), "3 of 5 processes have ended  2 COMPLETED  1 FAILED  1.0 s");
    }

    #[test]
    fn a_failed_process_is_told_with_its_reason() {
        let process = EndedProcess {
            process_id: "p-1".to_owned(),
            status: ProcessStatus::Failed,
            error_message: Some("task \"a\" failed\x1b".to_owned()),
        };
        let line = end_line(&process);
        assert!(line.ends_with(" p-1 FAILED: task \"a\" failed\\x1b"), "{line}");
    }
}
