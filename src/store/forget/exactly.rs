//! Deleting what was archived, and nothing that has changed since.

use std::collections::{HashMap, HashSet};

use super::whole::{Looked, Seen};
use crate::store::prune::Pruned;
use crate::store::{Sql, Store, StoreError};

const LOCK: Sql = Sql::new("lock finished processes", include_str!("../../../sql/control/forget/lock.sql"));
const EXACTLY: Sql =
    Sql::new("delete archived processes", include_str!("../../../sql/control/forget/exactly.sql"));

impl Store {
    /// Deletes these processes with their tasks and executions in one transaction, but none that is not as it was seen: it
    /// has been retried, or somebody has changed a row of it. Those that somebody has locked stay, too. What is gone
    /// already is not told. For some hundred of them ([`crate::store::prune::PRUNE_BATCH`]).
    ///
    /// # Errors
    /// When the database fails; nothing is deleted then.
    pub fn prune_exactly(&mut self, seen: &[Seen]) -> Result<Pruned, StoreError> {
        let pruned = self.in_turn(false, |store, is_careful| store.prune_seen(seen, is_careful))?;
        Ok(pruned.unwrap_or_default())
    }

    fn prune_seen(&mut self, seen: &[Seen], is_careful: bool) -> Result<Pruned, StoreError> {
        let ids: Vec<&str> = seen.iter().map(|it| it.process_id.as_str()).collect();
        let what = "a finished process";
        // The look is a statement of its own: it sees what was committed before the locks were had.
        let free: HashSet<String> =
            self.query_column(&LOCK, &[&ids], "process_id", what)?.into_iter().collect();
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        let now = self.look_at_processes(&ids)?;
        let now: HashMap<&str, &Looked> = now.iter().map(|it| (it.seen.process_id.as_str(), it)).collect();
        let (mut same, mut pruned) = (Vec::new(), Pruned::default());
        for it in seen {
            match now.get(it.process_id.as_str()) {
                None => {}
                Some(now) if !now.has_ended || now.seen.version != it.version => {
                    pruned.changed.push(it.process_id.clone());
                }
                Some(_) if !free.contains(&it.process_id) => pruned.locked.push(it.process_id.clone()),
                Some(_) => same.push(it.process_id.clone()),
            }
        }
        let deleted: HashSet<String> =
            self.query_column(&EXACTLY, &[&same, &is_careful], "process_id", what)?.into_iter().collect();
        pruned.processes = deleted.len() as u64;
        pruned.locked.extend(same.into_iter().filter(|id| !deleted.contains(id)));
        Ok(pruned)
    }
}
