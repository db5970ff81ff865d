-- The priorities of READY processes that no executor is free for, highest first, and which of them are of paused types:
-- these are to be held (hold_paused.sql).
-- $1 how many at the most; $2 to $4 the parts of the queue, as in claim.sql.
SELECT d.priority, d.task_name = ANY (ARRAY(SELECT name FROM process_types WHERE paused)) AS is_paused
FROM unnest($2::int[], $3::int[], $4::float8[]) AS part (lowest, highest, due_ago_s)
CROSS JOIN LATERAL (
    SELECT s.priority, s.task_name
    FROM scheduled_tasks s
    WHERE s.state = 'READY' AND s.priority >= part.lowest AND s.priority <= part.highest
        AND s.execution_time >= coalesce(now() - interval '1 second' * part.due_ago_s, '-infinity')
        AND s.cancel_requested_at IS NULL
    ORDER BY s.priority DESC, s.execution_time
    LIMIT $1
) AS d
LIMIT $1
