-- What the queue holds by process type, and how many of these processes have begun: `status` is null in the former. Only
-- those that were claimed once can have begun and are looked up.
WITH claimed AS MATERIALIZED (
    SELECT task_instance FROM scheduled_tasks WHERE version > 1 OR picked
), queue AS MATERIALIZED (
    SELECT task_name AS process_type, count(*) AS how_many, count(*) FILTER (WHERE picked) AS picked,
        count(*) FILTER (WHERE NOT picked AND state <> 'HELD' AND execution_time <= now()) AS due,
        count(*) FILTER (WHERE consecutive_failures > 0 AND NOT picked) AS waiting_retry,
        extract(epoch FROM now() - min(greatest(execution_time, waiting_since)) FILTER (
            WHERE NOT picked AND state <> 'HELD' AND execution_time <= now() AND isfinite(execution_time)))::float8
            AS oldest_due_age
    FROM scheduled_tasks
    GROUP BY task_name
), begun AS MATERIALIZED (
    SELECT p.process_type, p.status, count(*) AS how_many
    FROM claimed CROSS JOIN LATERAL (
        SELECT process_type, status FROM processes WHERE process_id = claimed.task_instance LIMIT 1
    ) AS p
    WHERE p.status <> 'NOT_STARTED'
    GROUP BY p.process_type, p.status
)
SELECT process_type, status, how_many, 0::bigint AS picked, 0::bigint AS due, 0::bigint AS waiting_retry,
    NULL::float8 AS oldest_due_age
FROM begun
UNION ALL
SELECT process_type, NULL, how_many, picked, due, waiting_retry, oldest_due_age FROM queue
