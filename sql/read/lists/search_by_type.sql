-- The same by the walks of by_type.sql: $7 types, $8 which, $9 how many of each are looked at, as there.
SELECT found.created_at, found.process_id
FROM unnest($7::text[]) AS one (process_type) CROSS JOIN LATERAL (
    SELECT w.created_at, w.process_id FROM (
        SELECT w.created_at, w.process_id FROM processes w
        WHERE (w.process_type, w.created_at, w.process_id COLLATE "POSIX") < (one.process_type, $1::timestamptz, $2::text)
            AND w.process_type >= one.process_type
            AND ($8::text <> 'OPEN' OR w.completed_at IS NULL) AND ($8 = 'OPEN' OR w.completed_at IS NOT NULL)
            AND ($8 <> 'WELL' OR w.error_message IS NULL) AND ($8 <> 'BADLY' OR w.error_message IS NOT NULL)
        ORDER BY w.process_type DESC, w.created_at DESC, w.process_id COLLATE "POSIX" DESC
        LIMIT $9
    ) AS w
    WHERE (w.created_at, w.process_id COLLATE "POSIX") >= ($3::timestamptz, $4::text) AND w.process_id LIKE $5::text
    LIMIT $6
) AS found
ORDER BY found.created_at DESC, found.process_id COLLATE "POSIX" DESC
LIMIT $6
