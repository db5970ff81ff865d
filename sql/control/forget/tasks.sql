-- Tasks of several processes, whole, as sql/read/process_tasks.sql has those of one. $1 ids.
SELECT t.task_id, t.process_id, t.task_index, t.name, t.command, t.shell, t.working_directory, t.environment, t.timeout_minutes,
    t.max_retries, t.retry_count, t.attempt, t.status, t.started_at, t.completed_at, t.error_message, t.exit_code, t.output,
    t.output IS NULL AND t.attempt > 0 AND EXISTS (SELECT FROM task_executions e WHERE e.era = t.era AND e.process_id = t.process_id
        AND e.task_index = t.task_index AND e.attempt = t.attempt AND e.output IS NULL AND e.output_bytes > 0) AS output_deleted,
    t.created_at, t.updated_at
FROM unnest($1::text[]) AS wanted (process_id)
JOIN processes p ON p.process_id = ANY (ARRAY[wanted.process_id])
JOIN tasks t ON t.era = p.era AND t.process_id = ANY (ARRAY[wanted.process_id])
ORDER BY t.process_id, t.task_index
