-- What has to be counted beside the settled part of the history, in one statement, hence at one moment.
-- $1 until where the history is settled, $2 until where it may be counted as settled now: both are constants to the
-- plan, which has the index by end for the few that ended since. `part` says what a row counts: SETTLES what ended
-- between the two, RECENT what ended later, UNFINISHED the rest.
--
-- A process that was never claimed is NOT_STARTED: of a long queue only the others are looked up.
WITH claimed AS MATERIALIZED (
    SELECT task_instance FROM scheduled_tasks WHERE version > 1
)
SELECT 'SETTLES' AS part, process_type, status, count(*) AS how_many
FROM processes
WHERE completed_at >= $1::timestamptz AND completed_at < $2::timestamptz
GROUP BY process_type, status
UNION ALL
SELECT 'RECENT', process_type, status, count(*)
FROM processes
WHERE completed_at >= $2
GROUP BY process_type, status
UNION ALL
SELECT 'UNFINISHED', task_name, 'NOT_STARTED', count(*)
FROM scheduled_tasks
WHERE version = 1
GROUP BY task_name
UNION ALL
SELECT 'UNFINISHED', p.process_type, p.status, count(*)
FROM claimed CROSS JOIN LATERAL (
    SELECT process_type, status FROM processes WHERE process_id = claimed.task_instance LIMIT 1
) AS p
GROUP BY p.process_type, p.status
