//! The command line: one file for each command, and folders for what they share.
//!
//! | folder | role |
//! |---|---|
//! | `options` | what the user says: global options, inputs, process types, times, which processes are meant |
//! | `screen` | what the user sees |
//! | `surroundings` | the database, signals, what the journal and systemd are told |
//! | `progress` | watching processes until they end |
//!
//! `error` says what can go wrong, and the exit codes.

mod batch;
mod bench;
mod cancel;
mod completions;
mod doctor;
mod error;
mod explain;
mod help;
mod limits;
mod list;
mod logs;
mod man;
mod migrate;
mod nodes;
mod options;
mod pause;
mod progress;
mod prune;
mod retry;
mod run;
mod schedules;
mod screen;
mod serve;
mod show;
mod start;
mod surroundings;
mod types;
mod usage;

pub use surroundings::secrecy::keep_as_init;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use log::LevelFilter;

use self::error::CliError;
use self::options::global::{self, GlobalOptions};
use self::screen::{background, message_queue, terminal};
use self::surroundings::{as_service, logging, secrecy, session};

/// Runs sequences of command-line tasks durably on PostgreSQL
#[derive(Debug, Parser)]
#[command(
    name = "process-orchestrator",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    before_help = "Examples:
  process-orchestrator run pipeline.json --input-file data.csv --output-dir out
  process-orchestrator serve --process-types types/
  process-orchestrator start data-processing-pipeline --input-file data.csv --output-dir out --wait
  process-orchestrator list --status failed"
)]
struct Cli {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start one process, execute it here and report how it ended
    #[command(before_help = "Examples:
  process-orchestrator run pipeline.json --input-file data.csv --output-dir out
  process-orchestrator run data-processing-pipeline --input @input.json --config batch_size=100
  process-orchestrator run pipeline.json --json > result.json")]
    Run(run::Options),
    /// Run whatever is due, until a signal comes
    #[command(before_help = "Examples:
  process-orchestrator serve
  process-orchestrator serve --process-types types/ --executors 16
  process-orchestrator serve --node-name worker-2 --listen 127.0.0.1:8711 --retention 90d --archive /var/backups/processes
  process-orchestrator serve --listen 0.0.0.0:8710 --http-token-file /etc/process-orchestrator/token
  curl http://127.0.0.1:8710/status")]
    Serve(serve::Options),
    /// Start processes, for nodes to run, and print their ids
    #[command(before_help = "Examples:
  process-orchestrator start data-processing-pipeline --input-file data.csv --output-dir out
  process-orchestrator start data-processing-pipeline --input @input.json --wait
  process-orchestrator start data-processing-pipeline --inputs many.jsonl --at '2026-12-01 08:00'")]
    Start(start::Options),
    /// List processes, newest first
    #[command(before_help = "Examples:
  process-orchestrator list
  process-orchestrator list --status failed,cancelled --finished-since 24h
  process-orchestrator list --type data-processing-pipeline --metadata source_system=legacy --node worker-2
  process-orchestrator list --json | jq -r '.processes[].process_id'")]
    List(list::Options),
    /// Show a process and its tasks
    #[command(before_help = "Examples:
  process-orchestrator show data-processing-pipeline-42
  process-orchestrator show data-processing-pipeline-42 --json | jq .process_context")]
    Show(show::Options),
    /// Print what the tasks of a process wrote, and follow what the running one writes
    #[command(before_help = "Examples:
  process-orchestrator logs data-processing-pipeline-42
  process-orchestrator logs data-processing-pipeline-42 --follow
  process-orchestrator logs data-processing-pipeline-42 load --attempt 1 > load.log")]
    Logs(logs::Options),
    /// Say why a process runs, waits, or has ended
    #[command(before_help = "Examples:
  process-orchestrator explain data-processing-pipeline-42
  process-orchestrator explain data-processing-pipeline-42 --json | jq -r '.reasons[].reason'")]
    Explain(explain::Options),
    /// Cancel processes: those that wait at once, those that run by ending their command
    #[command(before_help = "Examples:
  process-orchestrator cancel data-processing-pipeline-42 --reason 'wrong file'
  process-orchestrator cancel data-processing-pipeline-42 data-processing-pipeline-43 --wait
  process-orchestrator cancel --type data-processing-pipeline --status not_started --dry-run")]
    Cancel(cancel::Options),
    /// Have finished processes go again, from the task that failed or from any other
    #[command(before_help = "Examples:
  process-orchestrator retry data-processing-pipeline-42
  process-orchestrator retry data-processing-pipeline-42 --from load --config batch_size=50
  process-orchestrator retry --type data-processing-pipeline --status failed --dry-run

What the input options name is changed, the rest of a process's input stays as it is.")]
    Retry(retry::Options),
    /// Hold the processes of a type back: none is claimed, one that runs stops before its next task
    #[command(before_help = "Examples:
  process-orchestrator pause data-processing-pipeline --reason 'the source system is down'
  process-orchestrator pause data-processing-pipeline --json")]
    Pause(pause::PauseOptions),
    /// Let the processes of a paused type go on
    #[command(before_help = "Examples:
  process-orchestrator resume data-processing-pipeline")]
    Resume(pause::ResumeOptions),
    /// Process types: list, show, register, validate, schema
    #[command(
        subcommand,
        before_help = "Examples:
  process-orchestrator types validate nightly.json
  process-orchestrator types register nightly.json
  process-orchestrator types list"
    )]
    Types(types::Types),
    /// Batches, many processes that were started as one: list, show, wait, pause, resume, cancel, retry, joblog, results
    #[command(
        subcommand,
        before_help = "Examples:
  process-orchestrator batch list
  process-orchestrator batch show nightly
  process-orchestrator batch retry nightly --failed"
    )]
    Batch(batch::Batch),
    /// Schedules: processes that are started at their times
    #[command(
        subcommand,
        before_help = "Examples:
  process-orchestrator schedule add nightly-report.json
  process-orchestrator schedule list
  process-orchestrator schedule next nightly -n 10"
    )]
    Schedule(schedules::Schedules),
    /// Limits on how many run at once: list, show, set
    #[command(
        subcommand,
        before_help = "Examples:
  process-orchestrator limits list
  process-orchestrator limits show gpu
  process-orchestrator limits set gpu --max 4"
    )]
    Limits(limits::Limits),
    /// List the nodes that run or ran, the latest first
    #[command(before_help = "Examples:
  process-orchestrator nodes
  process-orchestrator nodes --json | jq -r '.nodes[] | select(.state == \"RUNNING\") | .name'")]
    Nodes(nodes::Options),
    /// Delete finished processes, with their tasks and executions
    #[command(before_help = "Examples:
  process-orchestrator prune --older-than 30d --dry-run
  process-orchestrator prune --older-than 7d --status completed --type data-processing-pipeline
  process-orchestrator prune --older-than 90d --archive /var/backups/processes
  process-orchestrator prune --older-than 7d --output-only")]
    Prune(prune::Options),
    /// Look for what is wrong with the database, the tables, the nodes, and say what to do
    #[command(before_help = "Examples:
  process-orchestrator doctor
  process-orchestrator doctor --json | jq -r '.checks[] | select(.verdict != \"ok\") | .remedy'")]
    Doctor(doctor::Options),
    /// Make the tables, or bring them to this version
    #[command(before_help = "Examples:
  process-orchestrator migrate --dry-run
  process-orchestrator migrate --grant-start-to web:nightly
  process-orchestrator migrate")]
    Migrate(migrate::Options),
    /// Measure how fast this machine runs commands durably
    #[command(before_help = "Examples:
  process-orchestrator bench
  process-orchestrator bench --processes 5000 --tasks 10 --xargs
  process-orchestrator bench --serve --processes 2000 --rounds 3
  process-orchestrator bench --noop --processes 100000
  process-orchestrator bench --latency 200 --json
  process-orchestrator bench --history --scale 0.1 --plan
  process-orchestrator bench --starts 5")]
    Bench(bench::Options),
    /// Print a script that completes commands, options, ids, types and tasks in your shell
    #[command(before_help = "Examples:
  process-orchestrator completions bash > ~/.local/share/bash-completion/completions/process-orchestrator
  process-orchestrator completions zsh > ~/.zfunc/_process-orchestrator
  process-orchestrator completions fish > ~/.config/fish/completions/process-orchestrator.fish")]
    Completions(completions::Options),
    /// Print the manual page, or write one for each command
    #[command(before_help = "Examples:
  process-orchestrator man | man -l -
  process-orchestrator man ~/.local/share/man/man1")]
    Man(man::Options),
    /// Print the help of a command, or a topic of the guide
    #[command(before_help = "Examples:
  process-orchestrator help
  process-orchestrator help flow
  process-orchestrator help types register")]
    Help(help::Options),
}

/// Examples stand between the sentence that says what a command is for and the options.
const HELP_TEMPLATE: &str = "\
{about-with-newline}
{before-help}{usage-heading} {usage}

{all-args}{after-help}";

/// The definition of the command line, with one layout of help for all commands.
fn command() -> clap::Command {
    fn with_template(command: clap::Command) -> clap::Command {
        command.help_template(HELP_TEMPLATE).mut_subcommands(with_template)
    }
    help::with_topics(with_template(Cli::command()))
}

/// Does what the arguments say. The first of them is the program's own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if completions::answer_if_asked(&arguments, command) {
        return ExitCode::SUCCESS;
    }
    if arguments.iter().take_while(|it| *it != "--").any(|it| it == "--json") {
        error::tell_as_json();
    }
    let matches = command().try_get_matches_from(&arguments);
    let cli = match matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) => cli,
        Err(message) => return usage::tell(&message, &arguments, command()),
    };
    let option = cli.global.log_level;
    logging::start(option.unwrap_or_else(|| cli.command.log_level()), option.is_some());
    if cli.global.service && !as_service::is_done() {
        let error = as_service::begin(&arguments);
        terminal::tell(&error);
        return ExitCode::from(error.exit_code());
    }
    secrecy::keep(&cli.global);
    let outcome = prepare().and_then(|()| cli.command.run(&cli.global));
    log::logger().flush();
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::tell(&error);
            as_service::hint_at(&error);
            ExitCode::from(error.exit_code())
        }
    };
    message_queue::finish();
    code
}

/// Signals as they have to be before anything is spawned.
fn prepare() -> Result<(), CliError> {
    crate::platform::prepare_signals()
        .map_err(|cause| CliError::Failed(format!("failed to prepare signals and children: {cause}")))
}

impl Command {
    fn run(&self, global: &GlobalOptions) -> Result<(), CliError> {
        match self {
            Self::Run(options) => run::run(global, options),
            Self::Serve(options) => serve::run(global, options),
            Self::Start(options) => start::run(global, options),
            Self::List(options) => list::run(global, options),
            Self::Show(options) => show::run(global, options),
            Self::Logs(options) => logs::run(global, options),
            Self::Explain(options) => explain::run(global, options),
            Self::Cancel(options) => cancel::run(global, options),
            Self::Retry(options) => retry::run(global, options),
            Self::Pause(options) => pause::pause(global, options),
            Self::Resume(options) => pause::resume(global, options),
            Self::Types(types) => types::run(global, types, command),
            Self::Batch(batch) => batch::run(global, batch, command),
            Self::Schedule(schedules) => schedules::run(global, schedules, command),
            Self::Limits(limits) => limits::run(global, limits, command),
            Self::Nodes(options) => nodes::run(global, options),
            Self::Prune(options) => prune::run(global, options),
            Self::Doctor(options) => doctor::run(global, options),
            Self::Migrate(options) => migrate::run(global, options),
            Self::Bench(options) => bench::run(global, options),
            Self::Completions(options) => completions::run(options, command()),
            Self::Man(options) => man::run(options, command()),
            Self::Help(options) => help::run(options, command()),
        }
    }

    /// A node that nobody watches says what it does; `run` shows its one process itself, failures included.
    const fn log_level(&self) -> LevelFilter {
        match self {
            Self::Serve(_) => LevelFilter::Info,
            Self::Run(_) => LevelFilter::Error,
            _ => LevelFilter::Warn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds() {
        command().debug_assert();
    }

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        let words = std::iter::once(&"process-orchestrator").chain(words);
        command().try_get_matches_from(words).and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches))
    }

    #[test]
    fn every_example_of_the_help_is_a_command_that_is_understood() {
        fn check(command: &clap::Command) -> usize {
            let help = command.get_before_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.lines().filter_map(|line| line.trim().strip_prefix("process-orchestrator "));
            let mut count = 0;
            for example in examples {
                let words = shell_words::split(example).expect(example);
                let words: Vec<&str> =
                    words.iter().map(String::as_str).take_while(|it| !["|", ">"].contains(it)).collect();
                if let Err(error) = parse(&words) {
                    panic!("{example}: {error}");
                }
                count += 1;
            }
            assert!(count > 0, "{} has no example", command.get_name());
            count + command.get_subcommands().map(check).sum::<usize>()
        }
        assert!(check(&command()) > 20);
    }

    #[test]
    fn help_begins_with_what_a_command_is_for_and_examples() {
        let mut command = command();
        let start = command.find_subcommand_mut("start").expect("start");
        let help = start.render_help().to_string();
        assert!(
            help.starts_with("Start processes, for nodes to run, and print their ids\n\nExamples:\n"),
            "{help}"
        );
        assert!(help.find("Examples:") < help.find("Usage:"), "{help}");
    }

    #[test]
    fn usage_faults_are_exit_code_2_and_help_is_0() {
        for words in
            [&[][..], &["lits"], &["list", "--status", "DONE"], &["show"], &["start", "t", "--at", "soon"]]
        {
            assert_eq!(parse(words).expect_err("a fault").exit_code(), 2, "{words:?}");
        }
        for words in [&["--help"][..], &["--version"], &["start", "--help"]] {
            assert_eq!(parse(words).expect_err("help").exit_code(), 0, "{words:?}");
        }
    }

    #[test]
    fn global_options_may_stand_before_and_after_the_command() {
        for words in [["--schema", "mine", "list"], ["list", "--schema", "mine"]] {
            assert_eq!(parse(&words).expect("valid").global.schema, "mine");
        }
    }

    #[test]
    fn statuses_are_read_in_any_letter_case() {
        let Command::List(options) = parse(&["list", "--status", "in_progress"]).expect("valid").command
        else {
            panic!("not a list")
        };
        assert_eq!(options.status, [crate::model::lifecycle::ProcessStatus::InProgress]);
    }
}
