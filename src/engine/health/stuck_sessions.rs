//! Ends sessions of ours that give no answer, so that the thread that waits for one can go on.
//!
//! The server itself ends a statement that takes too long. If we do not hear even that, whatever carries the connection
//! (a pooler, a load balancer) has lost it, and the thread would wait for as long as that thing stands: the kernel's
//! keepalives reach no further than to it. A session that the server ends is closed all along the way. When no new
//! connection can be opened either, the server is away or frozen, and all we can do is wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{debug, warn};

use super::thread_watchdog::CoreThread;
use crate::engine::session::Sessions;
use crate::engine::shutdown::Shutdown;
use crate::store::{Backend, StoreError};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(500);
/// The pause after a failure: each attempt to connect may leave a thread behind that waits with the others.
const FAILURE_PAUSE: Duration = Duration::from_secs(10);

pub(crate) struct StuckSessions {
    pub(crate) node_id: Arc<str>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) shutdown: Arc<Shutdown>,
}

impl StuckSessions {
    /// Looks for threads that wait too long until `quit` is closed.
    pub(crate) fn run(&self, quit: &Receiver<()>) {
        // The server ends a statement at its timeout; the rest is for the answer's way.
        let limit = self.sessions.statement_timeout * 5 / 4;
        let mut pause = LOOK;
        while quit.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            pause = LOOK;
            for (thread, since, backend) in self.sessions.health.watchdog.unanswered(limit) {
                if let Err(error) = self.end_session(thread, since, &backend) {
                    debug!(
                        "role={} gets no answer and its session was not ended: failed to {error}",
                        thread.as_str()
                    );
                    pause = FAILURE_PAUSE;
                    break;
                }
            }
        }
    }

    fn end_session(&self, thread: CoreThread, since: Instant, backend: &Backend) -> Result<(), StoreError> {
        let mut store = self.sessions.open("silence", fastrand::i32(..))?;
        if !self.sessions.health.watchdog.is_unanswered(thread, since) {
            return Ok(());
        }
        if thread == CoreThread::Heartbeat {
            // The session takes the node's lock with it. The others have not heard of this node for a while; after
            // this heartbeat they wait for the new session. Our own view of the lease does not change.
            store.heartbeat(&self.node_id, self.shutdown.node_state(), None, None)?;
        }
        let waited = since.elapsed().as_secs_f64();
        warn!("no answer for {waited:.1} s role={}: its session is ended", thread.as_str());
        store.end_backend(backend)
    }
}
