//! Shows the output of commands that run for some time to whoever looks from elsewhere, by way of the database.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::session::Link;
use super::shared::Shared;
use crate::engine::run::slots::Execution;
use crate::store::StoreError;
use crate::store::live::LiveOutput;

/// Commands that end sooner show nothing: their output is in the audit trail before anybody has looked.
const AGE_MIN: Duration = Duration::from_secs(1);
/// Output and commands shown by one statement, about: on a slow link it must not keep the next heartbeat waiting. The
/// others have their turn then.
const BYTES_MAX: usize = 256 * 1024;
const ROWS_MAX: usize = 256;
/// A command that prints nothing more is shown again this often, for what it uses.
const AGAIN: Duration = Duration::from_secs(10);

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
        let all: Vec<_> = shared.running.glimpses(self.first, AGE_MIN).collect();
        let running: HashSet<&Execution> = all.iter().map(|it| &it.1).collect();
        if self.shown.keys().any(|key| !running.contains(key)) {
            let still: Vec<Execution> = running.iter().map(|it| (*it).clone()).collect();
            link.look(|store| store.hide_live_except(node, &still))?;
            self.shown.retain(|key, _| running.contains(key));
        }
        let mut news: Vec<LiveOutput> = Vec::new();
        let mut bytes = 0;
        for (executor, execution, printed) in &all {
            if bytes >= BYTES_MAX || news.len() >= ROWS_MAX {
                self.first = *executor;
                break;
            }
            if let Some(view) =
                self.is_news(execution, *printed).then(|| shared.running.view(*executor, execution))
            {
                bytes += view.as_ref().map_or(0, |it| it.tail.len());
                news.extend(view);
            }
        }
        if news.is_empty() {
            return Ok(());
        }
        link.look(|store| store.show_live(node, &news))?;
        let now = Instant::now();
        let done =
            news.into_iter().map(|it| ((it.process_id, it.task_index, it.attempt), (it.output_bytes, now)));
        self.shown.extend(done);
        Ok(())
    }

    fn is_news(&self, execution: &Execution, printed: u64) -> bool {
        let before = self.shown.get(execution);
        before.is_none_or(|(bytes, at)| *bytes != printed || at.elapsed() >= AGAIN)
    }
}
