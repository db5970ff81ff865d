//! Programs that read code among their arguments.
//!
//! A variable in such a word is read as code with it, whatever its value: `bash -c "rm ${config.file}"` runs what the
//! input says. Known are shells, the common languages, awk, and what hands its arguments to a shell (ssh, su, watch).
//! Not known are SQL and what sed makes of its script.

/// A program that takes code among its arguments.
pub(super) struct Interpreter {
    pub names: &'static [&'static str],
    /// Options whose next word is code, or what follows `=`.
    pub options: &'static [&'static str],
    /// Letters that do the same in a cluster such as `-lc`, or have the code directly behind them.
    pub letters: &'static str,
    /// Options that take the next word, whatever it is.
    pub valued: &'static [&'static str],
    /// Letters that end a cluster, as their value follows: the next word if nothing does.
    pub valued_letters: &'static str,
    /// Options behind which there is no code: the rest is the program's own.
    pub stops: &'static [&'static str],
    /// Words without a dash that may come before an option with code.
    pub before: usize,
    pub plain: Plain,
}

/// What the first word is that is no option.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
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

pub(super) const SHELL: Interpreter = Interpreter {
    letters: "c",
    valued: &["+o", "+O", "--rcfile", "--init-file"],
    valued_letters: "oO",
    ..USUAL
};

pub(super) const INTERPRETERS: &[Interpreter] = &[
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
    // It splits such a word.
    Interpreter {
        names: &["env"],
        options: &["-S", "--split-string"],
        letters: "S",
        valued: &["--unset", "--chdir"],
        valued_letters: "uC",
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
pub(super) const BUILTINS: &[Interpreter] = &[
    Interpreter { names: &["eval"], plain: Plain::AllCode, ..USUAL },
    Interpreter { names: &["trap"], plain: Plain::Code, ..USUAL },
];

/// These, and shells, are taken for programs behind `--` and the like too; others only at the beginning and in a command
/// that begins with what runs another program.
pub(super) const ANYWHERE: &[&str] = &["python", "perl", "ruby"];

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
    "firejail",
    "proxychains",
    "parallel",
    "chronic",
    "cgexec",
    "unbuffer",
    "faketime",
];

/// Programs whose children do not have the environment of the command.
pub(super) const OTHER_ENVIRONMENT: &[&str] = &[
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

/// Whether a program runs another one, which it is given.
pub(super) fn runs_another(program: &str) -> bool {
    WRAPPERS.contains(&base_name(program))
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

pub(super) fn named<'t>(table: &'t [Interpreter], word: &str) -> Option<&'t Interpreter> {
    let name = base_name(word);
    table.iter().find(|it| it.names.contains(&name))
}
