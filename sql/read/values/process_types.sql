-- Process types by name, as many as fit. $1 only this one, or null, $2 the name of the last one of the page before, or null,
-- $3 how many at the most, $4 how many bytes a definition may have as text (of a larger one only null is given), $5 after how
-- many bytes the page ends.
--
-- A step of the recursion reads one type: see sql/read/values/list_values.sql.
WITH RECURSIVE page (place, name, definition_text, bytes) AS (
    SELECT 0, $2::text, NULL::text, 0::bigint
    UNION ALL
    SELECT page.place + 1, kept.name, kept.definition_text, page.bytes + coalesce(octet_length(kept.definition_text), 0)
    FROM page CROSS JOIN LATERAL (
        SELECT written.name, CASE WHEN octet_length(written.definition_text) <= $4::bigint THEN written.definition_text END
            AS definition_text
        FROM (
            SELECT t.name, CASE WHEN pg_column_size(t.definition) <= 4 * $4::bigint THEN t.definition::text END AS definition_text
            FROM process_types t
            WHERE ($1::text IS NULL OR t.name = $1) AND (page.name IS NULL OR t.name > page.name)
            ORDER BY t.name LIMIT 1
        ) AS written
    ) AS kept
    WHERE page.place < $3::bigint AND page.bytes < $5::bigint
)
SELECT t.name, page.definition_text, t.required_input, t.paused, t.paused_at, left(t.pause_reason, 1000) AS pause_reason, t.max_concurrent, t.created_at,
    t.updated_at, coalesce(v.version, 1) AS version, v.registered_by, page.bytes
FROM page JOIN process_types t ON t.name = page.name
LEFT JOIN LATERAL (
    SELECT version, registered_by FROM process_type_versions WHERE name = t.name ORDER BY version DESC LIMIT 1
) AS v ON true
WHERE page.place > 0
ORDER BY page.place
