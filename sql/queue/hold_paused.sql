-- Makes READY rows of paused types HELD, those at the front of the queue; gives how many. After a type with much that
-- waits was paused, claims would otherwise meet it row by row before they come to anything else.
-- $1 how many rows are looked at.
WITH front AS MATERIALIZED (
    SELECT s.task_instance
    FROM scheduled_tasks s
    WHERE s.state = 'READY'
    ORDER BY s.priority DESC, s.execution_time
    LIMIT $1
), met AS MATERIALIZED (
    SELECT s.task_instance
    FROM front JOIN scheduled_tasks s ON s.task_instance = ANY (ARRAY[front.task_instance])
    WHERE s.state IS NOT DISTINCT FROM 'READY' -- as in claim_one.sql: an equality would let the whole index be read
        AND s.task_name = ANY (ARRAY(SELECT name FROM process_types WHERE paused))
    FOR UPDATE OF s SKIP LOCKED
)
UPDATE scheduled_tasks s
SET state = 'HELD', held_by = 'pause:' || s.task_name
FROM met
WHERE s.task_instance = ANY (ARRAY[met.task_instance])
