-- A page of the processes of some types that have not ended, have completed, or have ended badly, newest first.
-- $1 to $15 as in by_creation.sql, $16 types of which each is walked, $17 which: OPEN, WELL or BADLY,
--
-- $18 how many of each are looked at: a walk that is told no more than where it ends would read all of its type, as only the
-- first of a row of bounds ends a scan. Each of the three has an index. That the row of bounds begins with the type leaves no other index to walk: what the plan
-- knows of how many rows there are makes no difference. Conditions on $17 fold away, and what is left is the index's own.
SELECT p.process_id, p.process_type, p.status, p.current_task_index, p.total_tasks, p.skipped_tasks, p.priority, p.started_at,
    p.completed_at, CASE WHEN octet_length(p.error_message) > 4096 THEN left(p.error_message, 1000) || '…' ELSE p.error_message END AS error_message,
    p.created_at, p.updated_at,
    CASE WHEN NOT s.picked AND isfinite(s.execution_time) THEN s.execution_time END AS execution_time, s.picked_by,
    CASE WHEN s.state = 'HELD' AND starts_with(s.held_by, 'limit:') THEN substr(s.held_by, 7) END AS waits_for_limit
FROM unnest($16::text[]) AS one (process_type) CROSS JOIN LATERAL (
    SELECT w.* FROM (
        SELECT * FROM processes w
        WHERE (w.process_type, w.created_at, w.process_id COLLATE "POSIX") < (one.process_type, $12::timestamptz, $13::text)
            AND w.process_type >= one.process_type
            AND ($17::text <> 'OPEN' OR w.completed_at IS NULL)
            AND ($17 = 'OPEN' OR w.completed_at IS NOT NULL)
            AND ($17 <> 'WELL' OR w.error_message IS NULL)
            AND ($17 <> 'BADLY' OR w.error_message IS NOT NULL)
        ORDER BY w.process_type DESC, w.created_at DESC, w.process_id COLLATE "POSIX" DESC
        LIMIT $18
    ) AS w LEFT JOIN LATERAL (
        SELECT picked_by FROM scheduled_tasks
        WHERE $10::text[] IS NOT NULL AND $17 = 'OPEN' AND task_instance = w.process_id LIMIT 1
    ) AS n ON true
    WHERE (w.created_at, w.process_id COLLATE "POSIX") >= ($14::timestamptz, $15::text)
        AND ($1::text[] IS NULL OR w.status = ANY ($1))
        AND ($2::text IS NULL OR w.process_type || '' = $2)
        AND ($3::timestamptz IS NULL OR w.completed_at >= $3)
        AND ($4::timestamptz IS NULL OR w.completed_at < $4)
        AND ($5::timestamptz IS NULL OR w.started_at >= $5)
        AND ($6::timestamptz IS NULL OR w.started_at < $6)
        AND ($7::jsonb[] IS NULL OR w.input_data -> 'metadata' @> ANY ($7))
        AND ($8::text IS NULL OR w.process_id LIKE $8)
        AND ($9::text IS NULL OR w.process_id LIKE $9)
        AND ($10 IS NULL OR n.picked_by = ANY ($10) OR (SELECT true FROM executions e
            WHERE e.era = w.era AND e.process_id = w.process_id AND e.node_id = ANY ($10) LIMIT 1))
    ORDER BY w.process_type DESC, w.created_at DESC, w.process_id COLLATE "POSIX" DESC
    LIMIT $11
) AS p LEFT JOIN LATERAL (
    SELECT * FROM scheduled_tasks WHERE p.completed_at IS NULL AND task_instance = p.process_id LIMIT 1
) AS s ON true
ORDER BY p.created_at DESC, p.process_id COLLATE "POSIX" DESC
LIMIT $11
