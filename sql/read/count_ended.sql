-- How many processes have ended by type and status: what was settled, and what ended since.
SELECT process_type, status, sum(how_many)::bigint AS how_many
FROM (
    SELECT process_type, status, how_many FROM settled_counts
    UNION ALL
    SELECT process_type, status, count(*) FROM processes
    WHERE completed_at >= (SELECT until FROM settled)
    GROUP BY process_type, status
) AS ended
GROUP BY process_type, status
HAVING sum(how_many) <> 0
