-- Whether the counts are ours to move on, and worth it: nobody else is at it, nor has been within the last $1 seconds. `is_ahead`:
-- the clock has gone back, and what ends now comes before what was counted. `writers_began`: what ended later may not be
-- there yet, since somebody who has written processes has not committed since. What is prepared does not say when it began.
SELECT until > now() AS is_ahead, coalesce((
    SELECT min(CASE WHEN l.pid IS NULL THEN '-infinity' ELSE a.xact_start END)
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.relation = to_regclass(quote_ident(current_schema()) || '.processes')
), 'infinity')::text AS writers_began
FROM settled WHERE until < now() - interval '1 minute' - $1::float8 * interval '1 second' OR until > now()
FOR UPDATE OF settled SKIP LOCKED
