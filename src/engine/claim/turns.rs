//! Whose turn it is: process types of one priority share what room there is.
//!
//! Where all that waits is claimed, nobody waits for another, and claims go by time. Where more waits than there is room
//! for, a burst of one type would keep all others waiting until it is over. So the node looks now and then, for some four
//! pages a type, which types wait at the priority that its claims come to. If there are several, each claim names how many
//! it takes of each: those come first of which the node holds the fewest, so that types share the executors whether their
//! processes are short or long; then those that have had the fewest claims so far.
//!
//! Of one type, claims stay as they are. Of very many, a part is known at a time: each of them has a turn, then the next.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::preemption::Yielding;
use super::scan_cursor::Scan;
use crate::store::claims::{Claimed, SharedPart, TypeShare, WaitingType};

/// How often it is looked which types wait, while more waits than there is room for: how long a type that was not there
/// before may wait for its first turn. A look takes a hundredth of that with hundreds of types.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many types are known at a time: as many as one claim may serve.
const TYPES_MAX: usize = 256;

/// So many types stand by in each claim for those whose turn it is and of which nothing is left.
const STAND_BY: usize = 16;

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypeLook {
    pub(super) priority: i32,
    /// Only types before this one.
    pub(super) before: Option<String>,
    pub(super) limit: usize,
}

/// The types of one priority that wait.
pub(super) struct TypeTurns {
    priority: i32,
    waiting: Vec<Turn>,
    /// There are more types: the last one that is known.
    beyond: Option<String>,
    /// Whether the last claim may have left something behind.
    is_behind: bool,
    /// The lowest priority that such claims have come to since the last look.
    lowest: Option<i32>,
    look_at: Instant,
}

#[derive(Debug)]
struct Turn {
    process_type: Arc<str>,
    /// How many were claimed of it since it is known.
    claims: u64,
    /// What was due before is claimed, as in the scan cursor.
    claimed_to: Option<Instant>,
    /// It has had a turn since it is known.
    has_begun: bool,
}

/// What a claim of a full scan has brought: the type, the priority, and when it was due.
pub(super) type Served<'a> = (&'a str, i32, Option<Instant>);

impl TypeTurns {
    pub(super) fn new(now: Instant) -> Self {
        Self { priority: 0, waiting: Vec::new(), beyond: None, is_behind: false, lowest: None, look_at: now }
    }

    /// Whether it is to be looked which types wait, before the next claim.
    pub(super) fn look(&self, now: Instant) -> Option<TypeLook> {
        let priority = self.lowest.unwrap_or(self.priority);
        let is_same = priority == self.priority;
        let beyond = self.beyond.as_ref().filter(|_| is_same);
        let is_due = match beyond {
            Some(_) => self.waiting.iter().all(|turn| turn.claims > 0),
            None => now >= self.look_at,
        };
        (self.is_behind && is_due).then(|| TypeLook { priority, before: beyond.cloned(), limit: TYPES_MAX })
    }

    /// After a look for the types before some other: those that follow on the last of all, if there is room for them.
    pub(super) fn look_on(look: &TypeLook, found: &[WaitingType]) -> Option<TypeLook> {
        let limit = look.limit.checked_sub(found.len()).filter(|&left| left > 0)?;
        look.before.is_some().then_some(TypeLook { before: None, limit, ..*look })
    }

    /// What the look has found, and the one that went on after it.
    pub(super) fn looked(
        &mut self,
        look: &TypeLook,
        found: (Vec<WaitingType>, Vec<WaitingType>),
        now: Instant,
    ) {
        let (mut found, from_the_start) = found;
        let limit = look.limit - found.len();
        let has_found_all = match &look.before {
            None => limit > 0,
            Some(before) => {
                // Where the round began, the rest is known.
                let new = from_the_start.iter().take_while(|it| it.name >= *before).count();
                found.extend(from_the_start.into_iter().take(new));
                limit > 0 && new < limit
            }
        };
        let mut before: HashMap<Arc<str>, Turn> = if look.priority == self.priority {
            self.waiting.drain(..).map(|turn| (Arc::clone(&turn.process_type), turn)).collect()
        } else {
            HashMap::new()
        };
        self.beyond = found.last().filter(|_| !has_found_all).map(|it| it.name.clone());
        // Who was not there before comes first, and has no more to catch up with than the others.
        let names = found.iter().filter(|it| !it.is_paused).map(|it| it.name.as_str());
        let (known, new): (Vec<_>, Vec<_>) = names.partition(|name| before.contains_key(*name));
        let mut known: Vec<Turn> = known.into_iter().filter_map(|name| before.remove(name)).collect();
        if self.beyond.is_some() {
            known.iter_mut().for_each(|turn| turn.claims = 0);
        }
        let claims = known.iter().map(|turn| turn.claims).min().unwrap_or_default();
        let new = new.into_iter().map(|name| Turn {
            process_type: name.into(),
            claims,
            claimed_to: None,
            has_begun: false,
        });
        self.waiting = new.chain(known).collect();
        (self.priority, self.lowest, self.look_at) = (look.priority, None, now + LOOK_EVERY);
    }

    /// How a claim of up to `limit` is shared that scans this; `None`: there is nobody to share with. `held` says how many
    /// claims the node has of each type.
    pub(super) fn shared(
        &self,
        limit: usize,
        scan: &Scan,
        now: Instant,
        held: impl FnOnce() -> HashMap<Arc<str>, usize>,
    ) -> Option<SharedPart> {
        // One that has had no turn has it even if nobody else is known: others may have been given back since.
        let is_alone =
            self.beyond.is_none() && self.waiting.len() < 2 && self.waiting.iter().all(|it| it.has_begun);
        if is_alone
            || self.waiting.is_empty()
            || limit == 0
            || scan.above.is_some_and(|above| above >= self.priority)
        {
            return None;
        }
        let held = held();
        let held_of = |turn: &Turn| held.get(&turn.process_type).copied().unwrap_or_default();
        let mut turns: Vec<&Turn> = self.waiting.iter().collect();
        turns.sort_by_key(|turn| (held_of(turn), turn.claims));
        let key = |(place, turn): (usize, &&Turn)| Reverse((held_of(turn), turn.claims, place));
        let mut next: BinaryHeap<_> = turns.iter().enumerate().map(key).collect();
        let mut most = vec![0; turns.len()];
        for _ in 0..limit {
            if let Some(mut first) = next.peek_mut() {
                let Reverse((held, claims, place)) = &mut *first;
                (*held, *claims) = (*held + 1, *claims + 1);
                most[*place] += 1;
            }
        }
        let share = |(turn, most): (&Turn, usize)| TypeShare {
            process_type: Arc::clone(&turn.process_type),
            most,
            within: scan.within_of(self.priority, turn.claimed_to, now),
        };
        // Those whose turn it is are the first ones.
        let named = most.iter().take_while(|most| **most > 0).count() + STAND_BY;
        let shares = turns.into_iter().zip(most).take(named).map(share).collect();
        Some(SharedPart { priority: self.priority, shares })
    }

    /// What a look that began at `began` has claimed, if `is_full` as many as it might, in that way.
    pub(super) fn claimed(
        &mut self,
        claimed: &[Claimed],
        shared: Option<&SharedPart>,
        limit: usize,
        began: Instant,
    ) {
        let served: Vec<Served<'_>> = claimed
            .iter()
            .filter_map(|one| match one {
                Claimed::Ready(it, _) => {
                    let due = (!it.due_ago.is_zero()).then(|| began.checked_sub(it.due_ago)).flatten();
                    Some((&*it.process_type, it.priority, due))
                }
                Claimed::Unreadable { .. } => None,
            })
            .collect();
        self.note(&served, shared, (limit, claimed.len() >= limit));
    }

    fn note(&mut self, served: &[Served<'_>], shared: Option<&SharedPart>, (limit, is_full): (usize, bool)) {
        self.is_behind = is_full;
        if !is_full {
            // Nothing waits, or only types that are not known.
            (self.lowest, self.beyond) = (None, None);
            self.waiting.clear();
            return;
        }
        self.lowest = served.iter().map(|it| it.1).chain(self.lowest).min();
        let Some(shared) = shared.filter(|it| it.priority == self.priority) else { return };
        let mut by_type: HashMap<&str, (usize, Option<Instant>)> = HashMap::new();
        for (process_type, _, due) in served.iter().filter(|it| it.1 == shared.priority) {
            let (count, last) = by_type.entry(process_type).or_default();
            (*count, *last) = (*count + 1, (*due).max(*last));
        }
        let mut taken = served.iter().filter(|it| it.1 > shared.priority).count();
        let (mut have_less, mut have_none) = (Vec::new(), Vec::new());
        for share in &shared.shares {
            let (count, last) = by_type.get(&*share.process_type).copied().unwrap_or_default();
            taken += count.min(share.most);
            if count < share.most && taken < limit {
                if count > 0 { &mut have_less } else { &mut have_none }.push(Arc::clone(&share.process_type));
            }
            if let Some(turn) = self.waiting.iter_mut().find(|it| it.process_type == share.process_type) {
                turn.claims += count as u64;
                turn.claimed_to = last.max(turn.claimed_to);
                turn.has_begun |= count > 0;
            }
        }
        // Who has none left comes back when he is seen again.
        self.waiting.retain(|turn| !is_in(&have_none, turn));
        // Who has had all there was saves no turns up, and who has had what others left owes no more than one.
        let level = self.waiting.iter().filter(|turn| !is_in(&have_less, turn)).map(|turn| turn.claims).min();
        for turn in &mut self.waiting {
            let least = level.filter(|_| is_in(&have_less, turn)).unwrap_or_default();
            turn.claims = turn.claims.max(least).min(level.map_or(u64::MAX, |level| level + 1));
        }
    }

    /// There is no room, and the lowest priority that is held is this one: others may wait there that no claim has come to.
    pub(super) fn has_no_room(&mut self, floor: i32) {
        if !self.is_behind {
            (self.is_behind, self.lowest) = (true, Some(floor));
        }
    }

    /// Which type's processes are to yield, so many if it has them, to a type that none is held of: the one that most are
    /// held of. Its only one yields to no type that has had a turn, or they would go on to take turns between tasks.
    /// `held` says of which types those are that may yield, by the priority that is shared.
    pub(super) fn yields(
        &self,
        how_many: usize,
        held: impl FnOnce(i32) -> HashMap<Arc<str>, usize>,
    ) -> Option<Yielding> {
        if !self.is_behind || self.waiting.is_empty() {
            return None;
        }
        let held = held(self.priority);
        let mut left_out =
            self.waiting.iter().filter(|turn| !held.contains_key(&turn.process_type)).peekable();
        left_out.peek()?;
        let at_least = if left_out.any(|turn| !turn.has_begun) { 1 } else { 2 };
        let (process_type, count) = held.into_iter().max_by_key(|it| it.1).filter(|it| it.1 >= at_least)?;
        Some(Yielding { process_type, up_to: self.priority, how_many: how_many.clamp(1, count) })
    }
}

fn is_in(names: &[Arc<str>], turn: &Turn) -> bool {
    names.contains(&turn.process_type)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The queue: for each priority and type when each process was due, in milliseconds, the earliest last.
    #[derive(Default)]
    struct Queue(BTreeMap<(i32, String), Vec<u32>>);

    impl Queue {
        fn add(&mut self, priority: i32, name: &str, due: impl IntoIterator<Item = u32>) {
            let queued = self.0.entry((priority, name.to_owned())).or_default();
            queued.extend(due);
            queued.sort_unstable_by(|a, b| b.cmp(a));
        }

        fn waiting(&self, priority: i32) -> impl Iterator<Item = &str> {
            let all =
                self.0.iter().rev().filter(move |(key, queued)| key.0 == priority && !queued.is_empty());
            all.map(|((_, name), _)| name.as_str())
        }

        /// As the statement looks: in descending order.
        fn look(&self, priority: i32, before: Option<&str>, limit: usize) -> Vec<WaitingType> {
            let names = self.waiting(priority).filter(|name| before.is_none_or(|before| *name < before));
            names.take(limit).map(|name| WaitingType { name: name.to_owned(), is_paused: false }).collect()
        }

        fn take(&mut self, priority: i32, name: &str) -> Option<(String, i32, u32)> {
            let due = self.0.get_mut(&(priority, name.to_owned()))?.pop()?;
            Some((name.to_owned(), priority, due))
        }

        /// By time, of the highest priority there is, if it is no lower than this.
        fn take_first(&mut self, lowest: i32) -> Option<(String, i32, u32)> {
            let within = self.0.iter().filter(|(key, _)| key.0 >= lowest);
            let first = within
                .filter_map(|(key, queued)| Some((std::cmp::Reverse(key.0), *queued.last()?, key.1.clone())));
            let (priority, _, name) = first.min()?;
            self.take(priority.0, &name)
        }

        /// As the statement claims.
        fn claim(&mut self, shared: Option<&SharedPart>, limit: usize) -> Vec<(String, i32, u32)> {
            let above = shared.map_or(i32::MIN, |it| it.priority + 1);
            let mut claimed: Vec<_> = std::iter::from_fn(|| self.take_first(above)).take(limit).collect();
            let Some(SharedPart { priority, shares }) = shared else { return claimed };
            for is_rest in [false, true] {
                for share in shares {
                    let most = if is_rest { limit } else { share.most }.min(limit - claimed.len());
                    claimed.extend((0..most).map_while(|_| self.take(*priority, &share.process_type)));
                }
            }
            claimed
        }
    }

    /// A node's claims from a queue, as the poller makes them.
    struct Claims {
        turns: TypeTurns,
        queue: Queue,
        now: Instant,
        looks: usize,
        held: HashMap<Arc<str>, usize>,
    }

    impl Claims {
        fn new(queue: Queue) -> Self {
            let now = Instant::now();
            Self { turns: TypeTurns::new(now), queue, now, looks: 0, held: HashMap::new() }
        }

        fn look(&mut self) {
            let Some(look) = self.turns.look(self.now) else { return };
            self.looks += 1;
            let found = self.queue.look(look.priority, look.before.as_deref(), look.limit);
            let on = TypeTurns::look_on(&look, &found);
            let rest = on.map_or_else(Vec::new, |on| self.queue.look(on.priority, None, on.limit));
            self.turns.looked(&look, (found, rest), self.now);
        }

        fn claim(&mut self, limit: usize) -> Vec<(String, i32, u32)> {
            self.look();
            let shared = self.turns.shared(limit, &Scan::default(), self.now, || self.held.clone());
            if let Some(shared) = &shared {
                let sum: usize = shared.shares.iter().map(|it| it.most).sum();
                assert!(sum == limit, "{shared:?}");
            }
            let claimed = self.queue.claim(shared.as_ref(), limit);
            let served: Vec<_> = claimed
                .iter()
                .map(|(name, priority, due)| (name.as_str(), *priority, Some(self.now + MS * *due)))
                .collect();
            self.turns.note(&served, shared.as_ref(), (limit, claimed.len() == limit));
            self.now += 10 * MS;
            claimed
        }

        /// The types that so many claims of one have served, each of them the one that was due for longest.
        fn served(&mut self, claims: usize) -> Vec<String> {
            (0..claims).flat_map(|_| self.claim(1)).map(|it| it.0).collect()
        }
    }

    #[test]
    fn types_take_turns_one_that_comes_later_is_the_next_and_none_saves_turns_up() {
        let mut queue = Queue::default();
        queue.add(0, "many", 0..1000);
        let mut claims = Claims::new(queue);
        claims.served(50);
        assert!((2..=4).contains(&claims.looks), "looks are rare: {}", claims.looks);
        claims.queue.add(0, "other", 1000..1010);
        claims.now += LOOK_EVERY;
        assert_eq!(claims.served(4), ["other", "many", "other", "many"]);
        // It has no more turns than the others though it had fewer claims.
        claims.served(40);
        claims.queue.add(0, "other", 2000..2010);
        claims.now += LOOK_EVERY;
        assert_eq!(claims.served(6), ["other", "many", "other", "many", "other", "many"]);
        claims.queue.add(0, "third", 3000..3010);
        claims.now += LOOK_EVERY;
        let of_many = claims.claim(30);
        let of = |name: &str| of_many.iter().filter(|it| it.0 == name).count();
        assert_eq!([of("third"), of("other"), of("many")], [10, 7, 13], "what one leaves others have");
    }

    /// Their processes need not be as long: the claims that are held are shared.
    #[test]
    fn the_type_of_which_the_node_holds_the_fewest_comes_first() {
        let mut queue = Queue::default();
        ["long", "short", "third"].iter().for_each(|name| queue.add(0, name, 0..100));
        let mut claims = Claims::new(queue);
        claims.claim(3);
        claims.held = [("long".into(), 5), ("short".into(), 2)].into();
        let served = claims.claim(7);
        let of = |name: &str| served.iter().filter(|it| it.0 == name).count();
        assert!(of("long") == 0 && of("third") >= 2 + of("short") - 1, "{served:?}");
        claims.held = [("long".into(), 1), ("short".into(), 0), ("third".into(), 1)].into();
        assert_eq!(claims.served(3), ["short"; 3], "while it holds none");
    }

    #[test]
    fn of_more_types_than_are_known_at_a_time_each_has_its_turn() {
        const TYPES: usize = 2 * TYPES_MAX + 44;
        let mut queue = Queue::default();
        (0..TYPES).for_each(|n| queue.add(0, &format!("type-{n:05}"), 0..4));
        let mut claims = Claims::new(queue);
        claims.claim(1);
        let mut counts: HashMap<String, usize> = HashMap::new();
        for round in 1..=2 {
            for name in claims.served(TYPES) {
                *counts.entry(name).or_default() += 1;
            }
            let (least, most) = (counts.values().min(), counts.values().max());
            assert!(counts.len() == TYPES && most <= Some(&(round + 1)), "{round}: {least:?} {most:?}");
        }
        assert!(claims.looks <= 8, "{} looks", claims.looks);
    }

    /// Random queues and claims: the highest priority always first, in each type the longest due first, and none of the types
    /// that wait is passed over by more claims than there are types.
    #[test]
    fn whatever_comes_priorities_are_strict_types_go_by_time_and_none_is_left_out_for_a_round() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut queue = Queue::default();
            let names: Vec<String> = (0..random.usize(1..9)).map(|n| format!("t{n}")).collect();
            queue.add(0, "t0", 0..10_000);
            let (mut claims, mut due) = (Claims::new(queue), 10_000);
            let mut since: HashMap<String, usize> = HashMap::new();
            for step in 0..200 {
                if random.u8(..) < 30 {
                    let (name, priority) = (&names[random.usize(..names.len())], random.i32(-1..3));
                    let count = random.u32(1..40);
                    claims.queue.add(priority, name, due..due + count);
                    due += count;
                }
                let limit = if random.bool() { 1 } else { random.usize(1..20) };
                let shares = claims.turns.waiting.len();
                let left: Vec<String> = claims.queue.waiting(0).map(str::to_owned).collect();
                let claimed = claims.claim(limit);
                let lowest = claimed.iter().map(|it| it.1).min();
                let left_above = (1..3).any(|priority| claims.queue.waiting(priority).next().is_some());
                assert!(!left_above || lowest > Some(0), "{seed}.{step}: {claimed:?}");
                for (n, (name, priority, due)) in claimed.iter().enumerate() {
                    let left = claims.queue.0[&(*priority, name.clone())].last();
                    assert!(left.is_none_or(|left| left > due), "{seed}.{step}: {name} {due} {left:?}");
                    let later = claimed[n + 1..].iter().find(|it| (&it.0, it.1) == (name, *priority));
                    assert!(later.is_none_or(|later| later.2 > *due), "{seed}.{step}: {claimed:?}");
                }
                // Who waits while others are served, for how many claims.
                let fair = shares > 1 && claims.turns.waiting.len() == shares && lowest == Some(0);
                let at_all: Vec<&str> =
                    claimed.iter().filter(|it| it.1 == 0).map(|it| it.0.as_str()).collect();
                for name in &left {
                    let waits = claims.turns.waiting.iter().any(|it| *it.process_type == **name);
                    if !fair || !waits || at_all.contains(&name.as_str()) {
                        since.remove(name);
                    } else {
                        *since.entry(name.clone()).or_default() += usize::from(!at_all.is_empty());
                    }
                }
                let most = since.values().max().copied().unwrap_or_default();
                assert!(most <= names.len(), "{seed}.{step}: {since:?}");
            }
        }
    }

    #[test]
    fn where_scans_begin_late_each_type_s_begins_where_its_last_claim_has_ended() {
        let mut queue = Queue::default();
        queue.add(0, "a", 0..9);
        queue.add(0, "b", 100..109);
        let mut claims = Claims::new(queue);
        let (_, began) = (claims.claim(2), claims.now);
        claims.claim(2);
        let mut cursor = super::super::scan_cursor::ScanCursor::new(Duration::from_secs(1));
        cursor.note_slow_looks(began);
        let scan = cursor.scan(None, began + 200 * MS);
        let shared = claims.turns.shared(2, &scan, began + 200 * MS, HashMap::new).unwrap();
        let within: Vec<_> = shared.shares.iter().map(|it| it.within.map(|it| it.as_millis())).collect();
        assert!(within.iter().all(|it| it.is_some_and(|ms| ms < 1000)), "{within:?}");
        let whole = claims.turns.shared(2, &Scan::default(), began, HashMap::new).unwrap();
        assert!(whole.shares.iter().all(|it| it.within.is_none()));
        let above = cursor.scan(Some(0), began);
        assert_eq!(
            claims.turns.shared(2, &above, began, HashMap::new),
            None,
            "what has precedence has no part in it"
        );
    }

    #[test]
    fn the_type_with_most_yields_to_a_type_that_has_none() {
        let mut queue = Queue::default();
        queue.add(0, "many", 0..99);
        queue.add(0, "other", 100..109);
        let mut claims = Claims::new(queue);
        let held = |counts: &[(&str, usize)]| -> HashMap<Arc<str>, usize> {
            counts.iter().map(|&(name, count)| (name.into(), count)).collect()
        };
        let many = |how_many| Some(Yielding { process_type: "many".into(), up_to: 0, how_many });
        let yields = |claims: &Claims, counts| claims.turns.yields(9, |_| held(counts));
        assert_eq!(yields(&claims, &[("many", 2)]), None, "nobody is known to wait");
        claims.turns.has_no_room(0);
        claims.look();
        assert_eq!(yields(&claims, &[("many", 1)]), many(1), "to its first one");
        assert_eq!(yields(&claims, &[("many", 12)]), many(9));
        assert_eq!(yields(&claims, &[("many", 3), ("other", 1)]), None);
        assert_eq!(yields(&claims, &[]), None);
        assert_eq!(claims.served(2), ["other", "many"]);
        assert_eq!(yields(&claims, &[("many", 1)]), None, "it has had its turn");
        assert_eq!(yields(&claims, &[("many", 2)]), many(2));
    }
}
