-- The tasks of a process in their order. $1 process id, $2 whether their output is wanted.
SELECT task_id, process_id, task_index, name, command, shell, working_directory, environment, timeout_minutes,
    max_retries, retry_count, attempt, status, started_at, completed_at, error_message, exit_code,
    CASE WHEN $2::boolean THEN output END AS output, created_at, updated_at
FROM tasks
WHERE process_id = $1
ORDER BY task_index
