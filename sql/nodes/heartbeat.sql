-- Renews a node's lease; no row comes back once it was declared dead. The lock that it holds is that of this very session.
-- $1 node id, $2 state, $3 key of the lock it holds or null, $4 the lowest priority that it
-- holds a claim of, or null: as before.
UPDATE nodes SET last_heartbeat = clock_timestamp(), state = $2, lock_key = $3, notify_above = coalesce($4, notify_above),
    lock_pid = pg_backend_pid(), lock_role = session.usesysid, lock_began = session.backend_start
FROM (SELECT) AS one LEFT JOIN pg_stat_activity session ON session.pid = pg_backend_pid()
WHERE node_id = $1 AND nodes.state <> 'DEAD'
