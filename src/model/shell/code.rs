//! Which words of a command another program reads as code.

use super::interpreters::{
    ANYWHERE, BUILTINS, INTERPRETERS, Interpreter, OTHER_ENVIRONMENT, Plain, SHELL, base_name,
    is_posix_shell, named, runs_another,
};

/// Behind these words a program may stand.
const OPENING: &[&str] = &["--", "run", "exec"];
/// As many programs of one command are looked at: each may read all words behind it.
const PROGRAMS_MAX: usize = 20;

/// A word that is read as code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code<'w> {
    /// Which word.
    pub index: usize,
    /// The program that reads it, without its directory.
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
    let is_opening = |word: &&str| OPENING.contains(word) || runs_another(word);
    let opening = words.iter().position(is_opening).unwrap_or(words.len());
    let mut is_code = vec![false; words.len()];
    let programs = words.iter().enumerate().filter_map(|(at, word)| {
        let interpreter = named(INTERPRETERS, word)?;
        let is_shell = is_posix_shell(word);
        // In `brew install ruby -e X` it is a value, in `firejail bash -c X` hardly.
        let is_usual = is_shell || ANYWHERE.contains(&base_name(word));
        let is_program = match at {
            0 => is_shell || !is_own(word),
            _ => has_wrapper || is_usual && (opening < at || word.contains('/') || is_shell && at == 1),
        };
        is_program.then_some((at, interpreter))
    });
    for (at, interpreter) in programs.take(PROGRAMS_MAX) {
        for code in interpreter.code(&words[at + 1..]) {
            let index = at + 1 + code;
            if !std::mem::replace(&mut is_code[index], true) {
                found.push((at, index));
            }
        }
    }
    let loses = loses_environment(&words);
    found
        .into_iter()
        .map(|(at, index)| {
            let program = words[at].rsplit('/').next().unwrap_or_default();
            let reads = builtin.is_some()
                || is_posix_shell(program)
                || ["watch", "flock", "script"].contains(&program);
            Code { index, program, reads_environment: reads && !loses }
        })
        .collect()
}

/// Whether it is a program in the working directory, which may be named as another is.
fn is_own(word: &str) -> bool {
    word.strip_prefix("./").is_some_and(|name| !name.contains('/'))
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
            ("env -u B -S X", "X"),
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
            ("conda run -n x python -c X", "X"),
            ("bundle exec ruby -e X", "X"),
            ("npx -- bash -c X", "+X"),
            ("tool sudo -u x bash -c X", "X"),
            ("tool --with /usr/bin/python3 -c X", "X"),
            ("firejail bash -c X", "+X"),
            (".venv/bin/python -c X", "X"),
            ("./bash -c X", "+X"),
        ] {
            assert_eq!(code(command, false).join(" "), expected, "{command}");
        }
        assert_eq!(code("eval X Y", true), ["+X", "+Y"]);
        assert_eq!(code("trap X EXIT", true), ["+X"]);
    }

    #[test]
    fn many_programs_in_one_command_cost_no_time() {
        let begin = std::time::Instant::now();
        for piece in ["python -c ", "env python -c ", "/bin/sh -c X ", "find -exec perl -e X -e X "] {
            let text = piece.repeat(3_000);
            let found = code_words(&text.split(' ').collect::<Vec<_>>(), false).len();
            assert!((1..=text.split(' ').count()).contains(&found), "{piece}");
            crate::model::shell::in_words(&text);
            crate::model::shell::misplaced(&text);
        }
        assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
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
            "conda install python -c X",
            "brew install ruby -e X",
            "nix-shell -p python3 -c X",
            "tool --shell bash -c X",
            "./node -e X",
            "./perl -e X",
            "bash",
            "bash -c",
            "",
        ] {
            assert_eq!(code(command, false), Vec::<String>::new(), "{command}");
        }
    }
}
