-- Deletes the outputs of finished processes, the oldest first; all else of their record stays. `output_bytes` of an execution
-- stays too: by that a reader knows that there was an output. Gives the place of the last process that was met, how many were
-- met, of how many an output was deleted, how many bytes these had, and the ids of those with rows that somebody has locked.
-- $1 seconds since their end, $2 statuses or null, $3 process type or null, $4 and $5 end and id of the last one of the batch
-- before or null, $6 how many at the most, $7 process types that are left out, or null, $8 eras whose
-- outputs go, or went, as a whole.
--
-- Most processes of a batch may have no output: their tasks and executions are looked at, and nothing is written.
WITH met AS MATERIALIZED (
    SELECT p.process_id, p.completed_at, p.era
    FROM processes p
    WHERE p.completed_at < now() - $1::float8 * interval '1 second'
        AND p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
        AND ($2::text[] IS NULL OR p.status = ANY ($2))
        AND ($3::text IS NULL OR p.process_type = $3)
        AND ($4::timestamptz IS NULL OR (p.completed_at, p.process_id) > ($4, $5::text))
        AND ($7::text[] IS NULL OR p.process_type <> ALL ($7))
        AND p.era <> ALL ($8::int[])
    ORDER BY p.completed_at, p.process_id
    LIMIT $6
), with_output AS MATERIALIZED (
    SELECT met.process_id, met.era, printed.how_many, printed.bytes
    FROM met CROSS JOIN LATERAL (
        SELECT count(*) AS how_many, sum(octet_length(e.output)) AS bytes
        FROM task_executions e
        WHERE e.era = met.era AND e.process_id = met.process_id AND e.output IS NOT NULL AND e.output_bytes > 0
    ) AS printed
    WHERE printed.how_many > 0
), held AS MATERIALIZED (
    SELECT p.process_id, p.era, w.how_many, w.bytes
    FROM with_output w JOIN processes p ON p.process_id = ANY (ARRAY[w.process_id])
    WHERE p.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND p.era = w.era
    FOR NO KEY UPDATE OF p SKIP LOCKED
), free_execution AS MATERIALIZED (
    SELECT e.era, e.process_id, e.task_index, e.attempt
    FROM held JOIN executions e ON e.era = held.era AND e.process_id = ANY (ARRAY[held.process_id])
    WHERE e.output_bytes > 0
    FOR NO KEY UPDATE OF e SKIP LOCKED
), free_task AS MATERIALIZED (
    -- What was written before outputs had a place of their own.
    SELECT t.era, t.process_id, t.task_index
    FROM held JOIN all_tasks t ON t.era = held.era AND t.process_id = ANY (ARRAY[held.process_id])
    WHERE t.output <> ''
    FOR NO KEY UPDATE OF t SKIP LOCKED
), done AS MATERIALIZED (
    SELECT held.process_id, held.era, held.bytes FROM held
    WHERE (SELECT count(*) FROM executions e WHERE e.era = held.era AND e.process_id = held.process_id AND e.output_bytes > 0)
            = (SELECT count(*) FROM free_execution f WHERE f.process_id = held.process_id)
        AND (SELECT count(*) FROM all_tasks t WHERE t.era = held.era AND t.process_id = held.process_id AND t.output <> '')
            = (SELECT count(*) FROM free_task f WHERE f.process_id = held.process_id)
), output AS (
    DELETE FROM outputs o USING done WHERE o.era = done.era AND o.process_id = done.process_id
), execution AS (
    UPDATE executions e SET output = NULL FROM free_execution f JOIN done USING (process_id)
    WHERE e.era = f.era AND e.process_id = f.process_id AND e.task_index = f.task_index AND e.attempt = f.attempt
        AND e.output IS NOT NULL
), task AS (
    UPDATE all_tasks t SET output = NULL FROM free_task f JOIN done USING (process_id)
    WHERE t.era = f.era AND t.process_id = f.process_id AND t.task_index = f.task_index
)
SELECT completed_at, process_id, (SELECT count(*) FROM met) AS met, (SELECT count(*) FROM done) AS how_many,
    (SELECT coalesce(sum(bytes), 0)::bigint FROM done) AS bytes,
    ARRAY(SELECT w.process_id FROM with_output w WHERE NOT EXISTS (SELECT FROM done WHERE done.process_id = w.process_id)) AS left_ids
FROM met
ORDER BY completed_at DESC, process_id DESC
LIMIT 1
