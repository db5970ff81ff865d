-- Claims whose node is dead, has ended, or is not known, each with its task and how often a node died under it.
-- $1 how many at the most; or, of node $2, those on the processes $3, which it has lost sight of; $4 processes that are
-- left out. One pass over what
-- is claimed; it runs when a node was declared dead and now and then.
-- Rows that are missing or damaged come back all the same, so that their process can be quarantined: is_running says
-- whether all is there.
SELECT s.task_instance, s.picked_by, s.version, p.total_tasks, t.task_index, t.name, t.attempt, t.retry_count,
    t.max_retries, t.on_crash, t.status, p.current_task_index,
    coalesce(t.status = 'IN_PROGRESS', false) AS is_running,
    CASE WHEN isfinite(t.started_at) THEN extract(epoch FROM now() - t.started_at)::float8 * 1000 END AS running_ms,
    (SELECT count(*) FROM executions e
     WHERE e.era = t.era AND e.process_id = t.process_id AND e.task_index = t.task_index AND e.outcome = 'LOST') AS times_lost
FROM scheduled_tasks s
LEFT JOIN nodes n ON n.node_id = s.picked_by
LEFT JOIN processes p ON p.process_id = ANY (ARRAY[s.task_instance])
LEFT JOIN open_tasks t ON t.era = p.era AND t.process_id = ANY (ARRAY[p.process_id]) AND t.task_index = p.current_task_index
WHERE s.picked AND s.picked_by IS NOT NULL
    AND (n.node_id IS NULL OR n.state IN ('DEAD', 'STOPPED') OR s.picked_by = $2 AND s.task_instance = ANY($3))
    AND s.task_instance <> ALL ($4::text[])
LIMIT $1
