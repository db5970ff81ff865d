//! What a name or an id may be.

/// Longest process id in characters, as the tables of the original system had it.
pub const PROCESS_ID_CHARS_MAX: usize = 255;
/// Longest name of a process type or task; leaves a generated process id room for its number.
pub const NAME_CHARS_MAX: usize = 200;

/// What an id may be, as a remedy.
pub const PROCESS_ID_REMEDY: &str =
    "an id has 1 to 255 characters, none of them a control character, and no white space at its ends";

/// Says what is wrong with a process id, or nothing.
pub fn process_id_problem(id: &str) -> Option<String> {
    problem(id, PROCESS_ID_CHARS_MAX)
}

/// Says what is wrong with the name of a process type or task, or nothing.
pub fn name_problem(name: &str) -> Option<String> {
    problem(name, NAME_CHARS_MAX)
}

fn problem(text: &str, chars_max: usize) -> Option<String> {
    let chars = text.chars().count();
    if text.trim().is_empty() {
        Some("is empty".to_owned())
    } else if chars > chars_max {
        Some(format!("is {chars} characters long; at most {chars_max} are allowed"))
    } else if text.trim() != text {
        Some(format!("{text:?} begins or ends with white space"))
    } else {
        let control = text.chars().find(|c| c.is_control());
        control.map(|control| format!("{text:?} holds the control character {control:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_and_ids_pass() {
        for name in ["data-processing-pipeline", "Übersicht 2", "a/b:c"] {
            assert_eq!(name_problem(name), None, "{name}");
        }
    }

    #[test]
    fn each_fault_is_named() {
        for (name, part) in [
            ("", "is empty"),
            ("  ", "is empty"),
            ("a ", "white space"),
            ("a\nb", "'\\n'"),
            (&"x".repeat(201), "201 characters long; at most 200"),
        ] {
            let problem = name_problem(name).unwrap_or_default();
            assert!(problem.contains(part), "{name:?} gave {problem:?}");
        }
    }
}
