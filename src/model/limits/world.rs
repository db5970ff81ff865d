//! A small world in which admission is tried: processes that start, end, fail, go again, are cancelled and given back,
//! limits that are raised, lowered and paused, and the queue's rule: who is blocked waits in the line of what blocks
//! him, and whoever sees room in a line lets go of as many as there is room for.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::admission::{Request, Room, Verdict, admit};

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Ready,
    Held(String),
    Claimed,
    /// It waits for a retry, with the slots of its process.
    Scheduled,
    Ended,
}

#[derive(Debug, Clone)]
struct Process {
    priority: i32,
    /// Entries of the process, of all its tasks, and of each task.
    limits: Vec<String>,
    task_limits: Vec<String>,
    tasks: Vec<Vec<String>>,
    next: usize,
    state: State,
    holds: Vec<String>,
    /// Whether a command of it has begun.
    has_begun: bool,
}

impl Process {
    fn needs(&self) -> Vec<String> {
        let mut needs: Vec<String> = [&self.limits, &self.task_limits, &self.tasks[self.next]]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        needs.sort();
        needs.dedup();
        needs
    }
}

#[derive(Debug, Clone)]
enum Event {
    Start {
        priority: i32,
        limits: Vec<String>,
        task_limits: Vec<String>,
        tasks: Vec<Vec<String>>,
    },
    Succeed(usize),
    Fail {
        of: usize,
        has_retry: bool,
    },
    /// A claim that was never begun goes back.
    GiveBack(usize),
    TimerEnds(usize),
    Cancel(usize),
    Retry(usize),
    SetMax(usize, Option<u32>),
    Pause(usize, bool),
}

const ENTRIES: [&str; 3] = ["a", "b", "c=1"];

#[derive(Default)]
struct World {
    limits: BTreeMap<String, (Option<u32>, bool)>,
    processes: Vec<Process>,
    /// Slots that are kept for those that have waited for long, and who has waited so long.
    reserved: Vec<(usize, String)>,
    has_waited_long: Vec<usize>,
}

impl World {
    fn rooms(&self) -> BTreeMap<String, Room> {
        let taken = |name: &String| self.processes.iter().filter(|it| it.holds.contains(name)).count() as u32;
        let room = |(name, &(max, is_paused)): (&String, &_)| {
            let is_reserved = self.reserved.iter().any(|it| it.1 == *name);
            (name.clone(), Room { max, is_paused, taken: taken(name), is_reserved })
        };
        self.limits.iter().map(room).collect()
    }

    fn in_order(&self, state: &State) -> Vec<usize> {
        let mut found: Vec<usize> =
            (0..self.processes.len()).filter(|&n| self.processes[n].state == *state).collect();
        found.sort_by_key(|&n| (-self.processes[n].priority, n));
        found
    }

    fn nth(&self, state: &State, n: usize) -> Option<usize> {
        let of = self.in_order(state);
        (!of.is_empty()).then(|| of[n % of.len()])
    }

    /// The claim has ended: the slots of the task go, and those of the process with its end.
    fn leave(&mut self, n: usize, state: State) {
        let it = &mut self.processes[n];
        match state {
            State::Ended => it.holds.clear(),
            _ if it.has_begun => it.holds.retain(|entry| it.limits.contains(entry)),
            _ => it.holds.clear(),
        }
        it.state = state;
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Start { priority, limits, task_limits, tasks } => self.processes.push(Process {
                priority,
                limits,
                task_limits,
                tasks,
                next: 0,
                state: State::Ready,
                holds: Vec::new(),
                has_begun: false,
            }),
            Event::Succeed(n) => {
                let Some(n) = self.nth(&State::Claimed, n) else { return };
                let it = &mut self.processes[n];
                it.has_begun = true;
                let is_over = it.next + 1 == it.tasks.len();
                it.next += usize::from(!is_over);
                self.leave(n, if is_over { State::Ended } else { State::Ready });
            }
            Event::Fail { of, has_retry } => {
                let Some(n) = self.nth(&State::Claimed, of) else { return };
                self.processes[n].has_begun = true;
                self.leave(n, if has_retry { State::Scheduled } else { State::Ended });
            }
            Event::GiveBack(n) => {
                if let Some(n) = self.nth(&State::Claimed, n) {
                    self.leave(n, State::Ready);
                }
            }
            Event::TimerEnds(n) => {
                if let Some(n) = self.nth(&State::Scheduled, n) {
                    self.processes[n].state = State::Ready;
                }
            }
            Event::Cancel(n) => {
                if !self.processes.is_empty() {
                    self.leave(n % self.processes.len(), State::Ended);
                }
            }
            Event::Retry(n) => {
                if let Some(n) = self.nth(&State::Ended, n) {
                    (self.processes[n].state, self.processes[n].has_begun) = (State::Ready, false);
                }
            }
            Event::SetMax(n, max) => self.limits.get_mut(ENTRIES[n % ENTRIES.len()]).unwrap().0 = max,
            Event::Pause(n, is_paused) => {
                self.limits.get_mut(ENTRIES[n % ENTRIES.len()]).unwrap().1 = is_paused;
            }
        }
    }

    /// The claims of nodes that have executors enough, until none finds anything. Gives who was admitted, in order.
    fn claim_all(&mut self) -> Vec<usize> {
        let mut admitted = Vec::new();
        // Room only shrinks meanwhile and each waits in a line that has none, so that each moves once for each entry.
        for _ in 0..=self.processes.len() * ENTRIES.len() + 1 {
            self.release();
            let ready = self.in_order(&State::Ready);
            if ready.is_empty() {
                return admitted;
            }
            let needs: Vec<Vec<String>> = ready.iter().map(|&n| self.processes[n].needs()).collect();
            let holds: Vec<Vec<String>> = ready.iter().map(|&n| self.processes[n].holds.clone()).collect();
            let requests: Vec<Request<'_>> = ready
                .iter()
                .zip(needs.iter().zip(&holds))
                .map(|(n, (needs, holds))| Request {
                    needs,
                    holds,
                    has_waited_long: self.has_waited_long.contains(n),
                })
                .collect();
            for (&n, verdict) in ready.iter().zip(admit(&self.rooms(), &requests)) {
                let it = &mut self.processes[n];
                match verdict {
                    Verdict::Admitted(takes) => {
                        it.holds.extend(takes.into_iter().map(str::to_owned));
                        it.state = State::Claimed;
                        self.reserved.retain(|it| it.0 != n);
                        admitted.push(n);
                    }
                    Verdict::Blocked(by) => it.state = State::Held(by.to_owned()),
                    Verdict::Reserving(by, kept) => {
                        it.state = State::Held(by.to_owned());
                        it.holds.extend(kept.iter().map(|&it| it.to_owned()));
                        self.reserved.extend(kept.iter().map(|&it| (n, it.to_owned())));
                    }
                }
            }
        }
        panic!("the queue comes to no rest: {:?}", self.processes);
    }

    /// What was kept for long enough is anybody's again.
    fn reservations_end(&mut self) {
        for (n, entry) in std::mem::take(&mut self.reserved) {
            self.processes[n].holds.retain(|it| *it != entry);
        }
    }

    /// Who holds a slot of a paused limit waits for no slot of it.
    fn release(&mut self) {
        for (name, room) in self.rooms() {
            let line = self.in_order(&State::Held(name.clone()));
            let (holders, others): (Vec<_>, Vec<_>) =
                line.into_iter().partition(|&n| self.processes[n].holds.contains(&name));
            let places = match room {
                Room { is_paused: true, .. } => continue,
                Room { max: None, .. } => others.len(),
                Room { max: Some(max), taken, .. } => max.saturating_sub(taken) as usize,
            };
            for n in holders.into_iter().chain(others.into_iter().take(places)) {
                self.processes[n].state = State::Ready;
            }
        }
    }
}

fn some_entries() -> impl Strategy<Value = Vec<String>> {
    let all: Vec<String> = ENTRIES.iter().map(|&name| name.to_owned()).collect();
    proptest::sample::subsequence(all, 0..=2)
}

fn event() -> impl Strategy<Value = Event> {
    let max = proptest::option::weighted(0.9, 0..3_u32);
    let tasks = proptest::collection::vec(some_entries(), 1..3);
    prop_oneof![
        6 => (0..3, some_entries(), some_entries(), tasks).prop_map(|(priority, limits, task_limits, tasks)| {
            Event::Start { priority, limits, task_limits, tasks }
        }),
        6 => (0..99_usize).prop_map(Event::Succeed),
        2 => (0..99_usize, proptest::bool::ANY).prop_map(|(of, has_retry)| Event::Fail { of, has_retry }),
        1 => (0..99_usize).prop_map(Event::GiveBack),
        2 => (0..99_usize).prop_map(Event::TimerEnds),
        1 => (0..99_usize).prop_map(Event::Cancel),
        1 => (0..99_usize).prop_map(Event::Retry),
        1 => (0..99_usize, max).prop_map(|(n, max)| Event::SetMax(n, max)),
        1 => (0..99_usize, proptest::bool::ANY).prop_map(|(n, is_paused)| Event::Pause(n, is_paused)),
    ]
}

/// What must hold whenever the claims have come to rest.
fn check(world: &World, before: &BTreeMap<String, Room>, admitted: &[usize], waited: &[usize]) {
    let rooms = world.rooms();
    for (name, room) in &rooms {
        // Beyond max are only those that were before it was lowered.
        let most = room.max.map(|max| max.max(before[name].taken));
        assert!(most.is_none_or(|most| room.taken <= most), "{name}: {room:?}");
    }
    for (n, it) in world.processes.iter().enumerate() {
        match &it.state {
            State::Held(by) => {
                let is_held = it.holds.contains(by);
                assert!(
                    rooms[by].is_paused || !is_held && !rooms[by].is_free(),
                    "{n} waits for {by}: {rooms:?}"
                );
                let own = |entry| it.has_begun && it.limits.contains(entry);
                assert!(it.holds.iter().all(own), "{n} waits and keeps what it has not begun with: {it:?}");
            }
            State::Claimed => assert!(it.needs().iter().all(|entry| it.holds.contains(entry))),
            State::Ended => assert!(it.holds.is_empty(), "{n} has ended: {it:?}"),
            State::Ready | State::Scheduled => {}
        }
    }
    // Of those who need the same and hold nothing, nobody is passed over; unless one that was let go for room that it then can't
    // use, as it lacks another limit, has gone before: its place is the next one's, or somebody's who is ready by then.
    let is_crossed = |needs: &[String]| {
        let waits = |it: &&Process| matches!(it.state, State::Held(_));
        world.processes.iter().filter(waits).any(|it| {
            let its = it.needs();
            its != needs && its.iter().any(|entry| needs.contains(entry))
        })
    };
    let is_judged = |n: &usize| !world.processes[*n].has_begun && !is_crossed(&world.processes[*n].needs());
    for &n in admitted.iter().filter(|&n| is_judged(n)) {
        for &other in waited.iter().filter(|&&other| !world.processes[other].has_begun) {
            let (one, other_one) = (&world.processes[n], &world.processes[other]);
            let precedes = (-other_one.priority, other) < (-one.priority, n);
            let waits = matches!(other_one.state, State::Held(_));
            assert!(!(precedes && waits && one.needs() == other_one.needs()), "{n} before {other}");
        }
    }
}

proptest! {
    #[test]
    fn limits_hold_nobody_waits_while_there_is_room_and_nothing_leaks_whatever_happens(
        maxes in proptest::collection::vec(proptest::option::weighted(0.8, 0..3_u32), ENTRIES.len()),
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let limits = ENTRIES.iter().zip(maxes).map(|(&name, max)| (name.to_owned(), (max, false))).collect();
        let mut world = World { limits, ..World::default() };
        for event in events {
            world.happens(event);
            let before = world.rooms();
            let waited: Vec<usize> = (0..world.processes.len())
                .filter(|&n| matches!(world.processes[n].state, State::Ready | State::Held(_)))
                .collect();
            let admitted = world.claim_all();
            check(&world, &before, &admitted, &waited);
        }
        // Whatever was held back goes on once all bounds are gone.
        world.limits.values_mut().for_each(|limit| *limit = (None, false));
        world.claim_all();
        prop_assert!(world.processes.iter().all(|it| !matches!(it.state, State::Held(_))));
    }

    /// Two types that name two groups in opposite order, each with one place: none of them stands still.
    #[test]
    fn two_groups_in_opposite_order_stop_nobody(order in proptest::collection::vec(proptest::bool::ANY, 2..30)) {
        let limits = ENTRIES.iter().map(|&name| (name.to_owned(), (Some(1), false))).collect();
        let mut world = World { limits, ..World::default() };
        for is_reversed in &order {
            let mut limits = vec!["a".to_owned(), "b".to_owned()];
            if *is_reversed {
                limits.reverse();
            }
            world.happens(Event::Start { priority: 0, limits, task_limits: Vec::new(), tasks: vec![Vec::new()] });
        }
        for _ in &order {
            prop_assert_eq!(world.claim_all().len(), 1, "one runs");
            world.happens(Event::Succeed(0));
        }
        prop_assert!(world.processes.iter().all(|it| it.state == State::Ended));
    }

    /// One that needs two groups, each of which others saturate that need it alone.
    #[test]
    fn nothing_starves_for_another_limits_sake(ends in proptest::collection::vec(proptest::bool::ANY, 200)) {
        for has_waited_long in [false, true] {
            let limits = ENTRIES.iter().map(|&name| (name.to_owned(), (Some(1), false))).collect();
            let mut world = World { limits, ..World::default() };
            if has_waited_long {
                world.has_waited_long.push(2);
            }
            let start = |world: &mut World, names: &[&str]| {
                let limits = names.iter().map(|&it| it.to_owned()).collect();
                world.happens(Event::Start { priority: 0, limits, task_limits: Vec::new(), tasks: vec![Vec::new()] });
                world.claim_all();
            };
            start(&mut world, &["a"]);
            start(&mut world, &["b"]);
            start(&mut world, &["a", "b"]);
            start(&mut world, &["a"]);
            start(&mut world, &["b"]);
            for (step, is_a) in ends.iter().enumerate() {
                let name = if *is_a { "a" } else { "b" };
                let runs = world.in_order(&State::Claimed).into_iter().find(|&n| world.processes[n].limits == [name]);
                if let Some(n) = runs {
                    world.leave(n, State::Ended);
                    start(&mut world, &[name]);
                }
                if step % 8 == 7 {
                    world.reservations_end();
                    world.claim_all();
                }
            }
            prop_assert_eq!(world.processes[2].state == State::Claimed, has_waited_long);
        }
    }
}
