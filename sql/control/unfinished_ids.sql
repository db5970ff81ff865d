-- Unfinished processes that are not being cancelled already, a page by id.
-- $1 process type or null, $2 status or null, $3 the last id of the page before or null, $4 how many at the most.
SELECT s.task_instance
FROM scheduled_tasks s JOIN processes p ON p.process_id = s.task_instance
WHERE s.cancel_requested_at IS NULL
    AND ($1::text IS NULL OR s.task_name = $1)
    AND ($2::text IS NULL OR p.status = $2)
    AND ($3::text IS NULL OR s.task_instance > $3)
ORDER BY s.task_instance
LIMIT $4
