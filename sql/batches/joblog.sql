-- Processes of the batch $1 that have ended, in the order of their ends, behind that of the time $2 and the id $3, $4 at the most. Of
-- each its last execution.
SELECT p.process_id, p.status, p.started_at, p.completed_at,
    coalesce(extract(epoch FROM p.completed_at - p.started_at), 0)::float8 AS runtime_s,
    e.exit_code, e.signal, e.output_bytes, e.command, n.host
FROM processes p
LEFT JOIN LATERAL (
    SELECT e.exit_code, e.signal, e.output_bytes, e.command, e.node_id FROM executions e
    WHERE e.era = p.era AND e.process_id = ANY (ARRAY[p.process_id])
    ORDER BY e.started_at DESC NULLS LAST, e.task_index DESC, e.attempt DESC LIMIT 1
) AS e ON true
LEFT JOIN nodes n ON n.node_id = e.node_id
WHERE p.batch = $1 AND p.completed_at IS NOT NULL
    AND (p.completed_at, p.process_id) > (coalesce($2::timestamptz, '-infinity'), coalesce($3::text, '') COLLATE "C")
ORDER BY p.completed_at, p.process_id
LIMIT $4
