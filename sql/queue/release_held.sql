-- Lets rows go that a pause has held and that nothing holds any more, highest priority first; gives how many.
-- $1 how many at the most. For a type that nothing is held of, one descent of the index, and only one where nothing is
-- held at all.
WITH free AS MATERIALIZED (
    SELECT d.task_instance
    FROM process_types k CROSS JOIN LATERAL (
        SELECT s.task_instance
        FROM scheduled_tasks s
        WHERE s.state = 'HELD' AND s.held_by = 'pause:' || k.name
        ORDER BY s.priority DESC, s.execution_time
        LIMIT $1
        FOR UPDATE SKIP LOCKED
    ) AS d
    WHERE NOT k.paused AND EXISTS (SELECT FROM scheduled_tasks WHERE state = 'HELD' AND held_by >= 'pause:' AND held_by < 'pause;')
    LIMIT $1
)
UPDATE scheduled_tasks s
SET state = CASE WHEN s.execution_time > now() THEN 'SCHEDULED' ELSE 'READY' END, held_by = NULL
FROM free
WHERE s.task_instance = ANY (ARRAY[free.task_instance])
