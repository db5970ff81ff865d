-- Where the walks of by_type.sql make a stop: as far as all of them have come. $1 and $2 creation time and id before which
-- they begin, $3 how many each looks at, $4 types, $5 which, as there.
SELECT reached.created_at, reached.process_id
FROM unnest($4::text[]) AS one (process_type) CROSS JOIN LATERAL (
    SELECT w.created_at, w.process_id FROM processes w
    WHERE (w.process_type, w.created_at, w.process_id COLLATE "POSIX") < (one.process_type, $1::timestamptz, $2::text)
        AND w.process_type >= one.process_type
        AND ($5::text <> 'OPEN' OR w.completed_at IS NULL) AND ($5 = 'OPEN' OR w.completed_at IS NOT NULL)
        AND ($5 <> 'WELL' OR w.error_message IS NULL) AND ($5 <> 'BADLY' OR w.error_message IS NOT NULL)
    ORDER BY w.process_type DESC, w.created_at DESC, w.process_id COLLATE "POSIX" DESC
    OFFSET $3::bigint - 1 LIMIT 1
) AS reached
ORDER BY reached.created_at DESC, reached.process_id COLLATE "POSIX" DESC
LIMIT 1
