-- A node that was declared dead and lives goes on, once nothing is left of the claims that it had then.
-- $1 node id. A takeover that still has a list of its claims is fenced by their versions.
UPDATE nodes SET state = 'RUNNING', last_heartbeat = clock_timestamp()
WHERE node_id = $1 AND state = 'DEAD'
    AND NOT EXISTS (SELECT FROM scheduled_tasks WHERE picked_by = $1)
