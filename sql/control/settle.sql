-- Counts the next $1 processes that ended, and all that ended at the same moment as the last of them, but none of the last
-- minute, nor what ended after $2: a transaction that writes an end keeps the time at which it began. One that nobody knew of
-- and that writes an end of long ago counts it itself (see recount_changed). The caller holds the row of `settled` since an
-- earlier statement, so that this one sees all that was deleted by who held it before. Gives whether there is more.
WITH most AS MATERIALIZED (
    SELECT until, least(now() - interval '1 minute', $2::text::timestamptz) AS ends FROM settled
), range AS MATERIALIZED (
    -- Later than `until`, however many ended then: it goes on each time.
    SELECT until, least(ends, (SELECT completed_at FROM processes
        WHERE completed_at > most.until ORDER BY completed_at, process_id OFFSET $1 LIMIT 1)) AS ends
    FROM most
), counted AS (
    INSERT INTO settled_counts (process_type, status, how_many)
    SELECT p.process_type, p.status, count(*) FROM processes p
    WHERE p.completed_at >= (SELECT until FROM range) AND p.completed_at < (SELECT ends FROM range)
    GROUP BY p.process_type, p.status
), moved AS (
    UPDATE settled s SET until = range.ends FROM range WHERE range.ends > s.until RETURNING s.until
)
SELECT coalesce((SELECT until FROM moved) < (SELECT ends FROM most), false) AS has_more
