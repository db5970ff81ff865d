//! Names of process types and tasks.

use super::reader::Reader;
use super::tree::Node;
use crate::model::names;

pub(super) const NAME_REMEDY: &str = "write 1 to 200 characters without control characters, such as \"load\"";
/// Reads the name of a process type or task; empty if it can't be one.
pub(super) fn name(reader: &mut Reader, at: &str, node: &Node) -> String {
    let Some(name) = reader.text(at, node, NAME_REMEDY) else { return String::new() };
    match names::name_problem(name) {
        Some(problem) => {
            reader.fault(at, problem, NAME_REMEDY);
            String::new()
        }
        None => name.to_owned(),
    }
}
