-- Where a search through the processes, newest first, makes a stop. $1 process type or null, $2 and $3 creation time and id
-- of the last one of the page before or null, $4 how many are passed by. A scan of one index, no row is read.
SELECT p.created_at, p.process_id
FROM processes p
WHERE ($1::text IS NULL OR p.process_type = $1)
    AND ($2::timestamptz IS NULL OR (p.created_at, p.process_id COLLATE "POSIX") < ($2, $3::text))
ORDER BY p.created_at DESC, p.process_id COLLATE "POSIX" DESC
OFFSET $4 LIMIT 1
