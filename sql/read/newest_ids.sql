-- Ids for a shell to complete, the newest first. $1 LIKE pattern, $2 statuses or null, $3 whether only failed and
-- cancelled ones are asked for, which have an index, $4 how many of the newest are looked at, $5 how many are wanted.
--
-- Planned anew for each call: without a prefix this is a walk by creation, with one that few have a scan of the index of
-- prefixes.
SELECT process_id AS name, process_type || ' ' || status AS about
FROM (
    SELECT p.process_id, p.process_type, p.status FROM processes p
    WHERE ($1 = '%' OR p.process_id LIKE $1) AND (NOT $3::boolean OR p.completed_at IS NOT NULL AND p.error_message IS NOT NULL)
    ORDER BY p.created_at DESC
    LIMIT $4
) AS newest
WHERE $2::text[] IS NULL OR status = ANY ($2)
LIMIT $5
