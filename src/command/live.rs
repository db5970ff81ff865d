//! What a running command shows of itself while it runs: the end of its output, and its process.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::usage;

/// Bytes of the output's end that are kept to be shown.
pub const LIVE_BYTES_MAX: usize = 16 * 1024;

/// One executor's live output: its command writes, whoever watches reads.
#[derive(Debug, Default)]
pub struct Live {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pid: Option<i32>,
    tail: VecDeque<u8>,
    total: u64,
    /// When it printed last, or began.
    printed: Option<Instant>,
}

/// What it shows at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveView {
    /// Bytes printed so far.
    pub output_bytes: u64,
    /// The last of them, [`LIVE_BYTES_MAX`] at the most.
    pub tail: Vec<u8>,
    /// How long it has printed nothing.
    pub silent: Duration,
    /// CPU time so far, where the platform shows it.
    pub cpu: Option<Duration>,
    /// The largest resident size so far, in bytes, where the platform shows it.
    pub memory_bytes: Option<u64>,
}

impl Live {
    /// A command has begun.
    pub(super) fn begin(&self, pid: i32) {
        *self.lock() = State { pid: Some(pid), printed: Some(Instant::now()), ..State::default() };
    }

    /// It has printed this.
    pub(super) fn push(&self, piece: &[u8]) {
        let mut state = self.lock();
        state.total += piece.len() as u64;
        state.printed = Some(Instant::now());
        let piece = &piece[piece.len().saturating_sub(LIVE_BYTES_MAX)..];
        let excess = (state.tail.len() + piece.len()).saturating_sub(LIVE_BYTES_MAX);
        state.tail.drain(..excess);
        state.tail.extend(piece);
    }

    /// It has ended.
    pub(super) fn end(&self) {
        *self.lock() = State::default();
    }

    /// Bytes printed so far; nothing if no command runs.
    pub fn output_bytes(&self) -> Option<u64> {
        let state = self.lock();
        state.pid.map(|_| state.total)
    }

    /// How it is now; nothing if no command runs.
    pub fn view(&self) -> Option<LiveView> {
        let (pid, output_bytes, tail, printed) = {
            let state = self.lock();
            (state.pid?, state.total, state.tail.iter().copied().collect(), state.printed)
        };
        let silent = printed.map_or(Duration::ZERO, |at| at.elapsed());
        Some(LiveView {
            output_bytes,
            tail,
            silent,
            cpu: usage::cpu(pid),
            memory_bytes: usage::peak_memory(pid),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_output_is_kept() {
        let live = Live::default();
        assert_eq!(live.view(), None);
        live.begin(std::process::id() as i32);
        live.push(b"ab");
        let view = live.view().unwrap();
        assert_eq!((view.output_bytes, &*view.tail), (2, &b"ab"[..]));
        assert_eq!(view.cpu.is_some(), cfg!(target_os = "linux"));
        live.push(&[b'x'; LIVE_BYTES_MAX - 1]);
        let view = live.view().unwrap();
        assert_eq!((view.output_bytes, view.tail.len()), (LIVE_BYTES_MAX as u64 + 1, LIVE_BYTES_MAX));
        assert_eq!(&view.tail[..2], b"bx");
        live.push(&[b'y'; 3 * LIVE_BYTES_MAX]);
        let view = live.view().unwrap();
        assert_eq!(
            (view.output_bytes, view.tail),
            (4 * LIVE_BYTES_MAX as u64 + 1, vec![b'y'; LIVE_BYTES_MAX])
        );
        live.end();
        assert_eq!(live.view(), None);
    }
}
