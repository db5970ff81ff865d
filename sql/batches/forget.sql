-- Forgets batches that ended so many days ago ($1) and of which no process is left, some at a time.
WITH old AS (
    SELECT b.name FROM batches b
    WHERE b.ended_at < now() - interval '1 day' * $1::integer AND NOT EXISTS (SELECT FROM processes p WHERE p.batch = b.name)
    ORDER BY b.ended_at LIMIT 100 FOR UPDATE SKIP LOCKED
), reasons AS (
    DELETE FROM batch_reasons r USING old WHERE r.batch = old.name
), bound AS (
    DELETE FROM limits l USING old WHERE l.name = limit_name('batch', old.name)
)
DELETE FROM batches b USING old WHERE b.name = old.name
