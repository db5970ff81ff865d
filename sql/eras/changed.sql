-- The closed eras with a process that ended longer than $1 seconds ago, of which it is noted that none did: somebody has written
-- ends by hand.
SELECT DISTINCT p.era
FROM processes p JOIN eras e ON e.era = p.era
WHERE p.completed_at < now() - $1::float8 * interval '1 second'
    AND e.kind IN ('STARTED', 'ENDED') AND e.closed_at IS NOT NULL AND e.emptied_at IS NULL
    AND coalesce(e.ended_from >= now() - $1 * interval '1 second', true)
