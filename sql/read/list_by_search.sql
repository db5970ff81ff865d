-- A page of processes, newest first, whose ids hold a text. Parameters as in sql/read/list_processes.sql.
--
-- `seen` is a scan of one index that reads no row: 200,000 ids in 30 ms, instead of 250 ms with their rows. Those rows that
-- match are read one by one in its order, until there are enough.
SELECT p.process_id, p.process_type, p.status, p.current_task_index, p.total_tasks, p.skipped_tasks, p.priority, p.started_at,
    p.completed_at, CASE WHEN octet_length(p.error_message) > 4096 THEN left(p.error_message, 1000) || '…' ELSE p.error_message END AS error_message,
    p.created_at, p.updated_at,
    CASE WHEN NOT s.picked AND isfinite(s.execution_time) THEN s.execution_time END AS execution_time, s.picked_by
FROM (
    SELECT w.created_at, w.process_id FROM processes w
    WHERE ($2::text IS NULL OR w.process_type = $2)
        AND ($3::timestamptz IS NULL OR (w.created_at, w.process_id COLLATE "POSIX") < ($3, $4::text))
        AND ($12::timestamptz IS NULL OR w.created_at < $12)
        AND ($15::text IS NULL OR w.process_id LIKE $15)
        AND w.process_id LIKE $16::text
        AND ($17::timestamptz IS NULL OR (w.created_at, w.process_id COLLATE "POSIX") >= ($17, $18::text))
    ORDER BY w.created_at DESC, w.process_id COLLATE "POSIX" DESC
) AS seen
CROSS JOIN LATERAL (SELECT * FROM processes WHERE process_id = seen.process_id LIMIT 1) AS p
LEFT JOIN scheduled_tasks s ON s.task_instance = p.process_id
WHERE ($1::text[] IS NULL OR p.status = ANY ($1))
    AND (NOT $6::boolean OR p.error_message IS NOT NULL)
    AND (NOT $7::boolean OR p.completed_at IS NOT NULL)
    AND ($8::timestamptz IS NULL OR p.completed_at >= $8)
    AND ($9::timestamptz IS NULL OR p.completed_at < $9)
    AND ($10::timestamptz IS NULL OR p.started_at >= $10)
    AND ($11::timestamptz IS NULL OR p.started_at < $11)
    AND ($13::jsonb[] IS NULL OR p.input_data -> 'metadata' @> ANY ($13))
    AND ($14::text[] IS NULL OR s.picked_by = ANY ($14) OR (SELECT true FROM task_executions e
        WHERE e.process_id = p.process_id AND e.node_id = ANY ($14) LIMIT 1))
ORDER BY seen.created_at DESC, seen.process_id COLLATE "POSIX" DESC
LIMIT $5
