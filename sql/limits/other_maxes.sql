-- Where the max that a process type gives a group does not agree with others. $1 the type, $2 its groups as {"GROUP": max}.
-- One row for each group: `set_by` if somebody has set another one by hand, or else another type's.
SELECT DISTINCT ON (w.name) w.name, w.max, CASE WHEN l.is_set THEN coalesce(l.changed_by, 'somebody') END AS set_by, l.max AS now_max,
    other.process_type AS other_type, other.max AS other_max
FROM (SELECT key AS name, value::integer AS max FROM jsonb_each_text($2::jsonb)) AS w
JOIN limits l ON l.name = w.name
LEFT JOIN LATERAL (
    SELECT k.name AS process_type, c.max FROM process_types k
    CROSS JOIN LATERAL (
        SELECT c.name, c.max FROM jsonb_to_recordset(k.concurrency) AS c (name text, max integer)
        UNION ALL
        SELECT c.name, c.max FROM jsonb_to_recordset(k.tasks) AS t (limits jsonb)
        CROSS JOIN LATERAL jsonb_to_recordset(coalesce(t.limits, '[]')) AS c (name text, max integer)
    ) AS c
    WHERE k.name <> $1 AND k.concurrency IS NOT NULL AND c.name = w.name AND c.max <> w.max
) AS other ON true
WHERE CASE WHEN l.is_set THEN l.max IS DISTINCT FROM w.max ELSE other.max IS NOT NULL END
ORDER BY w.name, other.process_type
