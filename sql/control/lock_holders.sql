-- Who has locked the row of a process type ($1 its name, null: none is asked for), found as in sql/read/blockers.sql; and, in
-- case no row tells (it is not committed yet, somebody has locked whole tables), the sessions that hold locks on tables of
-- the schema, other than to read, for $2 seconds or longer.
WITH holder AS (
    SELECT 'type' AS kind, 'process_types' AS place, l.pid, l.transactionid AS xid
    FROM process_types k JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = k.xmax
    WHERE k.name = $1::text
    UNION ALL
    SELECT DISTINCT ON (l.virtualtransaction) 'schema', c.relname::text, l.pid,
        CASE WHEN l.pid IS NULL THEN (SELECT o.transactionid FROM pg_locks o
            WHERE o.locktype = 'transactionid' AND o.virtualtransaction = l.virtualtransaction LIMIT 1) END
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND l.mode <> 'AccessShareLock'
)
SELECT DISTINCT ON (holder.kind, holder.pid, x.gid)
    holder.kind, holder.place, holder.pid, x.gid AS prepared, nullif(a.application_name, '') AS application,
    coalesce(a.usename, x.owner)::text AS user_name, host(a.client_addr) AS client, a.state,
    coalesce(a.xact_start, x.prepared) AS since,
    extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, x.prepared))::float8 AS age_s,
    left(regexp_replace(btrim(a.query, E' \n\t'), '\s+', ' ', 'g'), 200) AS query
FROM holder
LEFT JOIN pg_stat_activity a ON a.pid = holder.pid
LEFT JOIN pg_prepared_xacts x ON holder.pid IS NULL AND x.transaction = holder.xid
WHERE holder.pid IS DISTINCT FROM pg_backend_pid() AND (holder.kind = 'type'
    OR coalesce(clock_timestamp() - coalesce(a.xact_start, x.prepared) >= $2::float8 * interval '1 second', true))
ORDER BY holder.kind DESC, holder.pid, x.gid
LIMIT 10
