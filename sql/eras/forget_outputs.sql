-- Deletes the outputs of the closed era $1, all of whose processes are old enough; all else of their record stays. Gives how
-- many processes it holds, and how many bytes the outputs had. Long ones go with delete_outputs, which gives back their space.
WITH noted AS (
    UPDATE eras SET outputs_deleted_at = now() WHERE era = $1::int RETURNING processes
), execution AS (
    UPDATE executions e SET output = NULL WHERE e.era = $1 AND e.output <> ''
), task AS (
    UPDATE all_tasks t SET output = NULL WHERE t.era = $1 AND t.output <> ''
)
SELECT processes AS how_many, (SELECT coalesce(sum(octet_length(output)), 0)::bigint FROM task_executions WHERE era = $1) AS bytes
FROM noted
