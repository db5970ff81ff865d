-- Gives back claims whose task was never begun: what the claim wrote to task and process is undone. They keep their
-- place in the queue.
-- One whose process was cancelled meanwhile is claimed by nobody: the next heartbeat of any node ends it.
-- $1 node id; $2 process ids, $3 versions, one element for each claim.
WITH mine AS MATERIALIZED (
    SELECT s.task_instance AS process_id
    FROM unnest($2::text[], $3::bigint[]) AS c (process_id, version)
    JOIN scheduled_tasks s ON s.task_instance = ANY (ARRAY[c.process_id])
    WHERE s.picked_by = $1 AND s.version = c.version
    FOR NO KEY UPDATE OF s
), task AS (
    UPDATE open_tasks t
    SET status = CASE WHEN t.retry_count > 0 THEN 'WAITING_RETRY' ELSE 'NOT_STARTED' END,
        attempt = t.attempt - 1, started_at = NULL, updated_at = now()
    FROM mine JOIN processes p ON p.process_id = ANY (ARRAY[mine.process_id])
    WHERE t.era = p.era AND t.process_id = ANY (ARRAY[p.process_id]) AND t.task_index = p.current_task_index
        AND t.status = 'IN_PROGRESS'
    RETURNING t.process_id, t.task_index, t.attempt
), process AS (
    UPDATE processes p
    SET status = 'NOT_STARTED', started_at = NULL, updated_at = now()
    FROM task
    WHERE p.process_id = ANY (ARRAY[task.process_id]) AND task.task_index = 0 AND task.attempt = 0
)
UPDATE scheduled_tasks s
SET state = CASE WHEN s.reserved_for IS NULL THEN 'READY' ELSE 'HELD' END, held_by = 'node:' || s.reserved_for,
    picked = false, picked_by = NULL, version = s.version + 1, waiting_since = now()
FROM mine
WHERE s.task_instance = ANY (ARRAY[mine.process_id])
