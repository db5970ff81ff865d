-- Counts the next $1 processes that ended, or all but those of the last minute: a transaction that writes an end keeps the time at
-- which it began, and none of ours takes so long. The caller holds the row of `settled` since an earlier statement, so that
-- this one sees all that was deleted by who held it before. Gives whether there is more.
WITH range AS MATERIALIZED (
    SELECT s.until, coalesce(least(now() - interval '1 minute', (SELECT completed_at FROM processes
        WHERE completed_at >= s.until ORDER BY completed_at, process_id OFFSET $1 LIMIT 1)), now() - interval '1 minute') AS ends
    FROM settled s
), counted AS (
    INSERT INTO settled_counts (process_type, status, how_many)
    SELECT p.process_type, p.status, count(*) FROM processes p
    WHERE p.completed_at >= (SELECT until FROM range) AND p.completed_at < (SELECT ends FROM range)
    GROUP BY p.process_type, p.status
), moved AS (
    UPDATE settled s SET until = range.ends FROM range WHERE range.ends > s.until RETURNING s.until
)
SELECT coalesce((SELECT until FROM moved) < now() - interval '1 minute', false) AS has_more
