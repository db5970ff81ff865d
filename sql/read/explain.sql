-- Everything that tells why a process runs, waits, or has ended. $1 process id, $2 most
-- processes before it that are counted. A node lives here while it is not silent by its own row, see model/liveness.rs.
SELECT p.process_id, p.process_type, p.status, p.total_tasks, p.completed_at, p.error_message,
    s.task_instance IS NOT NULL AS is_queued,
    CASE WHEN isfinite(s.execution_time) THEN s.execution_time END AS execution_time,
    coalesce(s.execution_time <= clock_timestamp(), false) AS is_due,
    s.priority, s.picked_by, s.cancel_requested_at, s.cancel_reason,
    t.task_index, t.name AS task, t.status AS task_status, t.attempt, t.retry_count, t.max_retries,
    l.printed_at,
    CASE WHEN p.skipped_tasks = 0 THEN '{}' ELSE ARRAY(SELECT o.name FROM all_tasks o
        WHERE o.era = p.era AND o.process_id = p.process_id AND o.status = 'SKIPPED' ORDER BY o.task_index) END AS skipped,
    t.error_message AS task_error, t.started_at AS task_started_at,
    coalesce(k.paused, false) AS is_paused, k.paused_at, k.pause_reason,
    n.state AS node_state, n.last_heartbeat AS node_heartbeat,
    coalesce(n.dead_after_seconds, 10) AS node_dead_after,
    CASE WHEN NOT s.picked THEN s.reserved_for END AS reserved_for,
    coalesce(s.state = 'HELD' AND starts_with(s.held_by, 'era:'), false) AS is_moving,
    living.nodes, living.executors, living.busy,
    CASE WHEN s.picked THEN 0 ELSE least($2, place.higher + place.own + place.others) END AS ahead,
    clock_timestamp() AS now
FROM processes p
LEFT JOIN scheduled_tasks s ON s.task_instance = p.process_id
LEFT JOIN all_tasks t ON t.era = p.era AND t.process_id = p.process_id AND t.task_index = p.current_task_index
LEFT JOIN process_types k ON k.name = p.process_type
LEFT JOIN nodes n ON n.node_id = s.picked_by
LEFT JOIN live_output l ON l.process_id = p.process_id AND l.node_id = s.picked_by AND l.task_index = t.task_index
    AND l.attempt = t.attempt
-- Types of one priority have turns: of each other one as many come before it as of its own, and one more.
LEFT JOIN LATERAL (
    SELECT *, (
        SELECT count(*) FROM (
            WITH RECURSIVE other (name) AS (
                (SELECT o.task_name COLLATE "C" FROM scheduled_tasks o
                WHERE o.state = 'READY' AND o.priority = s.priority
                ORDER BY o.task_name COLLATE "C", o.execution_time LIMIT 1)
                UNION ALL
                SELECT (SELECT o.task_name COLLATE "C" FROM scheduled_tasks o
                    WHERE o.state = 'READY' AND o.priority = s.priority AND o.task_name COLLATE "C" > other.name
                    ORDER BY o.task_name COLLATE "C", o.execution_time LIMIT 1)
                FROM other WHERE other.name IS NOT NULL
            )
            SELECT FROM other CROSS JOIN LATERAL (
                SELECT FROM scheduled_tasks o
                WHERE o.state = 'READY' AND o.priority = s.priority AND o.task_name COLLATE "C" = other.name
                    AND o.cancel_requested_at IS NULL
                LIMIT own + 1
            ) AS its
            WHERE other.name <> s.task_name COLLATE "C"
                AND other.name <> ALL (ARRAY(SELECT name COLLATE "C" FROM process_types WHERE paused))
            LIMIT $2
        ) AS before
    ) AS others
    FROM (
        SELECT (
            SELECT count(*) FROM (
                SELECT FROM scheduled_tasks o
                WHERE o.state = 'READY' AND o.priority > s.priority AND o.cancel_requested_at IS NULL
                    AND o.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
                LIMIT $2
            ) AS before
        ) AS higher, (
            SELECT count(*) FROM (
                SELECT FROM scheduled_tasks o
                WHERE o.state = 'READY' AND o.priority = s.priority
                    AND o.task_name COLLATE "C" = s.task_name COLLATE "C" AND o.execution_time < s.execution_time
                    AND o.cancel_requested_at IS NULL
                LIMIT $2
            ) AS before
        ) AS own
    ) AS same
) AS place ON NOT s.picked
CROSS JOIN (
    SELECT count(*) AS nodes, coalesce(sum(l.executors), 0)::bigint AS executors,
        (SELECT count(*) FROM scheduled_tasks c WHERE c.picked AND (c.version > 1 OR c.picked) AND c.picked_by = ANY (array_agg(l.node_id))) AS busy
    FROM nodes l
    WHERE l.state = 'RUNNING' AND l.last_heartbeat > clock_timestamp() - coalesce(l.dead_after_seconds, 10) * interval '1 second'
) AS living
WHERE p.process_id = $1
