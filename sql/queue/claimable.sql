-- The due processes that claim.sql would claim and of which nobody else has locked a row; those rows are locked now. It
-- runs while somebody's locks are in the way of claim.sql, which waits for all rows but those of the queue, and where types
-- share: then some parts are one type's.
-- $1 how many at the most. $2, $3, $4 parts of the queue and $5 types that are passed over, as in claim.sql. Of each part
-- also: $6 the type that it is of, null for all types (then the next two say nothing), $7 how many at the most, $8 how many
-- of the first ones an earlier part has taken. They are met again, being locked by this statement.
SELECT d.task_instance
FROM unnest($2::int[], $3::int[], $4::float8[], $6::text[], $7::bigint[], $8::bigint[])
    AS part (lowest, highest, due_ago_s, process_type, most, skipped)
CROSS JOIN LATERAL (
    SELECT * FROM (
        SELECT s.task_instance
        FROM scheduled_tasks s
        JOIN processes p ON p.process_id = ANY (ARRAY[s.task_instance])
        JOIN open_tasks t ON t.era = p.era AND t.process_id = ANY (ARRAY[p.process_id]) AND t.task_index = p.current_task_index
        WHERE part.process_type IS NULL
            AND s.state = 'READY' AND s.priority >= part.lowest AND s.priority <= part.highest
            AND s.execution_time >= coalesce(now() - interval '1 second' * part.due_ago_s, '-infinity')
            AND s.cancel_requested_at IS NULL AND s.task_name <> ALL ($5::text[])
            AND s.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
        ORDER BY s.priority DESC, s.execution_time
        LIMIT $1
        FOR UPDATE OF s SKIP LOCKED FOR NO KEY UPDATE OF p, t SKIP LOCKED
    ) AS of_all_types
    UNION ALL
    -- No other index has this order.
    SELECT * FROM (
        SELECT s.task_instance
        FROM scheduled_tasks s
        JOIN processes p ON p.process_id = ANY (ARRAY[s.task_instance])
        JOIN open_tasks t ON t.era = p.era AND t.process_id = ANY (ARRAY[p.process_id]) AND t.task_index = p.current_task_index
        WHERE part.process_type <> ALL ($5::text[])
            AND part.process_type <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
            AND s.state = 'READY' AND s.priority = part.lowest AND s.task_name COLLATE "C" <= part.process_type
            AND (s.task_name COLLATE "C", s.execution_time) >= (part.process_type,
                coalesce(now() - interval '1 second' * part.due_ago_s, '-infinity'))
            AND s.cancel_requested_at IS NULL
        ORDER BY s.task_name COLLATE "C", s.execution_time
        LIMIT part.most OFFSET part.skipped
        FOR UPDATE OF s SKIP LOCKED FOR NO KEY UPDATE OF p, t SKIP LOCKED
    ) AS of_one_type
) AS d
LIMIT $1
