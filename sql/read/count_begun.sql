-- How many of the unfinished processes have begun, by type and status. Only those that were claimed once can have: they have
-- an index.
SELECT p.process_type, p.status, count(*) AS how_many
FROM (SELECT task_instance FROM scheduled_tasks WHERE version > 1 OR picked) AS claimed CROSS JOIN LATERAL (
    SELECT process_type, status FROM processes WHERE process_id = claimed.task_instance LIMIT 1
) AS p
WHERE p.status <> 'NOT_STARTED'
GROUP BY p.process_type, p.status
