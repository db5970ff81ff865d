//! Schemas of benches that were killed: each is dropped by the next bench on the same machine.

use std::process::id;
use std::sync::Arc;

use super::error::BenchError;
use crate::database::ConnectionSource;
use crate::platform::{host_name, pid_space, processes};
use crate::store::Store;
use crate::store::bench::Leftover;

/// The role in which we connect ourselves.
pub const ROLE: &str = "bench";
/// What every schema of ours begins with; the process's id follows.
const PREFIX: &str = "process_orchestrator_bench_";
/// What a schema says that is to stay.
pub const KEPT: &str = "bench --keep";

/// The name of a schema of this process.
pub fn schema_name(label: &str) -> String {
    format!("{PREFIX}{}_{label}", id())
}

/// What a schema says of where its process is: an id means something there only.
pub fn remark() -> String {
    let namespace = pid_space().map_or_else(String::new, |space| space.namespace);
    format!("bench on {} {namespace}", host_name())
}

/// Drops what benches of this machine have left that run no more, and says so.
pub fn drop_all(source: &Arc<dyn ConnectionSource>) -> Result<(), BenchError> {
    let found = Store::open(&**source, ROLE, "public")?.schemas_named(PREFIX)?;
    let here = remark();
    for schema in found.iter().filter(|it| is_abandoned(it, &here, processes::is_alive)) {
        eprintln!("dropping schema {}: the bench that made it has ended without doing so", schema.name);
        Store::open(&**source, ROLE, &schema.name)?.drop_schema()?;
    }
    Ok(())
}

fn is_abandoned(schema: &Leftover, here: &str, is_alive: impl Fn(u32) -> bool) -> bool {
    let pid = schema.name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')?.0.parse().ok());
    schema.remark.as_deref() == Some(here) && pid.is_some_and(|pid| pid != id() && !is_alive(pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_process_of_this_machine_leaves_something_behind() {
        let is_dropped = |name: &str, remark: Option<&str>| {
            let schema = Leftover { name: format!("{PREFIX}{name}"), remark: remark.map(str::to_owned) };
            is_abandoned(&schema, "here", |pid| pid == 7)
        };
        assert!(is_dropped("8_round_1", Some("here")));
        assert!(!is_dropped("7_round_1", Some("here")));
        assert!(!is_dropped("8_round_1", Some("there")));
        assert!(!is_dropped("8_round_1", Some(KEPT)));
        assert!(!is_dropped("8_round_1", None));
        assert!(!is_dropped("x_1", Some("here")));
        assert!(!is_dropped(&format!("{}_1", id()), Some("here")));
    }
}
