-- Ends a process whose rows can't be read, with the reason; its row leaves the queue. Gives a row if we held it.
-- $1 node id, $2 process id, $3 version of our claim, $4 the reason.
WITH mine AS (
    DELETE FROM scheduled_tasks WHERE task_instance = $2 AND picked_by = $1 AND version = $3
    RETURNING task_instance
), process AS (
    UPDATE processes p
    SET status = 'FAILED', error_message = $4, completed_at = now(), updated_at = now()
    FROM mine
    WHERE p.process_id = ANY (ARRAY[mine.task_instance])
    RETURNING p.process_id
), task AS (
    UPDATE tasks t
    SET status = 'FAILED', error_message = $4, completed_at = now(), updated_at = now()
    FROM process
    WHERE t.process_id = ANY (ARRAY[process.process_id]) AND t.status = 'IN_PROGRESS'
)
SELECT task_instance FROM mine
