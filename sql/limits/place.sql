-- Where a process stands in the line for a limit, and which limits of its type have no key for it. $1 its id, $2 the entry, or null,
-- $3 how many before it are counted.
SELECT CASE WHEN isfinite(s.execution_time) THEN greatest(s.execution_time, p.created_at) END AS since,
    (SELECT count(*) FROM (
        SELECT FROM scheduled_tasks h
        WHERE h.state = 'HELD' AND h.held_by = 'limit:' || $2::text
            AND (h.priority > s.priority OR h.priority = s.priority AND h.execution_time < s.execution_time)
        LIMIT $3
    ) AS h) AS ahead,
    ARRAY(
        SELECT c.name FROM jsonb_to_recordset(k.concurrency) AS c (name text, key jsonb)
        WHERE c.key IS NOT NULL AND NOT EXISTS (
            SELECT FROM unnest(coalesce(s.limits, '{}') || coalesce(s.task_limits, '{}')) AS e (entry)
            WHERE starts_with(e.entry, c.name || '='))
        ORDER BY c.name
    ) AS keyless
FROM scheduled_tasks s JOIN processes p ON p.process_id = s.task_instance
LEFT JOIN process_types k ON k.name = s.task_name
WHERE s.task_instance = $1
