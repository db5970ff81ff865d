-- The priorities of due processes that no executor is free for, highest first, those above $1 only.
-- $2 how many at the most.
SELECT s.priority
FROM scheduled_tasks s
WHERE NOT s.picked AND s.priority > $1 AND s.execution_time <= now()
    AND s.reserved_for IS NULL AND s.cancel_requested_at IS NULL
    AND s.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
ORDER BY s.priority DESC
LIMIT $2
