//! What is wrong with a document that was sent.

use crate::http::answer::Problem;
use crate::model::faults::Faults;

/// Faults of a document that are told; a person reads no more, and each may quote what was sent.
const FAULTS_MAX: usize = 100;

/// 400 for what is no JSON, 422 for a document that says something wrong; all of it at once, within reason.
pub(super) fn faulty(text: &str, mut faults: Faults) -> Problem {
    let all = faults.faults.len();
    faults.faults.truncate(FAULTS_MAX);
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let status = if is_json { 422 } else { 400 };
    let mut message = faults.faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    if all > FAULTS_MAX {
        message.push_str(&format!("\n… and {} more", all - FAULTS_MAX));
    }
    Problem { faults: faults.faults, ..Problem::new(status, "bad_document", message) }
}
