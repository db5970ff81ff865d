-- Holds those of these processes that need a limit of which somebody has locked the row: `set_limit` in a transaction that stays
-- open, or another claim. They are out of the others' way until there is seen to be room again. The rows of the others' limits
-- are locked now, so that whoever admits those waits for nobody.
-- $1 process ids, READY and locked.
WITH needed AS MATERIALIZED (
    SELECT process_id, entry, split_part(entry, '=', 1) AS name FROM needed_limits($1::text[])
), free AS MATERIALIZED (
    SELECT l.name FROM limits l
    WHERE l.name = ANY (ARRAY(SELECT name FROM needed))
    ORDER BY l.name
    FOR NO KEY UPDATE SKIP LOCKED
), blocked AS MATERIALIZED (
    SELECT needed.process_id, min(needed.entry) AS entry
    FROM needed JOIN limits l ON l.name = ANY (ARRAY[needed.name])
    WHERE l.name <> ALL (ARRAY(SELECT name FROM free))
    GROUP BY needed.process_id
)
UPDATE scheduled_tasks s SET state = 'HELD', held_by = 'limit:' || blocked.entry
FROM blocked WHERE s.task_instance = ANY (ARRAY[blocked.process_id])
RETURNING s.task_instance
