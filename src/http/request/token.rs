//! The token that calls need which change something, kept in a file.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::wire::Head;
use crate::http::answer::Problem;
use crate::platform::files::is_secret_exposed;

/// A shorter token could be guessed; 16 random letters and digits can't.
pub const TOKEN_CHARS_MIN: usize = 16;
/// What is longer is no token but another file.
const TOKEN_BYTES_MAX: u64 = 4096;

/// The file, and what it held when it was last looked at.
pub struct TokenFile {
    path: PathBuf,
    read: Mutex<Token>,
}

#[derive(Clone, PartialEq, Eq)]
struct Token {
    stamp: Stamp,
    hash: [u8; 32],
}

/// Changes when the file does.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

/// Why a token file can't be used. Displayed, it completes the phrase "failed to …".
#[derive(Debug)]
pub struct TokenError {
    path: PathBuf,
    problem: String,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "use the token file {:?}: {}", self.path, self.problem)
    }
}

impl std::error::Error for TokenError {}

impl TokenFile {
    /// Reads the file, and warns when others than its owner may.
    ///
    /// # Errors
    /// When it can't be read or holds no token of at least [`TOKEN_CHARS_MIN`] characters.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let failed = |problem| TokenError { path: path.to_owned(), problem };
        let read = read(path).map_err(failed)?;
        if fs::metadata(path).is_ok_and(|it| is_secret_exposed(&it)) {
            log::warn!(
                "the token file {path:?} is open to others than its owner; run: chmod 600 {}",
                path.display()
            );
        }
        Ok(Self { path: path.to_owned(), read: Mutex::new(read) })
    }

    /// Lets a request pass that bears the token; a file that has changed is read again first.
    pub(in crate::http) fn check(&self, head: &Head) -> Result<(), Problem> {
        let expected = self.current().map_err(|problem| {
            log::error!("http: failed to use the token file {:?}: {problem}", self.path);
            Problem::new(
                503,
                "token_unavailable",
                "the token file can't be used at present; the log says why",
            )
        })?;
        let Some(given) = head.header("authorization") else {
            return Err(unauthorized("this call needs the header Authorization: Bearer TOKEN"));
        };
        let token = given.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else {
            return Err(unauthorized("Authorization is not of the form: Bearer TOKEN"));
        };
        // The hashes are compared whole: how long that takes says nothing of where they differ.
        let given = hash(token.trim().as_bytes());
        let difference = given.iter().zip(&expected).fold(0, |sum, (a, b)| sum | (a ^ b));
        if std::hint::black_box(difference) == 0 {
            Ok(())
        } else {
            Err(unauthorized("this is not the token that the token file holds"))
        }
    }

    fn current(&self) -> Result<[u8; 32], String> {
        let stamp = stamp(&self.path).map_err(|cause| cause.to_string())?;
        // Set in one assignment: never half done.
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if known.stamp != stamp {
            *known = read(&self.path)?;
            log::info!("http: the token file {:?} was read again", self.path);
        }
        Ok(known.hash)
    }
}

fn unauthorized(message: &str) -> Problem {
    Problem::new(401, "unauthorized", message).with_header("WWW-Authenticate", "Bearer")
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    Ok(Stamp { modified: metadata.modified().ok(), length: metadata.len() })
}

fn read(path: &Path) -> Result<Token, String> {
    // The stamp first: what is written in between is seen as a change at the next look.
    let stamp = stamp(path).map_err(|cause| cause.to_string())?;
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|cause| cause.to_string())?;
    let token = text.trim();
    let remedy =
        format!("write one line of at least {TOKEN_CHARS_MIN} letters, digits or signs without spaces");
    if text.len() as u64 > TOKEN_BYTES_MAX {
        return Err(format!("it holds more than {TOKEN_BYTES_MAX} bytes; {remedy}"));
    }
    if !token.bytes().all(|it| it.is_ascii_graphic()) {
        return Err(format!("it holds a space or a character that is not plain ASCII; {remedy}"));
    }
    if token.len() < TOKEN_CHARS_MIN {
        return Err(format!("its token has {} characters; {remedy}", token.len()));
    }
    Ok(Token { stamp, hash: hash(token.as_bytes()) })
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the test's own, gone when the test has passed.
    struct Kept(PathBuf);

    impl Kept {
        fn new(test: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("token-{}-{test}", std::process::id()));
            fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            fs::remove_file(&self.0).unwrap();
        }
    }

    fn ask(file: &TokenFile, authorization: &str) -> Result<(), (u16, &'static str)> {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{authorization}\r\n");
        let (head, _) = super::super::wire::parse_head(text.as_bytes()).unwrap().unwrap();
        file.check(&head).map_err(|problem| (problem.status, problem.code))
    }

    #[test]
    fn only_the_token_passes() {
        let kept = Kept::new("passes", "0123456789abcdef\n");
        let file = TokenFile::open(&kept.0).unwrap();
        for good in ["Bearer 0123456789abcdef", "bearer 0123456789abcdef", "BEARER   0123456789abcdef "] {
            assert_eq!(ask(&file, &format!("Authorization: {good}\r\n")), Ok(()), "{good}");
        }
        assert_eq!(ask(&file, ""), Err((401, "unauthorized")));
        for bad in [
            "0123456789abcdef",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdeX",
            "Bearer 0123456789abcdef0",
            "Basic 0123456789abcdef",
            "Bearer 0123456789ABCDEF",
        ] {
            assert_eq!(ask(&file, &format!("Authorization: {bad}\r\n")), Err((401, "unauthorized")), "{bad}");
        }
    }

    #[test]
    fn a_changed_file_counts_at_once_and_a_broken_one_lets_nobody_pass() {
        let kept = Kept::new("changes", "0123456789abcdef");
        let file = TokenFile::open(&kept.0).unwrap();
        fs::write(&kept.0, "fedcba9876543210-new").unwrap();
        assert_eq!(ask(&file, "Authorization: Bearer 0123456789abcdef\r\n"), Err((401, "unauthorized")));
        assert_eq!(ask(&file, "Authorization: Bearer fedcba9876543210-new\r\n"), Ok(()));
        fs::write(&kept.0, "short").unwrap();
        assert_eq!(ask(&file, "Authorization: Bearer short\r\n"), Err((503, "token_unavailable")));
        assert_eq!(
            ask(&file, "Authorization: Bearer fedcba9876543210-new\r\n"),
            Err((503, "token_unavailable"))
        );
    }

    #[test]
    fn files_without_a_good_token_are_told_with_the_remedy() {
        for (text, part) in [
            ("", "has 0 characters"),
            ("0123456789abcde\n", "has 15 characters"),
            ("0123456789abcdef 0123456789abcdef", "a space"),
            ("0123456789abcdefé", "not plain ASCII"),
            (&"x".repeat(5000), "more than 4096 bytes"),
        ] {
            let kept = Kept::new("bad", text);
            let error = TokenFile::open(&kept.0).err().map(|it| it.to_string()).unwrap_or_default();
            assert!(error.contains(part) && error.contains("at least 16"), "{text:?}: {error}");
        }
        let error = TokenFile::open(Path::new("/nowhere/token")).err().unwrap().to_string();
        assert!(error.starts_with("use the token file \"/nowhere/token\": "), "{error}");
    }
}
