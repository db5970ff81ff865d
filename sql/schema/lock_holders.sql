-- Who is in the way of a migration: the sessions that hold the advisory lock of those who migrate ($2 class, $1 the schema,
-- whose hash is the key), or else those that have locks on the schema's tables, the one first that has had its transaction
-- for longest. What a role may not see of another's session is null, and of a prepared transaction there is no session.
SELECT l.pid, a.application_name, a.usename::text AS role,
    extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.state_change))::float8 AS since_s,
    left(regexp_replace(btrim(a.query), '[[:space:]]+', ' ', 'g'), 200) AS query
FROM pg_locks l
LEFT JOIN pg_class c ON c.oid = l.relation
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND CASE WHEN $2::int IS NULL
        THEN c.relnamespace = to_regnamespace(quote_ident($1::text))
        ELSE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid::bigint = ($2::int::bigint & 4294967295)
            AND l.objid::bigint = (hashtext($1::text)::bigint & 4294967295) END
ORDER BY a.xact_start NULLS LAST LIMIT 1
