-- Locks what a call on these processes is going to change, of those that nobody else has locked, and gives their ids: in the
-- order in which everybody locks (the twelfth migration), and without waiting. $1 process ids.
WITH queue AS MATERIALIZED (
    SELECT s.task_instance AS id FROM scheduled_tasks s WHERE s.task_instance = ANY ($1)
    ORDER BY s.task_instance COLLATE "C" FOR UPDATE SKIP LOCKED
), process AS MATERIALIZED (
    SELECT p.process_id AS id FROM processes p WHERE p.process_id = ANY ($1) AND (SELECT count(*) FROM queue) >= 0
    ORDER BY p.process_id COLLATE "C" FOR UPDATE SKIP LOCKED
), task AS MATERIALIZED (
    SELECT t.process_id AS id, t.task_index
    FROM processes p JOIN all_tasks t ON t.era = p.era AND t.process_id = p.process_id
    WHERE p.process_id = ANY ($1) AND (SELECT count(*) FROM process) >= 0
    ORDER BY t.process_id COLLATE "C", t.task_index FOR UPDATE OF t SKIP LOCKED
)
SELECT w.id
FROM (SELECT DISTINCT unnest($1::text[]) AS id) AS w
WHERE (SELECT count(*) FROM scheduled_tasks s WHERE s.task_instance = w.id) = (SELECT count(*) FROM queue WHERE id = w.id)
    AND (SELECT count(*) FROM processes p WHERE p.process_id = w.id) = (SELECT count(*) FROM process WHERE id = w.id)
    AND (SELECT count(*) FROM processes p JOIN all_tasks t ON t.era = p.era AND t.process_id = p.process_id
        WHERE p.process_id = w.id) = (SELECT count(*) FROM task WHERE id = w.id)
ORDER BY w.id COLLATE "C"
