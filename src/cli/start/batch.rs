//! `start --batch`: the processes of a file as one batch.

use clap::Args;
use serde_json::json;

use super::many::{BatchPlan, Starts};
use crate::cli::error::{CliError, Verdict};
use crate::cli::options::bulk::{processes, unknown_type, warn_without_node};
use crate::cli::options::global::GlobalOptions;
use crate::cli::options::input::InputOptions;
use crate::cli::options::inputs::{Inputs, Part};
use crate::cli::progress::batch::wait_for_batch;
use crate::cli::screen::json::JsonWriter;
use crate::cli::screen::terminal::{message, print_lines, tell};
use crate::model::batch::halt::Halt;
use crate::model::batch::name::{BATCH_NAME_REMEDY, batch_name_problem};
use crate::store::batches::BatchOptions;
use crate::store::{Store, StoreError};

/// Where help lists these options.
const HEADING: &str = "Batch";
/// Lines that the database has refused and that are told.
const REFUSED_TOLD_MAX: usize = 20;

/// What makes the processes of a file a batch.
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// The name of a batch that all lines belong to; the same file again starts only what is missing
    #[arg(long, value_name = "NAME", requires = "inputs", help_heading = HEADING, value_parser = parse_name)]
    pub batch: Option<String>,
    /// When to start no more: now (cancel what runs) or soon (let it end), and after how many: soon,fail=5%, now,fail=1,
    /// soon,success=1, soon,done=1000; a percentage is of the whole batch
    #[arg(long, value_name = "WHEN,WHY=N[%]", requires = "batch", help_heading = HEADING, value_parser = parse_halt)]
    pub halt: Option<String>,
    /// How many of the batch may run at once; 0 is any number
    #[arg(long, value_name = "N", requires = "batch", help_heading = HEADING, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub max: Option<u32>,
    /// What to start when all of it has ended: a process type and, if you like, a colon and its input as JSON or @FILE
    #[arg(long, value_name = "TYPE[:INPUT]", requires = "batch", help_heading = HEADING, value_parser = parse_then)]
    pub then: Option<Then>,
    /// The input of what is started then, as JSON or @FILE; the batch's name and counts join its metadata
    #[arg(long, value_name = "JSON|@FILE", requires = "then", help_heading = HEADING)]
    pub then_input: Option<String>,
    /// Start the lines that can be started, and tell those that can't; each part of the file is committed by itself
    #[arg(long, requires = "batch", help_heading = HEADING)]
    pub partial: bool,
}

/// What follows a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Then {
    process_type: String,
    input: Option<String>,
}

pub fn parse_name(text: &str) -> Result<String, String> {
    match batch_name_problem(text) {
        None => Ok(text.to_owned()),
        Some(problem) => Err(format!("it {problem}; {BATCH_NAME_REMEDY}")),
    }
}

/// `never` takes a halt away.
pub fn parse_halt(text: &str) -> Result<String, String> {
    Ok(Halt::parse(text)?.map(|it| it.to_string()).unwrap_or_default())
}

/// A type's name may hold colons: the input is what begins as JSON or as a file does.
pub fn parse_then(text: &str) -> Result<Then, String> {
    let at = [":{", ":@"].iter().filter_map(|it| text.find(it)).min();
    let (process_type, input) = match at {
        Some(at) => (&text[..at], Some(text[at + 1..].to_owned())),
        None => (text, None),
    };
    match process_type {
        "" => Err("write the name of a process type, and if you like a colon and its input".to_owned()),
        name => Ok(Then { process_type: name.to_owned(), input }),
    }
}

/// The options that a batch is made or changed with.
///
/// # Errors
/// The process type of `then` is unknown, or its input has faults.
pub fn batch_options(
    store: &mut Store,
    global: &GlobalOptions,
    (halt, max): (Option<&str>, Option<u32>),
    then: Option<&Then>,
    then_input: Option<&str>,
) -> Result<BatchOptions, CliError> {
    let (mut then_type, mut input) = (None, None);
    if let Some(then) = then {
        if store.process_type(&then.process_type)?.is_none() {
            return Err(unknown_type(store, &then.process_type, global));
        }
        then_type = Some(then.process_type.clone());
        let text = match (then_input, &then.input) {
            (Some(_), Some(_)) => {
                let problem =
                    "the input of what follows is given twice, by --then and by --then-input; keep one";
                return Err(CliError::Usage(problem.to_owned()));
            }
            (one, other) => one.or(other.as_deref()),
        };
        if let Some(text) = text {
            let options = InputOptions { input: Some(text.to_owned()), ..InputOptions::default() };
            input = Some(options.read()?.to_value());
        }
    }
    Ok(BatchOptions { halt: halt.map(str::to_owned), max, then_type, then_input: input })
}

impl BatchArgs {
    /// Checks the file; with `--partial` it tells the lines that it leaves out.
    ///
    /// # Errors
    /// The faults of the lines.
    pub fn check<'o>(
        &self,
        options: &'o InputOptions,
        path: &str,
        required: Vec<String>,
    ) -> Result<Inputs<'o>, CliError> {
        let Some(name) = &self.batch else { return Inputs::check(options, path, required) };
        let (inputs, faulty) = Inputs::check_some(options, path, required, self.partial)?;
        if !faulty.is_empty() {
            tell(&CliError::Faults(faulty));
        }
        Ok(inputs.of_batch(name))
    }

    /// What is to be started, if it is a batch.
    ///
    /// # Errors
    /// As [`batch_options`].
    pub fn plan(
        &self,
        store: &mut Store,
        process_type: &str,
        global: &GlobalOptions,
    ) -> Result<Option<BatchPlan>, CliError> {
        let Some(name) = &self.batch else { return Ok(None) };
        if let Some(other) = store.batch(name)?.filter(|it| it.process_type != process_type) {
            let its_type = other.process_type;
            return Err(CliError::Usage(format!(
                "batch {name:?} is of process type {its_type:?}, not {process_type:?}; choose another name for this batch"
            )));
        }
        let bounds = (self.halt.as_deref(), self.max);
        let options = batch_options(store, global, bounds, self.then.as_ref(), self.then_input.as_deref())?;
        Ok(Some(BatchPlan { name: name.clone(), options, is_partial: self.partial }))
    }
}

impl BatchPlan {
    /// Starts it, says what is new of it, and waits if asked to.
    ///
    /// # Errors
    /// As [`Starts::start`]; with `--partial` also when lines were refused; with `--wait` when it has not completed.
    pub fn start(
        &self,
        starts: &Starts<'_>,
        mut store: Store,
        inputs: &mut Inputs<'_>,
        (json, wait): (bool, bool),
    ) -> Result<(), CliError> {
        let (ids, new, refused) = match self.is_partial {
            false => {
                let started = starts.start(&mut store, inputs)?;
                (started.ids, started.new, 0)
            }
            true => {
                let (ids, new, refused) = self.start_partially(starts, &mut store, inputs)?;
                (ids, new, refused + inputs.left_out())
            }
        };
        if !json {
            print_lines(&ids)?;
        }
        message(self.sentence(ids.len(), new, refused));
        warn_without_node(&mut store, wait, starts.global)?;
        if json && !wait {
            let mut out = JsonWriter::stdout();
            out.object()?;
            out.entry("batch", &json!({ "name": self.name, "new": new, "refused": refused }))?;
            out.entries("processes", ids.iter().map(|id| json!({ "process_id": id })))?;
            out.end()?;
        }
        let outcome = match starts.signals {
            // There may be no batch to wait for.
            Some(_) if ids.is_empty() => Ok(()),
            Some(signals) => {
                drop(store);
                wait_for_batch(starts.session, &self.name, signals, json, starts.global)
            }
            None => Ok(()),
        };
        outcome.and(if refused > 0 { Err(CliError::Reported(Verdict::Failed)) } else { Ok(()) })
    }

    fn sentence(&self, started: usize, new: u64, refused: usize) -> String {
        let there = (started as u64).saturating_sub(new);
        let mut sentence = format!("batch {:?}: {new} started", self.name);
        if there > 0 {
            sentence.push_str(&format!(", {there} were there already"));
        }
        if refused > 0 {
            sentence.push_str(&format!(", {} refused", lines(refused)));
        }
        sentence
    }

    /// Each part in a transaction of its own; a part that is refused is split until the lines are found that are.
    fn start_partially(
        &self,
        starts: &Starts<'_>,
        store: &mut Store,
        inputs: &mut Inputs<'_>,
    ) -> Result<(Vec<String>, u64, usize), CliError> {
        let name = self.name.as_str();
        let total = inputs.len() as u64;
        let (mut ids, mut new, mut refused): (Vec<String>, u64, Vec<(usize, StoreError)>) =
            (Vec::new(), 0, Vec::new());
        let mut outcome = Ok(());
        let mut parts = inputs.parts()?;
        while let Some(part) = parts.next()? {
            let signal = starts.signals.and_then(|it| it.receiver().try_recv().ok());
            outcome = match signal {
                Some(signal) => Err(CliError::Interrupted(signal)),
                None => self.start_part(starts, store, part, total, (&mut ids, &mut new, &mut refused)),
            };
            if outcome.is_err() {
                break;
            }
        }
        let announced = store.announce_batch(name, None);
        drop(parts);
        for (line, error) in refused.iter().take(REFUSED_TOLD_MAX) {
            let error = StoreError::to_string(error);
            message(format!("{}: {error}", inputs.place_of(*line)));
        }
        if refused.len() > REFUSED_TOLD_MAX {
            message(format!("… and {} more", lines(refused.len() - REFUSED_TOLD_MAX)));
        }
        outcome.map_err(|error| {
            let done = format!(
                "{} were started before; start them again: only what is missing is started",
                processes(ids.len())
            );
            if let CliError::Interrupted(_) = error {
                message(&done);
            }
            error.with(|it| format!("{it}; {done}"))
        })?;
        announced?;
        Ok((ids, new, refused.len()))
    }

    fn start_part(
        &self,
        starts: &Starts<'_>,
        store: &mut Store,
        mut part: Part,
        total: u64,
        (ids, new, refused): (&mut Vec<String>, &mut u64, &mut Vec<(usize, StoreError)>),
    ) -> Result<(), CliError> {
        // With the first that can be started, since a batch without any would never end.
        let is_first = ids.is_empty();
        let begun = store.start_in_parts(|store| {
            if is_first {
                store.set_batch(&self.name, &starts.process_type.name, &self.options)?;
            }
            let ids = starts.send_part(store, &part.requests, true)?;
            store.announce_batch(&self.name, Some(total))?;
            Ok::<_, StoreError>((ids, store.batch_news()?))
        });
        match begun {
            Ok(((started, more), None)) => {
                ids.extend(started);
                *new += more;
                Ok(())
            }
            Ok((_, Some(error))) => Err(error.into()),
            Err(StoreError::Refused(_)) if part.requests.len() > 1 => {
                let second = part.split();
                self.start_part(starts, store, part, total, (&mut *ids, &mut *new, &mut *refused))?;
                self.start_part(starts, store, second, total, (ids, new, refused))
            }
            Err(error @ StoreError::Refused(_)) => {
                refused.push((part.first_line(), error));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn lines(count: usize) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn then(text: &str) -> (String, Option<String>) {
        let then = parse_then(text).expect(text);
        (then.process_type, then.input)
    }

    #[test]
    fn what_follows_is_a_type_and_perhaps_its_input() {
        assert_eq!(then("report"), ("report".to_owned(), None));
        assert_eq!(then("a:b"), ("a:b".to_owned(), None));
        assert_eq!(then("a:b:@f.json"), ("a:b".to_owned(), Some("@f.json".to_owned())));
        assert_eq!(then("a:{\"config\":{}}"), ("a".to_owned(), Some("{\"config\":{}}".to_owned())));
        assert!(parse_then(":{}").is_err());
    }

    #[test]
    fn a_halt_is_checked_before_anything_is_sent() {
        assert_eq!(parse_halt("never").as_deref(), Ok(""));
        assert_eq!(parse_halt("soon,fail=5%").as_deref(), Ok("soon,fail=5%"));
        assert!(parse_halt("fail=5").expect_err("no when").contains("soon,fail=5%"));
    }
}
