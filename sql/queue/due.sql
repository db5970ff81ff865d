-- What claim.sql would claim, to look at each on its own: it runs when the database has refused to claim them
-- together. $1 how many at the most; $2 a priority: only those above it; null: all.
SELECT s.task_instance
FROM scheduled_tasks s
WHERE s.state = 'READY' AND ($2::int IS NULL OR s.priority > $2) AND s.cancel_requested_at IS NULL
    AND s.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
ORDER BY s.priority DESC, s.execution_time
LIMIT $1
