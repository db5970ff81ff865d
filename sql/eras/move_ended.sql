-- Moves processes of the era $1 that have ended to the era $3, those that ended first first: $2 at the most. Of what was there
-- before eras ($4) those before `moved_to` are moved already. Gives how many were met, how many were moved, and until which end.
-- An end that somebody has written as infinite is no time to others: the first or the last there is.
-- What has ended a moment ago may be committed after what ended later.
WITH met AS MATERIALIZED (
    SELECT p.process_id, p.completed_at FROM processes p
    WHERE p.era = $1::int AND p.completed_at < now() - interval '1 minute'
        AND p.completed_at >= coalesce(CASE WHEN $4::boolean THEN (SELECT moved_to FROM eras WHERE era = $1) END, '-infinity')
    ORDER BY p.completed_at, p.process_id
    LIMIT $2
), held AS MATERIALIZED (
    SELECT p.process_id, greatest(least(p.completed_at, '9999-12-30'), '0001-01-01') AS completed_at
    FROM met JOIN processes p ON p.process_id = ANY (ARRAY[met.process_id])
    WHERE p.completed_at IS NOT NULL
    FOR UPDATE OF p SKIP LOCKED
)
SELECT (SELECT count(*) FROM met) AS met, (SELECT max(greatest(completed_at, '0001-01-01')) FROM met) AS met_to,
    (SELECT min(completed_at) FROM held) AS ended_from, (SELECT max(completed_at) FROM held) AS ended_to,
    move_processes(ARRAY(SELECT process_id FROM held), $3::int) AS how_many
