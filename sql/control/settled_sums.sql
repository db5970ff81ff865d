-- Makes one row of the rows of each sum, once there are many.
WITH few AS MATERIALIZED (
    SELECT count(*) > 1000 AS is_due FROM settled_counts
), gone AS (
    DELETE FROM settled_counts WHERE (SELECT is_due FROM few) RETURNING process_type, status, how_many
)
INSERT INTO settled_counts (process_type, status, how_many)
SELECT process_type, status, sum(how_many) FROM gone GROUP BY process_type, status HAVING sum(how_many) <> 0
