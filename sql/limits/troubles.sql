-- What is wrong with limits, for `doctor`: one row for each, at most a hundred of each kind.
-- Slots of processes that have left the queue: nobody frees them.
(SELECT 'LEAKED' AS trouble, x.limit_name || CASE x.slot_key WHEN '' THEN '' ELSE '=' || x.slot_key END AS entry, x.process_id
FROM limit_slots x WHERE NOT EXISTS (SELECT FROM scheduled_tasks s WHERE s.task_instance = x.process_id)
LIMIT 100)
UNION ALL
-- The first in line of each entry, for long, although there is room.
(SELECT 'PASSED_OVER', substr(line.held_by, 7), line.process_id
FROM (
    WITH RECURSIVE line (held_by, process_id, state_since, n) AS (
        SELECT 'limit:'::text COLLATE "C", NULL::text COLLATE "C", NULL::timestamptz, 0
        UNION ALL
        SELECT next.held_by, next.task_instance, next.since, line.n + 1
        FROM line CROSS JOIN LATERAL (
            SELECT h.held_by, h.task_instance, greatest(h.execution_time, h.waiting_since) AS since FROM scheduled_tasks h
            WHERE h.state = 'HELD' AND h.held_by > line.held_by AND h.held_by < 'limit;'
            ORDER BY h.held_by, h.priority DESC, h.execution_time LIMIT 1
        ) AS next
        WHERE line.n < 1000
    )
    SELECT * FROM line WHERE line.n > 0 AND line.state_since < clock_timestamp() - interval '10 seconds'
) AS line
WHERE limit_room(substr(line.held_by, 7)) > 0
LIMIT 100)
UNION ALL
-- Groups whose max nobody says.
(SELECT 'UNBOUNDED', l.name, NULL FROM limits l WHERE l.max IS NULL AND l.name NOT LIKE '%:%' ORDER BY l.name LIMIT 100)
