//! The processes that wait for somebody's lock, as the log tells of them: at first, then ever less often, and at the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::engine::health::node_health::Health;
use crate::engine::health::thread_watchdog::CoreThread;
use crate::engine::session::Session;
use crate::model::explain::blocker::{Blocker, named};

/// The time until a process that still waits is told again, doubled each time.
const AGAIN_MIN: Duration = Duration::from_secs(10);
/// And at the most.
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// Processes told at once; of more the number says as much.
const TOLD_MAX: usize = 5;

/// Of one thread.
pub(crate) struct LockStories {
    thread: CoreThread,
    health: Arc<Health>,
    stories: HashMap<String, Story>,
}

#[derive(Clone, Copy)]
struct Story {
    since: Instant,
    /// When it was told, and how long from then to the next time.
    told: Option<(Instant, Duration)>,
}

impl Story {
    fn is_due(&self) -> bool {
        self.told.is_none_or(|(at, pause)| at.elapsed() >= pause)
    }
}

impl LockStories {
    pub(crate) fn new(thread: CoreThread, health: &Arc<Health>) -> Self {
        Self { thread, health: Arc::clone(health), stories: HashMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stories.is_empty()
    }

    /// What becomes of these is told by others.
    pub(crate) fn forget(&mut self, ids: &[&str]) {
        self.stories.retain(|id, _| !ids.contains(&&**id));
    }

    /// These, and no others, wait; `meanwhile` says what becomes of them. Those that do no longer go on.
    pub(crate) fn note(&mut self, session: &mut Session, locked: &[&str], meanwhile: &str) {
        let now = Instant::now();
        self.stories.retain(|id, story| {
            let waits = locked.contains(&&**id);
            if !waits && story.told.is_some() {
                info!("process goes on process_id={id:?} after_s={:.1}", story.since.elapsed().as_secs_f64());
            }
            waits
        });
        for id in locked {
            self.stories.entry((*id).to_owned()).or_insert(Story { since: now, told: None });
        }
        self.health.metrics.note_locked(self.thread, self.stories.len());
        self.tell(session, meanwhile);
    }

    fn tell(&mut self, session: &mut Session, meanwhile: &str) {
        let mut due: Vec<String> =
            self.stories.iter().filter(|it| it.1.is_due()).map(|it| it.0.clone()).collect();
        if due.is_empty() {
            return;
        }
        due.sort_unstable();
        let told: Vec<&str> = due.iter().map(String::as_str).take(TOLD_MAX).collect();
        let blockers = who_locks(session, &told);
        for id in &told {
            let story = self.stories[*id];
            warn!(
                "process waits for a lock process_id={id:?} for_s={:.1}: a row of it is locked by {}; {meanwhile}",
                story.since.elapsed().as_secs_f64(),
                blocked_by(&blockers, id)
            );
        }
        if due.len() > told.len() {
            warn!("{} more processes wait for locks; {meanwhile}", due.len() - told.len());
        }
        for id in due {
            self.stories.entry(id).and_modify(|story| {
                let pause = story.told.map_or(AGAIN_MIN, |(_, pause)| (pause * 2).min(AGAIN_MAX));
                story.told = Some((Instant::now(), pause));
            });
        }
    }
}

/// Who locks each of these processes. What is not seen on a row that is there is an entry that somebody is about to add to
/// the trail.
pub(crate) fn who_locks(session: &mut Session, processes: &[&str]) -> Vec<(String, Blocker)> {
    let known = session.query(|store| {
        let mut known = store.who_locks(processes)?;
        let hidden: Vec<&&str> = processes.iter().filter(|id| !known.iter().any(|it| it.0 == **id)).collect();
        if !hidden.is_empty() {
            let writers = store.who_writes_the_trail()?;
            let of =
                |id: &&&str| writers.iter().map(|it| ((**id).to_owned(), it.clone())).collect::<Vec<_>>();
            known.extend(hidden.iter().flat_map(of));
        }
        Ok(known)
    });
    // The session has logged it.
    known.unwrap_or_default()
}

/// Those of them that lock this one, as a sentence has them.
pub(crate) fn blocked_by(blockers: &[(String, Blocker)], process: &str) -> String {
    let of: Vec<Blocker> = blockers.iter().filter(|it| it.0 == process).map(|it| it.1.clone()).collect();
    named(&of)
}
