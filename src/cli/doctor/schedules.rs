//! Whether schedules fire, and whether this machine finds the times that nodes have found.

use jiff::{SignedDuration, Timestamp};

use super::check::Check;
use crate::store::schedules::ScheduleData;

/// Schedules that are looked at.
pub const SCHEDULES_MAX: u32 = 1_000;
/// What is due for longer is late.
const LATE: SignedDuration = SignedDuration::from_secs(60);
/// A pause of a week may have been forgotten.
const PAUSED_LONG: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Names that are told.
const NAMES_MAX: usize = 3;

/// Whether they are as they should be, the worst first.
pub fn of_schedules(all: &[ScheduleData], program: &str) -> Check {
    let named = |found: Vec<&ScheduleData>| {
        let names: Vec<&str> = found.iter().take(NAMES_MAX).map(|it| it.name.as_str()).collect();
        let more = found.len().saturating_sub(NAMES_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", names.join(", "))
    };
    let of = |is: &dyn Fn(&ScheduleData) -> bool| -> Vec<&ScheduleData> {
        all.iter().filter(|it| is(it)).collect()
    };
    let stuck = of(&|it| it.problem.is_some() && !it.paused);
    if let Some(first) = stuck.first() {
        let problem = first.problem.as_deref().unwrap_or_default();
        return Check::warn(
            "schedules",
            format!("{} can't start their processes; {}: {problem}", named(stuck.clone()), first.name),
            "mend what the problem names; each tries again every ten seconds",
        );
    }
    let late = of(&|it| !it.paused && it.due_at.is_some_and(|due| it.now.duration_since(due) > LATE));
    if !late.is_empty() {
        return Check::warn(
            "schedules",
            format!("{} are due for more than a minute and have not fired", named(late)),
            format!("see that a node runs ({program} nodes) and what its log says of schedules"),
        );
    }
    let unlike = of(&|it| disagrees(it));
    if !unlike.is_empty() {
        return Check::warn(
            "schedules",
            format!("this machine finds another next time than the nodes for {}", named(unlike)),
            "the zone data of the machines differ: bring tzdata up to date everywhere",
        );
    }
    let forgotten = of(&|it| it.paused_at.is_some_and(|at| it.now.duration_since(at) > PAUSED_LONG));
    if !forgotten.is_empty() {
        return Check::warn(
            "schedules",
            format!("{} have been paused for more than a week", named(forgotten)),
            format!("{program} schedule resume NAME, or remove"),
        );
    }
    let next = all.iter().filter(|it| !it.paused).filter_map(|it| it.next_at).min();
    let next = next.map(|at| format!(", the next at {at}")).unwrap_or_default();
    Check::ok("schedules", format!("{}{next}", all.len()))
}

/// Whether the next time that a node has found is none by this machine's zones.
fn disagrees(data: &ScheduleData) -> bool {
    let check = |next: Timestamp| {
        let rule = data.schedule().ok()?.rule()?;
        let before = next.checked_sub(SignedDuration::from_nanos(1)).ok()?;
        Some(rule.after(before) != Some(next))
    };
    // One that was moved by hand, or ends, is none that zones decide.
    data.next_at.filter(|next| *next > data.now).and_then(check).unwrap_or_else(|| data.schedule().is_err())
}
