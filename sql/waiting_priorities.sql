-- The priorities of due processes that no executor is free for, highest first, those above $1 only.
-- $2 how many at the most. One index descent for each distinct priority and one for what is due of it, as in claim.sql.
WITH RECURSIVE level AS (
    (SELECT priority FROM scheduled_tasks WHERE NOT picked AND priority > $1 ORDER BY priority DESC LIMIT 1)
    UNION ALL
    SELECT (SELECT s.priority FROM scheduled_tasks s WHERE NOT s.picked AND s.priority > $1
            AND s.priority < level.priority ORDER BY s.priority DESC LIMIT 1)
    FROM level WHERE level.priority IS NOT NULL
)
SELECT due.priority
FROM level CROSS JOIN LATERAL (
    SELECT s.priority
    FROM scheduled_tasks s
    WHERE NOT s.picked AND s.priority = level.priority AND s.execution_time <= now()
        AND s.reserved_for IS NULL AND s.cancel_requested_at IS NULL
        AND s.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
    LIMIT $2
) AS due
ORDER BY due.priority DESC
LIMIT $2
