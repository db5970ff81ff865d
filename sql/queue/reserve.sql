-- Keeps a waiting process for one node, which alone may claim it from now on, also after a retry's wait.
-- $1 node id, $2 process id. A reservation whose node has ended does not count.
UPDATE scheduled_tasks s SET reserved_for = $1, state = 'HELD', held_by = 'node:' || $1
WHERE s.task_instance = $2 AND s.picked IS NOT TRUE AND NOT EXISTS (
    SELECT FROM nodes n
    WHERE n.node_id = s.reserved_for AND n.node_id <> $1 AND n.state IN ('RUNNING', 'STOPPING'))
