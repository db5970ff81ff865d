-- Finished processes that prune.sql would delete, the oldest first: what is archived before. $1 to $5 as there, $6 how many at
-- the most, $7 process types that are left out, or null.
SELECT p.process_id, p.completed_at
FROM processes p
WHERE p.completed_at < now() - $1::float8 * interval '1 second'
    AND p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    AND ($2::text[] IS NULL OR p.status = ANY ($2))
    AND ($3::text IS NULL OR p.process_type = $3)
    AND ($4::timestamptz IS NULL OR (p.completed_at, p.process_id) > ($4, $5::text))
    AND ($7::text[] IS NULL OR p.process_type <> ALL ($7))
ORDER BY p.completed_at, p.process_id
LIMIT $6
