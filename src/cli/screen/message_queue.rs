//! Standard error of a node: nobody may read it, and that must not keep the engine.
//!
//! A pipe that nobody empties (a log program that hangs, a stopped pager) blocks whoever writes to it. Were that a
//! thread of the engine, the node would lose its lease over a log line. So a node's messages go through a bounded
//! queue to a thread of their own; what finds the queue full is counted and left out, and the count is told.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// Messages that wait: many seconds of a busy node's log at the level `info`, and a few hundred KiB.
const WAITING_MESSAGES_MAX: usize = 4096;
/// At its end a node waits so long for its last messages to be read.
const LAST_WORDS_MS_MAX: u64 = 1_000;

static QUEUE: OnceLock<Queue> = OnceLock::new();

struct Queue {
    sender: Sender<Entry>,
    left_out: AtomicU64,
}

enum Entry {
    Text(String),
    /// Everything before has been written when this sender is dropped.
    Mark(Sender<()>),
}

/// From now on messages do not wait for their reader.
///
/// # Errors
/// When there is no thread for it (the machine has none left): they do wait.
pub fn begin() -> io::Result<()> {
    let (sender, entries) = bounded(WAITING_MESSAGES_MAX);
    std::thread::Builder::new().name("messages".to_owned()).spawn(move || write_all(&entries))?;
    // A second node of one program shares the queue of the first.
    drop(QUEUE.set(Queue { sender, left_out: AtomicU64::new(0) }));
    Ok(())
}

/// Takes the text if messages go through the queue; gives it back if they do not.
pub fn offer(text: String) -> Result<(), String> {
    let Some(queue) = QUEUE.get() else { return Err(text) };
    match queue.sender.try_send(Entry::Text(text)) {
        Ok(()) => {}
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
            queue.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Waits until what was said so far is written, but not for ever. To be called before the program ends.
pub fn finish() {
    let Some(queue) = QUEUE.get() else { return };
    let deadline = Instant::now() + Duration::from_millis(LAST_WORDS_MS_MAX);
    let (mark, is_written) = bounded::<()>(0);
    if queue.sender.send_deadline(Entry::Mark(mark), deadline).is_ok() {
        // Written (its end) or not to be written in time: both are the end of it.
        let _ = is_written.recv_deadline(deadline);
    }
}

fn write_all(entries: &Receiver<Entry>) {
    for entry in entries {
        // There is nobody to tell when standard error is gone.
        match entry {
            Entry::Text(text) => drop(write(&text)),
            Entry::Mark(mark) => drop(mark),
        }
        let left_out = QUEUE.get().map_or(0, |queue| queue.left_out.swap(0, Ordering::Relaxed));
        if left_out > 0 {
            drop(write(&format!("({left_out} messages left out: standard error was not read)\n")));
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes())?;
    stderr.flush()
}
