-- Inputs and contexts of the processes of a page, as JSON texts, until they are enough: the page ends there.
-- $1 their ids in the page's order, $2 whether inputs are wanted, $3 whether contexts are, $4 how many bytes one value may
-- have (a larger one is null), $5 after how many bytes the page ends. Of a process that is gone meanwhile all is null.
--
-- A step of the recursion reads one process, so what comes after the end is not even read: a window over all of them would
-- write out a gigabyte of texts to find out where to stop. What is larger than its limit when compressed is not written
-- out either; jsonb takes up to four times the bytes of its text.
WITH RECURSIVE page (place, input_text, context_text, bytes) AS (
    SELECT 0, NULL::text, NULL::text, 0::bigint
    UNION ALL
    SELECT page.place + 1, kept.input_text, kept.context_text,
        page.bytes + coalesce(octet_length(kept.input_text), 0) + coalesce(octet_length(kept.context_text), 0)
    FROM page
    LEFT JOIN LATERAL (
        SELECT CASE WHEN $2::boolean AND pg_column_size(p.input_data) <= 4 * $4::bigint THEN p.input_data::text END AS input_text,
            CASE WHEN $3::boolean AND pg_column_size(p.process_context) <= 4 * $4::bigint THEN p.process_context::text END AS context_text
        FROM processes p WHERE p.process_id = ($1::text[])[page.place + 1] LIMIT 1
    ) AS written ON true
    CROSS JOIN LATERAL (
        SELECT CASE WHEN octet_length(written.input_text) <= $4::bigint THEN written.input_text END AS input_text,
            CASE WHEN octet_length(written.context_text) <= $4::bigint THEN written.context_text END AS context_text
    ) AS kept
    WHERE page.place < cardinality($1) AND page.bytes < $5::bigint
)
SELECT input_text, context_text FROM page WHERE place > 0 ORDER BY place
