-- How many processes prune.sql would delete, and the oldest end among them. $1 to $3 as there, $4 process types that
-- are left out, or null.
SELECT count(*) AS how_many, min(p.completed_at) AS oldest
FROM processes p
WHERE p.completed_at < now() - $1::float8 * interval '1 second'
    AND p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    AND ($2::text[] IS NULL OR p.status = ANY ($2))
    AND ($3::text IS NULL OR p.process_type = $3)
    AND ($4::text[] IS NULL OR p.process_type <> ALL ($4))
