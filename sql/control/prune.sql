-- Deletes finished processes with their tasks and executions, the oldest first, and gives the place of the last one
-- and how many there were.
-- $1 seconds since their end, $2 statuses or null, $3 process type or null, $4 and $5 end and id of the last one of the
-- batch before or null, $6 how many at the most.
--
-- The place keeps a later batch from reading over what the ones before have passed by or deleted. A process that is
-- being retried is locked: it is passed by, or if the retry was faster no longer finished.
WITH old AS MATERIALIZED (
    SELECT p.process_id, p.completed_at
    FROM processes p
    WHERE p.completed_at < now() - $1::float8 * interval '1 second'
        AND p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
        AND ($2::text[] IS NULL OR p.status = ANY ($2))
        AND ($3::text IS NULL OR p.process_type = $3)
        AND ($4::timestamptz IS NULL OR (p.completed_at, p.process_id) > ($4, $5::text))
    ORDER BY p.completed_at, p.process_id
    LIMIT $6
    FOR UPDATE SKIP LOCKED
), execution AS (
    DELETE FROM task_executions e USING old WHERE e.process_id = old.process_id
), task AS (
    DELETE FROM tasks t USING old WHERE t.process_id = old.process_id
), process AS (
    DELETE FROM processes p USING old WHERE p.process_id = old.process_id
)
SELECT completed_at, process_id, count(*) OVER () AS how_many
FROM old
ORDER BY completed_at DESC, process_id DESC
LIMIT 1
