-- Ends a process that can't even be claimed, with the reason; its row leaves the queue. Gives a row if nobody held it.
-- $1 process id, $2 the reason. The process's tasks stay as they are: what is wrong with them is to be seen.
WITH waiting AS (
    DELETE FROM scheduled_tasks WHERE task_instance = $1 AND picked IS NOT TRUE -- as in claim_one.sql
    RETURNING task_instance
), process AS (
    UPDATE processes p
    SET status = 'FAILED', error_message = $2, completed_at = now(), updated_at = now()
    FROM waiting
    WHERE p.process_id = ANY (ARRAY[waiting.task_instance])
)
SELECT task_instance FROM waiting
