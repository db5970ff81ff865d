-- The tasks of a process as a live view shows them: read several times a second, so without their output, which may
-- have a megabyte each. $1 process id.
SELECT name, status, attempt, retry_count, max_retries, started_at, completed_at, error_message, now() AS now
FROM all_tasks
WHERE process_id = $1 AND era = (SELECT era FROM processes WHERE process_id = $1)
ORDER BY task_index
