-- Locks the rows of these processes that nobody else has locked, without waiting for anybody, and gives the processes
-- of which a row is left to somebody else.
-- $1 process ids, $2 and $3 the first and last index of the tasks that are to be written, one element for each process.
-- Of a process that is to be cancelled all later tasks are written too. A process that has left the queue is given by
-- nobody: whoever writes for it finds that out.
-- The end of a process deletes its row in the queue, which even a FOR KEY SHARE stops; other rows keep their keys.
WITH wanted AS MATERIALIZED (
    SELECT unnest($1::text[]) AS process_id, unnest($2::int[]) AS first_index, unnest($3::int[]) AS last_index
), claim AS MATERIALIZED (
    SELECT w.process_id, s.era, w.first_index,
        CASE WHEN s.cancel_requested_at IS NULL THEN w.last_index ELSE 2147483647 END AS last_index
    FROM wanted w JOIN scheduled_tasks s ON s.task_instance = ANY (ARRAY[w.process_id])
    FOR UPDATE OF s SKIP LOCKED
), process AS MATERIALIZED (
    SELECT p.process_id FROM claim JOIN processes p ON p.process_id = ANY (ARRAY[claim.process_id])
    FOR NO KEY UPDATE OF p SKIP LOCKED
), task AS MATERIALIZED (
    SELECT t.process_id
    FROM claim JOIN open_tasks t ON t.era = claim.era AND t.process_id = ANY (ARRAY[claim.process_id])
        AND t.task_index BETWEEN claim.first_index AND claim.last_index
    FOR NO KEY UPDATE OF t SKIP LOCKED
)
-- Rows that are there, less those that are locked now.
SELECT process_id FROM (
    SELECT w.process_id, (SELECT count(*) FROM scheduled_tasks s WHERE s.task_instance = w.process_id) AS missing
    FROM wanted w
    UNION ALL
    SELECT claim.process_id, (SELECT count(*) FROM processes p WHERE p.process_id = claim.process_id)
        + (SELECT count(*) FROM open_tasks t
            WHERE t.era = claim.era AND t.process_id = claim.process_id AND t.task_index BETWEEN claim.first_index AND claim.last_index)
    FROM claim
    UNION ALL SELECT process_id, -1 FROM claim
    UNION ALL SELECT process_id, -1 FROM process
    UNION ALL SELECT process_id, -1 FROM task
) AS counted
GROUP BY process_id
HAVING sum(missing) > 0
