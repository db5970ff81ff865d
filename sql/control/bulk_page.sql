-- A page of processes that a verb is about, in the order of their types and creation. $1 which: OPEN, those that have not ended
-- and are not being cancelled already, WELL or BADLY, as in sql/read/lists/by_type.sql; $2 type or null, $3 status or null; $4 to
-- $6 type, creation time and id after which the page begins; $7 a time until which they ended, or null; $8 how many at the
-- most, $9 how many are looked at. The last row, `is_wanted` or not, is where the next page goes on; none is left behind it
-- when there are fewer than either.
WITH seen AS MATERIALIZED (
    SELECT w.process_type, w.created_at, w.process_id,
        ($3::text IS NULL OR w.status = $3) AND ($7::timestamptz IS NULL OR w.completed_at <= $7) AS is_wanted
    FROM processes w
    WHERE (w.process_type, w.created_at, w.process_id COLLATE "POSIX") > ($4::text, $5::timestamptz, $6::text)
        AND ($2::text IS NULL OR w.process_type <= $2)
        AND ($1::text <> 'OPEN' OR w.completed_at IS NULL) AND ($1 = 'OPEN' OR w.completed_at IS NOT NULL)
        AND ($1 <> 'WELL' OR w.error_message IS NULL) AND ($1 <> 'BADLY' OR w.error_message IS NOT NULL)
    ORDER BY w.process_type, w.created_at, w.process_id COLLATE "POSIX"
    LIMIT $9
), wanted AS MATERIALIZED (
    SELECT process_type, created_at, process_id FROM seen
    WHERE is_wanted AND ($1 <> 'OPEN' OR (SELECT cancel_requested_at IS NULL FROM scheduled_tasks
        WHERE task_instance = seen.process_id LIMIT 1))
    LIMIT $8
), whole AS (
    SELECT (SELECT count(*) FROM wanted) < $8::bigint AND (SELECT count(*) FROM seen) = $9::bigint AS is_cut
)
SELECT process_type, created_at, process_id, true AS is_wanted FROM wanted
UNION ALL
SELECT * FROM (
    SELECT process_type, created_at, process_id, false FROM seen OFFSET $9 - 1
) AS last WHERE (SELECT is_cut FROM whole)
