-- Lets the processes go on that were held to be moved, wherever they are now.
UPDATE scheduled_tasks s
SET state = CASE WHEN s.execution_time > now() THEN 'SCHEDULED' ELSE 'READY' END, held_by = NULL
WHERE s.state = 'HELD' AND s.held_by = 'era:' || $1::int
