-- Executions of several processes, whole, as sql/read/process_executions.sql has those of one. $1 ids.
SELECT e.process_id, e.task_index, t.name AS task_name, e.attempt, e.node_id, e.command, e.outcome, e.exit_code, e.signal,
    e.started_at, e.completed_at, e.duration_ms, e.cpu_ms, e.peak_memory_bytes, e.output, e.output_bytes,
    e.output IS NULL AND e.output_bytes > 0 AS output_deleted, e.error_message
FROM unnest($1::text[]) AS wanted (process_id)
JOIN processes p ON p.process_id = ANY (ARRAY[wanted.process_id])
JOIN task_executions e ON e.era = p.era AND e.process_id = ANY (ARRAY[wanted.process_id])
LEFT JOIN all_tasks t ON t.era = e.era AND t.process_id = e.process_id AND t.task_index = e.task_index
ORDER BY e.process_id, e.task_index, e.attempt
