-- Changes when anything that is read of a process does: its row, its place in the queue, its tasks, its executions. $1 its
-- id, $2 whether its tasks are meant, $3 whether its executions are. No value is read: xmin and ctid name a row's version. Of
-- executions, which are only ever added and deleted, their number and the latest xmin are enough.
SELECT concat_ws(' ', p.xmin, p.ctid, s.xmin, s.ctid,
    CASE WHEN $2::boolean THEN (SELECT string_agg(concat_ws(' ', t.xmin, t.ctid), ',' ORDER BY t.task_index)
        FROM all_tasks t WHERE t.era = p.era AND t.process_id = p.process_id) END,
    CASE WHEN $3::boolean THEN (SELECT concat_ws(' ', count(*), max(e.xmin::text::bigint), max(e.completed_at))
        FROM executions e WHERE e.era = p.era AND e.process_id = p.process_id) END) AS version
FROM processes p LEFT JOIN scheduled_tasks s ON s.task_instance = p.process_id
WHERE p.process_id = $1
