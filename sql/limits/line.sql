-- Who waits for a limit, in the order in which they come; key by key. $1 the limit, $2 only of this key, or null, $3 how many.
SELECT h.held_by, h.task_instance AS process_id, h.task_name AS process_type, h.priority,
    CASE WHEN isfinite(h.execution_time) THEN greatest(h.execution_time, p.created_at) END AS since
FROM (
    (SELECT h.* FROM scheduled_tasks h
    WHERE h.state = 'HELD' AND h.held_by = 'limit:' || $1::text || coalesce('=' || $2::text, '')
    ORDER BY h.priority DESC, h.execution_time LIMIT $3)
    UNION ALL
    (SELECT h.* FROM scheduled_tasks h
    WHERE $2 IS NULL AND h.state = 'HELD' AND h.held_by > 'limit:' || $1 || '=' AND h.held_by < 'limit:' || $1 || '>'
    ORDER BY h.held_by, h.priority DESC, h.execution_time LIMIT $3)
) AS h
JOIN processes p ON p.process_id = h.task_instance
ORDER BY h.held_by, h.priority DESC, h.execution_time
LIMIT $3
