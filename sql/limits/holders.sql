-- Who has slots of a limit, those of longest first among as many as are looked at. $1 the limit, $2 only of this key, or null,
-- $3 how many.
SELECT x.slot_key, x.process_id, x.of_task, x.taken_at, p.process_type, p.status, t.name AS task, coalesce(n.name, s.picked_by) AS node
FROM (
    SELECT * FROM limit_slots x WHERE x.limit_name = $1 AND ($2::text IS NULL OR x.slot_key = $2)
    ORDER BY x.slot_key, x.process_id LIMIT $3
) AS x
LEFT JOIN processes p ON p.process_id = x.process_id
LEFT JOIN scheduled_tasks s ON s.task_instance = x.process_id
LEFT JOIN open_tasks t ON t.era = p.era AND t.process_id = ANY (ARRAY[p.process_id]) AND t.task_index = p.current_task_index
LEFT JOIN nodes n ON n.node_id = s.picked_by
ORDER BY x.taken_at, x.process_id
