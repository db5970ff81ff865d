//! The journals of chaos runs, replayed: each step must be one that the rules allow, and leave the rows that they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use process_orchestrator::{OnCrash, Outcome, ProcessStatus};

use super::breaches::Breach;
use super::edits::{EDITS, Edit};
use super::journal::{Definition, Event, QueueRow, read};
use super::ledger::{Process, Queued, Record, Rows, Rule, Task};
use super::members::{Silence, State, name_of};

/// What is refused, and where.
#[derive(Debug)]
struct Refusal {
    line: usize,
    breach: Breach,
    what: String,
}

#[derive(Default)]
struct Replay {
    rows: Rows,
    /// The rows as the journal has them.
    journaled: BTreeMap<String, Process>,
    refusals: Vec<Refusal>,
    /// The names of nodes of the last release.
    old: BTreeSet<String>,
}

/// What nodes of the last release do not keep to yet.
const NOT_KEPT_BY_OLD: [Breach; 3] = [Breach::DeadClaims, Breach::BegunWithoutClaim, Breach::LivingDeclared];

/// All that is refused in a journal. After a refusal the rows are taken as the journal has them.
fn replay(events: &[Event]) -> Vec<Refusal> {
    let mut replay = Replay::default();
    for (at, event) in events.iter().enumerate() {
        replay.take(at + 1, event);
    }
    replay.refusals
}

impl Replay {
    fn take(&mut self, line: usize, event: &Event) {
        let before = self.journaled.get(&event.process).cloned();
        self.write_down(event);
        let mut step = self.step(event);
        let after = self.journaled.get(&event.process);
        if event.queue.is_some() || event.status.is_some() || !event.tasks.is_empty() {
            step = step.and_then(|()| judge(before.as_ref(), after, self.rows.processes.get(&event.process)));
        }
        if let Err((breach, more)) = step
            && !(NOT_KEPT_BY_OLD.contains(&breach) && self.is_by_old(event))
        {
            let what = format!("{} ... rows before: {before:?}, after: {after:?}{more}", event.line);
            self.refusals.push(Refusal { line, breach, what });
        }
        if let Some(rows) = after {
            // The times of waits are by chance.
            self.rows.processes.insert(event.process.clone(), rows.clone());
        }
    }

    fn is_by_old(&self, event: &Event) -> bool {
        let session = event.session.split(' ').nth(1);
        self.old.contains(name_of(&event.node)) || session.is_some_and(|name| self.old.contains(name))
    }

    fn step(&mut self, event: &Event) -> Result<(), (Breach, String)> {
        let Event { node, process, t, .. } = event;
        let rows = &mut self.rows;
        let record = Record {
            task: event.task,
            attempt: event.attempt,
            outcome: if event.outcome.is_empty() { Outcome::Lost } else { event.outcome() },
            code: event.code,
            is_yielding: matches!(&event.queue, Some(Some(queue)) if queue.node.is_none()),
        };
        let execution = (process.clone(), event.task, event.attempt);
        let queued =
            |wanted: fn(&QueueRow) -> f64| event.queue.iter().flatten().map(wanted).next().unwrap_or(0.0);
        let version = event.queue.iter().flatten().map(|row| row.version).next().unwrap_or(0);
        let due = queued(|row| row.due);
        let step = match event.event.as_str() {
            "settings" => {
                rows.members.dead_after = event.dead_after;
                Ok(())
            }
            "join" => {
                if event.is_old {
                    self.old.insert(name_of(node).to_owned());
                }
                rows.members.join(node, event.lease, *t)
            }
            "stopping" => rows.members.stop(node, State::Stopping, *t),
            "stopped" => rows.members.stop(node, State::Stopped, *t),
            "declare" => {
                let Event { silence, had_lock, locked, gone, .. } = *event;
                rows.members.declare_dead(node, &Silence { silence, had_lock, locked, is_gone: gone }, *t)
            }
            "rejoin" => rows.rejoin(node, *t),
            "forget" => rows.members.forget(node),
            "start" => rows.start(process, rules(event), version, due),
            "retry" => rows.retry(process, event.at.unwrap_or(0), version, due),
            "claim" => rows.claim(process, node, event.asked, *t),
            "release" => rows.release(process, node),
            "record" => rows.record(process, node, &record, event.asked),
            "lost" => rows.record_lost(process, node, &record, &event.session, event.asked),
            "cancel" => rows.cancel(process),
            "cancelled" => rows.end_cancelled(process),
            "move" => {
                if event.from == "CLAIMED" {
                    Err(Breach::NoStatement)
                } else {
                    Ok(())
                }
            }
            "begin" => rows.begin(execution, node, event.pid, event.excuse.is_some(), *t),
            "end" => rows.end(execution, node, event.pid, event.code.unwrap_or(-1)),
            "overlap" => {
                if event.excuse.is_some() {
                    Ok(())
                } else {
                    Err(Breach::TwoAlive)
                }
            }
            "finish" => return rows.finish(),
            _ => Err(Breach::NoStatement),
        };
        step.map_err(|breach| (breach, String::new()))
    }

    /// Puts what has changed into the rows as the journal has them.
    fn write_down(&mut self, event: &Event) {
        if event.event == "start" {
            let fresh = Process { status: ProcessStatus::NotStarted, at: 0, tasks: Vec::new(), queue: None };
            self.journaled.insert(event.process.clone(), fresh);
        }
        let Some(rows) = self.journaled.get_mut(&event.process) else { return };
        rows.status = event.process_status().unwrap_or(rows.status);
        rows.at = event.at.unwrap_or(rows.at);
        for it in &event.tasks {
            let task = Task { status: it.status, attempt: it.attempt, retries: it.retries };
            match rows.tasks.get_mut(it.task) {
                Some(row) => *row = task,
                None => rows.tasks.push(task),
            }
        }
        if let Some(queue) = &event.queue {
            rows.queue = queue.as_ref().map(|row| Queued {
                version: row.version,
                node: row.node.clone(),
                is_cancel_wanted: row.cancel,
                is_claimed: row.state.as_deref() == Some("CLAIMED"),
                due: row.due,
            });
        }
    }
}

fn rules(event: &Event) -> Vec<Rule> {
    let rule = |it: &Definition| Rule {
        max_retries: it.max_retries,
        on_crash: OnCrash::parse(&it.on_crash).unwrap(),
        fatal_exit_codes: it.fatal.clone().unwrap_or_default(),
    };
    event.definitions.iter().map(rule).collect()
}

/// Holds the rows that a step has left against those that the rules make.
fn judge(
    before: Option<&Process>,
    after: Option<&Process>,
    ruled: Option<&Process>,
) -> Result<(), (Breach, String)> {
    let queue = |rows: Option<&Process>| rows.and_then(|rows| rows.queue.clone());
    if let Some((was, is)) = queue(before).zip(queue(after))
        && was.node != is.node
        && is.version <= was.version
    {
        return Err((Breach::SameVersion, String::new()));
    }
    let mut ruled = ruled.cloned();
    if let Some((ruled, is)) = ruled.as_mut().and_then(|rows| rows.queue.as_mut()).zip(queue(after)) {
        ruled.due = is.due;
    }
    if ruled.as_ref() == after {
        Ok(())
    } else {
        Err((Breach::NotAsDecided, format!(", by the rules: {ruled:?}")))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals")
}

fn journals(folder: &Path) -> Vec<(String, Vec<Event>)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
        .map(|path| (path.display().to_string(), read(&fs::read_to_string(path).unwrap())))
        .collect();
    assert!(!found.is_empty(), "no journals in {}", folder.display());
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

/// How many refusals are shown.
const SHOWN_MAX: usize = 20;

/// The one that PROCESS_ORCHESTRATOR_JOURNAL names, as scripts/chaos has it; otherwise those that are kept.
#[test]
fn journals_of_chaos_runs_keep_the_rules() {
    let all = match std::env::var_os("PROCESS_ORCHESTRATOR_JOURNAL") {
        None => journals(&folder()),
        Some(named) => {
            let text = fs::read_to_string(&named)
                .unwrap_or_else(|e| panic!("PROCESS_ORCHESTRATOR_JOURNAL={named:?}: {e}"));
            vec![(named.to_string_lossy().into_owned(), read(&text))]
        }
    };
    for (name, events) in all {
        let refusals = replay(&events);
        for Refusal { line, breach, what } in refusals.iter().take(SHOWN_MAX) {
            println!("refused: {}: line {line}: {what}", breach.as_str());
        }
        assert!(refusals.is_empty(), "{name}: {} steps are refused", refusals.len());
    }
}

#[test]
fn a_journal_that_is_broken_by_an_edit_is_refused_with_the_property() {
    let good = read(&fs::read_to_string(folder().join("faults.jsonl")).unwrap());
    let not_named = EDITS.iter().filter_map(|Edit { what, breach, edit }| {
        let mut broken = good.clone();
        edit(&mut broken);
        match replay(&broken).first() {
            Some(first) if first.breach == *breach => None,
            other => Some(format!("{what}: {other:?}")),
        }
    });
    assert_eq!(not_named.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_node_of_the_last_release_may_do_what_that_release_does_wrong() {
    let mut events = read(&fs::read_to_string(folder().join("broken/a-dead-node-claims.jsonl")).unwrap());
    let claims_dead = |events: &[Event]| replay(events).iter().any(|it| it.breach == Breach::DeadClaims);
    assert!(claims_dead(&events));
    events.iter_mut().filter(|it| it.event == "join").for_each(|it| it.is_old = true);
    assert!(!claims_dead(&events));
}

/// Each says in its first line what it breaks. More may follow from that.
#[test]
fn broken_journals_that_are_kept_are_refused_with_their_property() {
    for (name, events) in journals(&folder().join("broken")) {
        let breaks =
            events[0].breaks.as_deref().unwrap_or_else(|| panic!("{name} does not say what it breaks"));
        let first = replay(&events).into_iter().next();
        assert_eq!(first.as_ref().map(|it| it.breach.as_str()), Some(breaks), "{name}: {first:?}");
    }
}
