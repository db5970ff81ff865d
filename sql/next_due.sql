-- When the next process that waits is due, in milliseconds from now; null when none waits.
-- $1 a priority: those above it only; null: all. $2 and $3 as $3 and $4 of claim.sql, where `level` is explained.
WITH RECURSIVE level AS (
    SELECT 2147483648 AS priority -- above all
    UNION ALL
    SELECT coalesce((SELECT s.priority FROM scheduled_tasks s
            WHERE NOT s.picked AND s.priority < level.priority AND s.priority > coalesce(known.priority, $1::int, -2147483649)
            ORDER BY s.priority DESC LIMIT 1), known.priority)
    FROM level CROSS JOIN LATERAL (
        SELECT max(priority)::bigint AS priority FROM unnest($2::int[]) AS p (priority) WHERE p.priority < level.priority
    ) AS known
    WHERE level.priority > coalesce($1::int, -2147483649)
)
SELECT extract(epoch FROM min(greatest(next.execution_time, 'epoch')) - clock_timestamp())::float8 * 1000 AS wait_ms
FROM level CROSS JOIN LATERAL (
    SELECT s.execution_time
    FROM scheduled_tasks s
    WHERE NOT s.picked AND s.priority = level.priority AND ($1::int IS NULL OR level.priority > $1)
        AND s.execution_time < 'infinity' -- set by hand: never
        AND s.execution_time >= coalesce(now() - interval '1 second' * (SELECT known.due_ago_s
            FROM unnest($2::int[], $3::float8[]) AS known (priority, due_ago_s)
            WHERE known.priority = level.priority), '-infinity')
        AND s.reserved_for IS NULL AND s.cancel_requested_at IS NULL
        AND s.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
    ORDER BY s.execution_time
    LIMIT 1
) AS next
