-- The processes that ran or run on nodes $1. Of more than $2 executions or claims the answer is `is_all` = false, and no more
-- than these are looked at. Until the index of executions by node is there, nothing is said to be all.
WITH ready AS MATERIALIZED (
    SELECT NOT EXISTS (SELECT FROM pending_indexes WHERE name = 'executions_0_node' AND to_regclass(place) IS NOT NULL) AS is_ready
), ran AS MATERIALIZED (
    SELECT process_id FROM executions
    WHERE (SELECT is_ready FROM ready) AND node_id = ANY ($1::text[])
    LIMIT $2::bigint + 1
), runs AS MATERIALIZED (
    SELECT task_instance AS process_id FROM scheduled_tasks
    WHERE (version > 1 OR picked) AND picked_by = ANY ($1) LIMIT $2 + 1
), counted AS MATERIALIZED (
    SELECT (SELECT is_ready FROM ready) AND (SELECT count(*) FROM ran) <= $2 AND (SELECT count(*) FROM runs) <= $2 AS is_all
)
SELECT counted.is_all, p.created_at, p.process_id
FROM counted LEFT JOIN (
    (SELECT process_id FROM ran WHERE (SELECT is_all FROM counted)
        UNION SELECT process_id FROM runs WHERE (SELECT is_all FROM counted)) AS ids
    CROSS JOIN LATERAL (SELECT created_at, process_id FROM processes WHERE process_id = ids.process_id LIMIT 1) AS p
) ON true
