-- The nodes of this id or name, and the time within which they may have run anything. $1 id or name.
SELECT array_agg(node_id) AS node_ids, min(started_at) AS began,
    max(last_heartbeat + lease_seconds * interval '1 second') AS ended
FROM nodes
WHERE node_id = $1 OR name = $1
HAVING count(*) > 0
