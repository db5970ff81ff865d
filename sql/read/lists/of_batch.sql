-- A page of the processes of the batch $12 that the filter lets through, newest first, behind the time $13 and the id $14. $1 to $11 as in
-- by_creation.sql. The batch is read by its own index and sorted: a page of a hundred thousand takes a fraction of a second.
SELECT p.process_id, p.process_type, p.status, p.current_task_index, p.total_tasks, p.skipped_tasks, p.priority, p.started_at,
    p.completed_at, CASE WHEN octet_length(p.error_message) > 4096 THEN left(p.error_message, 1000) || '…' ELSE p.error_message END AS error_message,
    p.created_at, p.updated_at,
    CASE WHEN NOT s.picked AND isfinite(s.execution_time) THEN s.execution_time END AS execution_time, s.picked_by,
    CASE WHEN s.state = 'HELD' AND starts_with(s.held_by, 'limit:') THEN substr(s.held_by, 7) END AS waits_for_limit
FROM processes p LEFT JOIN LATERAL (
    SELECT * FROM scheduled_tasks WHERE p.completed_at IS NULL AND task_instance = p.process_id LIMIT 1
) AS s ON true
WHERE p.batch = $12
    AND (p.created_at, p.process_id COLLATE "POSIX") < ($13::timestamptz, $14::text)
    AND ($1::text[] IS NULL OR p.status = ANY ($1))
    AND ($2::text IS NULL OR p.process_type = $2)
    AND ($3::timestamptz IS NULL OR p.completed_at >= $3)
    AND ($4::timestamptz IS NULL OR p.completed_at < $4)
    AND ($5::timestamptz IS NULL OR p.started_at >= $5)
    AND ($6::timestamptz IS NULL OR p.started_at < $6)
    AND ($7::jsonb[] IS NULL OR p.input_data -> 'metadata' @> ANY ($7))
    AND ($8::text IS NULL OR p.process_id LIKE $8)
    AND ($9::text IS NULL OR p.process_id LIKE $9)
    AND ($10::text[] IS NULL OR s.picked_by = ANY ($10) OR (SELECT true FROM executions e
        WHERE e.era = p.era AND e.process_id = p.process_id AND e.node_id = ANY ($10) LIMIT 1))
ORDER BY p.created_at + interval '0' DESC, p.process_id COLLATE "POSIX" DESC
LIMIT $11
