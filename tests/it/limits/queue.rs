//! Limits beside the rest of the queue.
