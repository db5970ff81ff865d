-- Changes when the row of any of these processes does, or its place in the queue, which says who has it and when it is due.
-- $1 their ids. No value is read: xmin and ctid name a row's version.
SELECT coalesce(string_agg(concat_ws(' ', p.xmin, p.ctid, s.xmin, s.ctid), ',' ORDER BY p.process_id), '') AS version
FROM processes p LEFT JOIN scheduled_tasks s ON s.task_instance = p.process_id
WHERE p.process_id = ANY ($1::text[])
