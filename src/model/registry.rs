//! The process types that a program brings along.

use std::collections::BTreeMap;

use super::faults::{Fault, Faults};
use super::process_type::ProcessType;

/// Valid process types by name.
///
/// ```
/// use process_orchestrator::{ProcessType, ProcessTypeRegistry};
///
/// let mut registry = ProcessTypeRegistry::new();
/// registry.register(ProcessType::new("nightly", "").add_task("fetch", "fetch-orders", "/data", 30.0, 2))?;
/// assert!(registry.get("nightly").is_some());
/// # Ok::<(), process_orchestrator::Faults>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcessTypeRegistry {
    types: BTreeMap<String, ProcessType>,
}

impl ProcessTypeRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a process type.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it; also when its name is registered already.
    pub fn register(&mut self, process_type: ProcessType) -> Result<(), Faults> {
        let source = format!("process type {:?}", process_type.name);
        process_type.validate(&source)?;
        if self.types.contains_key(&process_type.name) {
            let problem = format!("a process type named {:?} is registered already", process_type.name);
            let fault = Fault::new("name", problem, "give each process type its own name");
            return Err(Faults { source, faults: vec![fault] });
        }
        self.types.insert(process_type.name.clone(), process_type);
        Ok(())
    }

    /// The process type of that name.
    pub fn get(&self, name: &str) -> Option<&ProcessType> {
        self.types.get(name)
    }

    /// All process types, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ProcessType> {
        self.types.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_name_and_listed_in_its_order() {
        let mut registry = ProcessTypeRegistry::new();
        for name in ["b", "a"] {
            let process_type = ProcessType::new(name, "").add_task("t", "true", "", 1.0, 0);
            registry.register(process_type).expect("valid");
        }
        assert_eq!(registry.get("a").map(|it| it.name.as_str()), Some("a"));
        assert_eq!(registry.get("c"), None);
        assert_eq!(registry.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_second_type_of_the_same_name_and_an_invalid_one_are_refused() {
        let mut registry = ProcessTypeRegistry::new();
        let valid = ProcessType::new("nightly", "").add_task("t", "true", "/", 1.0, 0);
        registry.register(valid.clone()).expect("valid");
        assert_eq!(
            registry.register(valid).expect_err("twice").to_string(),
            "process type \"nightly\": name: a process type named \"nightly\" is registered already; give each \
             process type its own name"
        );
        let invalid = ProcessType::new("other", "")
            .add_task("t", "true", "/", f64::NAN, 0)
            .add_task("t", "", "", -1.0, 2_000);
        assert_eq!(
            registry.register(invalid).expect_err("invalid").to_string().lines().collect::<Vec<_>>(),
            [
                "process type \"other\": tasks[0].timeout_minutes: \"NaN\" is not a number from 0.0001 to 525600; \
                 write minutes, such as 30, or 0.5 for thirty seconds",
                "process type \"other\": tasks[1].command: is empty; write the program and its arguments, such as \
                 \"sort ${input_file}\" or [\"sort\", \"${input_file}\"]",
                "process type \"other\": tasks[1].timeout_minutes: -1 is not a number from 0.0001 to 525600; write \
                 minutes, such as 30, or 0.5 for thirty seconds",
                "process type \"other\": tasks[1].max_retries: 2000 is not an integer from 0 to 1000; write how many \
                 attempts may follow the first, 0 for none",
                "process type \"other\": tasks[1].name: tasks[0] is named \"t\" already; give each task of a process \
                 type its own name",
            ]
        );
        assert!(registry.get("other").is_none());
    }
}
