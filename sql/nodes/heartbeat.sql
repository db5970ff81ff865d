-- Renews a node's lease; no row comes back once it was declared dead.
-- $1 node id, $2 state, $3 key of the lock it holds or null, $4 the lowest priority that it
-- holds a claim of, or null: as before.
UPDATE nodes SET last_heartbeat = clock_timestamp(), state = $2, lock_key = $3, notify_above = coalesce($4, notify_above)
WHERE node_id = $1 AND state <> 'DEAD'
