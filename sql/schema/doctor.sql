-- What `doctor` asks of the server, in one row. $1 the schema.
SELECT
    current_setting('server_version') AS server_version,
    current_setting('server_version_num')::int AS version_number,
    pg_is_in_recovery() AS is_standby,
    current_setting('transaction_read_only')::boolean AS is_read_only,
    current_setting('server_encoding') AS encoding,
    current_setting('session_replication_role') <> 'replica' AS fires_triggers,
    (SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relrowsecurity) AS row_secured,
    current_setting('fsync')::boolean AS fsync,
    current_setting('full_page_writes')::boolean AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('autovacuum')::boolean AS autovacuum,
    -- What the user and the database set, not what this connection has chosen for itself.
    (SELECT reset_val || COALESCE(' ' || unit, '') FROM pg_settings WHERE name = 'statement_timeout') AS statement_timeout,
    (SELECT reset_val || COALESCE(' ' || unit, '') FROM pg_settings WHERE name = 'lock_timeout') AS lock_timeout,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        AS connections_max,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
    inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1' AS is_local,
    COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS is_encrypted,
    current_user::text AS user_name,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
    old.age_s AS oldest_s, old.pid AS oldest_pid, old.what AS oldest_what,
    (SELECT extract(epoch FROM now() - min(prepared))::float8 FROM pg_prepared_xacts) AS oldest_prepared_s,
    (SELECT max(age(COALESCE(xmin, catalog_xmin)))::bigint FROM pg_replication_slots) AS slot_age,
    queue.n_live_tup AS queue_live, queue.n_dead_tup AS queue_dead,
    extract(epoch FROM now() - greatest(queue.last_autovacuum, queue.last_vacuum))::float8 AS queue_vacuum_s,
    (SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock') AND l.granted) AS table_locks,
    EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = 'processes') AS has_tables,
    -- By the catalogue, which shows the tables of a schema that this user may not enter. As grant_runtime.sql grants them.
    (SELECT string_agg(missing.what, ', ' ORDER BY missing.place, missing.what) FROM (
        SELECT 1 AS place, 'USAGE on the schema' AS what FROM pg_namespace n
        WHERE n.nspname = $1 AND NOT has_schema_privilege(n.oid, 'USAGE')
        UNION ALL
        SELECT 2, string_agg(p.privilege, ' and ' ORDER BY p.place) || ' on ' || c.relname
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN (VALUES (1, 'SELECT'), (2, 'INSERT'), (3, 'UPDATE'), (4, 'DELETE')) AS p (place, privilege)
        WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v') AND NOT (c.relkind = 'r' AND c.relispartition)
            AND NOT has_table_privilege(c.oid, p.privilege)
            AND (c.relname <> 'schema_migrations' OR p.privilege = 'SELECT')
        GROUP BY c.relname
        UNION ALL
        SELECT 3, 'USAGE on sequence ' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        -- A sequence's rights are asked for after its kind is known.
        WHERE n.nspname = $1 AND CASE WHEN c.relkind = 'S' THEN NOT has_sequence_privilege(c.oid, 'USAGE') END
        UNION ALL
        SELECT DISTINCT 4, 'EXECUTE on function ' || f.proname FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
        -- Those are for roles that may do nothing but start.
        WHERE n.nspname = $1 AND NOT starts_with(f.proname, 'start_granted_') AND NOT has_function_privilege(f.oid, 'EXECUTE')
    ) AS missing) AS missing_rights
FROM (SELECT) AS one
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM clock_timestamp() - xact_start)::float8 AS age_s, pid,
        COALESCE(NULLIF(application_name, ''), backend_type) || ', ' || COALESCE(state, 'no state') AS what
    FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'parallel worker')
    ORDER BY xact_start LIMIT 1
) AS old ON true
LEFT JOIN LATERAL (
    SELECT n_live_tup, n_dead_tup, last_autovacuum, last_vacuum FROM pg_stat_all_tables
    WHERE schemaname = $1 AND relname = 'scheduled_tasks'
) AS queue ON true
