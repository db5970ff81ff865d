-- When the next process that waits is due, in milliseconds from now; null when none waits.
-- $1 a priority: those above it only; null: all.
-- One index descent for each distinct priority.
WITH RECURSIVE level AS (
    (SELECT priority FROM scheduled_tasks WHERE NOT picked ORDER BY priority DESC LIMIT 1)
    UNION ALL
    SELECT (SELECT s.priority FROM scheduled_tasks s WHERE NOT s.picked AND s.priority < level.priority
            ORDER BY s.priority DESC LIMIT 1)
    FROM level WHERE level.priority > coalesce($1::int, -2147483648)
)
SELECT extract(epoch FROM min(greatest(next.execution_time, 'epoch')) - clock_timestamp())::float8 * 1000 AS wait_ms
FROM level CROSS JOIN LATERAL (
    SELECT s.execution_time
    FROM scheduled_tasks s
    WHERE NOT s.picked AND s.priority = level.priority AND ($1::int IS NULL OR level.priority > $1)
        AND s.execution_time < 'infinity' -- set by hand: never
        AND s.reserved_for IS NULL AND s.cancel_requested_at IS NULL
        AND s.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
    ORDER BY s.execution_time
    LIMIT 1
) AS next
