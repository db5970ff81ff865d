-- Of how many processes outputs.sql would delete outputs, their bytes, and the oldest end among them. $1 to $3 as there, $4
-- process types that are left out, or null.
SELECT count(*) AS how_many, coalesce(sum(printed.bytes), 0)::bigint AS bytes, min(p.completed_at) AS oldest
FROM processes p CROSS JOIN LATERAL (
    SELECT sum(octet_length(e.output)) AS bytes
    FROM task_executions e
    WHERE e.era = p.era AND e.process_id = p.process_id AND e.output IS NOT NULL AND e.output_bytes > 0
) AS printed
WHERE p.completed_at < now() - $1::float8 * interval '1 second'
    AND p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    AND ($2::text[] IS NULL OR p.status = ANY ($2))
    AND ($3::text IS NULL OR p.process_type = $3)
    AND ($4::text[] IS NULL OR p.process_type <> ALL ($4))
    AND printed.bytes IS NOT NULL
