-- A page of processes, newest first.
-- $1 status or null, $2 process type or null, $3 and $4 creation time (microseconds since 2000, the least and the
-- greatest bigint for the infinities, as on the wire) and id of the last one of the page before, or null, $5 how many
-- at the most.
--
-- Planned anew for each call: the parameters then count as constants, the conditions about them fold away, and each
-- status gets the path that suits it: failed and cancelled ones the index of those with an error, unfinished ones
-- the small queue, the rest the index of all by creation.
SELECT p.process_id, p.process_type, p.status, p.current_task_index, p.total_tasks, p.priority, p.started_at,
    p.completed_at, p.error_message, p.input_data, p.process_context, p.created_at, p.updated_at,
    CASE WHEN NOT s.picked AND isfinite(s.execution_time) THEN s.execution_time END AS execution_time, s.picked_by
FROM processes p LEFT JOIN scheduled_tasks s ON s.task_instance = p.process_id
WHERE ($1::text IS NULL OR p.status = $1)
    AND ($1 IS NULL OR $1 NOT IN ('FAILED', 'CANCELLED') OR p.error_message IS NOT NULL)
    AND ($1 IS NULL OR $1 NOT IN ('NOT_STARTED', 'IN_PROGRESS') OR s.task_instance IS NOT NULL)
    AND ($2::text IS NULL OR p.process_type = $2)
    AND ($3::bigint IS NULL OR (p.created_at, p.process_id) < (
        CASE $3
            WHEN 9223372036854775807 THEN 'infinity'::timestamptz
            WHEN -9223372036854775808 THEN '-infinity'::timestamptz
            -- Whole seconds apart: a product with an interval is exact to 53 bits only.
            ELSE timestamptz '2000-01-01 00:00:00+00' + $3 / 1000000 * interval '1 second'
                + $3 % 1000000 * interval '1 microsecond'
        END, $4::text))
ORDER BY p.created_at DESC, p.process_id DESC
LIMIT $5
