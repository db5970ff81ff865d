//! Words that mean something at the beginning of a shell's command, and that no program is named.

/// Builtins that can't be programs, as they change the shell itself, and keywords. Not here are `test`, `[`, `echo`,
/// `printf`, `pwd`, `kill`, `true` and `false`, which are programs as well.
const WORDS: &[&str] = &[
    "!",
    ".",
    ":",
    "[[",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "command",
    "compgen",
    "complete",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "history",
    "if",
    "jobs",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "pushd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "setopt",
    "shift",
    "shopt",
    "source",
    "suspend",
    "then",
    "time",
    "times",
    "trap",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
    "{",
    "}",
];

/// Whether a shell takes `word`, as the first of a command, for its own.
pub fn is_shell_word(word: &str) -> bool {
    WORDS.binary_search(&word).is_ok()
}

/// The name and the rest of `NAME=VALUE`, which a shell takes for an assignment.
pub fn is_assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let name = name.strip_suffix('+').unwrap_or(name);
    is_variable_name(name).then_some((name, value))
}

/// Whether it can be the name of a shell's variable.
fn is_variable_name(name: &str) -> bool {
    name.starts_with(is_name_start) && name.chars().all(|c| is_name_start(c) || c.is_ascii_digit())
}

pub(super) fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_shell_are_told_from_programs() {
        assert!(WORDS.is_sorted(), "they are looked up by halves");
        for word in ["cd", "export", "source", ".", "set", "ulimit", "if", "{", "time", "[["] {
            assert!(is_shell_word(word), "{word}");
        }
        for word in ["test", "[", "echo", "env", "true", "sh", "cdrecord", "/bin/cd", ""] {
            assert!(!is_shell_word(word), "{word}");
        }
        assert_eq!(is_assignment("A=1=2"), Some(("A", "1=2")));
        assert_eq!(is_assignment("PATH+=:/x"), Some(("PATH", ":/x")));
        for word in ["--a=1", "1=2", "=", "a b=1", "./a=1", "a"] {
            assert_eq!(is_assignment(word), None, "{word}");
        }
    }
}
