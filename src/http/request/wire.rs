//! Requests from the wire, within bounds, and answers to it.
//!
//! Nothing here waits longer than the connection's deadlines, which are kept by closing its socket
//! (`connections`), and nothing here grows with what a client sends.

use std::io::{self, Read, Write};

use tiny_http::Method;

use crate::http::answer::{Answer, Problem, quoted};

/// Bytes of request line and headers: room for a process id of 255 characters, percent-encoded, several times.
pub(in crate::http) const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header lines; browsers send about 20.
const HEADERS_MAX: usize = 64;
/// Bytes of a body that nobody asked for: read past and forgotten.
pub(in crate::http) const BODY_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of the body of a call with the token: an input of its full size (1 MiB), escaped generously.
pub(in crate::http) const WRITE_BODY_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Answers up to this size go out in one piece with their head.
const ONE_WRITE_BYTES_MAX: usize = 32 * 1024;
/// Others are sent in parts of so many bytes, each with a deadline of its own (`places`).
const PART_BYTES: usize = 64 * 1024;

/// The head of a request.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::http) struct Head {
    pub method: Method,
    /// Path and query, as sent.
    pub target: String,
    /// Of HTTP/1.x.
    pub minor_version: u8,
    /// Bytes of the body that follow.
    pub content_length: u64,
    authority: Option<String>,
    headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value; of several, the first.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whom the client believes it is asking: the target's authority goes before the `Host` header.
    pub fn host(&self) -> Option<&str> {
        self.authority.as_deref().or_else(|| self.header("host"))
    }

    /// Whether the client waits to be told before it sends its body.
    pub fn expects_continue(&self) -> bool {
        self.minor_version >= 1
            && self.header("expect").is_some_and(|it| it.eq_ignore_ascii_case("100-continue"))
    }

    /// Whether the client wants to go on with this connection after the answer.
    pub fn keeps_connection(&self) -> bool {
        let wants = |word: &str| {
            self.header("connection")
                .is_some_and(|value| value.split(',').any(|it| it.trim().eq_ignore_ascii_case(word)))
        };
        if self.minor_version >= 1 { !wants("close") } else { wants("keep-alive") }
    }
}

/// Reads a head from the start of `bytes`: the head and its length, or `None` while it is incomplete.
pub(in crate::http) fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Problem> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Problem::new(
                431,
                "head_too_large",
                format!("more than {HEADERS_MAX} headers; send fewer"),
            ));
        }
        Err(cause) => return Err(bad_request(format!("this is no HTTP/1.x request: {cause}"))),
    };
    let headers = request
        .headers
        .iter()
        .map(|it| match std::str::from_utf8(it.value) {
            Ok(value) => Ok((it.name.to_owned(), value.to_owned())),
            Err(_) => Err(bad_request(format!("header {} is not UTF-8", quoted(it.name)))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (authority, target) = split_target(request.path.unwrap_or_default());
    let head = Head {
        method: request.method.unwrap_or_default().parse().map_err(|()| bad_request("no method"))?,
        target: target.to_owned(),
        minor_version: request.version.unwrap_or(1),
        content_length: content_length(&headers)?,
        authority: authority.map(str::to_owned),
        headers,
    };
    check_host(&head)?;
    Ok(Some((head, length)))
}

/// `http://host/path`, which proxies send, as host and path.
fn split_target(target: &str) -> (Option<&str>, &str) {
    let Some(rest) = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) else {
        return (None, target);
    };
    match rest.find(['/', '?']) {
        Some(end) => (Some(&rest[..end]), &rest[end..]),
        None => (Some(rest), "/"),
    }
}

/// Two readings of where a request ends are how one request is smuggled inside another: refused.
fn content_length(headers: &[(String, String)]) -> Result<u64, Problem> {
    if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding")) {
        return Err(Problem::new(
            411,
            "length_required",
            "Transfer-Encoding is not accepted; send the body with Content-Length",
        ));
    }
    let mut lengths = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let Some((_, length)) = lengths.next() else { return Ok(0) };
    if lengths.next().is_some() {
        return Err(bad_request("more than one Content-Length; send one"));
    }
    match length.bytes().all(|it| it.is_ascii_digit()).then(|| length.parse()) {
        Some(Ok(length)) => Ok(length),
        _ => Err(bad_request(format!("Content-Length {} is no number of bytes", quoted(length)))),
    }
}

fn check_host(head: &Head) -> Result<(), Problem> {
    match head.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host")).count() {
        0 if head.minor_version >= 1 => Err(bad_request("no Host header; HTTP/1.1 wants one")),
        0 | 1 => Ok(()),
        _ => Err(bad_request("more than one Host header; send one")),
    }
}

fn bad_request(message: impl Into<String>) -> Problem {
    Problem::new(400, "bad_request", message)
}

/// Why no further request comes from a connection.
#[derive(Debug)]
pub(in crate::http) enum ReadFailure {
    /// The client is gone, or its time was up.
    Connection(io::Error),
    /// It gets this answer, and the connection ends, for nobody knows where its next request begins.
    Refused(Problem),
}

/// The requests of one connection, one after the other.
pub(in crate::http) struct Requests<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: Read> Requests<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::with_capacity(1024) }
    }

    /// The next head; `None` when the client has ended the connection between two requests. `began` is called
    /// when the first bytes are there.
    pub fn next_head(&mut self, began: impl FnOnce()) -> Result<Option<Head>, ReadFailure> {
        let mut began = Some(began);
        loop {
            if let Some(began) = began.take_if(|_| !self.buffer.is_empty()) {
                began();
            }
            if let Some((head, length)) = parse_head(&self.buffer).map_err(ReadFailure::Refused)? {
                self.buffer.drain(..length);
                return Ok(Some(head));
            }
            if self.buffer.len() >= HEAD_BYTES_MAX {
                return Err(ReadFailure::Refused(Problem::new(
                    431,
                    "head_too_large",
                    format!("request line and headers have more than {HEAD_BYTES_MAX} bytes; send less"),
                )));
            }
            if self.fill()? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(ReadFailure::Connection(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads the body of the request whose head was read last; the caller has seen to it that it is not too long.
    pub fn read_body(&mut self, length: u64) -> Result<Vec<u8>, ReadFailure> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let here = self.buffer.len().min(length);
        let mut body: Vec<u8> = self.buffer.drain(..here).collect();
        while body.len() < length {
            if self.fill()? == 0 {
                return Err(ReadFailure::Connection(io::ErrorKind::UnexpectedEof.into()));
            }
            let here = self.buffer.len().min(length - body.len());
            body.extend(self.buffer.drain(..here));
        }
        Ok(body)
    }

    /// Reads past the body of the request whose head was read last.
    pub fn skip_body(&mut self, mut length: u64) -> Result<(), ReadFailure> {
        loop {
            let here = self.buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            self.buffer.drain(..here);
            length -= here as u64;
            if length == 0 {
                return Ok(());
            }
            if self.fill()? == 0 {
                return Err(ReadFailure::Connection(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn fill(&mut self) -> Result<usize, ReadFailure> {
        let mut piece = [0; 2048];
        let room = (HEAD_BYTES_MAX - self.buffer.len().min(HEAD_BYTES_MAX)).min(piece.len());
        loop {
            match self.stream.read(&mut piece[..room]) {
                Ok(count) => {
                    self.buffer.extend_from_slice(&piece[..count]);
                    return Ok(count);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(ReadFailure::Connection(cause)),
            }
        }
    }
}

/// Tells a client that waits for it to send its body.
pub(in crate::http) fn send_continue(mut stream: impl Write) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
}

/// Sends an answer; `with_body` is false for HEAD. `note_move` is called whenever a part has gone out.
pub(in crate::http) fn send(
    mut stream: impl Write,
    answer: &Answer,
    minor_version: u8,
    keep: bool,
    with_body: bool,
    note_move: impl Fn(),
) -> io::Result<()> {
    let mut head = answer.head(minor_version, keep)?;
    if !with_body {
        return stream.write_all(&head);
    }
    if answer.body.len() <= ONE_WRITE_BYTES_MAX {
        head.extend_from_slice(&answer.body);
        return stream.write_all(&head);
    }
    stream.write_all(&head)?;
    for part in answer.body.chunks(PART_BYTES) {
        stream.write_all(part)?;
        note_move();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<(Head, usize)>, Problem> {
        parse_head(text.as_bytes())
    }

    fn refusal(text: &str) -> (u16, &'static str) {
        let problem = parse(text).expect_err(text);
        (problem.status, problem.code)
    }

    #[test]
    fn heads_are_read_whole_or_not_at_all() {
        let text = "GET /status?a=b HTTP/1.1\r\nHost: localhost\r\nX-A:  1 \r\n\r\nrest";
        let (head, length) = parse(text).unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.target.as_str()), ("GET", "/status?a=b"));
        assert_eq!((head.minor_version, head.content_length), (1, 0));
        assert_eq!((head.header("x-a"), head.host()), (Some("1"), Some("localhost")));
        assert_eq!(&text[length..], "rest");
        for end in 0..length {
            assert_eq!(parse(&text[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn an_absolute_target_names_the_host() {
        let head = parse("GET http://evil.example/status?x HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (head, _) = head.unwrap().unwrap();
        assert_eq!((head.host(), head.target.as_str()), (Some("evil.example"), "/status?x"));
        let (head, _) = parse("GET http://localhost HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.host(), head.target.as_str()), (Some("localhost"), "/"));
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for text in [
            "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ] {
            assert_eq!(refusal(text), (400, "bad_request"), "{text}");
        }
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refusal(chunked), (411, "length_required"));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(70));
        assert_eq!(refusal(&many), (431, "head_too_large"));
        let (mut bytes, tail) = (b"GET / HTTP/1.1\r\nHost: a\r\nA: ".to_vec(), b"\xff\r\n\r\n");
        bytes.extend_from_slice(tail);
        assert_eq!(parse_head(&bytes).expect_err("not UTF-8").status, 400);
    }

    #[test]
    fn who_keeps_a_connection() {
        let keeps = |version: &str, header: &str| {
            let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{header}\r\n");
            parse(&text).unwrap().unwrap().0.keeps_connection()
        };
        assert!(keeps("1.1", ""));
        assert!(!keeps("1.1", "Connection: Close\r\n"));
        assert!(!keeps("1.1", "Connection: te, close\r\n"));
        assert!(!keeps("1.0", ""));
        assert!(keeps("1.0", "Connection: Keep-Alive\r\n"));
    }

    /// Gives one byte at a time, as the slowest of clients.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some((&first, rest)) = self.0.split_first() else { return Ok(0) };
            into[0] = first;
            self.0 = rest;
            Ok(1)
        }
    }

    #[test]
    fn requests_follow_each_other_with_bodies_in_between() {
        let text =
            b"GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyzGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut began = 0;
        let mut requests = Requests::new(Drip(text));
        let head = requests.next_head(|| began += 1).unwrap().unwrap();
        assert_eq!(head.target, "/1");
        requests.skip_body(head.content_length).unwrap();
        assert_eq!(requests.next_head(|| began += 1).unwrap().unwrap().target, "/2");
        assert!(requests.next_head(|| began += 1).unwrap().is_none());
        assert_eq!(began, 2);
        let mut pipelined = Requests::new(&text[..]);
        let head = pipelined.next_head(|| ()).unwrap().unwrap();
        pipelined.skip_body(head.content_length).unwrap();
        assert_eq!(pipelined.next_head(|| ()).unwrap().unwrap().target, "/2");
    }

    #[test]
    fn a_body_is_read_whole_and_nothing_beyond_it() {
        let long = "x".repeat(10_000);
        let text = format!(
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n{long}GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let mut requests = Requests::new(text.as_bytes());
        let head = requests.next_head(|| ()).unwrap().unwrap();
        assert_eq!(requests.read_body(head.content_length).unwrap(), long.as_bytes());
        assert_eq!(requests.next_head(|| ()).unwrap().unwrap().target, "/2");
        assert!(matches!(Requests::new(&b"ab"[..]).read_body(3), Err(ReadFailure::Connection(_))));
        assert_eq!(Requests::new(Drip(b"abc")).read_body(3).unwrap(), b"abc");
    }

    #[test]
    fn endless_heads_are_refused_at_the_limit() {
        for start in ["GET /", "GET / HTTP/1.1\r\nA: "] {
            let mut endless = start.as_bytes().chain(io::repeat(b'a'));
            let failure = Requests::new(&mut endless).next_head(|| ()).expect_err(start);
            assert!(matches!(failure, ReadFailure::Refused(Problem { status: 431, .. })), "{failure:?}");
        }
    }

    #[test]
    fn an_end_within_a_request_is_an_error() {
        for text in ["GET / HT", "GET / HTTP/1.1\r\nHost: a\r\n"] {
            let failure = Requests::new(text.as_bytes()).next_head(|| ()).expect_err(text);
            assert!(matches!(failure, ReadFailure::Connection(_)), "{failure:?}");
        }
        assert!(matches!(Requests::new(&b"ab"[..]).skip_body(3), Err(ReadFailure::Connection(_))));
    }
}
