-- Lets everybody have the processes that were kept for nodes which have ended: for $1, and for those that are known
-- to be dead. A node that reserves registers itself a moment later: one that is unknown gets a minute.
WITH kept AS MATERIALIZED (
    SELECT s.task_instance
    FROM scheduled_tasks s
    WHERE s.reserved_for IS NOT NULL AND (
        s.reserved_for = $1
        OR EXISTS (SELECT FROM nodes n WHERE n.node_id = s.reserved_for AND n.state IN ('DEAD', 'STOPPED'))
        OR s.execution_time < now() - interval '1 minute'
            AND NOT EXISTS (SELECT FROM nodes n WHERE n.node_id = s.reserved_for))
    FOR UPDATE OF s SKIP LOCKED
)
UPDATE scheduled_tasks s
SET reserved_for = NULL, held_by = NULL, state = CASE WHEN s.picked THEN 'CLAIMED'
    WHEN s.execution_time > now() THEN 'SCHEDULED' ELSE 'READY' END
FROM kept
WHERE s.task_instance = ANY (ARRAY[kept.task_instance])
