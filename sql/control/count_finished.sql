-- How many processes finished_ids.sql would give in all. $1 status, $2 process type or null.
SELECT count(*) AS how_many
FROM processes p
WHERE p.status = $1 AND p.completed_at IS NOT NULL
    AND ($1 NOT IN ('FAILED', 'CANCELLED') OR p.error_message IS NOT NULL)
    AND ($2::text IS NULL OR p.process_type = $2)
