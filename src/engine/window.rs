//! Shows the output of commands that run for some time to whoever looks from elsewhere, by way of the database.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::link::Link;
use super::shared::Shared;
use crate::command::LIVE_BYTES_MAX;
use crate::store::StoreError;
use crate::store::live::LiveOutput;

/// Commands that end sooner show nothing: their output is in the audit trail before anybody has looked.
const AGE_MIN: Duration = Duration::from_secs(1);
/// Commands shown by one statement: a megabyte at the most. The others have their turn at the next heartbeat.
const SHOWN_MAX: usize = 1024 * 1024 / LIVE_BYTES_MAX;
/// A command that prints nothing more is shown again this often, for what it uses.
const AGAIN: Duration = Duration::from_secs(10);

/// Process, task and attempt.
type Execution = (String, u32, u32);

/// What this node shows. Its rows are a help for people: when they can't be written nothing is lost.
#[derive(Default)]
pub(super) struct Window {
    /// How much each execution had printed when it was shown last, and when that was.
    shown: HashMap<Execution, (u64, Instant)>,
    /// Where the next look begins.
    first: usize,
}

impl Window {
    /// Shows what is new, and takes away what has ended.
    pub(super) fn update(&mut self, shared: &Shared, link: &mut Link) -> Result<(), StoreError> {
        let node = &shared.node_id;
        let all: Vec<LiveOutput> = shared.running.views(self.first, AGE_MIN).collect();
        let running: Vec<Execution> = all.iter().map(execution_of).collect();
        let keys: HashSet<&Execution> = running.iter().collect();
        if self.shown.keys().any(|key| !keys.contains(key)) {
            link.look(|store| store.hide_live_except(node, &running))?;
            self.shown.retain(|key, _| keys.contains(key));
        }
        let news: Vec<LiveOutput> = all.into_iter().filter(|it| self.is_news(it)).take(SHOWN_MAX).collect();
        if news.is_empty() {
            return Ok(());
        }
        link.look(|store| store.show_live(node, &news))?;
        self.first = self.first.wrapping_add(news.len()) % shared.config.executors;
        let now = Instant::now();
        self.shown.extend(news.iter().map(|it| (execution_of(it), (it.output_bytes, now))));
        Ok(())
    }

    fn is_news(&self, live: &LiveOutput) -> bool {
        let before = self.shown.get(&execution_of(live));
        before.is_none_or(|(bytes, at)| *bytes != live.output_bytes || at.elapsed() >= AGAIN)
    }
}

fn execution_of(live: &LiveOutput) -> Execution {
    (live.process_id.clone(), live.task_index, live.attempt)
}
