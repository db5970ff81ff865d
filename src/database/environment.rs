//! Environment variables.

/// Looks up an environment variable; a parameter so that tests need not change the real environment.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The environment of this process. A value that is not UTF-8 counts as absent, with a warning.
pub fn process_environment(name: &str) -> Option<String> {
    match std::env::var(name) {
        Ok(value) => Some(value),
        Err(std::env::VarError::NotPresent) => None,
        Err(std::env::VarError::NotUnicode(_)) => {
            log::warn!("environment variable {name} is not UTF-8 and is ignored");
            None
        }
    }
}
