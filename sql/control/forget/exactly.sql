-- Deletes these processes, which this transaction has locked, with their tasks and executions; gives the ids of those that
-- are deleted. $1 ids, $2 whether those are left out of which a task or an execution is locked: for the second try, after the
-- first has waited for one.
WITH wanted AS MATERIALIZED (
    SELECT unnest($1::text[]) AS process_id
), free_task AS MATERIALIZED (
    SELECT t.process_id, t.task_index
    FROM wanted JOIN tasks t ON t.process_id = ANY (ARRAY[wanted.process_id])
    WHERE $2::boolean
    FOR UPDATE OF t SKIP LOCKED
), free_execution AS MATERIALIZED (
    SELECT e.process_id, e.task_index, e.attempt
    FROM wanted JOIN task_executions e ON e.process_id = ANY (ARRAY[wanted.process_id])
    WHERE $2::boolean
    FOR UPDATE OF e SKIP LOCKED
), old AS MATERIALIZED (
    SELECT wanted.process_id FROM wanted
    WHERE NOT $2::boolean
        OR (SELECT count(*) FROM tasks t WHERE t.process_id = wanted.process_id)
            = (SELECT count(*) FROM free_task f WHERE f.process_id = wanted.process_id)
        AND (SELECT count(*) FROM task_executions e WHERE e.process_id = wanted.process_id)
            = (SELECT count(*) FROM free_execution f WHERE f.process_id = wanted.process_id)
), execution AS (
    DELETE FROM task_executions e USING old WHERE e.process_id = old.process_id
), task AS (
    DELETE FROM tasks t USING old WHERE t.process_id = old.process_id
)
DELETE FROM processes p USING old WHERE p.process_id = old.process_id
RETURNING p.process_id
