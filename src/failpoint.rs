//! Named places where a test can hold, kill or upset the program. Compiled in only with the feature `failpoints`;
//! without it every [`hit`] is nothing.
//!
//! `PROCESS_ORCHESTRATOR_FAILPOINTS` lists what is to happen, as `POINT[@N]=ACTION` separated by commas:
//!
//! | action | what happens at the point |
//! |---|---|
//! | `hold:DIR` | makes the file `DIR/POINT.reached`, then waits until `DIR/POINT.go` is there |
//! | `gate:DIR` | while `DIR/POINT.shut` is there: the same until that is gone, and takes `DIR/POINT.reached` away |
//! | `kill` | the program kills itself with SIGKILL |
//! | `panic` | the thread panics |
//!
//! `@N` means the Nth time only, counted from 1; without it, every time.

/// A place in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The poller has claims that are committed, and no executor knows of them.
    AfterClaim,
    /// An executor has a task and has not looked whether it may begin.
    BeforeBegin,
    /// An executor is about to start a command.
    BeforeSpawn,
    /// A command runs, and nobody watches it yet.
    AfterSpawn,
    /// A command has ended and is reaped; the recorder does not know.
    AfterExit,
    /// The recorder has a batch and has sent nothing.
    BeforeRecord,
    /// A batch is committed; nothing of it was handed on.
    AfterRecord,
    /// The heartbeat is about to renew the lease.
    BeforeHeartbeat,
    /// The database has renewed the lease; nothing on this side knows.
    AfterHeartbeat,
    /// A node's process was found gone and its commands were ended; it is not declared dead.
    BeforeDeclaration,
    /// A dead node was declared dead; nothing of it is taken over.
    BeforeTakeover,
    /// A migration's statements have run; its transaction is open.
    InMigration,
    /// The listener listens, and is about to wait for what is notified.
    Listening,
    /// The lease is about to be checked.
    WatchingLease,
    /// An archive file has its name; nothing of what is in it is deleted.
    Archived,
    /// A request to the status endpoint is about to be answered.
    HttpAnswer,
    /// The end of a batch is noted and what follows it started; nothing of it is committed.
    BatchEnd,
    /// Schedules have fired; nothing of it is committed.
    Firing,
    /// What has fired is committed.
    Fired,
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn hit(_point: Point) {}

/// The newest migration that this program shall know, from `PROCESS_ORCHESTRATOR_KNOWN_SCHEMA`: it then is as a
/// program of an earlier release, as far as the schema goes.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn known_schema() -> Option<i32> {
    None
}

/// How many processes an era is to hold and how often eras are looked at, from `PROCESS_ORCHESTRATOR_ERAS` as
/// `SIZE:MILLISECONDS`: so that a run of a minute sees many.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn era_pace() -> Option<(u32, std::time::Duration)> {
    None
}

#[cfg(feature = "failpoints")]
pub(crate) use active::{era_pace, hit, known_schema};

#[cfg(feature = "failpoints")]
mod active {
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use std::{fs, process, thread};

    use super::Point;

    const VARIABLE: &str = "PROCESS_ORCHESTRATOR_FAILPOINTS";
    const KNOWN_SCHEMA_VARIABLE: &str = "PROCESS_ORCHESTRATOR_KNOWN_SCHEMA";
    const ERAS_VARIABLE: &str = "PROCESS_ORCHESTRATOR_ERAS";
    /// A held thread looks for its permission to go on this often.
    const POLL_INTERVAL: Duration = Duration::from_millis(2);

    #[derive(Debug, PartialEq)]
    enum Action {
        Hold(PathBuf),
        Gate(PathBuf),
        Kill,
        Panic,
    }

    #[derive(Debug)]
    struct Rule {
        point: Point,
        /// 0: every time.
        only_at: u32,
        action: Action,
        hits: AtomicU32,
    }

    /// Does what the environment wants done at `point`.
    pub(crate) fn hit(point: Point) {
        static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
        let rules = RULES.get_or_init(|| match std::env::var(VARIABLE) {
            Ok(text) => text.split(',').map(parse).collect(),
            Err(_) => Vec::new(),
        });
        for rule in rules.iter().filter(|it| it.point == point) {
            let hits = rule.hits.fetch_add(1, Ordering::Relaxed) + 1;
            if rule.only_at == 0 || rule.only_at == hits {
                rule.act();
            }
        }
    }

    pub(crate) fn known_schema() -> Option<i32> {
        let text = std::env::var(KNOWN_SCHEMA_VARIABLE).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{KNOWN_SCHEMA_VARIABLE}: {text:?} is no version")))
    }

    pub(crate) fn era_pace() -> Option<(u32, Duration)> {
        let text = std::env::var(ERAS_VARIABLE).ok()?;
        let read = text.split_once(':').and_then(|(size, ms)| Some((size.parse().ok()?, ms.parse().ok()?)));
        let (size, ms) = read.unwrap_or_else(|| panic!("{ERAS_VARIABLE}: {text:?} is no SIZE:MILLISECONDS"));
        Some((size, Duration::from_millis(ms)))
    }

    impl Rule {
        fn act(&self) {
            match &self.action {
                Action::Hold(directory) => hold(directory, self.point.name()),
                Action::Gate(directory) => wait_at_gate(directory, self.point.name()),
                Action::Panic => panic!("failpoint {}", self.point.name()),
                Action::Kill => {
                    let own = process::id().to_string();
                    let killed = crate::platform::processes::kill().args(["-KILL", &own]).status();
                    panic!("failpoint {}: kill ended with {killed:?}", self.point.name());
                }
            }
        }
    }

    fn hold(directory: &Path, name: &str) {
        let reached = directory.join(format!("{name}.reached"));
        fs::write(&reached, "").unwrap_or_else(|e| panic!("failpoint {}: {e}", reached.display()));
        while !directory.join(format!("{name}.go")).exists() {
            thread::park_timeout(POLL_INTERVAL);
        }
    }

    fn wait_at_gate(directory: &Path, name: &str) {
        let is_shut = || directory.join(format!("{name}.shut")).exists();
        if is_shut() {
            let reached = directory.join(format!("{name}.reached"));
            fs::write(&reached, "").unwrap_or_else(|e| panic!("failpoint {}: {e}", reached.display()));
            while is_shut() {
                thread::park_timeout(POLL_INTERVAL);
            }
            // Another thread that waited here may have been faster.
            let _ = fs::remove_file(reached);
        }
    }

    fn parse(text: &str) -> Rule {
        let rule = || -> Option<Rule> {
            let (place, action) = text.split_once('=')?;
            let (name, only_at) = match place.split_once('@') {
                Some((name, number)) => (name, number.parse().ok()?),
                None => (place, 0),
            };
            let action = match action.split_once(':') {
                Some(("hold", directory)) => Action::Hold(directory.into()),
                Some(("gate", directory)) => Action::Gate(directory.into()),
                None if action == "kill" => Action::Kill,
                None if action == "panic" => Action::Panic,
                _ => return None,
            };
            Some(Rule { point: Point::named(name)?, only_at, action, hits: AtomicU32::new(0) })
        };
        rule().unwrap_or_else(|| {
            panic!("{VARIABLE}: {text:?} is no POINT[@N]=hold:DIR, gate:DIR, kill or panic")
        })
    }

    impl Point {
        const ALL: [Self; 19] = [
            Self::AfterClaim,
            Self::BeforeBegin,
            Self::BeforeSpawn,
            Self::AfterSpawn,
            Self::AfterExit,
            Self::BeforeRecord,
            Self::AfterRecord,
            Self::BeforeHeartbeat,
            Self::AfterHeartbeat,
            Self::BeforeDeclaration,
            Self::BeforeTakeover,
            Self::InMigration,
            Self::Listening,
            Self::WatchingLease,
            Self::Archived,
            Self::HttpAnswer,
            Self::BatchEnd,
            Self::Firing,
            Self::Fired,
        ];

        fn named(name: &str) -> Option<Self> {
            Self::ALL.into_iter().find(|it| it.name() == name)
        }

        const fn name(self) -> &'static str {
            match self {
                Self::AfterClaim => "after-claim",
                Self::BeforeBegin => "before-begin",
                Self::BeforeSpawn => "before-spawn",
                Self::AfterSpawn => "after-spawn",
                Self::AfterExit => "after-exit",
                Self::BeforeRecord => "before-record",
                Self::AfterRecord => "after-record",
                Self::BeforeHeartbeat => "before-heartbeat",
                Self::AfterHeartbeat => "after-heartbeat",
                Self::BeforeDeclaration => "before-declaration",
                Self::BeforeTakeover => "before-takeover",
                Self::InMigration => "in-migration",
                Self::Listening => "listening",
                Self::WatchingLease => "watching-lease",
                Self::Archived => "archived",
                Self::HttpAnswer => "http-answer",
                Self::BatchEnd => "batch-end",
                Self::Firing => "firing",
                Self::Fired => "fired",
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn rules_are_read() {
            let rule = parse("after-claim@3=hold:/a/b");
            assert_eq!(
                (rule.point, rule.only_at, rule.action),
                (Point::AfterClaim, 3, Action::Hold("/a/b".into()))
            );
            assert_eq!(parse("before-record=kill").action, Action::Kill);
            assert_eq!(parse("before-begin=gate:/a").action, Action::Gate("/a".into()));
            for bad in ["", "nowhere=kill", "after-claim=sleep", "after-claim@x=kill"] {
                assert!(std::panic::catch_unwind(|| parse(bad)).is_err(), "{bad:?} was taken");
            }
        }
    }
}
