-- A node that was declared dead and lives goes on, once nothing is left of the claims that it had then. Claims that
-- no takeover can read do not count: they would hold it back for ever.
-- $1 node id, $2 processes that nobody can take over for now, as somebody has locked a row of them: their claims are then
-- the node's own again, of which none is begun, and end as those that it has lost sight of. A takeover that still has a list of its claims is fenced by their versions.
UPDATE nodes SET state = 'RUNNING', last_heartbeat = clock_timestamp()
WHERE node_id = $1 AND state = 'DEAD'
    AND NOT EXISTS (
        SELECT FROM scheduled_tasks s
        JOIN processes p ON p.process_id = ANY (ARRAY[s.task_instance])
        JOIN open_tasks t ON t.era = p.era AND t.process_id = ANY (ARRAY[p.process_id]) AND t.task_index = p.current_task_index
        WHERE s.picked_by = $1 AND t.status = 'IN_PROGRESS' AND s.task_instance <> ALL ($2::text[])
    )
