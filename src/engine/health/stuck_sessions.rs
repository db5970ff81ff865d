//! Ends sessions of ours from which no answer comes, so that the thread that waits for one can go on.
//!
//! The server itself ends a statement that takes too long. If not even that is heard, whatever carries the connection
//! (a pooler, a load balancer) has lost it, and the thread would wait for as long as that thing stands: the kernel's
//! keepalives reach no further than to it. A session that the server ends is closed all along the way. When no new
//! connection can be had either, the server is away or frozen, and there is nothing to do but wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{debug, warn};

use super::thread_watchdog::CoreThread;
use crate::engine::shared::Shared;
use crate::engine::shutdown::Phase;
use crate::store::membership::NodeState;
use crate::store::{Backend, Store, StoreError};

/// Since when each of the core threads has been waiting for an answer of which session.
#[derive(Default)]
pub(crate) struct Asked {
    since: Mutex<[Option<(Instant, Backend)>; CoreThread::ALL.len()]>,
}

impl Asked {
    /// What is held is whole between any two calls.
    fn lock(&self) -> MutexGuard<'_, [Option<(Instant, Backend)>; CoreThread::ALL.len()]> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread begins to wait for an answer of this session.
    pub(crate) fn begin(&self, thread: CoreThread, backend: Backend) {
        self.lock()[thread as usize] = Some((Instant::now(), backend));
    }

    pub(crate) fn end(&self, thread: CoreThread) {
        self.lock()[thread as usize] = None;
    }

    /// Who has been waiting for longer than `limit`.
    fn longer_than(&self, limit: Duration) -> Vec<(CoreThread, Instant, Backend)> {
        let since = self.lock();
        let all = CoreThread::ALL.into_iter().filter_map(|thread| {
            let (began, backend) = since[thread as usize].as_ref()?;
            (began.elapsed() > limit).then(|| (thread, *began, backend.clone()))
        });
        all.collect()
    }

    fn is_waiting(&self, thread: CoreThread, began: Instant) -> bool {
        self.lock()[thread as usize].as_ref().is_some_and(|it| it.0 == began)
    }
}

/// Looks for threads that wait too long until `quit` is closed.
pub(crate) fn watch(shared: &Arc<Shared>, quit: &Receiver<()>) {
    /// How often it looks.
    const LOOK: Duration = Duration::from_millis(500);
    /// After a failure: each attempt to connect may leave a thread behind that waits with the others.
    const PAUSE: Duration = Duration::from_secs(10);
    // The server gives its statements up at the timeout; the rest is for the answer's way.
    let limit = shared.config.statement_timeout * 5 / 4;
    let mut pause = LOOK;
    while quit.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        pause = LOOK;
        for (thread, since, backend) in shared.asked.longer_than(limit) {
            if let Err(error) = end_session(shared, thread, since, &backend) {
                debug!(
                    "role={} gets no answer and its session was not ended: failed to {error}",
                    thread.as_str()
                );
                pause = PAUSE;
                break;
            }
        }
    }
}

fn end_session(
    shared: &Shared,
    thread: CoreThread,
    since: Instant,
    backend: &Backend,
) -> Result<(), StoreError> {
    let timeout = shared.config.statement_timeout;
    let mut store =
        Store::open_hot(&*shared.source, "silence", &shared.config.schema, fastrand::i32(..), timeout)?;
    if !shared.asked.is_waiting(thread, since) {
        return Ok(());
    }
    if thread == CoreThread::Keeper {
        // The node's lock goes with its session: others, who have not heard of this node for a while, are to wait for
        // the new one. Our own view of the lease is not touched.
        let is_stopping = shared.phase() >= Phase::Draining;
        let state = if is_stopping { NodeState::Stopping } else { NodeState::Running };
        store.heartbeat(&shared.node_id, state, None)?;
    }
    let waited = since.elapsed().as_secs_f64();
    warn!("no answer for {waited:.1} s role={}: its session is ended", thread.as_str());
    store.end_backend(backend)
}
