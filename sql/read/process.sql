-- One process with its place in the queue. $1 process id, $2 how many bytes its input or context may have as text: of a
-- larger one only null is given. What is larger when compressed is not even written out; jsonb takes up to four times the
-- bytes of its text.
SELECT p.process_id, p.process_type, p.status, p.current_task_index, p.total_tasks, p.skipped_tasks, p.priority, p.started_at,
    p.completed_at, CASE WHEN octet_length(p.error_message) > $2::bigint THEN left(p.error_message, ($2::bigint / 4)::int) || '…'
        ELSE p.error_message END AS error_message, p.created_at, p.updated_at,
    CASE WHEN NOT s.picked AND isfinite(s.execution_time) THEN s.execution_time END AS execution_time, s.picked_by,
    CASE WHEN s.state = 'HELD' AND starts_with(s.held_by, 'limit:') THEN substr(s.held_by, 7) END AS waits_for_limit,
    CASE WHEN octet_length(written.input_text) <= $2::bigint THEN written.input_text END AS input_text,
    CASE WHEN octet_length(written.context_text) <= $2::bigint THEN written.context_text END AS context_text
FROM processes p LEFT JOIN scheduled_tasks s ON s.task_instance = p.process_id
CROSS JOIN LATERAL (
    SELECT CASE WHEN pg_column_size(p.input_data) <= 4 * $2::bigint THEN p.input_data::text END AS input_text,
        CASE WHEN pg_column_size(p.process_context) <= 4 * $2::bigint THEN p.process_context::text END AS context_text
    OFFSET 0
) AS written
WHERE p.process_id = $1
