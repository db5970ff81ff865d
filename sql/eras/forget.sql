-- Deletes the processes of the closed era $1, all of which are to be forgotten; its tables go with drop_era.
WITH process AS (
    DELETE FROM processes p USING all_tasks t
    WHERE t.era = $1::int AND t.task_index = 0 AND p.process_id = ANY (ARRAY[t.process_id]) AND p.era = t.era
    RETURNING p.process_id
), emptied AS (
    UPDATE eras SET emptied_at = now() WHERE era = $1
)
SELECT count(*) AS how_many FROM process
