-- Who is in the way: sessions that lock rows of processes ($1 ids) and of nodes ($2 ids), those that the session $3 waits
-- for (null: none is asked for), those that hold locks on whole tables which stop writers, and those that have written
-- to the trail and not committed.
--
-- A locked row tells who has locked it whether or not anybody waits for it: its xmax is the transaction that locks or
-- changes it, or the number of a set of transactions (a multixact), and one that is still under way holds the lock of
-- its own number in pg_locks. Which of the two kinds of numbers it is isn't shown: both are looked up, sets only where
-- there is a set of that number. A lone FOR KEY SHARE, as a foreign key takes it, can't be told from the others here,
-- and stops nobody but who deletes the row.
WITH locked AS (
    SELECT 'process' AS kind, s.task_instance AS id, 'scheduled_tasks' AS place, s.xmax AS locker
    FROM unnest($1::text[]) AS w (id) JOIN scheduled_tasks s ON s.task_instance = ANY (ARRAY[w.id])
    UNION ALL
    SELECT 'process', p.process_id, 'processes', p.xmax
    FROM unnest($1::text[]) AS w (id) JOIN processes p ON p.process_id = ANY (ARRAY[w.id])
    UNION ALL
    SELECT 'process', t.process_id, 'tasks', t.xmax
    FROM unnest($1::text[]) AS w (id) JOIN tasks t ON t.process_id = ANY (ARRAY[w.id])
    UNION ALL
    SELECT 'node', n.node_id, 'nodes', n.xmax FROM nodes n WHERE n.node_id = ANY ($2::text[])
), transactions AS (
    SELECT kind, id, place, locker AS xid FROM locked
    UNION ALL
    SELECT locked.kind, locked.id, locked.place, member.xid
    FROM locked CROSS JOIN LATERAL pg_get_multixact_members(
        CASE WHEN mxid_age(locked.locker) BETWEEN 1 AND (SELECT max(mxid_age(datminmxid)) FROM pg_database)
            THEN locked.locker END) AS member (xid, mode)
    WHERE member.mode <> 'keysh'
), found AS (
    SELECT transactions.kind, transactions.id, transactions.place, l.pid, transactions.xid
    FROM transactions JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = transactions.xid
    UNION ALL
    SELECT 'session', NULL, NULL, nullif(b.pid, 0), NULL FROM unnest(pg_blocking_pids($3::int)) AS b (pid)
    UNION ALL
    SELECT CASE l.mode WHEN 'RowExclusiveLock' THEN 'trail' ELSE 'table' END, NULL, c.relname::text, l.pid, NULL
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND n.nspname = current_schema() AND c.relkind IN ('r', 'p')
        AND (l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
            OR l.mode = 'RowExclusiveLock' AND c.relname = 'task_executions')
)
SELECT DISTINCT ON (found.kind, found.id, found.pid, x.gid)
    found.kind, found.id, found.place, found.pid, x.gid AS prepared, nullif(a.application_name, '') AS application,
    coalesce(a.usename, x.owner)::text AS user_name, host(a.client_addr) AS client, a.state,
    coalesce(a.xact_start, x.prepared) AS since,
    extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, x.prepared))::float8 AS age_s,
    left(regexp_replace(btrim(a.query, E' \n\t'), '\s+', ' ', 'g'), 200) AS query
FROM found
LEFT JOIN pg_stat_activity a ON a.pid = found.pid
LEFT JOIN pg_prepared_xacts x ON found.pid IS NULL AND (found.xid IS NULL OR x.transaction = found.xid)
WHERE found.pid IS DISTINCT FROM pg_backend_pid()
ORDER BY found.kind, found.id, found.pid, x.gid, found.place
