//! What a failed attempt to connect means.

use std::error::Error;
use std::io;

use postgres::error::{DbError, SqlState};

use super::error::ConnectFailure;
use super::login::PasswordSource;
use super::tls::{self, SslMode, Way};

/// Whom a failed attempt was for.
pub(super) struct Attempt<'a> {
    pub way: Way,
    pub ssl_mode: SslMode,
    pub user: &'a str,
    pub database: &'a str,
    pub password: &'a PasswordSource,
}

/// Finds out what a failed attempt means. The library's own message hides the cause, which is in the
/// chain of sources.
pub(super) fn diagnose(error: &postgres::Error, attempt: &Attempt<'_>) -> ConnectFailure {
    if let Some(refusal) = error.as_db_error() {
        return diagnose_refusal(refusal, attempt);
    }
    if let Some(failure) = tls::tls_failure(error) {
        return failure;
    }
    if let Some(cause) = io_cause(error) {
        return diagnose_io(cause);
    }
    let message = chain(error);
    if tls::server_has_none(&message) {
        return ConnectFailure::Tls {
            cause: format!(
                "the server does not speak TLS, which sslmode={} asks for",
                attempt.ssl_mode.name()
            ),
            remedy: "set it up on the server (ssl=on), or use sslmode=prefer".into(),
        };
    }
    if message.contains("channel binding") {
        return ConnectFailure::Tls {
            cause: "the server did not use channel binding, which channel_binding=require asks for".into(),
            remedy: "it needs TLS, a password that is kept as scram-sha-256, and a certificate that is signed with RSA \
                     (not RSA-PSS) or ECDSA, not Ed25519; or use sslmode=verify-full without it"
                .into(),
        };
    }
    // Said for a server that asks for a password when there is none; it has no code.
    if message.contains("password missing") || message.starts_with("authentication error") {
        return refused(attempt, true, message);
    }
    match error.is_closed() {
        true => ConnectFailure::Unreachable { cause: "the server closed the connection".into() },
        false => ConnectFailure::Other { message },
    }
}

/// Finds out what it means that the first question on a new connection was not answered.
pub(super) fn diagnose_silence(error: &postgres::Error) -> ConnectFailure {
    match (error.as_db_error(), io_cause(error)) {
        (Some(ended), _) if is_ending(ended.code()) => {
            ConnectFailure::StartingUp { message: ended.message().to_owned() }
        }
        (None, Some(cause)) => diagnose_io(cause),
        (None, None) if error.is_closed() => {
            ConnectFailure::Unreachable { cause: "the server closed the connection".into() }
        }
        _ => ConnectFailure::Other { message: chain(error) },
    }
}

/// Whether the server comes up, goes down, or has ended this one session, which looks the same from here.
fn is_ending(code: &SqlState) -> bool {
    [SqlState::CANNOT_CONNECT_NOW, SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code)
}

/// The server's words are in its own language; what they are about is in the code and in the name of its function.
fn diagnose_refusal(refusal: &DbError, attempt: &Attempt<'_>) -> ConnectFailure {
    /// Where the server looks for a line of pg_hba.conf.
    const LOOKS_FOR_A_LINE: &str = "ClientAuthentication";
    let message = refusal.message().to_string();
    match refusal.code() {
        code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            && attempt.way == Way::Plain
            && refusal.routine() == Some(LOOKS_FOR_A_LINE) =>
        {
            ConnectFailure::Tls {
                cause: format!(
                    "the server lets nobody in without TLS, or not this user from here ({message})"
                ),
                remedy: "use sslmode=prefer or a stronger one, or add a line to the server's pg_hba.conf"
                    .into(),
            }
        }
        code if *code == SqlState::INVALID_PASSWORD
            || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
        {
            refused(attempt, *code == SqlState::INVALID_PASSWORD, message)
        }
        code if *code == SqlState::INVALID_CATALOG_NAME => {
            ConnectFailure::NoSuchDatabase { database: attempt.database.to_string() }
        }
        code if *code == SqlState::TOO_MANY_CONNECTIONS => ConnectFailure::TooManyConnections { message },
        code if is_ending(code) => ConnectFailure::StartingUp { message },
        // In a pooler's words: it is there, and the server behind it is not.
        code if code.code().starts_with("08") => ConnectFailure::Unreachable { cause: message },
        code => ConnectFailure::Other { message: format!("{message} (SQLSTATE {})", code.code()) },
    }
}

fn refused(attempt: &Attempt<'_>, is_for_password: bool, message: String) -> ConnectFailure {
    ConnectFailure::AuthenticationFailed {
        user: attempt.user.into(),
        password: attempt.password.clone(),
        is_for_password,
        message,
    }
}

fn diagnose_io(cause: &io::Error) -> ConnectFailure {
    let text = cause.to_string();
    // The library checks target_session_attrs itself and says so in these words.
    if cause.kind() == io::ErrorKind::PermissionDenied && text.contains("does not allow writes") {
        return ConnectFailure::ReadOnly { standby: false };
    }
    // A resolver's failure has no kind of its own; these are the words of std and of the library.
    if text.starts_with("failed to lookup address") || text.contains("could not resolve any addresses") {
        return ConnectFailure::UnknownHost { cause: text };
    }
    let cause = match cause.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_string(),
        io::ErrorKind::NotFound => "no such socket".to_string(),
        io::ErrorKind::TimedOut => "no answer in time".to_string(),
        io::ErrorKind::UnexpectedEof => "the server closed the connection".to_string(),
        _ => text,
    };
    ConnectFailure::Unreachable { cause }
}

fn io_cause(error: &postgres::Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io);
        }
        source = cause.source();
    }
    None
}

/// An error with all its causes, which `Display` of [`postgres::Error`] leaves out.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
