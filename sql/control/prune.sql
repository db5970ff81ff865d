-- Deletes finished processes with their tasks and executions, the oldest first, and gives the place of the last one that was
-- met, how many were met, how many deleted, and the ids of the others: somebody has locked them.
-- $1 seconds since their end, $2 statuses or null, $3 process type or null, $4 and $5 end and id of the last one of the
-- batch before or null, $6 how many at the most, $7 whether those are left out of which a task or an execution is locked:
-- for the second try, after the first has waited for one. The looks cost as much as the deletes. $8 process types that are left
-- out, or null. $9 eras that are left out: they go as a whole.
--
-- The place keeps a later batch from reading over what the ones before have passed by or deleted.
WITH met AS MATERIALIZED (
    SELECT p.process_id, p.completed_at, p.era
    FROM processes p
    WHERE p.completed_at < now() - $1::float8 * interval '1 second'
        AND p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
        AND ($2::text[] IS NULL OR p.status = ANY ($2))
        AND ($3::text IS NULL OR p.process_type = $3)
        AND ($4::timestamptz IS NULL OR (p.completed_at, p.process_id) > ($4, $5::text))
        AND ($8::text[] IS NULL OR p.process_type <> ALL ($8))
        AND p.era <> ALL ($9::int[])
    ORDER BY p.completed_at, p.process_id
    LIMIT $6
), held AS MATERIALIZED (
    SELECT p.process_id, p.era
    FROM met JOIN processes p ON p.process_id = ANY (ARRAY[met.process_id])
    -- The lock shows the row as it is now. One that was moved meanwhile has its tasks where this statement does not see them,
    -- and one that was retried meanwhile has just ended.
    WHERE p.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND p.era = met.era AND p.completed_at = met.completed_at
    FOR UPDATE OF p SKIP LOCKED
), free_task AS MATERIALIZED (
    SELECT t.process_id, t.task_index
    FROM held JOIN all_tasks t ON t.era = held.era AND t.process_id = ANY (ARRAY[held.process_id])
    WHERE $7::boolean
    FOR UPDATE OF t SKIP LOCKED
), free_execution AS MATERIALIZED (
    SELECT e.process_id, e.task_index, e.attempt
    FROM held JOIN executions e ON e.era = held.era AND e.process_id = ANY (ARRAY[held.process_id])
    WHERE $7::boolean
    FOR UPDATE OF e SKIP LOCKED
), old AS MATERIALIZED (
    SELECT held.process_id, held.era FROM held
    WHERE NOT $7::boolean
        OR (SELECT count(*) FROM all_tasks t WHERE t.era = held.era AND t.process_id = held.process_id)
            = (SELECT count(*) FROM free_task f WHERE f.process_id = held.process_id)
        AND (SELECT count(*) FROM executions e WHERE e.era = held.era AND e.process_id = held.process_id)
            = (SELECT count(*) FROM free_execution f WHERE f.process_id = held.process_id)
), execution AS (
    DELETE FROM executions e USING old WHERE e.era = old.era AND e.process_id = old.process_id
), output AS (
    DELETE FROM outputs o USING old WHERE o.era = old.era AND o.process_id = old.process_id
), task AS (
    DELETE FROM all_tasks t USING old WHERE t.era = old.era AND t.process_id = old.process_id
), process AS (
    DELETE FROM processes p USING old WHERE p.process_id = old.process_id
)
SELECT completed_at, process_id, (SELECT count(*) FROM met) AS met, (SELECT count(*) FROM old) AS how_many,
    ARRAY(SELECT m.process_id FROM met m WHERE NOT EXISTS (SELECT FROM old WHERE old.process_id = m.process_id)) AS left_ids
FROM met
ORDER BY completed_at DESC, process_id DESC
LIMIT 1
