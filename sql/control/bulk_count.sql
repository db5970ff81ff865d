-- How many processes bulk_page.sql would give in all of those that have not ended, and whether these were all that there are: no
-- more than $3 are looked at. $1 type or null, $2 status or null. Those in progress have all been claimed: they are looked for
-- among these alone.
WITH claimed AS MATERIALIZED (
    SELECT task_instance FROM scheduled_tasks
    WHERE $2::text IS NOT DISTINCT FROM 'IN_PROGRESS' AND (version > 1 OR picked)
        AND ($1::text IS NULL OR task_name = $1) AND cancel_requested_at IS NULL
    LIMIT $3
), open AS MATERIALIZED (
    SELECT w.status FROM processes w
    WHERE $2 IS DISTINCT FROM 'IN_PROGRESS' AND w.completed_at IS NULL
        AND ($1 IS NULL OR w.process_type = $1)
    LIMIT $3
), requested AS MATERIALIZED (
    SELECT count(*) AS how_many FROM scheduled_tasks
    WHERE $2 IS NULL AND cancel_requested_at IS NOT NULL AND ($1 IS NULL OR task_name = $1)
)
SELECT (SELECT count(*) FROM claimed CROSS JOIN LATERAL (
        SELECT status FROM processes WHERE process_id = claimed.task_instance LIMIT 1) AS p WHERE p.status = $2)
    + (SELECT count(*) FROM open WHERE $2 IS NULL OR open.status = $2) - (SELECT how_many FROM requested) AS how_many,
    (SELECT count(*) FROM claimed) + (SELECT count(*) FROM open) < $3::bigint AS is_all
