-- What claim.sql would claim, to look at each on its own: it runs when the database has refused to claim them
-- together. $1 how many at the most.
SELECT s.task_instance
FROM scheduled_tasks s
WHERE NOT s.picked AND s.execution_time <= now() AND s.reserved_for IS NULL
    AND s.cancel_requested_at IS NULL
    AND s.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
ORDER BY s.priority DESC, s.execution_time
LIMIT $1
