use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const TIMEOUT_MS: u64 = 1_000;
const GRACE_MS: u64 = 100;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An action as the table writes it, times in milliseconds from `began`.
fn shown(action: Action, began: Instant) -> String {
    let at = |until: Instant| (until - began).as_millis();
    match action {
        Action::Wait { until, exit, interrupt } => {
            let others = [(exit, " exit"), (interrupt, " interrupt")];
            let others: String = others.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
            format!("wait {}{others}", at(until))
        }
        Action::WaitForExit { until } => format!("wait for exit {}", at(until)),
        Action::Finish { kill_rest: true } => "finish, kill rest".to_owned(),
        Action::Finish { kill_rest: false } => "finish".to_owned(),
        other => format!("{other:?}"),
    }
}

/// What the platform and the caller want.
#[derive(Clone, Copy)]
struct Kind {
    notes_lasting: bool,
    can_wait_for_exit: bool,
}

const PLAIN: Kind = Kind { notes_lasting: false, can_wait_for_exit: false };
const LASTING: Kind = Kind { notes_lasting: true, ..PLAIN };
const WAITS: Kind = Kind { notes_lasting: true, can_wait_for_exit: true };

/// At this millisecond this was seen, with this request standing; then this is to be done.
type Step = (u64, Event, Option<Reason>, &'static str);

const READABLE: Event = Event::Ready { output: true, exit: false };
const EXITED: Event = Event::Ready { output: false, exit: true };
const BOTH: Event = Event::Ready { output: true, exit: true };
const WOKEN: Event = Event::Ready { output: false, exit: false };
const STOP: Option<Reason> = Some(Reason::Stop);
const CANCEL: Option<Reason> = Some(Reason::Cancel);
const FENCED: Option<Reason> = Some(Reason::Fenced);

/// From the begin to a wait for the exit by a descriptor, with the output still open.
const SAMPLED: [Step; 4] = [
    (0, Event::Nothing, None, "wait 20 interrupt"),
    (20, WOKEN, None, "SampleUsage"),
    (20, Event::Nothing, None, "WatchExit"),
    (20, Event::Watched, None, "wait 60 exit interrupt"),
];

/// The same without a descriptor.
const POLLED: [Step; 5] = [
    (0, Event::Nothing, None, "wait 20 interrupt"),
    (20, WOKEN, None, "SampleUsage"),
    (20, Event::Nothing, None, "WatchExit"),
    (20, Event::Unwatchable, None, "CheckExit"),
    (20, Event::Nothing, None, "wait 60 interrupt"),
];

/// Told to end at 30 ms.
const TERMINATED: [Step; 3] = [
    (30, WOKEN, STOP, "CheckExit"),
    (30, Event::Nothing, STOP, "Terminate"),
    (30, Event::Nothing, STOP, "wait 60 exit"),
];

type Row = (&'static str, Kind, Option<Cause>, Vec<Step>);

fn table() -> Vec<Row> {
    use Event::{Exited, Nothing, OutputEnded, Printed, Reaped, RestGone, RestLeft, Unwatchable, Watched};
    let after = |begin: &[&[Step]], rest: &[Step]| [begin.concat(), rest.to_vec()].concat();
    let stop = Some(Cause::Interrupt(Reason::Stop));
    let fenced = Some(Cause::Interrupt(Reason::Fenced));
    vec![
        (
            "one of the shortest costs one wait, its output, and one try to reap it",
            LASTING,
            None,
            vec![
                (0, Nothing, None, "wait 3 interrupt"),
                (1, READABLE, None, "Read"),
                (1, Printed, None, "wait 3 interrupt"),
                (2, READABLE, None, "Read"),
                (2, OutputEnded, None, "TryReap"),
                (2, Reaped, None, "LookForRest"),
                (2, RestGone, None, "finish"),
            ],
        ),
        (
            "a request that comes with its end is too late",
            PLAIN,
            None,
            vec![
                (0, Nothing, None, "wait 20 interrupt"),
                (1, READABLE, STOP, "Read"),
                (1, OutputEnded, STOP, "TryReap"),
                (1, Reaped, STOP, "LookForRest"),
                (1, RestGone, STOP, "finish"),
            ],
        ),
        (
            "one that lasts is said to once, and sampled ever more rarely",
            LASTING,
            None,
            vec![
                (0, Nothing, None, "wait 3 interrupt"),
                (3, WOKEN, None, "NoteLasting"),
                (3, Nothing, None, "wait 20 interrupt"),
                (20, WOKEN, None, "SampleUsage"),
                (20, Nothing, None, "WatchExit"),
                (20, Watched, None, "wait 60 exit interrupt"),
                (60, WOKEN, None, "SampleUsage"),
                (60, Nothing, None, "wait 140 exit interrupt"),
                (141, WOKEN, None, "SampleUsage"),
                (141, Nothing, None, "wait 301 exit interrupt"),
                (150, BOTH, None, "Read"),
                (150, OutputEnded, None, "LookForRest"),
                (150, RestGone, None, "finish"),
            ],
        ),
        (
            "after it closed its output a descriptor tells of its exit",
            PLAIN,
            None,
            vec![
                (0, Nothing, None, "wait 20 interrupt"),
                (5, READABLE, None, "Read"),
                (5, OutputEnded, None, "TryReap"),
                (5, Nothing, None, "WatchExit"),
                (5, Watched, None, "wait 20 exit interrupt"),
                (9, EXITED, None, "LookForRest"),
                (9, RestGone, None, "finish"),
            ],
        ),
        (
            "without a descriptor it is polled, in intervals that double",
            PLAIN,
            None,
            vec![
                (0, Nothing, None, "wait 20 interrupt"),
                (5, READABLE, None, "Read"),
                (5, OutputEnded, None, "TryReap"),
                (5, Nothing, None, "WatchExit"),
                (5, Unwatchable, None, "CheckExit"),
                (5, Nothing, None, "wait 6 interrupt"),
                (6, WOKEN, None, "CheckExit"),
                (6, Nothing, None, "wait 8 interrupt"),
                (8, WOKEN, None, "CheckExit"),
                (8, Nothing, None, "wait 12 interrupt"),
                (12, WOKEN, None, "CheckExit"),
                (12, Nothing, None, "wait 20 interrupt"),
                (20, WOKEN, None, "CheckExit"),
                (20, Nothing, None, "SampleUsage"),
                (20, Nothing, None, "CheckExit"),
                (20, Nothing, None, "wait 36 interrupt"),
                (36, WOKEN, None, "CheckExit"),
                (36, Nothing, None, "wait 60 interrupt"),
                (60, WOKEN, None, "CheckExit"),
                (60, Nothing, None, "SampleUsage"),
                (60, Nothing, None, "CheckExit"),
                (60, Nothing, None, "wait 110 interrupt"),
                (110, WOKEN, None, "CheckExit"),
                (110, Exited, None, "LookForRest"),
                (110, RestGone, None, "finish"),
            ],
        ),
        (
            "where the platform can wait for the exit alone it does",
            WAITS,
            None,
            vec![
                (0, Nothing, None, "wait 3 interrupt"),
                (1, READABLE, None, "Read"),
                (1, OutputEnded, None, "TryReap"),
                (1, Nothing, None, "WatchExit"),
                (1, Unwatchable, None, "CheckExit"),
                (1, Nothing, None, "wait for exit 3"),
                (3, Nothing, None, "NoteLasting"),
                (3, Nothing, None, "wait for exit 53"),
                (30, Reaped, None, "LookForRest"),
                (30, RestGone, None, "finish"),
            ],
        ),
        (
            "but not longer than it may run",
            WAITS,
            None,
            vec![
                (980, READABLE, None, "Read"),
                (980, OutputEnded, None, "TryReap"),
                (980, Nothing, None, "WatchExit"),
                (980, Unwatchable, None, "CheckExit"),
                (980, Nothing, None, "NoteLasting"),
                (980, Nothing, None, "SampleUsage"),
                (980, Nothing, None, "CheckExit"),
                (980, Nothing, None, "wait for exit 1000"),
                (990, Reaped, None, "LookForRest"),
                (990, RestGone, None, "finish"),
            ],
        ),
        (
            "its output is closed while it is polled",
            PLAIN,
            None,
            after(
                &[&POLLED],
                &[
                    (30, READABLE, None, "Read"),
                    (30, OutputEnded, None, "CheckExit"),
                    (30, Exited, None, "LookForRest"),
                    (30, RestGone, None, "finish"),
                ],
            ),
        ),
        (
            "output that something left behind holds is read until a silence",
            PLAIN,
            None,
            after(
                &[&SAMPLED],
                &[
                    (30, EXITED, None, "wait 2030 interrupt"),
                    (1_900, READABLE, None, "Read"),
                    (1_900, Printed, None, "wait 3900 interrupt"),
                    (3_900, WOKEN, None, "LookForRest"),
                    (3_900, RestGone, None, "finish"),
                ],
            ),
        ),
        (
            "and no longer than bearable",
            PLAIN,
            None,
            after(
                &[&SAMPLED],
                &[
                    (30, EXITED, None, "wait 2030 interrupt"),
                    (2_000, READABLE, None, "Read"),
                    (2_000, Printed, None, "wait 4000 interrupt"),
                    (3_990, READABLE, None, "Read"),
                    (3_990, Printed, None, "wait 5990 interrupt"),
                    (5_980, READABLE, None, "Read"),
                    (5_980, Printed, None, "wait 7980 interrupt"),
                    (7_970, READABLE, None, "Read"),
                    (7_970, Printed, None, "wait 9970 interrupt"),
                    (9_960, READABLE, None, "Read"),
                    (9_960, Printed, None, "wait 10030 interrupt"),
                    (10_030, READABLE, None, "Read"),
                    (10_030, Printed, None, "LookForRest"),
                    (10_030, RestGone, None, "finish"),
                ],
            ),
        ),
        (
            "nor longer than a moment once a stop needs the executor",
            PLAIN,
            None,
            after(
                &[&SAMPLED],
                &[
                    (30, EXITED, None, "wait 2030 interrupt"),
                    (1_000, WOKEN, STOP, "wait 1050"),
                    (1_040, READABLE, STOP, "Read"),
                    (1_040, Printed, STOP, "wait 1090"),
                    (1_090, WOKEN, STOP, "LookForRest"),
                    (1_090, RestGone, STOP, "finish"),
                ],
            ),
        ),
        (
            "what it has left and must not live on is asked to end, heard and waited for",
            PLAIN,
            None,
            after(
                &[&SAMPLED],
                &[
                    (30, BOTH, None, "Read"),
                    (30, OutputEnded, None, "LookForRest"),
                    (30, RestLeft, None, "TerminateRest"),
                    (30, Nothing, None, "wait 32"),
                    (32, WOKEN, None, "LookForRest"),
                    (32, RestLeft, None, "wait 36"),
                    (36, WOKEN, None, "LookForRest"),
                    (36, RestGone, None, "finish"),
                ],
            ),
        ),
        (
            "and killed when its grace is over, for as long as bearable",
            PLAIN,
            None,
            after(
                &[&SAMPLED],
                &[
                    (30, BOTH, None, "Read"),
                    (30, OutputEnded, None, "LookForRest"),
                    (30, RestLeft, None, "TerminateRest"),
                    (30, Nothing, None, "wait 32"),
                    (130, WOKEN, None, "Kill"),
                    (130, Nothing, None, "LookForRest"),
                    (130, RestLeft, None, "wait 132"),
                    (5_129, WOKEN, None, "LookForRest"),
                    (5_129, RestLeft, None, "wait 5130"),
                    (5_130, WOKEN, None, "GiveRestUp"),
                    (5_130, Nothing, None, "finish"),
                ],
            ),
        ),
        (
            "and at once if the process runs elsewhere by now",
            PLAIN,
            None,
            after(
                &[&SAMPLED],
                &[
                    (30, BOTH, FENCED, "Read"),
                    (30, OutputEnded, FENCED, "LookForRest"),
                    (30, RestLeft, FENCED, "Kill"),
                    (30, Nothing, FENCED, "LookForRest"),
                    (30, RestGone, FENCED, "finish"),
                ],
            ),
        ),
        (
            "of what is left after a timeout all has its grace, whoever holds the output",
            PLAIN,
            stop,
            after(
                &[&SAMPLED, &TERMINATED],
                &[
                    (40, BOTH, STOP, "Read"),
                    (40, OutputEnded, STOP, "LookForRest"),
                    (40, RestLeft, STOP, "wait 42"),
                    (42, WOKEN, STOP, "LookForRest"),
                    (42, RestLeft, STOP, "wait 46"),
                    (46, WOKEN, STOP, "LookForRest"),
                    (46, RestGone, STOP, "finish, kill rest"),
                ],
            ),
        ),
        (
            "one that has ended by itself when its time is over has met its timeout",
            PLAIN,
            None,
            vec![
                (0, Nothing, None, "wait 20 interrupt"),
                (TIMEOUT_MS, WOKEN, None, "SampleUsage"),
                (TIMEOUT_MS, Nothing, None, "WatchExit"),
                (TIMEOUT_MS, Watched, None, "CheckExit"),
                (TIMEOUT_MS, Exited, None, "wait 3000 interrupt"),
                (1_010, READABLE, None, "Read"),
                (1_010, OutputEnded, None, "LookForRest"),
                (1_010, RestGone, None, "finish"),
            ],
        ),
        (
            "a timeout ends it with grace; children that hold the pipe are given that time too",
            PLAIN,
            Some(Cause::Timeout),
            vec![
                (0, Nothing, None, "wait 20 interrupt"),
                (TIMEOUT_MS, WOKEN, None, "SampleUsage"),
                (TIMEOUT_MS, Nothing, None, "WatchExit"),
                (TIMEOUT_MS, Watched, None, "CheckExit"),
                (TIMEOUT_MS, Nothing, None, "Terminate"),
                (TIMEOUT_MS, Nothing, None, "wait 1040 exit"),
                (1_010, EXITED, None, "LookForRest"),
                (1_010, RestLeft, None, "wait 1012"),
                (1_090, READABLE, None, "Read"),
                (1_090, Printed, None, "LookForRest"),
                (1_090, RestLeft, None, "wait 1094"),
                (1_095, READABLE, None, "Read"),
                (1_095, OutputEnded, None, "LookForRest"),
                (1_095, RestGone, None, "finish, kill rest"),
            ],
        ),
        (
            "its time and its grace are over between samples",
            PLAIN,
            Some(Cause::Timeout),
            after(
                &[&SAMPLED],
                &[
                    (620, WOKEN, None, "SampleUsage"),
                    (620, Nothing, None, "wait 700 exit interrupt"),
                    (700, WOKEN, None, "SampleUsage"),
                    (700, Nothing, None, "wait 860 exit interrupt"),
                    (860, WOKEN, None, "SampleUsage"),
                    (860, Nothing, None, "wait 1000 exit interrupt"),
                    (1_000, WOKEN, None, "CheckExit"),
                    (1_000, Nothing, None, "Terminate"),
                    (1_000, Nothing, None, "wait 1100 exit"),
                    (1_100, WOKEN, None, "Kill"),
                    (1_100, Nothing, None, "wait 1180 exit"),
                    (1_180, WOKEN, None, "SampleUsage"),
                    (1_180, Nothing, None, "wait 1680 exit"),
                    (1_200, BOTH, None, "Read"),
                    (1_200, OutputEnded, None, "LookForRest"),
                    (1_200, RestGone, None, "finish, kill rest"),
                ],
            ),
        ),
        (
            "a request when its time is over counts more",
            PLAIN,
            stop,
            after(
                &[&SAMPLED],
                &[
                    (TIMEOUT_MS, WOKEN, STOP, "SampleUsage"),
                    (TIMEOUT_MS, Nothing, STOP, "CheckExit"),
                    (TIMEOUT_MS, Nothing, STOP, "Terminate"),
                ],
            ),
        ),
        (
            "when the grace is over what holds the pipe is killed, and drained",
            PLAIN,
            stop,
            after(
                &[&SAMPLED, &TERMINATED],
                &[
                    (40, EXITED, STOP, "LookForRest"),
                    (40, RestLeft, STOP, "wait 42"),
                    (130, WOKEN, STOP, "Kill"),
                    (130, Nothing, STOP, "LookForRest"),
                    (130, RestGone, STOP, "wait 180"),
                    (180, WOKEN, STOP, "finish, kill rest"),
                ],
            ),
        ),
        (
            "output that something holds which can't be found is read for a moment after the end of all others",
            PLAIN,
            stop,
            after(
                &[&SAMPLED, &TERMINATED],
                &[
                    (40, EXITED, STOP, "LookForRest"),
                    (40, RestGone, STOP, "wait 90"),
                    (50, READABLE, STOP, "Read"),
                    (50, Printed, STOP, "wait 100"),
                    (101, WOKEN, STOP, "finish, kill rest"),
                ],
            ),
        ),
        (
            "a request before anybody cares for its exit has it watched",
            PLAIN,
            stop,
            vec![
                (0, Nothing, None, "wait 20 interrupt"),
                (1, WOKEN, STOP, "CheckExit"),
                (1, Nothing, STOP, "Terminate"),
                (1, Nothing, STOP, "WatchExit"),
                (1, Watched, STOP, "wait 20 exit"),
                (2, BOTH, STOP, "Read"),
                (2, OutputEnded, STOP, "LookForRest"),
                (2, RestGone, STOP, "finish, kill rest"),
            ],
        ),
        (
            "while it is polled a request has its exit asked for often",
            PLAIN,
            stop,
            after(
                &[&POLLED],
                &[
                    (30, WOKEN, STOP, "CheckExit"),
                    (30, Nothing, STOP, "Terminate"),
                    (30, Nothing, STOP, "CheckExit"),
                    (30, Nothing, STOP, "wait 31"),
                    (31, WOKEN, STOP, "CheckExit"),
                    (31, Nothing, STOP, "wait 33"),
                    (33, WOKEN, STOP, "CheckExit"),
                    (33, Exited, STOP, "LookForRest"),
                    (33, RestLeft, STOP, "wait 35"),
                    (34, READABLE, STOP, "Read"),
                    (34, OutputEnded, STOP, "LookForRest"),
                    (34, RestGone, STOP, "finish, kill rest"),
                ],
            ),
        ),
        (
            "a lost claim has no grace",
            PLAIN,
            fenced,
            after(
                &[&SAMPLED],
                &[
                    (30, WOKEN, FENCED, "CheckExit"),
                    (30, Nothing, FENCED, "Kill"),
                    (30, Nothing, FENCED, "wait 60 exit"),
                    (31, BOTH, FENCED, "Read"),
                    (31, OutputEnded, FENCED, "LookForRest"),
                    (31, RestGone, FENCED, "finish, kill rest"),
                ],
            ),
        ),
        (
            "and its exit is watched",
            PLAIN,
            fenced,
            vec![
                (0, Nothing, None, "wait 20 interrupt"),
                (1, WOKEN, FENCED, "CheckExit"),
                (1, Nothing, FENCED, "Kill"),
                (1, Nothing, FENCED, "WatchExit"),
                (1, Watched, FENCED, "wait 20 exit"),
            ],
        ),
        (
            "and ends the grace of another request, which a third does not",
            PLAIN,
            fenced,
            after(
                &[&SAMPLED, &TERMINATED],
                &[
                    (35, READABLE, CANCEL, "Read"),
                    (35, Printed, CANCEL, "wait 60 exit"),
                    (40, READABLE, FENCED, "Read"),
                    (40, Printed, FENCED, "Kill"),
                    (40, Nothing, FENCED, "wait 60 exit"),
                    (41, EXITED, FENCED, "LookForRest"),
                    (41, RestGone, FENCED, "wait 91"),
                    (42, READABLE, FENCED, "Read"),
                    (42, OutputEnded, FENCED, "finish, kill rest"),
                ],
            ),
        ),
        (
            "one that outlives its killing is told of once and waited for",
            PLAIN,
            stop,
            after(
                &[&SAMPLED, &TERMINATED],
                &[
                    (130, WOKEN, STOP, "SampleUsage"),
                    (130, Nothing, STOP, "Kill"),
                    (130, Nothing, STOP, "wait 210 exit"),
                    (10_129, WOKEN, STOP, "SampleUsage"),
                    (10_129, Nothing, STOP, "wait 10130 exit"),
                    (10_130, WOKEN, STOP, "WarnOfSurvivor"),
                    (10_130, Nothing, STOP, "wait 10289 exit"),
                    (10_140, BOTH, STOP, "Read"),
                    (10_140, OutputEnded, STOP, "LookForRest"),
                    (10_140, RestGone, STOP, "finish, kill rest"),
                ],
            ),
        ),
        (
            "of one that has exited only the output is waited for",
            PLAIN,
            stop,
            after(
                &[&SAMPLED, &TERMINATED],
                &[
                    (130, WOKEN, STOP, "SampleUsage"),
                    (130, Nothing, STOP, "Kill"),
                    (10_120, EXITED, STOP, "LookForRest"),
                    (10_120, RestGone, STOP, "wait 10170"),
                    (10_135, READABLE, STOP, "Read"),
                    (10_135, Printed, STOP, "wait 10185"),
                    (10_185, WOKEN, STOP, "finish, kill rest"),
                ],
            ),
        ),
        (
            "one that can't be watched is not left running",
            PLAIN,
            None,
            vec![(0, Nothing, None, "wait 20 interrupt"), (1, Event::Failed, None, "finish, kill rest")],
        ),
    ]
}

/// A variant's name, without what it holds.
fn name(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").split([' ', '(']).next().unwrap().to_owned()
}

#[test]
fn every_event_action_and_change_of_phase_is_as_it_should_be() {
    let began = Instant::now();
    let (mut seen, mut phases) = (BTreeSet::new(), BTreeSet::new());
    for (what, kind, cause, steps) in table() {
        let mut state =
            State::new(began, ms(TIMEOUT_MS), ms(GRACE_MS), kind.notes_lasting, kind.can_wait_for_exit);
        for (index, (at, event, asked, expected)) in steps.into_iter().enumerate() {
            let before = name(&state.phase);
            let action = state.next(event, asked, began + ms(at));
            assert_eq!(shown(action, began), expected, "{what}, step {index} at {at} ms: {state:?}");
            seen.extend([name(&event), name(&action)]);
            phases.insert((before, name(&state.phase)));
        }
        assert_eq!(state.cause(), cause, "{what}");
        assert_eq!(state.was_killed(), matches!(state.phase, Phase::Killed { .. }), "{what}");
    }
    let all = "CheckExit Exited Failed Finish GiveRestUp Kill LookForRest NoteLasting Nothing OutputEnded Printed Read \
               Ready Reaped RestGone RestLeft SampleUsage Terminate TerminateRest TryReap Unwatchable Wait WaitForExit \
               WarnOfSurvivor WatchExit Watched";
    assert_eq!(seen.into_iter().collect::<Vec<_>>().join(" "), all);
    let phases = phases.iter().map(|(before, after)| format!("{before} {after}"));
    let changes = [
        "Asked Killed",
        "Asked Running",
        "Asked Terminating",
        "Killed Killed",
        "Running Asked",
        "Running Killed",
        "Running Running",
        "Running Terminating",
        "Terminating Killed",
        "Terminating Terminating",
    ];
    assert_eq!(phases.collect::<Vec<_>>(), changes);
}

#[test]
fn times_that_clocks_cannot_express_are_none() {
    let now = Instant::now();
    let mut state = State::new(now, Duration::MAX, Duration::MAX, false, false);
    assert_eq!(shown(state.next(Event::Nothing, None, now), now), "wait 20 interrupt");
    state.next(WOKEN, STOP, now);
    assert_eq!(state.next(Event::Nothing, STOP, now), Action::Terminate);
}

/// A command in a made-up time, in milliseconds: what it does, and what is asked of it.
#[derive(Debug, Clone)]
struct World {
    exits_at: Option<u64>,
    /// What it leaves behind holds the output for so long after its exit.
    holds_output: u64,
    /// Something is left that must not live on, and ends so long after it was asked to; none if it ignores that.
    leaves: Option<Option<u64>>,
    closes_output_early: bool,
    prints_every: u64,
    /// How long after SIGTERM it ends; none if it ignores that.
    heeds_term: Option<u64>,
    asked: Option<(u64, Reason)>,
    has_descriptor: bool,
    can_wait_for_exit: bool,
}

fn world() -> impl Strategy<Value = World> {
    let reason = prop_oneof![Just(Reason::Stop), Just(Reason::Cancel), Just(Reason::Fenced)];
    let first = (
        prop::option::of(0..3_000_u64),
        prop_oneof![Just(0), 0..4_000_u64],
        prop::option::of(prop::option::of(0..200_u64)),
        any::<bool>(),
        1..400_u64,
        prop::option::of(0..200_u64),
    );
    (first, prop::option::of((0..2_000_u64, reason)), any::<bool>(), any::<bool>()).prop_map(
        |(
            (exits_at, holds_output, leaves, closes_output_early, prints_every, heeds_term),
            asked,
            has,
            can,
        )| World {
            exits_at,
            holds_output,
            leaves,
            closes_output_early,
            prints_every,
            heeds_term,
            asked,
            has_descriptor: has,
            can_wait_for_exit: can,
        },
    )
}

/// What came of it.
#[derive(Debug, Default)]
struct Told {
    finished_at: u64,
    exit_at: u64,
    terminated_at: Option<u64>,
    killed_at: Option<u64>,
    rest_asked_at: Option<u64>,
    rest_end: Option<u64>,
    steps: u32,
}

fn live_through(world: &World) -> (Told, State) {
    let began = Instant::now();
    let mut state = State::new(began, ms(TIMEOUT_MS), ms(GRACE_MS), true, world.can_wait_for_exit);
    let (mut now, mut event, mut told) = (0, Event::Nothing, Told::default());
    let (mut exit_at, mut output_end) = (world.exits_at, None::<u64>);
    let (mut has_ended_output, mut next_print, mut is_reaped) = (false, world.prints_every, false);
    loop {
        told.steps += 1;
        assert!(told.steps < 20_000, "it spins: {state:?}");
        if world.closes_output_early {
            output_end = Some(0);
        } else if let Some(exit) = exit_at {
            output_end = Some(output_end.unwrap_or(exit + world.holds_output));
        }
        let asked = world.asked.filter(|(at, _)| now >= *at).map(|(_, reason)| reason);
        let action = state.next(event, asked, began + ms(now));
        let has_exited = |now: u64| exit_at.is_some_and(|at| now >= at);
        event = match action {
            Action::Wait { until, exit, interrupt } => {
                let mut wakes = vec![u64::try_from((until - began).as_micros().div_ceil(1_000)).unwrap()];
                if !has_ended_output {
                    wakes.push(next_print);
                    wakes.extend(output_end);
                }
                wakes.extend(exit_at.filter(|_| exit));
                wakes.extend(world.asked.map(|(at, _)| at).filter(|_| interrupt && asked.is_none()));
                now = now.max(wakes.into_iter().min().unwrap());
                let output =
                    !has_ended_output && (now >= next_print || output_end.is_some_and(|at| now >= at));
                Event::Ready { output, exit: exit && has_exited(now) }
            }
            Action::WaitForExit { until } => {
                let until = u64::try_from((until - began).as_micros().div_ceil(1_000)).unwrap();
                now = now.max(exit_at.map_or(until, |at| at.min(until)));
                is_reaped = has_exited(now);
                if is_reaped { Event::Reaped } else { Event::Nothing }
            }
            Action::Read if output_end.is_some_and(|at| now >= at) => {
                has_ended_output = true;
                Event::OutputEnded
            }
            Action::Read => {
                next_print = now + world.prints_every;
                Event::Printed
            }
            Action::TryReap => {
                is_reaped = has_exited(now);
                if is_reaped { Event::Reaped } else { Event::Nothing }
            }
            Action::WatchExit if world.has_descriptor => Event::Watched,
            Action::WatchExit => Event::Unwatchable,
            Action::CheckExit => {
                assert!(!is_reaped, "its id means nothing any more");
                if has_exited(now) { Event::Exited } else { Event::Nothing }
            }
            Action::Terminate => {
                assert!(!is_reaped && told.terminated_at.is_none());
                told.terminated_at = Some(now);
                told.rest_end = world.leaves.flatten().map(|ms| now + ms);
                exit_at = exit_at.into_iter().chain(world.heeds_term.map(|ms| now + ms)).min();
                Event::Nothing
            }
            Action::Kill => {
                // Once the leader is reaped only what it has left is killed.
                assert!(
                    told.killed_at.is_none()
                        && (!is_reaped || told.rest_asked_at.is_some() || asked == FENCED)
                );
                told.killed_at = Some(now);
                told.rest_end = Some(told.rest_end.map_or(now, |at| at.min(now)));
                exit_at = Some(exit_at.map_or(now, |at| at.min(now)));
                output_end = Some(output_end.map_or(now, |at| at.min(now)));
                Event::Nothing
            }
            Action::LookForRest => {
                assert!(has_exited(now));
                let is_left = world.leaves.is_some() && told.rest_end.is_none_or(|at| now < at);
                if is_left { Event::RestLeft } else { Event::RestGone }
            }
            Action::TerminateRest => {
                assert!(told.terminated_at.is_none() && told.rest_asked_at.is_none());
                told.rest_asked_at = Some(now);
                told.rest_end = world.leaves.flatten().map(|ms| now + ms);
                Event::Nothing
            }
            Action::SampleUsage | Action::NoteLasting | Action::WarnOfSurvivor | Action::GiveRestUp => {
                Event::Nothing
            }
            Action::Finish { .. } => {
                (told.finished_at, told.exit_at) = (now, exit_at.expect("it has exited"));
                return (told, state);
            }
        };
    }
}

proptest! {
    #[test]
    fn whatever_a_command_does_it_ends_in_time_and_by_the_rules(world in world()) {
        let (told, state) = live_through(&world);
        // Until the first sample nobody watches the exit of one that prints; without a descriptor only samples show it.
        let unnoticed_max = if world.has_descriptor { SAMPLE_FIRST } else { SAMPLE_INTERVAL_MAX };
        let unnoticed = u64::try_from((unnoticed_max + POLL_MAX).as_millis()).unwrap();
        let drain = u64::try_from(DRAIN_MAX.as_millis()).unwrap();
        let hurried = u64::try_from((HURRIED_MAX + LOOK_MAX).as_millis()).unwrap();
        prop_assert!(told.finished_at >= told.exit_at, "{:?}", told);
        let was_left_alone = told.terminated_at.is_none() && told.killed_at.is_none();
        if was_left_alone {
            prop_assert_eq!(state.cause(), None);
        }
        if was_left_alone && told.rest_asked_at.is_none() {
            prop_assert!(told.finished_at <= told.exit_at + unnoticed + drain, "{:?}", told);
        }
        if state.cause().is_some() {
            prop_assert!(told.finished_at <= TIMEOUT_MS + GRACE_MS + unnoticed + hurried, "{:?}", told);
        }
        if let Some(at) = told.rest_asked_at {
            prop_assert!(told.finished_at <= at + GRACE_MS + hurried, "{:?}", told);
        }
        // Nothing that must not live on does.
        prop_assert!(world.leaves.is_none() || told.rest_end.is_some_and(|at| at <= told.finished_at), "{:?}", told);
        let is_fenced = matches!(world.asked, Some((_, Reason::Fenced)));
        if let Some(at) = told.terminated_at {
            let was_asked = world.asked.is_some_and(|(asked_at, _)| at >= asked_at);
            prop_assert!(was_asked || at >= TIMEOUT_MS, "{:?}", told);
        }
        if let Some(at) = told.killed_at {
            prop_assert!(state.was_killed());
            let asked_at = told.terminated_at.or(told.rest_asked_at);
            prop_assert!(asked_at.is_some_and(|term| at >= term + GRACE_MS) || is_fenced, "{:?}", told);
        }
    }
}
