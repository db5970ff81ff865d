-- A page of all processes, newest first, by walking them in the order of their creation.
-- $1 to $9 are what every statement of a list has: $1 statuses or null, $2 process type or null, $3 finished since,
-- $4 finished before, $5 started since, $6 started before, $7 metadata of which they hold one, $8 a LIKE pattern of how their
-- ids begin, $9 one of what their ids hold, $10 ids of nodes that they ran on or run on; each of these may be null. $11 how many
-- at the most. Then $12 and $13 creation time and id before which the walk begins, $14 and $15 those with which it ends.
--
-- Neither input nor context, which may be a megabyte each: sql/read/values/list_values.sql reads them, and of an error no more
-- than fits a line. The queue is asked only for those that have not ended.
--
-- Planned anew for each call: the parameters then count as constants, and conditions about them fold away.
SELECT p.process_id, p.process_type, p.status, p.current_task_index, p.total_tasks, p.skipped_tasks, p.priority, p.started_at,
    p.completed_at, CASE WHEN octet_length(p.error_message) > 4096 THEN left(p.error_message, 1000) || '…' ELSE p.error_message END AS error_message,
    p.created_at, p.updated_at,
    CASE WHEN NOT s.picked AND isfinite(s.execution_time) THEN s.execution_time END AS execution_time, s.picked_by,
    CASE WHEN s.state = 'HELD' AND starts_with(s.held_by, 'limit:') THEN substr(s.held_by, 7) END AS waits_for_limit
FROM processes p LEFT JOIN LATERAL (
    SELECT * FROM scheduled_tasks WHERE p.completed_at IS NULL AND task_instance = p.process_id LIMIT 1
) AS s ON true
WHERE (p.created_at, p.process_id COLLATE "POSIX") < ($12::timestamptz, $13::text)
    AND (p.created_at, p.process_id COLLATE "POSIX") >= ($14::timestamptz, $15::text)
    AND ($1::text[] IS NULL OR p.status = ANY ($1))
    AND ($2::text IS NULL OR p.process_type || '' = $2)
    AND ($3::timestamptz IS NULL OR p.completed_at >= $3)
    AND ($4::timestamptz IS NULL OR p.completed_at < $4)
    AND ($5::timestamptz IS NULL OR p.started_at >= $5)
    AND ($6::timestamptz IS NULL OR p.started_at < $6)
    AND ($7::jsonb[] IS NULL OR p.input_data -> 'metadata' @> ANY ($7))
    AND ($8::text IS NULL OR p.process_id LIKE $8)
    AND ($9::text IS NULL OR p.process_id LIKE $9)
    AND ($10::text[] IS NULL OR s.picked_by = ANY ($10) OR (SELECT true FROM executions e
        WHERE e.era = p.era AND e.process_id = p.process_id AND e.node_id = ANY ($10) LIMIT 1))
ORDER BY p.created_at DESC, p.process_id COLLATE "POSIX" DESC
LIMIT $11
