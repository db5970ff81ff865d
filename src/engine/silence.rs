//! Ends sessions of ours from which no answer comes, so that the thread that waits for one can go on.
//!
//! The server itself ends a statement that takes too long. If not even that is heard, whatever carries the connection
//! (a pooler, a load balancer) has lost it, and the thread would wait for as long as that thing stands: the kernel's
//! keepalives reach no further than to it. A session that the server ends is closed all along the way. When no new
//! connection can be had either, the server is away or frozen, and there is nothing to do but wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{debug, warn};

use super::shared::{Phase, Shared};
use crate::store::nodes::NodeState;
use crate::store::{Backend, Store, StoreError};

/// The role of the session that holds the node's lock.
pub(super) const KEEPER: &str = "keeper";

/// What threads of the engine are waiting to hear, by their roles.
#[derive(Default)]
pub(super) struct Asked {
    since: Mutex<HashMap<&'static str, (Instant, Backend)>>,
}

impl Asked {
    /// What is held is whole between any two calls.
    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, (Instant, Backend)>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread of this role begins to wait for an answer of this session.
    pub(super) fn begin(&self, role: &'static str, backend: Backend) {
        self.lock().insert(role, (Instant::now(), backend));
    }

    pub(super) fn end(&self, role: &'static str) {
        self.lock().remove(role);
    }

    fn longer_than(&self, limit: Duration) -> Vec<(&'static str, Instant, Backend)> {
        let since = self.lock();
        let late = since.iter().filter(|it| it.1.0.elapsed() > limit);
        late.map(|(role, (since, backend))| (*role, *since, backend.clone())).collect()
    }

    fn is_waiting(&self, role: &str, began: Instant) -> bool {
        self.lock().get(role).is_some_and(|it| it.0 == began)
    }
}

/// Looks for threads that wait too long until `quit` is closed.
pub(super) fn watch(shared: &Arc<Shared>, quit: &Receiver<()>) {
    /// How often it looks.
    const LOOK: Duration = Duration::from_millis(500);
    /// After a failure: each attempt to connect may leave a thread behind that waits with the others.
    const PAUSE: Duration = Duration::from_secs(10);
    // The server gives its statements up at the timeout; the rest is for the answer's way.
    let limit = shared.config.statement_timeout * 5 / 4;
    let mut pause = LOOK;
    while quit.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        pause = LOOK;
        for (role, since, backend) in shared.asked.longer_than(limit) {
            if let Err(error) = end_session(shared, role, since, &backend) {
                debug!("role={role} gets no answer and its session was not ended: failed to {error}");
                pause = PAUSE;
                break;
            }
        }
    }
}

fn end_session(
    shared: &Shared,
    role: &'static str,
    since: Instant,
    backend: &Backend,
) -> Result<(), StoreError> {
    let timeout = shared.config.statement_timeout;
    let mut store = Store::open_hot(&*shared.source, "silence", &shared.config.schema, timeout)?;
    if !shared.asked.is_waiting(role, since) {
        return Ok(());
    }
    if role == KEEPER {
        // The node's lock goes with its session: others, who have not heard of this node for a while, are to wait for
        // the new one. Our own view of the lease is not touched.
        let is_stopping = shared.phase() >= Phase::Draining;
        let state = if is_stopping { NodeState::Stopping } else { NodeState::Running };
        store.heartbeat(&shared.node_id, state, None)?;
    }
    warn!("no answer for {:.1} s role={role}: its session is ended", since.elapsed().as_secs_f64());
    store.end_backend(backend)
}
