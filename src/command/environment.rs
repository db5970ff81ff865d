//! The environment that every command starts from.

use std::ffi::{OsStr, OsString};

use crate::model::environment;
use crate::platform::PreparedVariables;

/// Where programs are looked for if nobody says: what shells fall back to.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Every command carries its node's id under this name, and so does all that it starts: it is how what a dead node
/// has left behind is found.
pub const NODE_VARIABLE: &str = "PROCESS_ORCHESTRATOR_NODE";

/// Every command carries what tells its execution from all others under this name: it is how what an ended command
/// has left in other sessions is found.
pub(super) const EXECUTION_VARIABLE: &str = "PROCESS_ORCHESTRATOR_EXECUTION";

/// The orchestrator's own environment without its credentials, read once: the base of every command's.
#[derive(Debug, Clone)]
pub struct BaseEnvironment {
    variables: PreparedVariables,
    path: OsString,
}

impl BaseEnvironment {
    /// Takes the environment of this process as it is now.
    pub fn of_this_process() -> Self {
        Self::from_variables(std::env::vars_os())
    }

    /// Takes these variables, except for those that are meant for the orchestrator alone.
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let variables =
            variables.into_iter().filter(|(name, _)| !name.to_str().is_some_and(environment::is_private));
        let variables = PreparedVariables::new(variables);
        let path = variables.pairs().iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        Self { variables, path: path.unwrap_or_else(|| DEFAULT_PATH.into()) }
    }

    /// The same for the commands of one node, which carry its id.
    pub fn of_node(&self, node_id: &str) -> Self {
        let tag = (NODE_VARIABLE.into(), node_id.into());
        // First, where it is found soonest. The rest holds no other: the name is one that is left out.
        let variables = std::iter::once(tag).chain(self.variables.pairs().iter().cloned());
        Self { variables: PreparedVariables::new(variables), path: self.path.clone() }
    }

    /// The node whose commands carry its id.
    pub(super) fn node_id(&self) -> Option<&str> {
        self.variables.pairs().iter().find(|(name, _)| name == NODE_VARIABLE).and_then(|(_, id)| id.to_str())
    }

    /// The variables, in the order of the original.
    pub(super) fn variables(&self) -> &PreparedVariables {
        &self.variables
    }

    /// The list of directories that the command's program is looked for in: the command's own PATH, else ours.
    pub(super) fn path_with<'a>(&'a self, extra: &'a [(String, String)]) -> &'a OsStr {
        let own = extra.iter().rev().find(|(name, _)| name == "PATH");
        own.map_or(&self.path, |(_, value)| OsStr::new(value))
    }
}

/// A variable of this process's environment for `${env.NAME}`: none that is meant for the orchestrator alone, whatever
/// validation has let pass.
pub fn variable_of_node(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|_| !environment::is_private(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(pairs: &[(&str, &str)]) -> BaseEnvironment {
        BaseEnvironment::from_variables(pairs.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn credentials_and_private_variables_are_left_out() {
        let base = base(&[
            ("DATABASE_URL", "postgres://secret"),
            ("PGPASSWORD", "secret"),
            ("PGHOST", "db"),
            ("PROCESS_ORCHESTRATOR_TOKEN", "secret"),
            ("NOTIFY_SOCKET", "/run/notify"),
            ("CREDENTIALS_DIRECTORY", "/run/credentials"),
            ("PROCESS_CONTEXT_FILE", "/tmp/outer"),
            ("HOME", "/home/user"),
            ("PROGRESS", "kept"),
        ]);
        let names: Vec<_> = base.variables().pairs().iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["HOME", "PROGRESS"]);
        assert!([NODE_VARIABLE, EXECUTION_VARIABLE].into_iter().all(environment::is_reserved));
        assert_eq!(variable_of_node("PATH"), std::env::var("PATH").ok());
        assert_eq!(variable_of_node("DATABASE_URL").or_else(|| variable_of_node("PROCESS_ID")), None);
    }

    #[test]
    fn a_nodes_commands_carry_its_id_and_no_other() {
        let base =
            base(&[("PATH", "/ours"), (NODE_VARIABLE, "outer-1-00000000")]).of_node("inner-2-00000000");
        let pairs: Vec<_> = base
            .variables()
            .pairs()
            .iter()
            .map(|(n, v)| (n.to_str().unwrap(), v.to_str().unwrap()))
            .collect();
        assert_eq!(pairs, [(NODE_VARIABLE, "inner-2-00000000"), ("PATH", "/ours")]);
        assert_eq!(base.path_with(&[]), "/ours");
    }

    #[test]
    fn the_path_is_the_commands_own_then_ours_then_a_default() {
        let ours = base(&[("PATH", "/ours")]);
        assert_eq!(ours.path_with(&[("PATH".into(), "/its".into())]), "/its");
        assert_eq!(ours.path_with(&[]), "/ours");
        assert_eq!(base(&[]).path_with(&[]), DEFAULT_PATH);
    }
}
