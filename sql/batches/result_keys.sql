-- The keys of all inputs (`config.size`) and contexts of the batch $1, up to $2 of each: the columns of its table of results.
SELECT DISTINCT false AS is_context, k.key FROM processes p
CROSS JOIN LATERAL (
    SELECT key FROM jsonb_object_keys(p.input_data) AS key WHERE key NOT IN ('config', 'metadata')
    UNION ALL SELECT 'config.' || key FROM jsonb_object_keys(coalesce(p.input_data -> 'config', '{}')) AS key
    UNION ALL SELECT 'metadata.' || key FROM jsonb_object_keys(coalesce(p.input_data -> 'metadata', '{}')) AS key
) AS k WHERE p.batch = $1
UNION
SELECT DISTINCT true, key FROM processes p CROSS JOIN LATERAL jsonb_object_keys(p.process_context) AS key WHERE p.batch = $1
ORDER BY 1, 2
LIMIT $2
