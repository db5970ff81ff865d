-- The queue at a glance.
SELECT count(*) FILTER (WHERE NOT picked) AS waiting,
    count(*) FILTER (WHERE NOT picked AND execution_time <= now()) AS due,
    count(*) FILTER (WHERE picked) AS picked,
    extract(epoch FROM now() - min(execution_time) FILTER (
        WHERE NOT picked AND execution_time <= now() AND isfinite(execution_time)))::float8
        AS oldest_due_age
FROM scheduled_tasks
