//! Finds the program of a command, and says in words why a command could not be started.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::environment::BaseEnvironment;
use super::invocation::Invocation;
use crate::model::shell;
use crate::platform;

/// A longer name (PATH_MAX of Linux) is no word of a shell: it comes from an input, and is not looked into.
const NAME_BYTES_MAX: usize = 4_096;

/// Why a command could not be started.
#[derive(Debug)]
pub struct SpawnFault {
    /// A sentence for people.
    pub message: String,
    /// No further attempt can succeed before somebody changes the command or the machine.
    pub fatal: bool,
    /// The machine lacks something just now: a moment later the same may succeed.
    pub passing: bool,
}

impl SpawnFault {
    /// One that `error` may be the passing cause of; `message` says what failed, and gets the remedy.
    pub fn passing(mut message: String, error: &io::Error) -> Self {
        if let Some(remedy) = platform::remedy_of_limit(error) {
            message.push_str("; ");
            message.push_str(&remedy);
        }
        Self { message, fatal: false, passing: platform::may_heal(error) }
    }

    pub(super) fn fatal(message: String) -> Self {
        Self { message, fatal: true, passing: false }
    }
}

/// Finds the program that `name` means, as a shell would: a bare name is looked for in `path`, a name with
/// a slash is taken as it stands, relative to the command's working directory.
///
/// A name with a slash is not looked at here: the spawn itself says whether it is there.
pub fn find<'a>(
    name: &'a str,
    path: &OsStr,
    working_directory: Option<&Path>,
) -> Result<Cow<'a, Path>, SpawnFault> {
    if name.contains('/') {
        return Ok(Cow::Borrowed(Path::new(name)));
    }
    let mut refused = None;
    if !name.is_empty() {
        for directory in std::env::split_paths(path) {
            // An empty entry means the current directory. The slash keeps it from being looked up again.
            let directory = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };
            let candidate = directory.join(name);
            let seen = seen_from(working_directory, &candidate);
            if fs::metadata(&seen).is_ok_and(|metadata| metadata.is_file()) {
                if platform::may_execute(&seen) {
                    return Ok(Cow::Owned(candidate));
                }
                refused.get_or_insert(candidate);
            }
        }
    }
    // A missing working directory hides every relative entry of PATH: then it is what needs mending.
    check_directory(working_directory)?;
    Err(SpawnFault::fatal(match refused {
        Some(file) => not_executable(&file, &seen_from(working_directory, &file)),
        None => format!(
            "no such program: {} is in none of the directories of PATH ({}); {}",
            shown(name),
            shown(&path.to_string_lossy()),
            meant_for_a_shell(name).unwrap_or_else(|| "install it, or give its full path".to_owned()),
        ),
    }))
}

/// Whether the file that is named so, with a slash, names an interpreter in its first line.
pub fn is_script(name: &str, working_directory: Option<&Path>) -> bool {
    let mut begin = [0; 2];
    name.contains('/')
        && File::open(seen_from(working_directory, Path::new(name)))
            .and_then(|mut file| file.read_exact(&mut begin))
            .is_ok_and(|()| begin == *b"#!")
}

/// What to do about a name that only a shell understands; validation has let it pass in an array, and older releases
/// anywhere.
fn meant_for_a_shell(name: &str) -> Option<String> {
    let why = if name.len() > NAME_BYTES_MAX {
        return None; // no shell's word: it comes from an input
    } else if shell::is_shell_word(name) {
        "it is a shell's own word"
    } else if let Some((variable, _)) = shell::is_assignment(name) {
        return Some(format!(
            "a shell would set {variable} with it: write it into the task's environment, or give the task \"shell\": true"
        ));
    } else if name.contains(char::is_whitespace) {
        let remedy = "all of it is taken for the program's name: write each argument as a text of its own";
        return Some(remedy.to_owned());
    } else if !shell::in_words(&format!("x {name}")).is_empty() {
        "only a shell understands it"
    } else {
        return None;
    };
    Some(format!("{why}: write the command as one text and give its task \"shell\": true"))
}

/// Whether a program that is named so, by itself or by its full path, is there and may be run.
pub fn is_found(name: &str, path: &OsStr) -> bool {
    if name.contains('/') { platform::may_execute(Path::new(name)) } else { find(name, path, None).is_ok() }
}

/// Says why the spawn of `program` failed with `error`.
pub fn explain(
    error: &io::Error,
    program: &Path,
    invocation: &Invocation<'_>,
    base: &BaseEnvironment,
) -> SpawnFault {
    let name = shown(invocation.program());
    if error.kind() == io::ErrorKind::InvalidInput
        && let Some(place) = place_of_nul(invocation)
    {
        return SpawnFault::fatal(format!("failed to start {name}: {place} contains a NUL character"));
    }
    if platform::may_heal(error) {
        return SpawnFault::passing(format!("failed to start {name}: {error}"), error);
    }
    if platform::is_argument_list_too_long(error) {
        return SpawnFault::fatal(too_long(&name, invocation, base));
    }
    if let Err(fault) = check_directory(invocation.working_directory.as_deref()) {
        return fault;
    }
    let directory = invocation.working_directory.as_deref();
    SpawnFault::fatal(explain_program(error, program, directory))
}

fn explain_program(error: &io::Error, program: &Path, directory: Option<&Path>) -> String {
    let name = shown(&program.to_string_lossy());
    let seen = &*seen_from(directory, program);
    match fs::metadata(seen) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            format!("no such program: {name} does not exist{}", place_of_relative(program, directory))
        }
        Err(e) => format!("failed to start {name}: {e}"),
        Ok(metadata) if metadata.is_dir() => format!("{name} is a directory, not a program"),
        Ok(_) if !platform::may_execute(seen) => not_executable(program, seen),
        Ok(_) => match interpreter(seen) {
            Some(interpreter) if !Path::new(&interpreter).exists() => format!(
                "failed to start {name}: its interpreter {} (first line of the file) does not exist",
                shown(&interpreter)
            ),
            None if platform::is_not_a_program(error) => format!(
                "{name} is no program for this machine; if it is a script, its first line must name its \
                 interpreter, such as #!/bin/sh"
            ),
            None if error.kind() == io::ErrorKind::NotFound => format!(
                "failed to start {name}: it exists, but the loader or library that it names does not; was it \
                 built for another system?"
            ),
            _ => format!("failed to start {name}: {error}"),
        },
    }
}

/// Where a relative path was looked for, which the path does not say.
fn place_of_relative(program: &Path, directory: Option<&Path>) -> String {
    if program.is_absolute() {
        return String::new();
    }
    match (directory, std::env::current_dir()) {
        (Some(directory), _) => {
            format!(" in the working directory {}", shown(&directory.to_string_lossy()))
        }
        (None, Ok(own)) => format!(
            " in the node's own directory {}; give the task a working_directory, or the program's full path",
            shown(&own.to_string_lossy())
        ),
        (None, Err(_)) => String::new(),
    }
}

fn not_executable(program: &Path, seen: &Path) -> String {
    let name = shown(&program.to_string_lossy());
    if platform::forbids_execution(seen) {
        return format!(
            "{name} is on a file system from which nothing may be executed (it is mounted noexec); move it to another, or \
             have its interpreter read it, such as: sh {}",
            program.display()
        );
    }
    format!("{name} is not executable for this user; try: chmod +x {}", program.display())
}

/// The interpreter that the first line of a script names.
fn interpreter(program: &Path) -> Option<String> {
    const LINE_BYTES_MAX: u64 = 256; // the kernel reads no more of it
    let mut line = Vec::new();
    let file = File::open(program).ok()?;
    BufReader::new(file.take(LINE_BYTES_MAX)).read_until(b'\n', &mut line).ok()?;
    let words = String::from_utf8_lossy(line.strip_prefix(b"#!")?).into_owned();
    // Only blanks separate: a carriage return belongs to the name, which is why such scripts fail.
    words.trim_end_matches('\n').trim_start_matches([' ', '\t']).split([' ', '\t']).next().map(str::to_owned)
}

/// An error that names the working directory if a command can't start in it.
fn check_directory(directory: Option<&Path>) -> Result<(), SpawnFault> {
    let Some(directory) = directory else { return Ok(()) };
    let name = shown(&directory.to_string_lossy());
    let message = match fs::metadata(directory) {
        Ok(metadata) if !metadata.is_dir() => format!("the working directory {name} is not a directory"),
        Ok(_) if !platform::may_execute(directory) => {
            format!("the working directory {name} can't be entered by this user (permission denied)")
        }
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let home = if directory.starts_with("~") { " (write ${env.HOME} for ~)" } else { "" };
            format!(
                "no such working directory: {name}; create it, or change the task's working_directory{home}"
            )
        }
        Err(e) => format!("the working directory {name} can't be entered: {e}"),
    };
    Err(SpawnFault::fatal(message))
}

fn too_long(name: &str, invocation: &Invocation<'_>, base: &BaseEnvironment) -> String {
    // Every string ends with a NUL, a variable has its `=` as well.
    let arguments: usize = invocation.argv.iter().map(|argument| argument.len() + 1).sum();
    let own: usize = invocation.environment.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
    let environment = own + base.variables().size_bytes();
    let longest = invocation.argv.iter().map(String::len).max().unwrap_or(0);
    format!(
        "failed to start {name}: the argument list is too long: {} arguments of {arguments} bytes, the longest \
         of {longest}, and an environment of {environment} bytes (Linux allows 131071 bytes in one argument or variable, \
         usually 2097152 in all); pass large values in a file",
        invocation.argv.len(),
    )
}

fn place_of_nul(invocation: &Invocation<'_>) -> Option<String> {
    if let Some(index) = invocation.argv.iter().position(|argument| argument.contains('\0')) {
        return Some(if index == 0 { "its name".to_owned() } else { format!("argument {index}") });
    }
    let mut variables = invocation.environment.iter();
    if let Some((name, _)) = variables.find(|(name, value)| name.contains('\0') || value.contains('\0')) {
        return Some(format!("the environment variable {}", shown(name)));
    }
    let directory = invocation.working_directory.as_ref()?;
    directory.to_string_lossy().contains('\0').then(|| "the working directory".to_owned())
}

/// A path as we have to write it to see what the command would see from its working directory.
fn seen_from<'a>(working_directory: Option<&Path>, path: &'a Path) -> Cow<'a, Path> {
    match working_directory {
        Some(directory) if path.is_relative() => Cow::Owned(directory.join(path)),
        _ => Cow::Borrowed(path),
    }
}

/// A name in a message: quoted, without control characters, of bearable length.
pub fn shown(name: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 300;
    let mut shown = String::from("`");
    for character in name.chars().take(SHOWN_CHARS_MAX) {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if name.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown.push('`');
    shown
}
