//! Publishes the output of commands that run for some time, by way of the database, to people who look from elsewhere.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::holdings::Holdings;
use super::run::slots::Execution;
use super::session::Session;
use crate::store::StoreError;
use crate::store::live::LiveOutput;

/// Commands that end sooner publish nothing: the audit trail has their output before anybody has looked.
const AGE_MIN: Duration = Duration::from_secs(1);
/// About the most output and the most commands of one statement: on a slow link it must not keep the next heartbeat
/// waiting. The others come next time.
const BYTES_MAX: usize = 256 * 1024;
const ROWS_MAX: usize = 256;
/// A command that prints nothing more is published again this often, for the resources it uses.
const AGAIN: Duration = Duration::from_secs(10);

/// The rows of this node are a help for people: a failed write loses nothing.
pub(super) struct LiveOutputPublisher {
    holdings: Arc<Holdings>,
    /// How much each execution had printed when it was published last, and when that was.
    published: HashMap<Execution, (u64, Instant)>,
    /// The executor at which the next look begins.
    first: usize,
}

impl LiveOutputPublisher {
    pub(super) fn new(holdings: Arc<Holdings>) -> Self {
        Self { holdings, published: HashMap::new(), first: 0 }
    }

    /// Publishes what is new, and takes away what has ended.
    pub(super) fn update(&mut self, session: &mut Session) -> Result<(), StoreError> {
        let slots = self.holdings.slots.from(self.first);
        let all: Vec<_> = slots
            .filter_map(|(executor, slot)| {
                let (execution, printed) = slot.glimpse(AGE_MIN)?;
                Some((executor, slot, execution, printed))
            })
            .collect();
        let running: HashSet<&Execution> = all.iter().map(|it| &it.2).collect();
        if self.published.keys().any(|key| !running.contains(key)) {
            let still: Vec<Execution> = running.iter().map(|it| (*it).clone()).collect();
            session.query(|store| store.hide_live_except(&self.holdings.node_id, &still))?;
            self.published.retain(|key, _| running.contains(key));
        }
        let mut new: Vec<LiveOutput> = Vec::new();
        let mut bytes = 0;
        for (executor, slot, execution, printed) in &all {
            if bytes >= BYTES_MAX || new.len() >= ROWS_MAX {
                self.first = *executor;
                break;
            }
            if self.is_new(execution, *printed)
                && let Some(view) = slot.view(execution)
            {
                bytes += view.tail.len();
                new.push(view);
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        session.query(|store| store.show_live(&self.holdings.node_id, &new))?;
        let now = Instant::now();
        let done =
            new.into_iter().map(|it| ((it.process_id, it.task_index, it.attempt), (it.output_bytes, now)));
        self.published.extend(done);
        Ok(())
    }

    fn is_new(&self, execution: &Execution, printed: u64) -> bool {
        let before = self.published.get(execution);
        before.is_none_or(|(bytes, at)| *bytes != printed || at.elapsed() >= AGAIN)
    }
}
