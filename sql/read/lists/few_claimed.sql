-- The unfinished processes that have been claimed at least once: no more than $1, which then are not all.
SELECT p.created_at, p.process_id
FROM (SELECT task_instance FROM scheduled_tasks WHERE (version > 1 OR picked) LIMIT $1) AS s
CROSS JOIN LATERAL (SELECT created_at, process_id FROM processes WHERE process_id = s.task_instance LIMIT 1) AS p
