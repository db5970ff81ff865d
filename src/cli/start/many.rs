//! `start --inputs`: many processes in one transaction, sent in parts.

use std::time::{Duration, Instant};

use crate::cli::error::CliError;
use crate::cli::options::bulk::{argument, processes, refused};
use crate::cli::options::global::GlobalOptions;
use crate::cli::options::inputs::Inputs;
use crate::cli::screen::terminal::{Canvas, Face, message};
use crate::cli::surroundings::session::Session;
use crate::cli::surroundings::signals::{self, Signals};
use crate::model::records::ProcessTypeData;
use crate::store::batches::BatchOptions;
use crate::store::start::{StartOptions, StartRequest};
use crate::store::{Backend, Store, StoreError};

/// How long a database that went away while it was committing is asked whether it has: a restart takes seconds.
const SETTLE_MAX: Duration = Duration::from_secs(20);
/// From one question to the next.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);

/// Two who start the same processes in another order may wait for each other: the server then ends one of them, who goes
/// again.
const TRIES_MAX: u32 = 5;

/// A batch that is to be started.
pub struct BatchPlan {
    pub name: String,
    pub options: BatchOptions,
    /// Lines that can't be started are left out.
    pub is_partial: bool,
}

/// What all of them have in common.
pub struct Starts<'a> {
    pub session: &'a Session,
    pub global: &'a GlobalOptions,
    /// As it was when the inputs were checked.
    pub process_type: &'a ProcessTypeData,
    pub options: StartOptions,
    /// The batch that they are to be of.
    pub batch: Option<&'a BatchPlan>,
    /// Whoever waits has them caught, and wants the sending ended too.
    pub signals: Option<&'a Signals>,
}

/// What was started.
#[derive(Debug, Default)]
pub struct Started {
    /// All ids, in the order of the inputs.
    pub ids: Vec<String>,
    /// How many of a batch are new.
    pub new: u64,
    are_named: bool,
}

/// Why nothing was started.
pub(super) enum Failure {
    /// By the database, and at which line.
    Store(StoreError, Option<String>),
    /// By anything else.
    Other(CliError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error, None)
    }
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        Self::Other(error)
    }
}

impl Starts<'_> {
    /// Starts a process for each of the inputs: all or none.
    ///
    /// # Errors
    /// When nothing was started; or nobody can say whether, which is then what the message says.
    pub fn start(&self, store: &mut Store, inputs: &mut Inputs<'_>) -> Result<Started, CliError> {
        let backend = store.backend();
        let none = |error: CliError| error.with(|it| format!("{it}; nothing was started"));
        let mut outcome = store.start_in_parts(|store| self.send(store, inputs));
        for _ in 1..TRIES_MAX {
            if !matches!(&outcome, Err(Failure::Store(error, _)) if error.is_rolled_back()) {
                break;
            }
            outcome = store.start_in_parts(|store| self.send(store, inputs));
        }
        match outcome {
            Ok((started, None)) => Ok(started),
            Ok((started, Some(error))) if error.is_connection_lost() => {
                self.settle(store, started, backend.as_ref(), error)
            }
            Ok((_, Some(error))) => Err(none(error.into())),
            Err(Failure::Store(error, _)) if error.is_lock_conflict() => {
                Err(none(store.start_locked(inputs.len())?.into()))
            }
            Err(Failure::Store(error, place)) => {
                let error = refused(error, store, &self.process_type.name, self.global);
                Err(none(match place {
                    Some(place) => error.with(|it| format!("{place}: {it}")),
                    None => error,
                }))
            }
            Err(Failure::Other(error)) => Err(none(error)),
        }
    }

    /// Sends all of them.
    fn send(&self, store: &mut Store, inputs: &mut Inputs<'_>) -> Result<Started, Failure> {
        let total = inputs.len();
        let name = &self.process_type.name;
        let mut canvas: Option<Canvas> = None;
        let (mut ids, mut are_named) = (Vec::with_capacity(total), true);
        let mut parts = inputs.parts()?;
        while let Some(part) = parts.next()? {
            if let Some(signal) = self.signals.and_then(|it| it.receiver().try_recv().ok()) {
                message(format!("{}: nothing was started", signals::name(signal)));
                return Err(CliError::Interrupted(signal).into());
            }
            let is_last = ids.len() + part.requests.len() >= total;
            let started = self.send_part(store, &part.requests, is_last).map_err(|error| {
                let place = match &error {
                    StoreError::Refused(refusal) => parts.place(&part, &refusal.message),
                    _ => None,
                };
                Failure::Store(error, place)
            })?;
            are_named &= part.requests.iter().all(|it| it.process_id.is_some());
            ids.extend(started);
            if !is_last && Face::stderr().can_redraw {
                let line = format!("{} of {} are sent", ids.len(), processes(total));
                canvas.get_or_insert_with(Canvas::begin).draw(&[line]);
            }
        }
        if let Some(mut canvas) = canvas {
            canvas.draw(&[]);
        }
        if ids.len() != total {
            let problem =
                format!("the inputs were changed while they were read: {total} before, then {}", ids.len());
            return Err(CliError::Failed(format!("{problem}; start them again")).into());
        }
        // Each part has taken the type as it was then: half of them must not be of one and half of another.
        if store.process_type(name)?.map(|it| it.definition) != Some(self.process_type.definition.clone()) {
            let problem = format!("process type {name:?} was registered anew meanwhile; start them again");
            return Err(CliError::Failed(problem).into());
        }
        let mut new = 0;
        if let Some(batch) = self.batch {
            // At the end: until then nobody waits for the batch's row.
            store.set_batch(&batch.name, name, &batch.options)?;
            new = store.batch_news()?;
        }
        Ok(Started { ids, new, are_named })
    }

    pub(super) fn send_part(
        &self,
        store: &mut Store,
        requests: &[StartRequest],
        wakes: bool,
    ) -> Result<Vec<String>, StoreError> {
        let name = &self.process_type.name;
        match self.batch {
            Some(batch) => store.start_batch_part(&batch.name, name, requests, self.options, wakes),
            None => store.start_part(name, requests, self.options, wakes),
        }
    }

    /// Finds out, by a new connection, what became of a commit whose answer was lost.
    fn settle(
        &self,
        store: &mut Store,
        started: Started,
        backend: Option<&Backend>,
        error: StoreError,
    ) -> Result<Started, CliError> {
        let Started { ids, new, are_named } = started;
        let began = Instant::now();
        let mut look = || {
            *store = self.session.open_store("result")?;
            store.are_there(&ids, backend)
        };
        let answer = loop {
            match look() {
                Err(cause) if cause.is_transient() && began.elapsed() < SETTLE_MAX => {
                    std::thread::park_timeout(SETTLE_PAUSE);
                }
                answer => break answer,
            }
        };
        let lost = format!("the connection was lost during the commit ({})", CliError::from(error));
        match answer {
            Ok(true) => {
                message(format!("{lost}; {} were started all the same", processes(ids.len())));
                Ok(Started { ids, new, are_named })
            }
            // The server's side has ended: what is not there now never will be.
            Ok(false) if backend.is_some() => {
                Err(CliError::Unreachable(format!("{lost}; nothing was started: start them again")))
            }
            _ => Err(CliError::Unreachable(format!(
                "{lost}; whether the {} were started is not known. {}",
                processes(ids.len()),
                self.in_doubt(&ids, are_named)
            ))),
        }
    }

    fn in_doubt(&self, ids: &[String], are_named: bool) -> String {
        if are_named {
            return "Start them again: their ids are their own, and only what is missing is started"
                .to_owned();
        }
        let first = ids.first().map_or("", String::as_str);
        format!(
            "Look before you start them again, which may start them twice: all were if the first one was ({} show {})",
            self.global.program(),
            argument(first)
        )
    }
}
