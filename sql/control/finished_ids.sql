-- Processes that have ended in one status before $5, a page in the order of their creation: one that is retried and
-- fails again while the pages go on is not met twice.
-- $1 status, $2 process type or null, $3 and $4 creation time and id of the last one of the page before or null,
-- $5 a time, $6 how many at the most.
-- Planned anew for each call, as list_processes.sql: failed and cancelled ones have the index of those with an error.
SELECT p.process_id, p.created_at
FROM processes p
WHERE p.status = $1 AND p.completed_at <= $5
    AND ($1 NOT IN ('FAILED', 'CANCELLED') OR p.error_message IS NOT NULL)
    AND ($2::text IS NULL OR p.process_type = $2)
    AND ($3::timestamptz IS NULL OR (p.created_at, p.process_id COLLATE "POSIX") > ($3, $4::text))
ORDER BY p.created_at, p.process_id COLLATE "POSIX"
LIMIT $6
