//! `logs --follow`: one look at the tables after the other, from whatever machine.

use std::collections::HashSet;

use super::printer::Printer;
use super::tail::{Piece, Tail};
use super::wanted::{HEADINGS, Wanted, with_output};
use crate::cli::error::CliError;
use crate::cli::options::bulk::{argument, not_found};
use crate::cli::options::global::GlobalOptions;
use crate::cli::progress::{self, Alarms, LookError, Seen, Wake};
use crate::cli::screen::text;
use crate::cli::surroundings::session::Session;
use crate::cli::surroundings::signals::Signals;
use crate::model::lifecycle::{ProcessStatus, TaskStatus};
use crate::model::records::{ProcessData, TaskExecution};
use crate::platform;
use crate::store::Store;
use crate::store::live::LiveExecution;
use crate::store::read::{OutputOf, Part};

/// Prints what the executions write until the process, or the task that is asked for, has ended.
///
/// # Errors
/// When a signal comes, the process is deleted, or the database fails for good.
pub fn follow(session: &Session, wanted: Wanted<'_>, global: &GlobalOptions) -> Result<(), CliError> {
    let signals = Signals::listen()?;
    let mut follower = Follower {
        printer: Printer::new(wanted.process_id, wanted.raw, global),
        wanted,
        global,
        told: HashSet::new(),
        unreadable: HashSet::new(),
        tail: None,
        has_begun: false,
        has_told_wait: false,
    };
    let look = |store: Option<&mut Store>| match store {
        // A command may be silent for hours: a write would tell too late that nobody reads.
        Some(_) if platform::is_reader_gone(&std::io::stdout()) => {
            Err(LookError::Final(CliError::Output(std::io::ErrorKind::BrokenPipe.into())))
        }
        Some(store) => follower.look(store),
        None => Ok(Seen::Same),
    };
    match progress::watch(session, &Alarms::signals(&signals), None, look)? {
        Wake::Ended(()) => Ok(()),
        Wake::Signal(signal) => {
            follower.printer.end_line()?;
            Err(CliError::Interrupted(signal))
        }
        Wake::NodeFailed(problem) => Err(CliError::Failed(problem)),
    }
}

struct Follower<'a> {
    printer: Printer,
    wanted: Wanted<'a>,
    global: &'a GlobalOptions,
    /// Executions that were printed to their end.
    told: HashSet<(u32, u32)>,
    unreadable: HashSet<String>,
    /// The one that is being printed while it runs.
    tail: Option<Tail>,
    /// Whether anything was printed so far.
    has_begun: bool,
    has_told_wait: bool,
}

impl Follower<'_> {
    /// Where the process is is read first: if it has ended, so have all the executions that are read after it.
    fn look(&mut self, store: &mut Store) -> Result<Seen<()>, LookError> {
        let process = store.process_row(self.wanted.process_id)?;
        let process = process.ok_or_else(|| not_found(self.wanted.process_id, self.global))?;
        let task_status = match self.wanted.task_index {
            Some(index) => {
                store.task_progress(self.wanted.process_id)?.get(index as usize).map(|it| it.status)
            }
            None => None,
        };
        let news = self.ended(store)?;
        if is_over(&process, task_status) || self.has_told_the_one() {
            self.tell_end(&process)?;
            return Ok(Seen::Ended(()));
        }
        if let Some(live) = self.wanted.live(store)? {
            self.print_running(&live)?;
        }
        self.tell_wait(&process, task_status)?;
        Ok(if news { Seen::Changed } else { Seen::Same })
    }

    /// Prints the executions that have ended since the last look, and says whether there were any.
    fn ended(&mut self, store: &mut Store) -> Result<bool, LookError> {
        let Wanted { process_id, .. } = self.wanted;
        let (mut news, mut after) = (false, None);
        loop {
            let page = store.executions_page(process_id, self.wanted.filter(false), after, HEADINGS)?;
            for problem in page.unreadable.iter().filter(|it| !self.unreadable.contains(*it)) {
                self.printer.remark(&format!("failed to read {problem}"))?;
            }
            self.unreadable.extend(page.unreadable);
            for Part { row: execution, output_deleted, .. } in page.rows {
                if !self.told.contains(&(execution.task_index, execution.attempt)) {
                    self.print_ended(store, &execution, output_deleted)?;
                    self.told.insert((execution.task_index, execution.attempt));
                    (news, self.has_begun) = (true, true);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(news);
            }
        }
    }

    fn print_ended(
        &mut self,
        store: &mut Store,
        execution: &TaskExecution,
        is_deleted: bool,
    ) -> Result<(), LookError> {
        let is_followed =
            |tail: &mut Tail| (tail.task_index, tail.attempt) == (execution.task_index, execution.attempt);
        let Some(tail) = self.tail.take_if(is_followed) else {
            self.printer.begin(execution, is_deleted)?;
            let of = OutputOf::Execution(execution.task_index, execution.attempt);
            store.output_in_pieces(&execution.process_id, of, 0, &mut |piece| {
                self.printer.text(piece).map_err(LookError::from)
            })?;
            return Ok(self.printer.end_line()?);
        };
        // What was printed while it ran is found in the whole of it.
        let execution = with_output(store, execution)?;
        let output_bytes = u64::try_from(execution.output_bytes).unwrap_or(0);
        let rest = tail.rest(output_bytes, execution.output.as_deref().unwrap_or_default());
        self.printer.piece(&rest, &execution.task_name, execution.attempt)?;
        Ok(self.printer.ended(&execution)?)
    }

    fn print_running(&mut self, live: &LiveExecution) -> Result<(), CliError> {
        self.has_begun = true;
        let name = self.wanted.name(live.task_index);
        let is_new = self
            .tail
            .as_ref()
            .is_none_or(|it| (it.task_index, it.attempt) != (live.task_index, live.attempt));
        if is_new {
            self.printer.running(live)?;
        }
        let fresh = || Tail::new(live.task_index, live.attempt);
        let tail = if is_new { self.tail.insert(fresh()) } else { self.tail.get_or_insert_with(fresh) };
        let piece: Piece = tail.take(live.output_bytes, &live.tail);
        self.printer.piece(&piece, name, live.attempt)
    }

    /// Once, and only of what may take long: what runs is shown within seconds.
    fn tell_wait(&mut self, process: &ProcessData, task: Option<TaskStatus>) -> Result<(), CliError> {
        let what = match (self.wanted.task_index, task) {
            (Some(index), Some(TaskStatus::NotStarted)) => {
                format!("task {}", text::escape(self.wanted.name(index)))
            }
            (None, _) if process.status == ProcessStatus::NotStarted => {
                format!("process {}", text::escape(&process.process_id))
            }
            _ => return Ok(()),
        };
        if self.has_begun || std::mem::replace(&mut self.has_told_wait, true) {
            return Ok(());
        }
        let (program, id) = (self.global.program(), argument(&process.process_id));
        self.printer
            .remark(&format!("{what} has not started yet: waiting; why it waits: {program} explain {id}"))
    }

    /// One attempt of one task runs only once.
    fn has_told_the_one(&self) -> bool {
        self.wanted.task_index.is_some() && self.wanted.attempt.is_some() && !self.told.is_empty()
    }

    fn tell_end(&mut self, process: &ProcessData) -> Result<(), CliError> {
        if !self.has_begun {
            return self.printer.remark("there was no such execution");
        }
        match process.status.is_final() {
            true => self.printer.remark(&format!(
                "process {} {}",
                text::escape(&process.process_id),
                process.status
            )),
            false => self.printer.end_line(),
        }
    }
}

/// Whether nothing more is to come: a task that was not begun when its process ended never will be.
fn is_over(process: &ProcessData, task: Option<TaskStatus>) -> bool {
    process.status.is_final() || task.is_some_and(TaskStatus::is_final)
}
