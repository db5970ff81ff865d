-- Batches as they are shown: that of the name $1 or, where it is null, the newest ones of the states $2 (null: all) behind the one of the
-- name $3 (null: from the first), $4 at the most. What was not added up yet is added here; the rows of processes are not counted.
WITH wanted AS MATERIALIZED (
    SELECT * FROM batches b
    WHERE ($1::text IS NULL OR b.name = $1) AND ($2::text[] IS NULL OR b.state = ANY ($2))
        AND ($3::text IS NULL OR (b.created_at, b.name) < (SELECT a.created_at, a.name FROM batches a WHERE a.name = $3))
    ORDER BY b.created_at DESC, b.name DESC
    LIMIT $4
), more AS MATERIALIZED (
    SELECT c.batch, s.status, sum(CASE WHEN s.status = c.now THEN c.how_many ELSE -c.how_many END) AS how_many
    FROM batch_changes c CROSS JOIN LATERAL (VALUES (c.now), (c.was)) AS s (status)
    WHERE c.batch = ANY (ARRAY(SELECT name FROM wanted))
    GROUP BY c.batch, s.status
)
SELECT w.name, w.process_type, w.state, w.reason, w.held_at, w.announced, w.halt, w.max, w.then_type, w.then_id, w.then_problem,
    w.was_cancelled, w.ticks, w.created_at, w.ended_at, w.cancel_reason, extract(epoch FROM now())::float8 AS now_s,
    (w.not_started + m.not_started)::bigint AS not_started, (w.in_progress + m.in_progress)::bigint AS in_progress,
    (w.completed + m.completed)::bigint AS completed, (w.failed + m.failed)::bigint AS failed,
    (w.cancelled + m.cancelled)::bigint AS cancelled
FROM wanted w
CROSS JOIN LATERAL (
    SELECT coalesce(sum(how_many) FILTER (WHERE status = 'NOT_STARTED'), 0) AS not_started,
        coalesce(sum(how_many) FILTER (WHERE status = 'IN_PROGRESS'), 0) AS in_progress,
        coalesce(sum(how_many) FILTER (WHERE status = 'COMPLETED'), 0) AS completed,
        coalesce(sum(how_many) FILTER (WHERE status = 'FAILED'), 0) AS failed,
        coalesce(sum(how_many) FILTER (WHERE status = 'CANCELLED'), 0) AS cancelled
    FROM more WHERE more.batch = w.name
) AS m
ORDER BY w.created_at DESC, w.name DESC
