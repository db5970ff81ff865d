-- The priorities of due processes that no executor is free for, highest first, those above $1 only.
-- $2 how many at the most; $3 and $4 as in claim.sql, where `level` is explained.
WITH RECURSIVE level AS (
    SELECT 2147483648 AS priority -- above all
    UNION ALL
    SELECT coalesce((SELECT s.priority FROM scheduled_tasks s
            WHERE NOT s.picked AND s.priority < level.priority AND s.priority > coalesce(known.priority, $1::int)
            ORDER BY s.priority DESC LIMIT 1), known.priority)
    FROM level CROSS JOIN LATERAL (
        SELECT max(priority)::bigint AS priority FROM unnest($3::int[]) AS p (priority) WHERE p.priority < level.priority
    ) AS known
    WHERE level.priority > $1
)
SELECT due.priority
FROM level CROSS JOIN LATERAL (
    SELECT s.priority
    FROM scheduled_tasks s
    WHERE NOT s.picked AND s.priority = level.priority AND level.priority > $1 AND s.execution_time <= now()
        AND s.execution_time >= coalesce(now() - interval '1 second' * (SELECT known.due_ago_s
            FROM unnest($3::int[], $4::float8[]) AS known (priority, due_ago_s)
            WHERE known.priority = level.priority), '-infinity')
        AND s.reserved_for IS NULL AND s.cancel_requested_at IS NULL
        AND s.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
    LIMIT $2
) AS due
ORDER BY due.priority DESC
LIMIT $2
