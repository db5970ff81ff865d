-- Which process types make a limit, and by which task. $1 the limit.
SELECT k.name AS process_type, c.task, c.max
FROM process_types k
CROSS JOIN LATERAL (
    SELECT NULL AS task, c.name, c.max FROM jsonb_to_recordset(k.concurrency) AS c (name text, max integer)
    UNION ALL
    SELECT t.name, c.name, c.max FROM jsonb_to_recordset(k.tasks) AS t (name text, limits jsonb)
    CROSS JOIN LATERAL jsonb_to_recordset(coalesce(t.limits, '[]')) AS c (name text, max integer)
) AS c
WHERE k.concurrency IS NOT NULL AND c.name = $1
ORDER BY k.name, c.task NULLS FIRST
LIMIT 100
