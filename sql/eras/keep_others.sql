-- Moves the processes of the closed era $1 that are not to be forgotten to the era $7: $8 at the most. $2 to $6 as in
-- sql/eras/match.sql.
WITH process AS MATERIALIZED (
    SELECT p.process_id, p.completed_at
    FROM all_tasks t JOIN processes p ON p.process_id = ANY (ARRAY[t.process_id]) AND p.era = t.era
    WHERE t.era = $1::int AND t.task_index = 0
        AND NOT coalesce(($6::text[] IS NULL OR p.status = ANY ($6)) AND p.completed_at < now() - interval '1 second' * CASE
            WHEN p.process_type = ANY ($4::text[]) THEN ($5::float8[])[array_position($4, p.process_type)]
            WHEN p.process_type <> ALL ($3::text[]) THEN $2::float8 END, false)
    ORDER BY p.process_id
    LIMIT $8
), held AS MATERIALIZED (
    SELECT p.process_id, greatest(least(p.completed_at, '9999-12-30'), '0001-01-01') AS completed_at
    FROM process JOIN processes p ON p.process_id = ANY (ARRAY[process.process_id])
    WHERE p.era = $1 -- one that was retried meanwhile belongs to those that run
    FOR UPDATE OF p SKIP LOCKED
)
SELECT (SELECT count(*) FROM process) AS met, NULL::timestamptz AS met_to,
    (SELECT min(completed_at) FROM held) AS ended_from, (SELECT max(completed_at) FROM held) AS ended_to,
    move_processes(ARRAY(SELECT process_id FROM held), $7::int) AS how_many
