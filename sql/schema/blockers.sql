-- Who is in the way, as the catalogue says it, which can be read whatever is locked: the sessions that the session $1
-- waits for (null: none is asked for), those that hold a lock on a whole table of the schema which stops writers, and
-- those that have written to the trail and not committed.
WITH found AS (
    SELECT 'session' AS kind, NULL AS place, nullif(b.pid, 0) AS pid FROM unnest(pg_blocking_pids($1::int)) AS b (pid)
    UNION ALL
    SELECT CASE l.mode WHEN 'RowExclusiveLock' THEN 'trail' ELSE 'table' END, c.relname::text, l.pid
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND n.nspname = current_schema() AND c.relkind IN ('r', 'p')
        AND (l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
            OR l.mode = 'RowExclusiveLock' AND c.relname = 'executions')
)
SELECT DISTINCT ON (f.kind, f.pid)
    f.kind, f.place, f.pid, NULL AS prepared, nullif(a.application_name, '') AS application,
    a.usename::text AS user_name, host(a.client_addr) AS client, a.state, a.xact_start AS since,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s,
    left(regexp_replace(btrim(a.query, E' \n\t'), '\s+', ' ', 'g'), 200) AS query
FROM found f LEFT JOIN pg_stat_activity a ON a.pid = f.pid
WHERE f.pid IS DISTINCT FROM pg_backend_pid()
ORDER BY f.kind, f.pid, f.place
