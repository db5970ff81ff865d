-- Finished processes, whole, as sql/read/process.sql has one of them. $1 ids.
SELECT p.process_id, p.process_type, p.status, p.current_task_index, p.total_tasks, p.skipped_tasks, p.priority, p.started_at,
    p.completed_at, p.error_message, p.created_at, p.updated_at, NULL::timestamptz AS execution_time, NULL::text AS picked_by,
    NULL::text AS waits_for_limit,
    p.input_data::text AS input_text, p.process_context::text AS context_text
FROM unnest($1::text[]) AS wanted (process_id)
JOIN processes p ON p.process_id = ANY (ARRAY[wanted.process_id])
