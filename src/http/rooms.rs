//! Room for large answers: how many bytes of them there may be at once, and who reads how much.
//!
//! A small answer needs no room: there are no more of them than connections. A large one takes room before it is read from
//! the database and keeps it until it is sent. Nobody's client has all of the room, and reading rests after each
//! large answer: however many ask, the node's own work has most of the machine.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of an answer that needs no room: 128 connections have 8 MiB of these at the most.
pub(super) const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all large answers, while they are read and while they are sent: with what a node needs anyway, 25 MiB, and what
/// two of them take while they are written, it stays far below 100 MiB.
const ROOM_BYTES_MAX: usize = 24 * 1024 * 1024;
/// What a single client may have of it, and of the connections: the rest is for others.
pub(super) const SHARE_OF_ONE: (usize, usize) = (3, 4);
/// What an answer takes while it is read: the rows, their texts and the JSON that becomes of them.
const READ_BYTES_MAX: usize = 6 * 1024 * 1024;
/// What a large request takes, as a multiple of its bytes: its text, and the document that becomes of it. No more than an
/// answer.
const REQUEST_FACTOR: u64 = 6;
/// Large answers that are read at once. There are twice as many readers: small questions always find one.
const READS_MAX: usize = 2;
/// Who asks for a large answer waits this long for room.
const WAIT_MS_MAX: u64 = 1_000;
/// And no more than so many wait: each takes up a connection.
const WAITING_MAX: usize = 32;
/// Reading rests this many times as long as a large answer took: all large answers together keep a quarter of a processor
/// busy, here and in the database.
const REST_FACTOR: u32 = 4;
/// But no longer than this: who asks for one large answer after the other, alone, is never refused.
const REST_MS_MAX: u64 = 500;
/// Rest that may be made up for later: a person who looks at a page after a while waits for nothing.
const REST_MS_AHEAD_MAX: u64 = 1_000;

/// Whose connections count as one client's: an address, or a network of IPv6 addresses that one host may choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client(IpAddr);

impl Client {
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from(network))
            }
            address => address,
        })
    }
}

/// The bytes of all large answers.
pub(super) struct Rooms {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    taken: HashMap<Client, usize>,
    reading: usize,
    waiting: usize,
    /// Until then reading rests.
    rests_until: Instant,
    /// When a large answer was read last, until its memory was given back to the system.
    read_last: Option<Instant>,
}

impl State {
    fn has_room(&self, client: Client, bytes: usize) -> bool {
        let all: usize = self.taken.values().sum();
        let own = self.taken.get(&client).copied().unwrap_or(0);
        all + bytes <= ROOM_BYTES_MAX && own + bytes <= ROOM_BYTES_MAX / SHARE_OF_ONE.1 * SHARE_OF_ONE.0
    }

    fn change(&mut self, client: Client, from: usize, to: usize) {
        let own = self.taken.entry(client).or_default();
        *own = *own + to - from;
        if *own == 0 {
            self.taken.remove(&client);
        }
    }
}

impl Rooms {
    pub fn new() -> Self {
        let state = State {
            taken: HashMap::new(),
            reading: 0,
            waiting: 0,
            rests_until: earliest_rest(Instant::now()),
            read_last: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Room to read a large answer, when it is this client's turn; none when that takes too long.
    pub fn to_read(self: &Arc<Self>, client: Client) -> Option<Room> {
        let give_up = Instant::now() + Duration::from_millis(WAIT_MS_MAX);
        let mut state = self.lock();
        if state.waiting >= WAITING_MAX {
            return None;
        }
        state.waiting += 1;
        let is_free = loop {
            let now = Instant::now();
            let is_free = state.reading < READS_MAX && state.has_room(client, READ_BYTES_MAX);
            if is_free && now >= state.rests_until || now >= give_up {
                break is_free && now >= state.rests_until;
            }
            let until = if is_free { give_up.min(state.rests_until) } else { give_up };
            let waited = self.changed.wait_timeout(state, until.saturating_duration_since(now));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        state.waiting -= 1;
        if !is_free {
            return None;
        }
        state.reading += 1;
        state.change(client, 0, READ_BYTES_MAX);
        Some(Room {
            rooms: Arc::clone(self),
            client,
            bytes: READ_BYTES_MAX,
            reads_since: Some(Instant::now()),
        })
    }

    /// Room for a large request, which is to come yet; none when it takes too long until there is some.
    pub fn to_receive(self: &Arc<Self>, client: Client, length: u64) -> Option<Room> {
        let bytes = length.saturating_mul(REQUEST_FACTOR);
        let bytes = usize::try_from(bytes).unwrap_or(READ_BYTES_MAX).min(READ_BYTES_MAX);
        let mut state = self.lock();
        if !state.has_room(client, bytes) && state.waiting < WAITING_MAX {
            state.waiting += 1;
            let wait = Duration::from_millis(WAIT_MS_MAX);
            let waited = self.changed.wait_timeout_while(state, wait, |it| !it.has_room(client, bytes));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        drop(state);
        self.to_keep(client, bytes)
    }

    /// Room for what is there already, if there is some at this moment.
    pub fn to_keep(self: &Arc<Self>, client: Client, bytes: usize) -> Option<Room> {
        let mut state = self.lock();
        if !state.has_room(client, bytes) {
            return None;
        }
        state.change(client, 0, bytes);
        Some(Room { rooms: Arc::clone(self), client, bytes, reads_since: None })
    }

    /// Whether somebody waits for room that slow clients have.
    pub fn is_waited_for(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Whether large answers were read whose memory is to go back to the system yet.
    pub fn has_garbage(&self) -> bool {
        self.lock().read_last.is_some()
    }

    /// The same, once it is this old and nothing is read; it then counts as given back.
    pub fn take_garbage(&self, age: Duration) -> bool {
        let mut state = self.lock();
        let is_due = state.reading == 0 && state.read_last.is_some_and(|it| it.elapsed() >= age);
        if is_due {
            state.read_last = None;
        }
        is_due
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that changes it can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room that a large answer has, from before it is read until it is sent.
pub(super) struct Room {
    rooms: Arc<Rooms>,
    client: Client,
    bytes: usize,
    reads_since: Option<Instant>,
}

impl Room {
    /// The answer is read and has so many bytes.
    pub fn holds(&mut self, bytes: usize) {
        let mut state = self.rooms.lock();
        state.change(self.client, self.bytes, bytes);
        self.bytes = bytes;
        if let Some(since) = self.reads_since.take() {
            let now = Instant::now();
            let until = state.rests_until.max(earliest_rest(now)) + (now - since) * REST_FACTOR;
            state.rests_until = until.min(now + Duration::from_millis(REST_MS_MAX));
            state.reading -= 1;
            state.read_last = Some(now);
        }
        drop(state);
        self.rooms.changed.notify_all();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.holds(0);
    }
}

/// Before this, rest that was not needed is forgotten.
fn earliest_rest(now: Instant) -> Instant {
    now.checked_sub(Duration::from_millis(REST_MS_AHEAD_MAX)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn client(text: &str) -> Client {
        Client::of(text.parse().expect("an address"))
    }

    #[test]
    fn no_client_has_all_of_the_room() {
        let rooms = Arc::new(Rooms::new());
        let (one, other) = (client("10.0.0.1"), client("10.0.0.2"));
        let most = ROOM_BYTES_MAX / 4 * 3;
        let mut kept = rooms.to_keep(one, most);
        assert!(kept.is_some() && rooms.to_keep(one, 1).is_none());
        let rest = rooms.to_keep(other, ROOM_BYTES_MAX - most);
        assert!(rest.is_some() && rooms.to_keep(other, 1).is_none());
        kept.as_mut().unwrap().holds(most - 10);
        assert!(rooms.to_keep(one, 11).is_none() && rooms.to_keep(other, 10).is_some());
        drop((kept, rest));
        assert!(rooms.lock().taken.is_empty());
        assert_eq!(client("::ffff:10.0.0.1"), one);
        assert_eq!(client("2001:db8::1:2:3:4"), client("2001:db8::"));
        assert_ne!(client("2001:db8:0:1::"), client("2001:db8::"));
    }

    #[test]
    fn only_so_many_are_read_at_once_and_who_waits_too_long_is_told() {
        let rooms = Arc::new(Rooms::new());
        let ours = client("10.0.0.1");
        let mut reading: Vec<Room> = (0..READS_MAX).map(|_| rooms.to_read(ours).unwrap()).collect();
        let began = Instant::now();
        assert!(rooms.to_read(client("10.0.0.2")).is_none());
        assert!(began.elapsed() >= Duration::from_millis(WAIT_MS_MAX));
        assert!(!rooms.is_waited_for() && !rooms.has_garbage());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| rooms.to_read(ours).is_none());
            while !rooms.is_waited_for() {
                thread::yield_now();
            }
            reading[0].reads_since = Some(Instant::now());
            reading[0].holds(1);
            assert!(!waiting.join().unwrap());
        });
        drop(reading);
        assert!(rooms.has_garbage() && !rooms.take_garbage(Duration::from_secs(60)));
        assert!(rooms.take_garbage(Duration::ZERO) && !rooms.has_garbage());
        assert!(rooms.lock().taken.is_empty());
    }

    #[test]
    fn a_large_request_waits_for_the_room_of_another() {
        let rooms = Arc::new(Rooms::new());
        let ours = client("10.0.0.1");
        let small: Vec<_> = (0..4).map(|_| rooms.to_receive(ours, 70_000)).collect();
        assert!(small.iter().all(Option::is_some), "each takes what it needs");
        drop(small);
        let kept: Vec<_> = (0..3).map(|_| rooms.to_receive(ours, 1024 * 1024)).collect();
        assert!(kept.iter().all(Option::is_some));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| rooms.to_receive(ours, 1024 * 1024).is_some());
            while !rooms.is_waited_for() {
                thread::yield_now();
            }
            drop(kept);
            assert!(waiting.join().unwrap());
        });
        assert!(!rooms.is_waited_for() && rooms.lock().taken.is_empty());
    }

    #[test]
    fn reading_rests_after_it_was_long_at_work_and_no_longer_than_anybody_waits() {
        let rooms = Arc::new(Rooms::new());
        let rest_after = |millis| {
            let mut room = rooms.to_read(client("10.0.0.1")).unwrap();
            room.reads_since = Instant::now().checked_sub(Duration::from_millis(millis));
            room.holds(1);
            rooms.lock().rests_until.saturating_duration_since(Instant::now())
        };
        let short = REST_MS_AHEAD_MAX / u64::from(REST_FACTOR) / 2;
        assert_eq!(rest_after(short), Duration::ZERO, "it is made up for later");
        let rest = rest_after(10_000);
        assert!(rest > Duration::from_millis(REST_MS_MAX / 2) && rest <= Duration::from_millis(REST_MS_MAX));
        assert!(rooms.to_read(client("10.0.0.1")).is_some(), "who waits has its turn");
    }
}
