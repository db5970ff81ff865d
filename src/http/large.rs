//! Answers that may be large: processes with what they hold, trails with what was printed, process types.
//!
//! Each is looked at first as if it were small, which most are. What does not fit is read again when there is room for it
//! (`rooms`), a page of a megabyte or so. Its tag is found out without reading it: who has it already needs no room.

use std::sync::Arc;

use super::answer::{Answer, Problem, etag, is_known, quoted};
use super::documents::{Process, ProcessPage, TypeList, trail};
use super::readers::Readers;
use super::request::route::TrailPart;
use super::rooms::{Client, Rooms};
use crate::store::read::{ExecutionFilter, Include, PageSize, ProcessFilter};
use crate::store::{Store, StoreError};

/// A list of so many rows is no small answer.
const SMALL_ROWS_MAX: u32 = 100;
/// Bytes of what is read for a small answer.
const SMALL_READ_BYTES_MAX: u32 = 32 * 1024;
/// A page of tasks or executions ends after so many bytes; its last row may go beyond.
const PAGE_BYTES_MAX: u32 = 1024 * 1024;
/// Characters of an output in one answer: one that a task keeps unless it says otherwise (1 MiB, and the mark of what was
/// cut) is whole.
const OUTPUT_CHARS_MAX: u32 = 1024 * 1024 + 4096;
/// Bytes of a command or an error; of a longer one the begin is shown.
const TEXT_BYTES_MAX: u32 = 64 * 1024;
/// Bytes of an input, a context or a definition: a larger one is left out. Inputs are no larger by their own rule, nor are
/// contexts of processes that were started under it.
const VALUE_BYTES_MAX: u32 = 1024 * 1024;
/// Rows of tasks or executions on one page.
const TRAIL_ROWS_MAX: u32 = 1000;

/// Who asks, and what is needed to answer.
pub(super) struct Asking<'a> {
    pub readers: &'a Readers,
    pub rooms: &'a Arc<Rooms>,
    pub client: Client,
    /// Path and query.
    pub target: &'a str,
    /// The tags that the client has.
    pub known: Option<&'a str>,
}

/// What the look at a small answer has found.
enum Look<T> {
    Missing,
    Small(T),
    /// A text that changes when the answer does.
    Large(String),
}

impl Asking<'_> {
    /// `look` reads a small answer, or finds that it is none; `read` reads the large one.
    fn small_or_large<T: Send + 'static>(
        &self,
        look: impl FnMut(&mut Store) -> Result<Look<T>, StoreError> + Send + 'static,
        read: impl FnMut(&mut Store) -> Result<Option<T>, StoreError> + Send + 'static,
        document: impl Fn(T) -> Result<Answer, Problem>,
        missing: impl Fn() -> Problem,
    ) -> Result<Answer, Problem> {
        let version = match self.readers.ask(look)? {
            Look::Missing => return Err(missing()),
            Look::Small(found) => return document(found),
            Look::Large(version) => version,
        };
        let tag = self.tag(&version);
        if self.known.is_some_and(|tags| is_known(tags, &tag)) {
            return Ok(Answer::json(Vec::new()).with_tag(tag, self.known));
        }
        let room = self.rooms.to_read(self.client).ok_or_else(Problem::no_room)?;
        let found = self.readers.ask_large(read)?.ok_or_else(missing)?;
        Ok(document(found)?.in_room(room).with_tag(tag, None))
    }

    fn tag(&self, version: &str) -> String {
        etag(format!("{} {} {version}", env!("CARGO_PKG_VERSION"), self.target).as_bytes())
    }

    /// A page of processes.
    pub fn processes(&self, filter: ProcessFilter) -> Result<Answer, Problem> {
        let (node, wanted) = (filter.node.clone(), filter.include);
        let has_values = wanted != Include::default();
        let is_large = has_values || filter.limit > SMALL_ROWS_MAX;
        let room =
            is_large.then(|| self.rooms.to_read(self.client).ok_or_else(Problem::no_room)).transpose()?;
        let known: Option<String> = self.known.map(str::to_owned);
        let (version_of, target) = (env!("CARGO_PKG_VERSION"), self.target.to_owned());
        let tag_of = move |version: &str| etag(format!("{version_of} {target} {version}").as_bytes());
        let read = move |store: &mut Store| {
            let rows = store.page_rows(&filter)?;
            let tag = has_values.then(|| store.version_of(&rows)).transpose()?.map(|it| tag_of(&it));
            if let (Some(tag), Some(known)) = (&tag, &known)
                && is_known(known, tag)
            {
                return Ok((None, true, Some(tag.clone())));
            }
            let page = store.with_values(rows, VALUE_BYTES_MAX)?;
            let node = filter.node.as_deref().filter(|_| page.processes.is_empty());
            Ok((Some(page), node.map_or(Ok(true), |it| store.knows_node(it))?, tag))
        };
        let (page, is_node_known, tag) =
            if is_large { self.readers.ask_large(read)? } else { self.readers.ask(read)? };
        if !is_node_known {
            return Err(no_such_node(&node.unwrap_or_default()));
        }
        let mut answer = match page {
            Some(page) => Answer::ok(&ProcessPage::new(page, wanted))?,
            None => Answer::json(Vec::new()),
        };
        if let Some(room) = room {
            answer = answer.in_room(room);
        }
        Ok(match tag {
            Some(tag) => answer.with_tag(tag, self.known),
            None => answer,
        })
    }

    /// One process with its input and context.
    pub fn process(&self, id: String) -> Result<Answer, Problem> {
        let asked = id.clone();
        let look = move |store: &mut Store| {
            let Some(found) = store.process_text(&asked, SMALL_READ_BYTES_MAX)? else {
                return Ok(Look::Missing);
            };
            if found.input.is_some() && found.context.is_some() {
                return Ok(Look::Small(found));
            }
            let version = store.process_version(&asked, false, false)?;
            Ok(version.map_or(Look::Missing, Look::Large))
        };
        let asked = id.clone();
        let read = move |store: &mut Store| store.process_text(&asked, VALUE_BYTES_MAX);
        let document = |found| {
            let process = Process::new(found, Include::ALL);
            Answer::ok(&process.map_err(|problem| Problem::new(500, "internal_error", problem))?)
        };
        self.small_or_large(look, read, document, || no_such_process(&id))
    }

    /// Tasks of a process, or one of them.
    pub fn tasks(&self, id: String, part: TrailPart) -> Result<Answer, Problem> {
        let output = part.output.unwrap_or(part.task.is_some());
        let page = move |store: &mut Store, id: &str, is_small| {
            store.tasks_page(id, part.task, output, part.after, page_size(part, is_small))
        };
        let asked = id.clone();
        let look = move |store: &mut Store| {
            let found = page(store, &asked, true)?;
            if is_whole(&found, part) {
                // Every process has tasks.
                let is_known = !found.rows.is_empty() || !found.unreadable.is_empty();
                let is_known = is_known || store.process_version(&asked, false, false)?.is_some();
                return Ok(if is_known { Look::Small(found) } else { Look::Missing });
            }
            let version = store.process_version(&asked, true, false)?;
            Ok(version.map_or(Look::Missing, Look::Large))
        };
        let asked = id.clone();
        let read = move |store: &mut Store| page(store, &asked, false).map(Some);
        let document = |found| trail(found, "tasks", output).map(Answer::json);
        self.small_or_large(look, read, document, || no_such_process(&id))
    }

    /// Executions of a process, or those of a task, or one of them.
    pub fn executions(&self, id: String, part: TrailPart) -> Result<Answer, Problem> {
        let output = part.output.unwrap_or(part.task.is_some() && part.attempt.is_some());
        let filter = ExecutionFilter { task_index: part.task, attempt: part.attempt, output };
        let page = move |store: &mut Store, id: &str, is_small| {
            store.executions_page(id, filter, part.after, page_size(part, is_small))
        };
        let asked = id.clone();
        let look = move |store: &mut Store| {
            let found = page(store, &asked, true)?;
            if is_whole(&found, part) {
                let is_known = !found.rows.is_empty() || !found.unreadable.is_empty();
                let is_known = is_known || store.process_version(&asked, false, false)?.is_some();
                return Ok(if is_known { Look::Small(found) } else { Look::Missing });
            }
            let version = store.process_version(&asked, false, true)?;
            Ok(version.map_or(Look::Missing, Look::Large))
        };
        let asked = id.clone();
        let read = move |store: &mut Store| page(store, &asked, false).map(Some);
        let document = |found| trail(found, "executions", output).map(Answer::json);
        self.small_or_large(look, read, document, || no_such_process(&id))
    }

    /// A page of the process types.
    pub fn process_types(&self, after: Option<String>) -> Result<Answer, Problem> {
        let from = after.clone();
        let look = move |store: &mut Store| {
            let version = store.types_version()?;
            let page = store.types_page(from.as_deref(), SMALL_READ_BYTES_MAX, SMALL_READ_BYTES_MAX)?;
            let is_whole = page.next.is_none() && page.types.iter().all(|it| it.1.is_some());
            Ok(if is_whole { Look::Small(page) } else { Look::Large(version) })
        };
        let read = move |store: &mut Store| {
            store.types_page(after.as_deref(), VALUE_BYTES_MAX, PAGE_BYTES_MAX).map(Some)
        };
        let document = |page| Answer::ok(&TypeList::new(page));
        self.small_or_large(look, read, document, || {
            Problem::new(404, "not_found", "there are no process types")
        })
    }
}

/// How much is read. For a small answer, the first rows, and no more of an output than fits.
fn page_size(part: TrailPart, is_small: bool) -> PageSize {
    let rows = part.limit.unwrap_or(TRAIL_ROWS_MAX);
    let output_from = part.offset.unwrap_or(0);
    if is_small {
        return PageSize {
            rows: rows.min(SMALL_ROWS_MAX),
            bytes: SMALL_READ_BYTES_MAX,
            text_bytes: TEXT_BYTES_MAX,
            output_from,
            output_chars: SMALL_READ_BYTES_MAX / 4,
        };
    }
    PageSize {
        rows,
        bytes: PAGE_BYTES_MAX,
        text_bytes: TEXT_BYTES_MAX,
        output_from,
        output_chars: OUTPUT_CHARS_MAX,
    }
}

/// Whether a small page is what the large one would be.
fn is_whole<T>(page: &crate::store::read::TrailPage<T>, part: TrailPart) -> bool {
    let is_full = part.limit.is_some_and(|limit| limit as usize <= page.rows.len() + page.unreadable.len());
    (page.next.is_none() || is_full) && page.rows.iter().all(|it| it.output_next.is_none())
}

pub(super) fn no_such_process(id: &str) -> Problem {
    Problem::new(
        404,
        "process_not_found",
        format!("no such process: {}; /processes lists those that exist", quoted(id)),
    )
}

fn no_such_node(node: &str) -> Problem {
    Problem::new(
        404,
        "node_not_found",
        format!(
            "no node has the id or name {}; /nodes lists those that are known, which is for seven days after their end",
            quoted(node)
        ),
    )
}
