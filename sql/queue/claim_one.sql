-- Claims these processes for a node, if they are due and not picked; otherwise as claim.sql. $1 node id, $2 process ids,
-- $3 whether they stay where they are while their type is paused. One that is kept for the node is still kept for it while it
-- waits in a limit's line.
-- `IS NOT TRUE`, as `NOT picked` would let the index of what waits be read from end to end instead of the primary key.
WITH met AS MATERIALIZED (
    SELECT s.task_instance, s.priority, s.execution_time, s.limits IS NOT NULL AS is_limited
    FROM scheduled_tasks s
    WHERE s.task_instance = ANY ($2::text[]) AND s.picked IS NOT TRUE AND s.execution_time <= now()
        AND coalesce(s.reserved_for = $1, true) AND s.cancel_requested_at IS NULL
        AND NOT ($3 AND EXISTS (SELECT FROM process_types k WHERE k.name = s.task_name AND k.paused))
        AND EXISTS (SELECT FROM nodes WHERE node_id = $1 AND state IN ('RUNNING', 'STOPPING'))
    ORDER BY s.task_instance COLLATE "C" -- as everybody who waits for them
    FOR UPDATE OF s
), verdict AS MATERIALIZED (
    SELECT v.process_id, v.blocked_by
    FROM (
        SELECT array_agg(task_instance ORDER BY priority DESC, execution_time) AS process_ids FROM met
        WHERE is_limited HAVING count(*) > 0
    ) AS limited CROSS JOIN LATERAL admit_processes(limited.process_ids) AS v
), blocked AS (
    UPDATE scheduled_tasks s
    SET state = 'HELD', held_by = 'limit:' || v.blocked_by
    FROM verdict v
    WHERE v.blocked_by IS NOT NULL AND s.task_instance = ANY (ARRAY[v.process_id])
    RETURNING s.task_instance
), claimed AS (
    UPDATE scheduled_tasks s
    SET state = 'CLAIMED', held_by = NULL, picked = true, picked_by = $1, version = s.version + 1,
        admitted_version = CASE WHEN met.is_limited THEN s.version + 1 END
    FROM (
        SELECT task_instance, false AS is_limited FROM met WHERE NOT is_limited
        UNION ALL
        SELECT process_id, true FROM verdict WHERE blocked_by IS NULL
    ) AS met
    WHERE s.task_instance = ANY (ARRAY[met.task_instance])
    RETURNING s.task_instance, s.task_name, s.version, s.priority, s.execution_time, s.limits,
        CASE WHEN isfinite(s.execution_time)
            THEN extract(epoch FROM clock_timestamp() - s.execution_time)::float8 END AS due_ago_s,
        CASE WHEN isfinite(s.execution_time)
            THEN extract(epoch FROM clock_timestamp() - greatest(s.execution_time, s.waiting_since))::float8 END AS queue_delay_s
), process AS (
    UPDATE processes p
    SET status = 'IN_PROGRESS', started_at = coalesce(p.started_at, now()), updated_at = now()
    FROM claimed
    WHERE p.process_id = ANY (ARRAY[claimed.task_instance])
    RETURNING p.process_id, p.era, p.current_task_index, p.total_tasks, p.input_data, p.process_context
), task AS (
    UPDATE open_tasks t
    SET status = 'IN_PROGRESS', attempt = t.attempt + 1, started_at = now(), updated_at = now()
    FROM process
    WHERE t.era = process.era AND t.process_id = ANY (ARRAY[process.process_id])
        AND t.task_index = process.current_task_index
    RETURNING t.process_id, t.task_index, t.name, t.command, t.shell, t.working_directory, t.environment,
        t.timeout_minutes, t.max_retries, t.retry, t.max_output_bytes, t.attempt, t.retry_count
)
SELECT claimed.task_instance, claimed.task_name, claimed.version, claimed.priority, claimed.execution_time,
    claimed.due_ago_s, claimed.queue_delay_s, claimed.limits,
    process.total_tasks, process.input_data, process.process_context,
    task.task_index, task.name, task.command, task.shell, task.working_directory, task.environment,
    task.timeout_minutes, task.max_retries, task.retry, task.max_output_bytes, task.attempt, task.retry_count
FROM claimed
LEFT JOIN process ON process.process_id = claimed.task_instance
LEFT JOIN task ON task.process_id = claimed.task_instance
UNION ALL
SELECT NULL, NULL, count(*), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL
FROM blocked HAVING count(*) > 0
