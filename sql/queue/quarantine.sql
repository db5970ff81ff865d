-- Ends a process whose rows can't be read, with the reason; its row leaves the queue. Gives a row if we held it.
-- $1 node id, $2 process id, $3 version of our claim, $4 the reason; $5 what the trail is to say of the execution that was
-- under way, null if none was.
WITH mine AS (
    DELETE FROM scheduled_tasks WHERE task_instance = $2 AND picked_by = $1 AND version = $3
    RETURNING task_instance
), process AS (
    UPDATE processes p
    SET status = 'FAILED', error_message = $4, completed_at = now(), updated_at = now()
    FROM mine
    WHERE p.process_id = ANY (ARRAY[mine.task_instance])
    RETURNING p.process_id, p.era
), task AS (
    UPDATE open_tasks t
    SET status = 'FAILED', error_message = $4, completed_at = now(), updated_at = now()
    FROM process
    WHERE t.era = process.era AND t.process_id = ANY (ARRAY[process.process_id]) AND t.status = 'IN_PROGRESS'
    RETURNING t.era, t.process_id, t.task_index, t.attempt,
        CASE WHEN isfinite(t.started_at) THEN least(t.started_at, now()) ELSE now() END AS started_at
), audit AS (
    INSERT INTO executions (era, process_id, task_index, attempt, node_id, outcome, started_at, completed_at, duration_ms,
        output_bytes, error_message)
    SELECT era, process_id, task_index, attempt, $1, $5::text, started_at, now(), extract(epoch FROM now() - started_at) * 1000, 0, $4
    FROM task
    WHERE $5::text IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT task_instance FROM mine
