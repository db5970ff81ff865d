//! Which nodes have room: starts notify for them only, and no other node keeps waiting what they would begin.
//!
//! The keys of the lock are those of wake_nodes in `sql/migrations/0007_queue_states.sql`. Taken alone it fails while
//! somebody holds it shared; a session is never in its own way.

use super::row::get;
use super::{Sql, Store, StoreError};

const ANNOUNCE: Sql = Sql::new(
    "say that this node has room",
    // A node that is cut off shall not count for long as one with room.
    "SELECT pg_try_advisory_lock_shared(1347375665, hashtext(current_schema())) AS is_so, \
     set_config('tcp_keepalives_idle', '20', false), set_config('tcp_keepalives_interval', '5', false), \
     set_config('tcp_keepalives_count', '3', false)",
);
const WITHDRAW: Sql = Sql::new(
    "say that this node has no room",
    // However often it was announced on this connection.
    "SELECT count(*) > 0 AS is_so FROM (SELECT pg_advisory_unlock_all()) AS done",
);
const IS_ELSEWHERE: Sql = Sql::new(
    "see whether another node has room",
    "SELECT CASE WHEN pg_try_advisory_lock(1347375665, hashtext(current_schema())) \
     THEN NOT pg_advisory_unlock(1347375665, hashtext(current_schema())) ELSE true END AS is_so",
);
const WAKE: Sql = Sql::new("wake the nodes that have room", "SELECT wake_nodes($1, 'kept')");
const NOTIFY_ABOVE: Sql = Sql::new(
    "say for which starts this node is woken",
    "UPDATE nodes SET notify_above = $2 WHERE node_id = $1 AND notify_above > $2",
);

impl Store {
    /// Says, for as long as this connection lives, that this node would claim at once what becomes due. `false` while
    /// somebody looks at that moment, and always where a pooler lends sessions.
    ///
    /// # Errors
    /// When the database fails.
    pub fn announce_room(&mut self) -> Result<bool, StoreError> {
        if self.borrows_sessions() { Ok(false) } else { self.ask(&ANNOUNCE) }
    }

    /// Takes [`Store::announce_room`] back.
    ///
    /// # Errors
    /// When the database fails.
    pub fn withdraw_room(&mut self) -> Result<(), StoreError> {
        self.ask(&WITHDRAW).map(drop)
    }

    /// Whether another node has announced room.
    ///
    /// # Errors
    /// When the database fails.
    pub fn is_room_elsewhere(&mut self) -> Result<bool, StoreError> {
        self.ask(&IS_ELSEWHERE)
    }

    fn ask(&mut self, sql: &Sql) -> Result<bool, StoreError> {
        self.query_opt(sql, &[])?.map_or(Ok(false), |row| get(&row, "is_so", "a lock"))
    }

    /// Wakes nodes that have room: processes of this priority have become ready that were due for long.
    ///
    /// # Errors
    /// When the database fails.
    pub fn wake_nodes(&mut self, priority: i32) -> Result<(), StoreError> {
        self.execute(&WAKE, &[&priority]).map(drop)
    }

    /// Has starts of a higher priority than this wake a node that has no room.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_notify_above(&mut self, node: &str, priority: i32) -> Result<(), StoreError> {
        self.execute(&NOTIFY_ABOVE, &[&node, &priority]).map(drop)
    }
}
