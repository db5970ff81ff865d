-- Unfinished processes that are due or run, of which somebody's transaction has locked rows for $1 seconds or longer, at
-- most $2. While there is no such transaction, nothing is read of the tables.
WITH old AS MATERIALIZED (
    SELECT l.transactionid AS xid FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'transactionid' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
        AND coalesce(a.xact_start < clock_timestamp() - $1::float8 * interval '1 second', true)
), queue AS MATERIALIZED (
    SELECT s.task_instance AS id, s.era, s.xmax AS locker FROM scheduled_tasks s
    WHERE EXISTS (SELECT FROM old) AND s.state IN ('READY', 'CLAIMED')
    LIMIT 50000
), locked AS (
    SELECT id, locker FROM queue
    UNION ALL SELECT q.id, p.xmax FROM queue q JOIN processes p ON p.process_id = q.id
    UNION ALL SELECT q.id, t.xmax FROM queue q JOIN open_tasks t ON t.era = q.era AND t.process_id = q.id
)
SELECT DISTINCT id FROM locked
WHERE locker = ANY (ARRAY(SELECT xid FROM old)) OR EXISTS (
    SELECT FROM pg_get_multixact_members(
        CASE WHEN mxid_age(locker) BETWEEN 1 AND (SELECT max(mxid_age(datminmxid)) FROM pg_database) THEN locker END)
        AS member (xid, mode)
    WHERE member.xid = ANY (ARRAY(SELECT xid FROM old)))
LIMIT $2
