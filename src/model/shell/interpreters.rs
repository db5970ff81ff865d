//! Which words of a command another program reads as code.
//!
//! A variable in such a word is read as code with it, whatever its value: `bash -c "rm ${config.file}"` runs what the
//! input says. Known are shells, the common languages, awk, and what hands its arguments to a shell (ssh, su, watch).
//! Not known are SQL and what sed makes of its script.

/// A program that takes code among its arguments.
struct Interpreter {
    names: &'static [&'static str],
    /// Options whose next word is code, or what follows `=`.
    options: &'static [&'static str],
    /// Letters that do the same in a cluster such as `-lc`, or have the code directly behind them.
    letters: &'static str,
    /// Options that take the next word, whatever it is.
    valued: &'static [&'static str],
    /// Letters that end a cluster, as their value follows: the next word if nothing does.
    valued_letters: &'static str,
    /// Options behind which there is no code: the rest is the program's own.
    stops: &'static [&'static str],
    /// Words without a dash that may come before an option with code.
    before: usize,
    plain: Plain,
}

/// What the first word is that is no option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plain {
    /// A file; what follows is for the program in it.
    File,
    /// Code.
    Code,
    /// Code, as are all words behind it, which are put together.
    AllCode,
    /// As before, but for the first.
    AllCodeButFirst,
}

const USUAL: Interpreter = Interpreter {
    names: &[],
    options: &[],
    letters: "",
    valued: &[],
    valued_letters: "",
    stops: &[],
    before: 0,
    plain: Plain::File,
};

/// Shells in which `${NAME}` is the value of an environment variable.
const POSIX_SHELLS: &[&str] =
    &["sh", "bash", "dash", "ash", "ksh", "mksh", "pdksh", "zsh", "yash", "rbash", "posh"];
const OTHER_SHELLS: &[&str] = &["fish", "csh", "tcsh", "elvish", "nu", "xonsh"];

const SHELL: Interpreter = Interpreter {
    letters: "c",
    valued: &["+o", "+O", "--rcfile", "--init-file"],
    valued_letters: "oO",
    ..USUAL
};

const INTERPRETERS: &[Interpreter] = &[
    Interpreter { names: POSIX_SHELLS, ..SHELL },
    Interpreter { names: OTHER_SHELLS, options: &["--command", "--commands"], ..SHELL },
    Interpreter {
        names: &["python", "pypy", "ipython"],
        letters: "c",
        valued_letters: "WXQ",
        stops: &["-m"],
        ..USUAL
    },
    Interpreter { names: &["perl"], letters: "eE", valued_letters: "MmIiFCDVx", ..USUAL },
    Interpreter { names: &["ruby", "jruby"], letters: "e", valued_letters: "rIECFixWKT", ..USUAL },
    Interpreter {
        names: &["node", "nodejs", "bun", "tsx", "deno"],
        options: &["-e", "--eval", "-p", "--print", "-pe", "eval"],
        valued: &["-r", "--require", "--import", "--loader", "-C", "--conditions", "--input-type"],
        ..USUAL
    },
    Interpreter {
        names: &["php"],
        options: &["-r", "--run", "-B", "--process-begin", "-R", "--process-code", "-E", "--process-end"],
        valued: &["-d", "--define", "-c", "--php-ini", "-z", "-t", "-S"],
        ..USUAL
    },
    Interpreter { names: &["lua", "luajit"], letters: "e", valued_letters: "l", ..USUAL },
    Interpreter {
        names: &[
            "R",
            "Rscript",
            "littler",
            "julia",
            "groovy",
            "elixir",
            "octave",
            "osascript",
            "scala",
            "ghc",
            "guile",
        ],
        options: &["-e", "-E", "--eval", "--print", "-c"],
        valued: &["-g", "--gui", "-L", "--load", "-p", "-J", "-t", "-l", "-classpath", "-cp"],
        stops: &["--args"],
        ..USUAL
    },
    Interpreter { names: &["pwsh", "powershell"], options: &["-c", "-Command", "-command"], ..USUAL },
    Interpreter { names: &["expect"], letters: "c", ..USUAL },
    Interpreter {
        names: &["awk", "gawk", "mawk", "nawk"],
        options: &["-e", "--source"],
        valued: &["--assign", "--field-separator", "--include", "--load"],
        valued_letters: "Fvil",
        stops: &["-f", "--file"],
        plain: Plain::Code,
        ..USUAL
    },
    // What they are given they hand to a shell.
    Interpreter {
        names: &["ssh", "mosh"],
        valued_letters: "BbcDEeFIiJLlmOopPQRSWw",
        plain: Plain::AllCodeButFirst,
        ..USUAL
    },
    Interpreter {
        names: &["watch"],
        valued: &["--interval"],
        valued_letters: "n",
        plain: Plain::AllCode,
        ..USUAL
    },
    Interpreter {
        names: &["su", "runuser", "flock", "script", "sg"],
        options: &["-c", "--command", "--session-command"],
        letters: "c",
        valued: &["--user", "--group", "--supp-group", "--shell", "--timeout", "--wait"],
        valued_letters: "ugGswE",
        before: 1,
        ..USUAL
    },
];

/// Only in scripts: what they are given is read once more.
const BUILTINS: &[Interpreter] = &[
    Interpreter { names: &["eval"], plain: Plain::AllCode, ..USUAL },
    Interpreter { names: &["trap"], plain: Plain::Code, ..USUAL },
];

/// These are taken for programs wherever they stand; others only at the beginning and behind what runs another program.
const ANYWHERE: &[&str] = &["python", "perl", "ruby"];

/// Programs that run another one, which they are given. Behind them awk is a program; in `grep awk FILE` it is none.
const WRAPPERS: &[&str] = &[
    "env",
    "sudo",
    "doas",
    "nice",
    "ionice",
    "timeout",
    "nohup",
    "setsid",
    "stdbuf",
    "time",
    "xargs",
    "chrt",
    "taskset",
    "find",
    "docker",
    "podman",
    "kubectl",
    "chroot",
    "unshare",
    "nsenter",
    "systemd-run",
    "srun",
    "exec",
    "command",
    "strace",
    "busybox",
    "flock",
    "runuser",
    "setpriv",
    "gosu",
    "su-exec",
    "fakeroot",
    "xvfb-run",
    "numactl",
    "bwrap",
    "singularity",
    "apptainer",
    "tini",
    "dumb-init",
    "caffeinate",
];

/// Programs whose children do not have the environment of the command.
const OTHER_ENVIRONMENT: &[&str] = &[
    "sudo",
    "doas",
    "su",
    "runuser",
    "ssh",
    "mosh",
    "docker",
    "podman",
    "kubectl",
    "systemd-run",
    "batch",
    "at",
];

/// A word that is read as code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code<'w> {
    /// Which word.
    pub index: usize,
    /// The program that reads it, by its base name.
    pub program: &'w str,
    /// It reads `${NAME}` as the value of an environment variable, and has the command's environment.
    pub reads_environment: bool,
}

/// The words of a command that are read as code; in a script builtins such as `eval` read code too.
pub fn code_words<'w, W: AsRef<str>>(words: &'w [W], is_in_script: bool) -> Vec<Code<'w>> {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let mut found = Vec::new();
    let builtin = words.first().and_then(|first| named(BUILTINS, first)).filter(|_| is_in_script);
    if let Some(builtin) = builtin {
        found.extend(builtin.code(&words[1..]).into_iter().map(|at| (0, at + 1)));
    }
    let has_wrapper = words.first().is_some_and(|first| runs_another(first));
    for (at, word) in words.iter().enumerate() {
        let Some(interpreter) = named(INTERPRETERS, word) else { continue };
        let is_anywhere = is_posix_shell(word) || ANYWHERE.contains(&base_name(word));
        if at == 0 || has_wrapper || is_anywhere {
            found.extend(interpreter.code(&words[at + 1..]).into_iter().map(|code| (at, at + 1 + code)));
        }
    }
    let loses = loses_environment(&words);
    found
        .into_iter()
        .map(|(at, index)| {
            let program = base_name(words[at]);
            let reads = builtin.is_some()
                || is_posix_shell(program)
                || ["watch", "flock", "script"].contains(&program);
            Code { index, program, reads_environment: reads && !loses }
        })
        .collect()
}

/// Whether a program runs another one, which it is given.
pub(super) fn runs_another(program: &str) -> bool {
    WRAPPERS.contains(&base_name(program))
}

/// Whether what such a command runs does not have the command's environment.
pub fn loses_environment<W: AsRef<str>>(words: &[W]) -> bool {
    let is = |word: &W, names: &[&str]| names.contains(&base_name(word.as_ref()));
    let keeps = |word: &W| {
        let word = word.as_ref();
        word == "-E" || word.starts_with("--preserve-env")
    };
    let cleans = |word: &W| ["-i", "-", "--ignore-environment"].contains(&word.as_ref());
    let other = words.iter().any(|word| is(word, OTHER_ENVIRONMENT));
    let cleaned = words.iter().position(|word| is(word, &["env"]));
    (other && !words.iter().any(keeps)) || cleaned.is_some_and(|env| words[env..].iter().any(cleans))
}

/// Whether it is a shell in whose scripts `${NAME}` is the value of an environment variable.
pub fn is_posix_shell(program: &str) -> bool {
    POSIX_SHELLS.contains(&base_name(program))
}

/// What such a program takes code behind, such as `-c`; nothing if it is not known.
pub fn option_for_code(program: &str) -> Option<String> {
    let known = named(INTERPRETERS, program)?;
    let letter = known.letters.chars().next().map(|letter| format!("-{letter}"));
    letter.or_else(|| known.options.first().map(|it| (*it).to_owned()))
}

/// The name of a program without its directory and version: `python` of `/usr/bin/python3.11`.
pub fn base_name(program: &str) -> &str {
    let name = program.rsplit('/').next().unwrap_or(program);
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').trim_end_matches('-')
}

fn named<'t>(table: &'t [Interpreter], word: &str) -> Option<&'t Interpreter> {
    let name = base_name(word);
    table.iter().find(|it| it.names.contains(&name))
}

impl Interpreter {
    /// Which of the words behind its name are code.
    fn code(&self, words: &[&str]) -> Vec<usize> {
        let mut code = Vec::new();
        // `-c` of a shell has been seen: the first word that is no option is the script.
        let mut is_announced = false;
        let mut plain = 0;
        let mut at = 0;
        while let Some(&word) = words.get(at) {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            let is_option = word.starts_with('-') && word.len() > 1 || self.valued.contains(&word);
            if self.stops.iter().any(|stop| name == *stop || stop.len() == 2 && name.starts_with(stop)) {
                break;
            } else if self.options.contains(&name) {
                at += usize::from(value.is_none());
                code.push(at);
            } else if self.valued.contains(&name) {
                at += usize::from(value.is_none());
            } else if word == "--" {
                at += 1;
                if at < words.len() && (is_announced || self.plain != Plain::File) {
                    code.extend(self.of_plain(at, words.len()));
                }
                break;
            } else if is_option && !word.starts_with("--") {
                match self.cluster(&word[1..]) {
                    // Shells read on: `-c -e SCRIPT`.
                    Cluster::Code if self.is_shell() => {
                        is_announced = true;
                        at += usize::from(word.ends_with(|c| self.valued_letters.contains(c)));
                    }
                    Cluster::Code => {
                        at += 1;
                        code.push(at);
                    }
                    Cluster::HasCode => code.push(at),
                    Cluster::TakesNext => at += 1,
                    Cluster::Plain => {}
                }
            } else if word == "-" && self.before > 0 {
                // `su -`: a login.
            } else if !(is_option || self.is_shell() && word.starts_with('+')) {
                if is_announced
                    || self.plain == Plain::Code && code.is_empty()
                    || self.plain == Plain::AllCode
                {
                    code.extend(self.of_plain(at, words.len()));
                    break;
                }
                plain += 1;
                if self.plain == Plain::AllCodeButFirst {
                    if plain > 1 {
                        code.extend(at..words.len());
                        break;
                    }
                } else if plain > self.before {
                    break;
                }
            }
            at += 1;
        }
        code.retain(|it| *it < words.len());
        code
    }

    fn is_shell(&self) -> bool {
        self.valued_letters == SHELL.valued_letters && self.letters == SHELL.letters
    }

    fn of_plain(&self, at: usize, end: usize) -> std::ops::Range<usize> {
        match self.plain {
            Plain::AllCode => at..end,
            Plain::AllCodeButFirst => at + 1..end,
            Plain::Code | Plain::File => at..at + 1,
        }
    }

    fn cluster(&self, letters: &str) -> Cluster {
        let mut is_announced = false;
        for (at, letter) in letters.char_indices() {
            let is_last = at + letter.len_utf8() == letters.len();
            if self.letters.contains(letter) {
                if self.is_shell() {
                    is_announced = true;
                    continue;
                }
                return if is_last { Cluster::Code } else { Cluster::HasCode };
            }
            if self.valued_letters.contains(letter) && !is_announced {
                return if is_last { Cluster::TakesNext } else { Cluster::Plain };
            }
        }
        if is_announced { Cluster::Code } else { Cluster::Plain }
    }
}

/// What some letters behind one dash mean.
enum Cluster {
    /// Code follows.
    Code,
    /// Code stands in the word itself.
    HasCode,
    /// The next word is the value of the last letter.
    TakesNext,
    Plain,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that are code; those that see the command's environment with a plus.
    fn code(command: &str, is_in_script: bool) -> Vec<String> {
        let words = shell_words::split(command).expect(command);
        let shown = |code: Code<'_>| {
            format!("{}{}", if code.reads_environment { "+" } else { "" }, words[code.index])
        };
        code_words(&words, is_in_script).into_iter().map(shown).collect()
    }

    #[test]
    fn what_a_program_reads_as_code_is_found() {
        for (command, expected) in [
            ("bash -c X", "+X"),
            ("/bin/sh -ec X name", "+X"),
            ("bash -euo pipefail -c X a", "+X"),
            ("bash -ceuo pipefail X a", "+X"),
            ("bash -c -e X", "+X"),
            ("bash -o pipefail --rcfile f -lc X", "+X"),
            ("sh -c -- X", "+X"),
            ("zsh-5.9 -fc X", "+X"),
            ("env A=1 bash -c X", "+X"),
            ("env -i bash -c X", "X"),
            ("nice -n 5 timeout 3 dash -c X", "+X"),
            ("sudo -u x bash -lc X", "X"),
            ("sudo -E bash -c X", "+X"),
            ("find . -exec sh -c X ;", "+X"),
            ("docker run --rm image bash -c X", "X"),
            ("busybox sh -c X", "+X"),
            ("poetry run python -c X", "X"),
            ("nice node -e X", "X"),
            ("fish -c X", "X"),
            ("fish --command=X", "--command=X"),
            ("python3 -c X", "X"),
            ("python3.11 -W ignore -uc X a", "X"),
            ("python -cX", "-cX"),
            ("perl -e X", "X"),
            ("perl -Mstrict -i.bak -lane X -e Y file", "X Y"),
            ("perl -MTime::Date -e X", "X"),
            ("perl -eX", "-eX"),
            ("perl -0777pe X", "X"),
            ("ruby -rjson -e X", "X"),
            ("node -e X", "X"),
            ("node -r mod --eval=X", "--eval=X"),
            ("deno eval X", "X"),
            ("php -d a=b -r X", "X"),
            ("lua5.4 -l m -e X", "X"),
            ("Rscript --vanilla -e X -e Y", "X Y"),
            ("julia -e X", "X"),
            ("pwsh -NoProfile -Command X", "X"),
            ("awk X file", "X"),
            ("gawk -F , -v a=b X file", "X"),
            ("nice awk -F, X file", "X"),
            ("ssh -p 22 user@host X Y", "X Y"),
            ("ssh host -p 22 X", "X"),
            ("watch -n 5 X Y", "+X +Y"),
            ("su - user -c X", "X"),
            ("runuser -u user -c X", "X"),
            ("flock file -c X", "+X"),
        ] {
            assert_eq!(code(command, false).join(" "), expected, "{command}");
        }
        assert_eq!(code("eval X Y", true), ["+X", "+Y"]);
        assert_eq!(code("trap X EXIT", true), ["+X"]);
    }

    #[test]
    fn what_is_for_the_script_in_a_file_is_no_code() {
        for command in [
            "bash script.sh -c X",
            "bash -eu script.sh -c X",
            "python3 tool.py -c X",
            "python3 -m tool -c X",
            "python3 -u tool.py -e X",
            "perl -Ilib tool.pl -e X",
            "perl -MCode tool.pl X",
            "node server.js -e X",
            "php -c php.ini tool.php -r X",
            "ruby tool.rb -e X",
            "awk -f prog.awk X",
            "awk -fprog.awk X",
            "grep awk X",
            "tool node -e X",
            "npm run script -c X",
            "grep -c X file",
            "tar -c X",
            "ssh -i key host",
            "runuser -u user -- tool -c X",
            "flock file tool -c X",
            "echo eval X",
            "eval X",
            "curl -c X",
            "bash",
            "bash -c",
            "",
        ] {
            assert_eq!(code(command, false), Vec::<String>::new(), "{command}");
        }
    }
}
