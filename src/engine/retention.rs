//! Automatic retention: finished processes, or their outputs alone, are forgotten some time after their end.
//!
//! It has a thread and a connection of its own, so that a large delete never keeps a heartbeat or a result waiting.
//! Every node that is told to may do it; an advisory lock, held for one batch at a time, lets one at a time. Where processes
//! are archived before, the lock is held for a whole sweep, so that no process is in the files of two nodes.

pub mod policy;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use jiff::SignedDuration;
use log::{info, warn};

use self::policy::{AgePart, Policy};
use super::threads;
use crate::archive::{Archive, ArchiveError, Step, Sweep, sweep};
use crate::database::ConnectionSource;
use crate::store::Store;
use crate::store::eras::{Ages, EraSpan};
use crate::store::prune::{PruneFilter, PrunePlace, Pruned};

/// How often it looks, unless what it keeps is younger than that.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The shortest pause between two looks, for a retention of seconds.
const LOOK_MIN: Duration = Duration::from_secs(1);
/// After each batch it rests this many times as long as the batch took: a fifth of one connection's work at the most.
const REST_FACTOR: u32 = 4;
/// A rest is no longer than this, also after a batch that waited for others' locks.
const REST_MAX: Duration = Duration::from_secs(10);
/// After so many looks at which somebody else had the lock it is not asked for any more.
const REFUSED_MAX: u32 = 3;
/// The same for archives: a sweep of another node may last for long.
const SWEEP_MAX: Duration = Duration::from_secs(6 * 3600);
/// Once in this time a look begins with the oldest again: what was locked, or was written as ended late, may lie there.
const WHOLE_LOOK_EVERY: Duration = Duration::from_secs(3600);
/// A time of an end is that of the begin of its transaction, which may be committed so much later. What comes later still is
/// met by a whole look.
const LATE_MAX: SignedDuration = SignedDuration::from_secs(60);
/// A stop waits this long for a batch, which takes a fraction of it.
const STOP_MAX: Duration = Duration::from_secs(5);
/// The loop has shallow frames; buffers are on the heap.
const STACK_BYTES: usize = 512 * 1024;

/// The thread that forgets. Dropping it without [`Retention::stop`] leaves it to end by itself soon.
pub struct Retention {
    quit: Sender<()>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Retention {
    /// Starts to forget what `policy` says of `schema`; processes are written to `archive` before, if that is given.
    /// `failed` gets a message if the thread panics.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub fn start(
        source: Arc<dyn ConnectionSource>,
        schema: String,
        policy: Policy,
        archive: Option<PathBuf>,
        failed: &Sender<String>,
    ) -> io::Result<Self> {
        let (quit, quitting) = bounded(0);
        let (alive, ended) = bounded::<()>(0);
        let body = move || {
            let forgetter = Forgetter {
                source,
                schema,
                policy,
                archive,
                store: None,
                places: HashMap::new(),
                eras: KeptEras::default(),
                eras_of_outputs: KeptEras::default(),
                measured: None,
                refused: 0,
                refused_since: None,
            };
            forgetter.run(&quitting);
            drop(alive);
        };
        let failed = failed.clone();
        // Full: the owner has been told already.
        let on_panic = move |message| drop(failed.try_send(message));
        let thread = threads::spawn("retention".to_owned(), STACK_BYTES, on_panic, body)?;
        Ok(Self { quit, ended, thread })
    }

    /// Ends it after the present batch. A batch that waits for a lock or a server that does not answer is left behind
    /// after a while: the server drops a batch whose program has ended.
    pub fn stop(self) {
        let Self { quit, ended, thread } = self;
        drop(quit);
        // Nothing is ever sent: its end is the thread's.
        if ended.recv_timeout(STOP_MAX) == Err(RecvTimeoutError::Timeout) {
            warn!("the thread that deletes waits for the database and is left behind");
            return;
        }
        // A panic was reported when it happened.
        _ = thread.join();
    }
}

struct Forgetter {
    source: Arc<dyn ConnectionSource>,
    schema: String,
    policy: Policy,
    archive: Option<PathBuf>,
    store: Option<Store>,
    /// How far each part of the policy was seen to, and since when: what lies before is not read over at each look.
    places: HashMap<String, (PrunePlace, Instant)>,
    /// Eras that are not to be forgotten yet, and those whose outputs are not.
    eras: KeptEras,
    eras_of_outputs: KeptEras,
    /// When it was last looked whether ends were written by hand.
    measured: Option<Instant>,
    /// At how many looks running somebody else had the lock.
    refused: u32,
    refused_since: Option<Instant>,
}

/// Eras of which something is old enough to go, and not all: each is looked at again when the rest may be.
#[derive(Default)]
struct KeptEras(HashMap<i32, KeptEra>);

struct KeptEra {
    until: Instant,
    /// It goes as a whole before long: its processes wait for that, and do not go one by one.
    is_soon: bool,
}

impl KeptEras {
    fn passes_over(&self, era: i32) -> bool {
        self.0.get(&era).is_some_and(|it| Instant::now() < it.until)
    }

    /// Takes in what was looked at, and gives the eras that go as a whole soon.
    fn take(&mut self, spans: Vec<EraSpan>, ages: &Ages) -> Vec<i32> {
        let now = Instant::now();
        self.0.retain(|_, it| now < it.until + WHOLE_LOOK_EVERY);
        for span in spans {
            let left = span.whole_in_s.and_then(|it| Duration::try_from_secs_f64(it.max(0.0)).ok());
            let until = now + left.unwrap_or(WHOLE_LOOK_EVERY).min(WHOLE_LOOK_EVERY);
            self.0.insert(span.era, KeptEra { until, is_soon: span.is_soon(ages) });
        }
        self.0.iter().filter(|(_, it)| it.is_soon).map(|(era, _)| *era).collect()
    }
}

/// What a look has come to.
#[derive(Default)]
struct Tally {
    processes: u64,
    /// Those of which only the outputs went.
    outputs: u64,
    locked: usize,
    changed: usize,
    unreadable: usize,
}

impl Tally {
    /// Takes in a batch; tells of the first lock whose it is.
    fn take(&mut self, store: &mut Store, pruned: &Pruned) -> Result<(), ArchiveError> {
        self.processes += pruned.processes;
        self.changed += pruned.changed.len();
        self.take_locked(store, &pruned.locked)
    }

    fn take_locked(&mut self, store: &mut Store, locked: &[String]) -> Result<(), ArchiveError> {
        if self.locked == 0 && !locked.is_empty() {
            let holders = store.who_keeps(locked)?;
            info!("not all old processes are forgotten this time: {}", holders.join("; "));
        }
        self.locked += locked.len();
        Ok(())
    }

    fn left(&self) -> usize {
        self.locked + self.changed + self.unreadable
    }
}

/// Rests after a batch; false when it is time to end.
fn rest(quit: &Receiver<()>, took: Duration) -> bool {
    quit.recv_timeout((took * REST_FACTOR).min(REST_MAX)) == Err(RecvTimeoutError::Timeout)
}

impl Forgetter {
    fn run(mut self, quit: &Receiver<()>) {
        let shortest = self.policy.shortest().unwrap_or(LOOK_EVERY);
        let look_every = (shortest / 10).clamp(LOOK_MIN, LOOK_EVERY);
        let mut is_failing = false;
        loop {
            match self.round(quit) {
                Ok(()) => is_failing = false,
                Err(error) => {
                    self.store = None;
                    if !is_failing {
                        warn!("finished processes are not forgotten for now: failed to {error}");
                    }
                    is_failing = true;
                }
            }
            if quit.recv_timeout(look_every) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Forgets everything that is old enough, in batches with a rest between them.
    fn round(&mut self, quit: &Receiver<()>) -> Result<(), ArchiveError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => Store::open(&*self.source, "retention", &self.schema)?,
        };
        let mut tally = Tally::default();
        let done = self.forget(&mut store, &mut tally, quit);
        if tally.processes + tally.outputs > 0 {
            let Tally { processes, outputs, locked, changed, unreadable } = tally;
            info!(
                "finished processes forgotten processes={processes} outputs_of={outputs} locked={locked} \
                 changed={changed} unreadable={unreadable}"
            );
        }
        done?;
        self.store = Some(store);
        Ok(())
    }

    fn forget(
        &mut self,
        store: &mut Store,
        tally: &mut Tally,
        quit: &Receiver<()>,
    ) -> Result<(), ArchiveError> {
        let parts = self.policy.processes.parts();
        let mut whole = Vec::new();
        if self.measured.is_none_or(|at| at.elapsed() >= WHOLE_LOOK_EVERY) {
            for ages in [&self.policy.processes, &self.policy.outputs] {
                if let Some(shortest) = ages.parts().iter().map(|it| it.age).min() {
                    store.measure_changed_eras(shortest)?;
                }
            }
            self.measured = Some(Instant::now());
        }
        if self.archive.is_none() {
            let ages = Ages::of(&parts.iter().map(|it| filter_of(it, &[])).collect::<Vec<_>>());
            let kept = &self.eras;
            let (forgotten, spans) =
                store.forget_eras(&ages, |it| kept.passes_over(it), |took| rest(quit, took))?;
            tally.processes += forgotten;
            whole = self.eras.take(spans, &ages);
        }
        for part in parts {
            let goes_on = match self.archive.clone() {
                Some(directory) => self.archive_part(store, &directory, &part, tally, quit)?,
                None => self.delete_part(store, &part, &whole, tally, quit)?,
            };
            if !goes_on {
                return Ok(());
            }
        }
        let parts = self.policy.outputs.parts();
        let ages = Ages::of(&parts.iter().map(|it| filter_of(it, &[])).collect::<Vec<_>>());
        let kept = &self.eras_of_outputs;
        let (forgotten, _, spans) =
            store.forget_outputs_of_eras(&ages, |it| kept.passes_over(it), |took| rest(quit, took))?;
        tally.outputs += forgotten;
        let mut whole = self.eras_of_outputs.take(spans, &ages);
        whole.extend(store.eras_without_outputs()?);
        for part in parts {
            if !self.delete_outputs(store, &part, &whole, tally, quit)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Where a look at a part begins.
    fn place(&self, part: &AgePart) -> Option<PrunePlace> {
        let (place, since) = self.places.get(&part.key())?;
        (since.elapsed() < WHOLE_LOOK_EVERY).then(|| place.clone())
    }

    /// The next look at a part begins at `end`, unless something was left behind.
    fn keep_place(
        &mut self,
        part: &AgePart,
        began: Option<PrunePlace>,
        end: Option<PrunePlace>,
        left: usize,
    ) {
        let key = part.key();
        let since = self.places.remove(&key).filter(|_| began.is_some()).map(|it| it.1);
        if let Some(place) = if left == 0 { end } else { began } {
            self.places.insert(key, (place, since.unwrap_or_else(Instant::now)));
        }
    }

    /// Whether it is our turn; `None` of a batch: another node does it, or anybody who may connect holds its lock. Two that
    /// do it are only slower.
    fn is_refused(&mut self, got_turn: bool) -> bool {
        self.refused = if got_turn { 0 } else { self.refused.saturating_add(1) };
        self.refused > 0 && self.refused <= REFUSED_MAX
    }

    /// False: it is time to end.
    fn delete_part(
        &mut self,
        store: &mut Store,
        part: &AgePart,
        whole: &[i32],
        tally: &mut Tally,
        quit: &Receiver<()>,
    ) -> Result<bool, ArchiveError> {
        let filter = filter_of(part, whole);
        let (first, end) = (self.place(part), end_of(store, part)?);
        let (mut place, before) = (first.clone(), tally.left());
        loop {
            let began = Instant::now();
            let turn = store.prune_alone(&filter, place.as_ref())?;
            let pruned = match turn {
                _ if self.is_refused(turn.is_some()) => return Ok(true),
                Some(pruned) => pruned,
                None => store.prune(&filter, place.as_ref())?,
            };
            tally.take(store, &pruned)?;
            let Some(next) = pruned.next else {
                self.keep_place(part, first, end, tally.left() - before);
                return Ok(true);
            };
            place = Some(next);
            if !rest(quit, began.elapsed()) {
                return Ok(false);
            }
        }
    }

    fn archive_part(
        &mut self,
        store: &mut Store,
        directory: &std::path::Path,
        part: &AgePart,
        tally: &mut Tally,
        quit: &Receiver<()>,
    ) -> Result<bool, ArchiveError> {
        let is_ours = store.take_sweep()?;
        let since = *self.refused_since.get_or_insert_with(Instant::now);
        if !is_ours && since.elapsed() < SWEEP_MAX {
            return Ok(true);
        }
        self.refused_since = None;
        let (first, end, before) = (self.place(part), end_of(store, part)?, tally.left());
        let mut go_on = |store: &mut Store, step: Step<'_>| match step {
            Step::Written(took) => Ok(rest(quit, took)),
            Step::Archived(path, processes) => {
                info!("finished processes archived processes={processes} file={}", path.display());
                Ok(true)
            }
            Step::Deleted(pruned, took) => {
                tally.take(store, pruned)?;
                Ok(rest(quit, took))
            }
            Step::Unreadable(problems) => {
                tally.unreadable += problems.len();
                problems
                    .iter()
                    .for_each(|it| warn!("a finished process is neither archived nor deleted: {it}"));
                Ok(true)
            }
        };
        let mut archive = Archive::open(directory)?;
        let swept = sweep(&mut archive, store, &filter_of(part, &[]), first.clone(), &mut go_on);
        if is_ours {
            store.give_sweep()?;
        }
        Ok(match swept? {
            Sweep::Stopped => false,
            Sweep::Done => {
                self.keep_place(part, first, end, tally.left() - before);
                true
            }
        })
    }

    fn delete_outputs(
        &mut self,
        store: &mut Store,
        part: &AgePart,
        whole: &[i32],
        tally: &mut Tally,
        quit: &Receiver<()>,
    ) -> Result<bool, ArchiveError> {
        let (filter, rule, end) = (filter_of(part, whole), part.key(), end_of(store, part)?);
        let mut place = store.outputs_place(&rule)?;
        let (mut begins, before) = (place.is_none(), tally.left());
        loop {
            let began = Instant::now();
            let turn = store.forget_outputs(&filter, place.as_ref(), true)?;
            let forgotten = match turn {
                _ if self.is_refused(turn.is_some()) => return Ok(true),
                Some(forgotten) => forgotten,
                None => store.forget_outputs(&filter, place.as_ref(), false)?.unwrap_or_default(),
            };
            tally.outputs += forgotten.processes;
            tally.take_locked(store, &forgotten.locked)?;
            // What is left is met again by the next look.
            let until = if forgotten.has_more { forgotten.last.as_ref() } else { end.as_ref() };
            if let Some(until) = until.filter(|_| tally.left() == before) {
                store.keep_outputs_place(&rule, until, std::mem::take(&mut begins))?;
            }
            if !forgotten.has_more {
                return Ok(true);
            }
            place = forgotten.last;
            if !rest(quit, began.elapsed()) {
                return Ok(false);
            }
        }
    }
}

/// The end of a look that begins now.
fn end_of(store: &mut Store, part: &AgePart) -> Result<Option<PrunePlace>, ArchiveError> {
    let now = store.now()?;
    let age = SignedDuration::try_from(part.age).unwrap_or(SignedDuration::MAX);
    let end = now.checked_sub(age.saturating_add(LATE_MAX)).ok();
    Ok(end.map(|completed_at| PrunePlace { completed_at, process_id: String::new() }))
}

fn filter_of(part: &AgePart, except_eras: &[i32]) -> PruneFilter {
    PruneFilter {
        older_than: part.age,
        statuses: Vec::new(),
        process_type: part.process_type.clone(),
        except: part.except.clone(),
        except_eras: except_eras.to_vec(),
    }
}
