-- Declares a node dead unless it has renewed its lease since it was looked at.
-- $1 node id, $2 its last heartbeat as it was seen.
UPDATE nodes SET state = 'DEAD' WHERE node_id = $1 AND last_heartbeat = $2 AND state IN ('RUNNING', 'STOPPING')
