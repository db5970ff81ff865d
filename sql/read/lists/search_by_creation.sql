-- The processes whose ids hold a text, newest first. $1 to $4 creation times and ids as $12 to $15 of by_creation.sql, $5 a
-- LIKE pattern, $6 how many at the most. A scan of one index, no row is read.
SELECT created_at, process_id FROM processes
WHERE (created_at, process_id COLLATE "POSIX") < ($1::timestamptz, $2::text)
    AND (created_at, process_id COLLATE "POSIX") >= ($3::timestamptz, $4::text)
    AND process_id LIKE $5::text
ORDER BY created_at DESC, process_id COLLATE "POSIX" DESC
LIMIT $6
