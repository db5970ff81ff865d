//! Answers and refusals: JSON bodies, and the head that goes before them.

use std::io;

use serde::Serialize;
use serde_json::json;
use tiny_http::{HTTPVersion, Header, Response, StatusCode};

/// Seconds after which a client may ask again when something is missing for now.
const RETRY_AFTER_SECONDS: &str = "1";
/// On every answer: it is of this moment, it is what it says, and no other site's page may embed it.
const COMMON_HEADERS: &[(&str, &str)] = &[
    ("Server", "process-orchestrator"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

/// What goes back to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// 200 with `value` as JSON.
    pub fn ok(value: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self::json(to_json(value)?))
    }

    /// 200 with a body that is JSON already.
    pub fn json(body: Vec<u8>) -> Self {
        Self { status: 200, headers: Vec::new(), body }
    }

    /// Status line and headers. `keep` says whether the connection stays open, which HTTP/1.0 and 1.1 assume
    /// differently: it is always said.
    pub fn head(&self, minor_version: u8, keep: bool) -> io::Result<Vec<u8>> {
        let mut headers = Vec::with_capacity(COMMON_HEADERS.len() + self.headers.len());
        for (name, value) in COMMON_HEADERS.iter().chain(&self.headers) {
            headers.push(
                Header::from_bytes(*name, *value)
                    .map_err(|()| io::Error::other(format!("header {name}: {value:?} is not ASCII")))?,
            );
        }
        let response =
            Response::new(StatusCode(self.status), headers, io::empty(), Some(self.body.len()), None)
                .with_chunked_threshold(usize::MAX);
        let mut head = Vec::with_capacity(512);
        // As if for HEAD: the body is written by the caller, from where it lies.
        response.raw_print(&mut head, HTTPVersion(1, minor_version.min(1)), &[], true, None)?;
        // tiny_http leaves this header to its own connections, which are not used here.
        head.truncate(head.len() - b"\r\n".len());
        head.extend_from_slice(if keep {
            b"Connection: keep-alive\r\n\r\n"
        } else {
            b"Connection: close\r\n\r\n"
        });
        Ok(head)
    }
}

/// `value` as JSON.
pub(super) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value)
        .map_err(|cause| Problem::new(500, "internal_error", format!("failed to write the answer: {cause}")))
}

/// Why a request gets no answer but this one: `{"error": {"code", "message"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub status: u16,
    /// For programs; never changes its meaning.
    pub code: &'static str,
    /// For people: names the thing, the value and the remedy.
    pub message: String,
}

impl Problem {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub fn into_answer(self) -> Answer {
        let headers = match self.status {
            405 => vec![("Allow", "GET, HEAD")],
            503 => vec![("Retry-After", RETRY_AFTER_SECONDS)],
            _ => Vec::new(),
        };
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        Answer { status: self.status, headers, body: body.to_string().into_bytes() }
    }
}

/// Text of a client, quoted for a message and cut to a length that a person reads.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{start:?}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_head_states_length_kind_and_what_becomes_of_the_connection() {
        let answer = Answer::ok(&json!({"a": "é"})).unwrap();
        let head = text(answer.head(1, true).unwrap());
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for line in [
            "Content-Length: 10\r\n",
            "Content-Type: application/json; charset=utf-8\r\n",
            "Cache-Control: no-store\r\n",
            "X-Content-Type-Options: nosniff\r\n",
            "Server: process-orchestrator\r\n",
            "Date: ",
        ] {
            assert!(head.contains(line), "{line:?} is missing in {head}");
        }
        assert!(head.ends_with("\r\nConnection: keep-alive\r\n\r\n"), "{head}");
        let head = text(answer.head(0, false).unwrap());
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        assert!(head.ends_with("\r\nConnection: close\r\n\r\n"), "{head}");
    }

    #[test]
    fn a_large_body_still_has_its_length_announced() {
        let head = text(Answer::json(vec![b' '; 5_000_000]).head(1, true).unwrap());
        assert!(head.contains("Content-Length: 5000000\r\n"), "{head}");
        assert!(!head.contains("chunked"), "{head}");
    }

    #[test]
    fn problems_are_json_with_a_code_and_a_sentence() {
        let answer = Problem::new(405, "method_not_allowed", "say \"please\"").into_answer();
        assert_eq!(
            text(answer.body.clone()),
            r#"{"error":{"code":"method_not_allowed","message":"say \"please\""}}"#
        );
        assert!(text(answer.head(1, true).unwrap()).contains("\r\nAllow: GET, HEAD\r\n"));
        let busy = Problem::new(503, "busy", "").into_answer();
        assert!(text(busy.head(1, true).unwrap()).contains("\r\nRetry-After: 1\r\n"));
    }

    #[test]
    fn quoted_text_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[31m\n"), r#""a\u{1b}[31m\n""#);
        assert_eq!(quoted(&"x".repeat(200)).chars().count(), 83);
    }
}
