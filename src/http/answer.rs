//! Answers and refusals: JSON bodies, and the head that goes before them.

use std::borrow::Cow;
use std::hash::Hasher;
use std::io;

use serde::Serialize;
use serde_json::json;
use tiny_http::{HTTPVersion, Header, Response, StatusCode};

use super::rooms::Room;
use crate::model::faults::Fault;

/// Seconds after which a client may ask again when something is missing for now.
const RETRY_AFTER_SECONDS: &str = "1";
/// On every answer: it is of this moment, it is what it says, and no other site's page may embed it.
const COMMON_HEADERS: &[(&str, &str)] = &[
    ("Server", "process-orchestrator"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

/// What goes back to a client.
pub(super) struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    /// Beside those that every answer has.
    pub headers: Vec<(&'static str, String)>,
    pub body: Cow<'static, [u8]>,
    /// Of a large one, kept until it is sent.
    pub room: Option<Room>,
}

const JSON: &str = "application/json; charset=utf-8";
/// What may not be kept: answers to writing calls, and refusals.
const NO_STORE: &str = "no-store";
/// What may be kept but must be asked for again each time, which its ETag makes cheap.
const NO_CACHE: &str = "no-cache";

impl Answer {
    /// 200 with `value` as JSON.
    pub fn ok(value: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self::json(to_json(value)?))
    }

    /// 200 with a body that is JSON already.
    pub fn json(body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self::of(JSON, body)
    }

    /// 200 with a body of another type.
    pub fn of(content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { status: 200, content_type, headers: Vec::new(), body: body.into(), room: None }
    }

    /// A large answer, in the room that was taken to read it.
    pub fn in_room(mut self, mut room: Room) -> Self {
        if let Cow::Owned(body) = &mut self.body {
            body.shrink_to_fit();
        }
        room.holds(self.body.len());
        self.room = Some(room);
        self
    }

    /// With a tag that was found out by other means than reading the whole answer; 304 where it is what the client has.
    pub fn with_tag(mut self, tag: String, if_none_match: Option<&str>) -> Self {
        if if_none_match.is_some_and(|tags| is_known(tags, &tag)) {
            (self.status, self.body, self.room) = (304, Cow::Borrowed(&[][..]), None);
        }
        self.headers.push(("ETag", tag));
        self
    }

    /// Marks the answer to a reading call with the hash of its content; 304 without a body when that is what the
    /// client has already (`if_none_match` is its header).
    pub fn tagged(self, if_none_match: Option<&str>) -> Self {
        if self.status != 200 || self.headers.iter().any(|(name, _)| *name == "ETag") {
            return self;
        }
        let tag = etag(&self.body);
        self.with_tag(tag, if_none_match)
    }

    /// Status line and headers. `keep` says whether the connection stays open, which HTTP/1.0 and 1.1 assume
    /// differently: it is always said.
    pub fn head(&self, minor_version: u8, keep: bool) -> io::Result<Vec<u8>> {
        let mut headers = Vec::with_capacity(COMMON_HEADERS.len() + self.headers.len());
        let is_kept = self.headers.iter().any(|(name, _)| *name == "ETag");
        let own = [("Cache-Control", if is_kept { NO_CACHE } else { NO_STORE })];
        let kind = (self.status != 304).then_some(("Content-Type", self.content_type));
        let more = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in COMMON_HEADERS.iter().copied().chain(kind).chain(own).chain(more) {
            headers.push(
                Header::from_bytes(name, value)
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

/// A strong tag: another content has another one. Not for secrets; the length guards against a chance collision too.
pub(super) fn etag(body: &[u8]) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(body);
    format!("\"{:x}-{:016x}\"", body.len(), hasher.finish())
}

/// Reads `If-None-Match`: `*`, or a list of tags, weak ones too.
pub(super) fn is_known(tags: &str, tag: &str) -> bool {
    tags.trim() == "*" || tags.split(',').any(|it| it.trim().trim_start_matches("W/") == tag)
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
    /// The same for who has shown the token: names of hosts and users are in it.
    pub detail: Option<Box<str>>,
    /// What the status wants said beside it.
    pub header: Option<(&'static str, &'static str)>,
    /// Of a document that was sent: all that is wrong with it.
    pub faults: Vec<Fault>,
}

impl Problem {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let header = (status == 503).then_some(("Retry-After", RETRY_AFTER_SECONDS));
        Self { status, code, message: message.into(), detail: None, header, faults: Vec::new() }
    }

    /// There is no room for a large answer.
    pub fn no_room() -> Self {
        Self::new(503, "busy", "too many large answers are asked for; ask again later, or for less at a time")
    }

    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    pub fn with_detail(mut self, detail: String) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// As it is told to who has shown the token.
    pub fn detailed(mut self) -> Self {
        self.message = self.detail.take().map_or(self.message, String::from);
        self
    }

    pub fn into_answer(self) -> Answer {
        let headers = self.header.map(|(name, value)| (name, value.to_owned())).into_iter().collect();
        let mut error = json!({ "code": self.code, "message": self.message });
        if !self.faults.is_empty() {
            let faults = self.faults.iter();
            error["faults"] = faults
                .map(|it| json!({ "path": it.path, "problem": it.problem, "remedy": it.remedy }))
                .collect();
        }
        let body = json!({ "error": error });
        Answer { status: self.status, headers, ..Answer::json(body.to_string().into_bytes()) }
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
        let answer =
            Problem::new(405, "method_not_allowed", "say \"please\"").with_header("Allow", "GET, HEAD");
        let answer = answer.into_answer();
        assert_eq!(
            text(answer.body.to_vec()),
            r#"{"error":{"code":"method_not_allowed","message":"say \"please\""}}"#
        );
        assert!(text(answer.head(1, true).unwrap()).contains("\r\nAllow: GET, HEAD\r\n"));
        let busy = Problem::new(503, "busy", "").into_answer();
        assert!(text(busy.head(1, true).unwrap()).contains("\r\nRetry-After: 1\r\n"));
    }

    #[test]
    fn what_a_client_has_already_is_not_sent_again() {
        let answer = || Answer::json(b"[1]".to_vec());
        let first = answer().tagged(None);
        let tag = first.headers[0].1.clone();
        let head = text(first.head(1, true).unwrap());
        assert!(head.contains(&format!("\r\nETag: {tag}\r\n")), "{head}");
        assert!(head.contains("\r\nCache-Control: no-cache\r\n"), "{head}");
        for known in [tag.clone(), format!("\"x\", W/{tag}"), " * ".to_owned()] {
            let again = answer().tagged(Some(&known));
            assert_eq!((again.status, &*again.body), (304, &b""[..]), "{known}");
            assert!(text(again.head(1, true).unwrap()).contains(&tag));
        }
        for other in ["\"x\"", "", &tag[1..], "W/*"] {
            assert_eq!(answer().tagged(Some(other)).status, 200, "{other}");
        }
        assert_ne!(etag(b"[1]"), etag(b"[2]"));
        let problem = Problem::new(404, "not_found", "").into_answer().tagged(Some("*"));
        assert_eq!((problem.status, problem.headers.len()), (404, 0));
    }

    #[test]
    fn quoted_text_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[31m\n"), r#""a\u{1b}[31m\n""#);
        assert_eq!(quoted(&"x".repeat(200)).chars().count(), 83);
    }
}
