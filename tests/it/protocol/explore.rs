//! Goes through every state that a case can reach, breadth first.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use super::case::Case;
use super::rows::Property;
use super::steps::Step;
use super::world::World;

/// What came of a case.
pub struct Explored {
    pub states: usize,
    pub time: Duration,
    /// The whole of it was seen.
    pub is_whole: bool,
    /// The rules that were broken, each with a shortest way there.
    pub broken: BTreeMap<Property, Vec<Step>>,
}

/// Explores a case up to a bound of states. It ends at the first rule that is broken, unless that is `allowed`.
pub fn explore(case: &Case, allowed: &[Property], states_max: usize) -> Explored {
    let began = Instant::now();
    let mut search = Search::new(World::new(case));
    let mut broken = BTreeMap::new();
    let mut at = 0;
    let mut is_whole = true;
    while at < search.worlds.len() {
        if search.worlds.len() > states_max {
            is_whole = false;
            break;
        }
        let world = search.worlds[at];
        for step in world.steps(case) {
            let next = world.after(step, case);
            let found = match &next {
                Ok(next) => next.broken(),
                Err(property) => Some(*property),
            };
            if let Some(property) = found {
                let mut way = search.way_to(at);
                way.push(step);
                broken.entry(property).or_insert(way);
                if !allowed.contains(&property) {
                    return Explored { states: search.worlds.len(), time: began.elapsed(), is_whole, broken };
                }
            }
            if let Ok(next) = next {
                search.reach(next, at, step);
            }
        }
        at += 1;
    }
    if is_whole && let Some(stuck) = search.stuck() {
        broken.insert(Property::Progress, search.way_to(stuck));
    }
    Explored { states: search.worlds.len(), time: began.elapsed(), is_whole, broken }
}

struct Search {
    worlds: Vec<World>,
    known: HashMap<World, u32, BuildHasherDefault<Fnv>>,
    /// Whence each was reached first, and how.
    from: Vec<(u32, Step)>,
    /// Where each leads to by itself.
    leads: Vec<(u32, u32)>,
}

impl Search {
    fn new(first: World) -> Self {
        let mut search =
            Self { worlds: Vec::new(), known: HashMap::default(), from: Vec::new(), leads: Vec::new() };
        search.reach(first, 0, Step::Resume);
        search
    }

    fn reach(&mut self, world: World, from: usize, step: Step) {
        let new = self.worlds.len() as u32;
        let at = *self.known.entry(world).or_insert(new);
        if at == new {
            self.worlds.push(world);
            self.from.push((from as u32, step));
        }
        if step.is_progress() && at as usize != from {
            self.leads.push((at, from as u32));
        }
    }

    fn way_to(&self, mut at: usize) -> Vec<Step> {
        let mut way = Vec::new();
        while at != 0 {
            let (from, step) = self.from[at];
            way.push(step);
            at = from as usize;
        }
        way.reverse();
        way
    }

    /// A state with a node from which no way leads to the end of all processes, though nothing more goes wrong.
    fn stuck(&self) -> Option<usize> {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); self.worlds.len()];
        self.leads.iter().for_each(|&(to, from)| before[to as usize].push(from));
        let mut ends: Vec<bool> = self.worlds.iter().map(World::is_over).collect();
        let mut queue: Vec<u32> = (0..ends.len() as u32).filter(|&at| ends[at as usize]).collect();
        while let Some(at) = queue.pop() {
            for &from in &before[at as usize] {
                if !std::mem::replace(&mut ends[from as usize], true) {
                    queue.push(from);
                }
            }
        }
        (0..ends.len()).find(|&at| !ends[at] && self.worlds[at].is_any_node_left())
    }
}

/// Fowler, Noll and Vo's hash, in words of eight bytes: a state is a few hundred bytes, and there are many.
#[derive(Default)]
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}
