-- The same for several types, by how many are looked at in all: $6; and no more than $3 of each.
SELECT created_at, process_id FROM (
    SELECT seen.created_at, seen.process_id, seen.nth,
        row_number() OVER (ORDER BY seen.created_at DESC, seen.process_id COLLATE "POSIX" DESC) AS place
    FROM unnest($4::text[]) AS one (process_type) CROSS JOIN LATERAL (
        SELECT w.created_at, w.process_id,
            row_number() OVER (ORDER BY w.process_type DESC, w.created_at DESC, w.process_id COLLATE "POSIX" DESC) AS nth
        FROM processes w
        WHERE (w.process_type, w.created_at, w.process_id COLLATE "POSIX") < (one.process_type, $1::timestamptz, $2::text)
            AND w.process_type >= one.process_type
            AND ($5::text <> 'OPEN' OR w.completed_at IS NULL) AND ($5 = 'OPEN' OR w.completed_at IS NOT NULL)
            AND ($5 <> 'WELL' OR w.error_message IS NULL) AND ($5 <> 'BADLY' OR w.error_message IS NOT NULL)
        ORDER BY w.process_type DESC, w.created_at DESC, w.process_id COLLATE "POSIX" DESC
        LIMIT $3
    ) AS seen
) AS placed
WHERE nth = $3::bigint OR place = $6::bigint
ORDER BY created_at DESC, process_id COLLATE "POSIX" DESC
LIMIT 1
