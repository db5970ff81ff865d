-- The executions of a process in the order in which they ran. $1 process id, $2 whether their
-- output is wanted, $3 only those of the task of this index, or null, $4 only this attempt, or null.
SELECT e.process_id, e.task_index, t.name AS task_name, e.attempt, e.node_id, e.command, e.outcome, e.exit_code,
    e.signal, e.started_at, e.completed_at, e.duration_ms, e.cpu_ms, e.peak_memory_bytes,
    CASE WHEN $2::boolean THEN e.output END AS output, e.output_bytes, e.error_message
FROM task_executions e LEFT JOIN tasks t ON t.process_id = e.process_id AND t.task_index = e.task_index
WHERE e.process_id = $1
    AND ($3::int IS NULL OR e.task_index = $3)
    AND ($4::int IS NULL OR e.attempt = $4)
ORDER BY e.task_index, e.attempt
