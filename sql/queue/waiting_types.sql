-- The types of which processes of a priority are READY, in descending order, and which of them are paused.
-- $1 the priority; $2 only types before this one, null for all; $3 how many at the most.
-- One descent of the index for each type, however much waits of it. From the end: what is claimed leaves its dead entries at
-- the front of a type, and they stay while a transaction somewhere holds back vacuum.
WITH RECURSIVE waiting (task_name, n) AS (
    (
        SELECT * FROM (
            SELECT s.task_name COLLATE "C", 1
            FROM scheduled_tasks s
            WHERE $2::text IS NULL AND s.state = 'READY' AND s.priority = $1
            ORDER BY s.task_name COLLATE "C" DESC, s.execution_time DESC
            LIMIT 1
        ) AS last
        UNION ALL
        SELECT * FROM (
            SELECT s.task_name COLLATE "C", 1
            FROM scheduled_tasks s
            WHERE s.state = 'READY' AND s.priority = $1 AND s.task_name COLLATE "C" < $2
            ORDER BY s.task_name COLLATE "C" DESC, s.execution_time DESC
            LIMIT 1
        ) AS last_before
    )
    UNION ALL
    SELECT before.task_name, waiting.n + 1
    FROM waiting CROSS JOIN LATERAL (
        SELECT s.task_name COLLATE "C" AS task_name
        FROM scheduled_tasks s
        WHERE s.state = 'READY' AND s.priority = $1 AND s.task_name COLLATE "C" < waiting.task_name
        ORDER BY s.task_name COLLATE "C" DESC, s.execution_time DESC
        LIMIT 1
    ) AS before
    WHERE waiting.n < $3::bigint
)
SELECT task_name, task_name = ANY (ARRAY(SELECT name FROM process_types WHERE paused)) AS is_paused FROM waiting
