-- What the running command of a process shows. $1 process id.
-- A row may outlive its command for some seconds: only that of the claim's own node counts, and none that is in
-- the audit trail.
SELECT l.task_index, coalesce(t.name, '') AS task_name, l.attempt, l.node_id, l.started_at, l.updated_at, l.output_bytes, l.tail, l.cpu_ms,
    l.memory_bytes, l.printed_at
FROM live_output l
JOIN scheduled_tasks s ON s.task_instance = l.process_id AND s.picked_by = l.node_id
LEFT JOIN open_tasks t ON t.era = s.era AND t.process_id = l.process_id AND t.task_index = l.task_index
WHERE l.process_id = $1 AND NOT EXISTS (SELECT FROM executions e
    WHERE e.era = s.era AND e.process_id = l.process_id AND e.task_index = l.task_index AND e.attempt = l.attempt)
