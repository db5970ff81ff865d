//! Which process ids were given since a command was started. The kernel gives them in turn and begins anew when they
//! are used up, so what the command has started has an id between its own and the last one that was given, as long
//! as that has not gone all the way round meanwhile.

use std::fs;
use std::time::{Duration, Instant};

/// No machine uses up half of its ids in this time: that would be more than 60,000 processes a second.
const YOUNG: Duration = Duration::from_millis(250);

/// Ids from `first` to `last`, both included, in the order in which the kernel gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    first: i32,
    last: i32,
    max: i32,
}

impl Ids {
    /// Every id there is; none where the system does not tell.
    pub fn all() -> Option<Self> {
        let max = Given::read()?.max;
        Some(Self { first: 1, last: max - 1, max })
    }

    pub fn contains(self, id: i32) -> bool {
        self.distance(id) <= self.distance(self.last)
    }

    pub fn count(self) -> usize {
        usize::try_from(self.distance(self.last)).unwrap_or(0) + 1
    }

    pub fn iter(self) -> impl Iterator<Item = i32> {
        (0..=self.distance(self.last)).map(move |at| (self.first + at) % self.max).filter(|id| *id > 0)
    }

    /// Those that were given after these.
    pub fn since(self) -> Option<Self> {
        let given = Given::read()?;
        (given.last != self.last && given.max == self.max).then(|| Self {
            first: (self.last + 1) % self.max,
            last: given.last,
            ..self
        })
    }

    /// These and the `newer` ones.
    pub fn with(self, newer: Self) -> Self {
        Self { last: newer.last, ..self }
    }

    fn distance(self, id: i32) -> i32 {
        (id - self.first).rem_euclid(self.max)
    }
}

/// The ids that were given from `leader` on, which was given at `began` or later; none where that can't be known: they
/// may have gone round.
pub fn given_since(leader: i32, began: Instant) -> Option<Ids> {
    if began.elapsed() >= YOUNG {
        return None;
    }
    let Given { last, threads, max } = Given::read()?;
    // Ids that are used are passed over.
    let is_known = leader < max && last > 0 && last < max && threads < max / 2;
    is_known.then_some(Ids { first: leader, last, max })
}

/// What the kernel says of its ids, in our own pid namespace.
struct Given {
    last: i32,
    threads: i32,
    max: i32,
}

impl Given {
    fn read() -> Option<Self> {
        let load = fs::read_to_string("/proc/loadavg").ok()?;
        let max = fs::read_to_string("/proc/sys/kernel/pid_max").ok()?;
        let mut fields = load.split_ascii_whitespace().skip(3);
        let threads = fields.next()?.split_once('/')?.1.parse().ok()?;
        Some(Self { last: fields.next()?.parse().ok()?, threads, max: max.trim().parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_round() {
        let plain = Ids { first: 10, last: 12, max: 100 };
        assert_eq!((plain.iter().collect::<Vec<_>>(), plain.count()), (vec![10, 11, 12], 3));
        assert!(plain.contains(10) && plain.contains(12) && !plain.contains(13) && !plain.contains(9));
        let round = Ids { first: 98, last: 2, max: 100 };
        assert_eq!(round.iter().collect::<Vec<_>>(), [98, 99, 1, 2]);
        assert!(round.contains(99) && round.contains(1) && !round.contains(3) && !round.contains(97));
    }

    #[test]
    fn a_child_is_among_those_that_were_given() {
        let (own, began) = (std::process::id() as i32, Instant::now());
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        // None on a machine so busy that this took long, or full of processes.
        if let Some(since) = given_since(child.id() as i32, began) {
            assert!(since.contains(child.id() as i32) && !since.contains(own), "{since:?}, {own}");
        }
        child.kill().and_then(|()| child.wait()).unwrap();
    }
}
