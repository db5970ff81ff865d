//! How long what has ended is kept, by process type: which parts of the history go at which age.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::duration::{parse_duration, show_duration};

/// The shortest time that anything is kept: nobody who writes 0 means to lose each process as it ends.
pub const AGE_MIN: Duration = Duration::from_secs(1);

/// The words that keep something for good.
const FOREVER: [&str; 3] = ["never", "off", "forever"];

/// Rules as they are written, such as `30d`, `T=7d` or `T=never`, several of them separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// One of them: a process type, or all that have no rule of their own; and after which time, or never.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    process_type: Option<String>,
    age: Option<Duration>,
}

/// At which age the processes of each type go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ages {
    others: Option<Duration>,
    types: BTreeMap<String, Option<Duration>>,
}

/// Processes that go at one age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgePart {
    /// Those of this type; `None`: of all types but the ones below.
    pub process_type: Option<String>,
    /// The types that have rules of their own.
    pub except: Vec<String>,
    /// How long after their end.
    pub age: Duration,
}

/// What is forgotten, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Processes with all that is recorded of them.
    pub processes: Ages,
    /// What their commands have printed, and nothing else.
    pub outputs: Ages,
}

/// Reads an age: a length of time. Where the unit is missing nobody is led to seconds, which would delete nearly everything.
///
/// # Errors
/// A sentence that names the text and says what to write.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    if text.parse::<f64>().is_ok() {
        return Err(format!("{text:?} has no unit; write it with one, such as 30d, 12h or 30m"));
    }
    parse_duration(text)
}

impl Rules {
    /// Reads rules. A type's name may hold commas and equals signs.
    ///
    /// # Errors
    /// A sentence that names what can't be read and says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut rules, mut open) = (Vec::new(), String::new());
        let pieces: Vec<&str> = text.split(',').collect();
        for (place, piece) in pieces.iter().enumerate() {
            open.push_str(piece);
            match Rule::parse(&open) {
                Ok(rule) => {
                    rules.push(rule);
                    open.clear();
                }
                // The comma may belong to a name.
                Err(_) if place + 1 < pieces.len() => open.push(','),
                Err(problem) => return Err(problem),
            }
        }
        Ok(Self(rules))
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let (process_type, age) = match text.rsplit_once('=') {
            Some((name, age)) => (Some(name.trim()), age),
            None => (None, text),
        };
        if process_type == Some("") {
            return Err(format!("{text:?} names no process type; write TYPE=TIME, such as nightly=7d"));
        }
        let age = age.trim();
        let age = match FOREVER.contains(&&*age.to_ascii_lowercase()) {
            true => None,
            false => Some(parse_age(age)?),
        };
        if let Some(short) = age.filter(|it| *it < AGE_MIN) {
            let (least, short) = (show_duration(AGE_MIN), show_duration(short));
            return Err(format!("it must be {least} at the least, not {short}; write never to keep all"));
        }
        Ok(Self { process_type: process_type.map(str::to_owned), age })
    }
}

impl Ages {
    /// Puts rules together.
    ///
    /// # Errors
    /// When two of them speak of the same processes: a sentence that names these.
    pub fn of(rules: impl IntoIterator<Item = Rules>) -> Result<Self, String> {
        let (mut ages, mut others) = (Self::default(), None);
        for Rule { process_type, age } in rules.into_iter().flat_map(|it| it.0) {
            let shown = |age: Option<Duration>| age.map_or("never".to_owned(), show_duration);
            let (whose, before) = match process_type {
                Some(name) => (format!("process type {name:?}"), ages.types.insert(name, age)),
                None => ("all process types".to_owned(), others.replace(age)),
            };
            if let Some(before) = before.filter(|before| *before != age) {
                return Err(format!("{whose} twice, {} and {}; leave one out", shown(before), shown(age)));
            }
        }
        ages.others = others.flatten();
        Ok(ages)
    }

    /// All processes at one age.
    pub fn all(age: Duration) -> Self {
        Self { others: Some(age), types: BTreeMap::new() }
    }

    /// Whether nothing goes at any age.
    pub fn is_nothing(&self) -> bool {
        self.others.is_none() && self.types.values().all(Option::is_none)
    }

    /// The types that have rules of their own.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }

    /// At which age processes of a type go.
    pub fn of_type(&self, process_type: &str) -> Option<Duration> {
        self.types.get(process_type).copied().unwrap_or(self.others)
    }

    /// What goes, part by part; no process is in two of them.
    pub fn parts(&self) -> Vec<AgePart> {
        let others = self.others.map(|age| {
            let except = self.types.keys().cloned().collect();
            AgePart { process_type: None, except, age }
        });
        let named = self.types.iter().filter_map(|(name, age)| {
            age.map(|age| AgePart { process_type: Some(name.clone()), except: Vec::new(), age })
        });
        others.into_iter().chain(named).collect()
    }
}

impl AgePart {
    /// Which processes these are, whatever the age: the same text for the same ones.
    pub fn key(&self) -> String {
        match &self.process_type {
            Some(name) => format!("only {name:?}"),
            None => format!("all but {:?}", self.except),
        }
    }
}

impl Policy {
    /// Whether nothing is ever forgotten.
    pub fn is_nothing(&self) -> bool {
        self.processes.is_nothing() && self.outputs.is_nothing()
    }

    /// The shortest age of all.
    pub fn shortest(&self) -> Option<Duration> {
        let parts = self.processes.parts().into_iter().chain(self.outputs.parts());
        parts.map(|it| it.age).min()
    }
}

/// As it can be written.
impl fmt::Display for Ages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |age: Option<Duration>| age.map_or("never".to_owned(), show_duration);
        f.write_str(&shown(self.others))?;
        self.types.iter().try_for_each(|(name, age)| write!(f, ", {name}={}", shown(*age)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn ages(texts: &[&str]) -> Result<Ages, String> {
        let rules: Result<Vec<Rules>, String> = texts.iter().map(|it| Rules::parse(it)).collect();
        Ages::of(rules?)
    }

    #[test]
    fn types_have_ages_of_their_own_and_the_rest_has_the_common_one() {
        let some = ages(&["30d", "nightly=7d", "books=never"]).unwrap();
        assert_eq!(some, ages(&["books=off,nightly=7d,30d"]).unwrap());
        assert_eq!(some.to_string(), "30d, books=never, nightly=7d");
        let of = |name| some.of_type(name);
        assert_eq!([of("nightly"), of("books"), of("x")], [Some(7 * DAY), None, Some(30 * DAY)]);
        let parts: Vec<(String, Duration)> = some.parts().iter().map(|it| (it.key(), it.age)).collect();
        let others = r#"all but ["books", "nightly"]"#.to_owned();
        assert_eq!(parts, [(others, 30 * DAY), ("only \"nightly\"".to_owned(), 7 * DAY)]);
        assert!(ages(&["never"]).unwrap().is_nothing() && ages(&[]).unwrap().is_nothing());
        let odd = ages(&["a,b=c=1d,2d"]).unwrap();
        assert_eq!((odd.of_type("a,b=c"), odd.of_type("a")), (Some(DAY), Some(2 * DAY)));
        let outputs = Policy { outputs: Ages::all(2 * DAY), processes: some };
        assert_eq!((outputs.is_nothing(), outputs.shortest()), (false, Some(2 * DAY)));
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for (text, part) in [
            ("7", "\"7\" has no unit; write it with one, such as 30d"),
            ("nightly=7", "\"7\" has no unit"),
            ("0s", "it must be 1s at the least, not 0s; write never to keep all"),
            ("nightly=0s", "it must be 1s at the least"),
            ("=7d", "\"=7d\" names no process type; write TYPE=TIME"),
            ("nightly=", "\"\" is not a length of time"),
            ("nightly", "\"nightly\" is not a length of time"),
            ("30d,", "\"\" is not a length of time"),
        ] {
            let problem = ages(&[text]).unwrap_err();
            assert!(problem.starts_with(part), "{text}: {problem}");
        }
        let twice = ages(&["nightly=7d", "30d", "nightly=8d"]).unwrap_err();
        assert_eq!(twice, "process type \"nightly\" twice, 7d and 8d; leave one out");
        let twice = ages(&["7d", "never"]).unwrap_err();
        assert_eq!(twice, "all process types twice, 7d and never; leave one out");
        assert!(ages(&["7d", "7d"]).is_ok());
    }

    proptest! {
        /// Every process is in the part of its age, and in no other.
        #[test]
        fn parts_are_what_types_say(
            others in prop::option::of(1_u64..99),
            types in prop::collection::btree_map("[a-d]", prop::option::of(1_u64..99), 0..4),
            name in "[a-e]",
        ) {
            let days = |it: Option<u64>| it.map(|it| DAY * u32::try_from(it).unwrap());
            let types = types.into_iter().map(|(name, age)| (name, days(age))).collect();
            let ages = Ages { others: days(others), types };
            let holds = |it: &AgePart| match &it.process_type {
                Some(own) => *own == name,
                None => !it.except.contains(&name),
            };
            let found: Vec<Duration> = ages.parts().iter().filter(|it| holds(it)).map(|it| it.age).collect();
            prop_assert_eq!(found, ages.of_type(&name).into_iter().collect::<Vec<_>>());
            let read = Rules::parse(&ages.to_string().replace(", ", ",")).unwrap();
            prop_assert_eq!(Ages::of([read]).unwrap(), ages);
        }
    }
}
