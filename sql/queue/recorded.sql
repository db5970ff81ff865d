-- After a connection was lost mid-commit: which of these results were recorded after all, each with the task that is
-- in progress under the same claim, if its claim was kept.
-- $1 node id; $2 process ids, $3 versions, $4 task indexes, $5 attempts, one element for each result.
SELECT e.process_id, s.task_instance IS NULL AS is_given_back,
    next.task_index, next.name, next.command, next.shell, next.working_directory, next.environment,
    next.timeout_minutes, next.max_retries, next.retry, next.max_output_bytes, next.attempt, next.retry_count
FROM unnest($2::text[], $3::bigint[], $4::int[], $5::int[]) AS r (process_id, version, task_index, attempt)
JOIN processes p ON p.process_id = ANY (ARRAY[r.process_id])
JOIN executions e
    ON e.era = p.era AND e.process_id = ANY (ARRAY[r.process_id]) AND e.task_index = r.task_index AND e.attempt = r.attempt AND e.node_id = $1
        AND e.outcome <> 'LOST' -- a takeover's entry says nothing of our result
LEFT JOIN scheduled_tasks s
    ON s.task_instance = ANY (ARRAY[r.process_id]) AND s.picked_by = $1 AND s.version = r.version
LEFT JOIN open_tasks next
    ON next.era = s.era AND next.process_id = ANY (ARRAY[s.task_instance]) AND next.task_index = r.task_index + 1 AND next.status = 'IN_PROGRESS'
