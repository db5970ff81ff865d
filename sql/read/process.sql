-- One process with its place in the queue. $1 process id.
SELECT p.process_id, p.process_type, p.status, p.current_task_index, p.total_tasks, p.skipped_tasks, p.priority, p.started_at,
    p.completed_at, p.error_message, p.input_data, p.process_context, p.created_at, p.updated_at,
    CASE WHEN NOT s.picked AND isfinite(s.execution_time) THEN s.execution_time END AS execution_time, s.picked_by
FROM processes p LEFT JOIN scheduled_tasks s ON s.task_instance = p.process_id
WHERE p.process_id = $1
