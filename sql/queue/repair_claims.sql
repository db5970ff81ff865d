-- Rows of the queue that contradict themselves, as somebody wrote them by hand: claims that no node can hold, states
-- that nobody would ever look at. They are due again. Their version moves on, so that whoever believes to hold one is fenced.
WITH damaged AS MATERIALIZED (
    SELECT task_instance FROM scheduled_tasks
    WHERE picked <> (picked_by IS NOT NULL) OR picked <> (state = 'CLAIMED')
        OR state = 'HELD' AND (held_by IS NULL OR held_by LIKE 'node:%' AND reserved_for IS NULL
            OR held_by LIKE 'pause:%' AND NOT EXISTS (SELECT FROM process_types k WHERE k.name = task_name))
    FOR UPDATE SKIP LOCKED
)
UPDATE scheduled_tasks s
SET state = CASE WHEN reserved_for IS NOT NULL THEN 'HELD' WHEN execution_time > now() THEN 'SCHEDULED' ELSE 'READY' END,
    held_by = 'node:' || reserved_for, picked = false, picked_by = NULL, version = version + 1
FROM damaged
WHERE s.task_instance = ANY (ARRAY[damaged.task_instance])
RETURNING s.task_instance
