//! The rows of the nodes, by their names.

use std::collections::BTreeMap;
use std::time::Duration;

use process_orchestrator::model::liveness::{Liveness, Observer, Signs, judge};

use super::breaches::{Breach, Step};
use super::rows::NodeRow;

/// From the last look at a claim to the first line of its command.
const SPAWN_S: f64 = 0.1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    Stopping,
    Stopped,
    Dead,
}

#[derive(Debug, Clone)]
struct Node {
    state: State,
    lease: f64,
    /// When it came into this state, and from which.
    since: f64,
    before: Option<State>,
}

impl Node {
    /// Whether a statement that was asked for then may have seen it so.
    fn was(&self, asked: f64, wanted: impl Fn(State) -> bool) -> bool {
        wanted(self.state) || asked < self.since && self.before.is_some_and(wanted)
    }
}

/// What is known of a node that is declared dead.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    pub silence: f64,
    pub had_lock: bool,
    /// How old the session is that holds its lock.
    pub locked: Option<f64>,
    pub is_gone: bool,
}

#[derive(Debug, Default)]
pub struct Members {
    pub dead_after: f64,
    nodes: BTreeMap<String, Node>,
    /// The last node of each name.
    last_of: BTreeMap<String, String>,
}

impl Members {
    pub fn join(&mut self, node: &str, lease: f64, t: f64) -> Step {
        self.last_of.insert(name_of(node).to_owned(), node.to_owned());
        let joined = Node { state: State::Running, lease, since: t, before: None };
        if self.nodes.insert(node.to_owned(), joined).is_none() { Ok(()) } else { Err(Breach::NoStatement) }
    }

    pub fn forget(&mut self, node: &str) -> Step {
        match self.nodes.remove(node) {
            Some(Node { state: State::Stopped | State::Dead, .. }) => Ok(()),
            _ => Err(Breach::NoStatement),
        }
    }

    pub fn stop(&mut self, node: &str, to: State, t: f64) -> Step {
        self.turn(node, &[State::Running, State::Stopping], to, t)
    }

    pub fn declare_dead(&mut self, node: &str, seen: &Silence, t: f64) -> Step {
        let lease = self.nodes.get(node).ok_or(Breach::NoStatement)?.lease;
        let signs = Signs {
            // The observer cannot have seen it for longer than it was.
            unchanged_for: Duration::from_secs_f64(seen.silence.max(0.0)),
            lease: Duration::from_secs_f64(lease),
            dead_after: Duration::from_secs_f64(self.dead_after),
            had_lock: seen.had_lock,
            // A session that came back while the node was judged was not seen.
            is_locked: seen.locked.is_some_and(|age| age > self.dead_after),
            unlocked_for: Duration::MAX,
            is_process_gone: seen.is_gone,
        };
        let dead_after = Duration::from_secs_f64(self.dead_after);
        // What follows is judged by the row, whether or not it should say so.
        self.turn(node, &[State::Running, State::Stopping], State::Dead, t)?;
        match judge(&signs, &Observer { connected_for: Duration::MAX, dead_after }) {
            Liveness::Dead(_) => Ok(()),
            Liveness::Alive | Liveness::Suspect => Err(Breach::LivingDeclared),
        }
    }

    pub fn rejoin(&mut self, node: &str, t: f64) -> Step {
        self.turn(node, &[State::Dead], State::Running, t)
    }

    fn turn(&mut self, node: &str, from: &[State], to: State, t: f64) -> Step {
        let row =
            self.nodes.get_mut(node).filter(|row| from.contains(&row.state)).ok_or(Breach::NoStatement)?;
        *row = Node { state: to, since: t, before: Some(row.state), lease: row.lease };
        Ok(())
    }

    fn was(&self, node: &str, asked: f64, wanted: impl Fn(State) -> bool) -> bool {
        self.nodes.get(node).is_some_and(|row| row.was(asked, wanted))
    }

    /// What a statement may have seen of a node's row.
    pub fn row_of(&self, node: &str, asked: f64) -> NodeRow {
        match self.nodes.get(node).map(|row| row.state) {
            _ if self.was(node, asked, is_alive) => NodeRow::Running,
            Some(State::Dead) => NodeRow::Dead,
            Some(_) => NodeRow::Stopped,
            None => NodeRow::Absent,
        }
    }

    /// Whether nobody may take its claims: it is there, and neither dead nor stopped, nor was it a moment ago.
    pub fn may_live(&self, node: &str, asked: f64) -> bool {
        self.nodes.contains_key(node) && !self.was(node, asked, |state| !is_alive(state))
    }

    /// Whether a session, by its name, is this node's own.
    pub fn is_session_of(&self, session: &str, node: &str) -> bool {
        session.split(' ').nth(1).and_then(|name| self.last_of.get(name)).is_some_and(|it| it == node)
    }

    /// Whether a node can't have heard yet that it was declared dead: it hears of it before it rejoins.
    pub fn is_ignorant(&self, node: &str, t: f64) -> bool {
        self.nodes.get(node).is_some_and(|row| {
            row.state == State::Dead || row.before == Some(State::Dead) && t - row.since < SPAWN_S
        })
    }
}

/// The name that somebody gave a node; its id has a pid and a number behind it.
pub fn name_of(node: &str) -> &str {
    node.rsplitn(3, '-').last().unwrap_or(node)
}

/// Whether a node's row says that it lives.
fn is_alive(state: State) -> bool {
    matches!(state, State::Running | State::Stopping)
}
