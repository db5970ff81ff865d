-- The queue at a glance. What is held is not due, whatever its time.
SELECT count(*) FILTER (WHERE NOT picked) AS waiting,
    count(*) FILTER (WHERE NOT picked AND state <> 'HELD' AND execution_time <= now()) AS due,
    count(*) FILTER (WHERE picked) AS picked,
    count(*) FILTER (WHERE state = 'HELD' AND starts_with(held_by, 'limit:')) AS waiting_for_limits,
    extract(epoch FROM now() - min(greatest(execution_time, waiting_since)) FILTER (
        WHERE NOT picked AND state <> 'HELD' AND execution_time <= now() AND isfinite(execution_time)))::float8
        AS oldest_due_age
FROM scheduled_tasks
