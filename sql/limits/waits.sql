-- For which limit processes wait. $1 their ids, $2 also of those that no claim has met yet.
WITH waits AS MATERIALIZED (
    SELECT s.task_instance AS process_id, e.entry
    FROM unnest($1::text[]) AS w (id) JOIN scheduled_tasks s ON s.task_instance = ANY (ARRAY[w.id])
    CROSS JOIN LATERAL (
        SELECT substr(s.held_by, 7) AS entry WHERE s.state = 'HELD' AND starts_with(s.held_by, 'limit:')
        UNION ALL
        -- The one that a claim would name.
        (SELECT n.entry FROM needed_limits(CASE WHEN $2::boolean AND s.state = 'READY' AND s.limits IS NOT NULL
            THEN ARRAY[s.task_instance] ELSE '{}' END) AS n
        LEFT JOIN limits l ON l.name = split_part(n.entry, '=', 1)
        WHERE l.is_paused OR NOT n.is_taken AND limit_room(n.entry) <= 0
        ORDER BY n.entry LIMIT 1)
    ) AS e
)
SELECT waits.process_id, waits.entry, l.max, coalesce(l.is_paused, false) AS is_paused, x.taken
FROM waits JOIN (
    -- Each entry is counted once, however many wait for it.
    SELECT d.entry, (SELECT count(*) FROM (
        SELECT FROM limit_slots x WHERE x.limit_name = split_part(d.entry, '=', 1)
            AND x.slot_key = substr(d.entry, length(split_part(d.entry, '=', 1)) + 2)
        LIMIT 100000
    ) AS x) AS taken
    FROM (SELECT DISTINCT entry FROM waits) AS d
) AS x USING (entry)
LEFT JOIN limits l ON l.name = split_part(waits.entry, '=', 1)
