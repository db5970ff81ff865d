-- Moves the processes of the era $1 that are held for it, and those of paused types, to the era $3: $2 at the most. They wait as
-- before then.
WITH waiting AS MATERIALIZED (
    SELECT s.task_instance FROM scheduled_tasks s
    WHERE s.era = $1::int AND s.picked IS NOT TRUE AND s.state = 'HELD' AND s.cancel_requested_at IS NULL
        AND s.reserved_for IS NULL
    ORDER BY s.task_instance COLLATE "C" LIMIT $2
    FOR UPDATE SKIP LOCKED
), process AS MATERIALIZED (
    SELECT p.process_id FROM waiting JOIN processes p ON p.process_id = ANY (ARRAY[waiting.task_instance])
    FOR UPDATE OF p SKIP LOCKED
)
SELECT move_processes(ARRAY(SELECT process_id FROM process), $3::int) AS how_many
