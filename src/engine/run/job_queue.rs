//! The channels by which tasks reach the executors.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::runner::Work;
use crate::engine::signal::Signal;

/// Both ends of the channels: they stay open as long as a thread has the queue.
#[derive(Clone)]
pub(crate) struct JobQueue<T = Work> {
    /// Processes that were claimed while others of a lower priority are here.
    pub(crate) urgent: Sender<T>,
    /// Other processes that were claimed.
    pub(crate) claimed: Sender<T>,
    /// Processes that go on.
    pub(crate) next: Sender<T>,
    /// In the same order.
    receivers: [Receiver<T>; 3],
    /// Notified when results must wait for others no longer: few tasks wait for a permit, or a process of a higher
    /// priority waits for an executor.
    pub(crate) flush_now: Arc<Signal>,
}

impl<T> JobQueue<T> {
    /// Each channel has room for `max` tasks.
    pub(crate) fn new(max: usize) -> Self {
        let ((urgent, a), (claimed, b), (next, c)) = (bounded(max), bounded(max), bounded(max));
        Self { urgent, claimed, next, receivers: [a, b, c], flush_now: Arc::default() }
    }

    /// The next work; `None` once `quit` is closed. Processes that go on (`is_next_first`) and new ones alternate, or
    /// the one might wait for as long as there is any of the other.
    pub(crate) fn take(&self, is_next_first: bool, quit: &Receiver<()>) -> Option<T> {
        let [urgent, claimed, next] = &self.receivers;
        let order = if is_next_first { [next, urgent, claimed] } else { [urgent, claimed, next] };
        order.into_iter().find_map(|channel| channel.try_recv().ok()).or_else(|| {
            select! {
                recv(urgent) -> work => work.ok(),
                recv(claimed) -> work => work.ok(),
                recv(next) -> work => work.ok(),
                recv(quit) -> _ => None,
            }
        })
    }

    /// How many tasks wait for a run permit.
    pub(crate) fn waiting(&self) -> usize {
        self.receivers.iter().map(Receiver::len).sum()
    }

    /// Up to so many tasks that no executor has taken, the least urgent first.
    pub(crate) fn take_back(&self, how_many: usize) -> impl Iterator<Item = T> {
        let [urgent, claimed, next] = &self.receivers;
        [claimed, next, urgent].into_iter().flat_map(Receiver::try_iter).take(how_many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_go_on_and_new_ones_alternate_the_urgent_first() {
        let jobs = JobQueue::new(9);
        let (_keep, quit) = bounded(0);
        for n in 0..3 {
            jobs.next.send(("next", n)).unwrap();
            jobs.claimed.send(("claimed", n)).unwrap();
        }
        jobs.urgent.send(("urgent", 0)).unwrap();
        assert_eq!(jobs.waiting(), 7);
        let taken: Vec<_> = (0..7).map(|n| jobs.take(n % 2 == 1, &quit).unwrap()).collect();
        let expected = ["urgent", "next", "claimed", "next", "claimed", "next", "claimed"];
        assert_eq!(taken.iter().map(|it| it.0).collect::<Vec<_>>(), expected);
        assert_eq!(taken.iter().map(|it| it.1).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn what_is_handed_on_is_taken_after_the_poller_has_ended_until_the_node_quits() {
        let (recorder, (keep, quit)) = (JobQueue::new(1), bounded(0));
        let (poller, jobs) = (recorder.clone(), recorder.clone());
        poller.claimed.send("claimed").unwrap();
        drop(poller);
        assert_eq!(jobs.take(false, &quit), Some("claimed"));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| jobs.take(false, &quit));
            recorder.next.send("a result was recorded").unwrap();
            assert_eq!(waits.join().unwrap(), Some("a result was recorded"));
            let waits = scope.spawn(|| jobs.take(false, &quit));
            drop(keep);
            assert_eq!(waits.join().unwrap(), None);
        });
    }
}
