-- Claims due processes for a node and marks the task of each that is next as in progress.
-- $1 node id, $2 how many at the most.
--
-- `level` walks the distinct priorities that wait, one index descent each, so that rows of a high priority that are
-- not due yet (retries, starts in the future) are never read on the way to lower ones that are.
-- `due` locks no more than $2 rows, in the order of the index: the lateral subquery is driven lazily by `level`.
WITH RECURSIVE level AS (
    (SELECT priority FROM scheduled_tasks WHERE NOT picked ORDER BY priority DESC LIMIT 1)
    UNION ALL
    SELECT (SELECT s.priority FROM scheduled_tasks s WHERE NOT s.picked AND s.priority < level.priority
            ORDER BY s.priority DESC LIMIT 1)
    FROM level WHERE level.priority IS NOT NULL
), due AS MATERIALIZED (
    SELECT d.task_instance
    FROM level CROSS JOIN LATERAL (
        SELECT s.task_instance
        FROM scheduled_tasks s
        WHERE NOT s.picked AND s.priority = level.priority AND s.execution_time <= now()
            AND s.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
        ORDER BY s.execution_time
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ) AS d
    LIMIT $2
), claimed AS (
    UPDATE scheduled_tasks s
    SET picked = true, picked_by = $1, version = s.version + 1
    FROM due
    WHERE s.task_instance = due.task_instance
    RETURNING s.task_instance, s.task_name, s.version, s.priority, s.execution_time
), process AS (
    UPDATE processes p
    SET status = 'IN_PROGRESS', started_at = coalesce(p.started_at, now()), updated_at = now()
    FROM claimed
    WHERE p.process_id = claimed.task_instance
    RETURNING p.process_id, p.current_task_index, p.total_tasks, p.input_data, p.process_context
), task AS (
    UPDATE tasks t
    SET status = 'IN_PROGRESS', attempt = t.attempt + 1, started_at = now(), updated_at = now()
    FROM process
    WHERE t.process_id = process.process_id AND t.task_index = process.current_task_index
    RETURNING t.process_id, t.task_index, t.name, t.command, t.shell, t.working_directory, t.environment,
        t.timeout_minutes, t.max_retries, t.retry, t.max_output_bytes, t.attempt, t.retry_count
)
SELECT claimed.task_instance, claimed.task_name, claimed.version, claimed.priority,
    process.total_tasks, process.input_data, process.process_context,
    task.task_index, task.name, task.command, task.shell, task.working_directory, task.environment,
    task.timeout_minutes, task.max_retries, task.retry, task.max_output_bytes, task.attempt, task.retry_count
FROM claimed
LEFT JOIN process ON process.process_id = claimed.task_instance
LEFT JOIN task ON task.process_id = claimed.task_instance
ORDER BY claimed.priority DESC, claimed.execution_time
