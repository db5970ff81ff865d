//! What a schedule says, and its document.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{self, TimeZone};
use serde_json::{Map, Value, json};

use super::cron::{CRON_REMEDY, CronExpression};
use super::rule::{Pace, Rule};
use crate::model::document::reader::{Reader, Shape, path};
use crate::model::document::rules::NumberRule;
use crate::model::document::tree::{Node, shown_text};
use crate::model::duration::{parse_duration, show_duration};
use crate::model::faults::Faults;
use crate::model::input::{self, ProcessInputData};
use crate::model::names::name_problem;
use crate::model::suggest;

/// The keys of a schedule's document.
pub const SCHEDULE_KEYS: &[&str] = &[
    "name",
    "process_type",
    "cron",
    "every",
    "time_zone",
    "input",
    "priority",
    "overlap",
    "catch_up",
    "catch_up_max",
    "jitter",
    "from",
    "until",
];
/// Whose clock counts when a schedule says nothing.
pub const DEFAULT_TIME_ZONE: &str = "UTC";
/// Times that `catch_up: all` makes up for when a schedule says nothing.
pub const DEFAULT_CATCH_UP_MAX: u32 = 100;

const NAME_REMEDY: &str = "write 1 to 200 characters without @, = and %, such as \"nightly\"";
const EVERY_REMEDY: &str =
    "write whole seconds up to ten years, such as \"90s\", \"15m\" or \"1d\" (24 hours)";
const JITTER_REMEDY: &str = "write up to 24 hours, such as \"30s\" or \"5m\"";
const TIME_REMEDY: &str =
    "write whole seconds as \"2026-12-01T08:00:00Z\" or, by the clock of time_zone, \"2026-12-01 08:00\"";
const PRIORITY: NumberRule = NumberRule {
    min: i32::MIN as f64,
    max: i32::MAX as f64,
    is_integer: true,
    remedy: "write a whole number; 0 is usual, higher runs first",
};
const CATCH_UP_MAX: NumberRule = NumberRule {
    min: 1.0,
    max: 1_000.0,
    is_integer: true,
    remedy: "write how many missed times are made up for, such as 100",
};
const EVERY_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);
const JITTER_MAX: Duration = Duration::from_secs(86_400);

const SHAPE: Shape = Shape {
    what: "a schedule",
    example: "an object such as {\"name\": \"nightly\", \"process_type\": \"report\", \"cron\": \"30 2 * * *\"}",
    keys: SCHEDULE_KEYS,
    required: &[("name", NAME_REMEDY)],
};

/// What becomes of a time while a process of the schedule is unfinished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// Its process waits for the end of the other; one waits, no more.
    Queue,
    /// Its process runs beside the other.
    Allow,
    /// The other is cancelled, and this one begins when that has ended.
    Replace,
}

/// What becomes of times that were missed, because no node ran or the database was away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// The last of them is made up for.
    #[default]
    Last,
    /// All of them, up to `catch_up_max`, the last ones.
    All,
    /// None: a time that is late by more than a minute is skipped.
    None,
}

macro_rules! words {
    ($kind:ident: $($variant:ident $word:literal),+) => {
        impl $kind {
            /// All of them, as documents write them.
            pub const WORDS: &[&str] = &[$($word),+];

            /// As documents write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Reads it.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
words!(Overlap: Skip "skip", Queue "queue", Allow "allow", Replace "replace");
words!(CatchUp: Last "last", All "all", None "none");

/// How the times are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timing {
    /// A cron expression.
    Cron(String),
    /// A length of time.
    Every(Duration),
}

/// A process that is started at its times.
///
/// ```
/// use process_orchestrator::Schedule;
///
/// let text = r#"{"name": "nightly", "process_type": "report", "cron": "30 2 * * *", "time_zone": "Europe/Berlin"}"#;
/// let schedule = Schedule::from_json(text, "nightly.json")?;
/// assert_eq!(schedule.time_zone, "Europe/Berlin");
/// # Ok::<(), process_orchestrator::Faults>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Unique; it begins the id of each of its processes.
    pub name: String,
    /// Of what type they are.
    pub process_type: String,
    /// Its times.
    pub timing: Timing,
    /// Whose clock shows the times of an expression, such as `Europe/Berlin`.
    pub time_zone: String,
    /// What they work on, besides `scheduled_at` and `previous_scheduled_at`.
    pub input: ProcessInputData,
    /// Higher runs first.
    pub priority: i32,
    /// What becomes of a time while a process of the schedule is unfinished.
    pub overlap: Overlap,
    /// What becomes of missed times.
    pub catch_up: CatchUp,
    /// How many of them `catch_up: all` makes up for.
    pub catch_up_max: u32,
    /// Each start is later than its time by up to so much, which depends on the name and the time alone.
    pub jitter: Duration,
    /// None is before this; where the counting of `every` begins.
    pub from: Option<Timestamp>,
    /// None is after this.
    pub until: Option<Timestamp>,
}

impl Schedule {
    /// A schedule with nothing but the usual settings.
    pub fn new(name: impl Into<String>, process_type: impl Into<String>, timing: Timing) -> Self {
        Self {
            name: name.into(),
            process_type: process_type.into(),
            timing,
            time_zone: DEFAULT_TIME_ZONE.to_owned(),
            input: ProcessInputData::new(),
            priority: 0,
            overlap: Overlap::default(),
            catch_up: CatchUp::default(),
            catch_up_max: DEFAULT_CATCH_UP_MAX,
            jitter: Duration::ZERO,
            from: None,
            until: None,
        }
    }

    /// Reads one JSON document. `source` is where it came from, for messages.
    ///
    /// # Errors
    /// Everything that is wrong with the document, in its order.
    pub fn from_json(text: &str, source: &str) -> Result<Self, Faults> {
        let node =
            Node::parse(text).map_err(|fault| Faults { source: source.to_owned(), faults: vec![fault] })?;
        Self::from_node(&node, source)
    }

    /// Reads a document that is parsed already.
    ///
    /// # Errors
    /// As [`Schedule::from_json`].
    pub fn from_value(value: &Value, source: &str) -> Result<Self, Faults> {
        Self::from_node(&Node::from(value), source)
    }

    fn from_node(node: &Node, source: &str) -> Result<Self, Faults> {
        let mut reader = Reader::default();
        let schedule = read_at(&mut reader, "", node, None);
        reader.finish(source, schedule)
    }

    /// Checks a schedule that code has built, by the rules of documents.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn validate(&self, source: &str) -> Result<(), Faults> {
        Self::from_value(&self.to_value(), source).map(drop)
    }

    /// The document, with every setting written out; [`Schedule::from_value`] makes the same schedule of it.
    pub fn to_value(&self) -> Value {
        let mut document = Map::new();
        let mut put = |key: &str, value: Value| document.insert(key.to_owned(), value);
        put("name", json!(self.name));
        put("process_type", json!(self.process_type));
        match &self.timing {
            Timing::Cron(text) => put("cron", json!(text)),
            Timing::Every(length) => put("every", json!(show_duration(*length))),
        };
        put("time_zone", json!(self.time_zone));
        put("input", self.input.to_value());
        put("priority", json!(self.priority));
        put("overlap", json!(self.overlap.as_str()));
        put("catch_up", json!(self.catch_up.as_str()));
        put("catch_up_max", json!(self.catch_up_max));
        put("jitter", json!(show_duration(self.jitter)));
        for (key, time) in [("from", self.from), ("until", self.until)] {
            if let Some(time) = time {
                put(key, json!(time.to_string()));
            }
        }
        Value::Object(document)
    }

    /// Its times; `None` for one that would not pass [`Schedule::validate`].
    pub fn rule(&self) -> Option<Rule> {
        let pace = match &self.timing {
            Timing::Cron(text) => Pace::Cron(Box::new(CronExpression::parse(text).ok()?)),
            Timing::Every(length) => Pace::Every(length.as_secs().max(1)),
        };
        let zone = TimeZone::get(&self.time_zone).ok()?;
        Some(Rule { pace, zone, from: self.from, until: self.until })
    }

    /// The times in words, such as `30 2 * * *` or `every 15m`.
    pub fn shown_timing(&self) -> String {
        match &self.timing {
            Timing::Cron(text) => text.clone(),
            Timing::Every(length) => format!("every {}", show_duration(*length)),
        }
    }
}

/// Reads a schedule that stands at `at` in a larger document; in that of a process type it is of that type.
pub(crate) fn read_at(reader: &mut Reader, at: &str, node: &Node, of_type: Option<&str>) -> Schedule {
    let mut it = Schedule::new("", of_type.unwrap_or_default(), Timing::Every(Duration::ZERO));
    let (mut cron, mut every, mut times) = (None, None, Vec::new());
    let mut is_of_type = of_type.is_some();
    let faults = reader.count();
    reader.object(at, node, &SHAPE, |reader, key, at, node| match key {
        _ if *node == Node::Null => {}
        "name" => it.name = name(reader, at, node),
        "process_type" => {
            is_of_type = true;
            if let Some(text) = reader.text(at, node, "write the name of a registered process type") {
                match (name_problem(text), of_type) {
                    (Some(problem), _) => {
                        reader.fault(at, problem, "write the name of a registered process type")
                    }
                    (None, Some(own)) if own != text => reader.fault(
                        at,
                        format!("{} is not the type in whose document this stands", shown_text(text)),
                        "leave the key out, or add the schedule with: schedule add",
                    ),
                    (None, _) => it.process_type = text.to_owned(),
                }
            }
        }
        "cron" => cron = read_cron(reader, at, node),
        "every" => every = length(reader, at, node, EVERY_REMEDY, 1, EVERY_MAX),
        "time_zone" => {
            if let Some(text) = reader.text(at, node, "write a name such as \"Europe/Berlin\"") {
                it.time_zone = zone(reader, at, text).unwrap_or_else(|| DEFAULT_TIME_ZONE.to_owned());
            }
        }
        "input" => it.input = input::read_at(reader, at, node),
        "priority" => it.priority = integer(reader.number(at, node, &PRIORITY)),
        "overlap" => it.overlap = word(reader, at, node, Overlap::WORDS, Overlap::parse),
        "catch_up" => it.catch_up = word(reader, at, node, CatchUp::WORDS, CatchUp::parse),
        "catch_up_max" => {
            it.catch_up_max = u32::try_from(integer(reader.number(at, node, &CATCH_UP_MAX))).unwrap_or(1);
        }
        "jitter" => it.jitter = length(reader, at, node, JITTER_REMEDY, 0, JITTER_MAX).unwrap_or_default(),
        // After the zone, wherever that stands.
        _ => times.extend(
            reader.text(at, node, TIME_REMEDY).map(|text| (key == "from", at.to_owned(), text.to_owned())),
        ),
    });
    for (is_from, at, text) in times {
        let time = time(reader, &at, &text, &it.time_zone);
        *(if is_from { &mut it.from } else { &mut it.until }) = time;
    }
    if !is_of_type {
        reader.fault(path(at, "process_type"), "is missing", "write the name of a registered process type");
    }
    match (
        node.get("cron").is_some_and(|it| *it != Node::Null),
        node.get("every").is_some_and(|it| *it != Node::Null),
    ) {
        (true, true) => reader.fault(path(at, "every"), "stands beside \"cron\"", "keep one of them"),
        (false, false) if matches!(node, Node::Object(_)) => {
            reader.fault(
                at,
                "has neither \"cron\" nor \"every\"",
                "write one of them, such as \"cron\": \"30 2 * * *\"",
            );
        }
        _ => {}
    }
    it.timing = match (cron, every) {
        (Some(cron), _) => Timing::Cron(cron),
        (None, every) => Timing::Every(every.unwrap_or(Duration::from_secs(1))),
    };
    if let (Some(from), Some(until)) = (it.from, it.until)
        && until < from
    {
        reader.fault(path(at, "until"), format!("{until} is before \"from\", {from}"), "write a later time");
    } else if reader.count() == faults
        && it.until.is_some()
        && it
            .rule()
            .is_some_and(|rule| rule.times(rule.from.unwrap_or(Timestamp::UNIX_EPOCH)).next().is_none())
    {
        reader.fault(path(at, "until"), "leaves no time at all", "write a later time");
    }
    it
}

fn name(reader: &mut Reader, at: &str, node: &Node) -> String {
    let Some(name) = reader.text(at, node, NAME_REMEDY) else { return String::new() };
    let sign = name.chars().find(|c| "@=%".contains(*c));
    match name_problem(name).or_else(|| sign.map(|sign| format!("{} holds {sign:?}", shown_text(name)))) {
        Some(problem) => {
            reader.fault(at, problem, NAME_REMEDY);
            String::new()
        }
        None => name.to_owned(),
    }
}

fn read_cron(reader: &mut Reader, at: &str, node: &Node) -> Option<String> {
    let text = reader.text(at, node, CRON_REMEDY)?;
    match CronExpression::parse(text) {
        Ok(_) => Some(text.to_owned()),
        Err(problem) => {
            reader.fault(at, format!("{} {problem}", shown_text(text)), CRON_REMEDY);
            None
        }
    }
}

fn length(
    reader: &mut Reader,
    at: &str,
    node: &Node,
    remedy: &str,
    least: u64,
    most: Duration,
) -> Option<Duration> {
    let text = reader.text(at, node, remedy)?;
    let problem = match parse_duration(text) {
        Err(_) => "is not a length of time",
        Ok(it) if it.as_secs() < least || it > most => "is out of range",
        Ok(it) if least > 0 && it.subsec_nanos() > 0 => "has a fraction of a second",
        Ok(it) => return Some(it),
    };
    reader.fault(at, format!("{} {problem}", shown_text(text)), remedy);
    None
}

fn zone(reader: &mut Reader, at: &str, text: &str) -> Option<String> {
    if TimeZone::get(text).is_ok() {
        return Some(text.to_owned());
    }
    let known: Vec<String> = tz::db().available().map(|it| it.to_string()).collect();
    let remedy = match suggest::closest(text, known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => "write a name of the zone database such as \"Europe/Berlin\" or \"UTC\"".to_owned(),
    };
    reader.fault(at, format!("{} is no time zone that this machine knows", shown_text(text)), remedy);
    None
}

fn time(reader: &mut Reader, at: &str, text: &str, zone: &str) -> Option<Timestamp> {
    let in_zone = || {
        let zone = TimeZone::get(zone).ok()?;
        Some(text.parse::<DateTime>().ok()?.to_zoned(zone).ok()?.timestamp())
    };
    let time = text.parse::<Timestamp>().ok().or_else(in_zone).filter(|it| it.subsec_nanosecond() == 0);
    if time.is_none() {
        reader.fault(at, format!("{} is not a time", shown_text(text)), TIME_REMEDY);
    }
    time
}

fn word<T: Default>(
    reader: &mut Reader,
    at: &str,
    node: &Node,
    words: &[&str],
    parse: impl Fn(&str) -> Option<T>,
) -> T {
    let remedy = format!("write one of {}", words.join(", "));
    let Some(text) = reader.text(at, node, &remedy) else { return T::default() };
    parse(text).unwrap_or_else(|| {
        reader.fault(at, format!("{} is none of the words for it", shown_text(text)), remedy);
        T::default()
    })
}

#[expect(clippy::cast_possible_truncation, reason = "the rule has let whole numbers of 32 bits pass alone")]
fn integer(number: Option<f64>) -> i32 {
    number.unwrap_or_default() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = Schedule::from_json(text, "s.json").expect_err(text);
        faults.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_whole_schedule_is_read_and_comes_back_from_its_document() {
        let text = r#"{"name": "nightly", "process_type": "report", "cron": "30 2 * * *", "time_zone": "Europe/Berlin",
            "input": {"config": {"size": 5}}, "priority": -3, "overlap": "queue", "catch_up": "all", "catch_up_max": 7,
            "jitter": "5m", "from": "2026-12-01 08:00", "until": "2027-12-01T08:00:00Z", "every": null}"#;
        let schedule = Schedule::from_json(text, "s.json").expect("valid");
        let mut expected = Schedule::new("nightly", "report", Timing::Cron("30 2 * * *".to_owned()));
        expected.time_zone = "Europe/Berlin".to_owned();
        expected.input = ProcessInputData::new().add_config("size", "5");
        expected.priority = -3;
        (expected.overlap, expected.catch_up, expected.catch_up_max) = (Overlap::Queue, CatchUp::All, 7);
        expected.jitter = Duration::from_secs(300);
        expected.from = "2026-12-01T07:00:00Z".parse().ok();
        expected.until = "2027-12-01T08:00:00Z".parse().ok();
        assert_eq!(schedule, expected);
        assert_eq!(Schedule::from_value(&schedule.to_value(), "s"), Ok(schedule));
        let every =
            Schedule::from_json(r#"{"name": "n", "process_type": "t", "every": "90m"}"#, "s").expect("valid");
        assert_eq!(every, Schedule::new("n", "t", Timing::Every(Duration::from_secs(5_400))));
        assert_eq!(every.shown_timing(), "every 90m");
    }

    #[test]
    fn every_fault_is_told_with_its_place_and_remedy() {
        let text = r#"{"name": "a@b", "cron": "0 0 30 2 *", "every": "0s", "time_zone": "Europe/Berln", "overlap": "wait",
            "catch_up": "never", "catch_up_max": 0, "jitter": "2d", "from": "soon", "prio": 1, "input": {"confg": {}}}"#;
        assert_eq!(
            faults(text),
            [
                "s.json: name: \"a@b\" holds '@'; write 1 to 200 characters without @, = and %, such as \"nightly\"",
                &format!("s.json: cron: \"0 0 30 2 *\" never comes: no year has such a day; {CRON_REMEDY}"),
                "s.json: every: \"0s\" is out of range; write whole seconds up to ten years, such as \"90s\", \"15m\" or \
                 \"1d\" (24 hours)",
                "s.json: time_zone: \"Europe/Berln\" is no time zone that this machine knows; did you mean \
                 \"Europe/Berlin\"?",
                "s.json: overlap: \"wait\" is none of the words for it; write one of skip, queue, allow, replace",
                "s.json: catch_up: \"never\" is none of the words for it; write one of last, all, none",
                "s.json: catch_up_max: 0 is not an integer from 1 to 1000; write how many missed times are made up \
                 for, such as 100",
                "s.json: jitter: \"2d\" is out of range; write up to 24 hours, such as \"30s\" or \"5m\"",
                "s.json: prio: unknown key; did you mean \"priority\"?",
                "s.json: input.confg: unknown key; did you mean \"config\"?",
                "s.json: from: \"soon\" is not a time; write whole seconds as \"2026-12-01T08:00:00Z\" or, by the clock \
                 of time_zone, \"2026-12-01 08:00\"",
                "s.json: process_type: is missing; write the name of a registered process type",
                "s.json: every: stands beside \"cron\"; keep one of them",
            ]
        );
        assert_eq!(
            faults(r#"{"name": "n", "process_type": "t"}"#),
            [
                "s.json: has neither \"cron\" nor \"every\"; write one of them, such as \"cron\": \"30 2 * * *\""
            ]
        );
        assert_eq!(
            faults(
                r#"{"name": "n", "process_type": "t", "cron": "0 0 1 1 *", "from": "2026-01-02", "until": "2026-02-01"}"#
            ),
            ["s.json: until: leaves no time at all; write a later time"]
        );
    }
}
