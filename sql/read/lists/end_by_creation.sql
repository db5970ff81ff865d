-- Where a walk of by_creation.sql makes a stop. $1 and $2 creation time and id before which it begins, $3 how many are
-- looked at. A scan of one index, no row is read.
SELECT created_at, process_id FROM processes
WHERE (created_at, process_id COLLATE "POSIX") < ($1::timestamptz, $2::text)
ORDER BY created_at DESC, process_id COLLATE "POSIX" DESC
OFFSET $3::bigint - 1 LIMIT 1
