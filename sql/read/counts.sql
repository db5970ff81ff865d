-- How many processes there are and what the queue holds, in one statement, hence at one moment. `part` says what a row
-- counts: ENDED processes by type and status, what was settled and what ended since; UNFINISHED the others by type, of
-- which only those that were claimed once can have begun and are looked up.
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
SELECT 'ENDED' AS part, process_type, status, sum(how_many)::bigint AS how_many, 0::bigint AS picked, 0::bigint AS due,
    0::bigint AS waiting_retry, NULL::float8 AS oldest_due_age
FROM (
    SELECT process_type, status, how_many FROM settled_counts
    UNION ALL
    SELECT process_type, status, count(*) FROM processes
    WHERE completed_at >= (SELECT until FROM settled)
    GROUP BY process_type, status
) AS ended
GROUP BY process_type, status
HAVING sum(how_many) <> 0
UNION ALL
SELECT 'BEGUN', process_type, status, how_many, 0, 0, 0, NULL FROM begun
UNION ALL
SELECT 'QUEUE', process_type, NULL, how_many, picked, due, waiting_retry, oldest_due_age FROM queue
