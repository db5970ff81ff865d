-- What claim.sql would claim, to look at each on its own: it runs when the database has refused to claim them
-- together. $1 how many at the most; $2 and $3 the lowest and the highest priority.
SELECT s.task_instance
FROM scheduled_tasks s
WHERE s.state = 'READY' AND s.priority >= $2 AND s.priority <= $3 AND s.cancel_requested_at IS NULL
    AND s.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
ORDER BY s.priority DESC, s.execution_time
LIMIT $1
