-- Which of these claims the node no longer holds. $1 node id, $2 process ids, $3 versions.
SELECT c.process_id, c.version
FROM unnest($2::text[], $3::bigint[]) AS c (process_id, version)
LEFT JOIN scheduled_tasks s
    ON s.task_instance = ANY (ARRAY[c.process_id]) AND s.picked_by = $1 AND s.version = c.version
WHERE s.task_instance IS NULL
