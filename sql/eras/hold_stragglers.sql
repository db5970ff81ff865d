-- Holds processes of the era $1 that wait, so that the next statement can move them: $2 at the most. A claim that began before
-- they were moved would not see their tasks in their new place; it sees that they are held. Those that are kept for a node,
-- and those that are to be cancelled, will soon have ended.
WITH waiting AS MATERIALIZED (
    SELECT s.task_instance FROM scheduled_tasks s
    WHERE s.era = $1::int AND s.picked IS NOT TRUE AND s.state IS DISTINCT FROM 'HELD' AND s.cancel_requested_at IS NULL
        AND s.reserved_for IS NULL
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE scheduled_tasks s SET state = 'HELD', held_by = 'era:' || $1::int
FROM waiting WHERE s.task_instance = ANY (ARRAY[waiting.task_instance])
