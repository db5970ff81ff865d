//! The token that calls need which change something, kept in a file.
//!
//! The file is read for every call: a token that was exchanged counts at once, however alike the files are. It is read by a
//! thread of its own, for which nobody waits long: a path may lead to a file system that does not answer.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use sha2::{Digest, Sha256};

use super::wire::Head;
use crate::http::answer::Problem;
use crate::platform::files::{open_regular, secret_exposed_to};

/// A shorter token could be guessed; 16 random letters and digits can't.
pub const TOKEN_CHARS_MIN: usize = 16;
/// What is longer is no token but another file.
const TOKEN_BYTES_MAX: u64 = 4096;
/// A look at the file takes some microseconds; where it takes longer than this, it fails.
const LOOK_MS_MAX: u64 = 1_000;
/// Calls whose looks wait for others; more are refused.
const LOOKS_MAX: usize = 64;
/// What is wrong with the file is logged once in this long.
const LOG_EVERY_MS: u64 = 10_000;

/// The file, and the thread that looks at it. The thread ends with this, or when the file system lets it go.
pub struct TokenFile {
    path: PathBuf,
    looks: Sender<Look>,
    /// What others than the owner might do with the file when it was opened, which was told then.
    open_then: u32,
    last: Mutex<[u8; 32]>,
    logged: Mutex<Option<Instant>>,
}

type Look = Sender<Result<Token, String>>;

/// What the file held at a look.
struct Token {
    hash: [u8; 32],
    /// What others than its owner may do with it.
    others: u32,
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
        let (looks, asked) = bounded(LOOKS_MAX);
        start_looking(path.to_owned(), asked).map_err(|cause| failed(cause.to_string()))?;
        let Token { hash, others } = look(&looks).map_err(failed)?;
        if others != 0 {
            log::warn!(
                "the token file {path:?} is open to others than its owner; run: chmod 600 {}",
                path.display()
            );
        }
        let (last, logged) = (Mutex::new(hash), Mutex::new(None));
        Ok(Self { path: path.to_owned(), looks, open_then: others, last, logged })
    }

    /// Lets a request pass that bears the token which the file holds now.
    pub(in crate::http) fn check(&self, head: &Head) -> Result<(), Problem> {
        let Some(given) = head.header("authorization") else {
            return Err(unauthorized("this call needs the header Authorization: Bearer TOKEN"));
        };
        let token = given.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else {
            return Err(unauthorized("Authorization is not of the form: Bearer TOKEN"));
        };
        let expected = self.current().map_err(|problem| {
            self.log(&problem);
            Problem::new(
                503,
                "token_unavailable",
                "the token file can't be used at present; the log says why",
            )
        })?;
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
        let Token { hash, others } = look(&self.looks)?;
        if others & !self.open_then != 0 {
            return Err(format!(
                "it is open to others than its owner by now, who may know the token; run: chmod 600 {}, and write another \
                 token into it",
                self.path.display()
            ));
        }
        let last = std::mem::replace(&mut *lock(&self.last), hash);
        if last != hash {
            log::info!("http: the token file {:?} holds another token", self.path);
        }
        Ok(hash)
    }

    /// A client that asks again and again must not fill the log.
    fn log(&self, problem: &str) {
        let mut logged = lock(&self.logged);
        if logged.is_none_or(|it| it.elapsed() >= Duration::from_millis(LOG_EVERY_MS)) {
            *logged = Some(Instant::now());
            log::error!("http: failed to use the token file {:?}: {problem}", self.path);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Set in one assignment: never half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nobody joins this thread: it may hang in a file system for ever.
fn start_looking(path: PathBuf, asked: Receiver<Look>) -> std::io::Result<()> {
    let looking = move || {
        for answer in asked {
            // Whoever asked may have given up.
            let _ = answer.try_send(read(&path));
        }
    };
    thread::Builder::new().name("http-token".into()).spawn(looking).map(drop)
}

fn look(looks: &Sender<Look>) -> Result<Token, String> {
    let too_slow = || format!("its file system does not answer within {LOOK_MS_MAX} ms");
    let (answer, answered) = bounded(1);
    match looks.try_send(answer) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => return Err(too_slow()),
        Err(TrySendError::Disconnected(_)) => return Err("the thread that reads it has ended".to_owned()),
    }
    answered.recv_timeout(Duration::from_millis(LOOK_MS_MAX)).map_err(|_| too_slow())?
}

fn unauthorized(message: &str) -> Problem {
    Problem::new(401, "unauthorized", message).with_header("WWW-Authenticate", "Bearer")
}

fn read(path: &Path) -> Result<Token, String> {
    let mut text = String::new();
    let file = open_regular(path).map_err(|cause| cause.to_string())?;
    let metadata = file.metadata().map_err(|cause| cause.to_string())?;
    file.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text).map_err(|cause| cause.to_string())?;
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
    Ok(Token { hash: hash(token.as_bytes()), others: secret_exposed_to(&metadata) })
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A file of the test's own, gone when the test has passed.
    struct Kept(PathBuf);

    impl Kept {
        fn new(test: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("token-{}-{test}", std::process::id()));
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
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

    /// Of the same length and time, in the same file or in another one under its name.
    #[test]
    fn a_token_that_looks_like_the_one_before_takes_its_place() {
        let kept = Kept::new("alike", "0123456789abcdef");
        let file = TokenFile::open(&kept.0).unwrap();
        let modified = fs::metadata(&kept.0).unwrap().modified().unwrap();
        let new = kept.0.with_extension("new");
        for (number, is_renamed) in [(1, false), (2, true), (3, false)] {
            let token = format!("0123456789abcde{number}");
            let place = if is_renamed { &new } else { &kept.0 };
            fs::write(place, &token).unwrap();
            let written = File::options().write(true).open(place).unwrap();
            written.set_modified(modified).unwrap();
            written.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
            if is_renamed {
                fs::rename(&new, &kept.0).unwrap();
            }
            assert_eq!(ask(&file, &format!("Authorization: Bearer {token}\r\n")), Ok(()));
            let before = format!("Authorization: Bearer 0123456789abcde{}\r\n", number - 1);
            assert_eq!(ask(&file, &before), Err((401, "unauthorized")));
        }
    }

    #[test]
    fn a_file_that_others_may_read_by_now_lets_nobody_pass() {
        let kept = Kept::new("opened", "0123456789abcdef");
        let file = TokenFile::open(&kept.0).unwrap();
        let good = "Authorization: Bearer 0123456789abcdef\r\n";
        let ask_with = |mode| {
            fs::set_permissions(&kept.0, fs::Permissions::from_mode(mode)).unwrap();
            ask(&file, good)
        };
        for mode in [0o644, 0o640, 0o602] {
            assert_eq!(ask_with(mode), Err((503, "token_unavailable")), "{mode:o}");
        }
        assert_eq!((ask_with(0o600), ask_with(0o400)), (Ok(()), Ok(())));
        // Who has started the node with such a file has been told.
        fs::set_permissions(&kept.0, fs::Permissions::from_mode(0o640)).unwrap();
        let file = TokenFile::open(&kept.0).unwrap();
        assert_eq!(ask(&file, good), Ok(()));
        fs::set_permissions(&kept.0, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(ask(&file, good), Err((503, "token_unavailable")));
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting_for_it() {
        let kept = Kept::new("pipe", "0123456789abcdef");
        let file = TokenFile::open(&kept.0).unwrap();
        fs::remove_file(&kept.0).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&kept.0).status().unwrap();
        assert!(made.success());
        let began = Instant::now();
        let good = "Authorization: Bearer 0123456789abcdef\r\n";
        assert_eq!(ask(&file, good), Err((503, "token_unavailable")));
        let error = TokenFile::open(&kept.0).err().map(|it| it.to_string()).unwrap_or_default();
        assert!(error.contains("not a regular file"), "{error}");
        assert!(began.elapsed() < Duration::from_millis(LOOK_MS_MAX), "it was waited for");
        let error =
            TokenFile::open(Path::new("/dev/zero")).err().map(|it| it.to_string()).unwrap_or_default();
        assert!(error.contains("not a regular file"), "{error}");
    }

    /// A file system that does not answer: nobody waits for it for long, and there is one thread in it.
    #[test]
    fn a_look_that_hangs_is_given_up() {
        let (looks, asked) = bounded::<Look>(2);
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let error = look(&looks).err().unwrap();
                    assert!(error.contains("does not answer"), "{error}");
                });
            }
        });
        assert!(began.elapsed() < Duration::from_millis(2 * LOOK_MS_MAX));
        assert_eq!(asked.len(), 2);
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
