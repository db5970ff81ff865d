//! The journals of chaos runs, replayed: each step must be one that the rules allow, and leave the rows that they say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use process_orchestrator::{OnCrash, ProcessStatus};

use super::journal::{Event, QueueRow, read};
use super::ledger::{self, Process, Property, Queued, Record, Rows, Rule, Silence, State, Task};

/// What is refused, and where.
#[derive(Debug)]
struct Refusal {
    line: usize,
    property: Property,
    what: String,
}

#[derive(Default)]
struct Replay {
    rows: Rows,
    /// The rows as the journal has them.
    journaled: BTreeMap<String, Process>,
    refusals: Vec<Refusal>,
}

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
        if let Err((property, more)) = step {
            let what = format!("{event:?}\n  rows before: {before:?}\n  rows after: {after:?} {more}");
            self.refusals.push(Refusal { line, property, what });
        }
        if let Some(rows) = after {
            // The times of waits are by chance.
            self.rows.processes.insert(event.process.clone(), rows.clone());
        }
    }

    fn step(&mut self, event: &Event) -> Result<(), (Property, String)> {
        let Event { node, process, t, .. } = event;
        let rows = &mut self.rows;
        let record = Record {
            task: event.task,
            attempt: event.attempt,
            outcome: if event.outcome.is_empty() { ledger::Outcome::Lost } else { event.outcome() },
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
                rows.dead_after = event.dead_after;
                Ok(())
            }
            "join" => rows.join(node, event.lease, *t),
            "stopping" => rows.stop(node, State::Stopping, *t),
            "stopped" => rows.stop(node, State::Stopped, *t),
            "declare" => {
                let Event { silence, had_lock, locked, gone, .. } = *event;
                rows.declare_dead(node, &Silence { silence, had_lock, locked, is_gone: gone }, *t)
            }
            "rejoin" => rows.rejoin(node, *t),
            "forget" => rows.forget(node),
            "start" => rows.start(process, rules(event), version, due),
            "retry" => rows.retry(process, event.at.unwrap_or(0), version, due),
            "claim" => rows.claim(process, node, *t),
            "release" => rows.release(process, node),
            "record" => rows.record(process, node, &record, *t),
            "lost" => rows.record_lost(process, node, &record, &event.session, *t),
            "cancel" => rows.cancel(process),
            "cancelled" => rows.end_cancelled(process),
            "move" => {
                if event.from == "CLAIMED" {
                    Err(ledger::NO_STATEMENT)
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
                    Err(ledger::TWO_ALIVE)
                }
            }
            "finish" => return rows.finish(),
            _ => Err(ledger::NO_STATEMENT),
        };
        step.map_err(|property| (property, String::new()))
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
    let rule = |it: &super::journal::Definition| Rule {
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
) -> Result<(), (Property, String)> {
    let queue = |rows: Option<&Process>| rows.and_then(|rows| rows.queue.clone());
    if let Some((was, is)) = queue(before).zip(queue(after))
        && was.node != is.node
        && is.version <= was.version
    {
        return Err((ledger::SAME_VERSION, String::new()));
    }
    let mut ruled = ruled.cloned();
    if let Some((ruled, is)) = ruled.as_mut().and_then(|rows| rows.queue.as_mut()).zip(queue(after)) {
        ruled.due = is.due;
    }
    if ruled.as_ref() == after {
        Ok(())
    } else {
        Err((ledger::NOT_AS_DECIDED, format!("\n  by the rules: {ruled:?}")))
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

/// Those that are kept, and the one that PROCESS_ORCHESTRATOR_JOURNAL names, as scripts/chaos has it.
#[test]
fn journals_of_chaos_runs_keep_the_rules() {
    let mut all = journals(&folder());
    if let Some(named) = std::env::var_os("PROCESS_ORCHESTRATOR_JOURNAL") {
        let text = fs::read_to_string(&named)
            .unwrap_or_else(|e| panic!("PROCESS_ORCHESTRATOR_JOURNAL={named:?}: {e}"));
        all = vec![(named.to_string_lossy().into_owned(), read(&text))];
    }
    for (name, events) in all {
        let refusals = replay(&events);
        for Refusal { line, property, what } in refusals.iter().take(SHOWN_MAX) {
            println!("refused: {property}: line {line}: {what}");
        }
        assert!(refusals.is_empty(), "{name}: {} steps are refused", refusals.len());
    }
}

/// One edit of a good journal, and the property that it breaks.
struct Edit {
    what: &'static str,
    property: Property,
    edit: fn(&mut Vec<Event>),
}

fn find(events: &[Event], wanted: impl Fn(&Event) -> bool) -> usize {
    events.iter().position(wanted).expect("the journal has no such event")
}

/// The place of an event of a kind, such that its process has one of another kind after it; and that one's.
fn pair(
    events: &[Event],
    first: impl Fn(&Event) -> bool,
    second: impl Fn(&Event, &Event) -> bool,
) -> (usize, usize) {
    let pairs = events.iter().enumerate().filter(|(_, it)| first(it)).filter_map(|(at, it)| {
        let later = events[at + 1..].iter().position(|other| second(it, other))?;
        Some((at, at + 1 + later))
    });
    pairs.into_iter().next().expect("the journal has no such pair of events")
}

/// A declaration, and what is recorded of its node's claims.
fn death(events: &[Event]) -> (usize, usize) {
    pair(events, |it| it.event == "declare", |it, other| other.event == "lost" && other.node == it.node)
}

fn insert(events: &mut Vec<Event>, at: usize, edit: impl FnOnce(&mut Event)) {
    let mut event = events[at].clone();
    edit(&mut event);
    events.insert(at + 1, event);
}

/// Takes an event to an earlier place, and to that place's time.
fn bring_forward(events: &mut Vec<Event>, from: usize, to: usize) {
    let mut event = events.remove(from);
    event.t = events[to].t;
    events.insert(to, event);
}

fn queue(event: &mut Event) -> &mut QueueRow {
    event.queue.as_mut().and_then(Option::as_mut).expect("its row is in the queue")
}

fn is_retry(event: &Event) -> bool {
    event.event == "record"
        && event.outcome == "FAILED"
        && event.tasks.iter().any(|it| it.retries > 0)
        && matches!(event.queue, Some(Some(_)))
}

const EDITS: [Edit; 27] = [
    Edit {
        what: "a result of another node than the claim's",
        property: ledger::STALE_WRITE,
        edit: |events| {
            let at = find(events, |it| it.event == "record");
            events[at].node = "somebody-1-2".into();
        },
    },
    Edit {
        what: "a result of the attempt before",
        property: ledger::STALE_WRITE,
        edit: |events| {
            let (_, claim) = pair(
                events,
                |it| it.event == "lost",
                |it, other| other.event == "claim" && other.process == it.process && other.node != it.node,
            );
            insert(events, claim, |it| {
                (it.event, it.outcome, it.attempt) = ("record".into(), "FAILED".into(), it.attempt + 7);
            });
        },
    },
    Edit {
        what: "a claim of a node that was declared dead two seconds before",
        property: ledger::DEAD_CLAIMS,
        edit: |events| {
            let claim = find(events, |it| it.event == "claim");
            let node = events[claim].node.clone();
            let t = events[claim].t - 2.0;
            let declare = Event { event: "declare".into(), node, gone: true, t, ..Event::default() };
            events.insert(claim, declare);
        },
    },
    Edit {
        what: "a claim of a node that has never joined",
        property: ledger::DEAD_CLAIMS,
        edit: |events| {
            let claim = find(events, |it| it.event == "claim");
            events[claim].node = "somebody-1-2".into();
        },
    },
    Edit {
        what: "a claim of what another node holds",
        property: ledger::TWO_HOLDERS,
        edit: |events| {
            let (first, second) = pair(
                events,
                |it| it.event == "claim",
                |it, other| other.event == "claim" && other.node != it.node,
            );
            let node = events[first].node.clone();
            insert(events, second, |it| {
                it.node = node;
                queue(it).version += 1;
            });
        },
    },
    Edit {
        what: "a claim without a new version",
        property: ledger::SAME_VERSION,
        edit: |events| {
            let at = find(events, |it| it.event == "claim");
            queue(&mut events[at]).version -= 1;
        },
    },
    Edit {
        what: "a claim that is given back without a new version",
        property: ledger::SAME_VERSION,
        edit: |events| {
            let at = find(events, |it| it.event == "release");
            queue(&mut events[at]).version -= 1;
        },
    },
    Edit {
        what: "a retry's wait without a new version",
        property: ledger::SAME_VERSION,
        edit: |events| {
            let at = find(events, is_retry);
            queue(&mut events[at]).version -= 1;
        },
    },
    Edit {
        what: "a process that goes again with an old version",
        property: ledger::SAME_VERSION,
        edit: |events| {
            let at = find(events, |it| it.event == "retry");
            queue(&mut events[at]).version = 1;
        },
    },
    Edit {
        what: "a claim before the retry's wait is over",
        property: ledger::TOO_EARLY,
        edit: |events| {
            let (retry, claim) =
                pair(events, is_retry, |it, other| other.event == "claim" && other.process == it.process);
            let due = events[claim].t + 0.01;
            for it in &mut events[retry..claim] {
                if let Some(Some(row)) = &mut it.queue {
                    row.due = due;
                }
            }
        },
    },
    Edit {
        what: "a claim of a process that was cancelled",
        property: ledger::CANCEL_IGNORED,
        edit: |events| {
            let (start, claim) = pair(
                events,
                |it| it.event == "start",
                |it, other| other.event == "claim" && other.process == it.process,
            );
            let mut cancel =
                Event { event: "cancel".into(), process: events[start].process.clone(), ..Event::default() };
            cancel.queue = events[start].queue.clone();
            queue(&mut cancel).cancel = true;
            events.insert(claim, cancel);
        },
    },
    Edit {
        what: "a task that begins before its predecessor's commit",
        property: ledger::OUT_OF_ORDER,
        edit: |events| {
            let (record, begin) = pair(
                events,
                |it| it.event == "record" && it.outcome == "SUCCEEDED",
                |it, other| {
                    other.event == "begin" && other.process == it.process && other.task == it.task + 1
                },
            );
            bring_forward(events, begin, record);
        },
    },
    Edit {
        what: "an attempt that begins twice",
        property: ledger::BEGUN_TWICE,
        edit: |events| {
            let at = find(events, |it| it.event == "begin");
            insert(events, at, |it| it.pid += 1);
        },
    },
    Edit {
        what: "a command that begins on a node which has no claim",
        property: ledger::BEGUN_WITHOUT_CLAIM,
        edit: |events| {
            let at = find(events, |it| it.event == "begin");
            events[at].node = "somebody-1-2".into();
        },
    },
    Edit {
        what: "a stale command that begins after its node has rejoined, whatever had happened to it",
        property: ledger::BEGUN_WITHOUT_CLAIM,
        edit: |events| {
            let (declare, rejoin) = pair(
                events,
                |it| it.event == "declare",
                |it, other| other.event == "rejoin" && other.node == it.node,
            );
            let lost = find(&events[declare..], |it| it.event == "lost") + declare;
            let lost = events[lost].clone();
            let t = events[rejoin].t + 0.5;
            let excuse = Some("isolated".into());
            let begin = Event { event: "begin".into(), attempt: lost.attempt + 50, t, excuse, ..lost };
            events.insert(rejoin + 1, Event { queue: None, status: None, tasks: Vec::new(), ..begin });
        },
    },
    Edit {
        what: "a begun claim that is given back",
        property: ledger::GIVEN_BACK_BEGUN,
        edit: |events| {
            let (claim, release) = pair(
                events,
                |it| it.event == "claim",
                |it, other| other.event == "release" && other.process == it.process,
            );
            let begin = Event {
                event: "begin".into(),
                queue: None,
                status: None,
                tasks: Vec::new(),
                ..events[claim].clone()
            };
            events.insert(release, begin);
        },
    },
    Edit {
        what: "a command that meets another one of its process",
        property: ledger::TWO_ALIVE,
        edit: |events| {
            let at = find(events, |it| it.event == "begin");
            insert(events, at, |it| (it.event, it.excuse) = ("overlap".into(), None));
        },
    },
    Edit {
        what: "a success of a command that has failed",
        property: ledger::OTHERWISE_ENDED,
        edit: |events| {
            let at = find(events, |it| it.event == "end" && it.code == Some(0));
            events[at].code = Some(1);
        },
    },
    Edit {
        what: "a success of a command that has not ended",
        property: ledger::OTHERWISE_ENDED,
        edit: |events| {
            let at = find(events, |it| it.event == "end" && it.code == Some(0));
            events.remove(at);
        },
    },
    Edit {
        what: "a result that is recorded twice",
        property: ledger::RECORDED_TWICE,
        edit: |events| {
            let at = find(events, |it| it.event == "record");
            insert(events, at, |_| {});
        },
    },
    Edit {
        what: "a begun execution that never gets into the trail",
        property: ledger::NOT_IN_TRAIL,
        edit: |events| {
            let (declare, lost) = death(events);
            let lost = events[lost].clone();
            let begin = Event {
                event: "begin".into(),
                attempt: lost.attempt + 50,
                excuse: Some("isolated".into()),
                ..lost
            };
            let bare = Event { queue: None, status: None, tasks: Vec::new(), ..begin };
            events.insert(declare + 1, bare);
        },
    },
    Edit {
        what: "an execution that is lost although its node was never declared dead",
        property: ledger::LIVING_LOST,
        edit: |events| {
            let (declare, _) = death(events);
            events.remove(declare);
        },
    },
    Edit {
        what: "a declaration of a node whose lock is gone but whose heartbeat is fresh",
        property: ledger::LIVING_DECLARED,
        edit: |events| {
            let at = find(events, |it| it.event == "declare");
            (events[at].silence, events[at].gone) = (1.0, false);
        },
    },
    Edit {
        what: "a declaration of a node that holds its lock, before its lease is over",
        property: ledger::LIVING_DECLARED,
        edit: |events| {
            let at = find(events, |it| it.event == "declare");
            (events[at].silence, events[at].gone, events[at].locked) = (5.0, false, Some(60.0));
        },
    },
    Edit {
        what: "a failure with retries left that spends none",
        property: ledger::NOT_AS_DECIDED,
        edit: |events| {
            let at = find(events, is_retry);
            events[at].tasks[0].retries -= 1;
        },
    },
    Edit {
        what: "a process that skips a task",
        property: ledger::NOT_AS_DECIDED,
        edit: |events| {
            let at = find(events, |it| it.event == "record" && it.at == Some(1));
            events[at].at = Some(2);
        },
    },
    Edit {
        what: "an end before all is done",
        property: ledger::STUCK,
        edit: |events| {
            let last = events.iter().rposition(|it| it.queue == Some(None)).expect("a process ends");
            events.drain(last..events.len() - 1);
        },
    },
];

#[test]
fn a_journal_that_is_broken_by_an_edit_is_refused_with_the_property() {
    let good = read(&fs::read_to_string(folder().join("faults.jsonl")).unwrap());
    let not_named = EDITS.iter().filter_map(|Edit { what, property, edit }| {
        let mut broken = good.clone();
        edit(&mut broken);
        match replay(&broken).first() {
            Some(first) if first.property == *property => None,
            other => Some(format!("{what}: {other:?}")),
        }
    });
    assert_eq!(not_named.collect::<Vec<_>>(), Vec::<String>::new());
}

/// Each says in its first line what it breaks.
#[test]
fn broken_journals_that_are_kept_are_refused_with_their_property() {
    for (name, events) in journals(&folder().join("broken")) {
        let breaks =
            events[0].breaks.as_deref().unwrap_or_else(|| panic!("{name} does not say what it breaks"));
        let refused: Vec<Property> = replay(&events).iter().map(|it| it.property).collect();
        assert_eq!(refused, [breaks], "{name}");
    }
}
