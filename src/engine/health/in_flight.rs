//! Which queries of the core threads the server has not answered yet.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::thread_watchdog::CoreThread;
use crate::store::Backend;

type Queries = [Option<(Instant, Backend)>; CoreThread::ALL.len()];

/// For each core thread, since when it waits for an answer, and of which session.
#[derive(Default)]
pub(crate) struct InFlightQueries {
    queries: Mutex<Queries>,
}

impl InFlightQueries {
    /// The value is complete between any two calls.
    fn lock(&self) -> MutexGuard<'_, Queries> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread begins to wait for an answer of this session.
    pub(crate) fn begin(&self, thread: CoreThread, backend: Backend) {
        self.lock()[thread as usize] = Some((Instant::now(), backend));
    }

    pub(crate) fn end(&self, thread: CoreThread) {
        self.lock()[thread as usize] = None;
    }

    /// The threads that have waited for longer than `limit`.
    pub(crate) fn longer_than(&self, limit: Duration) -> Vec<(CoreThread, Instant, Backend)> {
        let queries = self.lock();
        let all = CoreThread::ALL.into_iter().filter_map(|thread| {
            let (began, backend) = queries[thread as usize].as_ref()?;
            (began.elapsed() > limit).then(|| (thread, *began, backend.clone()))
        });
        all.collect()
    }

    pub(crate) fn is_waiting(&self, thread: CoreThread, began: Instant) -> bool {
        self.lock()[thread as usize].as_ref().is_some_and(|it| it.0 == began)
    }
}
