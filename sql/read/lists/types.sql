-- The types of all processes that have not ended, have completed, or have ended badly: $1 as in by_type.sql ($17). One descent
-- of its index for each.
WITH RECURSIVE found AS (
    SELECT (SELECT w.process_type FROM processes w
        WHERE ($1::text <> 'OPEN' OR w.completed_at IS NULL) AND ($1 = 'OPEN' OR w.completed_at IS NOT NULL)
            AND ($1 <> 'WELL' OR w.error_message IS NULL) AND ($1 <> 'BADLY' OR w.error_message IS NOT NULL)
        ORDER BY w.process_type, w.created_at, w.process_id COLLATE "POSIX" LIMIT 1) AS process_type
    UNION ALL
    SELECT (SELECT w.process_type FROM processes w
        WHERE w.process_type > found.process_type
            AND ($1 <> 'OPEN' OR w.completed_at IS NULL) AND ($1 = 'OPEN' OR w.completed_at IS NOT NULL)
            AND ($1 <> 'WELL' OR w.error_message IS NULL) AND ($1 <> 'BADLY' OR w.error_message IS NOT NULL)
        ORDER BY w.process_type, w.created_at, w.process_id COLLATE "POSIX" LIMIT 1)
    FROM found WHERE found.process_type IS NOT NULL
)
SELECT process_type FROM found WHERE process_type IS NOT NULL
