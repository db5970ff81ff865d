-- Notes how many processes the era $1 holds, and when the first and the last of them ended.
UPDATE eras SET (processes, ended_from, ended_to) = (
    SELECT count(*), min(greatest(least(p.completed_at, '9999-12-30'), '0001-01-01')),
        -- Of one without an end, or an infinite one, nobody knows when it is old enough.
        max(greatest(least(p.completed_at, '9999-12-30'), '0001-01-01'))
    FROM all_tasks t JOIN processes p ON p.process_id = ANY (ARRAY[t.process_id]) AND p.era = t.era
    WHERE t.era = $1::int AND t.task_index = 0
) WHERE era = $1
