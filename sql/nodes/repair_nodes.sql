-- Rows of nodes that somebody has damaged by hand, so that nobody could ever tell whether they live: they count as
-- running and heard of just now. A node that lives says better at its next heartbeat, one that is dead is found so.
-- $1 seconds of a lease for a row whose own makes no sense. A heartbeat of the future is no damage while the
-- database's clock may just have been set back.
WITH damaged AS (
    SELECT node_id, state, last_heartbeat::text AS last_heartbeat, lease_seconds::text AS lease_seconds
    FROM nodes
    WHERE state NOT IN ('RUNNING', 'STOPPING', 'STOPPED', 'DEAD')
        OR NOT isfinite(last_heartbeat) OR last_heartbeat > clock_timestamp() + interval '1 hour'
        OR NOT lease_seconds BETWEEN 0 AND 1e7 -- NaN is greater than every number
    FOR UPDATE SKIP LOCKED
)
UPDATE nodes n
SET state = CASE WHEN n.state IN ('RUNNING', 'STOPPING', 'STOPPED', 'DEAD') THEN n.state ELSE 'RUNNING' END,
    last_heartbeat = clock_timestamp(),
    lease_seconds = CASE WHEN n.lease_seconds BETWEEN 0 AND 1e7 THEN n.lease_seconds ELSE $1 END
FROM damaged
WHERE n.node_id = damaged.node_id
RETURNING n.node_id, damaged.state, damaged.last_heartbeat, damaged.lease_seconds
