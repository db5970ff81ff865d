-- A page of processes, newest first, by walking them in the order of their creation.
-- $1 statuses or null, $2 process type or null, $3 and $4 creation time and id of the last one of the page before, or
-- null, $5 how many at the most, $6 whether only failed and cancelled ones are asked for, $7 whether only finished
-- ones, $8 finished since, $9 finished before, $10 started since, $11 started before, $12 created before, which the
-- caller infers from the others, $13 metadata of which they hold one, $14 ids of nodes they ran on or run on, $15 a LIKE
-- pattern of how their ids begin; each of these may be null. sql/read/list_by_search.sql also has $16 a pattern of what
-- their ids hold, $17 and $18 creation time and id of the last one to look at, or null.
--
-- Neither input nor context, which may be a megabyte each: sql/read/values/list_values.sql reads them, and of an error no more
-- than fits a line.
--
-- Planned anew for each call: the parameters then count as constants, the conditions about them fold away, and each
-- filter gets the path that suits it: failed and cancelled ones the index of those with an error, a type the index by
-- type, an end within a short time the index by end, the rest the index of all by creation. What the plan can't know
-- is asked before: sql/read/count_candidates.sql.
SELECT p.process_id, p.process_type, p.status, p.current_task_index, p.total_tasks, p.skipped_tasks, p.priority, p.started_at,
    p.completed_at, CASE WHEN octet_length(p.error_message) > 4096 THEN left(p.error_message, 1000) || '…' ELSE p.error_message END AS error_message,
    p.created_at, p.updated_at,
    CASE WHEN NOT s.picked AND isfinite(s.execution_time) THEN s.execution_time END AS execution_time, s.picked_by
FROM processes p LEFT JOIN scheduled_tasks s ON s.task_instance = p.process_id
WHERE ($1::text[] IS NULL OR p.status = ANY ($1))
    AND ($2::text IS NULL OR p.process_type = $2)
    AND ($3::timestamptz IS NULL OR (p.created_at, p.process_id COLLATE "POSIX") < ($3, $4::text))
    AND (NOT $6::boolean OR p.error_message IS NOT NULL)
    AND (NOT $7::boolean OR p.completed_at IS NOT NULL)
    AND ($8::timestamptz IS NULL OR p.completed_at >= $8)
    AND ($9::timestamptz IS NULL OR p.completed_at < $9)
    AND ($10::timestamptz IS NULL OR p.started_at >= $10)
    AND ($11::timestamptz IS NULL OR p.started_at < $11)
    AND ($12::timestamptz IS NULL OR p.created_at < $12)
    AND ($13::jsonb[] IS NULL OR p.input_data -> 'metadata' @> ANY ($13))
    -- A subquery with a limit is asked for each row of the walk; as a join it might read all executions first.
    AND ($14::text[] IS NULL OR s.picked_by = ANY ($14) OR (SELECT true FROM task_executions e
        WHERE e.process_id = p.process_id AND e.node_id = ANY ($14) LIMIT 1))
    AND ($15::text IS NULL OR p.process_id LIKE $15)
ORDER BY p.created_at DESC, p.process_id COLLATE "POSIX" DESC
LIMIT $5
