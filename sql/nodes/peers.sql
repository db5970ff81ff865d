-- The other nodes that are not known to have ended, with what tells whether they live. $1 our node id, $2 class of
-- the nodes' locks. The locks are looked up, never taken: testing one by taking it could make its owner miss it.
SELECT n.node_id, n.name, n.pid, n.boot_id, n.pid_namespace, n.pid_started, n.lease_seconds,
    n.last_heartbeat,
    n.lock_key IS NOT NULL AS had_lock,
    EXISTS (
        SELECT FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            -- Keys are signed here and unsigned there.
            AND l.classid::bigint = ($2::int::bigint & 4294967295) AND l.objid::bigint = (n.lock_key::bigint & 4294967295)
    ) AS is_locked
FROM nodes n
WHERE n.state IN ('RUNNING', 'STOPPING') AND n.node_id <> $1
