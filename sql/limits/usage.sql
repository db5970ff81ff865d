-- Limits with what is taken of them and what waits for them, by name. $1 only these names, or null, $2 after this name, or null,
-- $3 how many, $4 how many slots and waiting processes of each are counted, $5 how many keys are looked at for who waits longest,
-- $6 only of this key, or null, $7 whether those of batches and schedules are among them of which nothing is taken or waits.
--
-- What waits is found by the index of what is held: the backlog of one limit costs another nothing.
SELECT l.name, l.process_type, l.max, l.declared_max, l.is_set, l.is_paused, l.changed_by, l.changed_at, taken.taken, held.waiting,
    ARRAY(
        SELECT x.process_id FROM limit_slots x WHERE x.limit_name = l.name AND ($6 IS NULL OR x.slot_key = $6)
        ORDER BY x.slot_key, x.process_id LIMIT 5
    ) AS taken_by,
    line.keys_waiting, line.waiting_since
FROM (
    SELECT l.*, 'limit:' || l.name || coalesce('=' || $6::text, '') AS entry, 'limit:' || l.name || '=' AS first_key,
        'limit:' || l.name || '>' AS beyond
    FROM limits l
    WHERE ($1::text[] IS NULL OR l.name = ANY ($1)) AND ($2::text IS NULL OR l.name > $2)
        AND ($7::boolean OR l.name NOT LIKE 'batch:%' AND l.name NOT LIKE 'schedule:%'
            OR EXISTS (SELECT FROM limit_slots x WHERE x.limit_name = l.name)
            OR EXISTS (SELECT FROM scheduled_tasks h WHERE h.state = 'HELD' AND h.held_by = 'limit:' || l.name))
    ORDER BY l.name
    LIMIT $3
) AS l
CROSS JOIN LATERAL (
    SELECT count(*) AS taken FROM (
        SELECT FROM limit_slots x WHERE x.limit_name = l.name AND ($6 IS NULL OR x.slot_key = $6) LIMIT $4
    ) AS x
) AS taken
CROSS JOIN LATERAL (
    SELECT count(*) AS waiting FROM (
        (SELECT FROM scheduled_tasks h WHERE h.state = 'HELD' AND h.held_by = l.entry LIMIT $4)
        UNION ALL
        (SELECT FROM scheduled_tasks h
        WHERE $6 IS NULL AND h.state = 'HELD' AND h.held_by > l.first_key AND h.held_by < l.beyond LIMIT $4)
        LIMIT $4
    ) AS h
) AS held
CROSS JOIN LATERAL (
    WITH RECURSIVE line (held_by, process_id, execution_time, n) AS (
        (SELECT h.held_by, h.task_instance, h.execution_time, 1::bigint FROM scheduled_tasks h
        WHERE h.state = 'HELD' AND h.held_by = l.entry
        ORDER BY h.priority DESC, h.execution_time LIMIT 1)
        UNION ALL
        (SELECT l.first_key, NULL, NULL, 0 WHERE $6 IS NULL)
        UNION ALL
        SELECT next.held_by, next.task_instance, next.execution_time, line.n + 1
        FROM line CROSS JOIN LATERAL (
            SELECT h.held_by, h.task_instance, h.execution_time FROM scheduled_tasks h
            WHERE h.state = 'HELD' AND h.held_by > line.held_by AND h.held_by < l.beyond
            ORDER BY h.held_by, h.priority DESC, h.execution_time LIMIT 1
        ) AS next
        WHERE line.n < $5 AND line.held_by >= l.first_key AND $6 IS NULL
    )
    SELECT (SELECT count(*) FROM line WHERE line.process_id IS NOT NULL) AS keys_waiting, (
        SELECT greatest(first.execution_time, p.created_at)
        FROM (SELECT * FROM line WHERE isfinite(line.execution_time) ORDER BY line.execution_time LIMIT 1) AS first
        JOIN processes p ON p.process_id = first.process_id
    ) AS waiting_since
) AS line
ORDER BY l.name
