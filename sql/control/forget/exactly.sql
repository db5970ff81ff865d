-- Deletes these processes, which this transaction has locked, with their tasks and executions; gives the ids of those that
-- are deleted. $1 ids, $2 whether those are left out of which a task or an execution is locked: for the second try, after the
-- first has waited for one.
WITH wanted AS MATERIALIZED (
    SELECT p.process_id, p.era FROM unnest($1::text[]) AS w (id) JOIN processes p ON p.process_id = ANY (ARRAY[w.id])
), free_task AS MATERIALIZED (
    SELECT t.process_id, t.task_index
    FROM wanted JOIN all_tasks t ON t.era = wanted.era AND t.process_id = ANY (ARRAY[wanted.process_id])
    WHERE $2::boolean
    FOR UPDATE OF t SKIP LOCKED
), free_execution AS MATERIALIZED (
    SELECT e.process_id, e.task_index, e.attempt
    FROM wanted JOIN executions e ON e.era = wanted.era AND e.process_id = ANY (ARRAY[wanted.process_id])
    WHERE $2::boolean
    FOR UPDATE OF e SKIP LOCKED
), old AS MATERIALIZED (
    SELECT wanted.process_id, wanted.era FROM wanted
    WHERE NOT $2::boolean
        OR (SELECT count(*) FROM all_tasks t WHERE t.era = wanted.era AND t.process_id = wanted.process_id)
            = (SELECT count(*) FROM free_task f WHERE f.process_id = wanted.process_id)
        AND (SELECT count(*) FROM executions e WHERE e.era = wanted.era AND e.process_id = wanted.process_id)
            = (SELECT count(*) FROM free_execution f WHERE f.process_id = wanted.process_id)
), execution AS (
    DELETE FROM executions e USING old WHERE e.era = old.era AND e.process_id = old.process_id
), output AS (
    DELETE FROM outputs o USING old WHERE o.era = old.era AND o.process_id = old.process_id
), task AS (
    DELETE FROM all_tasks t USING old WHERE t.era = old.era AND t.process_id = old.process_id
)
DELETE FROM processes p USING old WHERE p.process_id = old.process_id
RETURNING p.process_id
