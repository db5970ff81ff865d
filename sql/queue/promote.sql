-- Makes SCHEDULED rows whose time has come READY, and says how many there were and when the next one's comes, in
-- milliseconds; null when none is SCHEDULED.
-- $1 how many seconds ago the earliest was due that is looked at, null for all (as in claim.sql); $2 how many at the most.
-- With nothing due both looks are one descent of one small index, however much is SCHEDULED.
WITH due AS MATERIALIZED (
    SELECT s.task_instance
    FROM scheduled_tasks s
    WHERE s.state = 'SCHEDULED' AND s.execution_time <= now()
        AND s.execution_time >= coalesce(now() - interval '1 second' * $1::float8, '-infinity')
    ORDER BY s.execution_time
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), promoted AS (
    UPDATE scheduled_tasks s SET state = 'READY'
    FROM due
    WHERE s.task_instance = ANY (ARRAY[due.task_instance])
    RETURNING s.priority
)
SELECT (SELECT count(*) FROM promoted) AS promoted, (SELECT max(priority) FROM promoted) AS highest_priority, (
    SELECT extract(epoch FROM s.execution_time - clock_timestamp())::float8 * 1000
    FROM scheduled_tasks s
    WHERE s.state = 'SCHEDULED' AND s.execution_time > now() AND s.execution_time < 'infinity' -- set by hand: never
    ORDER BY s.execution_time
    LIMIT 1
) AS wait_ms
