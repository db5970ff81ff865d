-- Processes of the batch $1 in the order of their ids, behind the id $2, $3 at the most, with what they worked on and passed on.
SELECT p.process_id, p.status, p.started_at, p.completed_at, p.error_message, p.input_data, p.process_context,
    extract(epoch FROM p.completed_at - p.started_at)::float8 AS runtime_s, e.exit_code
FROM processes p
LEFT JOIN LATERAL (
    SELECT e.exit_code FROM executions e
    WHERE e.era = p.era AND e.process_id = ANY (ARRAY[p.process_id])
    ORDER BY e.started_at DESC NULLS LAST, e.task_index DESC, e.attempt DESC LIMIT 1
) AS e ON true
WHERE p.batch = $1 AND p.process_id > $2
ORDER BY p.process_id
LIMIT $3
