//! `require_auth`: by which method the server may have us say who we are.
//!
//! The client library answers whatever the server asks for, so the server is asked beforehand, on a connection of its own
//! that ends before a word of the password is said. What is not allowed is refused there, and so is a server that can't be
//! asked. It guards against a server that is set up wrongly. Against somebody in between, who could answer otherwise the
//! second time, only a certificate that is checked helps (`sslmode=verify-full`), as for everything else.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use postgres::config::Host;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::database::error::ConnectFailure;
use crate::database::tls;

/// The methods by libpq's names, in whose order [`RequiredAuth`] has them.
const METHODS: [&str; 7] = ["none", "password", "md5", "scram-sha-256", "gss", "sspi", "oauth"];
/// How many of them the client library can answer.
const SPOKEN: usize = 4;

/// Which methods are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::database) struct RequiredAuth {
    allowed: [bool; METHODS.len()],
    /// As it was written.
    text: String,
}

impl RequiredAuth {
    /// Reads a list of methods, all of them with a `!` in front or none. The error says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        let is_denial = words[0].starts_with('!');
        let mut allowed = [is_denial; METHODS.len()];
        for word in words {
            let (is_denied, name) = word.strip_prefix('!').map_or((false, word), |name| (true, name));
            if is_denied != is_denial {
                return Err(
                    "write either the methods that are allowed or, each with a !, those that are not".into(),
                );
            }
            let Some(at) = METHODS.iter().position(|method| *method == name) else {
                return Err(format!(
                    "write a list of {}, as in scram-sha-256 or !password,!md5",
                    METHODS.join(", ")
                ));
            };
            if allowed[at] != is_denial {
                return Err(format!("name {name} once"));
            }
            allowed[at] = !is_denial;
        }
        if !allowed[..SPOKEN].contains(&true) {
            return Err(format!(
                "allow one of {}: the others are not spoken here",
                METHODS[..SPOKEN].join(", ")
            ));
        }
        Ok(Self { allowed, text: text.to_owned() })
    }

    /// Whether a method is allowed that needs a password.
    pub fn takes_password(&self) -> bool {
        self.allowed[1..SPOKEN].contains(&true)
    }

    fn check(&self, asked: Asked) -> Result<(), ConnectFailure> {
        let method = match asked {
            Asked::Method(method) => method,
            Asked::Unknown(code) => {
                return Err(self.refusal(&format!("for a method that is not known here (number {code})")));
            }
            // The connection itself tells why.
            Asked::Refused => return Ok(()),
        };
        match METHODS.iter().position(|it| *it == method) {
            Some(at) if self.allowed[at] => Ok(()),
            _ if method == "none" => Err(self.refusal("for nothing: it lets this user in without")),
            _ => Err(self.refusal(&format!("for {method}"))),
        }
    }

    fn refusal(&self, asked: &str) -> ConnectFailure {
        ConnectFailure::Unsuitable {
            problem: format!("require_auth={} does not allow what the server asks {asked}", self.text),
            remedy: "have the server's pg_hba.conf ask this user for an allowed method, or allow that one"
                .into(),
        }
    }
}

/// What a server asks of whoever connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Method(&'static str),
    Unknown(u32),
    /// It answers with an error before it asks.
    Refused,
}

/// How to reach the server.
pub(in crate::database) struct Question<'a> {
    /// With one host.
    pub config: &'a postgres::Config,
    pub user: &'a str,
    pub database: &'a str,
    /// None for a plain connection.
    pub tls: Option<Arc<ClientConfig>>,
    /// Go on without TLS if the server has none.
    pub may_be_plain: bool,
    /// Begin with the handshake.
    pub is_direct: bool,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl RequiredAuth {
    /// Asks the server, and fails unless what it wants is allowed.
    pub fn ask(&self, question: &Question<'_>) -> Result<(), ConnectFailure> {
        let failed = |error: io::Error| {
            tls::failure_in(&error).unwrap_or_else(|| ConnectFailure::Unreachable {
                cause: format!("the server could not be asked for its method of authentication: {error}"),
            })
        };
        self.check(question.ask().map_err(failed)?)
    }
}

impl Question<'_> {
    fn ask(&self) -> io::Result<Asked> {
        let mut stream = self.stream()?;
        let mut body = 196_608_u32.to_be_bytes().to_vec(); // version 3.0 of the protocol
        for part in ["user", self.user, "database", self.database, ""] {
            body.extend_from_slice(part.as_bytes());
            body.push(0);
        }
        stream.write_all(&[&length(&body)[..], &body].concat())?;
        stream.flush()?;
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; usize::try_from(size.saturating_sub(4)).unwrap_or(0).min(ANSWER_BYTES_MAX)];
        stream.read_exact(&mut body)?;
        // The end of a session, for a server that has begun one.
        _ = stream.write_all(&[b'X', 0, 0, 0, 4]).and_then(|()| stream.flush());
        Ok(read(head[0], &body))
    }

    fn stream(&self) -> io::Result<Box<dyn Stream>> {
        let limit = self.config.get_connect_timeout().copied().unwrap_or(TIMEOUT_DEFAULT);
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let nowhere = || io::Error::new(io::ErrorKind::InvalidInput, "there is no host");
        let host = match self.config.get_hosts().first().ok_or_else(nowhere)? {
            #[cfg(unix)]
            Host::Unix(directory) => {
                let stream =
                    std::os::unix::net::UnixStream::connect(directory.join(format!(".s.PGSQL.{port}")))?;
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                return Ok(Box::new(stream));
            }
            Host::Tcp(host) => host,
        };
        let addresses = match self.config.get_hostaddrs().first() {
            Some(address) => vec![(*address, port).into()],
            None => (host.as_str(), port).to_socket_addrs()?.collect::<Vec<_>>(),
        };
        let mut last = nowhere();
        let mut tries = addresses.iter().map(|address| TcpStream::connect_timeout(address, limit));
        let mut stream = loop {
            match tries.next() {
                Some(Ok(stream)) => break stream,
                Some(Err(error)) => last = error,
                None => return Err(last),
            }
        };
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        if !self.is_direct {
            stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?; // SSLRequest
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            match answer[0] {
                b'S' => {}
                _ if self.may_be_plain => return Ok(Box::new(stream)),
                _ => return Err(io::Error::other("it does not speak TLS")),
            }
        }
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }
}

/// A request for authentication is some bytes, an error some hundred.
const ANSWER_BYTES_MAX: usize = 8_192;
/// Where `connect_timeout=0` says that there is no limit.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

fn length(body: &[u8]) -> [u8; 4] {
    // What a person has written fits four bytes of length.
    u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes()
}

fn read(kind: u8, body: &[u8]) -> Asked {
    let code = || body.first_chunk().map_or(u32::MAX, |code| u32::from_be_bytes(*code));
    match kind {
        b'R' => match code() {
            0 => Asked::Method("none"),
            3 => Asked::Method("password"),
            5 => Asked::Method("md5"),
            7 => Asked::Method("gss"),
            9 => Asked::Method("sspi"),
            10 if body[4..].split(|byte| *byte == 0).any(|name| name.starts_with(b"SCRAM-SHA-256")) => {
                Asked::Method("scram-sha-256")
            }
            10 if body[4..].starts_with(b"OAUTHBEARER\0") => Asked::Method("oauth"),
            code => Asked::Unknown(code),
        },
        b'E' => Asked::Refused,
        kind => Asked::Unknown(kind.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_libpq_reads_them() {
        let allows = |text: &str, method| {
            let required = RequiredAuth::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            required.check(Asked::Method(method)).is_ok()
        };
        for (text, method, expected) in [
            ("scram-sha-256", "scram-sha-256", true),
            ("scram-sha-256", "md5", false),
            ("scram-sha-256", "none", false),
            ("md5, scram-sha-256", "md5", true),
            ("!password", "md5", true),
            ("!password,!md5", "md5", false),
            ("!none", "none", false),
            ("none", "none", true),
            ("none", "password", false),
        ] {
            assert_eq!(allows(text, method), expected, "{text} {method}");
        }
        for (text, part) in [
            ("scram", "write a list of none, password"),
            ("md5,!password", "either the methods"),
            ("md5,md5", "name md5 once"),
            ("!md5,!md5", "name md5 once"),
            ("gss,sspi", "allow one of none, password, md5, scram-sha-256"),
        ] {
            let problem = RequiredAuth::parse(text).expect_err(text);
            assert!(problem.contains(part), "{text}: {problem}");
        }
        assert!(!RequiredAuth::parse("none").unwrap().takes_password());
        assert!(RequiredAuth::parse("!password").unwrap().takes_password());
    }

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(read(b'R', &[0, 0, 0, 3]), Asked::Method("password"));
        assert_eq!(
            read(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
            Asked::Method("scram-sha-256")
        );
        assert_eq!(read(b'R', b"\0\0\0\x0aOAUTHBEARER\0\0"), Asked::Method("oauth"));
        assert_eq!(read(b'R', &[]), Asked::Unknown(u32::MAX));
        assert_eq!(read(b'E', b"SFATAL\0"), Asked::Refused);
    }
}
