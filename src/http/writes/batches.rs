//! Batches: started and controlled.

use serde_json::json;

use super::faults::faulty;
use crate::http::answer::{Answer, Problem};
use crate::http::readers::Readers;
use crate::http::request::query::encode_segment;
use crate::model::batch::document::BatchDocument;
use crate::model::control_document::CancelDocument;
use crate::store::batches::BatchOptions;
use crate::store::start::{StartOptions, StartRequest};

/// 201 when there is something new, 200 when all of it was there already; both with its path.
pub(super) fn start(readers: &Readers, text: &str) -> Result<Answer, Problem> {
    let wanted = BatchDocument::from_json(text).map_err(|faults| faulty(text, faults))?;
    let name = wanted.name.clone();
    let (ids, new) = readers.ask_once(move |store| {
        let requests: Vec<StartRequest> = wanted
            .processes
            .iter()
            .map(|(id, input)| StartRequest { input: input.clone(), process_id: Some(id.clone()) })
            .collect();
        let (then_type, then_input) = wanted.then.clone().unzip();
        let options = BatchOptions {
            halt: wanted.halt.clone(),
            max: wanted.max,
            then_type,
            then_input: then_input.flatten(),
        };
        let start = StartOptions { start_at: None, priority: wanted.priority };
        store.start_batch(&wanted.name, &wanted.process_type, &requests, start, &options)
    })?;
    let path = format!("/batches/{}", encode_segment(&name));
    let body = json!({ "name": name, "new": new, "total": ids.len(), "process_ids": ids, "path": path });
    let mut answer = Answer::ok(&body)?;
    answer.status = if new > 0 { 201 } else { 200 };
    answer.headers.push(("Location", path));
    Ok(answer)
}

pub(super) fn pause(readers: &Readers, name: String, text: &str) -> Result<Answer, Problem> {
    let wanted = CancelDocument::from_json(text).map_err(|faults| faulty(text, faults))?;
    let asked = name.clone();
    let state = readers.ask_once(move |store| store.pause_batch(&asked, wanted.reason.as_deref()))?;
    Answer::ok(&json!({ "name": name, "state": state }))
}

pub(super) fn resume(readers: &Readers, name: String, text: &str) -> Result<Answer, Problem> {
    CancelDocument::from_json(text).map_err(|faults| faulty(text, faults))?;
    let asked = name.clone();
    let state = readers.ask_once(move |store| store.resume_batch(&asked))?;
    Answer::ok(&json!({ "name": name, "state": state }))
}

/// Nodes go on with it when the answer is there: a large batch takes longer than an answer may.
pub(super) fn cancel(readers: &Readers, name: String, text: &str) -> Result<Answer, Problem> {
    let wanted = CancelDocument::from_json(text).map_err(|faults| faulty(text, faults))?;
    let asked = name.clone();
    let cancelled = readers
        .ask_once(move |store| store.begin_to_cancel_batch(&asked, wanted.reason.as_deref(), Some("HTTP")))?;
    Answer::ok(&json!({ "name": name, "cancelled": cancelled }))
}

pub(super) fn retry(readers: &Readers, name: String, text: &str) -> Result<Answer, Problem> {
    CancelDocument::from_json(text).map_err(|faults| faulty(text, faults))?;
    let asked = name.clone();
    let done = readers.ask_once(move |store| store.retry_batch(&asked))?;
    Answer::ok(&json!({ "name": name, "retried": done.retried, "refused": done.refused }))
}
