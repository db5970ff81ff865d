//! The threads that ask the database, so that no client's thread ever waits on it without a deadline.
//!
//! Each has one connection, opened when it is needed and closed when it has been idle for a while. A question
//! that is not answered in time is given up by the one who asked; the thread goes on waiting alone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, select_biased};

use super::answer::Problem;
use super::store_problem::{READ_MS_MAX, problem_of};
use crate::database::ConnectionSource;
use crate::store::{Store, StoreError};

/// Threads, hence connections, at the most: reading never takes more than this from the engine's database.
const READERS: usize = 4;
/// One who asks waits this long for a thread with a connection.
const CONNECT_MS_MAX: u64 = 2_000;
/// And this long in all: a statement at its limit still has time to say so.
const ANSWER_MS_MAX: u64 = 7_000;
/// A connection that is not used for this long is closed: an endpoint that nobody asks holds none.
const IDLE_MS_MAX: u64 = 60_000;
/// One that has carried a large answer keeps a buffer of that size: it is closed when it has been idle for this long.
const IDLE_LARGE_MS_MAX: u64 = 2_000;
/// Questions at once, those that wait for a thread included: the connections of all others are there for what asks no
/// database.
const QUESTIONS_MAX: usize = 80;
/// A failure to connect answers all questions of this long, instead of a try for each of them.
const FAILURE_FRESH_MS: u64 = 500;
/// Failures of the database are logged once in this long.
const LOG_EVERY_MS: u64 = 30_000;
/// Stopping waits this long for a statement that runs; more than one may take.
const STOP_MS_MAX: u64 = 6_000;

/// What became of a question.
enum Fate {
    /// Answered, or refused for a reason that leaves the connection well.
    Settled,
    /// Refused for this reason, and the connection may be the cause.
    Failed(Problem),
    /// Not answered: the connection was found dead before it was asked anything.
    Unasked,
}

/// Answers through a channel of its own. With a connection that was idle, it may be tried once more.
type Question = Box<dyn FnMut(Result<&mut Store, Problem>, bool) -> Fate + Send>;

struct Job {
    question: Question,
    give_up: Instant,
    begun: Arc<AtomicBool>,
    is_large: bool,
}

/// Runs questions against the store.
pub(super) struct Readers {
    jobs: Sender<Job>,
    stopped: Receiver<()>,
    ended: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
    asked: AtomicUsize,
}

/// What all reader threads know.
struct Shared {
    source: Arc<dyn ConnectionSource>,
    schema: String,
    last_failure: Mutex<Option<(Instant, Problem)>>,
    last_log: Mutex<Option<Instant>>,
}

impl Readers {
    /// Starts the threads; they end when `stopped` is disconnected.
    pub fn start(
        source: Arc<dyn ConnectionSource>,
        schema: String,
        stopped: Receiver<()>,
    ) -> std::io::Result<Self> {
        // A job is handed to a thread that is free, never queued: the wait for one has a deadline.
        let (jobs, taken) = bounded(0);
        // Nothing is ever sent: it is disconnected when the last thread has ended.
        let (alive, ended) = bounded::<()>(0);
        let shared =
            Arc::new(Shared { source, schema, last_failure: Mutex::new(None), last_log: Mutex::new(None) });
        let mut threads = Vec::with_capacity(READERS);
        for number in 0..READERS {
            let reader = Reader { shared: Arc::clone(&shared), store: None, idle_max: IDLE_MS_MAX };
            let (taken, stopped, alive) = (taken.clone(), stopped.clone(), alive.clone());
            let thread = thread::Builder::new().name(format!("http-store-{number}")).spawn(move || {
                reader.run(&taken, &stopped);
                drop(alive);
            })?;
            threads.push(thread);
        }
        Ok(Self { jobs, stopped, ended, threads, asked: AtomicUsize::new(0) })
    }

    /// Asks the store, within the deadlines. What is asked may be asked twice.
    pub fn ask<T, F>(&self, question: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnMut(&mut Store) -> Result<T, StoreError> + Send + 'static,
    {
        self.submit(question, false)
    }

    /// The same for what is answered with megabytes: whoever asks has room for them.
    pub fn ask_large<T, F>(&self, question: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnMut(&mut Store) -> Result<T, StoreError> + Send + 'static,
    {
        self.submit(question, true)
    }

    /// Has the store change something, within the deadlines and no more than once: when the connection is lost
    /// meanwhile, nobody knows whether it was done.
    pub fn ask_once<T, F>(&self, mut change: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnMut(&mut Store) -> Result<T, StoreError> + Send + 'static,
    {
        let asked = self.submit(
            move |store| {
                // A connection that died while it was idle is found out before anything is sent by it.
                store.ping()?;
                match change(store) {
                    Err(error) if is_connection_lost(&error) => Ok(Err(problem_of(&error))),
                    done => done.map(Ok),
                }
            },
            false,
        )?;
        asked.map_err(|problem| {
            let unknown = "whether it was done is not known: ask again with the same process_id";
            let message = format!("{}; {unknown}", problem.message);
            let detail = problem.detail.map(|it| format!("{it}; {unknown}").into());
            Problem { message, detail, ..problem }
        })
    }

    fn submit<T, F>(&self, mut question: F, is_large: bool) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnMut(&mut Store) -> Result<T, StoreError> + Send + 'static,
    {
        let now = Instant::now();
        let give_up = now + Duration::from_millis(ANSWER_MS_MAX);
        let _asked = Asked::count(&self.asked).ok_or_else(all_taken)?;
        let begun = Arc::new(AtomicBool::new(false));
        let (reply, answer) = bounded(1);
        let question: Question = Box::new(move |store, may_retry| {
            let (result, fate) = match store {
                Err(problem) => (Err(problem), Fate::Settled),
                Ok(store) => match question(store) {
                    Ok(value) => (Ok(value), Fate::Settled),
                    Err(error) if may_retry && is_connection_lost(&error) => return Fate::Unasked,
                    Err(error) => {
                        let problem = problem_of(&error);
                        (Err(problem.clone()), Fate::Failed(problem))
                    }
                },
            };
            // Whoever asked may have given up.
            let _ = reply.try_send(result);
            fate
        });
        let job = Job { question, give_up, begun: Arc::clone(&begun), is_large };
        let connected_by = now + Duration::from_millis(CONNECT_MS_MAX);
        select! {
            send(self.jobs, job) -> sent => sent.map_err(|_| stopping())?,
            recv(self.stopped) -> _ => return Err(stopping()),
            default(connected_by - now) => return Err(all_taken()),
        }
        self.wait(&answer, &begun, connected_by, give_up)
    }

    fn wait<T>(
        &self,
        answer: &Receiver<Result<T, Problem>>,
        begun: &AtomicBool,
        connected_by: Instant,
        give_up: Instant,
    ) -> Result<T, Problem> {
        for until in [connected_by, give_up] {
            select_biased! {
                recv(answer) -> result => {
                    return result.unwrap_or_else(|_| Err(Problem::new(500, "internal_error",
                        "reading from the database ended without an answer; the log says why")));
                },
                recv(self.stopped) -> _ => return Err(stopping()),
                default(until.saturating_duration_since(Instant::now())) => {}
            }
            if !begun.load(Ordering::Acquire) {
                return Err(Problem::new(
                    503,
                    "database_unavailable",
                    format!("no connection to the database within {CONNECT_MS_MAX} ms"),
                ));
            }
        }
        Err(Problem::new(
            503,
            "database_unavailable",
            format!("no answer from the database within {ANSWER_MS_MAX} ms"),
        ))
    }

    /// Joins the threads, once `stopped` is disconnected. One that hangs in the network beyond the wait is left to
    /// its fate, and the log says so.
    pub fn join(&mut self) {
        let _ = self.ended.recv_timeout(Duration::from_millis(STOP_MS_MAX));
        for thread in self.threads.drain(..) {
            if !thread.is_finished() && !matches!(self.ended.try_recv(), Err(e) if e.is_disconnected()) {
                log::warn!("http: a connection to the database hangs; stopping without it");
                continue;
            }
            if thread.join().is_err() {
                log::error!("http: a reading thread had panicked");
            }
        }
    }
}

/// A question that is counted for as long as it is asked.
struct Asked<'a>(&'a AtomicUsize);

impl<'a> Asked<'a> {
    fn count(asked: &'a AtomicUsize) -> Option<Self> {
        let add = |now: usize| (now < QUESTIONS_MAX).then_some(now + 1);
        asked.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).ok().map(|_| Self(asked))
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Reader {
    shared: Arc<Shared>,
    store: Option<Store>,
    idle_max: u64,
}

impl Reader {
    fn run(mut self, jobs: &Receiver<Job>, stopped: &Receiver<()>) {
        loop {
            select_biased! {
                recv(stopped) -> _ => return,
                recv(jobs) -> job => match job {
                    Ok(job) => self.serve(job),
                    Err(_) => return,
                },
                default(self.patience()) => (self.store, self.idle_max) = (None, IDLE_MS_MAX),
            }
        }
    }

    fn patience(&self) -> Duration {
        // Without a connection there is nothing to be closed.
        if self.store.is_some() { Duration::from_millis(self.idle_max) } else { Duration::from_secs(86_400) }
    }

    fn serve(&mut self, mut job: Job) {
        if job.is_large {
            self.idle_max = IDLE_LARGE_MS_MAX;
        }
        // A panic in a question must not cost a reader: the one who asked sees the channel closed.
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.settle(&mut job)));
        if served.is_err() {
            log::error!("http: a question to the database panicked");
            self.store = None;
        }
    }

    fn settle(&mut self, job: &mut Job) {
        let mut may_retry = self.store.is_some();
        while Instant::now() < job.give_up {
            let store = match &mut self.store {
                Some(store) => store,
                none => match self.shared.connect() {
                    Ok(store) => none.insert(store),
                    Err(problem) => {
                        (job.question)(Err(problem), false);
                        return;
                    }
                },
            };
            job.begun.store(true, Ordering::Release);
            match (job.question)(Ok(store), may_retry) {
                Fate::Settled => return,
                Fate::Failed(problem) => {
                    self.shared.log(&problem);
                    self.store = None;
                    return;
                }
                Fate::Unasked => self.store = None,
            }
            may_retry = false;
        }
    }
}

impl Shared {
    fn connect(&self) -> Result<Store, Problem> {
        let mut last = lock(&self.last_failure);
        if let Some((when, problem)) = &*last {
            if when.elapsed() < Duration::from_millis(FAILURE_FRESH_MS) {
                return Err(problem.clone());
            }
            *last = None;
        }
        drop(last);
        let opened = Store::open(&*self.source, "http", &self.schema).and_then(|mut store| {
            store.set_statement_timeout(Duration::from_millis(READ_MS_MAX))?;
            Ok(store)
        });
        opened.map_err(|error| {
            let problem = problem_of(&error);
            *lock(&self.last_failure) = Some((Instant::now(), problem.clone()));
            self.log(&problem);
            problem
        })
    }

    fn log(&self, problem: &Problem) {
        if problem.status < 500 {
            return; // the client's own fault, and told to it
        }
        let mut last = lock(&self.last_log);
        if last.is_none_or(|it| it.elapsed() >= Duration::from_millis(LOG_EVERY_MS)) {
            *last = Some(Instant::now());
            log::warn!("http: {}", problem.detail.as_deref().unwrap_or(&problem.message));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What these hold is set in one assignment: never half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn all_taken() -> Problem {
    let message = "all connections for reading are taken by other requests; ask again later";
    Problem::new(503, "busy", message)
}

fn stopping() -> Problem {
    Problem::new(503, "stopping", "this endpoint is being stopped")
}

/// SQLSTATEs of a server that ends connections (57P..) or of connections that are gone (08...).
fn is_connection_lost(error: &StoreError) -> bool {
    let StoreError::Database { source, .. } = error else { return false };
    source.is_closed()
        || source.code().is_some_and(|it| it.code().starts_with("57P") || it.code().starts_with("08"))
}
