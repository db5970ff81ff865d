//! Limits that hold back more than somebody may have meant, or that don't do what they should.

use super::check::Check;
use crate::model::limits::usage::{LimitTroubles, LimitUsage, shown_max};

/// Of each kind so many are named.
const SHOWN_MAX: usize = 3;

/// Whether limits do what they should.
pub fn of_limits(limits: &[LimitUsage], troubles: &LimitTroubles) -> Check {
    let name = "limits";
    let pairs = |all: &[(String, String)]| {
        shown(all.iter().map(|(entry, process)| format!("{process} of {entry}")).collect())
    };
    if !troubles.leaked.is_empty() {
        return Check::fail(
            name,
            format!("slots are taken by processes that have left the queue: {}", pairs(&troubles.leaked)),
            "they are lost until their rows are deleted: DELETE FROM limit_slots x WHERE NOT EXISTS (SELECT FROM \
             scheduled_tasks s WHERE s.task_instance = x.process_id); please report this",
        );
    }
    if !troubles.passed_over.is_empty() {
        return Check::warn(
            name,
            format!("processes wait although there is room: {}", pairs(&troubles.passed_over)),
            "see that a serve of this version runs: it lets them go",
        );
    }
    let waiting: u64 = limits.iter().map(|it| u64::from(it.waiting)).sum();
    let named =
        |is: fn(&LimitUsage) -> bool| -> Vec<String> { limits.iter().filter(|it| is(it)).map(by).collect() };
    // A batch that is halted is told by itself, with what to do.
    let stopped = named(|it| it.max == Some(0) && !it.name.starts_with("batch:"));
    let draining = named(|it| !is_keyed(it) && it.max.is_some_and(|max| max > 0 && it.taken > max));
    let mut found = Vec::new();
    let mut remedies = Vec::new();
    if !stopped.is_empty() {
        found.push(format!("nothing more begins of {}", shown(stopped)));
        remedies.push("raise it: process-orchestrator limits set NAME --max N");
    }
    if !draining.is_empty() {
        found
            .push(format!("more are taken than now allowed, which go on to their ends: {}", shown(draining)));
        remedies.push("see who has the slots: process-orchestrator limits show NAME");
    }
    if !troubles.unbounded.is_empty() {
        found.push(format!(
            "no document gives a max, so there is no bound: {}",
            shown(troubles.unbounded.clone())
        ));
        remedies.push("write one in a process type, or: process-orchestrator limits set NAME --max N");
    }
    match limits.len() {
        _ if !found.is_empty() => Check::warn(name, found.join("; "), remedies.join("; ")),
        0 => Check::ok(name, "none"),
        many => Check::ok(name, format!("{many}, waiting for them: {waiting}")),
    }
}

/// A type's own by a key: what is taken says nothing of one value.
fn is_keyed(it: &LimitUsage) -> bool {
    it.name.matches(':').count() > 1
}

fn by(it: &LimitUsage) -> String {
    let who =
        it.changed_by.as_ref().filter(|_| it.is_set).map(|by| format!(", set by {by}")).unwrap_or_default();
    format!("{} (max {}, {} taken, {} wait{who})", it.name, shown_max(it.max), it.taken, it.waiting)
}

fn shown(mut all: Vec<String>) -> String {
    let more = all.len().saturating_sub(SHOWN_MAX);
    all.truncate(SHOWN_MAX);
    if more > 0 {
        all.push(format!("{more} more"));
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::cli::doctor::check::Level;

    fn limit(name: &str, max: Option<u32>, taken: u32) -> LimitUsage {
        LimitUsage {
            taken_by: Vec::new(),
            name: name.to_owned(),
            process_type: None,
            max,
            declared_max: Some(2),
            is_set: true,
            is_paused: false,
            changed_by: Some("ann".to_owned()),
            changed_at: Timestamp::UNIX_EPOCH,
            taken,
            waiting: 7,
            keys_waiting: 1,
            waiting_since: None,
        }
    }

    #[test]
    fn what_holds_back_more_than_was_meant_is_told() {
        let none = LimitTroubles::default();
        let verdict = |limits: &[LimitUsage], troubles: &LimitTroubles| {
            let check = of_limits(limits, troubles);
            (check.verdict, format!("{}; {}", check.found, check.remedy.unwrap_or_default()))
        };
        assert_eq!(verdict(&[], &none), (Level::Ok, "none; ".to_owned()));
        assert_eq!(verdict(&[limit("gpu", Some(2), 2)], &none).0, Level::Ok);
        assert_eq!(verdict(&[limit("type:a:config.b", Some(1), 9)], &none).0, Level::Ok);
        for (limit, part) in [
            (limit("gpu", Some(0), 1), "nothing more begins of gpu (max 0, 1 taken, 7 wait, set by ann)"),
            (limit("gpu", Some(1), 2), "more are taken than now allowed"),
        ] {
            let (level, told) = verdict(&[limit], &none);
            assert!(level == Level::Warn && told.contains(part), "{told}");
        }
        let pair = vec![("gpu".to_owned(), "p-1".to_owned())];
        let leaked = LimitTroubles { leaked: pair.clone(), ..LimitTroubles::default() };
        let (level, told) = verdict(&[], &leaked);
        assert!(level == Level::Fail && told.contains("p-1 of gpu"), "{told}");
        let passed_over = LimitTroubles { passed_over: pair, ..LimitTroubles::default() };
        assert!(verdict(&[], &passed_over).1.contains("although there is room: p-1 of gpu"));
        let unbounded = LimitTroubles { unbounded: vec!["disk".to_owned()], ..LimitTroubles::default() };
        assert!(verdict(&[], &unbounded).1.contains("no document gives a max"));
    }
}
