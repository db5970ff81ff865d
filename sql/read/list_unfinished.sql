-- A page of unfinished processes, newest first, from the queue: it holds a row for each of them and none of the history.
-- Parameters as in sql/read/list_processes.sql ($6 to $9 are not used), and $17 whether only those are asked for that have
-- been claimed at least once.
--
-- The lateral subquery is one descent of the primary key for each row of the queue, whatever the plan believes the
-- queue's size to be: joined freely, a queue of 100,000 had the whole history scanned (177 ms for a page).
SELECT p.process_id, p.process_type, p.status, p.current_task_index, p.total_tasks, p.skipped_tasks, p.priority, p.started_at,
    p.completed_at, CASE WHEN octet_length(p.error_message) > 4096 THEN left(p.error_message, 1000) || '…' ELSE p.error_message END AS error_message,
    p.created_at, p.updated_at,
    CASE WHEN NOT s.picked AND isfinite(s.execution_time) THEN s.execution_time END AS execution_time, s.picked_by
FROM scheduled_tasks s CROSS JOIN LATERAL (
    SELECT * FROM processes WHERE process_id = s.task_instance LIMIT 1
) AS p
WHERE ($1::text[] IS NULL OR p.status = ANY ($1))
    AND ($2::text IS NULL OR s.task_name = $2)
    AND ($3::timestamptz IS NULL OR (p.created_at, p.process_id COLLATE "POSIX") < ($3, $4::text))
    AND ($6::boolean IS NOT NULL AND $7::boolean IS NOT NULL AND $8::timestamptz IS NULL AND $9::timestamptz IS NULL)
    AND ($10::timestamptz IS NULL OR p.started_at >= $10)
    AND ($11::timestamptz IS NULL OR p.started_at < $11)
    AND ($12::timestamptz IS NULL OR p.created_at < $12)
    AND ($13::jsonb[] IS NULL OR p.input_data -> 'metadata' @> ANY ($13))
    AND ($14::text[] IS NULL OR s.picked_by = ANY ($14) OR (SELECT true FROM task_executions e
        WHERE e.process_id = s.task_instance AND e.node_id = ANY ($14) LIMIT 1))
    AND ($15::text IS NULL OR s.task_instance LIKE $15)
    AND ($16::text IS NULL OR s.task_instance LIKE $16)
    AND (NOT $17::boolean OR s.version > 1)
ORDER BY p.created_at DESC, p.process_id COLLATE "POSIX" DESC
LIMIT $5
