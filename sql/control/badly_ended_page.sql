-- A page of the processes that have failed or were cancelled, in the order of their creation, whatever their types: one that is
-- retried and fails again while the pages go on is not met twice. $1 status, $2 and $3 creation time and id after which the page
-- begins, $4 a time until which they ended, $5 how many at the most, $6 how many are looked at. The last row is as in
-- bulk_page.sql.
WITH seen AS MATERIALIZED (
    SELECT created_at, process_id, status = $1::text AND completed_at <= $4::timestamptz AS is_wanted FROM processes
    WHERE (created_at, process_id) > ($2::timestamptz, $3::text) AND completed_at IS NOT NULL AND error_message IS NOT NULL
    ORDER BY created_at, process_id
    LIMIT $6
), wanted AS MATERIALIZED (
    SELECT created_at, process_id FROM seen WHERE is_wanted LIMIT $5
), whole AS (
    SELECT (SELECT count(*) FROM wanted) < $5::bigint AND (SELECT count(*) FROM seen) = $6::bigint AS is_cut
)
SELECT '' AS process_type, created_at, process_id, true AS is_wanted FROM wanted
UNION ALL
SELECT * FROM (SELECT '', created_at, process_id, false FROM seen OFFSET $6 - 1) AS last WHERE (SELECT is_cut FROM whole)
