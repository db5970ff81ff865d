-- Who locks rows of these processes ($1 ids) and of these nodes ($2 ids); $3 whether also rows of the processes' trail, which
-- are in the way of nobody but who deletes them.
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
    FROM unnest($1::text[]) AS w (id) JOIN processes p ON p.process_id = ANY (ARRAY[w.id])
    JOIN all_tasks t ON t.era = p.era AND t.process_id = ANY (ARRAY[w.id])
    UNION ALL
    SELECT 'process', e.process_id, 'task_executions', e.xmax
    FROM unnest($1::text[]) AS w (id) JOIN processes p ON p.process_id = ANY (ARRAY[w.id])
    JOIN executions e ON e.era = p.era AND e.process_id = ANY (ARRAY[w.id])
    WHERE $3::boolean
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
)
SELECT DISTINCT ON (t.kind, t.id, l.pid, x.gid)
    t.kind, t.id, t.place, l.pid, x.gid AS prepared, nullif(a.application_name, '') AS application,
    coalesce(a.usename, x.owner)::text AS user_name, host(a.client_addr) AS client, a.state,
    coalesce(a.xact_start, x.prepared) AS since,
    extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, x.prepared))::float8 AS age_s,
    left(regexp_replace(btrim(a.query, E' \n\t'), '\s+', ' ', 'g'), 200) AS query
FROM transactions t
JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = t.xid
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_prepared_xacts x ON l.pid IS NULL AND x.transaction = t.xid
WHERE l.pid IS DISTINCT FROM pg_backend_pid()
ORDER BY t.kind, t.id, l.pid, x.gid, t.place
