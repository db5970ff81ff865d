-- Notes how many processes the era $1 holds, and when the first and the last of them ended.
UPDATE eras SET (processes, ended_from, ended_to) = (
    SELECT count(*), min(p.completed_at), max(p.completed_at)
    FROM all_tasks t JOIN processes p ON p.process_id = ANY (ARRAY[t.process_id]) AND p.era = t.era
    WHERE t.era = $1::int AND t.task_index = 0
) WHERE era = $1
