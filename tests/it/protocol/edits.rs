//! Edits of a good journal, each with the property that it breaks.

use super::breaches::Breach;
use super::journal::{Event, QueueRow};

/// One edit of a good journal, and the property that it breaks.
pub struct Edit {
    pub what: &'static str,
    pub breach: Breach,
    pub edit: fn(&mut Vec<Event>),
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

pub const EDITS: [Edit; 27] = [
    Edit {
        what: "a result of another node than the claim's",
        breach: Breach::StaleWrite,
        edit: |events| {
            let at = find(events, |it| it.event == "record");
            events[at].node = "somebody-1-2".into();
        },
    },
    Edit {
        what: "a result of the attempt before",
        breach: Breach::StaleWrite,
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
        breach: Breach::DeadClaims,
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
        breach: Breach::DeadClaims,
        edit: |events| {
            let claim = find(events, |it| it.event == "claim");
            events[claim].node = "somebody-1-2".into();
        },
    },
    Edit {
        what: "a claim of what another node holds",
        breach: Breach::TwoHolders,
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
        breach: Breach::SameVersion,
        edit: |events| {
            let at = find(events, |it| it.event == "claim");
            queue(&mut events[at]).version -= 1;
        },
    },
    Edit {
        what: "a claim that is given back without a new version",
        breach: Breach::SameVersion,
        edit: |events| {
            let at = find(events, |it| it.event == "release");
            queue(&mut events[at]).version -= 1;
        },
    },
    Edit {
        what: "a retry's wait without a new version",
        breach: Breach::SameVersion,
        edit: |events| {
            let at = find(events, is_retry);
            queue(&mut events[at]).version -= 1;
        },
    },
    Edit {
        what: "a process that goes again with an old version",
        breach: Breach::SameVersion,
        edit: |events| {
            let at = find(events, |it| it.event == "retry");
            queue(&mut events[at]).version = 1;
        },
    },
    Edit {
        what: "a claim before the retry's wait is over",
        breach: Breach::TooEarly,
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
        breach: Breach::CancelIgnored,
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
        breach: Breach::OutOfOrder,
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
        breach: Breach::BegunTwice,
        edit: |events| {
            let at = find(events, |it| it.event == "begin");
            insert(events, at, |it| it.pid += 1);
        },
    },
    Edit {
        what: "a command that begins on a node which has no claim",
        breach: Breach::BegunWithoutClaim,
        edit: |events| {
            let at = find(events, |it| it.event == "begin");
            events[at].node = "somebody-1-2".into();
        },
    },
    Edit {
        what: "a stale command that begins after its node has rejoined, whatever had happened to it",
        breach: Breach::BegunWithoutClaim,
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
        breach: Breach::GivenBackBegun,
        edit: |events| {
            let release = find(events, |it| it.event == "release");
            let process = events[release].process.clone();
            let claim = events[..release].iter().rposition(|it| it.event == "claim" && it.process == process);
            let mut begin = events[claim.expect("it was claimed")].clone();
            begin = Event { event: "begin".into(), queue: None, status: None, tasks: Vec::new(), ..begin };
            events.insert(release, begin);
        },
    },
    Edit {
        what: "a command that meets another one of its process",
        breach: Breach::TwoAlive,
        edit: |events| {
            let at = find(events, |it| it.event == "begin");
            insert(events, at, |it| (it.event, it.excuse) = ("overlap".into(), None));
        },
    },
    Edit {
        what: "a success of a command that has failed",
        breach: Breach::OtherwiseEnded,
        edit: |events| {
            let at = find(events, |it| it.event == "end" && it.code == Some(0));
            events[at].code = Some(1);
        },
    },
    Edit {
        what: "a success of a command that has not ended",
        breach: Breach::OtherwiseEnded,
        edit: |events| {
            let at = find(events, |it| it.event == "end" && it.code == Some(0));
            events.remove(at);
        },
    },
    Edit {
        what: "a result that is recorded twice",
        breach: Breach::RecordedTwice,
        edit: |events| {
            let at = find(events, |it| it.event == "record");
            insert(events, at, |_| {});
        },
    },
    Edit {
        what: "a begun execution that never gets into the trail",
        breach: Breach::NotInTrail,
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
        breach: Breach::LivingLost,
        edit: |events| {
            let (declare, _) = death(events);
            events.remove(declare);
        },
    },
    Edit {
        what: "a declaration of a node whose lock is gone but whose heartbeat is fresh",
        breach: Breach::LivingDeclared,
        edit: |events| {
            let at = find(events, |it| it.event == "declare");
            (events[at].silence, events[at].gone) = (1.0, false);
        },
    },
    Edit {
        what: "a declaration of a node that holds its lock, before its lease is over",
        breach: Breach::LivingDeclared,
        edit: |events| {
            let at = find(events, |it| it.event == "declare");
            (events[at].silence, events[at].gone, events[at].locked) = (5.0, false, Some(60.0));
        },
    },
    Edit {
        what: "a failure with retries left that spends none",
        breach: Breach::NotAsDecided,
        edit: |events| {
            let at = find(events, is_retry);
            events[at].tasks[0].retries -= 1;
        },
    },
    Edit {
        what: "a process that skips a task",
        breach: Breach::NotAsDecided,
        edit: |events| {
            let at = find(events, |it| it.event == "record" && it.at == Some(1));
            events[at].at = Some(2);
        },
    },
    Edit {
        what: "an end before all is done",
        breach: Breach::Stuck,
        edit: |events| {
            let last = events.iter().rposition(|it| it.queue == Some(None)).expect("a process ends");
            events.drain(last..events.len() - 1);
        },
    },
];
