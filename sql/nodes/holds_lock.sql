-- Whether a lock that this session has taken can be seen where other nodes will look for it. $1 class, $2 key.
SELECT EXISTS (
    SELECT FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted AND l.pid = pg_backend_pid()
        AND l.classid::bigint = ($1::int::bigint & 4294967295) AND l.objid::bigint = ($2::int::bigint & 4294967295)
) AS is_seen
