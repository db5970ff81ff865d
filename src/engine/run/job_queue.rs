//! The channels by which tasks reach the executors.

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::runner::Work;

/// The poller's and the recorder's ends of [`Jobs`]. Each of the two holds all of them: executors find the channels open
/// for as long as one of them may hand something on.
pub(crate) struct JobSenders<T = Work> {
    pub(crate) urgent: Sender<T>,
    pub(crate) claimed: Sender<T>,
    pub(crate) next: Sender<T>,
}

impl<T> Clone for JobSenders<T> {
    fn clone(&self) -> Self {
        Self { urgent: self.urgent.clone(), claimed: self.claimed.clone(), next: self.next.clone() }
    }
}

impl<T> JobSenders<T> {
    /// How many tasks wait for an executor's turn.
    pub(crate) fn waiting(&self) -> usize {
        self.urgent.len() + self.claimed.len() + self.next.len()
    }
}

/// Where an executor's work comes from.
pub(crate) struct Jobs<T = Work> {
    /// Of processes that were claimed while others of a lower priority are here.
    urgent: Receiver<T>,
    /// Of other processes that were claimed.
    claimed: Receiver<T>,
    /// Of processes that go on.
    next: Receiver<T>,
}

impl<T> Clone for Jobs<T> {
    fn clone(&self) -> Self {
        Self { urgent: self.urgent.clone(), claimed: self.claimed.clone(), next: self.next.clone() }
    }
}

/// The channels between those who hand tasks on and the executors, each with room for `max` tasks.
pub(crate) fn jobs<T>(max: usize) -> (JobSenders<T>, Jobs<T>) {
    let ((urgent, take_urgent), (claimed, take_claimed), (next, take_next)) =
        (bounded(max), bounded(max), bounded(max));
    let jobs = Jobs { urgent: take_urgent, claimed: take_claimed, next: take_next };
    (JobSenders { urgent, claimed, next }, jobs)
}

impl<T> Jobs<T> {
    /// The next work; `None` once `quit` is closed. An executor goes on with what has begun (`is_next_first`) and begins
    /// what is new in turns, or one of the two might wait for as long as there is any of the other.
    pub(crate) fn take(&self, is_next_first: bool, quit: &Receiver<()>) -> Option<T> {
        let order = if is_next_first {
            [&self.next, &self.urgent, &self.claimed]
        } else {
            [&self.urgent, &self.claimed, &self.next]
        };
        order.into_iter().find_map(|channel| channel.try_recv().ok()).or_else(|| {
            select! {
                recv(self.urgent) -> work => work.ok(),
                recv(self.claimed) -> work => work.ok(),
                recv(self.next) -> work => work.ok(),
                recv(quit) -> _ => None,
            }
        })
    }

    pub(crate) fn waiting(&self) -> usize {
        self.urgent.len() + self.claimed.len() + self.next.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_and_what_is_new_are_taken_in_turns_the_urgent_first() {
        let (senders, jobs) = jobs(9);
        let (_keep, quit) = bounded(0);
        for n in 0..3 {
            senders.next.send(("next", n)).unwrap();
            senders.claimed.send(("claimed", n)).unwrap();
        }
        senders.urgent.send(("urgent", 0)).unwrap();
        assert_eq!((senders.waiting(), jobs.waiting()), (7, 7));
        let taken: Vec<_> = (0..7).map(|n| jobs.take(n % 2 == 1, &quit).unwrap()).collect();
        let expected = ["urgent", "next", "claimed", "next", "claimed", "next", "claimed"];
        assert_eq!(taken.iter().map(|it| it.0).collect::<Vec<_>>(), expected);
        assert_eq!(taken.iter().map(|it| it.1).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn what_is_handed_on_is_taken_after_the_poller_has_ended() {
        let (recorder, jobs) = jobs(1);
        let (keep, quit) = bounded(0);
        let poller = recorder.clone();
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
