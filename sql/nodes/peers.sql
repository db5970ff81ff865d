-- The other nodes that are not known to have ended, with what tells whether they live. $1 our node id, $2 class of
-- the nodes' locks. The locks are looked up, never taken: testing one by taking it could make its owner miss it.
-- The lock must be the node's own session's: any role that may connect can hold the same key. What a role may not see of
-- another's session (its start) is null.
SELECT n.node_id, n.name, n.pid, n.boot_id, n.pid_namespace, n.pid_started, n.lease_seconds, n.dead_after_seconds,
    n.last_heartbeat,
    n.lock_key IS NOT NULL AS had_lock,
    EXISTS (
        SELECT FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            -- Keys are signed here and unsigned there.
            AND l.classid::bigint = ($2::int::bigint & 4294967295) AND l.objid::bigint = (n.lock_key::bigint & 4294967295)
            AND l.pid = coalesce(n.lock_pid, l.pid)
            AND coalesce(a.usesysid = n.lock_role, true) AND coalesce(a.backend_start = n.lock_began, true)
    ) AS is_locked
FROM nodes n
WHERE n.state IN ('RUNNING', 'STOPPING') AND n.node_id <> $1
