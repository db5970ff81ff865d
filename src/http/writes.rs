//! The calls that change something. Whoever gets here has shown the token.

mod batches;
mod faults;

use serde_json::json;

use self::faults::faulty;
use super::answer::{Answer, Problem};
use super::readers::Readers;
use super::request::query::encode_segment;
use super::request::route::{ScheduleVerb, Write};
use crate::model::control_document::{CancelDocument, LimitDocument, PauseDocument, RetryDocument};
use crate::model::schedule::definition::Schedule;
use crate::model::start_document::StartDocument;
use crate::store::cancel::{CancelOutcome, CancelReason};
use crate::store::retry::RetryOptions;
use crate::store::schedules::Added;
use crate::store::start::{StartOptions, StartRequest};

pub(super) fn answer(readers: &Readers, write: Write, body: &[u8]) -> Result<Answer, Problem> {
    match write {
        Write::Start => start(readers, text(body)?),
        Write::Cancel { id } => cancel(readers, id, text(body)?),
        Write::AddSchedule => add_schedule(readers, text(body)?),
        Write::Schedule { name, verb } => of_schedule(readers, name, verb, text(body)?),
        Write::SetLimit { name } => set_limit(readers, name, text(body)?),
        Write::Retry { id } => retry(readers, id, text(body)?),
        Write::StartBatch => batches::start(readers, text(body)?),
        Write::PauseBatch { name } => batches::pause(readers, name, text(body)?),
        Write::ResumeBatch { name } => batches::resume(readers, name, text(body)?),
        Write::CancelBatch { name } => batches::cancel(readers, name, text(body)?),
        Write::RetryBatch { name } => batches::retry(readers, name, text(body)?),
    }
}

fn text(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|_| Problem::new(400, "bad_document", "the body is not UTF-8"))
}

/// 201 for a new process, 200 for the same one that was there already; both with its path.
fn start(readers: &Readers, text: &str) -> Result<Answer, Problem> {
    let wanted = StartDocument::from_json(text).map_err(|faults| faulty(text, faults))?;
    let (id, is_new) = readers.ask_once(move |store| {
        let request = StartRequest { input: wanted.input.clone(), process_id: wanted.process_id.clone() };
        let options = StartOptions { start_at: wanted.start_at, priority: wanted.priority };
        store.start_or_find(&wanted.process_type, &request, options)
    })?;
    let path = format!("/processes/{}", encode_segment(&id));
    let body = json!({ "process_id": id, "is_new": is_new, "path": path });
    let mut answer = Answer::ok(&body)?;
    answer.status = if is_new { 201 } else { 200 };
    answer.headers.push(("Location", path));
    Ok(answer)
}

/// 202 while a node still has to end its command, else 200.
fn cancel(readers: &Readers, id: String, text: &str) -> Result<Answer, Problem> {
    let wanted = CancelDocument::from_json(text).map_err(|faults| faulty(text, faults))?;
    let cancelled = readers.ask_once(move |store| {
        store.cancel_process(&id, CancelReason { reason: wanted.reason.as_deref(), by: None })
    })?;
    let mut answer = Answer::ok(&cancelled)?;
    if cancelled.outcome == CancelOutcome::Requested {
        answer.status = 202;
    }
    Ok(answer)
}

fn retry(readers: &Readers, id: String, text: &str) -> Result<Answer, Problem> {
    let wanted = RetryDocument::from_json(text).map_err(|faults| faulty(text, faults))?;
    let options = RetryOptions { from_task: wanted.from_task, skip: wanted.skip, changes: wanted.changes };
    let asked = id.clone();
    let task = readers.ask_once(move |store| store.retry_process(&asked, &options))?;
    Answer::ok(&json!({ "process_id": id, "from_task": task }))
}

fn set_limit(readers: &Readers, name: String, text: &str) -> Result<Answer, Problem> {
    let wanted = LimitDocument::from_json(text).map_err(|faults| faulty(text, faults))?;
    let by = wanted.by.unwrap_or_else(|| "HTTP".to_owned());
    let limit = readers.ask_once(move |store| {
        store.set_limit(&name, wanted.max, Some(&by))?;
        store.limit(&name, 0)
    })?;
    Answer::ok(&limit.map(|it| it.usage))
}

/// 201 for a new schedule, 200 for one that was there.
fn add_schedule(readers: &Readers, text: &str) -> Result<Answer, Problem> {
    let schedule = Schedule::from_json(text, "body").map_err(|faults| faulty(text, faults))?;
    let path = format!("/schedules/{}", encode_segment(&schedule.name));
    let name = schedule.name.clone();
    let change = readers.ask_once(move |store| store.add_schedule(&schedule, Some("HTTP")))?;
    let mut answer = Answer::ok(&json!({ "name": name, "change": change.as_str(), "path": path }))?;
    answer.status = if change == Added::New { 201 } else { 200 };
    answer.headers.push(("Location", path));
    Ok(answer)
}

fn of_schedule(readers: &Readers, name: String, verb: ScheduleVerb, text: &str) -> Result<Answer, Problem> {
    let wanted =
        PauseDocument::from_json(text, verb == ScheduleVerb::Pause).map_err(|faults| faulty(text, faults))?;
    let asked = name.clone();
    let answer = readers.ask_once(move |store| {
        Ok(match verb {
            ScheduleVerb::Pause => {
                let is_changed = store.pause_schedule(&asked, wanted.reason.as_deref(), Some("HTTP"))?;
                json!({ "name": name, "paused": true, "changed": is_changed })
            }
            ScheduleVerb::Resume => {
                json!({ "name": name, "paused": false, "changed": store.resume_schedule(&asked)? })
            }
            ScheduleVerb::RunNow => json!({ "name": name, "process_id": store.run_schedule_now(&asked)? }),
            ScheduleVerb::Remove => {
                store.remove_schedule(&asked)?;
                json!({ "name": name, "removed": true })
            }
        })
    })?;
    Answer::ok(&answer)
}
