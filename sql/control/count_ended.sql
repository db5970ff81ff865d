-- How many processes have ended in status $1, of type $2 or, null, of any: what was settled and what ended since.
SELECT coalesce(sum(how_many), 0)::bigint AS how_many
FROM (
    SELECT how_many FROM settled_counts WHERE status = $1 AND ($2::text IS NULL OR process_type = $2)
    UNION ALL
    SELECT count(*) FROM processes
    WHERE completed_at >= (SELECT until FROM settled) AND status = $1 AND ($2 IS NULL OR process_type = $2)
) AS counted
