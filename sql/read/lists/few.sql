-- The processes that hold one of $1, whose ids begin as LIKE pattern $2 says, or that ended between $3 and $4, one of the
-- three at a time: no more than $5, which then are not all. Each has an index, of which no order is asked.
SELECT created_at, process_id FROM processes
WHERE ($1::jsonb[] IS NULL OR input_data -> 'metadata' @> ANY ($1))
    AND ($2::text IS NULL OR process_id LIKE $2)
    AND ($3::timestamptz IS NULL OR completed_at >= $3)
    AND ($4::timestamptz IS NULL OR completed_at < $4)
LIMIT $5
